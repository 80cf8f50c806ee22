"""How long from a drop to the pick of an agent that waits.

    python -m tests.benchmarks.wake [--waiting 200] [--drops 500] [--redis]

A broker's store with 200 agents waiting for work, on the embedded store's server with an fsync before every answer, all
in one process and on one machine. One handoff is dropped off at a time, by a second store with its own connection, as
another broker would; measured is from the call to drop off until an agent holds the lease. Prints number, machine and
limit together, and ends with 1 where the limit is missed.
"""

import argparse
import asyncio
import os
import platform
import secrets
import statistics
import sys
import time
from typing import Final

from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from tests import world
from tests.servers import Server, source_of

LIMIT_MS: Final = 10.0  # at the median
ANSWER_S: Final = 10.0


async def measure(server: Server, waiting: int, drops: int) -> tuple[list[float], int, str]:
    """Milliseconds from drop to pick, one for each drop; the store's connections meanwhile; what the store is."""
    keys, picked = Keys(prefix=f"t-{secrets.token_hex(6)}"), asyncio.Queue[float]()
    waiters_store, senders_store = RedisStore(source_of(server), keys), RedisStore(source_of(server), keys)
    found = await waiters_store.start()
    with server.client as client:
        connections = len(client.client_list()) - 1
    await senders_store.start()
    clock = world.Clock()
    setting_up = RedisStore(source_of(server), keys, clock)
    await setting_up.start()
    await world.furnish(setting_up)
    await setting_up.close()
    await waiters_store.queues(fresh=True)

    async def work_on(agent: int) -> None:
        for number in range(drops):
            async with waiters_store.waiting_for_work([world.QUEUE.name]) as place:
                while not (taken := await waiters_store.pick_up(world.BOB, world.QUEUE, f"{agent}-{number}")):
                    await place.news(60)
            picked.put_nowait(time.perf_counter())
            await waiters_store.complete(world.BOB, taken.lease, b"{}")

    agents = [asyncio.create_task(work_on(agent)) for agent in range(waiting)]
    took_ms: list[float] = []
    try:
        async with asyncio.timeout(60):
            while (await waiters_store.figures([world.QUEUE.name]))[world.QUEUE.name].pickers < 1:
                await asyncio.sleep(0.01)
        await waiters_store.ping()
        for number in range(drops):
            begun = time.perf_counter()
            await world.drop_off(senders_store, key=f"drop-{number}")
            async with asyncio.timeout(ANSWER_S):
                took_ms.append(((await picked.get()) - begun) * 1_000)
            with server.client as client:
                connections = max(connections, len(client.client_list()) - 2)  # but the sender's one and this one
    finally:
        for agent in agents:
            agent.cancel()
        await asyncio.gather(*agents, return_exceptions=True)
        await senders_store.close()
        await waiters_store.close()
    return took_ms, connections, f"{found.product}, {found.durability}"


def main() -> int:
    arguments = argparse.ArgumentParser(description="How long from a drop to the pick of an agent that waits.")
    arguments.add_argument("--waiting", type=int, default=200)
    arguments.add_argument("--drops", type=int, default=500)
    arguments.add_argument("--redis", action="store_true", help="redis-server instead of the embedded store's server")
    asked = arguments.parse_args()
    server = Server("redis" if asked.redis else "valkey", appendfsync="always")
    try:
        took_ms, connections, store = asyncio.run(measure(server.start(), asked.waiting, asked.drops))
    finally:
        server.stop()
    took_ms.sort()
    median = statistics.median(took_ms)
    print(
        f"drop to pick with {asked.waiting} waiting: median {median:.2f} ms (limit {LIMIT_MS:.0f} ms), "
        f"95 of 100 within {took_ms[int(0.95 * len(took_ms))]:.2f} ms, {len(took_ms)} drops\n"
        f"store connections of the broker with the waiting agents: {connections} (limit 3)\n"
        f"{store}; {os.cpu_count()} cores of {platform.processor() or platform.machine()}, "
        f"Python {platform.python_version()}, everything on this machine"
    )
    return 0 if median <= LIMIT_MS and connections <= 3 else 1


if __name__ == "__main__":
    sys.exit(main())
