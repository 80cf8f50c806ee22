"""Approval: what a queue holds, until somebody else than its sender has looked at just this payload."""

import asyncio

import pytest

from dropoff.core.answers import DroppedOff
from dropoff.core.caller import Caller
from dropoff.core.handoff import HandoffId
from dropoff.core.lease import Lease
from dropoff.core.lifecycle import HELD, REJECTED, SCHEDULED, WAITING, WITHDRAWN
from dropoff.core.queue import Queue
from dropoff.core.store import Judging
from dropoff.errors import ApprovalNeedsAnother, DigestDiffers, HandoffMoved, HandoffUnknown, LeaseUnknown, QueueFull
from dropoff.storage.store import RedisStore
from tests.look import Look, check_indexes
from tests.world import (
    ANN,
    BOB,
    CAROL,
    OPS,
    UPKEEP,
    Clock,
    a_queue,
    complete,
    drop_off,
    forward,
    hand_back,
    judge,
    live,
    pick_up,
    state,
    unknown_id,
    withdraw,
    within,
)

either = pytest.mark.parametrize("verb", ["approve", "deny"])


@pytest.fixture
async def approved(store: RedisStore) -> Queue:
    """A queue that wants approval."""
    return await store.put_queue(UPKEEP, a_queue("approved", approval=True))


@pytest.fixture
async def held(store: RedisStore, approved: Queue) -> DroppedOff:
    """ANN has dropped it off, nobody has looked at it."""
    return await drop_off(store, queue=approved)


@pytest.fixture
def held_id(held: DroppedOff) -> HandoffId:
    return held.receipt.handoff_id


# ---- held -------------------------------------------------------------------------------------------------------


async def test_what_is_held_is_given_to_nobody(store: RedisStore, approved: Queue, held: DroppedOff, look: Look):
    """It stands in a line of its own, and its sender is told."""
    assert held.state == HELD
    assert await store.pick_up(BOB, approved, "k") is None

    check_indexes(await look.everything(), approved.name)
    assert [one.id for one in await store.handoffs(approved.name, HELD, 10)] == [held.receipt.handoff_id]
    assert (await store.figures([approved.name]))[approved.name].held == 1


async def test_what_is_held_has_no_holder(store: RedisStore, held_id: HandoffId, look: Look):
    """Whatever fence somebody makes up."""
    async with look.nothing_changes():
        for by in (ANN, BOB, OPS):
            with pytest.raises(LeaseUnknown):
                await complete(store, Lease(held_id, 0), by)
            with pytest.raises(LeaseUnknown):
                await hand_back(store, Lease(held_id, 0), "release", by)


async def test_what_is_held_counts_against_the_queue_s_limit(store: RedisStore, look: Look):
    """Or an approval that nobody gives would fill the store."""
    narrow = await store.put_queue(UPKEEP, a_queue("narrow", approval=True, waiting_max=1))
    await drop_off(store, queue=narrow)

    async with look.nothing_changes():
        with pytest.raises(QueueFull):
            await drop_off(store, queue=narrow)


async def test_a_sender_may_take_back_what_is_held(store: RedisStore, held_id: HandoffId, look: Look):
    """Then nobody can approve it any more."""
    assert (await withdraw(store, held_id)).state == WITHDRAWN

    async with look.nothing_changes():
        with pytest.raises(HandoffMoved):
            await judge(store, held_id, "approve")


async def test_what_comes_next_is_held_too(store: RedisStore, approved: Queue):
    """A completion is no way around."""
    await drop_off(store)
    done = await forward(store, (await pick_up(store)).lease, queue=approved)

    assert await state(store, HandoffId(done.next_id)) == HELD


# ---- approve, deny ----------------------------------------------------------------------------------------------


async def test_what_is_approved_waits_and_is_picked_up(
    store: RedisStore, approved: Queue, held_id: HandoffId, look: Look
):
    """Nothing of it is changed on the way, and the entry says who, and why."""
    judged = await judge(store, held_id, "approve", reason="looks right")

    assert (judged.state, judged.repeated) == (WAITING, False)
    check_indexes(await look.everything(), approved.name)
    assert (await pick_up(store, queue=approved)).handoff.payload == b'{"topic":"owls"}'
    entry = (await store.entries(handoff_id=held_id))[1]
    assert (entry.step, entry.from_, entry.to) == ("approve", HELD, WAITING)
    assert (entry.actor, entry.reason, entry.id) == (OPS.agent, "looks right", judged.receipt.entry)


async def test_what_is_denied_is_rejected_and_tells_the_sender_why(store: RedisStore, held_id: HandoffId):
    judged = await judge(store, held_id, "deny", reason="not for us")

    kept = await store.check(ANN, held_id, may_inspect=False)
    assert judged.state == kept.state == REJECTED
    assert kept.reason == "not for us"


async def test_a_delay_still_holds_after_the_approval(store: RedisStore, approved: Queue, clock: Clock):
    """Nobody gets it before the time that its sender said, however early it is approved."""
    dropped = await drop_off(store, queue=approved, delay_ms=5_000)
    assert dropped.state == HELD
    await live(store, clock, 4_999)

    judged = await judge(store, dropped.receipt.handoff_id, "approve")

    assert judged.state == SCHEDULED
    assert await store.pick_up(BOB, approved, "k") is None
    await live(store, clock, 1)
    assert await store.due(dropped.receipt.handoff_id)
    assert (await pick_up(store, queue=approved)).handoff.id == dropped.receipt.handoff_id


async def test_a_delay_that_is_over_at_the_approval_delays_no_more(store: RedisStore, approved: Queue, clock: Clock):
    dropped = await drop_off(store, queue=approved, delay_ms=5_000)
    await live(store, clock, 5_000)

    assert (await judge(store, dropped.receipt.handoff_id, "approve")).state == WAITING


async def test_a_delay_does_not_let_anything_out_by_itself(
    store: RedisStore, approved: Queue, look: Look, clock: Clock
):
    """Due is only what was approved."""
    id = (await drop_off(store, queue=approved, delay_ms=5_000)).receipt.handoff_id
    await live(store, clock, 5_000)

    async with look.nothing_changes():
        assert await store.due(id) is None


# ---- who, and of what -------------------------------------------------------------------------------------------


@either
async def test_nobody_judges_its_own(store: RedisStore, approved: Queue, look: Look, verb: Judging):
    """Whatever its grants: two principals have seen what goes out."""
    id = (await drop_off(store, OPS, queue=approved)).receipt.handoff_id

    async with look.nothing_changes():
        with pytest.raises(ApprovalNeedsAnother):
            await judge(store, id, verb, OPS)

    await judge(store, id, verb, CAROL)


@either
async def test_a_judgement_is_bound_to_the_payload_that_was_seen(
    store: RedisStore, approved: Queue, held_id: HandoffId, look: Look, verb: Judging
):
    """Not to an id under which there may be something else by now."""
    other = (await drop_off(store, queue=approved)).receipt.handoff_id
    seen = (await store.check(UPKEEP, other, may_inspect=True)).digest

    async with look.nothing_changes():
        with pytest.raises(DigestDiffers) as refusal:
            await judge(store, held_id, verb, digest=seen)

    assert refusal.value.digest == (await store.check(UPKEEP, held_id, may_inspect=True)).digest


@either
async def test_no_payload_in_particular_is_none(store: RedisStore, held_id: HandoffId, look: Look, verb: Judging):
    """Who has looked at nothing approves nothing."""
    async with look.nothing_changes():
        with pytest.raises(DigestDiffers):
            await store.judge(OPS, held_id, verb, digest="", reason="")


@either
async def test_what_is_not_there_cannot_be_judged(store: RedisStore, approved: Queue, look: Look, verb: Judging):
    async with look.nothing_changes():
        with pytest.raises(HandoffUnknown):
            await store.judge(OPS, unknown_id(approved), verb, digest="any", reason="")


@either
@pytest.mark.parametrize("now", ["waiting", "leased", "completed", "expired"])
async def test_only_what_is_held_is_judged(store: RedisStore, look: Look, clock: Clock, verb: Judging, now: str):
    """Whatever became of it, the judgement comes too late, and says so."""
    queue = await store.put_queue(UPKEEP, a_queue("short", expires_ms=1_000, approval=now == "expired"))
    id = (await drop_off(store, queue=queue)).receipt.handoff_id
    if now == "leased":
        await pick_up(store, queue=queue)
    if now == "completed":
        await complete(store, (await pick_up(store, queue=queue)).lease)
    await live(store, clock, 1_000)
    if now == "expired":
        assert await store.expire(id)

    async with look.nothing_changes():
        with pytest.raises(HandoffMoved) as refusal:
            await judge(store, id, verb)

    assert (refusal.value.state, refusal.value.was) == (now, HELD)


# ---- said again -------------------------------------------------------------------------------------------------


@either
async def test_a_judgement_said_again_is_the_same_judgement(
    store: RedisStore, approved: Queue, held_id: HandoffId, look: Look, verb: Judging
):
    """The operator did not hear the answer; meanwhile it may be in somebody's hands."""
    first = await judge(store, held_id, verb)
    await store.pick_up(BOB, approved, "k")

    async with look.nothing_changes():
        again = await judge(store, held_id, verb)

    assert (again.receipt, again.state, again.repeated) == (first.receipt, first.state, True)


@pytest.mark.parametrize(("first", "then"), [("approve", "deny"), ("deny", "approve")])
async def test_the_first_judgement_stands(
    store: RedisStore, held_id: HandoffId, look: Look, first: Judging, then: Judging
):
    """The other one is no repetition, neither of its own operator nor of another."""
    await judge(store, held_id, first)

    async with look.nothing_changes():
        late: list[tuple[Judging, Caller]] = [(then, OPS), (then, CAROL), (first, CAROL)]
        for verb, by in late:
            with pytest.raises(HandoffMoved):
                await judge(store, held_id, verb, by)


async def test_two_who_judge_at_once_make_one_judgement(store: RedisStore, held_id: HandoffId):
    """One is carried out, the other hears that it moved."""
    asked = (judge(store, held_id, "approve", OPS), judge(store, held_id, "deny", CAROL))

    outcomes = await within("both to be answered", asyncio.gather(*asked, return_exceptions=True))

    assert [type(one) for one in outcomes].count(HandoffMoved) == 1
    assert [entry.step for entry in await store.entries(handoff_id=held_id)][1:] in (["approve"], ["deny"])
