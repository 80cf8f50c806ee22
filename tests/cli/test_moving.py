"""`queue edit --schema`: what a person and a script are told of it; and the README's story of a contract that changes,
by real processes.
"""

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cli.brokers import Heard, Up, clean_environment, line_of, run
from tests.cli.conftest import BRIEF
from tests.readme import README

WORK: Final = {"topic": "heat pumps", "audience": "exec"}

# Does what it is told a line at a time: takes what it can read, finishes it, and says its topic; or says that there is
# nothing for it.
WORKER: Final = """
import json, sys, urllib.request

url, bearer, accepts = sys.argv[1], open(sys.argv[2]).read().strip(), sys.argv[3].split()

def call(verb, arguments):
    headers = {"authorization": f"Bearer {bearer}", "content-type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/{verb}", json.dumps(arguments).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)

for _ in sys.stdin:
    picked = call("pick_up", {"accepts": accepts, "wait_seconds": 0})
    if picked["status"] == "picked_up":
        call("complete", {"lease_id": picked["lease_id"], "result": {}})
    print(picked["payload"]["topic"] if "payload" in picked else "nothing", flush=True)
"""


@pytest.fixture
def name(broker: Up, request: pytest.FixtureRequest) -> str:
    """A schema and a queue of this name for this test alone."""
    name = request.function.__name__.replace("_", "-")[:60].strip("-")
    assert broker.ask("schema", "push", name, str(BRIEF)).code == 0
    assert broker.ask("queue", "add", name, "--schema", name).code == 0
    return name


def a_version(folder: Path, *audience: str) -> str:
    """The file of a brief for these audiences."""
    content = json.loads(BRIEF.read_text(encoding="utf-8"))
    content["properties"]["audience"] = {"enum": list(audience)}
    path = folder / "brief.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


@pytest.fixture
def narrow(broker: Up, name: str, tmp_path: Path) -> str:
    """Version 2, which takes less; not everything of what waits would fit it."""
    assert broker.ask("schema", "push", name, a_version(tmp_path, "exec", "engineer")).code == 0
    return f"{name}@2"


@pytest.fixture
def wide(broker: Up, name: str, tmp_path: Path) -> str:
    """Version 2, which takes more."""
    assert broker.ask("schema", "push", name, a_version(tmp_path, "exec", "engineer", "public", "press")).code == 0
    return f"{name}@2"


def dropped(broker: Up, queue: str, audience: str = "exec") -> str:
    return broker.ask("drop", queue, json.dumps(WORK | {"audience": audience})).json["handoff_id"]


def lines_of(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


# ---- what is said --------------------------------------------------------------------------------------------------


def test_a_person_reads_what_a_move_would_mean(broker: Up, name: str, narrow: str):
    """What it means, what would stay, the command that comes next; and nothing changed."""
    misfit, _ = dropped(broker, name, "public"), dropped(broker, name)
    before = broker.ask("queue", "show", name).json

    heard = broker.ask("queue", "edit", name, "--schema", name, "--dry-run", "-o", "table")

    assert heard.code == 0
    told = lines_of(heard.out)
    assert told[0] == f"incompatible: not all that fits {name}@1 fits {narrow}"
    assert f"{name} {name}@1 2 1 all" in told
    assert f"{misfit} payload.audience not an allowed value (allowed: exec, engineer)" in told
    assert told[-1] == "Nobody picked up within the last hour."
    assert heard.err.splitlines() == [
        f"Queue '{name}' would be changed: schema {name}@1 → {narrow}. Nothing was done: this was a dry run.",
        f"New work would have to fit {narrow}. What is there would keep its version and its place in the line.",
        "Next  the same command without --dry-run, and with --incompatible",
    ]
    meant = broker.ask("queue", "edit", name, "--schema", narrow, "--incompatible", "--dry-run")
    assert meant.err.splitlines()[-1] == "Next  the same command without --dry-run"
    assert broker.ask("queue", "show", name).json == before


def test_after_a_dry_run_of_a_compatible_version_nothing_has_to_be_added(broker: Up, name: str, wide: str):
    """The same flags do it, also those of other settings."""
    flags = ("--schema", wide, "--lease", "10m", "--purpose", "Questions, if any.")
    heard = broker.ask("queue", "edit", name, *flags, "--dry-run")
    assert heard.json["means"]["verdict"] == "compatible"
    assert heard.err.splitlines()[-1] == "Next  the same command without --dry-run"
    moved = broker.ask("queue", "edit", name, *flags)
    assert (moved.json["schema"], moved.json["lease_seconds"]) == (wide, 600)


def test_a_person_reads_what_stays_when_it_has_moved(broker: Up, name: str, wide: str):
    dropped(broker, name)
    heard = broker.ask("queue", "edit", name, "--schema", wide, "-o", "table")
    assert (heard.code, heard.out) == (0, "")
    assert heard.err.splitlines() == [
        f"Queue '{name}' is changed: schema {name}@1 → {wide}. In force now.",
        "What was there (1 handoff) keeps its version and its place in the line.",
    ]
    dropped(broker, name, "press")
    other = broker.ask("queue", "edit", name, "--lease", "10m")
    assert other.err.splitlines() == [f"Queue '{name}' is changed: lease 5m → 10m. In force now."]
    again = broker.ask("queue", "edit", name, "--schema", name)
    assert again.err.splitlines() == [f"Queue '{name}' is as you say already. Nothing was changed."]


def test_of_an_empty_queue_nothing_stays(broker: Up, name: str, wide: str):
    heard = broker.ask("queue", "edit", name, "--schema", wide)
    assert len(heard.err.splitlines()) == 1
    assert heard.json["schema"] == wide


def test_a_script_reads_what_a_move_would_mean(broker: Up, name: str, narrow: str):
    """The queue as it would be, and the same meaning that a push answers with."""
    dropped(broker, name, "public")
    heard = broker.ask("queue", "edit", name, "--schema", narrow, "--dry-run", "-o", "json")
    assert heard.code == 0
    assert (heard.json["schema"], heard.json["dry_run"]) == (narrow, True)
    [queue] = heard.json["means"]["queues"]
    assert (queue["queue"], queue["waiting"], queue["would_not_fit"]) == (name, 1, 1)


def test_a_dry_run_of_other_settings_says_no_more_than_those(broker: Up, name: str):
    before = broker.ask("queue", "show", name).json
    heard = broker.ask("queue", "edit", name, "--lease", "10m", "--dry-run")
    assert heard.err.splitlines() == [
        f"Queue '{name}' would be changed: lease 5m → 10m. Nothing was done: this was a dry run.",
        "Next  the same command without --dry-run",
    ]
    assert broker.ask("queue", "show", name).json == before


# ---- what is refused -----------------------------------------------------------------------------------------------


def test_an_incompatible_version_is_a_conflict_unless_it_is_meant(broker: Up, name: str, narrow: str):
    """Exit code 5, with a payload that shows it; and nothing changed."""
    before = broker.ask("queue", "show", name).json
    refused = broker.ask("queue", "edit", name, "--schema", narrow, "--lease", "10m")
    assert (refused.code, refused.out) == (5, "")
    assert f"{narrow} is incompatible with {name}@1" in refused.err
    [shown] = [line for line in refused.err.splitlines() if line.startswith(f"This fits {name}@1 and not {narrow}: ")]
    assert json.loads(shown.partition(": ")[2])["audience"] == "public"
    assert broker.ask("queue", "show", name).json == before

    moved = broker.ask("queue", "edit", name, "--schema", narrow, "--lease", "10m", "--incompatible")

    assert (moved.json["schema"], moved.json["lease_seconds"]) == (narrow, 600)
    assert broker.ask("drop", name, json.dumps(WORK | {"audience": "public"})).code == 6


@pytest.mark.parametrize(
    ("schema", "code", "words"),
    [
        ("brief", 6, "brief@1 is no version of NAME, and a queue keeps its contract"),
        ("NAME@7", 3, "There is no schema 'NAME@7'"),
        ("nowhere", 3, "There is no schema 'nowhere'"),
        ("", 3, "There is no schema ''"),
    ],
)
def test_what_is_no_version_of_its_schema_is_refused(broker: Up, name: str, schema: str, code: int, words: str):
    """Whatever else is meant; and nothing changed."""
    before = broker.ask("queue", "show", name).json
    for flags in ((), ("--incompatible",), ("--dry-run",)):
        refused = broker.ask("queue", "edit", name, "--schema", schema.replace("NAME", name), *flags)
        assert (refused.code, refused.out) == (code, "")
        assert words.replace("NAME", name) in refused.err
    assert broker.ask("queue", "show", name).json == before


def test_incompatible_without_a_schema_is_usage(broker: Up, name: str):
    """It would allow nothing, and whoever says it has forgotten the rest."""
    refused = broker.ask("queue", "edit", name, "--lease", "10m", "--incompatible")
    assert refused.code == 2
    assert "--schema" in refused.err


# ---- by hand -------------------------------------------------------------------------------------------------------


def test_pick_takes_only_what_it_says_it_accepts(broker: Up, name: str, wide: str):
    """Several are several flags; without any it takes whatever comes."""
    first = [dropped(broker, name), dropped(broker, name)]
    assert broker.ask("queue", "edit", name, "--schema", wide).code == 0
    second = [dropped(broker, name, "press"), dropped(broker, name)]

    def pick(*refs: str) -> Heard:
        flags = [word for ref in refs for word in ("--accepts", ref)]
        return broker.ask("pick", name, "--wait", "0", *flags)

    assert pick(wide).json["handoff_id"] == second[0]
    assert pick(f"{name}@1", wide).json["handoff_id"] == first[0]
    assert pick(f"{name}@7").code == 7
    assert pick().json["handoff_id"] == first[1]
    assert pick(f"{name}@1").code == 7
    slip = pick(name)
    assert (slip.code, slip.out) == (6, "")
    assert f"accepts[0]: '{name}' is not written like research@3" in slip.err
    assert pick().json["handoff_id"] == second[1]


# ---- the story -----------------------------------------------------------------------------------------------------


@pytest.fixture
def worker() -> Iterator[Callable[..., Callable[[], str]]]:
    """Starts workers, each a process; whoever calls one lets it take once, and hears what it took."""
    started: list[subprocess.Popen[str]] = []

    def start(up: Up, name: str, *accepts: str) -> Callable[[], str]:
        made = up.ask("agent", "add", name, "--grant", "pick:research")
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, up.url, made.json["credential_file"], " ".join(accepts)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean_environment(),
        )  # fmt: skip
        started.append(process)

        def take() -> str:
            assert process.stdin is not None
            process.stdin.write("take\n")
            process.stdin.flush()
            return line_of(process).strip()

        return take

    yield start
    for process in started:
        process.communicate(timeout=30)
        assert process.returncode == 0


def the_readmes_commands() -> list[list[str]]:
    """Those of its section about changing a contract, without their comments."""
    section = README.read_text(encoding="utf-8").split("### Changing a contract", 1)[1].split("\n###", 1)[0]
    return [shlex.split(line, comments=True)[1:] for line in re.findall(r"^dropoff .*", section, re.MULTILINE)]


def test_a_contract_changes_while_work_waits(
    ups: Callable[..., Up], worker: Callable[..., Callable[[], str]], tmp_path: Path
):
    """By the README's commands. An old worker gets what it can read, in order, and then nothing; a new one gets all the
    rest, in order.
    """
    up = ups()

    def dropoff(words: list[str], code: int = 0) -> Heard:
        heard = run(*words, "-o", "json", cwd=tmp_path, env={"DROPOFF_URL": up.url, "DROPOFF_DATA": str(up.data)})
        assert heard.code == code, heard.err
        return heard

    def drop(topic: str, audience: str) -> None:
        payload = json.dumps({"topic": topic, "audience": audience})
        assert up.ask("drop", "research", payload).code == 0

    assert up.ask("schema", "push", "brief", str(BRIEF)).code == 0
    assert up.ask("queue", "add", "research", "--schema", "brief").code == 0
    for topic in ("first", "second", "third", "fourth"):
        drop(topic, "public")
    old = worker(up, "old", "brief@1")
    assert old() == "first"

    a_version(tmp_path, "exec", "engineer")
    check, try_push, push, try_edit, edit = the_readmes_commands()
    dropoff(["schema", "diff", "brief", "brief.json"], code=9)
    dropoff(check)
    assert dropoff(try_push).json["new"]
    assert dropoff(push).json["schema"] == "brief@2"
    [queue] = dropoff(try_edit).json["means"]["queues"]
    assert (queue["waiting"], queue["would_not_fit"]) == (3, 3)
    assert [(one["agent"], one["schema"]) for one in queue["picked_up"]] == [("old", "brief@1")]
    assert old() == "second"

    new = worker(up, "new", "brief@1", "brief@2")
    assert dropoff(edit).json["schema"] == "brief@2"
    for topic in ("fifth", "sixth"):
        drop(topic, "exec")
    assert up.ask("queue", "show", "research").json["waiting_of"] == {"brief@1": 2, "brief@2": 2}
    assert new() == "third"
    assert [old(), old()] == ["fourth", "nothing"]
    assert [new(), new(), new()] == ["fifth", "sixth", "nothing"]
    assert up.end(signal.SIGTERM).code == 0
