"""One step for each of many handoffs, all of them under way at once: the store gathers them into one batch.

A handoff whose record cannot be read must not hold up the others: its error goes to the log, and the next round tries
again. A store that is away is no fault of any one handoff, and ends the round.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from dropoff.core.handoff import HandoffId
from dropoff.core.ledger import Receipt
from dropoff.errors import BrokerUnavailable

log = logging.getLogger("dropoff.upkeep")


async def each(step: Callable[[HandoffId], Awaitable[Receipt | None]], handoffs: Iterable[HandoffId]) -> list[Receipt]:
    """The receipts of those for which there was something to do."""
    ids = list(handoffs)
    done = await asyncio.gather(*(step(id) for id in ids), return_exceptions=True)
    for id, outcome in zip(ids, done, strict=True):
        if isinstance(outcome, BrokerUnavailable):
            raise outcome
        if isinstance(outcome, BaseException):
            log.error("upkeep of %s failed", id, exc_info=outcome)
    return [outcome for outcome in done if outcome is not None and not isinstance(outcome, BaseException)]
