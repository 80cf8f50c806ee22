"""The steps on handoffs: what agents ask for, and what the clock starts.

What each decides is written in its Lua file, what it means to a caller in `core/store.py`; here is the way between.
"""

import hashlib
import logging
import secrets
from collections.abc import Sequence
from typing import cast

from dropoff.core.answers import (
    Completed,
    DroppedOff,
    Extended,
    HandedBack,
    Judged,
    Overdue,
    PickedUp,
    Released,
    Withdrawn,
)
from dropoff.core.caller import Caller, caller_upkeep
from dropoff.core.handoff import AgentName, Handoff, HandoffId, NewHandoff, QueueName, content_of
from dropoff.core.lease import Lease
from dropoff.core.ledger import Receipt
from dropoff.core.lifecycle import State
from dropoff.core.queue import Queue
from dropoff.core.store import Judging, Paused, Settling
from dropoff.storage.replies import Reply, handoff_of, number
from dropoff.storage.steps import Steps

log = logging.getLogger("dropoff.storage")


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
            resubmit_of=handoff.resubmit_of,
        )
        return self._dropped_off(handoff.id, reply)

    async def dropped_before(
        self, caller: Caller, handoff_id: HandoffId, content: str, *, resubmit_of: str = "", may_operate: bool = False
    ) -> DroppedOff | None:
        reply = await self._handoff_step(
            "dropped_before",
            caller,
            handoff_id,
            id=handoff_id,
            content=content,
            resubmit_of=resubmit_of,
            may_operate="1" if may_operate else "0",
        )
        return None if reply.word == "unheard" else self._dropped_off(handoff_id, reply)

    def _dropped_off(self, handoff_id: HandoffId, reply: Reply) -> DroppedOff:
        self._raise_refusal(reply)
        return DroppedOff(
            receipt=self._receipt(handoff_id, reply),
            state=cast(State, reply.facts["state"].decode()),
            ahead_of_it=number(reply.facts, "ahead"),
            pickers=number(reply.facts, "pickers"),
            repeated=reply.word == "repeated",
        )

    async def pick_up(self, caller: Caller, queue: Queue, request: str, accepts: Sequence[str] = ()) -> PickedUp | None:
        keys = self._queue_keys(queue.name) | {"pick": self._pick_key(caller.agent, request)}
        refs = f" {' '.join(accepts)} " if accepts else ""
        args = self._queue_args(queue.name) | {"accepts": refs, "this_call": secrets.token_hex(8)}
        reply = await self._run("pick_up", caller, keys, **args)
        self._raise_refusal(reply)
        if reply.word == "paused":
            raise Paused
        return None if reply.word == "empty" else self._picked_up(reply)

    async def picked_before(self, caller: Caller, agent: AgentName, request: str) -> PickedUp | None:
        keys = self._log_keys() | {"pick": self._pick_key(agent, request)}
        reply = await self._run("picked_before", caller, keys, partition_keys=self.keys.base)
        self._raise_refusal(reply)
        return None if reply.word == "unheard" else self._picked_up(reply)

    def _pick_key(self, agent: AgentName, request: str) -> str:
        # Fit for a key of ours, whatever the caller's is made of.
        return self.keys.of("pick", agent=agent, request=hashlib.sha256(request.encode()).hexdigest()[:32])

    def _picked_up(self, reply: Reply) -> PickedUp:
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
        reply = await self._lease_step("lease", caller, lease, request="complete", content="")
        return number(reply.facts, "until")

    async def completed_before(self, caller: Caller, lease: Lease, content: str) -> Completed | None:
        reply = await self._lease_step("lease", caller, lease, request="complete", content=content)
        return None if reply.word == "held" else self._completed(lease, reply)

    async def complete(self, caller: Caller, lease: Lease, result: bytes, judged_by: str = "") -> Completed:
        outcome = {"content": content_of(result), "result": result, "judged_by": judged_by}
        reply = await self._lease_step("complete", caller, lease, request="complete", **outcome)
        return self._completed(lease, reply)

    async def forward(
        self, caller: Caller, lease: Lease, result: bytes, queue: Queue, onward: NewHandoff, judged_by: str = ""
    ) -> Completed:
        keys = self._queue_keys(lease.queue) | {"handoff": self._handoff_key(lease.handoff_id)}
        keys |= {f"next_{kind}": key for kind, key in self.keys.given(queue.name).items()}
        reply = await self._run(
            "forward",
            caller,
            keys | {"next_handoff": self._handoff_key(onward.id)},
            **self._queue_args(lease.queue),
            fence=str(lease.fence),
            request="complete",
            content=content_of(result, onward.content),
            result=result,
            judged_by=judged_by,
            next_base=self.keys.of_queue(queue.name),
            next_id=onward.id,
            next_queue=queue.name,
            next_rev=queue.rev,
            next_payload=onward.payload,
            next_salt=onward.salt,
            next_digest=onward.digest,
            next_content=onward.content,
            next_note=onward.note,
        )
        await self._raise_lease_refusal(caller, lease, reply)
        return self._completed(lease, reply)

    def _completed(self, lease: Lease, reply: Reply) -> Completed:
        return Completed(
            receipt=self._receipt(lease.handoff_id, reply),
            next_id=reply.facts.get("next", b"").decode(),
            repeated=reply.word == "repeated",
        )

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

    # ---- what operators ask -------------------------------------------------------------------------------------

    async def judge(self, caller: Caller, handoff_id: HandoffId, verb: Judging, *, digest: str, reason: str) -> Judged:
        reply = await self._handoff_step("judge", caller, handoff_id, verb=verb, seen_digest=digest, reason=reason)
        receipt, state, repeated = self._outcome(handoff_id, reply)
        return Judged(receipt=receipt, state=state, repeated=repeated)

    async def release(self, caller: Caller, lease: Lease, *, reason: str) -> Released:
        reply = await self._handoff_step(
            "release", caller, lease.handoff_id, seen_fence=str(lease.fence), reason=reason
        )
        receipt, state, repeated = self._outcome(lease.handoff_id, reply)
        return Released(receipt=receipt, state=state, repeated=repeated)

    def _outcome(self, handoff_id: HandoffId, reply: Reply) -> tuple[Receipt, State, bool]:
        """The receipt, the state that the step led to, and whether it was heard before."""
        assert reply.entry is not None
        return self._receipt(handoff_id, reply), cast(State, reply.entry.to), reply.word == "repeated"

    # ---- what the clock starts ----------------------------------------------------------------------------------

    async def overdue(self, queue: QueueName, at_most: int) -> Overdue:
        reply = await self._step("overdue", caller_upkeep(), queue, at_most=str(at_most))
        found = {kind: ids.decode().split() for kind, ids in reply.facts.items()}
        for index in found.pop("unread"):
            log.error("upkeep cannot read %s", self.keys.of(index, queue=queue))
        return Overdue(**{kind: tuple(map(HandoffId, ids)) for kind, ids in found.items()})

    async def lapse(self, handoff_id: HandoffId) -> Receipt | None:
        return await self._by_clock("lapse", handoff_id)

    async def due(self, handoff_id: HandoffId) -> Receipt | None:
        return await self._by_clock("due", handoff_id)

    async def expire(self, handoff_id: HandoffId) -> Receipt | None:
        return await self._by_clock("expire", handoff_id)

    async def erase(self, handoff_id: HandoffId, by: Caller | None = None) -> Receipt | None:
        return await self._by_clock("erase", handoff_id, by)

    async def recall(self, lease: Lease, reason: str, *, unheard: bool = False) -> Receipt | None:
        bound = {"fence": str(lease.fence), "unheard": "1" if unheard else ""}
        return await self._by_clock("recall", lease.handoff_id, reason=reason, **bound)

    async def revoked(self, at_most: int) -> tuple[Lease, ...]:
        reply = await self._run(
            "revoked",
            caller_upkeep(),
            {"recalls": self.keys.of("recalls")},
            at_most=str(at_most),
            partition_keys=self.keys.base,
        )
        for agent in reply.facts["unread"].decode().split():
            log.error("upkeep cannot read %s", self.keys.of("holds", agent=agent))
        found = [lease.split() for lease in reply.facts["leases"].decode().split(",") if lease]
        return tuple(Lease(HandoffId(id), int(fence)) for id, fence in found)

    async def _by_clock(
        self, step: str, handoff_id: HandoffId, by: Caller | None = None, /, **args: str
    ) -> Receipt | None:
        reply = await self._handoff_step(step, by or caller_upkeep(), handoff_id, **args)
        return None if reply.word == "nothing" else self._receipt(handoff_id, reply)
