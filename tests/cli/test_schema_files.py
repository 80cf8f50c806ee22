"""Contracts on their way to the broker: judged, drafted and compared, mostly without one."""

import json
from pathlib import Path
from typing import Any

import pytest

from dropoff.contracts.lint import DIALECT
from tests.cli.brokers import Up, ask
from tests.cli.conftest import BRIEF
from tests.cli.test_usage import NOWHERE
from tests.readme import README

NO_BROKER = ("--url", NOWHERE)


def asked(*args: str, stdin: str = ""):
    return ask("schema", *args, *NO_BROKER, stdin=stdin)


def written(folder: Path, name: str, content: Any) -> str:
    path = folder / name
    path.write_text(json.dumps(content))
    return str(path)


def changed(folder: Path, name: str = "next.json", **fields: Any) -> str:
    """The brief with other fields."""
    content = json.loads(BRIEF.read_text())
    content["properties"] |= fields
    return written(folder, name, content)


LOOSE = {"type": "object", "properties": {"mail": {"type": "string", "format": "email"}}}
WRONG = {"type": "object", "properties": {f"f{n}": {"pattern": "(?=a)"} for n in range(9)}}


# ---- check --------------------------------------------------------------------------------------------------------


def test_a_sound_schema_is_shown_as_a_model_will_see_it():
    """Without a broker."""
    heard = asked("check", str(BRIEF))
    assert heard.code == 0
    assert (heard.json["schema"], heard.json["problems"], heard.json["warnings"]) == ("brief", [], [])
    payload = heard.json["tool"]["inputSchema"]["properties"]["payload"]
    assert payload["properties"] == json.loads(BRIEF.read_text())["properties"]
    assert heard.json["tool"]["outputSchema"]
    assert heard.json["characters"]["schema"] < heard.json["characters"]["drop_off"] < 2_000
    assert asked("check", str(BRIEF), "--tool").json == heard.json["tool"]


def test_the_definition_is_what_an_agent_is_really_sent(broker: Up):
    """To the letter: the broker lists it so to an agent that may drop into one queue of this schema."""
    added = broker.ask("queue", "add", "brief", "--schema", "brief")
    assert added.code == 0
    agent = broker.ask("agent", "add", "reader", "--grant", "drop:brief").json
    shown = asked("check", str(BRIEF), "--tool").json
    assert listed(broker.url, Path(agent["credential_file"]).read_text().strip())["drop_off"] == shown


def listed(url: str, bearer: str) -> dict[str, Any]:
    """The tools of this agent, from the wire."""
    import httpx2

    headers = {"Authorization": f"Bearer {bearer}", "Accept": "application/json, text/event-stream"}
    asking = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    answer = httpx2.post(f"{url}/mcp", json=asking, headers=headers)
    lines = [line.removeprefix("data:") for line in answer.text.splitlines() if "{" in line]
    return {tool["name"]: tool for tool in json.loads(lines[-1])["result"]["tools"]}


def test_a_warning_is_no_failure(tmp_path: Path):
    heard = asked("check", written(tmp_path, "loose.json", LOOSE), "-o", "table")
    assert heard.code == 0
    rows = [line.split("  ")[0] for line in heard.out.splitlines()[:6]]
    assert rows == ["PATH", "payload", "payload.mail", "payload", "payload.mail", "payload"]
    assert "format email is a note to the reader: nobody checks it" in heard.out
    assert "characters of drop_off" in heard.out
    assert "'loose' may be registered; 5 warnings." in heard.err


@pytest.mark.parametrize("form", ["json", "table"])
def test_all_that_keeps_it_from_being_a_contract_is_listed(tmp_path: Path, form: str):
    """Where a refusal at the broker's door names eight."""
    heard = asked("check", written(tmp_path, "wrong.json", WRONG), "-o", form)
    assert heard.code == 6
    assert heard.out.count("no linear-time pattern") == 9
    assert "'wrong' would be refused: 9 problems." in heard.err


def test_a_name_is_judged_as_push_judges_it():
    """And one made from the file's name never is wrong."""
    heard = asked("check", str(BRIEF), "--name", "My Brief")
    assert heard.code == 6
    assert [one["problem"] for one in heard.json["problems"]] == ["is no name"]
    assert asked("check", "-", stdin=BRIEF.read_text()).json["schema"] == "schema"


def test_a_key_that_stands_twice_is_refused_before_anything_is_judged():
    heard = asked("check", "-", stdin='{"type": "object", "type": "object"}')
    assert (heard.code, heard.out) == (6, "")


# ---- from-example -------------------------------------------------------------------------------------------------

DRAFT = {
    "$schema": DIALECT,
    "type": "object",
    "properties": {"a": {"type": "number"}, "b": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
    "examples": [{"a": 1, "b": "x"}],
}


@pytest.mark.parametrize(
    "text",
    ['[{"a": 1, "b": "x"}, {"a": 2.5}]', '{"a": 1, "b": "x"}\n\n{"a": 2.5}\n', '[\n{"a": 1, "b": "x"},\n{"a": 2.5}]'],
)
def test_a_draft_is_made_from_an_array_or_from_lines(text: str, tmp_path: Path):
    """What it prints can be checked and pushed as it is; the words go beside it."""
    heard = asked("from-example", "-", stdin=text)
    assert heard.code == 0
    assert heard.json == DRAFT
    assert "Next  add a description" in heard.err
    assert asked("check", "-", stdin=heard.out).code == 0


def test_from_one_example_every_field_is_required_and_that_is_said():
    heard = asked("from-example", "-", stdin='{\n"a": 1\n}')
    assert heard.json["required"] == ["a"]
    assert "From one example every field is required" in heard.err


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[1]", "example[0]: is no object"),
        ("7", "example: is no object"),
        ("[]", "example: there is none"),
        ('{"a": 1}\n{"a": }', "line 2: "),
        ('{"a": 1}\n{"a": 1, "a": 2}', 'line 2'),
        ("", "example: "),
    ],
)  # fmt: skip
def test_what_is_no_example_is_refused_by_its_place(text: str, why: str):
    heard = asked("from-example", "-", stdin=text)
    assert (heard.code, heard.out) == (6, "")
    assert why in heard.err


def test_more_examples_than_anybody_needs_are_refused_unread():
    heard = asked("from-example", "-", stdin='{"a": 1}\n' * 30_000)
    assert (heard.code, heard.out) == (2, "")
    assert "a few examples are enough" in heard.err


# ---- diff ---------------------------------------------------------------------------------------------------------


def test_a_change_that_lets_all_senders_go_on(tmp_path: Path):
    new = changed(tmp_path, region={"type": "string"})
    heard = asked("diff", str(BRIEF), new, "-o", "table")
    assert heard.code == 0
    lines = heard.out.splitlines()
    assert lines[0] == f"compatible: all that fits {BRIEF} fits {new}"
    assert lines[1].startswith(f"A worker that knows {BRIEF} cannot read all that fits {new}, such as {{")
    assert len(lines) == 2


def test_a_change_that_refuses_what_fitted_shows_such_a_payload(tmp_path: Path):
    new = changed(tmp_path, audience={"enum": ["exec", "engineer"]})
    heard = asked("diff", str(BRIEF), new, "-o", "table")
    assert heard.code == 9
    assert heard.out.splitlines() == [
        f"incompatible: not all that fits {BRIEF} fits {new}",
        "PATH              CHANGE",
        'payload.audience  no longer allows "public"',
        f"This fits {BRIEF} and not {new}:",
        heard.out.splitlines()[4],
        f"A worker that knows {BRIEF} can read all that fits {new}",
    ]
    assert json.loads(heard.out.splitlines()[4])["audience"] == "public"


def test_a_script_gets_the_comparison_of_both_directions(tmp_path: Path):
    new = changed(tmp_path, topic={"type": "string", "pattern": "^[a-z]+$"})
    heard = asked("diff", str(BRIEF), new)
    assert heard.code == 9
    assert heard.json.keys() == {"old", "new", "verdict", "changes", "more", "witness", "readers"}
    assert heard.json["verdict"] == "incompatible"
    assert [one["path"] for one in heard.json["changes"]] == ["payload.topic"]
    assert heard.json["readers"].keys() == {"verdict", "changes", "more", "witness"}


def test_what_nobody_can_tell_is_treated_as_incompatible(tmp_path: Path):
    said = {"type": "string", "pattern": "^(a|b)$"}
    old = written(tmp_path, "old.json", {"type": "object", "properties": {"x": said}})
    new = written(tmp_path, "new.json", {"type": "object", "properties": {"x": said | {"pattern": "^[ab]$"}}})
    heard = asked("diff", old, new, "-o", "table")
    assert heard.code == 9
    assert heard.out.startswith("unknown: treat it as incompatible. ")


def test_registered_schemas_are_asked_of_the_broker(broker: Up, tmp_path: Path):
    """By their version, or the newest."""
    for topic in ("first", "second"):
        file = written(tmp_path, "t.json", {"type": "object", "properties": {topic: {"type": "string"}}})
        assert broker.ask("schema", "push", "topic", file).code == 0
    heard = broker.ask("schema", "diff", "topic@1", "topic")
    assert (heard.json["old"], heard.json["new"]) == ("topic@1", "topic@2")
    assert broker.ask("schema", "diff", "topic", "topic@2").code == 0
    assert broker.ask("schema", "diff", "topic", "nowhere").code == 3


def test_the_readme_shows_what_is_really_said(broker: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    changed(tmp_path, "brief.json", audience={"enum": ["exec", "engineer"]})
    monkeypatch.chdir(tmp_path)
    shown = README.read_text(encoding="utf-8").partition("$ dropoff schema diff brief brief.json\n")[2]
    assert broker.ask("schema", "diff", "brief", "brief.json", "-o", "table").out == shown.partition("```")[0]


def test_a_file_that_is_there_comes_before_a_schema_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    changed(tmp_path, "brief")
    monkeypatch.chdir(tmp_path)
    assert asked("diff", "brief", str(BRIEF)).json["old"] == "brief"


def test_a_file_that_cannot_be_a_contract_is_not_compared(tmp_path: Path):
    heard = asked("diff", str(BRIEF), written(tmp_path, "wrong.json", WRONG))
    assert (heard.code, heard.out) == (6, "")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("no-such.json", "no-such.json: No such file"),
        ("no/such", "no/such: No such file"),
        ("A brief", "is no file that is there, and no schema"),
        ("brief@0", "is no file that is there, and no schema"),
    ],
)
def test_what_is_neither_file_nor_schema_is_usage_and_no_broker_is_asked(given: str, why: str):
    heard = asked("diff", str(BRIEF), given)
    assert (heard.code, heard.out) == (2, "")
    assert why in heard.err


def test_only_one_side_can_be_piped_in():
    assert asked("diff", "-", "-").code == 2
    assert asked("diff", "-", str(BRIEF), stdin=BRIEF.read_text()).json["old"] == "what is piped in"
