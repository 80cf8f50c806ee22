"""What callers' steps are kept from: each guard of theirs is missed by a test here, if by none that tells a story."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest

from dropoff.core import lifecycle, limits
from dropoff.core.answers import PickedUp
from dropoff.core.caller import EVERYONE, Caller
from dropoff.core.handoff import HandoffId
from dropoff.core.lease import Lease
from dropoff.core.queue import Queue
from dropoff.core.store import Stale
from dropoff.errors import (
    AlreadySettled,
    ApprovalNeedsAnother,
    DigestDiffers,
    Frozen,
    HandoffMoved,
    HandoffUnknown,
    LeaseLost,
    LeaseUnknown,
    QueueDraining,
    QueueFull,
    QueueNotEmpty,
)
from dropoff.storage.scripts import script
from dropoff.storage.store import RedisStore
from tests.look import Look
from tests.world import (
    ANN,
    BOB,
    CAROL,
    LEASE_MS,
    OPS,
    QUEUE,
    UPKEEP,
    Clock,
    a_queue,
    an_admin,
    change,
    complete,
    drop_off,
    extend,
    hand_back,
    live,
    pick_up,
    state,
    unknown_id,
    withdraw,
    work,
)


async def nothing_done(look: Look, error: type[Exception], asked: Awaitable[object]) -> None:
    """It is refused like this, and nothing changed."""
    async with look.nothing_changes():
        with pytest.raises(error):
            await asked


async def holding(store: RedisStore, queue: Queue = QUEUE) -> PickedUp:
    await drop_off(store, queue=queue)
    return await pick_up(store, queue=queue)


async def held(store: RedisStore, by: Caller = ANN) -> tuple[HandoffId, str]:
    """A handoff that waits for a person, and the digest of its payload."""
    queue = await store.put_queue(UPKEEP, a_queue("held", approval=True))
    new = work(by, queue=queue)
    await store.drop_off(by, queue, new)
    return new.id, new.digest


# ---- the gate ---------------------------------------------------------------------------------------------------

Asking = Callable[[RedisStore, Caller, PickedUp, HandoffId], Awaitable[object]]
ASKED_FOR: dict[str, Asking] = {
    "forward": lambda store, by, picked, _: store.forward(by, picked.lease, b"{}", QUEUE, work(by)),
    "dropped_before": lambda store, by, *_: store.dropped_before(by, work().id, ""),
    "picked_before": lambda store, by, *_: store.picked_before(by, by.agent, "k"),
    "lease_ends": lambda store, by, picked, _: store.lease_ends(by, picked.lease),
    "check": lambda store, by, picked, _: store.check(by, picked.handoff.id, may_inspect=True),
    "judge": lambda store, by, _, id: store.judge(by, id, "deny", digest=work(key=id).digest, reason=""),
    "release": lambda store, by, picked, _: store.release(by, picked.lease, reason=""),
    "erase": lambda store, by, picked, _: store.erase(picked.handoff.id, by),
    "remove_queue": lambda store, by, *_: store.remove_queue(by, msgspec.structs.replace(QUEUE, rev="0")),
    "gate": lambda store, by, *_: store.gate(by, BOB.agent, "1" * 16, "revoked"),
    "put_queue": lambda store, by, *_: store.put_queue(by, a_queue("new")),
    "put_schema": lambda store, by, *_: store.put_schema(by, "new", "hash", b"{}"),
}


@pytest.mark.parametrize("verb", ASKED_FOR)
async def test_who_was_decided_upon_by_an_old_record_is_stopped(store: RedisStore, look: Look, verb: str):
    """Before the step has looked at anything: the answer is `stale`, and the broker decides anew."""
    picked = await holding(store)
    id, _ = await held(store)
    await nothing_done(look, Stale, ASKED_FOR[verb](store, msgspec.structs.replace(OPS, rev="1"), picked, id))


@pytest.mark.parametrize("verb", ASKED_FOR)
async def test_a_frozen_caller_is_stopped(store: RedisStore, look: Look, verb: str):
    picked = await holding(store)
    id, _ = await held(store)
    await an_admin(store, "deputy")
    frozen = await change(store, OPS, "frozen")

    await nothing_done(look, Frozen, ASKED_FOR[verb](store, frozen, picked, id))


async def test_a_freeze_of_everything_stops_agents_and_neither_reads_nor_operators(store: RedisStore, look: Look):
    """Operators must be able to look, to tidy and to thaw."""
    picked = await holding(store)
    await drop_off(store, key="ann's")
    await change(store, Caller(agent=EVERYONE, rev=QUEUE.rev), "frozen")

    await nothing_done(look, Frozen, drop_off(store))
    await nothing_done(look, Frozen, withdraw(store, work(key="ann's").id))
    assert await store.lease_ends(BOB, picked.lease)
    assert (await withdraw(store, work(key="ann's").id, OPS, may_operate=True)).state == "withdrawn"


async def test_an_arrow_that_is_not_in_the_table_is_not_taken(
    store: RedisStore, look: Look, monkeypatch: pytest.MonkeyPatch
):
    """Whatever a step asks for: it obeys the table, and writes nothing."""
    fewer = {**lifecycle.TRANSITIONS, "absent": {"drop_off": frozenset({"held"})}}
    script.cache_clear()
    monkeypatch.setattr(lifecycle, "TRANSITIONS", fewer)
    try:
        async with look.nothing_changes():
            with pytest.raises(Exception, match="no arrow: absent drop_off waiting"):
                await drop_off(store)
    finally:
        script.cache_clear()


# ---- new work ---------------------------------------------------------------------------------------------------


async def onward(store: RedisStore, lease: Lease, queue: Queue, by: Caller = BOB, result: bytes = b"{}"):
    return await store.forward(by, lease, result, queue, work(by, queue=queue, key="next"))


async def test_a_draining_queue_takes_nothing_new(store: RedisStore, look: Look):
    queue = await store.put_queue(UPKEEP, a_queue("other", state="draining", reason="tea"))

    await nothing_done(look, QueueDraining, drop_off(store, queue=queue))


async def test_a_full_queue_takes_nothing_new(store: RedisStore, look: Look):
    queue = await store.put_queue(UPKEEP, a_queue("other", waiting_max=1))
    await drop_off(store, queue=queue)

    await nothing_done(look, QueueFull, drop_off(store, queue=queue))


async def test_what_cannot_be_forwarded_leaves_the_lease_as_it_is(store: RedisStore, look: Look):
    """Both or neither; and the refusal says that it is about what comes next."""
    picked = await holding(store)
    queue = await store.put_queue(UPKEEP, a_queue("other", state="draining"))

    async with look.nothing_changes():
        with pytest.raises(QueueDraining) as refusal:
            await onward(store, picked.lease, queue)
        with pytest.raises(Stale):
            await onward(store, picked.lease, msgspec.structs.replace(queue, rev="1"))

    assert refusal.value.of_next
    assert await state(store, picked.handoff.id) == "leased"


async def test_forwarding_heard_twice_happens_once(store: RedisStore, look: Look):
    picked = await holding(store)
    first = await onward(store, picked.lease, QUEUE)

    async with look.nothing_changes():
        second = await onward(store, picked.lease, QUEUE)

    assert (second.repeated, second.next_id, second.receipt) == (True, first.next_id, first.receipt)


async def test_only_the_holder_forwards(store: RedisStore, look: Look):
    picked = await holding(store)
    await nothing_done(look, LeaseUnknown, onward(store, picked.lease, QUEUE, CAROL))
    await complete(store, picked.lease)
    await nothing_done(look, AlreadySettled, onward(store, picked.lease, QUEUE))


async def test_an_old_lease_of_one_s_own_is_lost_and_not_unknown(store: RedisStore, look: Look):
    """Also when the same agent, or another, has the handoff again."""
    picked = await holding(store)
    await hand_back(store, picked.lease, "release")
    await nothing_done(look, LeaseLost, store.lease_ends(BOB, picked.lease))
    await pick_up(store, CAROL)
    await nothing_done(look, LeaseLost, store.lease_ends(BOB, picked.lease))
    await nothing_done(look, LeaseUnknown, store.lease_ends(OPS, picked.lease))


# ---- pick_up ----------------------------------------------------------------------------------------------------


async def test_what_has_expired_is_not_given_out_and_holds_nothing_up(store: RedisStore, clock: Clock):
    """Upkeep ends it; whoever asks first gets what is behind it."""
    queue = await store.put_queue(UPKEEP, a_queue("other", expires_ms=60_000))
    await drop_off(store, queue=queue)
    clock.advance(60_000)
    assert await store.pick_up(BOB, queue, "k") is None
    fresh = await drop_off(store, queue=queue)

    assert (await pick_up(store, queue=queue)).handoff.id == fresh.receipt.handoff_id


async def test_a_picker_is_noted_now_and_then_only(store: RedisStore, look: Look, clock: Clock):
    """An empty queue must not fill the disk."""
    await store.pick_up(BOB, QUEUE, "a")
    clock.advance(limits.PICKER_NOTED_MS)
    async with look.nothing_changes():
        await store.pick_up(BOB, QUEUE, "b")
    clock.advance(1)
    await store.pick_up(BOB, QUEUE, "c")

    assert (await look.everything())[f"q:{QUEUE.name}:pickers"] == [("bob", clock())]


async def test_a_request_whose_lease_is_over_takes_new_work(store: RedisStore):
    await drop_off(store)
    first = await pick_up(store, key="k")
    await hand_back(store, first.lease, "release")

    again = await pick_up(store, key="k")

    assert (again.repeated, again.lease.fence > first.lease.fence) == (False, True)


# ---- judge and release ------------------------------------------------------------------------------------------


async def test_a_handoff_that_is_not_there_cannot_be_judged_or_released(store: RedisStore, look: Look):
    id = unknown_id()
    await nothing_done(look, HandoffUnknown, store.judge(OPS, id, "approve", digest="", reason=""))
    await nothing_done(look, HandoffUnknown, store.release(OPS, Lease(id, 1), reason=""))


async def test_who_dropped_it_off_cannot_approve_it(store: RedisStore, look: Look):
    id, digest = await held(store, OPS)
    await nothing_done(look, ApprovalNeedsAnother, store.judge(OPS, id, "approve", digest=digest, reason=""))


async def test_an_approval_is_for_the_payload_that_was_seen(store: RedisStore, look: Look):
    """Also when it was judged already: a repeated word about another payload is no repetition."""
    id, digest = await held(store)
    await nothing_done(look, DigestDiffers, store.judge(OPS, id, "approve", digest="other", reason=""))
    await store.judge(OPS, id, "approve", digest=digest, reason="")
    await nothing_done(look, DigestDiffers, store.judge(OPS, id, "approve", digest="other", reason=""))


async def test_what_was_judged_is_not_judged_again(store: RedisStore, look: Look):
    """The same word of the same operator is heard again; another word comes too late."""
    id, digest = await held(store)
    first = await store.judge(OPS, id, "deny", digest=digest, reason="no")
    async with look.nothing_changes():
        again = await store.judge(OPS, id, "deny", digest=digest, reason="no")

    assert (first.state, again.repeated, again.receipt) == ("rejected", True, first.receipt)
    assert (await store.check(ANN, id, may_inspect=False)).reason == "no"
    await nothing_done(look, HandoffMoved, store.judge(OPS, id, "approve", digest=digest, reason=""))


async def test_only_the_lease_that_was_seen_is_released(store: RedisStore, look: Look):
    """Who holds it under a newer one is not disturbed, also when the same call is heard again."""
    picked = await holding(store)
    await nothing_done(look, HandoffMoved, store.release(OPS, Lease(picked.handoff.id, 1), reason=""))
    first = await store.release(OPS, picked.lease, reason="hangs")
    await pick_up(store, CAROL)

    async with look.nothing_changes():
        again = await store.release(OPS, picked.lease, reason="hangs")

    assert (again.repeated, again.receipt) == (True, first.receipt)


async def test_what_is_handed_out_too_often_dies_and_says_why(store: RedisStore):
    """Released for ever it would go round for ever; nobody failed, so the cause is told instead of the reason."""
    queue = await store.put_queue(UPKEEP, a_queue("other", attempts_max=1))
    id = (await drop_off(store, queue=queue)).receipt.handoff_id
    for _ in range(limits.DELIVERIES_PER_ATTEMPT):
        picked = await pick_up(store, queue=queue)
        await store.release(OPS, picked.lease, reason="hangs")

    handoff = await store.check(UPKEEP, id, may_inspect=True)
    assert (handoff.state, handoff.failures, handoff.reason) == ("dead", 0, "handed out too often")


# ---- queues and agents ------------------------------------------------------------------------------------------


async def test_a_queue_with_anything_left_in_it_is_not_removed(store: RedisStore, look: Look):
    await drop_off(store)
    await nothing_done(look, QueueNotEmpty, store.remove_queue(OPS, QUEUE))


async def test_a_queue_that_has_changed_is_not_removed(store: RedisStore, look: Look):
    await nothing_done(look, Stale, store.remove_queue(OPS, msgspec.structs.replace(QUEUE, rev="1")))


async def test_a_queue_is_removed_once(store: RedisStore, look: Look):
    assert await store.remove_queue(OPS, QUEUE)
    async with look.nothing_changes():
        assert not await store.remove_queue(OPS, QUEUE)
    await nothing_done(look, Stale, store.pick_up(BOB, QUEUE, "k"))


async def test_settings_are_put_over_those_they_were_made_from(store: RedisStore, look: Look):
    old = msgspec.structs.replace(QUEUE, rev="1", state="paused")
    await nothing_done(look, Stale, store.put_queue(OPS, old))


async def test_the_gate_takes_only_a_higher_revision(store: RedisStore, look: Look):
    async with look.nothing_changes():
        assert await store.gate(OPS, BOB.agent, BOB.rev, "revoked") == "behind"
        assert await store.gate(OPS, BOB.agent, BOB.rev, "active") == "known"
        assert await store.gate(OPS, BOB.agent, "1", "revoked") == "known"


async def test_a_change_of_which_there_is_a_newer_one_is_not_called_done(store: RedisStore, look: Look):
    """Or who died with the newer one would leave it unfinished for ever."""
    await look.client.hset(store.keys.of("changing"), BOB.agent, "9" * 16)

    await store.enforce(BOB.agent)

    assert await store.changing() == (BOB.agent,)


async def test_extending_leaves_progress_and_checkpoint_that_are_not_given(store: RedisStore, clock: Clock):
    picked = await holding(store)
    await extend(store, picked.lease, progress="half", checkpoint=b"{}")
    await live(store, clock, LEASE_MS // 2)
    await extend(store, picked.lease)

    handoff = await store.check(BOB, picked.handoff.id, may_inspect=False)
    assert (handoff.progress, handoff.checkpoint) == ("half", b"{}")
