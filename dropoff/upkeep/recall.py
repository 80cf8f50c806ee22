"""Takes back what revoked agents hold: some at a time, for a store that ends ten thousand leases at once serves nobody
meanwhile.
"""

from dropoff.core import limits
from dropoff.core.lease import Lease
from dropoff.core.ledger import Receipt
from dropoff.core.store import Store
from dropoff.upkeep.each import each


async def recall(store: Store) -> list[Receipt]:
    """The receipts of what was recalled now; it counts as nobody's failure."""

    async def take(lease: Lease) -> Receipt | None:
        return await store.recall(lease, "the holder is revoked")

    done: list[Receipt] = []
    for _ in range(limits.OVERDUE_GOES):
        held = await store.revoked(limits.OVERDUE_AT_ONCE)
        done += await each(take, held)
        if len(held) < limits.OVERDUE_AT_ONCE:
            break
    return done
