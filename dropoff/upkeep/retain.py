"""Keeps what ended for as long as its queue says, and erases it then."""

from collections.abc import Iterable

from dropoff.core.handoff import HandoffId
from dropoff.core.ledger import Receipt
from dropoff.core.store import Store
from dropoff.upkeep.each import each


async def retain(store: Store, handoffs: Iterable[HandoffId]) -> list[Receipt]:
    """The receipts of those that are erased now."""
    return await each(store.erase, handoffs)
