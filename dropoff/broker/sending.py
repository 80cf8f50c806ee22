"""What senders ask: drop off, look, withdraw; and what is put back for them."""

import asyncio
from collections.abc import Awaitable, Sequence
from functools import partial

import msgspec

from dropoff.broker.asking import Asking, new_handoff, repeatable
from dropoff.broker.repeats import unless_heard
from dropoff.core import payload, policy
from dropoff.core.answers import DroppedOff, Withdrawn
from dropoff.core.caller import EVERYONE, Caller
from dropoff.core.handoff import UNIQUE_BYTES, Handoff, HandoffId, QueueName, content_of, derived_id, new_id, queue_of
from dropoff.core.lifecycle import FINAL
from dropoff.core.requests import Check, DropOff, Withdraw
from dropoff.errors import HandoffMoved, HandoffUnknown, PayloadInvalid, QueueUnknown, RequestConflict


class Sending(Asking):
    """The verbs of senders."""

    async def drop_off(self, caller: Caller, request: DropOff, key: str = "") -> DroppedOff:
        """Put one handoff into a queue, once, in the caller's name.

        On return it is stored as durably as the receipt says. Called again with the same key: the same answer,
        whatever was changed in between.
        """
        unique, salt = self._unique(UNIQUE_BYTES), self._unique(16).hex()
        delay_ms = request.delay_seconds * 1_000

        def asked(content: bytes) -> str:
            return content_of(content, request.note, delay_ms)

        async def decide(caller: Caller) -> DroppedOff:
            queue = await self._queue(caller, "drop", "drop_off", request.queue)
            if not request.queue and (first := await heard_elsewhere(queue.name)):
                return first
            content = await self._contracts.judged(queue, request.payload, noted=noted)
            id = derived_id(caller.agent, queue.name, key) if key else new_id(queue.name, unique)
            handoff = new_handoff(id, queue, content, salt, request.note, asked=asked(content), delay_ms=delay_ms)
            return await self.store.drop_off(caller, queue, handoff)

        async def heard(but: str = "") -> DroppedOff | None:
            """In whichever queue, if none was named: the caller's grants may have named another one then."""
            if not key:
                return None
            content = asked(payload.encoded(request.payload))
            names = (request.queue,) if request.queue else tuple(await self.store.queues())
            ids = [derived_id(caller.agent, QueueName(name), key) for name in names if name != but]
            return await _first_of([self._dropped_before(caller, id, content) for id in ids])

        async def heard_elsewhere(queue: str) -> DroppedOff | None:
            """The step looks in its own queue alone. Other work under this key in another one is no conflict."""
            try:
                return await heard(but=queue)
            except RequestConflict:
                return None

        with repeatable(key), self._rejections.counted() as noted:
            return await unless_heard(self._decided(caller, decide), heard)

    async def check(self, caller: Caller, request: Check) -> Handoff:
        """The handoff as it is, or as soon as it has its outcome, or as it is when the time is up."""
        handoff_id, queue = _meant(request.handoff_id)

        async def read(caller: Caller) -> Handoff:
            return await self.store.check(caller, handoff_id, may_inspect=policy.may(caller, "inspect", queue))

        loop = asyncio.get_running_loop()
        ends = loop.time() + request.wait_seconds
        async with self.store.waiting_for_outcome(handoff_id) as place:
            waits = True
            while True:
                handoff = await self._decided(caller, read)
                left = ends - loop.time()
                if handoff.state in FINAL or left <= 0 or not waits:
                    return handoff
                waits = await place.news(left)  # False also when the broker ends all waits: then a last look

    async def withdraw(self, caller: Caller, request: Withdraw) -> Withdrawn:
        """Take a handoff back; while somebody holds it, ask the holder."""
        handoff_id, queue = _meant(request.handoff_id)
        return await self._decided(
            caller,
            lambda caller: self.store.withdraw(
                caller, handoff_id, reason=request.reason, may_operate=policy.may(caller, "operate", queue)
            ),
        )

    async def resubmit(self, caller: Caller, handoff_id: str) -> DroppedOff:
        """Put what has ended back as a new handoff that names the old. Said again: the same new one."""
        old_id, name = _meant(handoff_id)
        salt = self._unique(16).hex()
        id = derived_id(EVERYONE, name, f"resubmit\n{old_id}")  # whoever says it: once

        async def decide(caller: Caller) -> DroppedOff:
            queue = await self._queue(caller, "operate", "resubmit", name)
            old = await self.store.check(caller, old_id, may_inspect=True)
            if old.state not in FINAL:
                raise HandoffMoved(handoff_id=old_id, state=old.state, was="over")
            again = f"drop off a corrected one: dropoff drop {queue.name} JSON"
            refusal = partial(PayloadInvalid, schema=queue.schema, again=again)
            content = await self._contracts.judged(queue, msgspec.json.decode(old.payload), refusal)
            handoff = new_handoff(id, queue, content, salt, old.note, asked=content_of(old_id), resubmit_of=old_id)
            return await self.store.drop_off(caller, queue, handoff)

        try:
            return await unless_heard(
                self._decided(caller, decide), lambda: self._dropped_before(caller, id, resubmit_of=old_id)
            )
        except QueueUnknown:  # without a grant on its queue it does not exist for the caller
            raise HandoffUnknown(handoff_id=handoff_id) from None

    async def _dropped_before(
        self, caller: Caller, id: HandoffId, asked: str = "", *, resubmit_of: str = ""
    ) -> DroppedOff | None:
        """The first answer to this call, though the caller may not make it any more: it is its own handoff."""
        queue = queue_of(id)
        if queue is None:  # what was named is no queue's name
            return None
        return await self._decided(
            caller,
            lambda caller: self.store.dropped_before(
                caller, id, asked, resubmit_of=resubmit_of, may_operate=policy.may(caller, "operate", queue)
            ),
        )


async def _first_of(looks: Sequence[Awaitable[DroppedOff | None]]) -> DroppedOff | None:
    """The first answer that one of these has found, all of them under way at once; else what kept one from looking."""
    found = await asyncio.gather(*looks, return_exceptions=True)
    if first := next((one for one in found if isinstance(one, DroppedOff)), None):
        return first
    failed = [one for one in found if isinstance(one, BaseException)]
    for error in sorted(failed, key=lambda error: isinstance(error, RequestConflict)):  # who could not look, first
        raise error
    return None


def _meant(handoff_id: str) -> tuple[HandoffId, QueueName]:
    """The handoff that is meant, and the queue that its id names."""
    queue = queue_of(handoff_id)
    if queue is None:
        raise HandoffUnknown(handoff_id=handoff_id)
    return HandoffId(handoff_id), queue
