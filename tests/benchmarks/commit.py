"""What it is worth to send together the steps that arrive together.

    python -m tests.benchmarks.commit [--callers 32] [--steps 4000] [--rounds 7] [--redis]

The same steps by the same callers, each of whom awaits its answer before its next step, in three ways side by side: all
gathered on one connection by `Commit`; one after the other on one connection; and each caller on a connection of its
own. Each way goes first in turn, and every ratio is taken within its round, so that a machine that slows down slows
all. The store is the embedded one's server with an fsync before every answer, everything on one machine.

Two loads. Real drop-offs, for which the server runs a script; and a write that costs it next to nothing, which shows
what the ways themselves cost. The server runs one script at a time, so its own time for a drop-off bounds every way;
it is printed. What gathering saves beyond that is the broker's own CPU, which serves the doors.

Prints number, machine and limit together, and ends with 1 where a limit is missed.
"""

import argparse
import asyncio
import os
import platform
import secrets
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, NamedTuple

from redis.asyncio.connection import AbstractConnection

from dropoff.storage.commit import Commit
from dropoff.storage.connection import Command, Source
from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from tests import world
from tests.servers import Server, source_of

LIMIT: Final = 3.0  # gathered against one after the other, real drop-offs, at the median
LIGHT: Final[Command] = ("SET", "t-light", "x" * 100)

Ask = Callable[..., Awaitable[Any]]


class Connections:
    """One command at a time on each of some connections, as a pool would do it; client retries are off as in ours."""

    def __init__(self, source: Source, count: int) -> None:
        self._source, self._count = source, count
        self._free: asyncio.LifoQueue[AbstractConnection] = asyncio.LifoQueue()

    async def start(self) -> None:
        for _ in range(self._count):
            self._free.put_nowait(await self._source.connect())

    async def close(self) -> None:
        for _ in range(self._count):
            await self._free.get_nowait().disconnect()

    async def ask(self, *command: str | bytes) -> Any:
        connection = await self._free.get()
        try:
            await connection.send_command(*command)
            return await connection.read_response()
        finally:
            self._free.put_nowait(connection)


class Recorder(Commit):
    """Keeps the commands that a store would send."""

    def __init__(self) -> None:
        self.commands: list[Command] = []

    async def ask(self, *command: str | bytes) -> Any:
        self.commands.append(command)
        raise NotSent


class NotSent(Exception):
    pass


class Measured(NamedTuple):
    per_s: float
    cpu_us: float  # of this process, for each step


async def drop_offs(store: RedisStore, count: int) -> list[Command]:
    """As many drop-offs as the store would send them."""
    ours, recorder = store._commit, Recorder()
    store._commit = recorder
    for _ in range(count):
        try:
            await world.drop_off(store)
        except NotSent:
            pass
    store._commit = ours
    return recorder.commands


async def measure(ask: Ask, commands: list[Command], callers: int) -> Measured:
    left: Iterator[Command] = iter(commands)

    async def call() -> None:
        for command in left:
            await ask(*command)

    begun, begun_cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(call() for _ in range(callers)))
    took, took_cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
    return Measured(len(commands) / took, took_cpu / len(commands) * 1e6)


async def compare(server: Server, callers: int, steps: int, rounds: int) -> tuple[dict[str, list[list[Measured]]], str]:
    """For each load, of each round: gathered, one after the other, a connection a caller. And what the store is."""
    source, keys = source_of(server), Keys(prefix=f"t-{secrets.token_hex(6)}")
    setting_up = RedisStore(source, keys, world.Clock())
    await setting_up.start()
    await world.furnish(setting_up)
    await setting_up.close()
    store = RedisStore(source, keys)
    found = await store.start()
    commit, single, many = Commit(source), Connections(source, 1), Connections(source, callers)
    commit.start()
    await single.start()
    await many.start()
    ways = [(commit.ask, 1.0), (single.ask, 0.25), (many.ask, 1.0)]  # the slow way need not take the longest
    results: dict[str, list[list[Measured]]] = {"drop_off": [], "light write": []}
    try:
        for number in range(rounds + 1):
            for load, rows in results.items():
                row: dict[int, Measured] = {}
                for place in sorted(range(3), key=lambda way: (way + number) % 3):
                    ask, share = ways[place]
                    count = int(steps * share)
                    light: list[Command] = [LIGHT] * count
                    commands = await drop_offs(store, count) if load == "drop_off" else light
                    row[place] = await measure(ask, commands, callers)
                if number:  # the first round warms up
                    rows.append([row[place] for place in range(3)])
    finally:
        await many.close()
        await single.close()
        await commit.close()
        await store.close()
    return results, f"{found.product}, {found.durability}"


def told(load: str, rows: list[list[Measured]], callers: int) -> float:
    """Print what was found for one load; gives the ratio that has a limit."""

    def median(of: Callable[[list[Measured]], float]) -> float:
        return statistics.median(map(of, rows))

    print(f"{load}, {callers} callers, median of {len(rows)} rounds:")
    for place, way in enumerate(
        ("gathered on one connection", "one by one on one connection", "a connection a caller")
    ):
        per_s, cpu_us = median(lambda row, at=place: row[at].per_s), median(lambda row, at=place: row[at].cpu_us)
        print(f"  {way:30} {per_s:8,.0f}/s   {cpu_us:5.1f} µs of the broker's CPU a step")
    by_one, by_many = median(lambda row: row[0].per_s / row[1].per_s), median(lambda row: row[0].per_s / row[2].per_s)
    saved = median(lambda row: row[2].cpu_us / row[0].cpu_us)
    print(f"  gathered is {by_one:.1f} × one by one, {by_many:.1f} × a connection a caller at {saved:.1f} × less CPU")
    return by_one


def main() -> int:
    arguments = argparse.ArgumentParser(description="Gathered steps against the same steps one by one.")
    arguments.add_argument("--callers", type=int, default=32)
    arguments.add_argument("--steps", type=int, default=4_000, help="of each way and round")
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--redis", action="store_true", help="redis-server instead of the embedded store's server")
    asked = arguments.parse_args()
    server = Server("redis" if asked.redis else "valkey", appendfsync="always")
    try:
        results, store = asyncio.run(compare(server.start(), asked.callers, asked.steps, asked.rounds))
        with server.client as client:
            script_us = client.info("commandstats")["cmdstat_evalsha"]["usec_per_call"]
    finally:
        server.stop()
    ratios = {load: told(load, rows, asked.callers) for load, rows in results.items()}
    print(
        f"limit: drop_off gathered ≥ {LIMIT:.0f} × one by one on one connection\n"
        f"the server's own time for one drop_off, the same for every way: {script_us:.0f} µs on average\n"
        f"{store}; {os.cpu_count()} cores of {platform.processor() or platform.machine()}, "
        f"Python {platform.python_version()}, everything on this machine"
    )
    return 0 if ratios["drop_off"] >= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
