"""What holders ask: complete, alone or with what comes next, hand back, extend."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from dropoff.broker import judging
from dropoff.broker.asking import Asking, new_handoff
from dropoff.broker.repeats import unless_heard
from dropoff.core import lease as leases
from dropoff.core import payload
from dropoff.core.answers import Completed, Extended, HandedBack
from dropoff.core.caller import Caller
from dropoff.core.deciding import current
from dropoff.core.handoff import content_of, derived_id
from dropoff.core.lease import Lease
from dropoff.core.requests import Complete, Extend, HandBack, Next, Outcome
from dropoff.core.store import Settling
from dropoff.errors import ArgumentsInvalid, LeaseUnknown, NextInvalid, PayloadTooLarge, Problem, ResultInvalid

SETTLING: Final[dict[Outcome, Settling]] = {"try_again": "retry", "not_for_me": "release", "impossible": "reject"}


class Holding(Asking):
    """The verbs of holders."""

    async def complete(self, caller: Caller, request: Complete) -> Completed:
        """Record the outcome and end the lease.

        With `next`, that is dropped off in the same step: both happen, or neither. Said again it is the same success,
        whatever was changed in between.
        """
        lease = await self._lease(caller, request.lease_id)
        async with self._mendable(caller, lease):
            result = judging.result(request.result)
            if request.next is not None:
                return await self._forward(caller, lease, request.result, result, request.next)

            async def decide(caller: Caller) -> Completed:
                judged_by = await self._result_fits(lease, request.result)
                return await self.store.complete(caller, lease, result, judged_by)

            return await self._unless_completed(caller, lease, decide, lambda: content_of(result))

    async def _forward(
        self, caller: Caller, lease: Lease, brought: dict[str, Any], result: bytes, onward: Next
    ) -> Completed:
        salt = self._unique(16).hex()

        def asked(content: bytes) -> str:
            return content_of(content, onward.note, onward.queue)

        async def decide(caller: Caller) -> Completed:
            judged_by = await self._result_fits(lease, brought)
            queue = await self._queue(caller, "drop", "complete_handoff", onward.queue)
            refusal = partial(NextInvalid, schema=queue.schema)
            content = await self._contracts.judged(queue, onward.payload, refusal, "next.payload", noted=noted)
            id = derived_id(caller.agent, queue.name, f"next\n{lease.id}")  # no key of a caller has a line break
            handoff = new_handoff(id, queue, content, salt, onward.note, asked=asked(content))
            return await self.store.forward(caller, lease, result, queue, handoff, judged_by)

        def content() -> str:
            return content_of(result, asked(payload.encoded(onward.payload)))

        with self._rejections.counted() as noted:
            return await self._unless_completed(caller, lease, decide, content)

    async def _unless_completed(
        self, caller: Caller, lease: Lease, decide: Callable[[Caller], Awaitable[Completed]], content: Callable[[], str]
    ) -> Completed:
        async def heard() -> Completed | None:
            asked = content()
            return await self._decided(caller, lambda caller: self.store.completed_before(caller, lease, asked))

        return await unless_heard(self._decided(caller, decide), heard)

    async def _result_fits(self, lease: Lease, brought: dict[str, Any]) -> str:
        """As `Contracts.result_fits`, for the handoff's own queue.

        Where there is no such queue there is no such lease, as the step will say.
        """
        queue = (await self.store.queues()).get(lease.queue)
        return await self._contracts.result_fits(queue, brought) if queue else ""

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

    @asynccontextmanager
    async def _mendable(self, caller: Caller, lease: Lease) -> AsyncGenerator[None]:
        """Who brings what does not fit hears how long it may mend it."""
        try:
            yield
        except (ResultInvalid, NextInvalid, PayloadTooLarge) as error:
            error.lease_ends_ms = await self._decided(caller, lambda caller: self.store.lease_ends(caller, lease))
            raise
