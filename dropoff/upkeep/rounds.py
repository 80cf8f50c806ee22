"""Goes the rounds: once a second through all queues, the heartbeat beside it, and once an hour a look at everything.

Any broker does it, several at once: each act is a step of the store that looks again before it does anything. A round
that fails (the store is away, say) is followed by the next; nothing is remembered between them.

The heart beats by itself, however long a round takes: that nobody beats means that nobody could serve.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from dropoff.core import limits
from dropoff.core.handoff import QueueName
from dropoff.core.ledger import Receipt
from dropoff.core.store import Store
from dropoff.errors import BrokerUnavailable
from dropoff.upkeep.due import due
from dropoff.upkeep.each import alone
from dropoff.upkeep.enforce import enforce
from dropoff.upkeep.expire import expire
from dropoff.upkeep.lapse import lapse
from dropoff.upkeep.mend import mend
from dropoff.upkeep.recall import recall
from dropoff.upkeep.retain import retain

log = logging.getLogger("dropoff.upkeep")

ROUND_S: Final = 1.0
BEAT_S: Final = 1.0
MEND_S: Final = 3_600.0
AGAIN_S: Final = 5.0  # at most, after something that failed: a look at everything must not wait for another hour


async def go_round(store: Store) -> list[Receipt]:
    """One round, now. Returns what it did."""
    await store.refresh()
    await store.beat()  # first: what would lapse in this round must know of an outage that has just ended
    await alone("changes of authority", enforce(store))
    done = await alone("revoked agents' leases", recall(store))
    for queue in await store.queues(fresh=True):
        done += await alone(f"queue {queue}", _through(store, queue))
    return done


async def _through(store: Store, queue: QueueName) -> list[Receipt]:
    """All that is overdue in one queue: some at a time, as long as each time brings something, within bounds."""
    done: list[Receipt] = []
    for _ in range(limits.OVERDUE_GOES):
        late = await store.overdue(queue, limits.OVERDUE_AT_ONCE)
        now = [
            *await lapse(store, late.leases),
            *await expire(store, late.expiries),
            *await due(store, late.timers),
            *await retain(store, late.ended),
        ]
        done += now
        if len(now) < limits.OVERDUE_AT_ONCE:
            break
    return done


class Rounds:
    """Goes the rounds until it is closed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._every(BEAT_S, "the heartbeat", self._store.beat), name="dropoff heartbeat"),
            asyncio.create_task(self._every(ROUND_S, "a round", lambda: go_round(self._store)), name="dropoff upkeep"),
            asyncio.create_task(self._every(MEND_S, "mending", lambda: mend(self._store)), name="dropoff mending"),
        ]

    def stop(self) -> None:
        """Begin nothing more; what is under way ends with `close`."""
        for running in self._tasks:
            running.cancel()

    async def close(self) -> None:
        self.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _every(self, seconds: float, what: str, act: Callable[[], Awaitable[object]]) -> None:
        while True:
            pause = min(seconds, AGAIN_S)
            try:
                await act()
                pause = seconds
            except BrokerUnavailable as error:
                log.warning("%s waits for the store: %s", what, error)
            except Exception:  # upkeep must outlive any one act; the log says what went wrong
                log.exception("%s failed", what)
            await asyncio.sleep(pause)
