"""The steps on handoffs: what agents ask for, and what the clock starts.

What each decides is written in its Lua file, what it means to a caller in `core/store.py`; here is the way between.
"""

import hashlib
from typing import cast

from dropoff.core.caller import Caller, caller_upkeep
from dropoff.core.handoff import Handoff, HandoffId, NewHandoff, QueueName
from dropoff.core.lease import Lease
from dropoff.core.ledger import Receipt
from dropoff.core.lifecycle import State
from dropoff.core.queue import Queue
from dropoff.core.store import (
    Completed,
    DroppedOff,
    Extended,
    HandedBack,
    Overdue,
    PickedUp,
    Settling,
    Withdrawn,
)
from dropoff.storage.replies import handoff_of, number
from dropoff.storage.steps import Steps


class Handoffs(Steps):
    """The verbs of agents and of upkeep."""

    async def drop_off(self, caller: Caller, queue: Queue, handoff: NewHandoff) -> DroppedOff:
        reply = await self._step(
            "drop_off",
            caller,
            queue.name,
            handoff.id,
            id=handoff.id,
            queue=queue.name,
            config_rev=queue.rev,
            payload=handoff.payload,
            salt=handoff.salt,
            digest=handoff.digest,
            content=handoff.content,
            note=handoff.note,
            delay_ms=str(handoff.delay_ms),
        )
        self._raise_refusal(reply, queue_name=queue.name)
        return DroppedOff(
            receipt=self._receipt(handoff.id, reply),
            state=cast(State, reply.facts["state"].decode()),
            ahead_of_it=number(reply.facts, "ahead"),
            pickers=number(reply.facts, "pickers"),
            repeated=reply.word == "repeated",
        )

    async def pick_up(self, caller: Caller, queue: Queue, request: str) -> PickedUp | None:
        # Fit for a key of ours, whatever the caller's is made of.
        remembered = hashlib.sha256(request.encode()).hexdigest()[:32]
        keys = self._queue_keys(queue.name) | {"pick": self.keys.of("pick", agent=caller.agent, request=remembered)}
        reply = await self._run("pick_up", caller, keys, **self._queue_args(queue.name), version=queue.version)
        self._raise_refusal(reply)
        if reply.word == "empty":
            return None
        handoff = handoff_of(reply.facts)
        return PickedUp(
            receipt=self._receipt(handoff.id, reply),
            lease=Lease(handoff.id, handoff.fence),
            handoff=handoff,
            waiting=number(reply.facts, "waiting"),
            repeated=reply.word == "repeated",
        )

    async def extend(
        self, caller: Caller, lease: Lease, *, progress: str, checkpoint: bytes, request: str, content: str
    ) -> Extended:
        reply = await self._lease_step(
            "extend",
            caller,
            lease,
            request=request,
            content=content,
            progress=progress,
            checkpoint=checkpoint,
        )
        return Extended(
            receipt=self._receipt(lease.handoff_id, reply),
            lease_ends_ms=int(reply.entry.lease_ends or 0) if reply.entry else 0,
            withdrawal_asked=bool(reply.facts.get("withdrawal_asked")),
        )

    async def lease_ends(self, caller: Caller, lease: Lease) -> int:
        reply = await self._lease_step("lease", caller, lease)
        return number(reply.facts, "until")

    async def complete(self, caller: Caller, lease: Lease, result: bytes) -> Completed:
        content = hashlib.sha256(result).hexdigest()
        reply = await self._lease_step("complete", caller, lease, request="complete", content=content, result=result)
        return Completed(receipt=self._receipt(lease.handoff_id, reply), repeated=reply.word == "repeated")

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
        reply = await self._lease_step(
            "hand_back",
            caller,
            lease,
            request=request,
            content=content,
            verb=verb,
            reason=reason,
            delay_ms="" if delay_ms is None else str(delay_ms),
            checkpoint=checkpoint,
        )
        entry = reply.entry
        assert entry is not None
        return HandedBack(
            receipt=self._receipt(lease.handoff_id, reply),
            state=cast(State, entry.to),
            attempts_left=max(number(reply.facts, "attempts_max") - int(entry.failures or 0), 0),
        )

    async def withdraw(self, caller: Caller, handoff_id: HandoffId, *, reason: str, may_operate: bool) -> Withdrawn:
        reply = await self._handoff_step(
            "withdraw", caller, handoff_id, reason=reason, may_operate="1" if may_operate else "0"
        )
        assert reply.entry is not None
        return Withdrawn(
            receipt=self._receipt(handoff_id, reply),
            state=cast(State, reply.entry.to),
            repeated=reply.word == "repeated",
        )

    async def check(self, caller: Caller, handoff_id: HandoffId, *, may_inspect: bool) -> Handoff:
        reply = await self._handoff_step("check", caller, handoff_id, may_inspect="1" if may_inspect else "0")
        return handoff_of(reply.facts)

    # ---- what the clock starts ----------------------------------------------------------------------------------

    async def overdue(self, queue: QueueName, at_most: int) -> Overdue:
        reply = await self._step("overdue", caller_upkeep(), queue, at_most=str(at_most))
        leases, timers = (reply.facts[kind].decode().split() for kind in ("leases", "timers"))
        return Overdue(leases=tuple(map(HandoffId, leases)), timers=tuple(map(HandoffId, timers)))

    async def lapse(self, handoff_id: HandoffId) -> Receipt | None:
        return await self._by_clock("lapse", handoff_id)

    async def due(self, handoff_id: HandoffId) -> Receipt | None:
        return await self._by_clock("due", handoff_id)

    async def _by_clock(self, step: str, handoff_id: HandoffId) -> Receipt | None:
        reply = await self._handoff_step(step, caller_upkeep(), handoff_id)
        return None if reply.word == "nothing" else self._receipt(handoff_id, reply)
