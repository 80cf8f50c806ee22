"""Ends leases whose time is over."""

from collections.abc import Iterable

from dropoff.core.handoff import HandoffId
from dropoff.core.ledger import Receipt
from dropoff.core.store import Store
from dropoff.upkeep.each import each


async def lapse(store: Store, handoffs: Iterable[HandoffId]) -> list[Receipt]:
    """The receipts of those that lapsed now; others were extended, settled or lapsed by somebody else meanwhile."""
    return await each(store.lapse, handoffs)
