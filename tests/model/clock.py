"""What the clock starts: the heartbeat, lapses, work that is due, what expires, what is forgotten, what is recalled."""

from collections.abc import Iterable

from dropoff.core import limits
from dropoff.core.answers import Overdue
from dropoff.core.caller import EVERYONE, Caller
from dropoff.core.handoff import HandoffId, QueueName
from dropoff.core.lease import Lease
from dropoff.core.ledger import Entry, Receipt
from dropoff.core.lifecycle import DEAD, EXPIRED, FINAL, LEASED, SCHEDULED, TRANSITIONS, WAITING
from tests.model.leases import Leases
from tests.model.memory import THE_CLOCK, Kept


class Clockwork(Leases):
    """The verbs of upkeep. Each looks for itself whether it is time."""

    async def beat(self) -> None:
        """After a gap everything has just come back: nobody could extend a lease meanwhile."""
        since_ms = self._now - self._beat_ms
        if since_ms < limits.BEAT_MS:
            return
        if since_ms > limits.OUTAGE_MS:
            self._resumed_ms[EVERYONE] = self._now
        self._beat_ms = self._now

    async def overdue(self, queue: QueueName, at_most: int) -> Overdue:
        here = self._here(queue)
        ended_before_ms = self._now - self._retention_ms(queue)

        def late(by_time: Iterable[tuple[int, HandoffId]], until_ms: int) -> tuple[HandoffId, ...]:
            return tuple([id for time_ms, id in sorted(by_time) if time_ms <= until_ms][:at_most])

        return Overdue(
            leases=late(((one.lease_ends_ms, one.id) for one in here if one.state == LEASED), self._now),
            timers=late(((one.due_ms, one.id) for one in here if one.state == SCHEDULED), self._now),
            expiries=late(
                ((one.expires_ms, one.id) for one in here if one.expires_ms and "expire" in TRANSITIONS[one.state]),
                self._now,
            ),
            ended=late(((one.ended_ms, one.id) for one in here if one.state in FINAL - {DEAD}), ended_before_ms)
            + late(((one.ended_ms, one.id) for one in here if one.state == DEAD), ended_before_ms),
        )

    # ---- leases -------------------------------------------------------------------------------------------------

    async def lapse(self, handoff_id: HandoffId) -> Receipt | None:
        """Nothing lapses without a fresh heartbeat: whether there is an outage would not be known."""
        kept = self._known(handoff_id)
        if kept is None or kept.handoff.state != LEASED or kept.handoff.lease_ends_ms > self._now:
            return None
        if self._now - self._beat_ms > limits.OUTAGE_MS:
            return None
        return self._receipt(self._lapse(kept))

    def _lapse(self, kept: Kept) -> Entry:
        now = kept.handoff
        if self._stands(now.holder, "revoked"):
            return self._free(kept, "recall", THE_CLOCK, "the holder is revoked")
        resumed_ms = self._resumed_of(kept)
        postponed_ms = resumed_ms + self._term_ms(now)
        if resumed_ms > kept.leased_ms and postponed_ms > max(now.lease_ends_ms, self._now):
            return self._postpone(kept, min(postponed_ms, kept.leased_ms + limits.LEASE_MS_MAX))
        failures = now.failures + 1
        to, _ = self._after_lease(now, failures, WAITING)
        return self._end_lease(kept, "lapse", to, THE_CLOCK, "the lease ran out", failures=failures)

    def _postpone(self, kept: Kept, until_ms: int) -> Entry:
        if until_ms <= self._now:
            return self._free(kept, "recall", THE_CLOCK, "a freeze or an outage outlasted the longest lease")
        return self._move(kept, "postpone", LEASED, THE_CLOCK, "a freeze or an outage", lease_ends_ms=until_ms)

    def _resumed_of(self, kept: Kept) -> int:
        """When the holder could last begin to extend again; from then on it has one whole term."""
        holder = kept.handoff.holder
        if self._stands(holder, "frozen") or self._stands(EVERYONE, "frozen"):
            return self._now
        moments = (self._resumed_ms.get(EVERYONE, 0), self._resumed_ms.get(holder, 0))
        return max((moment for moment in moments if moment <= self._now), default=0)  # a clock may go back

    async def revoked(self, at_most: int) -> tuple[Lease, ...]:
        agents = sorted({one.handoff.holder for one in self.kept.values()})
        held = [lease for agent in agents if self._stands(agent, "revoked") for lease in self._held_by(agent)]
        return tuple(held[:at_most])

    async def recall(self, lease: Lease, reason: str, *, unheard: bool = False) -> Receipt | None:
        kept = self._known(lease.handoff_id)
        if kept is None or (kept.handoff.state, kept.handoff.fence) != (LEASED, lease.fence):
            return None
        if unheard and lease in self._told_again:
            return None
        return self._receipt(self._free(kept, "recall", THE_CLOCK, reason))

    # ---- what waits, and what has ended -------------------------------------------------------------------------

    async def due(self, handoff_id: HandoffId) -> Receipt | None:
        kept = self._known(handoff_id)
        if kept is None or kept.handoff.state != SCHEDULED or kept.handoff.due_ms > self._now:
            return None
        return self._receipt(self._move(kept, "due", WAITING, THE_CLOCK))

    async def expire(self, handoff_id: HandoffId) -> Receipt | None:
        """What nobody has taken in time ends. What is leased does not expire: somebody works on it."""
        kept = self._known(handoff_id)
        if kept is None or "expire" not in TRANSITIONS[kept.handoff.state]:
            return None
        if not 0 < kept.handoff.expires_ms <= self._now:
            return None
        reason = "nobody took it in time"
        return self._receipt(self._move(kept, "expire", EXPIRED, THE_CLOCK, reason, reason=reason))

    async def erase(self, handoff_id: HandoffId, by: Caller | None = None) -> Receipt | None:
        """Nothing is left of it but what the ledger says."""
        by = by or THE_CLOCK
        self._pass(by, "operating")
        kept = self._known(handoff_id)
        if kept is None or kept.handoff.state not in FINAL:
            return None
        now = kept.handoff
        if now.ended_ms + self._retention_ms(now.queue) > self._now:
            return None
        del self.kept[handoff_id]
        entry = self._write(
            "erased",
            by,
            handoff=now.id,
            queue=now.queue,
            from_=now.state,
            n=str(len(kept.entries) + 1),
            prev=kept.entries[-1].id,
            digest=now.digest,
        )
        return self._receipt(entry)

    def _retention_ms(self, queue: QueueName) -> int:
        settings = self._queues.get(queue)
        return settings.retention_ms if settings else limits.RETENTION_MS_DEFAULT
