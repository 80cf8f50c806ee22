"""A plain model of the store: what each verb promises, in memory, without Redis.

It is written from DESIGN.md and `core/store.py`, to be read beside them, and not from the Lua: `tests/agreement` drives
both with the same calls and wants the same answers, the same refusals, the same records, the same ledger. Here nothing
is indexed, packed or made fast: records in a dictionary, an order in a list, everything else is looked for.

What differs, on purpose: ids of ledger entries are their place (`0`, `1`, …), receipts carry no leaf, nobody can wait,
and a pick_up's request key never runs out, since what a test calls an hour is no time for the real store's keys.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from dropoff.core import limits
from dropoff.core.caller import EVERYONE, UPKEEP, Caller, Principal, Revision
from dropoff.core.handoff import AgentName, Attempt, Handoff, HandoffId, NewHandoff, QueueName, queue_of
from dropoff.core.lease import Lease
from dropoff.core.ledger import Entry, Receipt
from dropoff.core.lifecycle import (
    ABSENT,
    COMPLETED,
    DEAD,
    FINAL,
    LEASED,
    REJECTED,
    SCHEDULED,
    WAITING,
    WITHDRAWN,
    State,
    Verb,
    may,
)
from dropoff.core.queue import Queue, QueueFigures
from dropoff.core.store import (
    Completed,
    DroppedOff,
    Extended,
    HandedBack,
    Overdue,
    PickedUp,
    Settling,
    Stale,
    StoredSchema,
    Waiting,
    Withdrawn,
)
from dropoff.errors import (
    AlreadySettled,
    Frozen,
    HandoffSettled,
    HandoffUnknown,
    LeaseLost,
    LeaseUnknown,
    QueueExists,
    QueueFull,
    RequestConflict,
    Unauthenticated,
)

PICKER_WRITTEN_EVERY_MS: Final = 10_000

changed = msgspec.structs.replace


@dataclass
class Kept:
    """One handoff, and what the broker remembers of it beside its record."""

    handoff: Handoff
    content: str
    entries: list[Entry] = field(default_factory=list)
    leased_ms: int = 0
    picked: Entry | None = None
    asked: tuple[AgentName, int, str] | None = None  # the last call on a lease: who, with which fence, under which key
    asked_content: str = ""
    asked_entry: Entry | None = None
    withdrawal: Entry | None = None


class Model:
    """Implements `core.store.Store` but for waiting."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self.ledger: list[Entry] = []
        self.kept: dict[HandoffId, Kept] = {}
        self._line: list[HandoffId] = []  # who waits, in all queues, in the order in which they began to
        self._picks: dict[tuple[AgentName, str], Lease] = {}
        self._pickers: dict[tuple[QueueName, AgentName], int] = {}
        self._per_minute: Counter[tuple[QueueName, int, str]] = Counter()
        self._gate: dict[AgentName, tuple[int, str]] = {}
        self._principals: dict[AgentName, Principal] = {}
        self._queues: dict[QueueName, Queue] = {}
        self._schemas: dict[str, StoredSchema] = {}

    # ---- what agents ask ----------------------------------------------------------------------------------------

    async def drop_off(self, caller: Caller, queue: Queue, handoff: NewHandoff) -> DroppedOff:
        self._pass(caller)
        known = self.kept.get(handoff.id)
        if known:
            if (known.handoff.sender, known.content) != (caller.agent, handoff.content):
                raise RequestConflict(handoff_id=handoff.id)
            return self._dropped_off(known, known.entries[0], repeated=True)
        settings = self._queues.get(queue.name)
        if settings is None or settings.rev != queue.rev:
            raise Stale
        there = [one.handoff.state for one in self.kept.values() if one.handoff.queue == queue.name]
        if there.count(WAITING) + there.count(SCHEDULED) >= settings.waiting_max:
            raise QueueFull(queue=queue.name, waiting_max=settings.waiting_max)
        record = Handoff(
            id=handoff.id,
            queue=queue.name,
            state=ABSENT,
            sender=caller.agent,
            dropped_ms=self._now,
            payload=handoff.payload,
            digest=handoff.digest,
            schema=settings.schema,
            schema_hash=settings.schema_hash,
            note=handoff.note,
            attempts_max=settings.attempts_max,
            due_ms=self._now + handoff.delay_ms,
        )
        self.kept[handoff.id] = Kept(record, handoff.content)
        to: State = SCHEDULED if handoff.delay_ms else WAITING
        entry = self._move(self.kept[handoff.id], "drop_off", to, caller)
        return self._dropped_off(self.kept[handoff.id], entry, repeated=False)

    def _dropped_off(self, kept: Kept, entry: Entry, *, repeated: bool) -> DroppedOff:
        return DroppedOff(
            receipt=self._receipt(entry),
            state=kept.handoff.state,
            ahead_of_it=len([id for id in self._waiting(kept.handoff.queue) if id != kept.handoff.id]),
            pickers=self._pickers_of(kept.handoff.queue),
            repeated=repeated,
        )

    async def pick_up(self, caller: Caller, queue: Queue, request: str) -> PickedUp | None:
        self._pass(caller)
        before = self._picks.get((caller.agent, request))
        if before and self._holds(caller, before):
            return self._picked_up(self.kept[before.handoff_id], repeated=True)
        if queue.name not in self._queues:
            raise Stale
        seen_ms = self._pickers.get((queue.name, caller.agent))
        if seen_ms is None or self._now - seen_ms > PICKER_WRITTEN_EVERY_MS:
            self._pickers[queue.name, caller.agent] = self._now
        waiting = self._waiting(queue.name)
        if not waiting:
            return None
        kept = self.kept[waiting[0]]
        kept.leased_ms = self._now
        kept.picked = self._move(
            kept,
            "pick_up",
            LEASED,
            caller,
            holder=caller.agent,
            fence=max(kept.handoff.fence + 1, self._now),
            lease_ends_ms=self._now + self._queues[queue.name].lease_ms,
            deliveries=kept.handoff.deliveries + 1,
            progress="",
        )
        self._picks[caller.agent, request] = Lease(kept.handoff.id, kept.handoff.fence)
        return self._picked_up(kept, repeated=False)

    def _picked_up(self, kept: Kept, *, repeated: bool) -> PickedUp:
        assert kept.picked is not None
        return PickedUp(
            receipt=self._receipt(kept.picked),
            lease=Lease(kept.handoff.id, kept.handoff.fence),
            handoff=kept.handoff,
            waiting=len(self._waiting(kept.handoff.queue)),
            repeated=repeated,
        )

    async def extend(
        self, caller: Caller, lease: Lease, *, progress: str, checkpoint: bytes, request: str, content: str
    ) -> Extended:
        self._pass(caller)
        entry = self._heard_before(caller, lease, request, content)
        if entry is None:
            kept = self._leased_to(caller, lease)
            term_ends_ms = self._now + self._queues[kept.handoff.queue].lease_ms
            entry = self._move(
                kept,
                "extend",
                LEASED,
                caller,
                lease_ends_ms=min(term_ends_ms, kept.leased_ms + limits.LEASE_MS_MAX),
                progress=progress or kept.handoff.progress,
                checkpoint=checkpoint or kept.handoff.checkpoint,
            )
            self._remember(kept, caller, lease, request, content, entry)
        return Extended(
            receipt=self._receipt(entry),
            lease_ends_ms=int(entry.lease_ends),
            withdrawal_asked=self.kept[lease.handoff_id].handoff.withdrawal_asked,
        )

    async def complete(self, caller: Caller, lease: Lease, result: bytes) -> Completed:
        self._pass(caller)
        kept = self.kept.get(lease.handoff_id)
        if kept and kept.handoff.state == COMPLETED and self._is(kept, caller, lease) and kept.handoff.result == result:
            return Completed(receipt=self._receipt(kept.entries[-1]), repeated=True)
        kept = self._leased_to(caller, lease)
        entry = self._move(kept, "complete", COMPLETED, caller, result=result)
        self._remember(kept, caller, lease, "complete", "", entry)
        return Completed(receipt=self._receipt(entry))

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
        entry = self._heard_before(caller, lease, request, content)
        if entry is None:
            kept = self._leased_to(caller, lease)
            entry = self._hand_back(kept, caller, verb, reason, delay_ms, checkpoint)
            self._remember(kept, caller, lease, request, content, entry)
        attempts_max = self.kept[lease.handoff_id].handoff.attempts_max
        return HandedBack(
            receipt=self._receipt(entry),
            state=entry.to,  # pyright: ignore[reportArgumentType]  (an entry's text is a state)
            attempts_left=max(attempts_max - int(entry.failures), 0),
        )

    def _hand_back(
        self, kept: Kept, caller: Caller, verb: Settling, reason: str, delay_ms: int | None, checkpoint: bytes
    ) -> Entry:
        failures = kept.handoff.failures + (1 if verb == "retry" else 0)
        change: dict[str, Any] = {"checkpoint": checkpoint} if checkpoint else {}
        to: State = REJECTED
        if verb == "release":
            to = self._after_lease(kept.handoff, failures, WAITING)
        elif verb == "retry":
            to = self._after_lease(kept.handoff, failures, SCHEDULED)
        if to == SCHEDULED:
            back_off_ms = min(limits.RETRY_MS_BASE * 2 ** (failures - 1), limits.RETRY_MS_MAX)
            change["due_ms"] = self._now + (back_off_ms if delay_ms is None else delay_ms)
        return self._end_lease(kept, verb, to, caller, failures, reason, **change)

    async def withdraw(self, caller: Caller, handoff_id: HandoffId, *, reason: str, may_operate: bool) -> Withdrawn:
        self._pass(caller)
        kept = self.kept.get(handoff_id)
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
        self._pass(caller)
        kept = self.kept.get(handoff_id)
        if kept is None or not (may_inspect or caller.agent in (kept.handoff.sender, kept.handoff.holder)):
            raise HandoffUnknown(handoff_id=handoff_id)
        return kept.handoff

    async def leases_of(self, agent: AgentName) -> tuple[Lease, ...]:
        held = [one.handoff for one in self.kept.values() if one.handoff.state == LEASED]
        mine = sorted((handoff.fence, handoff.id) for handoff in held if handoff.holder == agent)
        return tuple(Lease(id, fence) for fence, id in mine)

    # ---- what the clock starts ----------------------------------------------------------------------------------

    async def overdue(self, queue: QueueName, at_most: int) -> Overdue:
        here = [one.handoff for one in self.kept.values() if one.handoff.queue == queue]
        leases = sorted((one.lease_ends_ms, one.id) for one in here if one.state == LEASED)
        timers = sorted((one.due_ms, one.id) for one in here if one.state == SCHEDULED)

        def late(by_time: list[tuple[int, HandoffId]]) -> tuple[HandoffId, ...]:
            return tuple([id for time_ms, id in by_time if time_ms <= self._now][:at_most])

        return Overdue(leases=late(leases), timers=late(timers))

    async def lapse(self, handoff_id: HandoffId) -> Receipt | None:
        kept = self._known(handoff_id)
        if kept is None or kept.handoff.state != LEASED or kept.handoff.lease_ends_ms > self._now:
            return None
        failures = kept.handoff.failures + 1
        to = self._after_lease(kept.handoff, failures, WAITING)
        return self._receipt(self._end_lease(kept, "lapse", to, None, failures, "the lease ran out"))

    async def due(self, handoff_id: HandoffId) -> Receipt | None:
        kept = self._known(handoff_id)
        if kept is None or kept.handoff.state != SCHEDULED or kept.handoff.due_ms > self._now:
            return None
        return self._receipt(self._move(kept, "due", WAITING, None))

    # ---- who may what -------------------------------------------------------------------------------------------

    async def principal(self, agent: AgentName, *, fresh: bool = False) -> Principal | None:
        return self._principals.get(agent)

    async def principals(self) -> tuple[Principal, ...]:
        return tuple(self._principals[agent] for agent in sorted(self._principals))

    async def agent_by_bearer(self, bearer_hash: str) -> AgentName | None:
        return next((one.agent for one in self._principals.values() if bearer_hash in one.bearers), None)

    async def put_principal(self, by: Caller, principal: Principal) -> Principal:
        self._pass(by)
        now = self._principals.get(principal.agent)
        if principal.rev != (now.rev if now else "0"):
            if now is None or changed(now, rev=principal.rev) != principal:
                raise Stale
            await self.gate(by, now.agent, now.rev, now.standing, now.reason)  # what was asked for is there already
            return now
        written = changed(principal, rev=Revision(str(max(int(principal.rev) + 1, self._now))))
        self._principals[principal.agent] = written
        self._write("put_principal", by, agent=written.agent, rev=written.rev)
        await self.gate(by, written.agent, written.rev, written.standing, written.reason)
        return written

    async def gate(self, by: Caller, agent: AgentName, rev: str, standing: str, reason: str = "") -> bool:
        self._pass(by)
        if agent in self._gate and self._gate[agent][0] >= int(rev):
            return False
        self._gate[agent] = (int(rev), standing)
        self._write("gate", by, agent=agent, rev=rev, standing=standing, reason=reason)
        return True

    async def standing(self, agent: AgentName) -> str:
        return "{} {}".format(*self._gate[agent]) if agent in self._gate else ""

    # ---- queues and schemas -------------------------------------------------------------------------------------

    async def queues(self, *, fresh: bool = False) -> dict[QueueName, Queue]:
        return {name: self._queues[name] for name in sorted(self._queues)}

    async def put_queue(self, by: Caller, queue: Queue) -> Queue:
        self._pass(by)
        there = self._queues.get(queue.name)
        if there:
            wanted = changed(queue, rev=there.rev)
            differs = tuple(name for name in queue.__struct_fields__ if getattr(there, name) != getattr(wanted, name))
            if differs:
                raise QueueExists(queue=queue.name, differs=differs)
            return there
        self._queues[queue.name] = changed(queue, rev=Revision(str(self._now)))
        self._write("put_queue", by, queue=queue.name, schema=queue.schema_hash, rev=str(self._now))
        return self._queues[queue.name]

    async def schema(self, hash: str) -> StoredSchema | None:
        return next((schema for schema in self._schemas.values() if schema.hash == hash), None)

    async def schemas(self) -> dict[str, str]:
        return {ref: self._schemas[ref].hash for ref in sorted(self._schemas)}

    async def put_schema(self, by: Caller, name: str, hash: str, content: bytes) -> tuple[StoredSchema, bool]:
        self._pass(by)
        versions = [schema for ref, schema in self._schemas.items() if ref.rpartition("@")[0] == name]
        known = next((schema for schema in versions if schema.hash == hash), None)
        if known:
            return known, False
        new = StoredSchema(ref=f"{name}@{len(versions) + 1}", hash=hash, content=content)
        self._schemas[new.ref] = new
        self._write("put_schema", by, schema=hash, reason=new.ref)
        return new, True

    # ---- what operators read ------------------------------------------------------------------------------------

    async def figures(self, queues: Sequence[QueueName]) -> dict[QueueName, QueueFigures]:
        return {name: self._figures_of(name) for name in queues if name in self._queues}

    def _figures_of(self, queue: QueueName) -> QueueFigures:
        states = Counter(one.handoff.state for one in self.kept.values() if one.handoff.queue == queue)
        minutes = [self._now // 60_000 - back for back in range(5)]
        return QueueFigures(
            waiting=states[WAITING],
            leased=states[LEASED],
            scheduled=states[SCHEDULED],
            dead=states[DEAD],
            ended=sum(states[state] for state in FINAL - {DEAD}),
            pickers=self._pickers_of(queue),
            in_per_minute=sum(self._per_minute[queue, minute, "in"] for minute in minutes) / 5,
            out_per_minute=sum(self._per_minute[queue, minute, "out"] for minute in minutes) / 5,
        )

    async def handoffs(self, queue: QueueName, state: State, at_most: int) -> tuple[Handoff, ...]:
        here = [one.handoff for one in self.kept.values() if (one.handoff.queue, one.handoff.state) == (queue, state)]
        return tuple(here[:at_most])

    async def entries(self, *, after: str = "", at_most: int = 100, handoff_id: str = "") -> tuple[Entry, ...]:
        if handoff_id:
            return tuple(self.kept[HandoffId(handoff_id)].entries[-at_most:])
        return tuple(self.ledger[int(after) + 1 :][:at_most] if after else self.ledger[-at_most:])

    async def ping(self) -> None:
        return

    async def refresh(self) -> None:
        return

    def waiting_for_work(self, queues: Sequence[QueueName]) -> AbstractAsyncContextManager[Waiting]:
        raise NotImplementedError("nobody waits in the model")

    def waiting_for_outcome(self, handoff_id: HandoffId) -> AbstractAsyncContextManager[Waiting]:
        raise NotImplementedError("nobody waits in the model")

    # ---- the gate -----------------------------------------------------------------------------------------------

    def _pass(self, caller: Caller) -> None:
        """A caller that the gate knows at another revision, or not at all, was decided upon with an older record."""
        if caller.agent == UPKEEP:
            return
        if self._gate.get(EVERYONE, (0, "active"))[1] != "active":
            raise Frozen(what="Everything")
        rev, standing = self._gate.get(caller.agent, (0, ""))
        if str(rev) != caller.rev:
            raise Stale
        if standing == "frozen":
            raise Frozen(what=f"Agent '{caller.agent}'")
        if standing == "revoked":
            raise Unauthenticated

    # ---- leases -------------------------------------------------------------------------------------------------

    def _is(self, kept: Kept, caller: Caller, lease: Lease) -> bool:
        """Whether this is the last lease there was of this handoff, and the caller's."""
        return (kept.handoff.holder, kept.handoff.fence) == (caller.agent, lease.fence)

    def _holds(self, caller: Caller, lease: Lease) -> bool:
        kept = self.kept[lease.handoff_id]
        return kept.handoff.state == LEASED and self._is(kept, caller, lease)

    def _leased_to(self, caller: Caller, lease: Lease) -> Kept:
        """The handoff that the caller holds by this lease; otherwise what became of it, as far as it was his."""
        kept = self.kept.get(lease.handoff_id)
        if kept and self._holds(caller, lease):
            return kept
        ended = kept and self._ended_lease(kept, caller, lease)
        if not kept or ended is None:
            held = tuple(self.leases_now(caller.agent))
            raise LeaseUnknown(lease_id=lease.id, held=held)
        ended_ms, how = ended
        if how == "settled":
            raise AlreadySettled(handoff_id=lease.handoff_id, state=kept.handoff.state, at_ms=kept.handoff.ended_ms)
        state = kept.handoff.state
        raise LeaseLost(
            ended_ago_ms=self._now - ended_ms,
            now=f"was picked up again {self._by_whom(kept, caller)}" if state == LEASED else f"is {state}",
            fence_now=kept.handoff.fence,
            handed_back=how in ("release", "retry"),
        )

    def _by_whom(self, kept: Kept, caller: Caller) -> str:
        return "by you under a newer lease" if kept.handoff.holder == caller.agent else "by another agent"

    async def lease_ends(self, caller: Caller, lease: Lease) -> int:
        self._pass(caller)
        return self._leased_to(caller, lease).handoff.lease_ends_ms

    def leases_now(self, agent: AgentName) -> list[str]:
        held = [one.handoff for one in self.kept.values() if one.handoff.state == LEASED]
        mine = sorted((handoff.fence, handoff.id) for handoff in held if handoff.holder == agent)
        return [Lease(id, fence).id for fence, id in mine]

    def _ended_lease(self, kept: Kept, caller: Caller, lease: Lease) -> tuple[int, str] | None:
        """When a lease that was the caller's ended, and by which verb; "settled" if the caller gave the outcome.

        The record remembers the last holder and the last three that came to no outcome; who was before is a stranger.
        """
        now, last = kept.handoff, kept.entries[-1]
        if now.state in FINAL and self._is(kept, caller, lease) and (last.actor, last.from_) == (caller.agent, LEASED):
            return now.ended_ms, "settled"
        remembered = [one for one in now.attempts if (one.agent, one.fence) == (caller.agent, str(lease.fence))]
        return (int(remembered[0].at_ms), remembered[0].outcome) if remembered else None

    def _after_lease(self, handoff: Handoff, failures: int, onward: State) -> State:
        """Where a handoff goes whose lease ended without an outcome."""
        if handoff.withdrawal_asked:
            return WITHDRAWN
        if failures >= handoff.attempts_max:
            return DEAD
        if handoff.deliveries >= limits.DELIVERIES_PER_ATTEMPT * handoff.attempts_max:
            return DEAD
        return onward

    def _end_lease(
        self, kept: Kept, verb: Verb, to: State, by: Caller | None, failures: int, reason: str, **change: Any
    ) -> Entry:
        before = kept.handoff
        attempt = Attempt(
            agent=before.holder, outcome=verb, reason=reason, fence=str(before.fence), at_ms=str(self._now)
        )
        attempts = (*before.attempts, attempt)[-limits.ATTEMPTS_KEPT :]
        if to == DEAD and not reason:
            reason = "handed out too often"
        if to in (DEAD, REJECTED):
            change["reason"] = reason
        return self._move(kept, verb, to, by, reason, failures=failures, attempts=attempts, **change)

    def _heard_before(self, caller: Caller, lease: Lease, request: str, content: str) -> Entry | None:
        """The entry of the same call, if it was the last one on this handoff's leases."""
        kept = self.kept.get(lease.handoff_id)
        if kept is None or kept.asked != (caller.agent, lease.fence, request):
            return None
        if kept.asked_content != content:
            raise RequestConflict(handoff_id=lease.handoff_id)
        return kept.asked_entry

    def _remember(self, kept: Kept, caller: Caller, lease: Lease, request: str, content: str, entry: Entry) -> None:
        kept.asked, kept.asked_content, kept.asked_entry = (caller.agent, lease.fence, request), content, entry

    # ---- changes and their entries --------------------------------------------------------------------------------

    def _move(self, kept: Kept, verb: Verb, to: State, by: Caller | None, because: str = "", **change: Any) -> Entry:
        before = kept.handoff
        assert may(before.state, verb, to), f"no arrow: {before.state} {verb} {to}"
        if to in FINAL:
            change["ended_ms"] = self._now
        now = kept.handoff = changed(before, state=to, **change)
        if before.state == WAITING:
            self._line.remove(now.id)
        if to == WAITING:
            self._line.append(now.id)
        if verb == "drop_off":
            self._count(now.queue, "in")
        if to in FINAL:
            self._count(now.queue, "out")
        entry = self._write(
            verb,
            by,
            handoff=now.id,
            queue=now.queue,
            from_=before.state,
            to=to,
            n=str(len(kept.entries) + 1),
            prev=kept.entries[-1].id if kept.entries else "",
            fence=str(now.fence),
            lease_ends=str(now.lease_ends_ms) if to == LEASED else "",
            digest=now.digest,
            schema=now.schema_hash,
            failures=str(now.failures),
            reason=because,
        )
        kept.entries.append(entry)
        return entry

    def _write(self, step: str, by: Caller | None, **facts: str) -> Entry:
        """An entry by a caller, or by the clock (None)."""
        presented = f"{by.agent}={by.rev}" if by and by.agent != UPKEEP else ""
        entry = Entry(
            id=str(len(self.ledger)),
            step=step,
            at=str(self._now),
            actor=by.agent if by else UPKEEP,
            credential=by.credential if by else "",
            revs=presented,
            trace=by.trace if by else "",
            **facts,
        )
        self.ledger.append(entry)
        return entry

    def _receipt(self, entry: Entry) -> Receipt:
        return Receipt(handoff_id=HandoffId(entry.handoff), log="p0", entry=entry.id, leaf="", durability="memory")

    # ---- looking ------------------------------------------------------------------------------------------------

    @property
    def _now(self) -> int:
        return self._clock_ms()

    def _known(self, handoff_id: HandoffId) -> Kept | None:
        if queue_of(handoff_id) is None:
            raise HandoffUnknown(handoff_id=handoff_id)
        return self.kept.get(handoff_id)

    def _waiting(self, queue: QueueName) -> list[HandoffId]:
        return [id for id in self._line if self.kept[id].handoff.queue == queue]

    def _pickers_of(self, queue: QueueName) -> int:
        since_ms = self._now - limits.PICKER_SEEN_MS
        return sum(1 for (name, _), seen_ms in self._pickers.items() if name == queue and seen_ms >= since_ms)

    def _count(self, queue: QueueName, what: str) -> None:
        self._per_minute[queue, self._now // 60_000, what] += 1
