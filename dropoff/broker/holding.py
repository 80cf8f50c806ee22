"""What holders ask: complete, alone or with what comes next, hand back, extend."""

from functools import partial
from typing import Final

from dropoff.broker import judging
from dropoff.broker.asking import Asking, new_handoff
from dropoff.core import lease as leases
from dropoff.core.caller import Caller
from dropoff.core.deciding import current
from dropoff.core.handoff import content_of, derived_id
from dropoff.core.lease import Lease
from dropoff.core.queue import Queue
from dropoff.core.requests import Complete, Extend, HandBack, Next, Outcome
from dropoff.core.store import Completed, Extended, HandedBack, Settling
from dropoff.errors import ArgumentsInvalid, LeaseUnknown, NextInvalid, PayloadTooLarge, Problem, ResultInvalid

SETTLING: Final[dict[Outcome, Settling]] = {"try_again": "retry", "not_for_me": "release", "impossible": "reject"}


class Holding(Asking):
    """The verbs of holders."""

    async def complete(self, caller: Caller, request: Complete) -> Completed:
        """Record the outcome and end the lease. The same result again is the same success.

        With `next`, that is dropped off in the same step: both happen, or neither.
        """
        lease = await self._lease(caller, request.lease_id)
        result = await self._result(caller, lease, request)
        if request.next is None:
            return await self._decided(caller, lambda caller: self.store.complete(caller, lease, result))
        onward, salt = request.next, self._unique(16).hex()

        async def decide(caller: Caller) -> Completed:
            queue = await self._queue(caller, "drop", "complete_handoff", onward.queue)
            content = await self._judged_next(caller, lease, queue, onward)
            id = derived_id(caller.agent, queue.name, f"next\n{lease.id}")  # no key of a caller has a line break
            handoff = new_handoff(id, queue, content, salt, onward.note)
            return await self.store.forward(caller, lease, result, queue, handoff)

        return await self._decided(caller, decide)

    async def hand_back(self, caller: Caller, request: HandBack, key: str = "") -> HandedBack:
        """End the lease without a result: try again, not for me, or impossible."""
        lease = await self._lease(caller, request.lease_id)
        if not request.reason and request.outcome != "not_for_me":
            problem = Problem(path="reason", problem=f"missing (required for {request.outcome})", expected="a sentence")
            raise ArgumentsInvalid(verb="hand_back", problems=(problem,))
        checkpoint = judging.checkpoint("hand_back", request.checkpoint)
        delay_ms = None if request.delay_seconds is None else request.delay_seconds * 1_000
        key = key or self._unique(16).hex()
        content = content_of(request.outcome, request.reason, str(delay_ms), checkpoint)
        return await self._decided(
            caller,
            lambda caller: self.store.hand_back(
                caller,
                lease,
                SETTLING[request.outcome],
                reason=request.reason,
                delay_ms=delay_ms,
                checkpoint=checkpoint,
                request=key,
                content=content,
            ),
        )

    async def extend(self, caller: Caller, request: Extend, key: str = "") -> Extended:
        """Keep the lease for another term; says whether the sender wants the work back."""
        lease = await self._lease(caller, request.lease_id)
        checkpoint = judging.checkpoint("extend_lease", request.checkpoint)
        key = key or self._unique(16).hex()
        content = content_of(request.progress, checkpoint)
        return await self._decided(
            caller,
            lambda caller: self.store.extend(
                caller, lease, progress=request.progress, checkpoint=checkpoint, request=key, content=content
            ),
        )

    # ---- the lease, and what comes with it --------------------------------------------------------------------------

    async def _lease(self, caller: Caller, lease_id: str) -> Lease:
        lease = leases.parse(lease_id)
        if lease is None:
            raise await self._no_lease(caller, lease_id)
        return lease

    async def _no_lease(self, caller: Caller, lease_id: str) -> LeaseUnknown:
        held = await self.store.leases_of((await current(self.store, caller)).agent)
        return LeaseUnknown(lease_id=lease_id, held=tuple(lease.id for lease in held))

    async def _judged_next(self, caller: Caller, lease: Lease, queue: Queue, onward: Next) -> bytes:
        """As any payload; and the holder hears how long it may mend it."""
        try:
            return await self._contracts.judged(
                queue, onward.payload, partial(NextInvalid, schema=queue.schema), "next.payload"
            )
        except (NextInvalid, PayloadTooLarge) as error:
            error.lease_ends_ms = await self._lease_ends(caller, lease)
            raise

    async def _result(self, caller: Caller, lease: Lease, request: Complete) -> bytes:
        """The result in its one encoding. Out of bounds it is refused, and the holder hears how long it may mend it."""
        try:
            return judging.result(request.result)
        except (ResultInvalid, PayloadTooLarge) as error:
            error.lease_ends_ms = await self._lease_ends(caller, lease)
            raise

    async def _lease_ends(self, caller: Caller, lease: Lease) -> int:
        return await self._decided(caller, lambda caller: self.store.lease_ends(caller, lease))
