"""Whole handoffs a second through batches of 16, against one call a verb, side by side.

    python -m tests.benchmarks.batch [--seconds 10] [--agents 8]

One broker with its doors as they are served, the embedded store's server with an fsync before every answer, and the
agents, all on this machine, the agents in a process of their own. Half of the agents drop off, half pick up and
complete. First with one request a verb, then with batches of 16; then once more the other way round, for a machine that
slows down. A handoff counts when its completion is answered. Prints numbers, machine and limit together; the ratio is
told and not asserted, for it is the machine's as well.
"""

import argparse
import asyncio
import multiprocessing
import os
import platform
import secrets
import sys
import time
from typing import Any, Final

import httpx2
import msgspec

from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from tests.doors.http.house import WORK, opened
from tests.servers import Server, source_of

SIZE: Final = 16
AHEAD_MAX: Final = 200  # as far as those who drop off may be ahead of those who pick up
PAYLOAD: Final = WORK | {"more": {"text": "x" * 1_400}}  # 1.5 kB in all

Json = dict[str, Any]


class Agent:
    """Calls, and says how many handoffs it has completed."""

    def __init__(self, http: httpx2.AsyncClient, size: int, ends: float) -> None:
        self._http, self._size, self._ends = http, size, ends

    async def _ask(self, path: str, body: Json) -> Json:
        answer = await self._http.post(path, content=msgspec.json.encode(body))
        assert answer.status_code == 200, answer.text
        return msgspec.json.decode(answer.content)

    async def _ask_all(self, calls: list[Json]) -> list[Json]:
        if self._size == 1:
            return [await self._ask(f"/v1/{one['verb']}", one["arguments"]) for one in calls]
        return (await self._ask("/v1/batch", {"calls": calls}))["answers"]

    async def drop(self) -> int:
        drops = [{"verb": "drop_off", "arguments": {"payload": PAYLOAD}}] * self._size
        while time.monotonic() < self._ends:
            answers = await self._ask_all(drops)
            if answers[-1]["ahead_of_it"] > AHEAD_MAX:
                await asyncio.sleep(0.01)
        return 0

    async def work(self) -> int:
        arguments = {"wait_seconds": 1} | ({"at_most": self._size} if self._size > 1 else {})
        pick: Json = {"verb": "pick_up", "arguments": arguments}
        completed, settle = 0, list[Json]()
        while time.monotonic() < self._ends or settle:
            calls = settle + ([pick] if time.monotonic() < self._ends else [])
            answers = await self._ask_all(calls)
            completed += len(settle)
            found = answers[-1] if len(calls) > len(settle) else {}
            handoffs = found.get("handoffs", [found] if "lease_id" in found else [])
            settle = [
                {"verb": "complete", "arguments": {"lease_id": one["lease_id"], "result": {"found": 3}}}
                for one in handoffs
            ]
        return completed


async def _load(url: str, bearer: str, size: int, agents: int, seconds: float) -> float:
    begun = time.monotonic()
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=agents)
    headers = {"authorization": f"Bearer {bearer}", "content-type": "application/json"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=30, limits=limits) as http:
        everybody = [Agent(http, size, begun + seconds) for _ in range(agents)]
        done = await asyncio.gather(*(one.drop() if place % 2 else one.work() for place, one in enumerate(everybody)))
    return sum(done) / (time.monotonic() - begun)


def _in_a_process(answer: Any, *given: Any) -> None:
    answer.send(asyncio.run(_load(*given)))
    answer.close()


async def measure(server: Server, agents: int, seconds: float) -> tuple[dict[int, list[float]], str]:
    found: dict[int, list[float]] = {1: [], SIZE: []}
    keys = Keys(prefix=f"t-{secrets.token_hex(6)}")
    store = RedisStore(source_of(server), keys)
    examined = await store.start()
    spawning = multiprocessing.get_context("spawn")
    try:
        async with opened(store, server, keys) as desk:
            worker = await desk.agent("worker", "drop:research", "pick:research")
            for size in (1, SIZE, SIZE, 1):
                here, there = spawning.Pipe(duplex=False)
                load = spawning.Process(
                    target=_in_a_process, args=(there, desk.url, worker.bearer, size, agents, seconds)
                )
                load.start()
                there.close()
                found[size].append(await asyncio.to_thread(here.recv))
                await asyncio.to_thread(load.join)
    finally:
        await store.close()
    return found, f"{examined.product}, {examined.durability}"


def main() -> int:
    arguments = argparse.ArgumentParser(description="Whole handoffs a second through batches, and one by one.")
    arguments.add_argument("--seconds", type=float, default=10.0)
    arguments.add_argument("--agents", type=int, default=8)
    asked = arguments.parse_args()
    server = Server("valkey", appendfsync="always")
    try:
        found, store = asyncio.run(measure(server.start(), asked.agents, asked.seconds))
    finally:
        server.stop()
    alone, together = (sum(found[size]) / len(found[size]) for size in (1, SIZE))
    print(
        f"whole handoffs a second, {asked.agents} agents, 1.5 kB: "
        f"{alone:,.0f} one by one, {together:,.0f} in batches of {SIZE} ({together / alone:.1f} times)\n"
        f"each run: {', '.join(f'{rate:,.0f}' for rate in found[1])} · "
        f"{', '.join(f'{rate:,.0f}' for rate in found[SIZE])}\n"
        f"{store}; {os.cpu_count()} cores of {platform.processor() or platform.machine()}, "
        f"Python {platform.python_version()}, everything on this machine"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
