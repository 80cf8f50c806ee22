"""What operators do by the command line: each act, the act said again, each refusal with its exit code.

A refusal is followed by a look: nothing was changed.
"""

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dropoff.cli.times import iso
from tests.cli.brokers import DROPOFF, WAIT_S, Heard, Terminal, Up, ask, clean_environment, line_of, until
from tests.cli.conftest import BRIEF as CONTRACT

BRIEF = {"topic": "heat pumps", "audience": "exec"}


@pytest.fixture
def queue(broker: Up, request: pytest.FixtureRequest) -> str:
    """A queue for this test alone."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name)[-60:].strip("-")
    assert broker.ask("queue", "add", name, "--schema", "brief").code == 0
    return name


@pytest.fixture
def approved(broker: Up, queue: str) -> str:
    """A queue in which a person has to approve what comes."""
    assert broker.ask("queue", "edit", queue, "--approval").code == 0
    return queue


@pytest.fixture
def terminal(broker: Up) -> Iterator[Any]:
    """Starts commands on terminals of their own."""
    started: list[Terminal] = []

    def start(*args: str) -> Terminal:
        started.append(Terminal(*args, "--url", broker.url, "--data", str(broker.data)))
        return started[-1]

    yield start
    for one in started:
        one.close()


def agent(broker: Up, name: str, *grants: str) -> Path:
    """A new agent, and the file with its bearer."""
    flags = [word for grant in grants for word in ("--grant", grant)]
    return Path(broker.ask("agent", "add", name, *flags).json["credential_file"])


def dropped(broker: Up, queue: str, credential: str | Path = "") -> str:
    heard = broker.ask("drop", queue, json.dumps(BRIEF), credential=credential)
    assert heard.code == 0, heard.err
    return heard.json["handoff_id"]


def picked(broker: Up, queue: str, credential: str | Path = "") -> dict[str, Any]:
    heard = broker.ask("pick", queue, "--wait", "0", credential=credential)
    assert heard.code == 0, heard.err
    return heard.json


def shown(broker: Up, id: str) -> dict[str, Any]:
    return broker.ask("handoff", "show", id).json


def twice(broker: Up, *args: str) -> Heard:
    """An act, and the act said again: a success both times, which tells the same."""
    heard = [broker.ask(*args) for _ in range(2)]
    assert [one.code for one in heard] == [0, 0], heard
    first, again = ({**one.json, "oldest_seconds": None} for one in heard)
    assert first == again
    return heard[1]


def row(broker: Up, queue: str) -> str:
    """The queue's line for people."""
    lines = broker.ask("queue", "ls", "-o", "table").out.splitlines()
    return next(line for line in lines if line.split()[0] == queue)


# ---- queues: pause, resume, drain -------------------------------------------------------------------------------


def test_a_paused_queue_takes_work_and_gives_none_until_it_is_resumed(broker: Up, queue: str):
    """What is held may be finished meanwhile."""
    dropped(broker, queue)
    held = picked(broker, queue)
    paused = twice(broker, "queue", "pause", queue, "--reason", "release \x1b[2Kfreeze")
    assert (paused.json["state"], paused.json["leased"]) == ("paused", 1)
    assert f"Queue '{queue}' is paused: work comes in, none goes out. In force now." in paused.err
    assert f"Next  dropoff queue resume {queue}" in paused.err

    id = dropped(broker, queue)
    nothing = broker.ask("pick", queue, "--wait", "0")
    assert (nothing.code, nothing.out) == (7, "")
    assert f"It is paused: dropoff queue resume {queue}" in nothing.err
    assert broker.ask("complete", held["lease_id"]).code == 0
    assert row(broker, queue).endswith('paused  "release �[2Kfreeze"')
    assert 'state          paused "release �[2Kfreeze"' in broker.ask("queue", "show", queue, "-o", "table").out

    opened = twice(broker, "queue", "resume", queue)
    assert (opened.json["state"], opened.json["reason"]) == ("open", "")
    assert picked(broker, queue)["handoff_id"] == id


def test_a_queue_that_is_stopped_again_keeps_its_reason_unless_another_is_given(broker: Up, queue: str):
    broker.ask("queue", "pause", queue, "--reason", "audit")
    assert broker.ask("queue", "pause", queue).json["reason"] == "audit"
    assert broker.ask("queue", "pause", queue, "--reason", "longer audit").json["reason"] == "longer audit"
    assert broker.ask("queue", "drain", queue).json["reason"] == "", "it is another state, and has a reason of its own"


def test_a_queue_that_is_stopped_is_the_same_queue_when_it_is_made_again(broker: Up, queue: str):
    """Only settings count; what somebody has done to it since stays done."""
    for act in ("pause", "drain"):
        stopped = broker.ask("queue", act, queue, "--reason", "audit").json
        again = broker.ask("queue", "add", queue, "--schema", "brief")
        assert (again.code, again.json) == (0, stopped), again.err
    other = broker.ask("queue", "add", queue, "--schema", "brief", "--lease", "10m", "--purpose", "Why")
    assert (other.code, other.out) == (5, "")
    assert "It has --purpose '', not 'Why'; --lease 5m, not 10m." in other.err
    every = broker.ask(
        "queue", "add", queue, "--schema", "brief", "--approval", "--expires", "7d", "--max-attempts", "3"
    )
    assert "It has --max-attempts 5, not 3; --no-approval, not --approval; --expires never, not 7d." in every.err
    assert broker.ask("queue", "show", queue).json == stopped


def test_a_draining_queue_gives_work_and_takes_none(broker: Up, queue: str):
    id = dropped(broker, queue)
    drained = twice(broker, "queue", "drain", queue, "--reason", "moving")
    assert (drained.json["state"], drained.json["reason"]) == ("draining", "moving")
    assert "work goes out, none comes in" in drained.err
    refused = broker.ask("drop", queue, json.dumps(BRIEF))
    assert (refused.code, refused.out) == (4, "")
    assert '("moving")' in refused.err
    assert [one["handoff_id"] for one in broker.ask("handoff", "ls", "--queue", queue).json] == [id]
    assert picked(broker, queue)["handoff_id"] == id


@pytest.mark.parametrize("act", [("pause",), ("resume",), ("drain",), ("edit", "--lease", "5m"), ("rm", "--yes")])
def test_a_queue_is_operated_only_where_it_is_and_by_who_may(broker: Up, queue: str, act: tuple[str, ...]):
    before = broker.ask("queue", "show", queue).json
    name = f"nosy-{act[0]}"
    nosy = agent(broker, name, f"inspect:{queue}")
    assert broker.ask("queue", act[0], "nowhere", *act[1:]).code == 3
    assert broker.ask("queue", act[0], queue, *act[1:], credential=nosy).code == 4
    assert broker.ask("queue", "show", queue).json == before


# ---- queues: settings -------------------------------------------------------------------------------------------

FLAGS = (
    "--lease 10m --max-attempts 3 --max-bytes 1000 --max-waiting 7 --expires 7d --retention 2h --approval --purpose Why"
)
SETTINGS = {
    "lease_seconds": 600,
    "max_attempts": 3,
    "max_bytes": 1_000,
    "max_waiting": 7,
    "expires_seconds": 604_800,
    "retention_seconds": 7_200,
    "approval": True,
    "purpose": "Why",
}


def test_a_queue_is_made_with_every_setting(broker: Up):
    made = broker.ask("queue", "add", "with-all", "--schema", "brief", *FLAGS.split())
    assert made.code == 0
    assert SETTINGS.items() <= made.json.items()
    assert broker.ask("queue", "add", "with-all", "--schema", "brief", *FLAGS.split()).code == 0, "said again"
    out = broker.ask("queue", "show", "with-all", "-o", "table").out
    for line in ("lease          10m", "approval       by a person", "expires        7d", "retention      2h"):
        assert line in out


def test_settings_are_edited_one_by_one_and_the_others_stay(broker: Up, queue: str):
    """What was changed is said with what it was."""
    before = broker.ask("queue", "show", queue).json
    edited = broker.ask("queue", "edit", queue, *FLAGS.split())
    assert (edited.code, edited.json) == (0, before | SETTINGS)
    for words in ("lease 5m → 10m", "expires never → 7d", "approval none → by a person", "purpose none → 'Why'"):
        assert words in edited.err
    again = broker.ask("queue", "edit", queue, *FLAGS.split())
    assert (again.code, again.json) == (0, edited.json)
    assert "Nothing was changed." in again.err

    back = broker.ask("queue", "edit", queue, "--expires", "never", "--no-approval", "--purpose", "")
    assert back.json == edited.json | {"expires_seconds": 0, "approval": False, "purpose": ""}


def test_a_result_schema_is_given_shown_and_taken_away(broker: Up, queue: str):
    """What it means for a result: exit code 6, with what is to mend, until it is taken away."""
    made = broker.ask("queue", "add", f"{queue}-too", "--schema", "brief", "--result-schema", "brief")
    assert (made.code, made.json["result_schema"]) == (0, "brief@1")
    again = broker.ask("queue", "add", f"{queue}-too", "--schema", "brief")
    assert (again.code, again.out) == (5, "")
    assert "--result-schema brief@1, not --no-result-schema" in again.err

    edited = broker.ask("queue", "edit", queue, "--result-schema", "brief@1")
    assert (edited.code, edited.json["result_schema"]) == (0, "brief@1")
    assert "result schema none → brief@1" in edited.err
    assert "result schema  brief@1" in broker.ask("queue", "show", queue, "-o", "table").out
    dropped(broker, queue)
    lease = broker.ask("pick", queue).json["lease_id"]
    refused = broker.ask("complete", lease, '{"topic":"owls"}')
    assert (refused.code, refused.out) == (6, "")
    assert "Result rejected by schema brief@1: 1 problem." in refused.err
    assert "- result.audience: missing (required)" in refused.err

    back = broker.ask("queue", "edit", queue, "--no-result-schema")
    assert (back.code, back.json["result_schema"]) == (0, "")
    assert "result schema brief@1 → none" in back.err
    assert broker.ask("complete", lease, '{"topic":"owls"}').code == 0


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--result-schema", ""], 2, "is empty. Name a schema, or say --no-result-schema."),
        (["--result-schema", "brief@1", "--no-result-schema"], 2, "either --result-schema or --no-result-schema"),
        (["--result-schema", "nowhere"], 3, "There is no schema 'nowhere'."),
    ],
)
def test_a_result_schema_that_is_none_changes_nothing(broker: Up, queue: str, flags: list[str], code: int, words: str):
    """A variable that is not set in a script must not take the contract away."""
    assert broker.ask("queue", "edit", queue, "--result-schema", "brief@1").code == 0
    before = broker.ask("queue", "show", queue).json
    refused = broker.ask("queue", "edit", queue, *flags)
    assert (refused.code, refused.out) == (code, "")
    assert words in " ".join(refused.err.split())
    assert broker.ask("queue", "show", queue).json == before


def test_an_edit_that_says_nothing_or_too_much_changes_nothing(broker: Up, queue: str):
    before = broker.ask("queue", "show", queue).json
    nothing = broker.ask("queue", "edit", queue)
    assert (nothing.code, nothing.out) == (2, "")
    assert "Say what to change" in nothing.err
    assert broker.ask("queue", "edit", queue, "--lease", "soon").code == 2
    assert broker.ask("queue", "edit", queue, "--lease", "never").code == 2
    refused = broker.ask("queue", "edit", queue, "--max-attempts", "3", "--retention", "1s")
    assert (refused.code, refused.out) == (2, "")
    assert "Invalid value for '--retention': 1s is not between 1m and 365d." in refused.err
    for flag, value in (
        ("--lease", "30d"), ("--lease", "0"), ("--expires", "366d"), ("--max-attempts", "0"), ("--max-bytes", "300000"),
        ("--max-waiting", "0"), ("--purpose", "x" * 501),
    ):  # fmt: skip
        refused = broker.ask("queue", "edit", queue, flag, value)
        assert (refused.code, refused.out) == (2, ""), flag
        assert f"Invalid value for '{flag}'" in refused.err
    assert broker.ask("queue", "show", queue).json == before


# ---- queues: what agents get wrong ------------------------------------------------------------------------------


def rejections(broker: Up, queue: str) -> dict[str, int]:
    heard = broker.ask("queue", "rejections", queue)
    assert heard.code == 0, heard.err
    return {f"{one['schema']} {one['what']} {one['place']}": one["count"] for one in heard.json}


def test_what_agents_get_wrong_is_shown(broker: Up, queue: str):
    """As a table for people, as data for scripts; of a field that nobody knows not even the name."""
    nothing = broker.ask("queue", "rejections", queue)
    assert (nothing.code, nothing.json) == (0, [])
    assert f"Nothing was rejected for queue '{queue}'." in nothing.err
    assert "rejections" not in broker.ask("queue", "show", queue).err

    assert broker.ask("drop", queue, json.dumps(BRIEF | {"secret_name": 1})).code == 6
    assert broker.ask("drop", queue, '{"topic":"heat pumps"}').code == 6
    faults = {"brief@1 unknown /properties": 1, "brief@1 missing /properties/audience": 1}
    until("the counts", lambda: rejections(broker, queue) == faults)

    table = broker.ask("queue", "rejections", queue, "-o", "table").out
    assert re.search(r"^SCHEMA +PLACE +WHAT +COUNT +LAST$", table, re.MULTILINE)
    assert re.search(r"^brief@1 +/properties/audience +missing +1 +20\d\d-.*Z$", table, re.MULTILINE)
    assert re.search(r"^brief@1 +/properties +unknown field +1 ", table, re.MULTILINE)
    lines = broker.ask("queue", "rejections", queue, "-o", "jsonl").out.splitlines()
    assert [json.loads(line)["count"] for line in lines] == [1, 1]
    shown = broker.ask("queue", "show", queue)
    assert f"Payloads were rejected. Why: dropoff queue rejections {queue}" in shown.err
    assert "secret_name" not in table + shown.out + shown.err
    assert broker.ask("queue", "rejections", "nowhere").code == 3


def test_what_agents_got_wrong_outlives_the_broker(ups: Callable[..., Up]):
    """One that ends in order writes what it has only gathered; what was written, `kill -9` does not take."""
    first = ups()
    assert first.ask("schema", "push", "brief", str(CONTRACT)).code == 0
    assert first.ask("queue", "add", "research", "--schema", "brief").code == 0
    assert first.ask("drop", "research", '{"topic":"heat pumps"}').code == 6
    assert first.end(signal.SIGTERM).code == 0

    second = ups()
    assert rejections(second, "research") == {"brief@1 missing /properties/audience": 1}
    assert second.ask("drop", "research", '{"topic":"heat pumps"}').code == 6
    until("the second to be counted", lambda: [*rejections(second, "research").values()] == [2])
    second.end(signal.SIGKILL)

    third = ups()
    assert rejections(third, "research") == {"brief@1 missing /properties/audience": 2}
    assert third.ask("queue", "rm", "research", "--yes").code == 0
    assert third.ask("queue", "add", "research", "--schema", "brief").code == 0
    assert rejections(third, "research") == {}


# ---- queues: rm -------------------------------------------------------------------------------------------------


def test_a_queue_is_removed_when_it_is_empty_and_somebody_means_it(broker: Up, queue: str):
    id = dropped(broker, queue)
    unsaid = broker.ask("queue", "rm", queue)
    assert (unsaid.code, unsaid.out) == (2, "")
    assert "--yes" in unsaid.err
    left = broker.ask("queue", "rm", queue, "--yes")
    assert (left.code, left.out) == (5, "")
    assert "still holds 1 handoff (1 waiting)." in left.err
    assert f"dropoff queue drain {queue}" in left.err
    assert shown(broker, id)["state"] == "waiting"
    assert broker.ask("queue", "show", queue).json["state"] == "open"

    assert broker.ask("complete", picked(broker, queue)["lease_id"]).code == 0
    removed = broker.ask("queue", "rm", queue, "--yes")
    assert (removed.code, removed.json) == (0, {"queue": queue, "erased": 1})
    assert "1 ended handoff is forgotten" in removed.err
    assert broker.ask("queue", "rm", queue, "--yes").code == 3
    assert broker.ask("queue", "show", queue).code == 3
    assert broker.ask("handoff", "show", id).code == 3


def test_on_a_terminal_removal_says_what_is_forgotten_and_asks(broker: Up, queue: str, terminal: Any):
    """A no changes nothing; where something is left nobody is asked."""
    id = dropped(broker, queue)
    left = terminal("queue", "rm", queue)
    assert left.end() == 5
    assert "Remove it?" not in left.shown
    assert "still holds 1 handoff (1 waiting)." in left.shown
    assert broker.ask("handoff", "withdraw", id).code == 0

    for answer, code, there in (("n\n", 1, 0), ("\n", 1, 0), ("y\n", 0, 3)):
        asked = terminal("queue", "rm", queue, "-q")
        assert "1 ended handoff is forgotten with it, for good." in asked.read_until("Remove it? [y/N]")
        asked.type(answer)
        assert asked.end() == code
        assert ("Nothing was changed." in asked.shown) == (code == 1)
        assert "Error" not in asked.shown, "a no is no error"
        assert broker.ask("queue", "show", queue).code == there


# ---- queues: looking on -----------------------------------------------------------------------------------------


def watching(broker: Up, *flags: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*DROPOFF, "queue", "ls", "--watch", "--url", broker.url, "--data", str(broker.data), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
        text=True,
    )


def test_watching_in_a_pipe_gives_a_snapshot_a_line_until_ctrl_c(broker: Up, queue: str):
    watched = watching(broker)
    looks = [json.loads(line_of(watched))]
    assert looks[0].keys() == {"at", "frozen", "queues"}
    assert looks[0]["frozen"] is False
    dropped(broker, queue)

    def waiting() -> int:
        return next(one["waiting"] for one in looks[-1]["queues"] if one["name"] == queue)

    assert waiting() == 0
    while not waiting() and len(looks) < 10:  # a look may come before the drop
        looks.append(json.loads(line_of(watched)))
        assert looks[-1]["at"] > looks[-2]["at"]
    assert waiting() == 1
    watched.send_signal(signal.SIGINT)
    _, err = watched.communicate(timeout=WAIT_S)
    assert (watched.returncode, err) == (0, "")


def test_watching_ends_when_nobody_reads_any_more(broker: Up):
    watched = watching(broker, "-o", "table")
    assert line_of(watched).endswith("Ctrl-C ends\n")
    assert watched.stdout is not None
    watched.stdout.close()
    watched.stdout = None
    _, err = watched.communicate(timeout=WAIT_S)
    assert (watched.returncode, err) == (0, "")


def test_watching_on_a_terminal_draws_over_the_last_look_until_ctrl_c(broker: Up, queue: str, terminal: Any):
    hostile = "x\x1b]0;owned\x07"
    broker.ask("queue", "pause", queue, "--reason", hostile)
    watched = terminal("queue", "ls", "--watch")
    assert "PICKERS" in watched.read_until("x�]0;owned�")
    broker.ask("queue", "resume", queue)
    dropped(broker, queue)
    assert "\x1b[1A" in watched.read_until("! nobody is picking up"), "the cursor goes up, and the table is drawn again"
    watched.type("\x03")
    assert watched.end() == 0
    assert hostile not in watched.shown
    assert watched.shown.rstrip().endswith("\x1b[?25h"), "the cursor is back"


# ---- handoffs: withdraw, release --------------------------------------------------------------------------------


def test_an_operator_withdraws_what_waits_and_asks_for_what_is_held(broker: Up, queue: str):
    waiting = dropped(broker, queue, agent(broker, "sender-w", f"drop:{queue}"))
    assert twice(broker, "handoff", "withdraw", waiting, "--reason", "wrong season").json["status"] == "withdrawn"
    assert (shown(broker, waiting)["state"], shown(broker, waiting)["reason"]) == ("withdrawn", "wrong season")

    held = dropped(broker, queue)
    lease = picked(broker, queue)["lease_id"]
    asked = twice(broker, "handoff", "withdraw", held)
    assert asked.json["status"] == "withdrawal_asked"
    assert f"dropoff handoff release {held}" in asked.err
    assert broker.ask("complete", lease).code == 0, "it was asked, not taken"
    over = broker.ask("handoff", "withdraw", held)
    assert (over.code, over.out) == (5, "")
    assert shown(broker, held)["state"] == "completed"
    assert broker.ask("handoff", "withdraw", "nowhere-8F3K2Q9T1MXK7A4B").code == 3


def test_a_hung_holder_is_shown_and_loses_just_this_lease(broker: Up, queue: str):
    id = dropped(broker, queue)
    hung = agent(broker, "hung", f"pick:{queue}")
    lease = picked(broker, queue, hung)["lease_id"]
    since = next(entry["at"] for entry in shown(broker, id)["entries"] if entry["step"] == "pick_up")
    released = broker.ask("handoff", "release", id, "--reason", "no news for an hour")
    assert (released.code, released.json["handoff_id"], released.json["state"]) == (0, id, "waiting")
    assert f"Held by 'hung' since {iso(since)}" in released.err
    assert f"Released {lease}. It waits, and may be picked up." in released.err
    assert broker.ask("complete", lease, credential=hung).code == 5
    assert shown(broker, id)["attempt"] == 1, "it counts as nobody's failure"

    nobody = broker.ask("handoff", "release", id)
    assert (nobody.code, nobody.out) == (5, "")
    assert "nobody holds it" in nobody.err


def test_who_holds_a_newer_lease_is_not_disturbed(broker: Up, queue: str):
    id = dropped(broker, queue)
    old = picked(broker, queue)["lease_id"]
    assert twice(broker, "handoff", "release", old).json["state"] == "waiting"
    new = picked(broker, queue)["lease_id"]
    operator = agent(broker, "other-operator", f"operate:{queue}")
    moved = broker.ask("handoff", "release", old, credential=operator)
    assert (moved.code, moved.out) == (5, "")
    assert (shown(broker, id)["state"], shown(broker, id)["lease_id"]) == ("leased", new)
    assert broker.ask("handoff", "release", new, credential=operator).code == 0


def test_release_refuses_what_is_no_lease_and_who_may_not(broker: Up, queue: str):
    id = dropped(broker, queue)
    lease = picked(broker, queue)["lease_id"]
    for wrong in ("garbage", "nowhere-8F3K2Q9T1MXK7A4B", f"{id[:-1]}{'0' if id[-1] != '0' else '1'}.1"):
        assert broker.ask("handoff", "release", wrong).code == 3
    nosy = agent(broker, "nosy-release", f"inspect:{queue}")
    assert broker.ask("handoff", "release", id, credential=nosy).code == 4
    assert shown(broker, id)["lease_id"] == lease


# ---- handoffs: approve, deny ------------------------------------------------------------------------------------


def test_a_script_approves_just_the_payload_whose_digest_it_says(broker: Up, approved: str):
    sent = broker.ask("drop", approved, json.dumps(BRIEF), "-o", "table", credential=agent(broker, "s1", "drop:*"))
    id = sent.out.strip()
    assert f"Held until somebody approves it for '{approved}'." in sent.err
    assert row(broker, approved).endswith("! 1 held for approval")
    assert f"dropoff handoff ls --queue {approved} --state held" in broker.ask("queue", "show", approved).err
    assert broker.ask("pick", approved, "--wait", "0").code == 7

    unsaid = broker.ask("handoff", "approve", id)
    assert (unsaid.code, unsaid.out) == (2, "")
    assert f"dropoff handoff show {id} -o json" in unsaid.err
    assert broker.ask("handoff", "approve", id, "--digest", "0" * 64).code == 5
    assert shown(broker, id)["state"] == "held"

    digest = shown(broker, id)["digest"]
    done = twice(broker, "handoff", "approve", id, "--digest", digest, "--reason", "fine")
    assert (done.json["handoff_id"], done.json["state"]) == (id, "waiting")
    assert f"Approved {id}. It waits, and may be picked up." in done.err
    assert broker.ask("handoff", "deny", id, "--digest", digest, "--reason", "too late").code == 5
    assert picked(broker, approved)["handoff_id"] == id


def test_what_is_denied_is_rejected_and_its_sender_reads_why(broker: Up, approved: str):
    sender = agent(broker, "s2", f"drop:{approved}")
    id = dropped(broker, approved, sender)
    digest = shown(broker, id)["digest"]
    unsaid = broker.ask("handoff", "deny", id, "--digest", digest)
    assert unsaid.code == 2
    assert "--reason" in unsaid.err
    denied = twice(broker, "handoff", "deny", id, "--digest", digest, "--reason", "not this week")
    assert denied.json["state"] == "rejected"
    assert (shown(broker, id)["state"], shown(broker, id)["reason"]) == ("rejected", "not this week")


def test_nobody_approves_what_they_dropped_off_themselves(broker: Up, approved: str):
    id = dropped(broker, approved)
    for verb in (["approve"], ["deny", "--reason", "x"]):
        refused = broker.ask("handoff", *verb, id, "--digest", shown(broker, id)["digest"])
        assert (refused.code, refused.out) == (4, "")
        assert "somebody else must" in refused.err
    assert shown(broker, id)["state"] == "held"


def test_a_sender_is_told_so_before_anything_is_asked_of_it(broker: Up, approved: str, terminal: Any):
    """Without the digest too, on a terminal and in a script, whether it may inspect or not."""
    partner = agent(broker, "partner", f"drop:{approved}", f"operate:{approved}")
    id = dropped(broker, approved, partner)
    mine = dropped(broker, approved)
    for verb in (["approve"], ["deny", "--reason", "x"]):
        for which, credential in ((id, partner), (mine, "")):
            refused = broker.ask("handoff", *verb, which, credential=credential)
            assert (refused.code, refused.out) == (4, "")
            assert "somebody else must approve or deny it" in refused.err
    at_a_terminal = terminal("handoff", "approve", mine)
    assert at_a_terminal.end() == 4
    assert "Approve it?" not in at_a_terminal.shown
    assert (shown(broker, id)["state"], shown(broker, mine)["state"]) == ("held", "held")


def test_a_single_operator_gets_out_of_it_by_the_two_commands_that_the_refusal_names(broker: Up, approved: str):
    id = dropped(broker, approved)
    digest = shown(broker, id)["digest"]
    refused = broker.ask("handoff", "approve", id, "--digest", digest).err
    [add, approve] = [line.split() for line in refused.splitlines() if line.startswith("  dropoff ")]
    assert approve[1:4] == ["handoff", "approve", id]
    made = broker.ask(*add[1:3], "second", *add[4:8])
    assert made.json["grants"] == [f"inspect:{approved}", f"operate:{approved}"], "the very grants that it names"
    by_second = {"credential": made.json["credential_file"]}
    assert broker.ask("handoff", "show", id, **by_second).json["digest"] == digest
    assert broker.ask(*approve[1:4], "--digest", digest, **by_second).json["state"] == "waiting"


def test_on_a_terminal_the_payload_is_shown_before_the_question(broker: Up, approved: str, terminal: Any):
    """Without a control character of the sender's; a no changes nothing."""
    sender = agent(broker, "s3", f"drop:{approved}")
    payload = json.dumps({"topic": "pumps\x9b2K of heat", "audience": "exec"})
    note = "for Monday\x1b[2K\npayload  {}"
    id = broker.ask("drop", approved, payload, "--note", note, credential=sender).json["handoff_id"]
    no = terminal("handoff", "approve", id)
    about = no.read_until("Approve it? [y/N]")
    assert "from     s3" in about
    assert "note     for Monday�[2K payload {}" in about
    assert '"topic": "pumps\\u009b2K of heat"' in about
    no.type("n\n")
    assert no.end() == 1
    assert shown(broker, id)["state"] == "held"

    yes = terminal("handoff", "approve", id, "-o", "json")
    yes.read_until("Approve it? [y/N]")
    yes.type("y\n")
    assert yes.end() == 0
    assert shown(broker, id)["state"] == "waiting"
    moved = terminal("handoff", "deny", id, "--reason", "x")
    assert moved.end() == 5
    assert "is waiting, not held. Nothing was changed." in moved.shown
    assert "Error" not in no.shown, "a no is no error"
    assert no.shown.rstrip().endswith("Nothing was changed.")


# ---- handoffs: resubmit -----------------------------------------------------------------------------------------


def test_what_has_ended_is_put_back_once_as_new_ones(broker: Up, queue: str):
    ended = [dropped(broker, queue), dropped(broker, queue)]
    for _ in ended:
        broker.ask("back", picked(broker, queue)["lease_id"], "--outcome", "impossible", "--reason", "no sources")
    put_back = broker.ask("handoff", "resubmit", *ended)
    assert put_back.code == 0
    assert [one["resubmit_of"] for one in put_back.json] == ended
    new = [one["handoff_id"] for one in put_back.json]
    assert not set(new) & set(ended)
    assert [shown(broker, id)["resubmit_of"] for id in new] == ended
    assert [one["handoff_id"] for one in broker.ask("handoff", "resubmit", *ended).json] == new, "said again"
    assert broker.ask("queue", "show", queue).json["waiting"] == 2

    refused = broker.ask("handoff", "resubmit", ended[0], new[1], ended[1], "-o", "jsonl")
    assert refused.code == 5
    assert [json.loads(line)["resubmit_of"] for line in refused.out.splitlines()] == [ended[0]], "what was done is said"
    assert broker.ask("handoff", "resubmit", "nowhere-8F3K2Q9T1MXK7A4B").code == 3
    assert broker.ask("handoff", "resubmit").code == 2


# ---- freeze and thaw --------------------------------------------------------------------------------------------


@pytest.fixture
def thawed(broker: Up) -> Iterator[None]:
    """Whatever becomes of the test, the next one finds everybody thawed."""
    yield
    assert broker.ask("thaw").code == 0


@pytest.mark.usefixtures("thawed")
def test_a_freeze_stops_everybody_and_takes_nothing(broker: Up, queue: str):
    worker = agent(broker, "worker-f", f"pick:{queue}", f"drop:{queue}")
    dropped(broker, queue)
    lease = picked(broker, queue, worker)["lease_id"]
    held = sum(one["leased"] for one in broker.ask("queue", "ls").json)
    reason = "audit\n! all is well"
    frozen = twice(broker, "freeze", "--reason", reason)
    assert frozen.json == {"standing": "frozen", "reason": reason, "in_force": "everywhere"}
    assert "a thaw gives each a whole lease time" in frozen.err
    assert ("1 lease is held" if held == 1 else f"{held} leases are held") in frozen.err

    for act in (["drop", queue, json.dumps(BRIEF)], ["pick", queue, "--wait", "0"], ["complete", lease]):
        refused = broker.ask(*act, credential=worker)
        assert (refused.code, refused.out) == (4, "")
        assert "frozen by an operator" in refused.err
    for look in (["queue", "ls"], ["queue", "show", queue]):
        heard = broker.ask(*look)
        assert heard.code == 0
        assert heard.err == '! Everything is frozen ("audit ! all is well"). It goes on with: dropoff thaw\n'
        assert broker.ask(*look, "-q").err == heard.err
    watched = watching(broker)
    assert json.loads(line_of(watched))["frozen"] is True
    watched.send_signal(signal.SIGINT)
    watched.communicate(timeout=WAIT_S)

    thawed = twice(broker, "thaw")
    assert thawed.json["standing"] == "active"
    assert "a whole lease time from now" in thawed.err
    assert broker.ask("queue", "ls").err == ""
    assert broker.ask("complete", lease, credential=worker).code == 0


def test_only_admins_freeze(broker: Up):
    nosy = agent(broker, "nosy-freeze", "inspect:*", "operate:*")
    for act in (["freeze"], ["thaw"], ["agent", "freeze", "nosy-freeze"], ["agent", "thaw", "nosy-freeze"]):
        assert broker.ask(*act, credential=nosy).code == 4
    assert broker.ask("queue", "ls").err == ""
    assert broker.ask("agent", "show", "nosy-freeze").json["standing"] == "active"


def test_a_frozen_agent_keeps_what_it_holds(broker: Up, queue: str):
    """And others go on."""
    worker = agent(broker, "worker-a", f"pick:{queue}")
    dropped(broker, queue)
    lease = picked(broker, queue, worker)["lease_id"]
    frozen = twice(broker, "agent", "freeze", "worker-a", "--reason", "odd results")
    assert (frozen.json["standing"], frozen.json["reason"]) == ("frozen", "odd results")
    assert "1 lease is held; it stands still, and a thaw gives each a whole lease time." in frozen.err
    assert "dropoff agent thaw worker-a" in frozen.err
    assert broker.ask("complete", lease, credential=worker).code == 4
    dropped(broker, queue)
    assert broker.ask("agent", "show", "worker-a").json["holds"] == [lease]
    assert "frozen" in broker.ask("agent", "ls", "-o", "table").out
    assert twice(broker, "agent", "thaw", "worker-a").json["standing"] == "active"
    assert broker.ask("complete", lease, credential=worker).code == 0


def test_who_cannot_be_frozen_is_not(broker: Up):
    assert broker.ask("agent", "freeze", "nobody").code == 3
    assert broker.ask("agent", "thaw", "nobody").code == 3
    agent(broker, "gone")
    broker.ask("agent", "revoke", "gone")
    for act in ("freeze", "thaw"):
        assert broker.ask("agent", act, "gone").code == 5
    assert broker.ask("agent", "show", "gone").json["standing"] == "revoked"
    last = broker.ask("agent", "freeze", "operator")
    assert last.code == 4
    assert "the last admin" in last.err
    assert broker.ask("agent", "show", "operator").json["standing"] == "active"


def test_without_a_broker_no_act_is_sent(tmp_path: Path):
    """And each says so, with the exit code of a broker that is not there."""
    id = "research-8F3K2Q9T1MXK7A4B"
    acts = [
        ["freeze"], ["thaw"], ["agent", "freeze", "x"], ["agent", "thaw", "x"],
        ["queue", "pause", "x"], ["queue", "resume", "x"], ["queue", "drain", "x"], ["queue", "rm", "x", "--yes"],
        ["queue", "edit", "x", "--lease", "5m"], ["queue", "ls", "--watch"],
        ["handoff", "withdraw", id], ["handoff", "release", id], ["handoff", "release", f"{id}.1"],
        ["handoff", "approve", id, "--digest", "d"], ["handoff", "deny", id, "--digest", "d", "--reason", "r"],
        ["handoff", "resubmit", id],
    ]  # fmt: skip
    for act in acts:
        heard: Heard = ask(*act, "--url", "http://127.0.0.1:9", "--data", str(tmp_path))
        assert (heard.code, heard.out.strip("[]\n")) == (8, ""), act
        assert "Nothing was sent" in heard.err
