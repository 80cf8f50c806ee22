"""What callers may ask: each verb in a few sentences.

The order is the same everywhere: may this caller do this here; is what it brings what the queue's contract says; then
one step of the store, which is all or nothing. What happens when a record was old is written in `core/deciding.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from dropoff.contracts.gate import Gates
from dropoff.contracts.schema import Schema
from dropoff.core import lease as leases
from dropoff.core import payload, policy
from dropoff.core.caller import EVERYONE, Caller
from dropoff.core.deciding import current, decided
from dropoff.core.handoff import (
    UNIQUE_BYTES,
    Handoff,
    HandoffId,
    NewHandoff,
    QueueName,
    content_of,
    derived_id,
    digest_of,
    new_id,
    queue_of,
)
from dropoff.core.lease import Lease
from dropoff.core.lifecycle import FINAL
from dropoff.core.queue import Queue
from dropoff.core.requests import Check, Complete, Describe, DropOff, Extend, HandBack, Next, Outcome, PickUp, Withdraw
from dropoff.core.store import (
    Completed,
    DroppedOff,
    Extended,
    HandedBack,
    Paused,
    PickedUp,
    Settling,
    Store,
    Withdrawn,
)
from dropoff.errors import (
    ArgumentsInvalid,
    BrokerUnavailable,
    DropoffError,
    HandoffMoved,
    HandoffUnknown,
    LeaseUnknown,
    NextInvalid,
    PayloadInvalid,
    PayloadTooLarge,
    Problem,
    QueueUnknown,
    ResultInvalid,
    SchemaUnknown,
)

T = TypeVar("T")

SCHEMAS_KEPT: Final = 1_000

SETTLING: Final[dict[Outcome, Settling]] = {"try_again": "retry", "not_for_me": "release", "impossible": "reject"}


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """A queue as an agent needs to know it."""

    queue: Queue
    may: tuple[str, ...]
    schema: Schema


class NothingToPickUp(msgspec.Struct, frozen=True, kw_only=True):
    """No work now; `paused` where that is an operator's word and not for want of work."""

    paused: bool = False


Found = tuple[PickedUp, ...] | NothingToPickUp


class Broker:
    """Answers callers. What it remembers no other broker needs, so any number of them may serve one store."""

    def __init__(self, store: Store, gates: Gates, unique: Callable[[int], bytes]) -> None:
        self.store = store
        self._gates = gates
        self._schemas: dict[str, Schema] = {}
        self._unique = unique  # randomness is given to us, as everything else from the world

    async def drop_off(self, caller: Caller, request: DropOff, key: str = "") -> DroppedOff:
        """Put one handoff into a queue, once, in the caller's name.

        On return it is stored as durably as the receipt says. Called again with the same key: the same answer.
        """
        unique, salt = self._unique(UNIQUE_BYTES), self._unique(16).hex()

        async def decide(caller: Caller) -> DroppedOff:
            queue = await self._queue(caller, "drop", "drop_off", request.queue)
            content = await self._judged(queue, request.payload)
            id = derived_id(caller.agent, queue.name, key) if key else new_id(queue.name, unique)
            handoff = _new(id, queue, content, salt, request.note, delay_ms=request.delay_seconds * 1_000)
            return await self.store.drop_off(caller, queue, handoff)

        with _repeatable(key):
            return await self._decided(caller, decide)

    async def pick_up(self, caller: Caller, request: PickUp, key: str = "") -> PickedUp | NothingToPickUp:
        """Lease the oldest waiting handoff to the caller, if there is one now or within the time it waits.

        Called again with the same key while the lease goes on: the same lease. Cancelled, it leaves nobody a lease.
        """
        found = await self.pick_up_several(caller, request, 1, key)
        return found if isinstance(found, NothingToPickUp) else found[0]

    async def pick_up_several(self, caller: Caller, request: PickUp, at_most: int, key: str = "") -> Found:
        """As `pick_up` does; as soon as there is one, with what else is there, up to `at_most`."""
        with _repeatable(key):
            return await self._picked_up(caller, request, at_most, key or self._unique(16).hex())

    async def take_back(self, taken: Iterable[PickedUp]) -> None:
        """Their picker left before it had the answer: the work goes to the next, and that counts as nothing.

        But not what an earlier call of the same key had brought already.
        """
        for picked in taken:
            if not picked.repeated:
                with suppress(DropoffError):  # nobody is left to be told; at worst the lease runs out
                    await self.store.recall(picked.lease, "the client left before it had the answer", unheard=True)

    async def _picked_up(self, caller: Caller, request: PickUp, at_most: int, key: str) -> Found:
        names = await self._decided(caller, lambda caller: self._pickable(caller, request.queue))
        loop = asyncio.get_running_loop()
        ends = loop.time() + request.wait_seconds
        async with self.store.waiting_for_work(names) as place:  # before the first look, or a drop could slip between
            while True:
                found = await self._tried(self._first_few(caller, request.queue, at_most, key))
                left = ends - loop.time()
                if not isinstance(found, NothingToPickUp) or left <= 0 or not await place.news(left):
                    return found

    async def _tried(self, taking: Coroutine[Any, Any, Found]) -> Found:
        """One try, seen to its end: of a step that is under way nobody can say that it will not bring a lease."""
        trying = asyncio.ensure_future(taking)
        try:
            return await asyncio.shield(trying)
        except asyncio.CancelledError:
            giving_back = asyncio.ensure_future(self._given_back(trying))
            while not giving_back.done():
                with suppress(asyncio.CancelledError):  # said once more, it changes nothing
                    await asyncio.shield(giving_back)
            raise

    async def _given_back(self, trying: Awaitable[Found]) -> None:
        with suppress(DropoffError):  # nobody is left to be told
            found = await trying
            await self.take_back(() if isinstance(found, NothingToPickUp) else found)

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
            handoff = _new(id, queue, content, salt, onward.note)
            return await self.store.forward(caller, lease, result, queue, handoff)

        return await self._decided(caller, decide)

    async def hand_back(self, caller: Caller, request: HandBack, key: str = "") -> HandedBack:
        """End the lease without a result: try again, not for me, or impossible."""
        lease = await self._lease(caller, request.lease_id)
        if not request.reason and request.outcome != "not_for_me":
            problem = Problem(path="reason", problem=f"missing (required for {request.outcome})", expected="a sentence")
            raise ArgumentsInvalid(verb="hand_back", problems=(problem,))
        checkpoint = _checkpoint("hand_back", request.checkpoint)
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
        checkpoint = _checkpoint("extend_lease", request.checkpoint)
        key = key or self._unique(16).hex()
        content = content_of(request.progress, checkpoint)
        return await self._decided(
            caller,
            lambda caller: self.store.extend(
                caller, lease, progress=request.progress, checkpoint=checkpoint, request=key, content=content
            ),
        )

    async def check(self, caller: Caller, request: Check) -> Handoff:
        """The handoff as it is, or as soon as it has its outcome, or as it is when the time is up."""
        queue = queue_of(request.handoff_id)
        if queue is None:
            raise HandoffUnknown(handoff_id=request.handoff_id)
        handoff_id = HandoffId(request.handoff_id)

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
        queue = queue_of(request.handoff_id)
        if queue is None:
            raise HandoffUnknown(handoff_id=request.handoff_id)
        handoff_id = HandoffId(request.handoff_id)
        return await self._decided(
            caller,
            lambda caller: self.store.withdraw(
                caller, handoff_id, reason=request.reason, may_operate=policy.may(caller, "operate", queue)
            ),
        )

    async def resubmit(self, caller: Caller, handoff_id: str) -> DroppedOff:
        """Put what has ended back as a new handoff that names the old. Said again: the same new one."""
        name = queue_of(handoff_id)
        if name is None:
            raise HandoffUnknown(handoff_id=handoff_id)
        old_id, salt = HandoffId(handoff_id), self._unique(16).hex()

        async def decide(caller: Caller) -> DroppedOff:
            queue = await self._queue(caller, "operate", "resubmit", name)
            old = await self.store.check(caller, old_id, may_inspect=True)
            if old.state not in FINAL:
                raise HandoffMoved(handoff_id=old_id, state=old.state, was="over")
            again = f"drop off a corrected one: dropoff drop {queue.name} JSON"
            refusal = partial(PayloadInvalid, schema=queue.schema, again=again)
            content = await self._judged(queue, msgspec.json.decode(old.payload), refusal)
            id = derived_id(EVERYONE, queue.name, f"resubmit\n{old_id}")  # whoever says it: once
            handoff = _new(id, queue, content, salt, old.note, resubmit_of=old_id)
            return await self.store.drop_off(caller, queue, handoff)

        try:
            return await self._decided(caller, decide)
        except QueueUnknown:  # without a grant on its queue it does not exist for the caller
            raise HandoffUnknown(handoff_id=handoff_id) from None

    async def describe(self, caller: Caller, request: Describe) -> list[Description]:
        """The queues the caller may drop into or pick up from, with what each demands."""
        caller = await current(self.store, caller)
        queues = await self.store.queues()
        names = {act: policy.allowed(caller, act, queues) for act in ("drop", "pick")}
        wanted = sorted({name for act in names.values() for name in act})
        if request.queue:
            if request.queue not in wanted:
                policy.require(caller, "drop", request.queue, tuple(queues))
            wanted = [QueueName(request.queue)]
        return [
            Description(
                queue=queues[name],
                may=tuple(policy.DOING[act] for act in ("drop", "pick") if name in names[act]),
                schema=await self._schema(queues[name]),
            )
            for name in wanted
        ]

    # ---- decisions ----------------------------------------------------------------------------------------------

    async def _decided(self, caller: Caller, decide: Callable[[Caller], Awaitable[T]]) -> T:
        return await decided(self.store, caller, decide)

    async def _queue(self, caller: Caller, act: policy.Act, verb: str, name: str) -> Queue:
        queues = await self.store.queues()
        if name not in queues and name:
            queues = await self.store.queues(fresh=True)
        names = tuple(queues)
        found = policy.require(caller, act, name, names) if name else policy.only_one(caller, act, verb, names)
        return queues[found]

    async def _pickable(self, caller: Caller, name: str) -> tuple[QueueName, ...]:
        if name:
            return ((await self._queue(caller, "pick", "pick_up", name)).name,)
        names = policy.allowed(caller, "pick", await self.store.queues())
        return names or (policy.only_one(caller, "pick", "pick_up", ()),)

    async def _first_few(self, caller: Caller, name: str, at_most: int, key: str) -> Found:
        """The first decides whether there is anything; a refusal of a later one takes nothing of what is had.

        But what may have been leased, and nobody knows, is said: under the same key all of them come back.
        """
        first = await self._decided(caller, lambda caller: self._first(caller, name, key))
        if isinstance(first, NothingToPickUp):
            return first

        async def another(number: int) -> PickedUp | NothingToPickUp:
            try:
                return await self._decided(caller, lambda caller: self._first(caller, name, f"{key}\n{number}"))
            except DropoffError as error:
                if isinstance(error, BrokerUnavailable) and error.stored == "unknown":
                    raise
                return NothingToPickUp()

        more = await asyncio.gather(*(another(number) for number in range(1, at_most)))
        return (first, *(picked for picked in more if isinstance(picked, PickedUp)))

    async def _first(self, caller: Caller, name: str, key: str) -> PickedUp | NothingToPickUp:
        """From the named queue, or from the first of the caller's that has work; where to begin is left to chance."""
        names = await self._pickable(caller, name)
        begin = self._unique(1)[0] % len(names)
        queues = await self.store.queues()
        request = content_of(name, key)  # the same call, whichever of its queues it comes to first
        paused = 0
        for queue in (*names[begin:], *names[:begin]):
            try:
                picked = await self.store.pick_up(caller, queues[queue], request)
            except Paused:
                paused += 1
                continue
            if picked:
                return picked
        return NothingToPickUp(paused=paused == len(names))

    # ---- what callers bring -------------------------------------------------------------------------------------

    async def _judged(
        self, queue: Queue, brought: object, refusal: payload.Refusal | None = None, root: str = "payload"
    ) -> bytes:
        """The payload in its one encoding, if it is within bounds and fits the queue's schema."""
        refusal = refusal or partial(PayloadInvalid, schema=queue.schema)
        payload.bound(brought, refusal=refusal, root=root, queue=queue.name, bytes_max=queue.payload_bytes_max)
        self._gates.require(await self._schema(queue), brought, refusal=refusal, root=root)
        return payload.canonical(brought)

    async def _judged_next(self, caller: Caller, lease: Lease, queue: Queue, onward: Next) -> bytes:
        """As any payload; and the holder hears how long it may mend it."""
        try:
            return await self._judged(queue, onward.payload, partial(NextInvalid, schema=queue.schema), "next.payload")
        except (NextInvalid, PayloadTooLarge) as error:
            error.lease_ends_ms = await self._lease_ends(caller, lease)
            raise

    async def _result(self, caller: Caller, lease: Lease, request: Complete) -> bytes:
        """The result in its one encoding. Out of bounds it is refused, and the holder hears how long it may mend it."""
        try:
            payload.bound(request.result, refusal=ResultInvalid, root="result", what="Result")
        except (ResultInvalid, PayloadTooLarge) as error:
            error.lease_ends_ms = await self._lease_ends(caller, lease)
            raise
        return payload.canonical(request.result)

    async def _lease_ends(self, caller: Caller, lease: Lease) -> int:
        return await self._decided(caller, lambda caller: self.store.lease_ends(caller, lease))

    async def _lease(self, caller: Caller, lease_id: str) -> Lease:
        lease = leases.parse(lease_id)
        if lease is None:
            raise await self._no_lease(caller, lease_id)
        return lease

    async def _no_lease(self, caller: Caller, lease_id: str) -> LeaseUnknown:
        held = await self.store.leases_of((await current(self.store, caller)).agent)
        return LeaseUnknown(lease_id=lease_id, held=tuple(lease.id for lease in held))

    async def _schema(self, queue: Queue) -> Schema:
        """The schema that the queue is pinned to; by its hash, so what is remembered is never old."""
        known = self._schemas.get(queue.schema_hash)
        if known is None:
            stored = await self.store.schema(queue.schema_hash)
            if stored is None:  # its key was lost; the same content pushed again puts it back
                raise SchemaUnknown(schema=queue.schema, known=tuple(await self.store.schemas()))
            name, version = queue.schema.split("@")
            known = Schema(name=name, version=int(version), hash=stored.hash, content=stored.content)
            if len(self._schemas) >= SCHEMAS_KEPT:
                self._schemas.clear()
            self._schemas[queue.schema_hash] = known
        return known


def _new(
    id: HandoffId, queue: Queue, content: bytes, salt: str, note: str, *, delay_ms: int = 0, resubmit_of: str = ""
) -> NewHandoff:
    """A handoff of this judged payload."""
    return NewHandoff(
        id=id,
        queue=queue.name,
        payload=content,
        salt=salt,
        digest=digest_of(salt, content),
        content=content_of(content, note, delay_ms, resubmit_of),
        note=note,
        delay_ms=delay_ms,
        resubmit_of=resubmit_of,
    )


@contextmanager
def _repeatable(key: str) -> Generator[None]:
    """New work whose fate is unknown may be asked for again only under a request key; who brought none is told so."""
    try:
        yield
    except BrokerUnavailable as error:
        if key or error.stored == "nothing":
            raise
        raise BrokerUnavailable(stored="unknown", keyed=False) from error


def _checkpoint(verb: str, checkpoint: dict[str, Any]) -> bytes:
    """The checkpoint in its one encoding; empty when there is none."""
    refusal = partial(ArgumentsInvalid, verb=verb)
    payload.bound(checkpoint, refusal=refusal, root="checkpoint", what="Checkpoint")
    return payload.canonical(checkpoint) if checkpoint else b""
