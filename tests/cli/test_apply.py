"""dropoff.toml: everything that is wrong is told at once, what is already so stays, and nothing is half done."""

import json
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dropoff.cli import later, plan, setup_file
from dropoff.cli.plan import Plan, There
from dropoff.contracts.schema import Schema
from tests.cli.brokers import Heard, Up, ask
from tests.cli.conftest import BRIEF

TOML = """
[schemas]
brief = "brief@1.json"
[queues.research]
schema = "brief@1"
lease = "90s"
purpose = "Questions."
[agents.ann]
grants = ["drop:research"]
[agents.bob]
grants = ["pick:research", "inspect:*"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With dropoff.toml, and the schema that it names."""
    (tmp_path / "brief@1.json").write_text(BRIEF.read_text())
    (tmp_path / "dropoff.toml").write_text(TOML)
    return tmp_path


def refused(text: str, tmp_path: Path) -> str:
    """The words of a refusal that needs no broker."""
    file = tmp_path / "dropoff.toml"
    file.write_text(text)
    heard = ask("apply", str(file), "--url", "http://127.0.0.1:9")
    assert heard.code == 2
    assert heard.out == ""
    return heard.err


def changes(heard: Heard) -> list[tuple[str, str]]:
    assert heard.code == 0, heard.err
    return [(row["change"], row["name"]) for row in heard.json]


# ---- what is refused before anything is asked -------------------------------------------------------------------


@pytest.mark.parametrize("key", later.TOML["queues"])
def test_a_queues_key_of_a_later_release_is_refused_by_name(key: str, tmp_path: Path):
    assert f"[queues.research] {key} comes with a later release" in refused(
        f'[queues.research]\nschema = "brief"\n{key} = "7d"\n', tmp_path
    )


@pytest.mark.parametrize("key", later.TOML["agents"])
def test_an_agents_key_of_a_later_release_is_refused_by_name(key: str, tmp_path: Path):
    text = f"[agents.writer]\ngrants = []\n{key} = {{ per_day = 1000 }}\n"
    assert f"[agents.writer] {key} comes with a later release" in refused(text, tmp_path)


@pytest.mark.parametrize("section", later.TOML[""])
def test_a_section_of_a_later_release_is_refused_by_name(section: str, tmp_path: Path):
    assert f"[{section}] comes with a later release" in refused(f"[{section}]\n", tmp_path)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path):
    shapes = refused(
        "[queue.x]\n[queues.a]\nlaese = 5\nmax_bytes = true\napproval = 1\nexpires = false\n"
        "[agents.b]\ngrants = 'drop:a'\n",
        tmp_path,
    )
    for problem in (
        "[queue]: unknown; did you mean 'queues'?",
        "queues.a.laese: unknown key; did you mean 'lease'?",
        "queues.a.max_bytes: not a whole number",
        "queues.a.approval: not true or false",
        "queues.a.expires: not a duration",
        "queues.a.schema: missing",
        "agents.b.grants: not a list",
    ):
        assert problem in shapes
    values = refused(
        "[queues.A]\nschema = 'brief'\n[queues.b]\nschema = 'brief@0'\nlease = 'soon'\nmax_attempts = 0\n"
        "result_schema = ''\n"
        "max_waiting = 0\nexpires = 'never ever'\nretention = '1s'\nstate = 'shut'\n"
        "[agents.operator]\n[agents.c]\ngrants = ['dorp:a']\n[agents.d-]\n",
        tmp_path,
    )
    for problem in (
        "queues.A: no name",
        "agents.d-: no name; use a-z 0-9 . _ - (at most 64), beginning and ending with a letter or digit",
        "queues.b.schema: 'brief@0' is no schema",
        "queues.b.result_schema: '' is no schema",
        "queues.b.lease: 'soon' is no duration",
        "queues.b.max_attempts: 0 is not between 1 and 1000",
        "queues.b.max_waiting: 0 is not between 1 and 1000000",
        "queues.b.expires: 'never ever' is no duration",
        "queues.b.retention: 1 is not between 60 and 31536000",
        "queues.b.state: 'shut' is none; write open, paused, draining",
        "agents.operator: the broker's own",
        "agents.c.grants: 'dorp:a' is no grant; did you mean 'drop'?",
    ):
        assert problem in values


def test_what_is_no_toml_or_no_file_is_usage(tmp_path: Path):
    assert "cannot be applied" in refused("[queues", tmp_path)
    assert "schemas: not a table" in refused("schemas = 1", tmp_path)
    assert "queues: not a table" in refused("queues = 1", tmp_path)
    assert "nested too deeply" in refused("x = " + "[" * 5_000, tmp_path)
    assert "no-such.json: No such file" in refused("[schemas]\nbrief = 'no-such.json'\n", tmp_path)
    assert ask("apply", str(tmp_path / "nothing.toml")).code == 2


def test_a_schema_that_cannot_be_a_contract_is_rejected_here_already(tmp_path: Path):
    (tmp_path / "list.json").write_text('{"type": "array"}')
    (tmp_path / "dropoff.toml").write_text("[schemas]\nlist = 'list.json'\n")
    assert ask("apply", str(tmp_path / "dropoff.toml"), "--url", "http://127.0.0.1:9").code == 6


# ---- what is planned --------------------------------------------------------------------------------------------


def no_content(ref: str) -> Any:
    raise AssertionError(f"nobody needs {ref}")


NOTHING = There(schemas={}, queues=[], agents=[], content=no_content)


def planned(folder: Path, there: There, text: str = TOML, *, prune: bool = False) -> Plan:
    (folder / "dropoff.toml").write_text(text)
    return plan.make(setup_file.read(folder / "dropoff.toml"), there, prune=prune)


def after(made: Plan) -> There:
    """What a broker has that has carried this out."""
    bodies = {kind: [change.body for change in made.changes if change.kind == kind] for kind in ("queue", "agent")}
    return There(
        schemas={change.name: Schema.of("brief", 1, change.body).hash for change in made.changes[:1]},
        queues=[{"state": "open", **body} for body in bodies["queue"]],
        agents=[{"agent": body["name"], "standing": "active", **body} for body in bodies["agent"]],
        content=no_content,
    )


def lines(made: Plan) -> list[tuple[str, str, str]]:
    return [(change.doing, change.name, change.detail) for change in made.changes]


def test_what_is_missing_is_made_in_the_order_in_which_it_is_needed(folder: Path):
    made = planned(folder, NOTHING)
    assert lines(made) == [
        ("make", "brief@1", ""),
        ("make", "research", "brief@1, lease 90s"),
        ("make", "ann", "drop:research"),
        ("make", "bob", "pick:research, inspect:*"),
    ]
    assert (made.conflicts, made.missing) == ((), ())


def test_what_is_already_so_stays(folder: Path):
    again = planned(folder, after(planned(folder, NOTHING)))
    assert {doing for doing, _, _ in lines(again)} == {"nothing"}
    assert (again.conflicts, again.missing) == ((), ())


def test_each_setting_that_differs_is_edited_and_named(folder: Path):
    """What the file leaves out is the default again."""
    there = after(planned(folder, NOTHING, TOML.replace('"90s"', '"90s"\nexpires = "7d"\nmax_waiting = 9')))
    other = TOML.replace("90s", "5m").replace("Questions.", "Answers.").replace('"5m"', '"5m"\napproval = true')
    made = planned(folder, there, other)
    [edit] = [change for change in made.changes if change.name == "research"]
    assert (edit.doing, edit.body) == (
        "edit",
        {
            "purpose": "Answers.",
            "lease_seconds": 300,
            "max_waiting": 1_000_000,
            "approval": True,
            "expires_seconds": 0,
        },
    )
    assert edit.detail == (
        "purpose 'Questions.' → 'Answers.', lease 90s → 5m, max waiting 9 → 1,000,000, approval none → by a person, "
        "expires 7d → never"
    )
    assert made.conflicts == ()


def test_another_result_schema_is_an_edit_and_no_conflict(folder: Path):
    """Nothing that waits was judged by it. Without a version it means the newest; left out, any object is a result."""
    judged = TOML.replace('"90s"', '"90s"\nresult_schema = "brief"')
    made = planned(folder, NOTHING, judged)
    assert ("make", "research", "brief@1, results brief@1, lease 90s") in lines(made)
    there = after(made)
    assert ("nothing", "research", "") in lines(planned(folder, there, judged))
    for text, ref, detail in (
        (TOML, "", "result schema brief@1 → none"),
        (TOML.replace('"90s"', '"90s"\nresult_schema = "other"'), "other@2", "result schema brief@1 → other@2"),
    ):
        more = there._replace(schemas={**there.schemas, "other@1": "1", "other@2": "2"})
        made = planned(folder, more, text)
        [edit] = [change for change in made.changes if change.name == "research"]
        assert (edit.doing, edit.body, edit.detail) == ("edit", {"result_schema": ref}, detail)
        assert (made.conflicts, made.missing) == ((), ())


def test_another_schema_is_a_conflict(folder: Path):
    """What waits was judged by the schema that the queue has."""
    there = after(planned(folder, NOTHING))
    queue = {**there.queues[0], "schema": "letter@7"}
    assert planned(folder, there._replace(queues=[queue])).conflicts == (
        "queue research: schema is letter@7, the file says brief@1; use another name",
    )


def to_the_second(folder: Path, content: str, has: str, *, registered: bool) -> Plan:
    """The plan for a queue that has the first version, `has`, and a file that says the second."""
    (folder / "brief@2.json").write_text(content)
    first = Schema.of("brief", 1, json.loads(has)).hash
    second = {"brief@2": Schema.of("brief", 2, json.loads(content)).hash} if registered else {}
    there = after(planned(folder, NOTHING))
    contents = {"brief@1": json.loads(has)} | ({"brief@2": json.loads(content)} if registered else {})
    there = there._replace(schemas={"brief@1": first, **second}, content=contents.__getitem__)
    text = TOML.replace("brief@1", "brief@2")
    return planned(folder, there, text if not registered else text.replace('brief = "brief@2.json"', ""))


@pytest.mark.parametrize("registered", [False, True])
def test_a_compatible_version_is_an_edit(folder: Path, registered: bool):
    """Whether the file brings it, or the broker has it already."""
    contract = BRIEF.read_text()
    made = to_the_second(folder, contract.replace("200", "300"), contract, registered=registered)
    [edit] = [change for change in made.changes if change.name == "research"]
    assert (edit.doing, edit.body, edit.detail) == ("edit", {"schema": "brief@2"}, "schema brief@1 → brief@2")
    assert (made.conflicts, made.missing) == ((), ())


@pytest.mark.parametrize("registered", [False, True])
def test_a_version_that_demands_more_is_a_conflict(folder: Path, registered: bool):
    """Which says where, and the command for who means it."""
    contract = BRIEF.read_text()
    [conflict] = to_the_second(folder, contract.replace("200", "100"), contract, registered=registered).conflicts
    assert conflict.startswith("queue research: brief@2 is incompatible with brief@1, which it has (payload.topic ")
    assert conflict.endswith("dropoff queue edit research --schema brief@2 --incompatible")


def test_a_version_that_nobody_has_is_missing_and_not_compared(folder: Path):
    there = after(planned(folder, NOTHING))
    made = planned(folder, there, TOML.replace('schema = "brief@1"', 'schema = "brief@7"'))
    assert made.missing == ("queue research: there is no schema 'brief@7', neither in the file nor registered",)
    assert made.conflicts == ()


def test_a_version_of_which_nobody_can_tell_is_a_conflict(folder: Path):
    with_pattern = [BRIEF.read_text().replace('"maxLength": 200', f'"pattern": "{one}"') for one in ("^(a|b)", "^[ab]")]
    [conflict] = to_the_second(folder, with_pattern[1], with_pattern[0], registered=False).conflicts
    assert "brief@2 may be incompatible with brief@1" in conflict


@pytest.mark.parametrize(
    ("now", "wanted", "doing"),
    [
        ("open", "paused", "pause"),
        ("open", "draining", "drain"),
        ("paused", "open", "resume"),
        ("draining", "open", "resume"),
        ("paused", "paused", "nothing"),
        ("paused", None, "nothing"),
    ],
)
def test_a_queues_state_is_changed_only_where_the_file_says_one(folder: Path, now: str, wanted: str | None, doing: str):
    """Who pauses a queue in the night does not find it open after the next apply."""
    there = after(planned(folder, NOTHING))
    there = there._replace(queues=[{**queue, "state": now} for queue in there.queues])
    text = TOML.replace('"90s"', f'"90s"\nstate = "{wanted}"') if wanted else TOML
    [change] = [change for change in planned(folder, there, text).changes if change.kind == "queue"]
    assert change.doing == doing
    assert change.detail == (f"{now} → {wanted}" if doing != "nothing" else "")


def test_a_new_queue_may_be_made_paused(folder: Path):
    made = planned(folder, NOTHING, TOML.replace('"90s"', '"90s"\nstate = "paused"'))
    assert [change.doing for change in made.changes if change.kind == "queue"] == ["make", "pause"]


def test_a_version_never_changes_its_content(folder: Path):
    """The file's name says the version; a changed schema wants a new name."""
    there = after(planned(folder, NOTHING))
    changed = BRIEF.read_text().replace("200", "300")
    (folder / "brief@1.json").write_text(changed)
    assert "name the file brief@2.json" in planned(folder, there).conflicts[0]

    (folder / "brief@2.json").write_text(changed)
    text = TOML.replace("brief@1.json", "brief@2.json") + "[queues.more]\nschema = 'brief'\n"
    made = planned(folder, there, text)
    assert made.conflicts == ()
    assert ("make", "brief@2", "") in lines(made)
    assert ("nothing", "research", "") in lines(made), "a queue that names brief@1 stays with it"
    assert ("make", "more", "brief@2, lease 5m") in lines(made), "one that names none gets the newest"

    (folder / "brief@9.json").write_text(BRIEF.read_text())
    as_ninth = planned(folder, there, TOML.replace("brief@1.json", "brief@9.json"))
    assert "is registered as brief@1" in as_ninth.conflicts[0]
    new_as_ninth = planned(folder, NOTHING, TOML.replace("brief@1.json", "brief@9.json"))
    assert "would become brief@1" in new_as_ninth.conflicts[0]


def test_several_versions_are_listed_and_made_in_their_order(folder: Path):
    """A broker that began with the second would call it the first; where the first is, only the second is new."""
    (folder / "brief@2.json").write_text(BRIEF.read_text().replace("200", "300"))
    text = TOML.replace('"brief@1.json"', '["brief@2.json", "brief@1.json"]').replace(
        'schema = "brief@1"', 'schema = "brief"'
    )
    made = planned(folder, NOTHING, text)
    assert lines(made)[:3] == [
        ("make", "brief@1", ""),
        ("make", "brief@2", ""),
        ("make", "research", "brief@2, lease 90s"),
    ]
    assert made.conflicts == ()
    there = There(after(planned(folder, NOTHING)).schemas, [], [], no_content)
    assert lines(planned(folder, there, text))[:2] == [("nothing", "brief@1", ""), ("make", "brief@2", "")]

    [alone] = planned(folder, NOTHING, TOML.replace("brief@1.json", "brief@2.json")).conflicts[:1]
    assert 'list the versions before it as well (brief = [..., "brief@2.json"])' in alone


def test_a_file_whose_name_says_no_version_is_the_newest(folder: Path):
    (folder / "draft.json").write_text(BRIEF.read_text().replace("200", "300"))
    made = planned(folder, NOTHING, TOML.replace('"brief@1.json"', '["draft.json", "brief@1.json"]'))
    made_of = {change.name: change.body["properties"]["topic"]["maxLength"] for change in made.changes[:2]}
    assert made_of == {"brief@1": 200, "brief@2": 300}


@pytest.mark.parametrize("files", ["7", "[]", "['brief@1.json', 7]", "''", "{}"])
def test_what_names_no_file_is_refused(files: str, tmp_path: Path):
    assert "schemas.brief: not the path of a file, nor a list of them" in refused(
        f"[schemas]\nbrief = {files}\n", tmp_path
    )


def test_a_queue_of_a_schema_that_nobody_has_is_missing_it(folder: Path):
    made = planned(folder, NOTHING, TOML + "[queues.drafts]\nschema = 'draft@1'\n")
    assert made.missing == ("queue drafts: there is no schema 'draft@1', neither in the file nor registered",)
    made = planned(folder, NOTHING, TOML + "[queues.drafts]\nschema = 'brief'\nresult_schema = 'draft'\n")
    assert made.missing == ("queue drafts: there is no schema 'draft', neither in the file nor registered",)


def test_grants_are_added_and_taken_only_with_prune(folder: Path):
    """An agent that the file does not name is left without grants, not revoked; who is admin is left alone."""
    there = after(planned(folder, NOTHING))
    others = [
        {"agent": "carol", "grants": ["drop:research"], "standing": "active"},
        {"agent": "boss", "grants": ["admin"], "standing": "active"},
        {"agent": "operator", "grants": ["admin"], "standing": "active"},
        {"agent": "gone", "grants": ["drop:research"], "standing": "revoked"},
    ]
    there = there._replace(agents=[*there.agents, *others])
    text = TOML.replace('"pick:research", "inspect:*"', '"pick:research", "drop:research"')

    kept = [line for line in lines(planned(folder, there, text)) if line[1] not in ("brief@1", "research", "ann")]
    assert kept == [
        ("grant", "bob", "drop:research"),
        ("nothing", "carol", "not in the file; --prune takes its grants"),
        ("nothing", "boss", "not in the file, and admin"),
    ]
    pruned = lines(planned(folder, there, text, prune=True))
    assert [line for line in pruned if line[0] == "ungrant"] == [
        ("ungrant", "bob", "inspect:*"),
        ("ungrant", "carol", "drop:research"),
    ]


def test_a_revoked_name_does_not_come_back(folder: Path):
    there = There({}, [], [{"agent": "ann", "grants": ["drop:research"], "standing": "revoked"}], no_content)
    assert planned(folder, there).conflicts == ("agent ann: is revoked, which is final; choose another name",)


# ---- what is done -----------------------------------------------------------------------------------------------


def test_it_is_made_as_the_file_says_and_again_changes_nothing(broker: Up, folder: Path):
    """And a conflict in one line keeps all others from being done."""
    file = folder / "dropoff.toml"
    file.write_text(TOML.replace("research", "applied"))
    names = ["brief@1", "applied", "ann", "bob"]

    dry = changes(broker.ask("apply", str(file), "--dry-run"))
    assert [(change, name) for change, name in dry if name in names[1:]] == [("would make", name) for name in names[1:]]
    assert broker.ask("queue", "show", "applied").code == 3

    assert set(changes(broker.ask("apply", str(file)))) >= {("made", name) for name in names[1:]}
    assert {change for change, _ in changes(broker.ask("apply", str(file)))} == {"unchanged"}
    queue = broker.ask("queue", "show", "applied").json
    assert (queue["schema"], queue["lease_seconds"], queue["purpose"]) == ("brief@1", 90, "Questions.")
    bearers = {agent: broker.data / "agents" / f"{agent}.bearer" for agent in ("ann", "bob")}
    assert {stat.S_IMODE(bearer.stat().st_mode) for bearer in bearers.values()} == {0o600}
    payload = json.dumps({"topic": "heat pumps", "audience": "exec"})
    assert broker.ask("drop", "applied", payload, credential=bearers["ann"]).code == 0
    assert broker.ask("pick", "applied", credential=bearers["bob"]).code == 0

    (folder / "brief@2.json").write_text(BRIEF.read_text().replace("200", "100"))
    conflict = file.read_text().replace("brief@1", "brief@2") + "[agents.carol]\n"
    for flags in ((), ("--dry-run",)):
        (folder / "conflict.toml").write_text(conflict)
        heard = broker.ask("apply", str(folder / "conflict.toml"), *flags)
        assert (heard.code, heard.out) == (5, "")
        assert "queue applied: brief@2 is incompatible with brief@1, which it has (payload.topic" in heard.err
    assert broker.ask("agent", "show", "carol").code == 3
    assert broker.ask("schema", "show", "brief@2").code == 3

    file.write_text("[agents.bob]\ngrants = ['drop:applied']\n")
    pruned = changes(broker.ask("apply", str(file), "--prune"))
    assert {("granted", "bob"), ("taken", "bob"), ("taken", "ann")} <= set(pruned)
    assert broker.ask("agent", "show", "bob").json["grants"] == ["drop:applied"]
    assert broker.ask("drop", "applied", payload, credential=bearers["ann"]).code in (3, 4)
    assert broker.ask("agent", "show", "operator").json["grants"] == ["admin"]


def test_a_version_that_is_registered_with_other_content_keeps_everything_from_being_done(broker: Up, tmp_path: Path):
    """It is told with the name that the file should have; under that name it is made, and again it is unchanged."""
    first, second = tmp_path / "letter@1.json", tmp_path / "letter@2.json"
    first.write_text(BRIEF.read_text())
    file = tmp_path / "dropoff.toml"
    file.write_text("[schemas]\nletter = 'letter@1.json'\n")
    assert ("made", "letter@1") in changes(broker.ask("apply", str(file)))
    assert ("unchanged", "letter@1") in changes(broker.ask("apply", str(file)))

    first.write_text(BRIEF.read_text().replace("200", "300"))
    file.write_text("[schemas]\nletter = 'letter@1.json'\n[queues.letters]\nschema = 'letter'\n[agents.postman]\n")
    before = broker.ask("schema", "ls").json
    for flags in ((), ("--dry-run",)):
        heard = broker.ask("apply", str(file), *flags)
        assert (heard.code, heard.out) == (5, "")
        assert "Nothing was changed." in heard.err
        assert (
            "schema letter@1: is registered with other content, and a version never changes; "
            "name the file letter@2.json and leave letter@1.json as it was"
        ) in heard.err
    assert broker.ask("schema", "ls").json == before
    assert broker.ask("queue", "show", "letters").code == 3
    assert broker.ask("agent", "show", "postman").code == 3

    first.rename(second)
    first.write_text(BRIEF.read_text())
    file.write_text(file.read_text().replace("'letter@1.json'", "['letter@1.json', 'letter@2.json']"))
    done = changes(broker.ask("apply", str(file)))
    assert {("unchanged", "letter@1"), ("made", "letter@2"), ("made", "letters")} <= set(done)
    assert broker.ask("queue", "show", "letters").json["schema"] == "letter@2"
    assert {change for change, _ in changes(broker.ask("apply", str(file)))} == {"unchanged"}


def test_settings_and_state_of_a_queue_become_what_the_file_says(broker: Up, folder: Path):
    """A dry run says what would be edited, and edits nothing."""
    file = folder / "dropoff.toml"
    text = "[queues.edited]\nschema = 'brief@1'\n"
    file.write_text(text)
    assert ("made", "edited") in changes(broker.ask("apply", str(file)))

    settings = "result_schema = 'brief'\nexpires = '7d'\nretention = '2h'\napproval = true\nmax_waiting = 7\n"
    file.write_text(f"{text}{settings}state = 'paused'\n")
    before = broker.ask("queue", "show", "edited").json
    dry = broker.ask("apply", str(file), "--dry-run")
    details = {row["change"]: row["detail"] for row in dry.json if row["name"] == "edited"}
    assert details == {
        "would edit": "result schema none → brief@1, max waiting 1,000,000 → 7, "
        "approval none → by a person, expires never → 7d, retention 30d → 2h",
        "would pause": "open → paused",
    }
    assert broker.ask("queue", "show", "edited").json == before

    assert {("edited", "edited"), ("paused", "edited")} <= set(changes(broker.ask("apply", str(file))))
    after = {"expires_seconds": 604_800, "retention_seconds": 7_200, "approval": True, "max_waiting": 7}
    after["result_schema"] = "brief@1"
    paused = {"state": "paused", "reason": "by dropoff apply"}
    assert broker.ask("queue", "show", "edited").json == before | after | paused
    assert ("unchanged", "edited") in changes(broker.ask("apply", str(file)))

    file.write_text(text)
    assert ("edited", "edited") in changes(broker.ask("apply", str(file)))
    assert broker.ask("queue", "show", "edited").json == before | paused, "no state in the file: it stays"
    file.write_text(f"{text}state = 'open'\n")
    assert ("resumed", "edited") in changes(broker.ask("apply", str(file)))
    assert broker.ask("queue", "show", "edited").json == before


def test_a_queue_moves_to_a_compatible_version_and_to_no_other(broker: Up, tmp_path: Path):
    """A dry run shows it; where it is refused nothing at all is done."""
    (tmp_path / "memo@1.json").write_text(BRIEF.read_text())
    file = tmp_path / "dropoff.toml"
    file.write_text("[schemas]\nmemo = 'memo@1.json'\n[queues.memos]\nschema = 'memo'\n")
    assert ("made", "memos") in changes(broker.ask("apply", str(file)))

    (tmp_path / "memo@2.json").write_text(BRIEF.read_text().replace("200", "300"))
    file.write_text(file.read_text().replace("'memo@1.json'", "['memo@1.json', 'memo@2.json']"))
    dry = broker.ask("apply", str(file), "--dry-run")
    [row] = [row for row in dry.json if row["name"] == "memos"]
    assert (row["change"], row["detail"]) == ("would edit", "schema memo@1 → memo@2")
    assert broker.ask("queue", "show", "memos").json["schema"] == "memo@1"
    assert {("made", "memo@2"), ("edited", "memos")} <= set(changes(broker.ask("apply", str(file))))
    assert broker.ask("queue", "show", "memos").json["schema"] == "memo@2"
    assert {change for change, _ in changes(broker.ask("apply", str(file)))} == {"unchanged"}

    file.write_text("[queues.memos]\nschema = 'memo@1'\n[agents.clerk]\n")
    for flags in ((), ("--dry-run",)):
        refused = broker.ask("apply", str(file), *flags)
        assert (refused.code, refused.out) == (5, "")
        assert "queue memos: memo@1 is incompatible with memo@2, which it has" in refused.err
    assert broker.ask("queue", "show", "memos").json["schema"] == "memo@2"
    assert broker.ask("agent", "show", "clerk").code == 3


def test_a_queue_of_an_unknown_schema_is_not_found_and_nothing_is_done(broker: Up, folder: Path):
    (folder / "dropoff.toml").write_text("[queues.lost]\nschema = 'nowhere'\n[agents.lost]\n")
    heard = broker.ask("apply", str(folder / "dropoff.toml"))
    assert heard.code == 3
    assert "queue lost: there is no schema 'nowhere'" in heard.err
    assert broker.ask("agent", "show", "lost").code == 3


def test_a_bearers_file_in_the_way_is_told_before_anything_is_done(broker: Up, folder: Path):
    (broker.data / "agents").mkdir(exist_ok=True)
    (broker.data / "agents" / "erik.bearer").write_text("another broker's")
    (folder / "dropoff.toml").write_text("[queues.early]\nschema = 'brief'\n[agents.erik]\n")
    assert broker.ask("apply", str(folder / "dropoff.toml")).code == 5
    assert broker.ask("queue", "show", "early").code == 3
    assert broker.ask("agent", "show", "erik").code == 3


def test_without_a_broker_nothing_is_reached(tmp_path: Path):
    (tmp_path / "dropoff.toml").write_text("")
    assert ask("apply", str(tmp_path / "dropoff.toml"), "--url", "http://127.0.0.1:9").code == 8


def test_a_change_that_is_refused_in_the_middle_leaves_word_of_what_was_done(
    ups: Callable[..., Up], folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """The broker goes away between two changes."""
    from dropoff.cli.remote import Remote

    up, post = ups(), Remote.post
    empty = folder / "empty.toml"
    empty.write_text("")
    heard = up.ask("apply", str(empty))
    assert (heard.code, heard.json) == (0, [])
    assert "dropoff init writes one" in heard.err

    def post_or_end(self: Remote, path: str, body: Any) -> Any:
        if path == "/v1/agents":
            up.end(signal.SIGTERM)
        return post(self, path, body)

    monkeypatch.setattr(Remote, "post", post_or_end)
    heard = up.ask("apply", str(folder / "dropoff.toml"))
    assert heard.code == 8
    assert [(row["change"], row["name"]) for row in heard.json] == [("made", "brief@1"), ("made", "research")]
    assert not (up.data / "agents" / "ann.bearer").exists()
