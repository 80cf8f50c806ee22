"""`schema push` against a real broker: what it says of a new version to people and to scripts, and a try of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from dropoff.cli import schema_meaning
from dropoff.cli.session import Session
from tests.cli.brokers import Up
from tests.cli.conftest import BRIEF

WORK = {"topic": "heat pumps", "audience": "exec"}


@pytest.fixture
def name(broker: Up, request: pytest.FixtureRequest) -> str:
    """A schema and a queue of this name for this test alone."""
    name = request.node.name.replace("_", "-")[:60].strip("-").lower()
    assert broker.ask("schema", "push", name, str(BRIEF)).code == 0
    assert broker.ask("queue", "add", name, "--schema", name).code == 0
    return name


def changed(folder: Path, *audience: str, **fields: Any) -> str:
    content = json.loads(BRIEF.read_text(encoding="utf-8"))
    content["properties"] |= {"audience": {"enum": list(audience)}} | fields
    path = folder / "brief.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def dropped(broker: Up, queue: str, audience: str, *flags: str) -> str:
    return broker.ask("drop", queue, json.dumps(WORK | {"audience": audience}), *flags).json["handoff_id"]


def test_a_person_reads_what_a_new_version_means(broker: Up, tmp_path: Path, name: str):
    """The verdict with its witness, the queues in numbers, examples, who picked up, and the command that comes next."""
    dropped(broker, name, "exec")
    assert broker.ask("pick", name, "--wait", "0").code == 0
    first, second = dropped(broker, name, "public"), dropped(broker, name, "public", "--delay", "60")
    dropped(broker, name, "exec")

    heard = broker.ask("schema", "push", name, changed(tmp_path, "exec", "engineer"), "-o", "table")

    assert heard.code == 0
    lines = [" ".join(line.split()) for line in heard.out.splitlines()]
    assert lines[:3] == [
        f"incompatible: not all that fits {name}@1 fits {name}@2",
        "PATH CHANGE",
        'payload.audience no longer allows "public"',
    ]
    assert lines[3] == f"This fits {name}@1 and not {name}@2:"
    assert json.loads(lines[4])["audience"] == "public"
    wrong = "payload.audience not an allowed value (allowed: exec, engineer)"
    assert lines[5:12] == [
        "QUEUE HAS WAITING WOULD NOT FIT OF",
        f"{name} {name}@1 3 2 all",
        "WAITING counts all that is waiting, scheduled or held.",
        f"HANDOFF PATH PROBLEM WITH {name}@2",
        f"{first} {wrong}",
        f"{second} {wrong}",
        "QUEUE PICKED UP BY UNDER AGO",
    ]
    assert lines[12].startswith(f"{name} operator {name}@1 ")
    assert len(lines) == 13
    assert heard.err.splitlines() == [
        f"Schema {name}@2 is registered.",
        f"Next  dropoff queue edit {name} --schema {name}@2 --dry-run",
        "      and without --dry-run; until then every queue keeps the version it has",
    ]


def test_a_script_reads_the_same(broker: Up, tmp_path: Path, name: str):
    dropped(broker, name, "public")
    heard = broker.ask("schema", "push", name, changed(tmp_path, "exec"), "-o", "json")

    assert [*heard.json] == [
        *("schema", "hash", "new", "compared_with", "verdict", "changes", "more_changes", "witness"),
        *("queues", "more_queues", "untold"),
    ]
    assert (heard.json["schema"], heard.json["verdict"]) == (f"{name}@2", "incompatible")
    assert [queue["would_not_fit"] for queue in heard.json["queues"]] == [1]


def test_a_try_says_the_same_and_registers_nothing(broker: Up, tmp_path: Path, name: str):
    file = changed(tmp_path, "exec")
    before = broker.ask("schema", "ls").out

    tried = broker.ask("schema", "push", name, file, "--dry-run", "-o", "json")

    assert broker.ask("schema", "ls").out == before
    assert tried.err.splitlines() == [
        f"Schema {name}@2 would be the next; nothing was registered.",
        f"Next  dropoff schema push {name} {file}",
    ]
    assert broker.ask("schema", "push", name, file, "-o", "json").json == tried.json
    again = broker.ask("schema", "push", name, file, "--dry-run", "-o", "json")
    assert again.json == tried.json | {"new": False}
    assert again.err.startswith(f"Schema {name}@2 is there already.\nNext  dropoff queue edit {name} ")


def test_a_compatible_version_is_told_in_a_few_lines(broker: Up, tmp_path: Path, name: str):
    file = changed(tmp_path, "exec", "engineer", "public", "press")
    heard = broker.ask("schema", "push", name, file, "-o", "table")

    assert [" ".join(line.split()) for line in heard.out.splitlines()] == [
        f"compatible: all that fits {name}@1 fits {name}@2",
        "QUEUE HAS WAITING WOULD NOT FIT OF",
        f"{name} {name}@1 0 0 all",
        "WAITING counts all that is waiting, scheduled or held.",
        "Nobody picked up within the last hour.",
    ]


def test_a_first_version_is_told_with_what_to_do_with_it(broker: Up):
    heard = broker.ask("schema", "push", "brand-new", str(BRIEF), "-o", "table")

    assert (heard.code, heard.out) == (0, "")
    assert heard.err == "Schema brand-new@1 is registered.\nNext  dropoff queue add NAME --schema brand-new@1\n"


def test_what_is_no_object_is_refused_by_name(broker: Up):
    """Nothing is registered."""
    for given in ("[1]", '"x"', "true"):
        heard = broker.ask("schema", "push", "odd", "-", stdin=given)
        assert (heard.code, heard.out) == (6, "")
        assert "schema: is no object" in heard.err
    assert broker.ask("schema", "show", "odd").code == 3


# ---- what a broker seldom says ------------------------------------------------------------------------------------


@pytest.fixture
def pushed(broker: Up, tmp_path: Path, name: str) -> dict[str, Any]:
    """A broker's answer, to be told with one thing changed."""
    return broker.ask("schema", "push", name, changed(tmp_path, "exec"), "-o", "json").json


def told(pushed: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[str]]:
    session = Session()
    session.output = "table"
    schema_meaning.say_pushed(session, pushed, "brief.json", dry_run=False)
    out, err = capsys.readouterr()
    return [" ".join(line.split()) for line in out.splitlines()], err.splitlines()


def test_where_not_all_was_looked_at_the_count_says_of_how_many(
    pushed: dict[str, Any], capsys: pytest.CaptureFixture[str]
):
    pushed["queues"][0] |= {"waiting": 24_000, "looked_at": 10_000, "would_not_fit": 1_200}
    name = pushed["queues"][0]["queue"]
    assert f"{name} {name}@1 24,000 1,200 the first 10,000" in told(pushed, capsys)[0]


def test_queues_and_changes_that_are_not_listed_are_counted(pushed: dict[str, Any], capsys: pytest.CaptureFixture[str]):
    lines, _ = told(pushed | {"more_queues": 1, "more_changes": 5}, capsys)
    assert "and 1 queue more, for which there was no time" in lines
    assert "and 5 more" in lines


def test_a_push_whose_meaning_could_not_be_found_out_is_told_as_done(
    pushed: dict[str, Any], capsys: pytest.CaptureFixture[str]
):
    nothing = {"compared_with": "", "verdict": "", "changes": [], "witness": None, "queues": []}
    out, err = told(pushed | nothing | {"untold": "broker_unavailable"}, capsys)
    name = pushed["schema"].partition("@")[0]
    assert out == []
    assert err == [
        f"Schema {name}@2 is registered.",
        "! What it means could not be found out (broker_unavailable).",
        f"Next  dropoff schema push {name} brief.json --dry-run",
    ]
