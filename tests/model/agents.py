"""What agents ask: drop off, pick up, extend, complete, forward, hand back, withdraw, check."""

from collections.abc import Sequence
from typing import Any

from dropoff.core import limits
from dropoff.core.answers import Completed, DroppedOff, Extended, HandedBack, PickedUp, Withdrawn
from dropoff.core.caller import Caller
from dropoff.core.handoff import AgentName, Handoff, HandoffId, NewHandoff, QueueName, content_of
from dropoff.core.lease import Lease
from dropoff.core.ledger import Entry
from dropoff.core.lifecycle import (
    ABSENT,
    COMPLETED,
    FINAL,
    HELD,
    LEASED,
    REJECTED,
    SCHEDULED,
    WAITING,
    WITHDRAWN,
    State,
)
from dropoff.core.queue import Queue
from dropoff.core.store import Paused, Settling, Stale
from dropoff.errors import HandoffSettled, HandoffUnknown, QueueDraining, QueueFull, RequestConflict
from tests.model.leases import Leases
from tests.model.memory import Kept, Remembered


class Agents(Leases):
    """The verbs of agents."""

    # ---- dropping off -------------------------------------------------------------------------------------------

    async def drop_off(self, caller: Caller, queue: Queue, handoff: NewHandoff) -> DroppedOff:
        self._pass(caller)
        before = self._dropped_before(caller, handoff.id, handoff.content, handoff.resubmit_of)
        return before or self._dropped_off(self._drop(self._admitted(queue), handoff, caller), repeated=False)

    async def dropped_before(
        self, caller: Caller, handoff_id: HandoffId, content: str, *, resubmit_of: str = "", may_operate: bool = False
    ) -> DroppedOff | None:
        self._pass(caller, "reading")
        known = self._known(handoff_id)
        if resubmit_of and not may_operate and not (known and known.handoff.sender == caller.agent):
            return None
        return self._dropped_before(caller, handoff_id, content, resubmit_of)

    def _dropped_before(
        self, caller: Caller, handoff_id: HandoffId, content: str, resubmit_of: str
    ) -> DroppedOff | None:
        known = self.kept.get(handoff_id)
        if known is None:
            return None
        if not resubmit_of and (known.handoff.sender != caller.agent or known.content != content):
            raise RequestConflict(handoff_id=handoff_id)
        return self._dropped_off(known, repeated=True)

    def _admitted(self, queue: Queue, *, of_next: bool = False) -> Queue:
        """The queue's settings of now, if they are those that the payload was judged by and let something new in."""
        settings = self._queues.get(queue.name)
        if settings is None or settings.rev != queue.rev:
            raise Stale
        if settings.state == "draining":
            raise QueueDraining(queue=queue.name, reason=settings.reason, of_next=of_next)
        there = [one for one in self._here(queue.name) if one.state in (HELD, SCHEDULED, WAITING)]
        if len(there) >= settings.waiting_max:
            raise QueueFull(queue=queue.name, waiting_max=settings.waiting_max, of_next=of_next)
        return settings

    def _drop(self, settings: Queue, new: NewHandoff, caller: Caller, parent: str = "") -> Kept:
        to: State = HELD if settings.approval else SCHEDULED if new.delay_ms else WAITING
        record = Handoff(
            id=new.id,
            queue=settings.name,
            state=ABSENT,
            sender=caller.agent,
            dropped_ms=self._now,
            payload=new.payload,
            digest=new.digest,
            schema=settings.schema,
            schema_hash=settings.schema_hash,
            note=new.note,
            attempts_max=settings.attempts_max,
            due_ms=self._now + new.delay_ms,
            expires_ms=self._now + settings.expires_ms if settings.expires_ms else 0,
            parent=parent,
            resubmit_of=new.resubmit_of,
        )
        kept = self.kept[new.id] = Kept(record, new.content)
        self._move(kept, "drop_off", to, caller)
        return kept

    def _dropped_off(self, kept: Kept, *, repeated: bool) -> DroppedOff:
        return DroppedOff(
            receipt=self._receipt(kept.entries[0]),
            state=kept.handoff.state,
            ahead_of_it=len([id for id in self._waiting(kept.handoff.queue) if id != kept.handoff.id]),
            pickers=self._pickers_of(kept.handoff.queue),
            repeated=repeated,
        )

    # ---- picking up ---------------------------------------------------------------------------------------------

    async def pick_up(self, caller: Caller, queue: Queue, request: str, accepts: Sequence[str] = ()) -> PickedUp | None:
        self._pass(caller)
        before = self._picks.get((caller.agent, request))
        if before and self._holds(caller, before):
            self._told_again.add(before)
            return self._picked_up(self.kept[before.handoff_id], repeated=True)
        settings = self._queues.get(queue.name)
        if settings is None:
            raise Stale
        if settings.state == "paused":
            raise Paused
        self._note_picker(caller, queue.name)
        kept = self._oldest(queue.name, accepts)
        if kept is None:
            return None
        kept.leased_ms = self._now
        kept.picked = self._move(
            kept,
            "pick_up",
            LEASED,
            caller,
            holder=caller.agent,
            fence=max(kept.handoff.fence + 1, self._now),
            lease_ends_ms=self._now + settings.lease_ms,
            deliveries=kept.handoff.deliveries + 1,
            progress="",
        )
        self._picks[caller.agent, request] = Lease(kept.handoff.id, kept.handoff.fence)
        return self._picked_up(kept, repeated=False)

    async def picked_before(self, caller: Caller, agent: AgentName, request: str) -> PickedUp | None:
        self._pass(caller, "reading")
        before = self._picks.get((agent, request))
        if before is None or not self._holds(Caller(agent=agent, rev=caller.rev), before):
            return None
        self._told_again.add(before)
        return self._picked_up(self.kept[before.handoff_id], repeated=True)

    def _note_picker(self, caller: Caller, queue: QueueName) -> None:
        seen_ms = self._pickers.get((queue, caller.agent))
        if seen_ms is None or self._now - seen_ms > limits.PICKER_NOTED_MS:
            self._pickers[queue, caller.agent] = self._now

    def _oldest(self, queue: QueueName, accepts: Sequence[str]) -> Kept | None:
        """Nor is what the caller cannot read. What has expired is not given out, whether it is ended already or not."""
        waiting = [self.kept[id] for id in self._waiting(queue)]
        if accepts:
            waiting = [one for one in waiting if one.handoff.schema in accepts]
        return next((one for one in waiting if not 0 < one.handoff.expires_ms <= self._now), None)

    def _picked_up(self, kept: Kept, *, repeated: bool) -> PickedUp:
        assert kept.picked is not None
        return PickedUp(
            receipt=self._receipt(kept.picked),
            lease=Lease(kept.handoff.id, kept.handoff.fence),
            handoff=kept.handoff,
            waiting=len(self._waiting(kept.handoff.queue)),
            repeated=repeated,
        )

    # ---- holding ------------------------------------------------------------------------------------------------

    async def extend(
        self, caller: Caller, lease: Lease, *, progress: str, checkpoint: bytes, request: str, content: str
    ) -> Extended:
        """Heard again it answers as before, but only while the lease goes on."""
        self._pass(caller)
        kept = self._leased_to(caller, lease)
        call = ("extend", caller.agent, lease.fence, request)
        if kept.asked is None or kept.asked.call != call:
            term_ends_ms = self._now + self._term_ms(kept.handoff)
            entry = self._move(
                kept,
                "extend",
                LEASED,
                caller,
                lease_ends_ms=min(term_ends_ms, kept.leased_ms + limits.LEASE_MS_MAX),
                progress=progress or kept.handoff.progress,
                checkpoint=checkpoint or kept.handoff.checkpoint,
            )
            kept.asked = Remembered(call, content, entry)
        if kept.asked.content != content:
            raise RequestConflict(handoff_id=kept.handoff.id)
        entry = kept.asked.entry
        return Extended(
            receipt=self._receipt(entry),
            lease_ends_ms=int(entry.lease_ends),
            withdrawal_asked=kept.handoff.withdrawal_asked,
        )

    async def complete(self, caller: Caller, lease: Lease, result: bytes, judged_by: str = "") -> Completed:
        self._pass(caller)
        content = content_of(result)
        before = self._completed_before(caller, lease, content)
        if before:
            return before
        self._judged(caller, lease, judged_by)
        return self._complete(caller, lease, content, result=result)

    async def forward(
        self, caller: Caller, lease: Lease, result: bytes, queue: Queue, onward: NewHandoff, judged_by: str = ""
    ) -> Completed:
        self._pass(caller)
        content = content_of(result, onward.content)
        before = self._completed_before(caller, lease, content)
        if before:
            return before
        self._judged(caller, lease, judged_by)
        settings = self._admitted(queue, of_next=True)
        completed = self._complete(caller, lease, content, result=result, next=onward.id)
        self._drop(settings, onward, caller, parent=lease.handoff_id)
        return completed

    async def completed_before(self, caller: Caller, lease: Lease, content: str) -> Completed | None:
        self._pass(caller, "reading")
        before = self._completed_before(caller, lease, content)
        if before is None:
            self._leased_to(caller, lease)
        return before

    def _judged(self, caller: Caller, lease: Lease, judged_by: str) -> None:
        """A result goes in only by the result schema that the queue has now. Who does not hold it gets not so far."""
        settings = self._queues[self._leased_to(caller, lease).handoff.queue]
        if judged_by != settings.result_schema_hash:
            raise Stale

    def _complete(self, caller: Caller, lease: Lease, content: str, **change: Any) -> Completed:
        kept = self._leased_to(caller, lease)
        entry = self._move(kept, "complete", COMPLETED, caller, **change)
        kept.asked = Remembered(("complete", caller.agent, lease.fence), content, entry)
        return Completed(receipt=self._receipt(entry), next_id=kept.handoff.next)

    def _completed_before(self, caller: Caller, lease: Lease, content: str) -> Completed | None:
        """The same outcome from the same holder is the same success, without any key."""
        kept = self.kept.get(lease.handoff_id)
        call = ("complete", caller.agent, lease.fence)
        if kept is None or kept.asked is None or (kept.asked.call, kept.asked.content) != (call, content):
            return None
        return Completed(receipt=self._receipt(kept.asked.entry), next_id=kept.handoff.next, repeated=True)

    async def hand_back(
        self,
        caller: Caller,
        lease: Lease,
        verb: Settling,
        *,
        reason: str,
        delay_ms: int | None,
        checkpoint: bytes,
        request: str,
        content: str,
    ) -> HandedBack:
        self._pass(caller)
        entry = self._handed_back_before(caller, lease, request, content)
        if entry is None:
            kept = self._leased_to(caller, lease)
            change: dict[str, Any] = {"checkpoint": checkpoint} if checkpoint else {}
            failures = kept.handoff.failures + (1 if verb == "retry" else 0)
            to, cause = self._after_lease(kept.handoff, failures, WAITING if verb == "release" else SCHEDULED)
            if verb == "reject":
                to, cause = REJECTED, ""
            if to == SCHEDULED:
                back_off_ms = min(limits.RETRY_MS_BASE * 2 ** (failures - 1), limits.RETRY_MS_MAX)
                change["due_ms"] = self._now + (back_off_ms if delay_ms is None else delay_ms)
            entry = self._end_lease(
                kept,
                verb,
                to,
                caller,
                reason,
                cause="" if reason else cause,
                request=request,
                content=content,
                failures=failures,
                **change,
            )
        return HandedBack(
            receipt=self._receipt(entry),
            state=entry.to,  # pyright: ignore[reportArgumentType]  (an entry's text is a state)
            attempts_left=max(self.kept[lease.handoff_id].handoff.attempts_max - int(entry.failures), 0),
        )

    def _handed_back_before(self, caller: Caller, lease: Lease, request: str, content: str) -> Entry | None:
        """The memory stands with the attempt: a first answer is given again also when another agent has it by now."""
        kept = self.kept.get(lease.handoff_id)
        for attempt in kept.handoff.attempts if kept else ():
            if (attempt.agent, attempt.fence, attempt.request) == (caller.agent, str(lease.fence), request):
                if attempt.content != content:
                    raise RequestConflict(handoff_id=lease.handoff_id)
                return self.ledger[int(attempt.entry)]
        return None

    # ---- sending ------------------------------------------------------------------------------------------------

    async def withdraw(self, caller: Caller, handoff_id: HandoffId, *, reason: str, may_operate: bool) -> Withdrawn:
        self._pass(caller, "operating" if may_operate else "")
        kept = self._known(handoff_id)
        if kept is None or not (kept.handoff.sender == caller.agent or may_operate):
            raise HandoffUnknown(handoff_id=handoff_id)
        now = kept.handoff
        if now.state == WITHDRAWN:
            return Withdrawn(receipt=self._receipt(kept.entries[-1]), state=WITHDRAWN, repeated=True)
        if now.state in FINAL:
            raise HandoffSettled(handoff_id=handoff_id, state=now.state, at_ms=now.ended_ms)
        if now.state != LEASED:
            entry = self._move(kept, "withdraw", WITHDRAWN, caller, reason, reason=reason)
            return Withdrawn(receipt=self._receipt(entry), state=WITHDRAWN)
        if kept.withdrawal:
            return Withdrawn(receipt=self._receipt(kept.withdrawal), state=LEASED, repeated=True)
        kept.withdrawal = self._move(kept, "withdraw", LEASED, caller, reason, reason=reason, withdrawal_asked=True)
        return Withdrawn(receipt=self._receipt(kept.withdrawal), state=LEASED)

    async def check(self, caller: Caller, handoff_id: HandoffId, *, may_inspect: bool) -> Handoff:
        self._pass(caller, "reading")
        kept = self._known(handoff_id)
        if kept is None or not (may_inspect or caller.agent in (kept.handoff.sender, kept.handoff.holder)):
            raise HandoffUnknown(handoff_id=handoff_id)
        return kept.handoff
