"""For every step the worlds in which it has something to do, each arranged through the real store.

A scene arranges what the step needs and gives back the call that takes it. `entries` are the ledger's words for what
then happens; `quiet` names the kinds of keys that the step may change without an entry, and why that is harmless.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from dropoff.core import limits
from dropoff.core.answers import PickedUp
from dropoff.core.caller import Caller, Principal
from dropoff.core.grant import Grant
from dropoff.core.handoff import AgentName, HandoffId, content_of
from dropoff.core.queue import Queue
from dropoff.core.rejections import Fault
from dropoff.storage.mending import Named
from dropoff.storage.store import RedisStore
from tests.look import Look
from tests.world import (
    ANN,
    BOB,
    LEASE_MS,
    OPS,
    QUEUE,
    UPKEEP,
    Clock,
    a_queue,
    change,
    complete,
    drop_off,
    extend,
    hand_back,
    live,
    onward,
    pick_up,
    withdraw,
    work,
)

Act = Callable[[], Awaitable[Any]]


@dataclass
class World:
    store: RedisStore
    look: Look
    clock: Clock

    async def dropped(self, queue: Queue = QUEUE, **how: Any) -> HandoffId:
        return (await drop_off(self.store, queue=queue, key="arranged", **how)).receipt.handoff_id

    async def picked(self, queue: Queue = QUEUE) -> PickedUp:
        await self.dropped(queue)
        return await pick_up(self.store, BOB, queue=queue, key="arranged")

    async def queue(self, **settings: Any) -> Queue:
        return await self.store.put_queue(UPKEEP, a_queue("other", **settings))

    async def lived(self, ms: int) -> None:
        await live(self.store, self.clock, ms)

    async def only_the_record(self, principal: Principal) -> Principal:
        """The record is written, and who wrote it dies before the gate knows."""
        opened = self.store._opened
        self.store._opened = _died  # pyright: ignore[reportAttributeAccessIssue]
        try:
            return await self.store.put_principal(OPS, principal)
        finally:
            self.store._opened = opened


async def _died(by: Caller, principal: Principal) -> Principal:
    return principal


@dataclass(frozen=True)
class Scene:
    step: str
    arrange: Callable[[World], Awaitable[Act]]
    entries: tuple[str, ...]
    quiet: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.arrange.__name__


SCENES: Final[list[Scene]] = []


def scene(step: str, *entries: str, **quiet: str):
    def listed(arrange: Callable[[World], Awaitable[Act]]) -> Callable[[World], Awaitable[Act]]:
        SCENES.append(Scene(step, arrange, entries, quiet))
        return arrange

    return listed


# ---- agents -----------------------------------------------------------------------------------------------------


@scene("drop_off", "drop_off")
async def drop_off_into_the_stream(w: World) -> Act:
    return lambda: drop_off(w.store, key="new")


@scene("drop_off", "drop_off")
async def drop_off_for_later(w: World) -> Act:
    return lambda: drop_off(w.store, key="new", delay_ms=5_000)


@scene("drop_off", "drop_off")
async def drop_off_to_be_held_and_to_expire(w: World) -> Act:
    queue = await w.queue(approval=True, expires_ms=60_000)
    return lambda: drop_off(w.store, queue=queue, key="new")


@scene("drop_off")
async def drop_off_heard_again(w: World) -> Act:
    await w.dropped()
    return lambda: drop_off(w.store, key="arranged")


SEEN = "who asked for work, and when: a note for people"
OVER = "a version of which nothing waits is taken out"
TIDIED = "an entry that no record knows is taken out"


@scene("pick_up", "pick_up", pickers=SEEN, ready=TIDIED, versions=OVER)
async def pick_up_the_oldest(w: World) -> Act:
    await w.dropped()
    return lambda: w.store.pick_up(BOB, QUEUE, "new")


@scene(
    "pick_up",
    pickers=SEEN,
    versions=OVER,
    ready=OVER,
    pick="that it was asked for again, so that nobody takes the lease back unheard",
)
async def pick_up_heard_again(w: World) -> Act:
    await w.picked()
    return lambda: w.store.pick_up(BOB, QUEUE, "arranged")


@scene("picked_before", pick="that it was asked for again, as `pick_up` notes it")
async def picked_up_before(w: World) -> Act:
    await w.picked()
    return lambda: w.store.picked_before(BOB, BOB.agent, "arranged")


@scene("pick_up", pickers=SEEN, versions=OVER, ready=OVER)
async def pick_up_of_nothing(w: World) -> Act:
    return lambda: w.store.pick_up(BOB, QUEUE, "new")


@scene("pick_up", "pick_up", pickers=SEEN, ready=TIDIED, versions=OVER)
async def pick_up_past_an_unknown_entry(w: World) -> Act:
    stream = w.store.keys.of("ready", queue=QUEUE.name, version=QUEUE.version)
    await w.look.client.xadd(stream, {"id": work(key="nobody's").id})
    await w.dropped()
    return lambda: w.store.pick_up(BOB, QUEUE, "new")


@scene("extend", "extend")
async def extend_with_all(w: World) -> Act:
    picked = await w.picked()
    await w.lived(1_000)
    return lambda: extend(w.store, picked.lease, progress="half", checkpoint=b"{}", key="new")


@scene("complete", "complete")
async def complete_it(w: World) -> Act:
    picked = await w.picked()
    return lambda: complete(w.store, picked.lease)


@scene("complete", "complete")
async def complete_what_was_judged(w: World) -> Act:
    queue = await w.queue(result_schema=QUEUE.schema, result_schema_hash=QUEUE.schema_hash)
    picked = await w.picked(queue)
    return lambda: complete(w.store, picked.lease, judged_by=QUEUE.schema_hash)


@scene("forward", "complete", "drop_off")
async def forward_to_another_queue(w: World) -> Act:
    picked, queue = await w.picked(), await w.queue(expires_ms=60_000)
    return lambda: w.store.forward(BOB, picked.lease, b"{}", queue, work(BOB, queue=queue, key="next"))


@scene("forward", "complete", "drop_off")
async def forward_to_the_same_queue(w: World) -> Act:
    picked = await w.picked()
    return lambda: w.store.forward(BOB, picked.lease, b"{}", QUEUE, work(BOB, key="next"))


@scene("hand_back", "release")
async def hand_back_unwanted(w: World) -> Act:
    picked = await w.picked()
    return lambda: hand_back(w.store, picked.lease, "release", checkpoint=b"{}", key="new")


@scene("hand_back", "retry")
async def hand_back_for_later(w: World) -> Act:
    picked = await w.picked()
    return lambda: hand_back(w.store, picked.lease, "retry", key="new")


@scene("hand_back", "reject")
async def hand_back_as_impossible(w: World) -> Act:
    picked = await w.picked()
    return lambda: hand_back(w.store, picked.lease, "reject", reason="no", key="new")


@scene("withdraw", "withdraw")
async def withdraw_what_waits(w: World) -> Act:
    id = await w.dropped()
    return lambda: withdraw(w.store, id)


@scene("withdraw", "withdraw")
async def withdraw_what_is_leased(w: World) -> Act:
    picked = await w.picked()
    return lambda: withdraw(w.store, picked.handoff.id)


@scene("check")
async def check_it(w: World) -> Act:
    id = await w.dropped()
    return lambda: w.store.check(ANN, id, may_inspect=False)


@scene("lease")
async def lease_ends(w: World) -> Act:
    picked = await w.picked()
    return lambda: w.store.lease_ends(BOB, picked.lease)


@scene("lease")
async def completed_just_so(w: World) -> Act:
    picked = await w.picked()
    new = onward(BOB, picked.lease, QUEUE)
    await w.store.forward(BOB, picked.lease, b"{}", QUEUE, new)
    return lambda: w.store.completed_before(BOB, picked.lease, content_of(b"{}", new.content))


@scene("dropped_before")
async def dropped_off_before(w: World) -> Act:
    new = work(key="arranged")
    await w.store.drop_off(ANN, QUEUE, new)
    return lambda: w.store.dropped_before(ANN, new.id, new.content)


# ---- operators --------------------------------------------------------------------------------------------------


def _judging(verb: Any, delay_ms: int = 0) -> Callable[[World], Awaitable[Act]]:
    async def arrange(w: World) -> Act:
        queue = await w.queue(approval=True, expires_ms=60_000)
        dropped = await drop_off(w.store, queue=queue, key="arranged", delay_ms=delay_ms)
        digest = work(queue=queue, key="arranged").digest
        return lambda: w.store.judge(OPS, dropped.receipt.handoff_id, verb, digest=digest, reason="seen")

    arrange.__name__ = f"{verb}_what_is_held{'_for_later' if delay_ms else ''}"
    return arrange


scene("judge", "approve")(_judging("approve"))
scene("judge", "approve")(_judging("approve", 5_000))
scene("judge", "deny")(_judging("deny"))


@scene("release", "release")
async def release_from_a_holder(w: World) -> Act:
    picked = await w.picked()
    return lambda: w.store.release(OPS, picked.lease, reason="it hangs")


NEW: Final = Principal(agent=AgentName("new"), bearers=("hash-1",))


@scene("put_principal", "put_principal")
async def put_a_new_principal(w: World) -> Act:
    return lambda: w.only_the_record(NEW)


@scene("put_principal", "put_principal")
async def put_a_principal_with_other_bearers(w: World) -> Act:
    put = await w.store.put_principal(OPS, NEW)
    w.clock.advance(1)
    return lambda: w.only_the_record(msgspec.structs.replace(put, bearers=("hash-2",)))


@scene("put_principal", "put_principal")
async def put_a_principal_that_is_an_admin_no_more(w: World) -> Act:
    put = await w.store.put_principal(OPS, msgspec.structs.replace(NEW, grants=(Grant("admin"),)))
    w.clock.advance(1)
    return lambda: w.only_the_record(msgspec.structs.replace(put, standing="frozen"))


@scene("gate", "gate")
async def gate_revokes_a_holder(w: World) -> Act:
    await w.picked()
    return lambda: w.store.gate(OPS, BOB.agent, str(w.clock() + 100), "revoked", "gone")


@scene("gate", "gate")
async def gate_thaws(w: World) -> Act:
    await change(w.store, BOB, "frozen")
    return lambda: w.store.gate(OPS, BOB.agent, str(w.clock() + 100), "active")


@scene("gate", "gate")
async def gate_opens_for_who_was_to_be_recalled(w: World) -> Act:
    await w.picked()
    await change(w.store, BOB, "revoked")
    return lambda: w.store.gate(OPS, BOB.agent, str(w.clock() + 100), "active")


@scene("changed", changing="the change is in force: nobody has to finish it", gate="what was lost is said again")
async def changed_everywhere(w: World) -> Act:
    put = await w.only_the_record(NEW)
    await w.store.gate(OPS, put.agent, put.rev, put.standing)
    return lambda: w.store.enforce(put.agent)


@scene("put_queue", "put_queue")
async def put_a_new_queue(w: World) -> Act:
    return lambda: w.store.put_queue(OPS, a_queue("new"))


@scene("put_queue", "put_queue")
async def put_a_queue_with_other_settings(w: World) -> Act:
    w.clock.advance(1)
    return lambda: w.store.put_queue(OPS, msgspec.structs.replace(QUEUE, state="paused", reason="tea"))


@scene("remove_queue", "remove_queue")
async def drop_an_empty_queue(w: World) -> Act:
    queue = await w.queue()
    return lambda: w.store.remove_queue(OPS, queue)


@scene("put_schema", "put_schema")
async def put_a_new_schema(w: World) -> Act:
    return lambda: w.store.put_schema(OPS, "new", "hash", b"{}")


@scene("put_schema", schema="content that was lost is put back under its hash")
async def put_a_known_schema(w: World) -> Act:
    return lambda: w.store.put_schema(OPS, "research", QUEUE.schema_hash, b'{"type":"object"}')


# ---- upkeep -----------------------------------------------------------------------------------------------------


@scene("lapse", "lapse")
async def lapse_into_the_stream(w: World) -> Act:
    picked = await w.picked()
    await w.lived(LEASE_MS)
    return lambda: w.store.lapse(picked.handoff.id)


@scene("lapse", "lapse")
async def lapse_to_death(w: World) -> Act:
    picked = await w.picked(await w.queue(attempts_max=1, expires_ms=limits.EXPIRES_MS_MAX))
    await w.lived(LEASE_MS)
    return lambda: w.store.lapse(picked.handoff.id)


@scene("lapse", "lapse")
async def lapse_to_withdrawal(w: World) -> Act:
    picked = await w.picked()
    await withdraw(w.store, picked.handoff.id)
    await w.lived(LEASE_MS)
    return lambda: w.store.lapse(picked.handoff.id)


@scene("lapse", "postpone")
async def lapse_after_an_outage(w: World) -> Act:
    picked = await w.picked()
    w.clock.advance(LEASE_MS)
    await w.store.beat()
    return lambda: w.store.lapse(picked.handoff.id)


@scene("lapse", "recall")
async def lapse_of_a_revoked_holder(w: World) -> Act:
    picked = await w.picked()
    await change(w.store, BOB, "revoked")
    await w.lived(LEASE_MS)
    return lambda: w.store.lapse(picked.handoff.id)


@scene("due", "due")
async def due_into_the_stream(w: World) -> Act:
    id = await w.dropped(delay_ms=1_000)
    await w.lived(1_000)
    return lambda: w.store.due(id)


def _expiring(state: str, **settings: Any) -> Callable[[World], Awaitable[Act]]:
    async def arrange(w: World) -> Act:
        queue = await w.queue(expires_ms=1_000, **settings)
        id = await w.dropped(queue, delay_ms=5_000 if state == "scheduled" else 0)
        await w.lived(1_000)
        return lambda: w.store.expire(id)

    arrange.__name__ = f"expire_while_{state}"
    return arrange


scene("expire", "expire")(_expiring("waiting"))
scene("expire", "expire")(_expiring("scheduled"))
scene("expire", "expire")(_expiring("held", approval=True))


@scene("erase", "erased")
async def erase_what_ended_long_ago(w: World) -> Act:
    queue = await w.queue(retention_ms=60_000)
    picked = await w.picked(queue)
    await complete(w.store, picked.lease)
    await w.lived(60_000)
    return lambda: w.store.erase(picked.handoff.id)


@scene("recall", "recall")
async def recall_a_lease(w: World) -> Act:
    picked = await w.picked()
    return lambda: w.store.recall(picked.lease, "its client left")


@scene("revoked", recalls="who holds nothing any more is struck from the list")
async def revoked_leases(w: World) -> Act:
    await w.picked()
    await drop_off(w.store, BOB, key="ann's")
    ann = await pick_up(w.store, ANN, key="ann's")
    await change(w.store, ANN, "revoked")  # first in the list, so that it is struck before BOB's leases are looked for
    await change(w.store, BOB, "revoked")
    await w.store.recall(ann.lease, "the holder is revoked")
    return lambda: w.store.revoked(10)


@scene("overdue")
async def overdue_work(w: World) -> Act:
    await w.picked()
    await w.lived(LEASE_MS)
    return lambda: w.store.overdue(QUEUE.name, 10)


@scene("beat", beat="that somebody was there", format="written where it is not there")
async def beat_once_more(w: World) -> Act:
    w.clock.advance(1_000)
    return w.store.beat


COUNTED = "what was rejected is no step of anybody's"


@scene("count_rejections", rejected=COUNTED)
async def count_the_first_rejections(w: World) -> Act:
    return lambda: w.store.count_rejections(QUEUE.name, QUEUE.schema, {Fault("type", "/properties/a"): 2}, "new")


@scene("count_rejections", rejected=COUNTED)
async def count_rejections_of_one_version_too_many(w: World) -> Act:
    for version in range(limits.REJECTED_SCHEMAS_KEPT):
        await w.store.count_rejections(QUEUE.name, f"research@{version + 1}", {Fault("type"): 1}, f"arranged-{version}")
        w.clock.advance(1_000)
    return lambda: w.store.count_rejections(QUEUE.name, "research@9", {Fault("type"): 1, Fault("other"): 1}, "new")


PUT_BACK = dict.fromkeys(
    ("ready", "versions", "leases", "holds", "handoff"), "the record is the truth, and its indexes follow"
)


@scene("mend", **PUT_BACK)
async def mend_a_lost_stream(w: World) -> Act:
    id = await w.dropped()
    await w.look.client.delete(w.store.keys.of("ready", queue=QUEUE.name, version=QUEUE.version))
    await w.look.client.delete(w.store.keys.of("versions", queue=QUEUE.name))
    return lambda: w.store._mend_one(Named(id))


@scene("mend", **PUT_BACK)
async def mend_lost_leases(w: World) -> Act:
    picked = await w.picked()
    await w.look.client.delete(w.store.keys.of("leases", queue=QUEUE.name))
    await w.look.client.delete(w.store.keys.of("holds", agent=BOB.agent))
    return lambda: w.store._mend_one(Named(picked.handoff.id))


@scene("mend", **PUT_BACK)
async def mend_what_no_record_knows(w: World) -> Act:
    picked = await w.picked()
    stream = w.store.keys.of("ready", queue=QUEUE.name, version=QUEUE.version)
    entry = await w.look.client.xadd(stream, {"id": picked.handoff.id})
    await w.look.client.delete(w.store.keys.of("handoff", queue=QUEUE.name, id=picked.handoff.id))
    named = Named(picked.handoff.id, agent=BOB.agent, version=QUEUE.version, entry=str(entry))
    return lambda: w.store._mend_one(named)
