"""`dropoff doctor`: what it finds from its own side, with a broker and without. Each check is shown wrong for real."""

import asyncio
import contextlib
import http.server
import json
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dropoff
from dropoff import wiring
from dropoff.doors.app import make_app
from dropoff.doors.http import operators
from dropoff.settings import Settings
from tests.cli.brokers import Heard, Up, ask, run
from tests.cli.conftest import BRIEF
from tests.doors.served import serving
from tests.servers import Server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")

NOWHERE = "http://127.0.0.1:1"
Ups = Callable[..., Up]


def findings(heard: Heard) -> dict[str, dict[str, Any]]:
    """By check; the tools of the last agent stand for all."""
    return {one["check"]: one for one in json.loads(heard.out)}


def wrong(heard: Heard) -> dict[str, dict[str, Any]]:
    """What was found, and that the exit code says so."""
    found = {check: one for check, one in findings(heard).items() if one["verdict"] != "ok"}
    assert heard.code == (9 if found else 0), heard.err
    assert all(one["says"] and one["fix"] for one in found.values()), "each with its fix"
    return found


# ---- with a broker ----------------------------------------------------------------------------------------------


def test_all_is_well_after_a_first_start(broker: Up):
    heard = broker.ask("doctor")

    assert wrong(heard) == {}
    assert heard.err == "All is well.\n"
    assert list(findings(heard))[:4] == ["broker", "credential", "credential file", "client clock"]
    assert findings(heard)["credential"]["says"] == "Credential: accepted, of 'operator'"
    assert {"versions", "rights", "fsync", "eviction", "disk", "clock", "host", "tools"} < set(findings(heard))


def test_a_person_reads_marks_and_the_fix_below_the_gravest_first(ups: Ups, monkeypatch: pytest.MonkeyPatch):
    """In the words of the broker's own checks."""
    monkeypatch.setenv("DROPOFF_DISK_FREE_MIN", "999TB")
    monkeypatch.setattr("tests.cli.brokers.clean_environment", lambda: dict(os.environ))
    up = ups()
    (up.data / "operator.bearer").chmod(0o644)

    heard = up.ask("-o", "table", "doctor")

    lines = heard.out.splitlines()
    assert heard.code == 9
    assert lines[0].startswith("✗ Disk: ")
    assert lines[0].endswith(" free under the store; below 1,047,527,424 MB no new work is taken, only finished.")
    assert lines[1].startswith("    Fix: make room there; ")
    assert lines[2].startswith("! Credential file: ")
    assert lines[3].startswith("    Fix: chmod 600 ")
    assert all(line.startswith("✓ ") for line in lines[4:])
    assert any(line.startswith("✓ MCP: 8 tools, ") and line.endswith(" characters for 'operator'") for line in lines)
    assert "2 of " in heard.err


def test_a_credential_that_others_can_read_is_found_and_the_fix_mends_it(ups: Ups):
    up = ups()
    file = up.data / "operator.bearer"
    file.chmod(0o644)

    found = wrong(up.ask("doctor"))
    assert found["credential file"]["says"].endswith("(its mode is 0644).")
    assert found["credential file"]["fix"] == f"chmod 600 {file}"
    assert list(found) == ["credential file"]

    file.chmod(0o600)
    assert wrong(up.ask("doctor")) == {}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("dropoff_bearer_" + "x" * 43, "does not accept the credential in"),
        ("-----BEGIN PRIVATE KEY-----", "holds a PEM key"),
        ("hunter2", "holds no credential"),
        (None, "cannot be read"),
    ],
)
def test_a_credential_that_does_not_do_is_found(broker: Up, tmp_path: Path, content: str | None, says: str):
    """Another broker's, one of another kind, none, or not there."""
    file = tmp_path / "credential"
    if content is not None:
        file.write_text(content)
        file.chmod(0o600)

    heard = broker.ask("doctor", credential=file)

    [finding] = [one for one in wrong(heard).values() if one["check"] == "credential"]
    assert finding["verdict"] == "broken"
    assert says in finding["says"]
    assert str(file) in finding["says"]
    assert "hunter2" not in heard.out + heard.err


def test_a_data_folder_without_a_credential_is_found(broker: Up, tmp_path: Path):
    """The broker runs on another one."""
    found = wrong(ask("doctor", "--url", broker.url, "--data", str(tmp_path)))
    assert list(found) == ["credential"]
    assert str(tmp_path / "operator.bearer") in found["credential"]["says"]
    assert "--data or DROPOFF_DATA" in found["credential"]["fix"]


def test_what_is_paused_is_told_and_is_nothing_wrong(broker: Up):
    """With the command that ends it, and with exit code 0."""
    assert broker.ask("queue", "pause", "research", "--reason", "audit").code == 0
    heard = broker.ask("doctor", "-o", "table")
    assert broker.ask("queue", "resume", "research").code == 0
    assert (heard.code, heard.err) == (0, "All is well.\n")
    assert heard.out.startswith(
        "· Queue 'research' is paused: nothing goes out (\"audit\").\n    Ends by: dropoff queue resume research\n"
    )


def test_an_agent_is_told_that_it_sees_half_of_it(broker: Up):
    """Its credential is good, and what the broker runs on is none of its business."""
    file = broker.ask("agent", "add", "curious", "--grant", "pick:research").json["credential_file"]

    found = wrong(broker.ask("doctor", credential=file))

    assert list(found) == ["credential"]
    assert found["credential"]["verdict"] == "warning"
    assert "accepted" in found["credential"]["says"]


def test_a_name_that_the_broker_does_not_answer_to_is_found_and_the_fix_mends_it(
    ups: Ups, monkeypatch: pytest.MonkeyPatch
):
    """127.0.0.2 is this machine too, under a name that nobody told the broker."""
    first = ups("--host", "0.0.0.0")
    url = first.url.replace("0.0.0.0", "127.0.0.2")
    found = wrong(ask("doctor", "--url", url, "--data", str(first.data)))
    assert list(found) == ["host"]
    assert found["host"]["says"] == f"Host header: the broker at {url} does not answer to the name '127.0.0.2'."
    _, _, entries = found["host"]["fix"].partition("DROPOFF_ALLOWED_HOSTS=")
    assert entries == "127.0.0.2:*"

    at_home = wrong(first.ask("doctor", "--url", first.url.replace("0.0.0.0", "127.0.0.1")))
    assert f"'127.0.0.2:{first.url.rpartition(':')[2]}'" in at_home["host"]["says"], "the broker remembers it"
    assert first.end(signal.SIGTERM).code == 0

    monkeypatch.setenv("DROPOFF_ALLOWED_HOSTS", entries)
    monkeypatch.setattr("tests.cli.brokers.clean_environment", lambda: dict(os.environ))
    second = ups("--host", "0.0.0.0")
    url = second.url.replace("0.0.0.0", "127.0.0.2")
    assert wrong(ask("doctor", "--url", url, "--data", str(second.data))) == {}


@contextlib.asynccontextmanager
async def served(data: Path, version: str = dropoff.__version__, ahead_ms: int = 0) -> AsyncIterator[list[str]]:
    """A broker of another version, or whose clock is ahead; gives what a command has to be told."""
    async with wiring.building(Settings(data=data), lambda: wiring.clock_ms() + ahead_ms) as (house, _, _):
        house = type(house)(**{**house.__dict__, "version": version})
        async with serving(make_app(house)) as url:
            yield ["--url", url, "--data", str(data)]


async def test_a_broker_of_another_version_is_found(tmp_path: Path):
    async with served(tmp_path, version="0.0.9") as where:
        found = wrong(await asyncio.to_thread(ask, "doctor", *where))
    assert list(found) == ["client version"]
    assert f"This command is dropoff {dropoff.__version__}, the broker 0.0.9" in found["client version"]["says"]
    assert found["client version"]["fix"].startswith("pip install dropoff==0.0.9")


async def test_a_broker_that_knows_no_doctor_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(operators, "ROWS", tuple(row for row in operators.ROWS if row.path != "/v1/doctor"))
    async with served(tmp_path) as where:
        found = wrong(await asyncio.to_thread(ask, "doctor", *where))
    assert list(found) == ["client version"]
    assert found["client version"]["says"] == "The broker is older than this command."


async def test_a_broker_whose_clock_is_wrong_is_found_from_both_sides(tmp_path: Path):
    async with served(tmp_path, ahead_ms=90_000) as where:
        found = wrong(await asyncio.to_thread(ask, "doctor", *where))
    assert set(found) == {"clock", "client clock"}
    assert "This machine's clock is 90 s behind the broker's" in found["client clock"]["says"]
    assert "The broker's clock is 90 s ahead of the store's" in found["clock"]["says"]


async def test_two_seconds_between_clocks_are_none(tmp_path: Path):
    async with served(tmp_path, ahead_ms=1_900) as where:
        assert wrong(await asyncio.to_thread(ask, "doctor", *where)) == {}


async def test_a_broker_that_has_lost_its_store_is_found(own_server: Callable[..., Server], tmp_path: Path):
    server = own_server("valkey", appendfsync="always")
    told = Settings(data=tmp_path, store=server.url)
    async with wiring.building(told) as (house, _, _), serving(make_app(house)) as url:
        where = ["--url", url, "--data", str(tmp_path)]
        assert wrong(await asyncio.to_thread(ask, "doctor", *where)) == {}
        server.kill()
        found = wrong(await asyncio.to_thread(ask, "doctor", *where))
    assert found["broker"]["says"] == "The broker answers, and cannot reach its store."


async def test_mending_is_done_and_said(own_server: Callable[..., Server], tmp_path: Path):
    """What waited, and was taken out of sight by a lost key, can be picked up again."""
    server = own_server("valkey", appendfsync="always")
    payload = json.dumps({"topic": "heat pumps", "audience": "exec"})
    async with (
        wiring.building(Settings(data=tmp_path, store=server.url)) as (house, _, _),
        serving(make_app(house)) as url,
    ):

        async def asked(*args: str) -> Heard:
            return await asyncio.to_thread(ask, *args, "--url", url, "--data", str(tmp_path))

        for line in (
            ("schema", "push", "brief", str(BRIEF)),
            ("queue", "add", "research", "--schema", "brief"),
            ("agent", "grant", "operator", "drop:research"),
            ("agent", "grant", "operator", "pick:research"),
            ("drop", "research", payload),
        ):
            assert (await asked(*line)).code == 0
        with server.client as client:
            assert client.delete("dropoff:{p0}:q:research:ready:1") == 1
        assert (await asked("pick", "research", "--wait", "0")).code == 7

        heard = await asked("doctor", "--mend")

        assert wrong(heard) == {}
        assert findings(heard)["mended"]["says"].endswith(", put right 1.")
        assert (await asked("pick", "research", "--wait", "0")).code == 0

        with server.client as client:
            client.set("dropoff:{p0}:q:research:dead", "of another type")
        heard = await asked("doctor", "--mend")

        assert heard.code == 9
        assert set(wrong(heard)) == {"mended"}
        assert "put right 0. 2 could not be put right: see the broker's log." in findings(heard)["mended"]["says"]
    with server.client as client:
        client.flushall()  # these keys bear the real prefix, which no test's leftovers do


def test_where_no_broker_answers_nothing_is_mended_and_that_is_said(tmp_path: Path):
    heard = run("doctor", "--mend", "--url", NOWHERE, "--data", str(tmp_path))
    assert set(wrong(heard)) == {"broker"}
    assert heard.err.startswith("! Nothing was mended: ")


# ---- without one ------------------------------------------------------------------------------------------------


def without_broker(data: Path, **env: str) -> Heard:
    return run("doctor", "--url", NOWHERE, "--data", str(data), env=env)


def test_that_no_broker_answers_is_found_and_nothing_is_made(tmp_path: Path):
    heard = without_broker(tmp_path / "new")

    found = wrong(heard)
    assert list(found) == ["broker"]
    assert found["broker"]["says"].startswith(f"No broker answers at {NOWHERE} (")
    assert found["broker"]["fix"].startswith("dropoff up")
    assert {"versions", "disk"} <= set(findings(heard)), "what it would run on was looked at"
    assert not (tmp_path / "new").exists()


def test_too_little_room_for_the_embedded_store_is_found(tmp_path: Path):
    found = wrong(without_broker(tmp_path, DROPOFF_DISK_FREE_MIN="999TB"))
    assert found["disk"]["verdict"] == "broken"


def test_a_folder_that_cannot_be_one_is_found(tmp_path: Path):
    (tmp_path / "file").write_text("")
    found = wrong(without_broker(tmp_path / "file" / "data"))
    assert found["store"]["says"] == f"The data folder {tmp_path / 'file' / 'data'} cannot be written to."
    assert found["store"]["fix"] == "Name another with --data or DROPOFF_DATA."


def test_a_setting_that_cannot_be_is_found(tmp_path: Path):
    found = wrong(without_broker(tmp_path, DROPOFF_WORKERS="many"))
    assert found["settings"]["says"] == "DROPOFF_WORKERS is 'many'."
    assert found["settings"]["fix"] == "Expected: a number from 1 to 64."


def test_an_address_that_is_none_is_found(tmp_path: Path):
    found = wrong(run("doctor", "--url", "broker:8787", "--data", str(tmp_path)))
    assert list(found) == ["settings"]
    assert found["settings"]["says"] == "--url cannot be used."


@pytest.fixture
def refused(own_server: Callable[..., Server], tmp_path: Path) -> Callable[..., Heard]:
    """What is found with DROPOFF_STORE on a real server on which a broker does not start."""

    def refused(acl: str = "", login: str = "", **settings: str) -> Heard:
        server = own_server("redis", **{"appendfsync": "always", **settings})
        if acl:
            with server.client as client:
                client.execute_command("ACL", "SETUSER", "broker", "reset", "on", ">hunter2", *acl.split())
        store = f"unix://{login}{server.socket}"
        heard = without_broker(tmp_path, DROPOFF_STORE=store)
        assert "hunter2" not in heard.out + heard.err
        assert run("up", "--data", str(tmp_path), "--port", "0", env={"DROPOFF_STORE": store}).code == 8
        with server.client as client:
            assert client.dbsize() == 0, "looking left nothing"
        return heard

    return refused


Refused = Callable[..., Heard]


def test_a_store_that_may_evict_is_found_though_no_broker_starts_on_it(refused: Refused):
    found = wrong(refused(maxmemory_policy="allkeys-lru"))
    assert set(found) == {"broker", "eviction"}
    assert found["eviction"]["fix"].startswith("redis-cli config set maxmemory-policy noeviction")


def test_a_user_without_a_right_is_found_though_no_broker_starts_on_it(refused: Refused):
    rights = "~dropoff:* &dropoff:* +@all -@dangerous +info +config|get"
    found = wrong(refused(acl=f"{rights} -zadd", login="broker:hunter2@"))
    assert set(found) == {"broker", "rights"}
    assert found["rights"]["fix"] == f"The broker's user needs: {rights}"


def test_a_wrong_password_is_found_and_not_shown(refused: Refused):
    found = wrong(refused(acl="~* &* +@all", login="broker:hunter2-not@"))
    assert found["store"]["says"].startswith("The store does not accept the user name or password of DROPOFF_STORE")


def test_a_store_in_cluster_mode_is_found(refused: Refused):
    heard = refused(cluster_enabled="yes")
    assert "cluster mode" in wrong(heard)["store"]["says"]
    assert "rights" not in findings(heard), "no step was run there, so nothing is said of it"


def test_a_store_that_is_not_there_is_found(tmp_path: Path):
    found = wrong(without_broker(tmp_path, DROPOFF_STORE="redis://127.0.0.1:1"))
    assert found["store"]["says"] == "The store cannot be reached."
    assert found["store"]["fix"] == "Start it, or correct DROPOFF_STORE."


def test_a_broker_elsewhere_is_not_blamed_for_what_is_here(tmp_path: Path):
    """What would refuse a broker on this machine is no finding about that one."""
    heard = run(
        "doctor", "--url", "https://127.1.broker.invalid", "--data", str(tmp_path), env={"DROPOFF_WORKERS": "0"}
    )
    assert set(wrong(heard)) == {"broker"}


@pytest.fixture
def stranger() -> Iterator[str]:
    """Something else that speaks HTTP."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_somebody_who_is_no_broker_is_found(stranger: str, tmp_path: Path):
    found = wrong(run("doctor", "--url", stranger, "--data", str(tmp_path)))
    assert "which no broker does" in found["broker"]["says"]
