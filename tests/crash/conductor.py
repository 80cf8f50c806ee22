"""The conductor: starts a broker and a load, kills broker, store and workers at random, and hands what is left to the
checker.

A broker is `dropoff up` as a user starts it, killed by the handle of the child that we started; so is a worker (see
`lives.py`). The store is its Valkey, which outlives it; its process id is asked of the server itself, over its socket,
right before the kill. An outage is a death of broker and store after which nobody is there for longer than the broker
says that an outage is. Meanwhile an operator grants and ungrants, so that no agent's revision stands still.
"""

import asyncio
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx2
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from dropoff.core import limits
from tests.crash.checker import FINAL, History, Outage
from tests.crash.lives import WAIT_S, Load, until
from tests.crash.played import Kill, Played, Victim
from tests.ports import free_port

HERE: Final = Path(__file__).resolve().parent
SCHEMA: Final = HERE.parents[1] / "schemas" / "payloads" / "brief@1.json"
DROPOFF: Final = Path(sys.executable).parent / "dropoff"
QUEUE: Final = "research"
NEXT: Final = "edits"  # what is forwarded goes here
LEASE_S: Final = limits.LEASE_MS_MIN // 1_000  # under load: some run out while nobody is there to end them
WORKS: Final = [f"pick:{QUEUE}", f"pick:{NEXT}", f"drop:{NEXT}"]
AGENTS: Final = {
    **{f"dropper-{n}": [f"drop:{QUEUE}"] for n in range(1, 4)},
    **{f"worker-{n}": WORKS for n in range(1, 5)},
    "worker-slow": WORKS,
}
HARMLESS: Final = f"inspect:{NEXT}"
SETTLE_S: Final = 90.0
OUTAGE_S: Final = 3.2  # longer than what the broker calls one


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

            try:
                await until("the broker to be ready", ask)
            except AssertionError as error:
                error.add_note(self.last_words())
                raise
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


async def history(data: Path, load: Load, *, settled: bool = True) -> History:
    """All that the checker wants to know, past the broker: the load's files, the ledger, the records."""
    async with store_client(data) as client:
        entries = [entry async for entry in ledger(client)]
        records: dict[str, dict[str, str]] = {}
        names = [name async for name in client.scan_iter(match="dropoff:?p0?:q:*:h:*", count=5_000)]
        async with client.pipeline(transaction=False) as ask:
            for name in names:
                ask.hgetall(name)
            for record in await ask.execute():
                records[record["id"]] = record
    return History(load.events(), entries, records, settled)


async def ledger(client: Any) -> AsyncIterator[dict[str, str]]:
    after = "-"
    while page := await client.xrange("dropoff:{p0}:ledger", min=after, count=5_000):
        for id, fields in page:
            yield {"id": id, **fields}
        after = f"({page[-1][0]}"


# ---- who calls -----------------------------------------------------------------------------------------------


def calling(broker: Broker, bearer: str) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {bearer}"}
    return httpx2.AsyncClient(base_url=broker.url, headers=headers, timeout=30, trust_env=False)


@asynccontextmanager
async def operating(broker: Broker) -> AsyncIterator[httpx2.AsyncClient]:
    """The operator's client."""
    async with calling(broker, (broker.data / "operator.bearer").read_text().strip()) as client:
        yield client


async def furnish(broker: Broker, lease_s: int, agents: Mapping[str, list[str]] = AGENTS) -> dict[str, str]:
    """Make schema, queues and agents, as the operator; returns the agents' bearers."""
    async with operating(broker) as operator:

        async def act(path: str, body: Any) -> Any:
            response = await operator.post(path, json=body)
            assert response.is_success, response.text
            return response.json()

        await act("/v1/schemas/brief", json.loads(SCHEMA.read_text()))
        # Attempts are not what this is about: a handoff is to go on until somebody completes it.
        settings = {"schema": "brief", "lease_seconds": lease_s, "max_attempts": 100}
        for queue in (QUEUE, NEXT):
            await act("/v1/queues", settings | {"name": queue})
        made = {name: await act("/v1/agents", {"name": name, "grants": grants}) for name, grants in agents.items()}
    return {name: answer["bearer"] for name, answer in made.items()}


async def _move_revisions(broker: Broker, chance: random.Random) -> None:
    """Give an agent a grant that it does not need, or take it back; nobody minds if the broker is away."""
    async with operating(broker) as operator:
        while True:
            agent, act = chance.choice(list(AGENTS)), chance.choice(["grant", "ungrant"])
            with suppress(httpx2.TransportError):
                response = await operator.post(f"/v1/agents/{agent}/{act}", json={"grants": [HARMLESS]})
                assert response.status_code in (200, 503), response.text
            await asyncio.sleep(chance.uniform(0.1, 0.5))


async def settled(broker: Broker) -> None:
    """Return when everything has its outcome: first by the broker's word, then by every single record."""
    async with operating(broker) as operator, store_client(broker.data) as client:

        async def is_settled() -> bool:
            try:
                queues = (await operator.get("/v1/queues")).json()["queues"]
            except httpx2.TransportError:  # of several processes the last of a killed parent's has just left
                return False
            left = (queue[state] for queue in queues for state in ("waiting", "leased", "scheduled", "held"))
            return not any(left) and await all_final(client)

        await until("everything to have its outcome", is_settled, SETTLE_S)


async def all_final(client: Any) -> bool:
    async with client.pipeline(transaction=False) as ask:
        async for name in client.scan_iter(match="dropoff:?p0?:q:*:h:*", count=5_000):
            ask.hget(name, "state")
        return set(await ask.execute()) <= FINAL


# ---- the performance --------------------------------------------------------------------------------------------


@asynccontextmanager
async def broker_in_a_folder(*flags: str) -> AsyncIterator[Broker]:
    """A broker that serves; afterwards no process and no folder is left."""
    folder = Path(tempfile.mkdtemp(prefix="dropoff-crash-"))  # short: the store's socket has to fit
    broker = Broker(folder, *flags)
    try:
        await broker.start()
        await broker.ready()
        yield broker
    finally:
        await broker.end()
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def load_on(broker: Broker, seed: int, agents: Mapping[str, list[str]] = AGENTS) -> AsyncIterator[Load]:
    """The load at work, in processes of its own, with everything that it needs."""
    facts = {"url": broker.url, "queue": QUEUE, "next": NEXT, "seed": seed, "lease_s": LEASE_S}
    load = Load(broker.data.parent, facts | {"agents": await furnish(broker, LEASE_S, agents)})
    try:
        await load.start()
        yield load
    finally:
        await load.end()


async def settle(broker: Broker, load: Load) -> History:
    """Let everything come to its end; returns what there was."""
    await load.settle(partial(settled, broker))
    return await history(broker.data, load)


async def play(seed: int, kills: int, *flags: str, outages: int = 0) -> Played:
    """Broker and load, so many kills at random, and then let everything come to its end."""
    chance = random.Random(seed)
    async with broker_in_a_folder(*flags) as broker, load_on(broker, seed) as load:
        moving = asyncio.create_task(_move_revisions(broker, random.Random(seed + 1)))
        strikes = Strikes(broker, load, chance)
        began_ms, began = now_ms(), time.monotonic()
        for victim in _victims(chance, kills, outages):
            await strikes.strike(victim)
            load.require_alive()
            assert not moving.done(), moving.result()
        await broker.ready()
        for worker in load.workers:
            await until(f"{worker} to be at work again", partial(_at_work, load, worker))
        moving.cancel()
        ended_ms, wall_s, up_s, starts = now_ms(), time.monotonic() - began, broker.up_for_s(), broker.starts

        seen = (await settle(broker, load))._replace(outages=strikes.outages)
        broker_ended = await broker.stop()
        assert broker_ended == 0, broker.last_words()
        assert await store_pid(broker.data) is None, "the store outlived the last broker's orderly end"
    return Played(seen, strikes.done, starts, up_s, wall_s, began_ms, ended_ms)


async def _at_work(load: Load, worker: str) -> bool:
    return load.is_at_work(worker)


def _victims(chance: random.Random, kills: int, outages: int) -> list[Victim]:
    """So many kills, in any order: more than a quarter each of broker, store and workers.

    A fifth are of broker and store at the same moment, and some of those pairs are outages.
    """
    pairs = kills // 10
    single, rest = divmod(kills - 2 * pairs, 3)
    counts: dict[Victim, int] = {"outage": outages, "both": pairs - outages}
    counts |= {"broker": single, "store": single, "worker": single + rest}
    victims: list[Victim] = [victim for victim, count in counts.items() for _ in range(count)]
    chance.shuffle(victims)
    return victims


class Strikes:
    """Kills, and remembers what it has done."""

    def __init__(self, broker: Broker, load: Load, chance: random.Random) -> None:
        self._broker, self._load, self._chance = broker, load, chance
        self.done: list[Kill] = []
        self.outages: list[Outage] = []

    async def strike(self, victim: Victim) -> None:
        """One kill. Mostly while a broker works; one in five comes whenever it comes, also while a broker starts."""
        if self._chance.random() < 0.8:
            await self._broker.ready()
            await asyncio.sleep(self._chance.uniform(0.2, 0.9))
        else:
            await asyncio.sleep(self._chance.uniform(0.0, 0.5))
        if victim == "worker":
            worker = self._chance.choice(self._load.workers)
            self.done.append(Kill(victim, now_ms(), worker))
            await self._load.kill(worker)
            return
        if victim != "broker":
            await kill_store(self._broker.data)
        self.done.append(Kill(victim, now_ms()))
        if victim != "store":
            await self._broker.kill()
            if victim == "outage":
                await self._stay_away()
            await self._broker.start()

    async def _stay_away(self) -> None:
        began = now_ms()
        await asyncio.sleep(OUTAGE_S)
        ended = now_ms()
        self.outages.append(Outage(began, ended, ended + LEASE_S * 1_000))


def now_ms() -> int:
    return time.time_ns() // 1_000_000
