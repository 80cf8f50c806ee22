"""Handoffs in an operator's hands: judged, released; and the store they lie in, mended."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from dropoff.core import lease as leases
from dropoff.core.answers import Judged, Mended, Released
from dropoff.core.caller import Caller
from dropoff.core.deciding import decided, half_done, unfrozen
from dropoff.core.handoff import HandoffId, queue_of
from dropoff.core.store import Judging
from dropoff.errors import HandoffUnknown, LeaseUnknown, QueueUnknown
from dropoff.operations.acting import Acting

T = TypeVar("T")


class Handoffs(Acting):
    """Acts on single handoffs, and on all there is."""

    async def judge(self, caller: Caller, handoff_id: str, verb: Judging, digest: str, reason: str = "") -> Judged:
        """Approve or deny a held handoff, for the payload of this digest; never by its own sender."""

        async def judge(caller: Caller) -> Judged:
            await self._operated_queue(caller, queue_of(handoff_id) or "")
            return await self.store.judge(caller, HandoffId(handoff_id), verb, digest=digest, reason=reason)

        return await self._on_handoff(caller, handoff_id, judge)

    async def release(self, caller: Caller, lease_id: str, reason: str = "") -> Released:
        """Take work from a holder that hangs: just this lease of it. It counts as nobody's failure."""
        lease = leases.parse(lease_id)
        if lease is None:
            raise LeaseUnknown(lease_id=lease_id, held=())

        async def release(caller: Caller) -> Released:
            await self._operated_queue(caller, lease.queue)
            return await self.store.release(caller, lease, reason=reason)

        return await self._on_handoff(caller, lease.handoff_id, release)

    async def mend(self, caller: Caller) -> Mended:
        """Put back what lost keys took, now. Upkeep does it at each start and once an hour."""

        async def mend(_: Caller) -> Mended:
            with half_done():
                return await self.store.mend()

        return await self._done(caller, "mend the store", mend)

    async def _on_handoff(self, caller: Caller, handoff_id: str, act: Callable[[Caller], Awaitable[T]]) -> T:
        """Without a grant on its queue a handoff does not exist for the caller."""
        try:
            return await decided(self.store, await unfrozen(self.store, caller), act)
        except QueueUnknown:
            raise HandoffUnknown(handoff_id=handoff_id) from None
