"""Puts scheduled handoffs into their queues when their time has come."""

from collections.abc import Iterable

from dropoff.core.handoff import HandoffId
from dropoff.core.ledger import Receipt
from dropoff.core.store import Store


async def due(store: Store, handoffs: Iterable[HandoffId]) -> list[Receipt]:
    receipts = [await store.due(handoff) for handoff in handoffs]
    return [receipt for receipt in receipts if receipt is not None]
