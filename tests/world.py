"""The little world that tests live in: a clock, three agents, an operator, a queue.

All of it is written at `START_MS` of a clock that only the test moves, so every revision is known beforehand and people
and queues can be constants. The functions are the store's verbs with the arguments that a test does not care about left
out; they speak to the real store and to its model alike.
"""

import asyncio
import hashlib
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
import pytest

from dropoff.core import limits
from dropoff.core.answers import (
    Completed,
    DroppedOff,
    Extended,
    HandedBack,
    Judged,
    PickedUp,
    Released,
    StoredSchema,
    Withdrawn,
)
from dropoff.core.caller import EVERYONE, Caller, Principal, Revision, caller_upkeep
from dropoff.core.deciding import everyone
from dropoff.core.grant import Grant
from dropoff.core.handoff import AgentName, HandoffId, NewHandoff, QueueName, content_of, derived_id, digest_of, new_id
from dropoff.core.lease import Lease
from dropoff.core.queue import Queue
from dropoff.core.store import Judging, Settling, Store

START_MS: Final = 1_800_000_000_000
LEASE_MS: Final = 60_000
WAIT_S: Final = 10.0

T = TypeVar("T")


class Clock:
    """The time that a test says it is."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, ms: int) -> None:
        self.now_ms += ms


def _agent(name: str, *grants: Grant) -> Caller:
    return Caller(agent=AgentName(name), rev=Revision(str(START_MS)), grants=grants)


ANN: Final = _agent("ann", Grant("drop"))
BOB: Final = _agent("bob", Grant("pick"))
CAROL: Final = _agent("carol", Grant("pick"), Grant("drop"))
OPS: Final = _agent("ops", Grant("admin"))
UPKEEP: Final = caller_upkeep()
PEOPLE: Final = (ANN, BOB, CAROL, OPS)

SCHEMA: Final = b'{"type":"object"}'
SCHEMA_HASH: Final = hashlib.sha256(SCHEMA).hexdigest()
QUEUE: Final = Queue(
    name=QueueName("research"),
    rev=Revision(str(START_MS)),
    schema="research@1",
    schema_hash=SCHEMA_HASH,
    lease_ms=LEASE_MS,
    attempts_max=3,
)


def a_queue(name: str, **settings: Any) -> Queue:
    """A queue that is not there yet, like QUEUE but for this."""
    return msgspec.structs.replace(QUEUE, name=QueueName(name), rev=Revision("0"), **settings)


async def furnish(store: Store, *queues: Queue) -> None:
    """Put people, schema and queues into an empty store."""
    await store.beat()
    await everyone(store)
    for person in PEOPLE:
        put = await store.put_principal(UPKEEP, Principal(agent=person.agent, grants=person.grants))
        assert put.rev == person.rev
    stored, _ = await store.put_schema(UPKEEP, "research", SCHEMA_HASH, SCHEMA)
    assert stored == StoredSchema(ref="research@1", hash=SCHEMA_HASH, content=SCHEMA)
    for queue in queues or (QUEUE,):
        new = msgspec.structs.replace(queue, rev=Revision("0"))
        assert (await store.put_queue(UPKEEP, new)).rev == queue.rev


async def live(store: Store, clock: Clock, ms: int) -> None:
    """Let time pass in which brokers are there: their heart beats. Without, time that passes is an outage."""
    end = clock.now_ms + ms
    while clock.now_ms < end:
        clock.advance(min(limits.OUTAGE_MS, end - clock.now_ms))
        await store.beat()


# ---- the verbs, in short ----------------------------------------------------------------------------------------

_unused_keys = itertools.count()


def key_or_new(key: str) -> str:
    """The request key; a new one where the test does not say any."""
    return key or f"made-{next(_unused_keys)}"


def work(
    by: Caller = ANN,
    *,
    queue: Queue = QUEUE,
    payload: bytes = b'{"topic":"owls"}',
    note: str = "",
    delay_ms: int = 0,
    key: str = "",
) -> NewHandoff:
    """A handoff as the broker would make it of what an agent brings; with the same key it has the same id."""
    derived = derived_id(by.agent, queue.name, key_or_new(key))
    return NewHandoff(
        id=derived,
        queue=queue.name,
        payload=payload,
        salt=str(derived),
        digest=digest_of(derived, payload),
        content=content_of(payload, note, delay_ms),
        note=note,
        delay_ms=delay_ms,
    )


def unknown_id(queue: Queue = QUEUE) -> HandoffId:
    return new_id(queue.name, b"unknown!!!")


async def drop_off(
    store: Store,
    by: Caller = ANN,
    *,
    queue: Queue = QUEUE,
    payload: bytes = b'{"topic":"owls"}',
    note: str = "",
    delay_ms: int = 0,
    key: str = "",
) -> DroppedOff:
    return await store.drop_off(
        by, queue, work(by, queue=queue, payload=payload, note=note, delay_ms=delay_ms, key=key)
    )


async def pick_up(
    store: Store, by: Caller = BOB, *, queue: Queue = QUEUE, key: str = "", accepts: Sequence[str] = ()
) -> PickedUp:
    """Pick up what must be there."""
    picked = await store.pick_up(by, queue, key_or_new(key), accepts)
    assert picked is not None, "nothing was waiting"
    return picked


async def extend(
    store: Store, lease: Lease, by: Caller = BOB, *, progress: str = "", checkpoint: bytes = b"", key: str = ""
) -> Extended:
    content = content_of(progress, checkpoint)
    return await store.extend(
        by, lease, progress=progress, checkpoint=checkpoint, request=key_or_new(key), content=content
    )


async def complete(
    store: Store, lease: Lease, by: Caller = BOB, *, result: bytes = b'{"found":3}', judged_by: str = ""
) -> Completed:
    return await store.complete(by, lease, result, judged_by)


async def hand_back(
    store: Store,
    lease: Lease,
    verb: Settling,
    by: Caller = BOB,
    *,
    reason: str = "",
    delay_ms: int | None = None,
    checkpoint: bytes = b"",
    key: str = "",
) -> HandedBack:
    return await store.hand_back(
        by,
        lease,
        verb,
        reason=reason,
        delay_ms=delay_ms,
        checkpoint=checkpoint,
        request=key_or_new(key),
        content=content_of(verb, reason, str(delay_ms), checkpoint),
    )


async def withdraw(
    store: Store, handoff_id: HandoffId, by: Caller = ANN, *, reason: str = "", may_operate: bool = False
) -> Withdrawn:
    return await store.withdraw(by, handoff_id, reason=reason, may_operate=may_operate)


async def state(store: Store, handoff_id: HandoffId) -> str:
    """Where the handoff is, as upkeep sees it."""
    return (await store.check(UPKEEP, handoff_id, may_inspect=True)).state


async def change(store: Store, who: Caller, standing: str, by: Caller = UPKEEP) -> Caller:
    """Freeze, revoke or thaw; returns the caller that the agent is from now on."""
    principal = await store.principal(who.agent, fresh=True)
    assert principal is not None
    put = await store.put_principal(by, msgspec.structs.replace(principal, standing=standing))
    return msgspec.structs.replace(who, rev=put.rev)


async def an_admin(store: Store, name: str) -> Caller:
    """One more, beside OPS, so that either may go."""
    put = await store.put_principal(UPKEEP, Principal(agent=AgentName(name), grants=(Grant("admin"),)))
    return Caller(agent=put.agent, rev=put.rev, grants=put.grants)


# ---- waiting ----------------------------------------------------------------------------------------------------


async def within(what: str, awaitable: Awaitable[T], limit_s: float = WAIT_S) -> T:
    try:
        return await asyncio.wait_for(awaitable, limit_s)
    except TimeoutError:
        pytest.fail(f"waited {limit_s:.0f} s for {what}")


async def until(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    """Return as soon as it holds, asked again every few milliseconds."""

    async def ask() -> None:
        while not await holds():
            await asyncio.sleep(0.005)

    await within(what, ask())


# ---- everybody at once, operators, what comes next --------------------------------------------------------------

EVERYBODY: Final = _agent(EVERYONE)  # `change` freezes and thaws it like any agent


async def judge(
    store: Store, handoff_id: HandoffId, verb: Judging, by: Caller = OPS, *, digest: str = "", reason: str = ""
) -> Judged:
    """Approve or deny; for the payload that is there, where the test does not say another."""
    seen = digest or (await store.check(UPKEEP, handoff_id, may_inspect=True)).digest
    return await store.judge(by, handoff_id, verb, digest=seen, reason=reason)


async def release(store: Store, lease: Lease, by: Caller = OPS, *, reason: str = "it hangs") -> Released:
    return await store.release(by, lease, reason=reason)


async def forward(
    store: Store,
    lease: Lease,
    by: Caller = BOB,
    *,
    queue: Queue,
    result: bytes = b'{"found":3}',
    payload: bytes = b'{"topic":"owls"}',
    note: str = "",
    judged_by: str = "",
) -> Completed:
    """Complete with what comes next, under the id that the broker derives from the lease."""
    return await store.forward(by, lease, result, queue, onward(by, lease, queue, payload, note), judged_by)


def onward(by: Caller, lease: Lease, queue: Queue, payload: bytes = b'{"topic":"owls"}', note: str = "") -> NewHandoff:
    """What comes next; that it goes into this queue is part of what is asked."""
    new = work(by, queue=queue, payload=payload, note=note, key=f"next\n{lease.id}")
    return msgspec.structs.replace(new, content=content_of(new.content, queue.name))
