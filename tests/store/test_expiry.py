"""Expiry: what nobody has taken in its queue's time ends; what somebody holds does not."""

import pytest

from dropoff.core import limits
from dropoff.core.answers import DroppedOff
from dropoff.core.handoff import HandoffId
from dropoff.core.lease import Lease
from dropoff.core.lifecycle import COMPLETED, EXPIRED, HELD, LEASED, SCHEDULED, WAITING, WITHDRAWN
from dropoff.core.queue import Queue
from dropoff.errors import HandoffSettled, LeaseUnknown
from dropoff.storage.store import RedisStore
from dropoff.upkeep.rounds import go_round
from tests.look import Look, check_indexes
from tests.store.rules import check_expiries
from tests.world import (
    ANN,
    BOB,
    CAROL,
    LEASE_MS,
    UPKEEP,
    Clock,
    a_queue,
    complete,
    drop_off,
    extend,
    hand_back,
    judge,
    live,
    pick_up,
    state,
    unknown_id,
    withdraw,
)

EXPIRES_MS = 10_000
REASON = "nobody took it in time"


@pytest.fixture
async def brief(store: RedisStore) -> Queue:
    """What nobody has taken in ten seconds expires."""
    return await store.put_queue(UPKEEP, a_queue("brief", expires_ms=EXPIRES_MS))


async def idle(store: RedisStore, queue: Queue, where: str) -> HandoffId:
    """A handoff that nobody holds, in any of the states in which one can be."""
    if where == HELD:
        queue = await store.put_queue(UPKEEP, a_queue("brief-held", expires_ms=EXPIRES_MS, approval=True))
    dropped = await drop_off(store, queue=queue, delay_ms=10 * EXPIRES_MS if where == SCHEDULED else 0)
    assert dropped.state == where
    return dropped.receipt.handoff_id


anywhere = pytest.mark.parametrize("where", [HELD, SCHEDULED, WAITING])


@anywhere
async def test_what_nobody_took_in_time_expires_and_says_so(
    store: RedisStore, brief: Queue, look: Look, clock: Clock, where: str
):
    """Held, scheduled or waiting: its sender reads why."""
    id = await idle(store, brief, where)
    await live(store, clock, EXPIRES_MS)

    receipt = await store.expire(id)

    assert receipt is not None
    kept = await store.check(ANN, id, may_inspect=False)
    assert (kept.state, kept.reason, kept.ended_ms) == (EXPIRED, REASON, clock.now_ms)
    entry = (await store.entries(handoff_id=id))[-1]
    assert (entry.id, entry.step, entry.from_, entry.actor) == (receipt.entry, "expire", where, UPKEEP.agent)
    check_indexes(await look.everything(), kept.queue)
    check_expiries(await look.everything(), kept.queue)


@anywhere
async def test_nothing_expires_before_its_time(store: RedisStore, brief: Queue, look: Look, clock: Clock, where: str):
    """Whoever asks for it: the step looks at the clock itself."""
    id = await idle(store, brief, where)
    await live(store, clock, EXPIRES_MS - 1)

    async with look.nothing_changes():
        assert await store.expire(id) is None


@anywhere
async def test_a_round_ends_what_has_expired_once(
    store: RedisStore, brief: Queue, look: Look, clock: Clock, where: str
):
    id = await idle(store, brief, where)
    await live(store, clock, EXPIRES_MS)

    assert [receipt.handoff_id for receipt in await go_round(store)] == [id]

    async with look.nothing_changes():
        assert await go_round(store) == []
        assert await store.expire(id) is None
        assert await store.expire(unknown_id()) is None


async def test_in_a_queue_without_a_time_nothing_expires(
    store: RedisStore, waiting_handoff: DroppedOff, look: Look, clock: Clock
):
    await live(store, clock, limits.OUTAGE_MS)
    clock.advance(limits.EXPIRES_MS_MAX)

    async with look.nothing_changes():
        assert await store.expire(waiting_handoff.receipt.handoff_id) is None


async def test_what_has_expired_is_final(store: RedisStore, brief: Queue, look: Look, clock: Clock):
    id = await idle(store, brief, WAITING)
    await live(store, clock, EXPIRES_MS)
    await store.expire(id)

    async with look.nothing_changes():
        with pytest.raises(HandoffSettled):
            await withdraw(store, id)
        with pytest.raises(LeaseUnknown):
            await complete(store, Lease(id, 0))
    assert await store.pick_up(BOB, brief, "k") is None


# ---- while somebody holds it ------------------------------------------------------------------------------------


async def test_what_is_leased_does_not_expire(store: RedisStore, brief: Queue, look: Look, clock: Clock):
    """Somebody is working on it, and its work counts whenever it is done."""
    await drop_off(store, queue=brief)
    picked = await pick_up(store, queue=brief)
    await live(store, clock, 2 * EXPIRES_MS)

    async with look.nothing_changes():
        assert await store.expire(picked.handoff.id) is None
        assert (await store.overdue(brief.name, 10)).expiries == ()
    await extend(store, picked.lease)
    await complete(store, picked.lease)
    assert await state(store, picked.handoff.id) == COMPLETED


@pytest.mark.parametrize("verb", ["release", "retry"])
async def test_what_comes_back_after_its_time_expires(
    store: RedisStore, brief: Queue, clock: Clock, look: Look, verb: str
):
    """It was taken in time; that it must be taken again in time is no news."""
    await drop_off(store, queue=brief)
    picked = await pick_up(store, queue=brief)
    await live(store, clock, EXPIRES_MS)
    await hand_back(store, picked.lease, verb, reason="why", delay_ms=0)  # pyright: ignore[reportArgumentType]

    assert await store.pick_up(CAROL, brief, "k") is None
    await go_round(store)

    assert await state(store, picked.handoff.id) == EXPIRED
    check_indexes(await look.everything(), brief.name)
    check_expiries(await look.everything(), brief.name)


async def test_what_comes_back_in_time_is_given_out_and_expires_at_the_same_time_as_before(
    store: RedisStore, brief: Queue, clock: Clock
):
    """The time counts from its drop_off; a holder that hands back does not give it a new one."""
    await drop_off(store, queue=brief)
    await hand_back(store, (await pick_up(store, queue=brief)).lease, "release")
    await live(store, clock, EXPIRES_MS - 1)
    picked = await pick_up(store, CAROL, queue=brief)
    await hand_back(store, picked.lease, "release", CAROL)
    await live(store, clock, 1)

    assert await store.expire(picked.handoff.id)


async def test_what_lapses_after_its_time_expires_in_the_same_round_or_the_next(
    store: RedisStore, brief: Queue, clock: Clock
):
    """Its holder is gone, and nobody else has the time."""
    await drop_off(store, queue=brief)
    picked = await pick_up(store, queue=brief)
    await live(store, clock, LEASE_MS)

    await go_round(store)
    await go_round(store)

    assert await state(store, picked.handoff.id) == EXPIRED


async def test_a_withdrawal_that_was_asked_of_the_holder_wins_over_the_expiry(
    store: RedisStore, brief: Queue, clock: Clock
):
    """What comes back is withdrawn at once, and never waits again."""
    await drop_off(store, queue=brief)
    picked = await pick_up(store, queue=brief)
    await withdraw(store, picked.handoff.id)
    await live(store, clock, EXPIRES_MS)
    await hand_back(store, picked.lease, "release")

    assert await store.expire(picked.handoff.id) is None
    assert await state(store, picked.handoff.id) == WITHDRAWN


async def test_an_approval_gives_no_new_time(store: RedisStore, clock: Clock):
    queue = await store.put_queue(UPKEEP, a_queue("slow", expires_ms=EXPIRES_MS, approval=True))
    id = (await drop_off(store, queue=queue)).receipt.handoff_id
    await live(store, clock, EXPIRES_MS)

    await judge(store, id, "approve")

    assert await store.pick_up(BOB, queue, "k") is None
    assert await store.expire(id)


# ---- although upkeep was late -----------------------------------------------------------------------------------


async def test_what_has_expired_is_not_given_out_though_upkeep_was_late(
    store: RedisStore, brief: Queue, look: Look, clock: Clock
):
    """Passed over, and the next one that still has time is taken."""
    late = await idle(store, brief, WAITING)
    await live(store, clock, EXPIRES_MS)
    in_time = await idle(store, brief, WAITING)

    picked = await pick_up(store, queue=brief)

    assert picked.handoff.id == in_time
    check_expiries(await look.everything(), brief.name)
    assert await state(store, late) == WAITING, "ending it is upkeep's"
    await go_round(store)
    assert await state(store, late) == EXPIRED
    assert await state(store, in_time) == LEASED


async def test_more_expired_than_a_pick_up_looks_past_hold_nobody_up_for_longer_than_a_round(
    store: RedisStore, brief: Queue, look: Look, clock: Clock
):
    """A step's work is bounded; so for a moment there is nothing, and after a round there is the one behind them."""
    for _ in range(limits.PASSED_OVER + 1):
        await idle(store, brief, WAITING)
    await live(store, clock, EXPIRES_MS)
    behind = await idle(store, brief, WAITING)
    assert await store.pick_up(BOB, brief, "k") is None

    done = await go_round(store)

    assert len(done) == limits.PASSED_OVER + 1
    assert (await pick_up(store, queue=brief)).handoff.id == behind
    check_indexes(await look.everything(), brief.name)
    check_expiries(await look.everything(), brief.name)


async def test_as_many_expired_as_a_pick_up_looks_past_hold_nobody_up(store: RedisStore, brief: Queue, clock: Clock):
    """The limit counts what it looks at, the one it gives out among them."""
    for _ in range(limits.PASSED_OVER - 1):
        await idle(store, brief, WAITING)
    await live(store, clock, EXPIRES_MS)
    behind = await idle(store, brief, WAITING)

    assert (await pick_up(store, queue=brief)).handoff.id == behind


async def test_a_round_goes_on_as_long_as_there_is_something_late(store: RedisStore, brief: Queue, clock: Clock):
    """Or a million expired handoffs would take hours, one batch a second."""
    count = limits.OVERDUE_AT_ONCE + 1
    for _ in range(count):
        await idle(store, brief, WAITING)
    await live(store, clock, EXPIRES_MS)

    assert len(await go_round(store)) == count
