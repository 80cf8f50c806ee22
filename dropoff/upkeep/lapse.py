"""Ends leases whose time is over."""

from collections.abc import Iterable

from dropoff.core.handoff import HandoffId
from dropoff.core.ledger import Receipt
from dropoff.core.store import Store


async def lapse(store: Store, handoffs: Iterable[HandoffId]) -> list[Receipt]:
    """The receipts of those that lapsed now; others were extended, settled or lapsed by somebody else meanwhile."""
    receipts = [await store.lapse(handoff) for handoff in handoffs]
    return [receipt for receipt in receipts if receipt is not None]
