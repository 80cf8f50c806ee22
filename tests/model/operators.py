"""What operators ask about a handoff: approve, deny, release.

Said again by the same operator, it is answered as before; that is what the handoff remembers of the last one.
"""

from typing import cast

from dropoff.core.answers import Judged, Released
from dropoff.core.caller import Caller
from dropoff.core.handoff import HandoffId
from dropoff.core.lease import Lease
from dropoff.core.lifecycle import HELD, LEASED, REJECTED, SCHEDULED, WAITING, State
from dropoff.core.store import Judging
from dropoff.errors import ApprovalNeedsAnother, DigestDiffers, HandoffMoved, HandoffUnknown
from tests.model.leases import Leases
from tests.model.memory import Kept, Remembered


class Operators(Leases):
    """The verbs of operators; a freeze of everything does not stop them."""

    async def judge(self, caller: Caller, handoff_id: HandoffId, verb: Judging, *, digest: str, reason: str) -> Judged:
        """Bound to the payload that was seen, and never by its own sender."""
        kept, call = self._operated(caller, handoff_id), (caller.agent, verb)
        now, repeated = kept.handoff, kept.judged is not None and kept.judged.call == call
        if now.sender == caller.agent:
            raise ApprovalNeedsAnother(handoff_id=handoff_id)
        if now.digest != digest:
            raise DigestDiffers(handoff_id=handoff_id, digest=now.digest)
        if not repeated:
            if now.state != HELD:
                raise HandoffMoved(handoff_id=handoff_id, state=now.state, was=HELD)
            onward = SCHEDULED if now.due_ms > self._now else WAITING
            if verb == "approve":
                entry = self._move(kept, verb, onward, caller, reason)
            else:
                entry = self._move(kept, verb, REJECTED, caller, reason, reason=reason)
            kept.judged = Remembered(call, "", entry)
        assert kept.judged is not None
        entry = kept.judged.entry
        return Judged(receipt=self._receipt(entry), state=cast(State, entry.to), repeated=repeated)

    async def release(self, caller: Caller, lease: Lease, *, reason: str) -> Released:
        """Bound to the lease that was seen: who holds it under a newer one is not disturbed."""
        kept, call = self._operated(caller, lease.handoff_id), (caller.agent, "release", lease.fence)
        now, repeated = kept.handoff, kept.judged is not None and kept.judged.call == call
        if not repeated:
            if (now.state, now.fence) != (LEASED, lease.fence):
                raise HandoffMoved(handoff_id=lease.handoff_id, state=now.state, was=LEASED)
            kept.judged = Remembered(call, "", self._free(kept, "release", caller, reason))
        assert kept.judged is not None
        entry = kept.judged.entry
        return Released(receipt=self._receipt(entry), state=cast(State, entry.to), repeated=repeated)

    def _operated(self, caller: Caller, handoff_id: HandoffId) -> Kept:
        self._pass(caller, "operating")
        kept = self._known(handoff_id)
        if kept is None:
            raise HandoffUnknown(handoff_id=handoff_id)
        return kept
