"""Whose lease it is, what became of it, and where a handoff goes whose lease ends without a result."""

from typing import Any

from dropoff.core import limits
from dropoff.core.caller import Caller
from dropoff.core.handoff import AgentName, Attempt, Handoff
from dropoff.core.lease import Lease
from dropoff.core.ledger import Entry
from dropoff.core.lifecycle import COMPLETED, DEAD, FINAL, LEASED, REJECTED, WAITING, WITHDRAWN, State, Verb
from dropoff.errors import AlreadySettled, LeaseLost, LeaseUnknown
from tests.model.gate import Gate
from tests.model.memory import Kept


class Leases(Gate):
    """The authority is: proven caller = holder, and fence = current."""

    async def leases_of(self, agent: AgentName) -> tuple[Lease, ...]:
        return self._held_by(agent)

    async def lease_ends(self, caller: Caller, lease: Lease) -> int:
        self._pass(caller, "reading")
        return self._leased_to(caller, lease).handoff.lease_ends_ms

    def _held_by(self, agent: AgentName) -> tuple[Lease, ...]:
        held = [one.handoff for one in self.kept.values() if one.handoff.state == LEASED]
        mine = sorted((handoff.fence, handoff.id) for handoff in held if handoff.holder == agent)
        return tuple(Lease(id, fence) for fence, id in mine)

    def _term_ms(self, handoff: Handoff) -> int:
        return self._queues[handoff.queue].lease_ms

    # ---- whose it is --------------------------------------------------------------------------------------------

    def _holds(self, caller: Caller, lease: Lease) -> bool:
        kept = self.kept.get(lease.handoff_id)
        return kept is not None and kept.handoff.state == LEASED and self._is_last(kept, caller, lease)

    def _is_last(self, kept: Kept, caller: Caller, lease: Lease) -> bool:
        """Whether this is the last lease there was of this handoff, and the caller's."""
        return (kept.handoff.holder, kept.handoff.fence) == (caller.agent, lease.fence)

    def _leased_to(self, caller: Caller, lease: Lease) -> Kept:
        """The handoff that the caller holds by this lease; otherwise what became of it, as far as it was his."""
        if self._holds(caller, lease):
            return self.kept[lease.handoff_id]
        ended = self._ending(caller, lease)
        if ended is None:
            held = tuple(lease.id for lease in self._held_by(caller.agent))
            raise LeaseUnknown(lease_id=lease.id, held=held)
        ended_ms, own_entry = ended
        kept = self.kept[lease.handoff_id]
        now = kept.handoff
        if now.state in FINAL and own_entry == kept.entries[-1].id:
            raise AlreadySettled(handoff_id=now.id, state=now.state, at_ms=now.ended_ms)
        whose = "by you under a newer lease" if now.holder == caller.agent else "by another agent"
        raise LeaseLost(
            ended_ago_ms=self._now - ended_ms,
            now=f"was picked up again {whose}" if now.state == LEASED else f"is {now.state}",
            fence_now=now.fence,
            handed_back=own_entry != "",
        )

    def _ending(self, caller: Caller, lease: Lease) -> tuple[int, str] | None:
        """When a lease that was the caller's ended, and by which entry if by its own call.

        The record remembers who completed it, and the last three leases that came to no result; who was before is a
        stranger.
        """
        kept = self.kept.get(lease.handoff_id)
        if kept is None:
            return None
        if kept.handoff.state == COMPLETED and self._is_last(kept, caller, lease):
            return kept.handoff.ended_ms, kept.entries[-1].id
        for attempt in kept.handoff.attempts:
            if (attempt.agent, attempt.fence) == (caller.agent, str(lease.fence)):
                return int(attempt.at_ms), attempt.entry if attempt.request else ""
        return None

    # ---- how it ends --------------------------------------------------------------------------------------------

    def _after_lease(self, handoff: Handoff, failures: int, onward: State) -> tuple[State, str]:
        """Where a handoff goes whose lease ended without a result, and why it died, if nobody says another reason."""
        if handoff.withdrawal_asked:
            return WITHDRAWN, ""
        if failures >= handoff.attempts_max:
            return DEAD, ""
        if handoff.deliveries >= limits.DELIVERIES_PER_ATTEMPT * handoff.attempts_max:
            return DEAD, "handed out too often"
        return onward, ""

    def _end_lease(
        self,
        kept: Kept,
        verb: Verb,
        to: State,
        by: Caller,
        reason: str,
        *,
        cause: str = "",
        request: str = "",
        content: str = "",
        **change: Any,
    ) -> Entry:
        """The next holder is told `reason`; of an end it is kept, and `cause` instead where there is one.

        A sender's reason to withdraw stays. `request` is given where the holder ended it by its own call.
        """
        attempt = Attempt(
            agent=kept.handoff.holder,
            outcome=verb,
            reason=reason,
            fence=str(kept.handoff.fence),
            at_ms=str(self._now),
            entry=self._next_entry,
            request=request,
            content=content,
        )
        if to in (DEAD, REJECTED):
            change["reason"] = cause or reason
        attempts = (*kept.handoff.attempts, attempt)[-limits.ATTEMPTS_KEPT :]
        return self._move(kept, verb, to, by, cause or reason, attempts=attempts, **change)

    def _free(self, kept: Kept, verb: Verb, by: Caller, reason: str) -> Entry:
        """Taken from a holder that nobody blames: released by an operator, or recalled. It counts as no failure."""
        to, cause = self._after_lease(kept.handoff, kept.handoff.failures, WAITING)
        return self._end_lease(kept, verb, to, by, reason, cause=cause)
