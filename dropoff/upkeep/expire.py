"""Ends handoffs that nobody has taken in their queue's time."""

from collections.abc import Iterable

from dropoff.core.handoff import HandoffId
from dropoff.core.ledger import Receipt
from dropoff.core.store import Store
from dropoff.upkeep.each import each


async def expire(store: Store, handoffs: Iterable[HandoffId]) -> list[Receipt]:
    """The receipts of those that expired now."""
    return await each(store.expire, handoffs)
