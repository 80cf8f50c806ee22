"""The conductor: starts a broker and a load, kills broker and store at random, and hands what is left to the checker.

A broker is `dropoff up` as a user starts it, killed by the handle of the child that we started. The store is its
Valkey, which outlives it; its process id is asked of the server itself, over its socket, right before the kill.
"""

import asyncio
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import httpx2
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from tests.crash.checker import History
from tests.ports import free_port

HERE: Final = Path(__file__).resolve().parent
SCHEMA: Final = HERE.parents[1] / "schemas" / "payloads" / "brief@1.json"
DROPOFF: Final = Path(sys.executable).parent / "dropoff"
QUEUE: Final = "research"
LEASE_S: Final = 2  # under load: short, so that some run out while nobody is there to end them
AGENTS: Final = {
    **{f"dropper-{n}": [f"drop:{QUEUE}"] for n in range(1, 4)},
    **{f"worker-{n}": [f"pick:{QUEUE}"] for n in range(1, 5)},
    "worker-slow": [f"pick:{QUEUE}"],
}
WAIT_S: Final = 20.0

Victim = Literal["broker", "store", "both"]
VICTIMS: Final[tuple[Victim, ...]] = ("broker", "store", "both")


class Broker:
    """`dropoff up` on one data folder and one port, started and killed as often as it takes."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.data, self._log = folder / "data", folder / "broker.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = (str(DROPOFF), "up", "--data", str(self.data), "--port", str(self.port), *flags)
        self.starts = 0
        self.up_s = 0.0  # from the moment when it said that it is ready to the moment when it was killed
        self._ready_since: float | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.starts += 1

    async def ready(self) -> None:
        """Return as soon as it is ready, which includes its store."""
        async with httpx2.AsyncClient(base_url=self.url, trust_env=False) as client:

            async def ask() -> bool:
                assert self._process is not None
                assert self._process.returncode is None, f"the broker ended by itself:\n{self.last_words()}"
                try:
                    return (await client.get("/readyz")).is_success
                except httpx2.TransportError:
                    return False

            await until("the broker to be ready", ask)
        self._ready_since = self._ready_since or time.monotonic()

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._count()
        await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM, as a supervisor stops it; returns the exit code."""
        assert self._process is not None
        self._process.terminate()
        self._count()
        return await asyncio.wait_for(self._process.wait(), WAIT_S)

    async def end(self) -> None:
        """Whatever happened before, leave no process."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()
        if (pid := await store_pid(self.data)) is not None:
            os.kill(pid, signal.SIGKILL)

    def up_for_s(self) -> float:
        """How long it has served so far, over all its lives."""
        return self.up_s + (time.monotonic() - self._ready_since if self._ready_since is not None else 0.0)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def last_words(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]

    def _count(self) -> None:
        if self._ready_since is not None:
            self.up_s += time.monotonic() - self._ready_since
        self._ready_since = None


# ---- the store, from outside ------------------------------------------------------------------------------------


def store_client(data: Path) -> Any:
    """A plain client without retries; untyped, as redis-py's answers are."""
    path = str(data / "store" / "socket")
    return redis.asyncio.Redis(unix_socket_path=path, decode_responses=True, retry=Retry(NoBackoff(), 0))


async def store_pid(data: Path) -> int | None:
    """The store's process, by its own word; None if nobody answers."""
    async with store_client(data) as client:
        try:
            return int((await client.info("server"))["process_id"])
        except (RedisError, OSError):
            return None


async def kill_store(data: Path) -> None:
    """Wait until there is a store to kill, and kill it."""
    found: list[int] = []

    async def ask() -> bool:
        pid = await store_pid(data)
        found.extend([pid] if pid else [])
        return bool(found)

    await until("a store to kill", ask)
    os.kill(found[0], signal.SIGKILL)


async def history(data: Path, file: Path, *, settled: bool = True) -> History:
    """All that the checker wants to know, past the broker: the load's file, the ledger, the records."""
    events = [json.loads(line) for line in file.read_text().splitlines()]
    async with store_client(data) as client:
        entries: list[dict[str, str]] = []
        after = "-"
        while page := await client.xrange("dropoff:{p0}:ledger", min=after, count=5_000):
            entries += ({"id": id, **fields} for id, fields in page)
            after = f"({page[-1][0]}"
        records: dict[str, dict[str, str]] = {}
        names = [name async for name in client.scan_iter(match=f"dropoff:?p0?:q:{QUEUE}:h:*", count=5_000)]
        async with client.pipeline(transaction=False) as ask:
            for name in names:
                ask.hgetall(name)
            for record in await ask.execute():
                records[record["id"]] = record
    return History(events, entries, records, settled)


# ---- the performance --------------------------------------------------------------------------------------------


class Kill(NamedTuple):
    victim: Victim
    at_ms: int


class Played(NamedTuple):
    """What there was to see."""

    history: History
    kills: list[Kill]
    starts: int
    up_s: float
    wall_s: float
    began_ms: int
    ended_ms: int

    def completed(self) -> int:
        """Handoffs whose completion an agent was told while the kills went on."""
        told = (event for event in self.history.events if event["what"] == "complete")
        return len({event["handoff"] for event in told if self.began_ms <= event["heard"] <= self.ended_ms})

    def rate(self) -> float:
        """Completions a second. A store's death does not stop this clock: while it is away, the broker is up."""
        return self.completed() / self.up_s

    def recoveries_ms(self, *victims: Victim) -> list[int]:
        """From each kill to the first receipt that an agent had for a step that came after it."""
        told = sorted((event["heard"], int(event["entry"].partition("-")[0])) for event in self.receipts())
        return [
            next((heard - kill.at_ms for heard, at in told if at > kill.at_ms), -1)
            for kill in self.kills
            if kill.victim in victims
        ]

    def receipts(self) -> list[Any]:
        return [event for event in self.history.events if "entry" in event]

    def figures(self) -> str:
        dead = sum(2 if kill.victim == "both" else 1 for kill in self.kills)
        lines = [
            f"{dead} kills, {self.starts} starts of the broker; {len(self.history.records):,} handoffs, "
            f"{len(self.history.entries):,} ledger entries, {len(self.receipts()):,} receipts",
            f"{self.completed():,} completed meanwhile: {self.rate():.0f}/s while a broker was up ({self.up_s:.1f} s), "
            f"{self.completed() / self.wall_s:.0f}/s by the clock on the wall ({self.wall_s:.1f} s)",
            *(self._recovery(victim) for victim in VICTIMS),
        ]
        return "\n".join(lines)

    def _recovery(self, victim: Victim) -> str:
        times = self.recoveries_ms(victim)
        median = f"{statistics.median(times):.0f} ms (median), {max(times)} ms at most" if times else "-"
        return f"{victim} killed {len(times)} times; the next receipt after {median}"


@asynccontextmanager
async def broker_in_a_folder(*flags: str) -> AsyncIterator[Broker]:
    """A broker that serves, with a queue and agents; afterwards no process and no folder is left."""
    folder = Path(tempfile.mkdtemp(prefix="dropoff-crash-"))  # short: the store's socket has to fit
    broker = Broker(folder, *flags)
    try:
        await broker.start()
        await broker.ready()
        yield broker
    finally:
        await broker.end()
        shutil.rmtree(folder, ignore_errors=True)


async def furnish(broker: Broker, lease_s: int) -> dict[str, str]:
    """Make schema, queue and agents, as the operator; returns the agents' bearers."""
    bearer = (broker.data / "operator.bearer").read_text().strip()
    headers = {"Authorization": f"Bearer {bearer}"}
    async with httpx2.AsyncClient(base_url=broker.url, headers=headers, trust_env=False) as client:

        async def act(path: str, body: Any) -> Any:
            response = await client.post(path, json=body)
            assert response.is_success, response.text
            return response.json()

        await act("/v1/schemas/brief", json.loads(SCHEMA.read_text()))
        # Attempts are not what this is about: a handoff is to go on until somebody completes it.
        settings = {"name": QUEUE, "schema": "brief", "lease_seconds": lease_s, "max_attempts": 100}
        await act("/v1/queues", settings)
        made = {name: await act("/v1/agents", {"name": name, "grants": grants}) for name, grants in AGENTS.items()}
    return {name: answer["bearer"] for name, answer in made.items()}


@asynccontextmanager
async def load_on(broker: Broker, seed: int) -> AsyncIterator[tuple[asyncio.subprocess.Process, Path]]:
    """The load at work, in a process of its own, and its file."""
    file, setup = broker.data.parent / "load.jsonl", broker.data.parent / "setup.json"
    facts = {"url": broker.url, "queue": QUEUE, "file": str(file), "seed": seed, "lease_s": LEASE_S}
    setup.write_text(json.dumps(facts | {"agents": await furnish(broker, LEASE_S)}))
    load = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "load.py"), str(setup), stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield load, file
    finally:
        if load.returncode is None:
            load.kill()
        await load.communicate()  # not wait: it returns when the pipes are closed, too


async def play(seed: int, kills: int) -> Played:
    """Broker and load, so many kills at random, and then let everything come to its end."""
    chance = random.Random(seed)
    done: list[Kill] = []
    async with broker_in_a_folder() as broker, load_on(broker, seed) as (load, file):
        began_ms, began = now_ms(), time.monotonic()
        for victim in _victims(chance, kills):
            await _strike(broker, victim, chance, done)
            assert load.returncode is None, await _said(load)
        await broker.ready()
        await asyncio.sleep(0.5)
        ended_ms, wall_s, up_s, starts = now_ms(), time.monotonic() - began, broker.up_for_s(), broker.starts

        assert load.stdin is not None
        load.stdin.close()
        assert await asyncio.wait_for(load.wait(), 90) == 0, await _said(load)
        seen = await history(broker.data, file)
        broker_ended = await broker.stop()
        assert broker_ended == 0, broker.last_words()
        assert await store_pid(broker.data) is None, "the store outlived the last broker's orderly end"
    return Played(seen, done, starts, up_s, wall_s, began_ms, ended_ms)


def _victims(chance: random.Random, kills: int) -> list[Victim]:
    """So many kills: as many of brokers as of stores, a fifth of them in pairs at the same moment."""
    pairs = kills // 10
    single = kills // 2 - pairs
    counts: dict[Victim, int] = {"broker": single, "store": single, "both": pairs}
    victims: list[Victim] = [victim for victim, count in counts.items() for _ in range(count)]
    chance.shuffle(victims)
    return victims


async def _strike(broker: Broker, victim: Victim, chance: random.Random, done: list[Kill]) -> None:
    """One kill. Mostly of a broker that works; one in five comes whenever it comes, into the middle of a start too."""
    if chance.random() < 0.8:
        await broker.ready()
        await asyncio.sleep(chance.uniform(0.2, 0.9))
    else:
        await asyncio.sleep(chance.uniform(0.0, 0.5))
    if victim in ("store", "both"):
        await kill_store(broker.data)
    done.append(Kill(victim, now_ms()))
    if victim in ("broker", "both"):
        await broker.kill()
        await broker.start()


async def _said(load: asyncio.subprocess.Process) -> str:
    assert load.stderr is not None
    return f"the load ended with {load.returncode}:\n{(await load.stderr.read()).decode()[-3000:]}"


async def until(what: str, holds: Callable[[], Awaitable[Any]], limit_s: float = WAIT_S) -> None:
    """Return as soon as it holds; fail after a bounded time, saying what was waited for."""
    try:
        async with asyncio.timeout(limit_s):
            while not await holds():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited {limit_s:.0f} s for {what}") from None


def now_ms() -> int:
    return time.time_ns() // 1_000_000
