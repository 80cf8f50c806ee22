"""release: an operator takes work from a holder that hangs: just the lease that was seen, and it counts as nothing."""

import asyncio

import pytest

from dropoff.core import limits
from dropoff.core.answers import PickedUp
from dropoff.core.lease import Lease
from dropoff.core.lifecycle import COMPLETED, DEAD, LEASED, WAITING, WITHDRAWN
from dropoff.errors import HandoffMoved, HandoffUnknown, LeaseLost
from dropoff.storage.store import RedisStore
from tests.look import Look, check_indexes
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
    complete,
    drop_off,
    extend,
    hand_back,
    live,
    pick_up,
    release,
    state,
    unknown_id,
    withdraw,
    within,
)


async def test_what_was_released_waits_again_and_nobody_is_to_blame(store: RedisStore, picked: PickedUp, look: Look):
    """The next holder reads who held it, and why it was taken."""
    released = await release(store, picked.lease, reason="its machine is gone")

    assert (released.state, released.repeated) == (WAITING, False)
    check_indexes(await look.everything(), QUEUE.name)
    again = await pick_up(store, CAROL)
    assert (again.handoff.id, again.handoff.failures, again.handoff.attempt) == (picked.handoff.id, 0, 1)
    [attempt] = again.handoff.attempts
    assert (attempt.agent, attempt.outcome, attempt.reason) == (BOB.agent, "release", "its machine is gone")


async def test_the_entry_names_the_operator(store: RedisStore, picked: PickedUp):
    released = await release(store, picked.lease)

    entry = (await store.entries(handoff_id=picked.handoff.id))[-1]
    assert (entry.id, entry.step, entry.actor, entry.revs) == (
        released.receipt.entry,
        "release",
        OPS.agent,
        f"{OPS.agent}={OPS.rev}",
    )
    assert int(entry.fence) == picked.lease.fence


async def test_its_holder_has_lost_the_lease(store: RedisStore, picked: PickedUp, look: Look):
    """It did not hand back, so nothing tells it that it had."""
    await release(store, picked.lease)

    async with look.nothing_changes():
        for late in (complete(store, picked.lease), extend(store, picked.lease)):
            with pytest.raises(LeaseLost) as refusal:
                await late
            assert not refusal.value.handed_back


async def test_what_was_withdrawn_meanwhile_goes_to_nobody(store: RedisStore, picked: PickedUp):
    await withdraw(store, picked.handoff.id, reason="no longer needed")

    assert (await release(store, picked.lease)).state == WITHDRAWN

    assert (await store.check(ANN, picked.handoff.id, may_inspect=False)).reason == "no longer needed"


# ---- bound to the lease that was seen ---------------------------------------------------------------------------


async def test_a_newer_lease_is_not_disturbed(store: RedisStore, picked: PickedUp, look: Look, clock: Clock):
    """The one that hung has lapsed; who holds it now works."""
    await live(store, clock, LEASE_MS)
    await store.lapse(picked.handoff.id)
    newer = await pick_up(store, CAROL)

    async with look.nothing_changes():
        with pytest.raises(HandoffMoved) as refusal:
            await release(store, picked.lease)

    assert (refusal.value.state, refusal.value.was) == (LEASED, LEASED)
    assert await store.leases_of(CAROL.agent) == (newer.lease,)


@pytest.mark.parametrize("off", [-1, 1])
async def test_a_made_up_fence_releases_nothing(store: RedisStore, picked: PickedUp, look: Look, off: int):
    async with look.nothing_changes():
        with pytest.raises(HandoffMoved):
            await release(store, Lease(picked.handoff.id, picked.lease.fence + off))


@pytest.mark.parametrize("now", ["waiting", "scheduled", "completed"])
async def test_what_nobody_holds_cannot_be_released(store: RedisStore, picked: PickedUp, look: Look, now: str):
    """Settled a moment before: the operator hears what became of it."""
    match now:
        case "completed":
            await complete(store, picked.lease)
        case "scheduled":
            await hand_back(store, picked.lease, "retry", reason="busy")
        case _:
            await hand_back(store, picked.lease, "release")

    async with look.nothing_changes():
        with pytest.raises(HandoffMoved) as refusal:
            await release(store, picked.lease)

    assert refusal.value.state == now


async def test_what_is_not_there_cannot_be_released(store: RedisStore, look: Look):
    async with look.nothing_changes():
        with pytest.raises(HandoffUnknown):
            await release(store, Lease(unknown_id(), 1))


# ---- said again -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("then", [WAITING, LEASED, COMPLETED])
async def test_a_release_said_again_is_the_same_release(store: RedisStore, picked: PickedUp, look: Look, then: str):
    """Its answer was lost, and another agent has gone on: nobody is disturbed."""
    first = await release(store, picked.lease)
    if then == LEASED:
        await pick_up(store, CAROL)
    if then == COMPLETED:
        await complete(store, (await pick_up(store, CAROL)).lease, CAROL)

    async with look.nothing_changes():
        again = await release(store, picked.lease)

    assert (again.receipt, again.state, again.repeated) == (first.receipt, first.state, True)


async def test_another_operator_who_says_it_too_hears_that_it_moved(store: RedisStore, picked: PickedUp, look: Look):
    """It was not its own release."""
    await release(store, picked.lease, OPS)

    async with look.nothing_changes():
        with pytest.raises(HandoffMoved):
            await release(store, picked.lease, CAROL)


async def test_a_release_and_a_completion_at_once_have_one_outcome(store: RedisStore):
    """Whichever comes first; over many of them, both orders."""
    for _ in range(20):
        await drop_off(store)
        picked = await pick_up(store)
        asked = (release(store, picked.lease), complete(store, picked.lease))
        outcomes = await within("both to be answered", asyncio.gather(*asked, return_exceptions=True))
        assert [isinstance(one, Exception) for one in outcomes].count(True) == 1
        assert await state(store, picked.handoff.id) in (WAITING, COMPLETED)
        await store.pick_up(CAROL, QUEUE, "again and again")


# ---- the deliveries' end ----------------------------------------------------------------------------------------


async def test_what_is_released_too_often_is_dead_and_says_so(store: RedisStore, look: Look):
    """Deliveries have an end, whoever ends the leases; and no attempt was counted."""
    queue = await store.put_queue(UPKEEP, a_queue("hangs", attempts_max=1))
    id = (await drop_off(store, queue=queue)).receipt.handoff_id

    states = [
        (await release(store, (await pick_up(store, queue=queue)).lease)).state
        for _ in range(limits.DELIVERIES_PER_ATTEMPT)
    ]

    kept = await store.check(ANN, id, may_inspect=False)
    assert states == [WAITING] * (limits.DELIVERIES_PER_ATTEMPT - 1) + [DEAD]
    assert (kept.reason, kept.failures) == ("handed out too often", 0)
    assert (await store.entries(handoff_id=id))[-1].reason == "handed out too often"
    check_indexes(await look.everything(), queue.name)
