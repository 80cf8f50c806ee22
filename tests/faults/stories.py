"""For each step a story: how it comes to the step, in a situation that chance chooses, and the call that runs it.

A call can be made again and again, with the same request key where it has one. Some situations end in a refusal.
"""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

from dropoff.core import limits
from dropoff.core.answers import DroppedOff, PickedUp
from dropoff.core.caller import Caller, Revision
from dropoff.core.grant import Grant
from dropoff.core.handoff import content_of
from dropoff.core.lease import Lease
from dropoff.core.queue import Queue
from dropoff.core.rejections import Fault
from dropoff.core.store import Judging, Settling
from dropoff.storage.mending import Named
from tests import world
from tests.faults.twins import Asking, Twins
from tests.world import ANN, BOB, LEASE_MS, OPS, SCHEMA, SCHEMA_HASH, UPKEEP

Telling = Callable[[Twins, Random], Awaitable[Asking]]

SAME: Final = object()
LARGE: Final = b'{"text":"' + b"x" * 70_000 + b'"}'  # goes over the lane for large commands


class Story(NamedTuple):
    step: str
    telling: Telling
    heard_again: Any = SAME  # what a step answers that finds nothing to do any more; most answer what they answered
    whole: bool = True  # the call is one step; of several some may have happened

    @property
    def name(self) -> str:
        return self.telling.__name__


STORIES: Final[list[Story]] = []


def story(step: str, **more: Any) -> Callable[[Telling], Telling]:
    def note(telling: Telling) -> Telling:
        STORIES.append(Story(step, telling, **more))
        return telling

    return note


# ---- beginnings -------------------------------------------------------------------------------------------------


async def _dropped(t: Twins, queue: Queue, by: Caller = ANN, **more: Any) -> DroppedOff:
    new = world.work(by, queue=queue, key=t.new("key"), **more)
    return await t.tell(lambda store: store.drop_off(by, queue, new))


async def _picked(t: Twins, queue: Queue, by: Caller = BOB) -> PickedUp:
    key = t.new("key")
    return await t.tell(lambda store: store.pick_up(by, queue, key))


async def _leased(t: Twins, chance: Random, **settings: Any) -> Lease:
    """BOB holds what ANN has dropped off; now and then not for the first time, or ANN wants it back."""
    queue = await t.queue(**settings)
    await _dropped(t, queue)
    picked = await _picked(t, queue)
    if chance.random() < 0.3:
        await t.tell(lambda store: store.recall(picked.lease, "try again"))
        picked = await _picked(t, queue)
    if chance.random() < 0.2:
        await t.tell(lambda store: store.withdraw(ANN, picked.handoff.id, reason="", may_operate=False))
    return picked.lease


async def _maybe_lost(t: Twins, chance: Random, lease: Lease) -> None:
    if chance.random() < 0.15:
        await t.tell(lambda store: store.recall(lease, "gone"))


def _checkpoint(chance: Random) -> bytes:
    return chance.choice([b"", b'{"half":true}', LARGE])


# ---- what agents ask --------------------------------------------------------------------------------------------


@story("drop_off")
async def drop_off(t: Twins, chance: Random) -> Asking:
    state = chance.choice(["open", "open", "open", "paused", "draining"])
    queue = await t.queue(approval=chance.random() < 0.2, expires_ms=chance.choice([0, 0, 5_000]), state=state)
    for _ in range(chance.randrange(3)):
        if state != "draining":
            await _dropped(t, queue)
    new = world.work(
        queue=queue,
        payload=chance.choice([b"{}", b'{"topic":"owls"}', LARGE]),
        note=chance.choice(["", "a word"]),
        delay_ms=chance.choice([0, 0, 10_000]),
        key=t.new("key"),
    )
    return lambda store: store.drop_off(ANN, queue, new)


@story("pick_up")
async def pick_up(t: Twins, chance: Random) -> Asking:
    queue = await t.queue()
    for _ in range(chance.randrange(4)):
        await _dropped(t, queue, payload=chance.choice([b"{}", LARGE]))
    key = t.new("key")
    return lambda store: store.pick_up(BOB, queue, key)


@story("picked_before")
async def picked_before(t: Twins, chance: Random) -> Asking:
    queue, key = await t.queue(), t.new("key")
    await _dropped(t, queue, payload=chance.choice([b"{}", LARGE]))
    if chance.random() < 0.7:
        picked = await t.tell(lambda store: store.pick_up(BOB, queue, key))
        await _maybe_lost(t, chance, picked.lease)
    return lambda store: store.picked_before(BOB, BOB.agent, key)


@story("extend")
async def extend(t: Twins, chance: Random) -> Asking:
    lease = await _leased(t, chance)
    await t.time_passes(chance.randrange(1, 20_000))
    await _maybe_lost(t, chance, lease)
    key, checkpoint, progress = t.new("key"), _checkpoint(chance), chance.choice(["", "half"])
    content = content_of(progress, checkpoint)
    return lambda store: store.extend(
        BOB, lease, progress=progress, checkpoint=checkpoint, request=key, content=content
    )


@story("lease")
async def lease(t: Twins, chance: Random) -> Asking:
    held = await _leased(t, chance)
    await _maybe_lost(t, chance, held)
    return lambda store: store.lease_ends(BOB, held)


@story("lease")
async def completed_before(t: Twins, chance: Random) -> Asking:
    held = await _leased(t, chance)
    queue = await t.queue()
    new = world.onward(BOB, held, queue)
    if chance.random() < 0.7:
        await t.tell(lambda store: store.forward(BOB, held, b"{}", queue, new))
    content = content_of(b"{}", new.content)
    return lambda store: store.completed_before(BOB, held, content)


@story("dropped_before")
async def dropped_before(t: Twins, chance: Random) -> Asking:
    queue = await t.queue()
    new = world.work(ANN, queue=queue, key=t.new("key"))
    if chance.random() < 0.7:
        await t.tell(lambda store: store.drop_off(ANN, queue, new))
    content = chance.choice([new.content, new.content, "of other work"])
    return lambda store: store.dropped_before(ANN, new.id, content)


@story("complete")
async def complete(t: Twins, chance: Random) -> Asking:
    result_schema = chance.choice(["", "", SCHEMA_HASH])
    lease = await _leased(t, chance, result_schema_hash=result_schema)
    await _maybe_lost(t, chance, lease)
    result = chance.choice([b"{}", b'{"found":3}', LARGE])
    judged_by = chance.choice([result_schema, result_schema, result_schema, "of another"])
    return lambda store: store.complete(BOB, lease, result, judged_by)


@story("forward")
async def forward(t: Twins, chance: Random) -> Asking:
    result_schema = chance.choice(["", SCHEMA_HASH])
    lease = await _leased(t, chance, result_schema_hash=result_schema)
    await _maybe_lost(t, chance, lease)
    queue = await t.queue(approval=chance.random() < 0.2, state=chance.choice(["open", "open", "draining"]))
    onward = world.work(BOB, queue=queue, payload=chance.choice([b"{}", LARGE]), key=f"next\n{lease.id}")
    return lambda store: store.forward(BOB, lease, b"{}", queue, onward, result_schema)


@story("hand_back")
async def hand_back(t: Twins, chance: Random) -> Asking:
    lease = await _leased(t, chance, attempts_max=chance.choice([1, 3]))
    await _maybe_lost(t, chance, lease)
    verbs: list[Settling] = ["release", "retry", "reject"]
    key, verb, checkpoint = t.new("key"), chance.choice(verbs), _checkpoint(chance)
    delay_ms = chance.choice([None, 20_000]) if verb == "retry" else None
    return lambda store: store.hand_back(
        *(BOB, lease, verb),
        reason="it rains",
        delay_ms=delay_ms,
        checkpoint=checkpoint,
        request=key,
        content=content_of(verb, checkpoint),
    )


@story("withdraw")
async def withdraw(t: Twins, chance: Random) -> Asking:
    queue = await t.queue(approval=chance.random() < 0.2)
    dropped = await _dropped(t, queue, delay_ms=chance.choice([0, 0, 10_000]))
    if dropped.state == "waiting" and chance.random() < 0.6:
        lease = (await _picked(t, queue)).lease
        if chance.random() < 0.3:
            await t.tell(lambda store: store.complete(BOB, lease, b"{}"))
    by, may = chance.choice([(ANN, False), (OPS, True)])
    id = dropped.receipt.handoff_id
    return lambda store: store.withdraw(by, id, reason="no more", may_operate=may)


@story("check")
async def check(t: Twins, chance: Random) -> Asking:
    lease = await _leased(t, chance)
    who = chance.choice([ANN, BOB, OPS])
    return lambda store: store.check(who, lease.handoff_id, may_inspect=False)


# ---- what operators ask -----------------------------------------------------------------------------------------


@story("judge")
async def judge(t: Twins, chance: Random) -> Asking:
    queue = await t.queue(approval=True)
    new = world.work(queue=queue, delay_ms=chance.choice([0, 10_000]), key=t.new("key"))
    await t.tell(lambda store: store.drop_off(ANN, queue, new))
    verbs: list[Judging] = ["approve", "deny"]
    verb = chance.choice(verbs)
    digest = new.digest if chance.random() < 0.85 else "0" * 64
    return lambda store: store.judge(OPS, new.id, verb, digest=digest, reason="seen")


@story("release")
async def release(t: Twins, chance: Random) -> Asking:
    lease = await _leased(t, chance)
    await _maybe_lost(t, chance, lease)
    return lambda store: store.release(OPS, lease, reason="it hangs")


@story("put_principal", whole=False)
async def put_principal(t: Twins, chance: Random) -> Asking:
    agent = await t.agent(Grant(chance.choice(["drop", "admin"])))
    bearers = (t.new("bearer-"),) if chance.random() < 0.5 else ()
    standing = chance.choice(["active", "frozen", "revoked"])
    changed = msgspec.structs.replace(
        await t.principal(agent), standing=standing, reason="so it is", bearers=bearers, grants=()
    )
    if chance.random() < 0.2:
        changed = msgspec.structs.replace(changed, rev=Revision("1"))
    return lambda store: store.put_principal(OPS, changed)


@story("gate", whole=False)
async def the_gate_of_a_changed_agent(t: Twins, chance: Random) -> Asking:
    agent = await t.agent(Grant("pick"))
    changed = msgspec.structs.replace(await t.principal(agent), standing=chance.choice(["frozen", "revoked"]))
    return lambda store: store.put_principal(OPS, changed)


@story("changed", whole=False)
async def the_end_of_a_change(t: Twins, chance: Random) -> Asking:
    return await the_gate_of_a_changed_agent(t, chance)


@story("gate", heard_again="known")
async def gate(t: Twins, chance: Random) -> Asking:
    agent = await t.agent(Grant("pick"))
    queue = await t.queue()
    await _dropped(t, queue)
    await _picked(t, queue, agent)
    rev = str(int(agent.rev) + chance.randrange(2))
    standing = chance.choice(["frozen", "revoked"])
    return lambda store: store.gate(OPS, agent.agent, rev, standing, "so it is")


@story("put_queue")
async def a_new_queue(t: Twins, chance: Random) -> Asking:
    new = world.a_queue(t.new("queue"), approval=chance.random() < 0.5)
    if chance.random() < 0.2:
        await t.tell(lambda store: store.put_queue(OPS, msgspec.structs.replace(new, purpose="another")))
    return lambda store: store.put_queue(OPS, new)


@story("put_queue")
async def an_edited_queue(t: Twins, chance: Random) -> Asking:
    queue = await t.queue()
    edited = msgspec.structs.replace(queue, state=chance.choice(["paused", "draining"]), reason="so it is")
    if chance.random() < 0.2:
        await t.tell(lambda store: store.put_queue(OPS, msgspec.structs.replace(queue, purpose="another")))
    return lambda store: store.put_queue(OPS, edited)


@story("put_schema")
async def put_schema(t: Twins, chance: Random) -> Asking:
    name = t.new("schema")
    if chance.random() < 0.5:
        await t.tell(lambda store: store.put_schema(UPKEEP, name, "0" * 64, b"{}"))

    async def put(store: Any) -> Any:
        return (await store.put_schema(OPS, name, SCHEMA_HASH, SCHEMA))[0]

    return put


@story("remove_queue", heard_again=False)
async def remove_queue(t: Twins, chance: Random) -> Asking:
    queue = await t.queue()
    if chance.random() < 0.3:
        await _dropped(t, queue)
    return lambda store: store.remove_queue(OPS, queue)


# ---- what the clock starts --------------------------------------------------------------------------------------


@story("lapse", heard_again=None)
async def lapse(t: Twins, chance: Random) -> Asking:
    lease = await _leased(t, chance, attempts_max=chance.choice([1, 3]))
    if chance.random() < 0.3:
        t.clock.advance(LEASE_MS + 1)  # an outage
        await t.tell(lambda store: store.beat())
    else:
        await t.time_passes(LEASE_MS + 1)
    return lambda store: store.lapse(lease.handoff_id)


@story("due", heard_again=None)
async def due(t: Twins, chance: Random) -> Asking:
    dropped = await _dropped(t, await t.queue(), delay_ms=10_000)
    await t.time_passes(chance.choice([5_000, 10_000, 10_000]))
    return lambda store: store.due(dropped.receipt.handoff_id)


@story("expire", heard_again=None)
async def expire(t: Twins, chance: Random) -> Asking:
    queue = await t.queue(expires_ms=10_000, approval=chance.random() < 0.3)
    dropped = await _dropped(t, queue, delay_ms=chance.choice([0, 20_000]))
    await t.time_passes(chance.choice([5_000, 10_000, 10_000]))
    return lambda store: store.expire(dropped.receipt.handoff_id)


@story("erase", heard_again=None)
async def erase(t: Twins, chance: Random) -> Asking:
    lease = await _leased(t, chance, retention_ms=limits.RETENTION_MS_MIN)
    await t.tell(lambda store: store.complete(BOB, lease, b"{}"))
    await t.time_passes(chance.choice([1_000, limits.RETENTION_MS_MIN, limits.RETENTION_MS_MIN]))
    by = chance.choice([None, OPS])
    return lambda store: store.erase(lease.handoff_id, by)


@story("recall", heard_again=None)
async def recall(t: Twins, chance: Random) -> Asking:
    lease = await _leased(t, chance)
    await _maybe_lost(t, chance, lease)
    return lambda store: store.recall(lease, "the client left")


@story("revoked")
async def revoked(t: Twins, chance: Random) -> Asking:
    agent = await t.agent(Grant("pick"))
    queue = await t.queue()
    await _dropped(t, queue)
    picked = await _picked(t, queue, agent)
    if chance.random() < 0.5:
        await t.tell(lambda store: store.complete(agent, picked.lease, b"{}"))
    now = msgspec.structs.replace(await t.principal(agent), standing="revoked")
    await t.tell(lambda store: store.put_principal(UPKEEP, now))
    return lambda store: store.revoked(10)


@story("overdue")
async def overdue(t: Twins, chance: Random) -> Asking:
    lease = await _leased(t, chance)
    await t.time_passes(chance.choice([1_000, LEASE_MS]))
    return lambda store: store.overdue(lease.queue, 10)


@story("beat")
async def beat(t: Twins, chance: Random) -> Asking:
    t.clock.advance(chance.choice([1, limits.BEAT_MS, limits.OUTAGE_MS + 1]))
    return lambda store: store.beat()


@story("count_rejections")
async def count_rejections(t: Twins, chance: Random) -> Asking:
    queue, request = await t.queue(), t.new("request-")
    counts = {Fault("missing", f"/properties/{name}"): chance.randrange(1, 9) for name in "ab"}
    if chance.random() < 0.5:
        await t.tell(lambda store: store.count_rejections(queue.name, queue.schema, counts, t.busy.name))
    return lambda store: store.count_rejections(queue.name, queue.schema, counts, request)


@story("mend", heard_again=False)
async def mend(t: Twins, chance: Random) -> Asking:
    lease = await _leased(t, chance)
    lost = chance.choice(["leases", "holds"])
    part = {"agent": BOB.agent} if lost == "holds" else {"queue": lease.queue}
    if chance.random() < 0.8:
        await t.damaged(lambda look: look.client.zrem(look.keys.of(lost, **part), lease.handoff_id))
    return lambda store: store._mend_one(Named(lease.handoff_id))  # pyright: ignore[reportPrivateUsage]


@story("prove")
async def prove(t: Twins, chance: Random) -> Asking:
    return lambda store: store._prove_rights()  # pyright: ignore[reportPrivateUsage]
