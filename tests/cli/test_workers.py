"""`dropoff up --workers N`: several real processes behind one address, and what is left of them however they end.

Under load it is the crash tests' load, and their checker that judges what became of it.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dropoff import workers
from dropoff.errors import StoreRefused
from dropoff.process.server import FINISH_S
from dropoff.settings import Settings
from dropoff.wiring import Started
from tests.cli.brokers import Up, run
from tests.crash.checker import broken
from tests.crash.conductor import (
    QUEUE,
    Broker,
    broker_in_a_folder,
    calling,
    furnish,
    kill_store,
    load_on,
    settle,
    store_client,
    store_pid,
    until,
)
from tests.crash.lives import WAIT_S
from tests.crash.test_recovery import Agent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")

COUNT = 3
GONE_S = float(FINISH_S)  # who is given up takes longer

Ups = Callable[..., Up]


def children(pid: int) -> set[int]:
    """The Python processes that this one has started: its workers, not the store."""
    found: set[int] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            program = Path(os.readlink(stat.parent / "exe")).name
        except OSError:
            continue  # it has ended meanwhile
        if parent == pid and program.startswith("python"):
            found.add(int(stat.parent.name))
    return found


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}/exe").exists()}


def sockets(pid: int) -> set[str]:
    """The inodes of the sockets that a process has open."""
    links = (os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir())
    return {link.partition("[")[2].rstrip("]") for link in links if link.startswith("socket:[")}


def accepted(port: int) -> set[str]:
    """The inodes of the connections to this port, at its own end."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"}


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    """All its workers serve. Who is ready first answers for it, and one that ends before it served ends them all."""
    async with broker_in_a_folder("--workers", str(COUNT)) as broker:

        async def all_serve() -> bool:
            return f"{COUNT} processes; one that ends is started again" in broker.last_words()

        await until("all workers to serve", all_serve)
        yield broker


async def gone(pids: set[int]) -> None:
    async def none_left() -> bool:
        return not alive(pids)

    await until("the workers to be gone", none_left, GONE_S)


# ---- serving ----------------------------------------------------------------------------------------------------


async def test_requests_land_on_several_workers_and_the_parent_serves_none(broker: Broker):
    """A burst of connections too: it must not be the first to wake up who gets them all."""
    url = urlsplit(broker.url)
    connections = [socket.create_connection((url.hostname, url.port)) for _ in range(60)]
    for connection in connections:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: probe\r\n\r\n")
        connection.settimeout(10)
        assert connection.recv(4_096).startswith(b"HTTP/1.1 200")
    assert url.port is not None
    here = accepted(url.port)
    served = {pid: len(sockets(pid) & here) for pid in children(broker.pid)}
    for connection in connections:
        connection.close()
    assert len(served) == COUNT
    assert sum(served.values()) == 60
    assert all(served.values()), served


async def test_a_port_with_workers_is_taken_for_any_other_broker(broker: Broker, tmp_path: Path):
    """Though its listeners share the port among themselves."""
    for flags in ((), ("--workers", "2")):
        heard = run("up", "--data", str(tmp_path), "--port", str(broker.port), *flags)
        assert heard.code == 5
        assert f"Port {broker.port} of 127.0.0.1 is taken" in heard.err


def test_the_screen_says_how_many_serve(ups: Ups):
    up = ups("--workers", "2")
    assert up.told["workers"] == 2
    assert up.left_alive() == [*["python" + sys.version[:4]] * 3, "valkey-server"]
    heard = up.end(signal.SIGTERM)
    assert heard.code == 0
    assert "Workers    2 processes; one that ends is started again" in heard.err
    assert heard.err.rstrip().endswith("Stopped. What was dropped off stays; dropoff up goes on with it.")
    assert up.left_alive() == []


async def test_a_killed_store_is_started_once_and_all_workers_find_it(broker: Broker):
    bearers = await furnish(broker, lease_s=300)
    await kill_store(broker.data)
    async with calling(broker, bearers["dropper-1"]) as client:
        work = {"queue": QUEUE, "payload": {"topic": "owls", "audience": "exec"}}
        await asyncio.gather(*(Agent(client).insist("drop_off", work, key=f"work-{n}") for n in range(30)))
    log = (broker.data / "store" / "store.log").read_text()
    assert log.count("Server initialized") == 2
    async with store_client(broker.data) as look:
        assert await look.xlen("dropoff:{p0}:q:research:ready:1") == 30


# ---- one of them ends -------------------------------------------------------------------------------------------


async def test_a_worker_that_is_killed_under_load_is_replaced_and_nothing_is_lost(broker: Broker, fresh_seed: int):
    """kill -9, of each in turn; the others go on, and every answered call was true."""
    first, parent = children(broker.pid), broker.pid
    async with load_on(broker, fresh_seed) as load:
        for victim in first:
            await load.goes_on()
            before = children(parent)
            os.kill(victim, signal.SIGKILL)

            async def replaced(before: set[int] = before) -> bool:
                return len(children(parent)) == COUNT and bool(children(parent) - before)

            await until("another in its place", replaced)
        await broker.ready()
        seen = await settle(broker, load)
    assert broken(seen) == [], f"seed {fresh_seed}"
    assert [event for event in seen.events if event["what"] == "unanswered"], "the kills were met under load"
    assert not children(parent) & first
    assert "a worker ended with -9, and is started again" in broker.last_words()


async def test_a_worker_that_is_told_to_stop_stops_in_order_and_is_replaced(broker: Broker):
    """Who waits at it gets the empty answer, and may ask the next. Not let go, it would be cut off after `FINISH_S`."""
    bearers = await furnish(broker, lease_s=300)
    first = children(broker.pid)
    async with calling(broker, bearers["worker-1"]) as client, store_client(broker.data) as look:
        waiting = asyncio.create_task(Agent(client).ask("pick_up", {"queue": QUEUE, "wait_seconds": 25}))
        await until("the wait to have begun", partial(look.zscore, "dropoff:{p0}:q:research:pickers", "worker-1"))
        for pid in first:
            os.kill(pid, signal.SIGTERM)
        assert (await asyncio.wait_for(waiting, WAIT_S))["status"] == "nothing_to_pick_up"

    async def replaced() -> bool:
        return len(children(broker.pid) - first) == COUNT

    await until("others in their places", replaced)
    await broker.ready()


# ---- all of them end --------------------------------------------------------------------------------------------


async def test_the_parent_killed_under_load_leaves_nothing_but_the_store(broker: Broker, fresh_seed: int):
    """Its workers stop in order by themselves; the next `up` adopts the store, in which everything is."""
    async with load_on(broker, fresh_seed) as load:
        await load.goes_on()
        orphans, store = children(broker.pid), await store_pid(broker.data)
        assert len(orphans) == COUNT
        await broker.kill()
        await gone(orphans)
        assert await store_pid(broker.data) == store

        await broker.start()
        await broker.ready()
        assert await store_pid(broker.data) == store, "it has started no second store"
        seen = await settle(broker, load)
    assert broken(seen) == [], f"seed {fresh_seed}"
    assert await broker.stop() == 0
    assert await store_pid(broker.data) is None


async def test_stopped_under_load_all_end_in_order(broker: Broker, fresh_seed: int):
    """SIGTERM: exit code 0, no worker and no store left, no handoff half done; what was in flight was answered."""
    async with load_on(broker, fresh_seed) as load:
        await load.goes_on()
        crew = children(broker.pid)
        began = time.monotonic()
        assert await broker.stop() == 0
        assert time.monotonic() - began < workers.LEAVE_S, "nobody had to be given up: only that takes so long"
        assert alive(crew) == set()
        assert await store_pid(broker.data) is None
        assert not [event for event in load.events() if event.get("why") == "TimeoutError"]

        await broker.start()
        await broker.ready()
        seen = await settle(broker, load)
    assert broken(seen) == [], f"seed {fresh_seed}"


async def test_a_pick_up_that_waits_gets_its_empty_answer_when_all_stop(broker: Broker):
    """It had 25 s to wait, and would be cut off after `FINISH_S`."""
    bearers = await furnish(broker, lease_s=300)
    async with calling(broker, bearers["worker-1"]) as client, store_client(broker.data) as look:
        waiting = asyncio.create_task(Agent(client).ask("pick_up", {"queue": QUEUE, "wait_seconds": 25}))
        await until("the wait to have begun", partial(look.zscore, "dropoff:{p0}:q:research:pickers", "worker-1"))
        stopped = asyncio.create_task(broker.stop())
        assert (await asyncio.wait_for(waiting, WAIT_S))["status"] == "nothing_to_pick_up"
        assert await stopped == 0


# ---- what goes wrong --------------------------------------------------------------------------------------------


async def nobody_asks(_: Started) -> None:
    raise AssertionError("it does not serve")


async def test_workers_that_cannot_start_are_no_broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """It ends with a sentence before anything is said to be served, and takes its store along."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(StoreRefused, match="A worker ended with 1 before it served"):
        await asyncio.wait_for(workers.serve(Settings(data=tmp_path, port=0, workers=2), nobody_asks), 30)
    assert await store_pid(tmp_path) is None


async def test_a_worker_that_hangs_ends_itself_when_its_parent_is_gone():
    """Its loop stands still, so the signal is never heeded; a thread of its own sees to the end."""
    script = (
        "import signal, threading, time; from dropoff import workers; workers.LEAVE_S = 0.2\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "threading.Thread(target=workers._leave_with_parent, daemon=True).start(); time.sleep(60)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdin=asyncio.subprocess.PIPE)
    await asyncio.wait_for(process.communicate(b""), 20)  # given nothing, it closes the pipe
    assert process.returncode == 1


async def test_a_worker_that_hangs_does_not_hold_up_the_end_for_ever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """It is killed after a bound, which this test makes short; the store is stopped all the same."""
    monkeypatch.setattr(workers, "STOP_S", 0.5)
    crew: set[int] = set()

    async def started(_: Started) -> None:
        crew.update(children(os.getpid()))
        os.kill(min(crew), signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGTERM)

    await asyncio.wait_for(workers.serve(Settings(data=tmp_path, port=0, workers=2), started), 60)
    assert len(crew) == 2
    assert alive(crew) == set()
    assert await store_pid(tmp_path) is None
