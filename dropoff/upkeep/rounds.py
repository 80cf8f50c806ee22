"""Goes the rounds: once a second, through all queues.

A round that fails (the store is away, say) is followed by the next; nothing is remembered between them.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Final

from dropoff.core import limits
from dropoff.core.ledger import Receipt
from dropoff.core.store import Store
from dropoff.errors import BrokerUnavailable
from dropoff.upkeep.due import due
from dropoff.upkeep.lapse import lapse

log = logging.getLogger("dropoff.upkeep")

EVERY_S: Final = 1.0


async def go_round(store: Store) -> list[Receipt]:
    """One round, now. Returns what it did."""
    await store.refresh()
    done: list[Receipt] = []
    for queue in await store.queues(fresh=True):
        try:
            late = await store.overdue(queue, limits.OVERDUE_AT_ONCE)
            done += [*await lapse(store, late.leases), *await due(store, late.timers)]
        except BrokerUnavailable:
            raise
        except Exception:  # one queue that cannot be read must not hold up the others
            log.exception("upkeep of queue %s failed", queue)
    return done


class Rounds:
    """Goes the rounds until it is closed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._go(), name="dropoff upkeep")

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._task = None

    async def _go(self) -> None:
        while True:
            try:
                await go_round(self._store)
            except BrokerUnavailable as error:
                log.warning("upkeep waits for the store: %s", error)
            except Exception:  # upkeep must outlive any one round; the log says what went wrong
                log.exception("a round of upkeep failed")
            await asyncio.sleep(EVERY_S)
