"""Puts scheduled handoffs into their queues when their time has come."""

from collections.abc import Iterable

from dropoff.core.handoff import HandoffId
from dropoff.core.ledger import Receipt
from dropoff.core.store import Store
from dropoff.upkeep.each import each


async def due(store: Store, handoffs: Iterable[HandoffId]) -> list[Receipt]:
    """The receipts of those that are waiting now."""
    return await each(store.due, handoffs)
