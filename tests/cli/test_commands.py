"""Every command against a real broker: what scripts read on stdout, what people read on stderr, and the exit codes."""

import json
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dropoff.cli.retold import in_commands
from dropoff.process import serving_here
from tests.cli.brokers import DROPOFF, WAIT_S, Heard, Terminal, Up, ask, clean_environment, line_of, run, until

BRIEF = {"topic": "heat pumps", "audience": "exec"}


@pytest.fixture
def queue(broker: Up, request: pytest.FixtureRequest) -> str:
    """A queue for this test alone."""
    name = request.node.name.replace("_", "-")[:60].strip("-").lower()
    assert broker.ask("queue", "add", name, "--schema", "brief", "--lease", "90s").code == 0
    return name


def dropped(broker: Up, queue: str) -> str:
    return broker.ask("drop", queue, json.dumps(BRIEF)).json["handoff_id"]


def agent(broker: Up, name: str, *grants: str) -> Path:
    """A new agent, and the file with its bearer."""
    flags = [word for grant in grants for word in ("--grant", grant)]
    heard = broker.ask("agent", "add", name, *flags)
    assert heard.code == 0
    return Path(heard.json["credential_file"])


def wrong(heard: Heard) -> list[dict[str, Any]]:
    """What the doctor has found."""
    return [one for one in heard.json if one["verdict"] in ("broken", "warning")]


# ---- schemas and queues -----------------------------------------------------------------------------------------


def test_a_schema_is_pushed_once_and_has_its_version(broker: Up, tmp_path: Path):
    """The output is exact, because scripts depend on it."""
    file = tmp_path / "note.json"
    file.write_text('{"type": "object", "properties": {"text": {"type": "string"}}}')
    first = broker.ask("schema", "push", "note", str(file), "-o", "json")
    assert first.code == 0
    assert [*first.json][:2] == ["schema", "hash"]
    assert first.json["schema"] == "note@1"
    assert broker.ask("schema", "push", "note", "-", stdin=file.read_text()).json == first.json | {"new": False}
    assert {"schema": "note@1", "hash": first.json["hash"]} in broker.ask("schema", "ls").json
    assert broker.ask("schema", "show", "note").json["content"] == json.loads(file.read_text())


def test_a_schema_that_is_none_is_rejected(broker: Up, tmp_path: Path):
    file = tmp_path / "wrong.json"
    file.write_text('{"type": "array"}')
    heard = broker.ask("schema", "push", "wrong", str(file))
    assert heard.code == 6
    assert heard.out == ""
    assert broker.ask("schema", "show", "wrong").code == 3


def test_the_same_queue_again_is_the_same_and_another_is_a_conflict(broker: Up, queue: str):
    assert broker.ask("queue", "add", queue, "--schema", "brief@1", "--lease", "90").code == 0
    heard = broker.ask("queue", "add", queue, "--schema", "brief", "--lease", "5m")
    assert heard.code == 5
    assert "exists with other settings" in heard.err
    assert broker.ask("queue", "show", queue).json["lease_seconds"] == 90
    assert broker.ask("queue", "add", "other", "--schema", "nowhere").code == 3
    short = broker.ask("queue", "add", "other", "--schema", "brief", "--lease", "1")
    assert (short.code, short.out) == (2, "")
    assert "Invalid value for '--lease': 1 is not between 5s and 1d." in short.err
    assert broker.ask("queue", "show", "nowhere").code == 3


def test_a_queue_that_nobody_comes_for_says_so(broker: Up, queue: str):
    dropped(broker, queue)
    line = next(line for line in broker.ask("queue", "ls", "-o", "table").out.splitlines() if line.startswith(queue))
    assert line.endswith("open   ! nobody is picking up")
    assert "! nobody is picking up" in broker.ask("queue", "show", queue, "-o", "table").err
    found = next(one for one in broker.ask("queue", "ls").json if one["name"] == queue)
    assert (found["waiting"], found["leased"], found["pickers"]) == (1, 0, 0)


# ---- handoffs ---------------------------------------------------------------------------------------------------


def test_a_handoff_by_hand_from_end_to_end(broker: Up, queue: str, tmp_path: Path):
    file = tmp_path / "brief.json"
    file.write_text(json.dumps(BRIEF))
    sent = broker.ask("drop", queue, f"@{file}", "--note", "for Monday").json
    assert sent["status"] == "dropped_off"
    assert sent["receipt"]["durability"] == "fsynced"

    picked = broker.ask("pick", queue, "--wait", "0").json
    assert (picked["handoff_id"], picked["note"], picked["payload"]) == (sent["handoff_id"], "for Monday", BRIEF)

    returned = broker.ask("back", picked["lease_id"], "--outcome", "not_for_me")
    assert (returned.code, returned.json["state"]) == (0, "waiting")

    again = broker.ask("pick", queue).json
    done = broker.ask("complete", again["lease_id"], "-", stdin='{"text": "warm"}')
    assert (done.code, done.json["status"]) == (0, "completed")
    assert broker.ask("complete", again["lease_id"], '{"text": "warm"}').code == 0, "the same again is the same success"
    assert broker.ask("complete", again["lease_id"], '{"text": "cold"}').code == 5
    assert broker.ask("complete", picked["lease_id"]).code == 5

    whole = broker.ask("handoff", "show", sent["handoff_id"]).json
    assert (whole["state"], whole["result"]) == ("completed", {"text": "warm"})
    steps = [entry["step"] for entry in whole["entries"]]
    assert steps == ["drop_off", "pick_up", "release", "pick_up", "complete"]


def test_a_payload_that_does_not_fit_is_rejected_and_nothing_waits(broker: Up, queue: str):
    heard = broker.ask("drop", queue, '{"topic": "heat pumps", "audiance": "exec"}')
    assert heard.code == 6
    assert heard.out == ""
    assert "did you mean 'audience'?" in heard.err
    assert broker.ask("handoff", "ls", "--queue", queue).json == []


def test_nothing_to_pick_up_has_its_own_exit_code(broker: Up, queue: str):
    heard = broker.ask("pick", queue, "--wait", "0")
    assert heard == Heard(7, "", f"Nothing to pick up from '{queue}'.\n")
    assert broker.ask("-q", "pick", queue, "--wait", "0") == Heard(7, "", "")


def test_work_with_a_delay_is_scheduled_and_comes_later(broker: Up, queue: str):
    sent = broker.ask("drop", queue, json.dumps(BRIEF), "--delay", "2h").json
    assert sent["scheduled"] is True
    assert "warning" not in sent
    assert broker.ask("pick", queue, "--wait", "0").code == 7
    found = broker.ask("handoff", "ls", "--queue", queue, "--state", "scheduled").json
    assert [one["handoff_id"] for one in found] == [sent["handoff_id"]]


def test_pick_waits_for_what_is_dropped_meanwhile(broker: Up, queue: str):
    waiting = subprocess.Popen(
        [*DROPOFF, "pick", queue, "--wait", "30", "--url", broker.url, "--data", str(broker.data)],
        stdout=subprocess.PIPE,
        env=clean_environment(),
        text=True,
    )
    until("the picker to ask for work", lambda: broker.ask("queue", "show", queue).json["pickers"] == 1)
    id = dropped(broker, queue)
    out, _ = waiting.communicate(timeout=WAIT_S)
    assert waiting.returncode == 0
    assert json.loads(out)["handoff_id"] == id


# ---- which broker is asked --------------------------------------------------------------------------------------


def test_without_a_url_the_broker_of_the_data_folder_is_asked(broker: Up, tmp_path: Path):
    """On whatever port it listens; what is said on the line or by DROPOFF_URL wins."""
    data = ("--data", str(broker.data))
    assert ask("queue", "ls", *data).code == 0
    assert f"A broker answers at {broker.url}." in ask(*data).out
    assert wrong(ask("doctor", *data)) == []
    url = next(one for one in ask("config", "show", *data).json if one["setting"] == "url")
    assert (url["value"], url["from"]) == (broker.url, "data folder")

    named = run("queue", "ls", *data, env={"DROPOFF_URL": "http://127.0.0.1:9"})
    assert (named.code, "No broker answers at http://127.0.0.1:9 " in named.err) == (8, True)
    assert "No broker answers at http://127.0.0.1:9 " in ask("queue", "ls", *data, "--url", "http://127.0.0.1:9").err


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("http://127.0.0.1:9", "http://127.0.0.1:9"),
        ("http://0.0.0.0:9", "http://127.0.0.1:9"),
        ("http://[::]:9", "http://[::1]:9"),
        ("http://192.0.2.1:9", ""),
        ("http://localhost.example.org:9", ""),
        ("http://127.0.0.1:9@example.org", ""),
        ("http://127.0.0.1:9/../", ""),
    ],
)
def test_a_data_folder_names_a_broker_only_on_loopback_and_only_while_it_serves(tmp_path: Path, said: str, asked: str):
    """A credential is sent there: what a file says must not send it elsewhere, nor what somebody left behind."""
    with serving_here.said(tmp_path, said):
        assert serving_here.to_ask(tmp_path) == asked
    assert (tmp_path / "broker.lock").read_text().endswith(said), "it is still written there"
    assert serving_here.to_ask(tmp_path) == ""


def test_a_broker_that_does_not_know_the_caller_is_named(broker: Up, tmp_path: Path):
    """It may be another one than was meant."""
    stranger = tmp_path / "stranger"
    stranger.write_text("dropoff_bearer_" + "x" * 43)
    stranger.chmod(0o600)
    for args in (["queue", "ls"], ["pick", "research"]):
        heard = broker.ask(*args, credential=stranger)
        assert heard.code == 4
        assert f"Asked was the broker at {broker.url};" in heard.err
    [found] = wrong(broker.ask("doctor", credential=stranger))
    assert f"The broker at {broker.url} does not accept the credential in {stranger}" in found["says"]


# ---- refusals, in commands --------------------------------------------------------------------------------------


def test_a_refusal_names_the_command_and_not_the_tool_that_comes_next(broker: Up, queue: str):
    """As an operator at the command line, one has no tools to call."""
    work = json.dumps(BRIEF)
    misfit = broker.ask("drop", queue, "{}")
    assert (misfit.code, misfit.err.splitlines()[-1].endswith("and say it again: dropoff drop …")) == (6, True)

    broker.ask("drop", queue, work)
    lease = broker.ask("pick", queue).json["lease_id"]
    assert broker.ask("back", lease, "--outcome", "try_again", "--reason", "no luck").code == 0
    late = broker.ask("complete", lease, "{}")
    assert (late.code, "Stop working on it; new work comes by: dropoff pick …" in late.err) == (5, True)

    broker.ask("queue", "drain", queue, "--reason", "moving\nhouse")
    drained = broker.ask("drop", queue, work)
    assert drained.code == 4
    assert drained.err.endswith(f"Nothing was stored. It does again after: dropoff queue resume {queue}\n")

    ann = agent(broker, "frozen-ann", "drop:*", "pick:*")
    broker.ask("agent", "freeze", "frozen-ann")
    assert "lets it go on: dropoff agent thaw frozen-ann\n" in broker.ask("drop", queue, work, credential=ann).err
    broker.ask("freeze")
    frozen = broker.ask("drop", queue, work)
    broker.ask("thaw")
    assert (frozen.code, "lets it go on: dropoff thaw\n" in frozen.err) == (4, True)


def test_what_is_not_in_the_table_is_said_as_it_came():
    for sentence in ("call drop_off again. But not at its end", "Do not retry in this run; report it."):
        assert in_commands(sentence) == sentence


def test_what_is_not_there_is_not_found(broker: Up):
    assert broker.ask("drop", "nowhere", "{}").code == 3
    assert broker.ask("handoff", "show", "research-8F3K2Q9T1MXK7A4B").code == 3
    assert broker.ask("complete", "research-8F3K2Q9T1MXK7A4B.1").code == 3
    assert broker.ask("agent", "show", "nobody").code == 3


# ---- agents -----------------------------------------------------------------------------------------------------


def test_an_agents_bearer_goes_into_a_file_for_its_owner_alone(broker: Up):
    heard = broker.ask("agent", "add", "ann", "--grant", "drop:research", "--bearer", "-o", "table")
    file = broker.data / "agents" / "ann.bearer"
    secret = file.read_text().strip()
    assert heard.code == 0
    assert secret.startswith("dropoff_bearer_")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret not in heard.out + heard.err
    assert str(file) in heard.out
    assert f'"url": "{broker.url}/mcp"' in heard.out
    assert broker.ask("agent", "show", "ann").json["grants"] == ["drop:research"]


def test_who_is_made_is_shown_how_to_begin_by_what_it_may(broker: Up):
    """Programs connect by MCP; who only looks on and operates has commands; who may nothing needs a grant first."""
    for name, grants in {"looker": ("inspect:*", "operate:research"), "chief": ("admin",)}.items():
        flags = [word for grant in grants for word in ("--grant", grant)]
        made = broker.ask("agent", "add", name, *flags, "-o", "table")
        file = broker.data / "agents" / f"{name}.bearer"
        assert f"Next  dropoff queue ls --credential-file {file}\n" in made.err
        assert "MCP" not in made.out + made.err
        assert broker.ask("queue", "ls", "--credential-file", str(file)).code == 0
    nobody = broker.ask("agent", "add", "newcomer", "-o", "table")
    assert "Next  dropoff agent grant newcomer GRANT" in nobody.err
    assert "MCP" not in nobody.out + nobody.err
    both = broker.ask("agent", "add", "both", "--grant", "inspect:*", "--grant", "pick:research", "-o", "table")
    assert f"{broker.url}/mcp" in both.out


def test_only_who_asks_for_json_gets_the_bearer_itself(broker: Up):
    """What happens to be a pipe may be a log."""
    asked = broker.ask("agent", "add", "bob", "--grant", "pick:research", "-o", "json")
    assert asked.json.keys() == {"agent", "grants", "bearer"}
    assert asked.json["bearer"] not in asked.err
    assert not (broker.data / "agents" / "bob.bearer").exists()
    piped = broker.ask("agent", "add", "carol")
    assert piped.json == {"agent": "carol", "grants": [], "credential_file": str(broker.data / "agents/carol.bearer")}


def test_a_credential_is_never_overwritten_and_nobody_is_made_without_a_place_for_it(broker: Up):
    file = broker.data / "agents" / "dave.bearer"
    file.parent.mkdir(exist_ok=True)
    file.write_text("another broker's")
    heard = broker.ask("agent", "add", "dave")
    assert heard.code == 5
    assert "never overwritten" in heard.err
    assert file.read_text() == "another broker's"
    assert broker.ask("agent", "show", "dave").code == 3


def test_a_name_that_is_taken_is_said_also_where_its_file_is_still_there(broker: Up):
    """And that of a revoked agent stays taken; no detour over the file tells it."""
    agent(broker, "taken-name")
    file = broker.data / "agents" / "taken-name.bearer"
    before = file.read_text()
    taken = broker.ask("agent", "add", "taken-name")
    assert (taken.code, taken.out) == (5, "")
    assert "Agent 'taken-name' exists" in taken.err
    assert "dropoff agent grant taken-name GRANT" in taken.err
    assert broker.ask("agent", "revoke", "taken-name").code == 0
    for form in ("table", "json"):
        revoked = broker.ask("agent", "add", "taken-name", "-o", form)
        assert (revoked.code, revoked.out) == (5, "")
        assert "Agent 'taken-name' is revoked, which is final: its name stays taken" in revoked.err
        assert "dropoff agent add NAME --grant GRANT" in revoked.err
    assert file.read_text() == before


def test_a_refused_agent_leaves_no_file(broker: Up):
    assert broker.ask("agent", "add", "erin", "--grant", "dorp:research").code == 6
    assert not (broker.data / "agents" / "erin.bearer").exists()
    agent(broker, "erin")
    (broker.data / "agents" / "erin.bearer").unlink()
    assert broker.ask("agent", "add", "erin").code == 5
    assert not (broker.data / "agents" / "erin.bearer").exists()


def test_an_agent_does_what_it_may_and_nothing_else(broker: Up, queue: str):
    """By its own credential, from DROPOFF_CREDENTIAL_FILE or --credential-file."""
    frank = agent(broker, "frank", f"drop:{queue}")
    assert broker.ask("drop", queue, json.dumps(BRIEF), credential=frank).code == 0
    refused = broker.ask("pick", queue, "--credential-file", str(frank))
    assert refused.code == 4
    assert "may not pick up" in refused.err
    assert broker.ask("agent", "ls", credential=frank).code == 4
    assert broker.ask("agent", "grant", "frank", f"pick:{queue}").json["grants"] == [f"drop:{queue}", f"pick:{queue}"]
    lease = broker.ask("pick", queue, credential=frank).json["lease_id"]
    assert broker.ask("agent", "show", "frank").json["holds"] == [lease]
    assert broker.ask("complete", lease, credential=frank).code == 0
    assert broker.ask("agent", "ungrant", "frank", f"drop:{queue}").json["grants"] == [f"pick:{queue}"]
    assert broker.ask("drop", queue, json.dumps(BRIEF), credential=frank).code == 4
    assert broker.ask("agent", "revoke", "frank", "--reason", "moved on").json["standing"] == "revoked"
    assert broker.ask("pick", queue, credential=frank).code == 4


def test_a_revocation_says_what_becomes_of_what_was_held(broker: Up, queue: str):
    gina = agent(broker, "gina", f"pick:{queue}")
    id = dropped(broker, queue)
    assert broker.ask("pick", queue, credential=gina).code == 0
    revoked = broker.ask("agent", "revoke", "gina")
    assert "It held 1 lease, which goes back within seconds; the work waits again, and no attempt is" in revoked.err
    again = broker.ask("pick", queue, "--wait", "20").json
    assert (again["handoff_id"], again["attempt"]) == (id, 1)
    assert "It held no lease." in broker.ask("agent", "revoke", "gina").err
    unknown = broker.ask("agent", "revoke", "nobody")
    assert (unknown.code, "There is no agent 'nobody'." in unknown.err) == (3, True)


def test_without_a_credential_it_says_where_one_was_looked_for(broker: Up, tmp_path: Path):
    heard = ask("queue", "ls", "--url", broker.url, "--data", str(tmp_path))
    assert heard.code == 4
    assert str(tmp_path / "operator.bearer") in heard.err
    heard = broker.ask("queue", "ls", credential=tmp_path / "no-such-file")
    assert heard.code == 4
    assert "cannot be read" in heard.err


# ---- the ledger, and the forms of what is shown -----------------------------------------------------------------


def test_the_ledgers_tail_is_its_newest_entries(broker: Up, queue: str):
    id = dropped(broker, queue)
    found = broker.ask("ledger", "tail", "-n", "3", "-o", "jsonl").out.splitlines()
    last = json.loads(found[-1])
    assert len(found) == 3
    assert (last["step"], last["handoff"], last["actor"]) == ("drop_off", id, "operator")


def test_following_the_ledger_shows_each_new_entry_until_ctrl_c(broker: Up, queue: str):
    following = subprocess.Popen(
        [*DROPOFF, "ledger", "tail", "-f", "-n", "1", "--url", broker.url, "--data", str(broker.data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
        text=True,
    )
    assert following.stdout is not None
    assert json.loads(line_of(following))["step"]
    id = dropped(broker, queue)
    assert json.loads(line_of(following))["handoff"] == id
    following.send_signal(signal.SIGINT)
    _, err = following.communicate(timeout=WAIT_S)
    assert (following.returncode, err) == (0, "")


def test_data_is_json_where_no_terminal_is_and_a_table_where_one_is(broker: Up, queue: str):
    where = ["--url", broker.url, "--data", str(broker.data)]
    piped = run("queue", "ls", *where)
    assert (piped.code, piped.err) == (0, "")
    assert queue in [one["name"] for one in piped.json]
    colored, plain = on_a_terminal("queue", "ls", *where), on_a_terminal("queue", "ls", "--no-color", *where)
    assert plain.splitlines()[0].split() == [
        "QUEUE", "WAITING", "LEASED", "DEAD", "OLDEST", "IN/min", "OUT/min", "PICKERS", "SCHEMA", "STATE",
    ]  # fmt: skip
    assert "\x1b[3" not in plain
    assert colored.splitlines()[0].startswith("\x1b[1m")


def on_a_terminal(*args: str) -> str:
    terminal = Terminal(*args)
    assert terminal.end() == 0
    terminal.close()
    return terminal.shown


def test_empty_answers_say_what_to_do_next(broker: Up, queue: str):
    """To people; a script reads an empty list."""
    heard = broker.ask("handoff", "ls", "--queue", queue, "--state", "dead", "-o", "table")
    assert heard == Heard(
        0, "", f"No handoffs in '{queue}' that are dead. In any state: dropoff handoff ls --queue {queue}\n"
    )
    assert broker.ask("handoff", "ls", "--queue", queue, "-o", "jsonl", "-q") == Heard(0, "", "")


def test_a_hostile_note_is_shown_in_one_harmless_line(broker: Up, queue: str):
    note = "hello\x1b[2K\nstate  completed"
    id = broker.ask("drop", queue, json.dumps(BRIEF), "--note", note).json["handoff_id"]
    for command in (["ls", "--queue", queue], ["show", id]):
        out = broker.ask("handoff", *command, "-o", "table").out
        assert "\x1b" not in out
        assert "hello�[2K state completed" in out
    assert broker.ask("handoff", "show", id).json["note"] == note


def test_people_are_told_the_lease_and_the_next_step(broker: Up, queue: str):
    sent = broker.ask("drop", queue, json.dumps(BRIEF), "-o", "table")
    assert sent.out.strip().startswith(queue)
    assert "Nobody has picked up" in sent.err
    picked = broker.ask("pick", queue, "-o", "table")
    lease = next(line.split()[-1] for line in picked.out.splitlines() if line.startswith("lease "))
    assert lease.startswith(sent.out.strip() + ".")
    assert '"topic": "heat pumps"' in picked.out
    assert f"dropoff complete {lease}" in picked.err
    done = broker.ask("complete", lease, "{}", "-o", "table")
    assert (done.code, done.out) == (0, "")
    assert "Completed" in done.err
