"""A queue's states and settings: paused, draining, open again; changed over a revision; removed when it is empty."""

import asyncio

import msgspec
import pytest

from dropoff.core.answers import PickedUp
from dropoff.core.lifecycle import COMPLETED, WAITING
from dropoff.core.queue import Queue, QueueState
from dropoff.core.store import Paused, Stale
from dropoff.errors import QueueDraining, QueueExists, QueueNotEmpty
from dropoff.storage.store import RedisStore
from dropoff.upkeep.rounds import go_round
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
    complete,
    drop_off,
    extend,
    hand_back,
    live,
    pick_up,
    state,
    until,
    withdraw,
    within,
)


async def put(store: RedisStore, queue: Queue, state: QueueState, reason: str = "") -> Queue:
    return await store.put_queue(OPS, msgspec.structs.replace(queue, state=state, reason=reason))


# ---- paused -----------------------------------------------------------------------------------------------------


async def test_a_paused_queue_gives_nothing_and_says_so(store: RedisStore, look: Look):
    """Not for want of work: the agent and who watches it can tell."""
    await drop_off(store)
    paused = await put(store, QUEUE, "paused")

    async with look.nothing_changes():
        for known in (paused, QUEUE):
            with pytest.raises(Paused):
                await store.pick_up(BOB, known, "k")


async def test_into_a_paused_queue_work_comes(store: RedisStore):
    """And waits until it is opened."""
    paused = await put(store, QUEUE, "paused")
    dropped = await drop_off(store, queue=paused)
    assert dropped.state == WAITING

    opened = await put(store, paused, "open")

    assert (await pick_up(store, queue=opened)).handoff.id == dropped.receipt.handoff_id


async def test_who_holds_work_of_a_paused_queue_goes_on(store: RedisStore, look: Look):
    """A pause takes nothing from anybody; a pick_up whose answer was lost is still answered."""
    for _ in range(3):
        await drop_off(store)
    first, second, third = [await pick_up(store, key=key) for key in "abc"]
    await pick_up(store, key="a")
    await put(store, QUEUE, "paused")

    async with look.nothing_changes():
        again = await pick_up(store, key="a")
    await extend(store, first.lease)
    await complete(store, first.lease)
    await hand_back(store, second.lease, "release")
    await withdraw(store, third.handoff.id)

    assert (again.lease, again.repeated) == (first.lease, True)
    assert await state(store, first.handoff.id) == COMPLETED
    assert await state(store, second.handoff.id) == WAITING


async def test_upkeep_goes_on_in_a_paused_queue(store: RedisStore, clock: Clock):
    """Leases lapse and what is due waits, or everything would come at once when it is opened."""
    await drop_off(store)
    picked = await pick_up(store)
    scheduled = await drop_off(store, delay_ms=LEASE_MS)
    await put(store, QUEUE, "paused")
    await live(store, clock, LEASE_MS)

    await go_round(store)

    assert await state(store, picked.handoff.id) == await state(store, scheduled.receipt.handoff_id) == WAITING


async def test_to_resume_wakes_who_waits(store: RedisStore, look: Look):
    """All of them, as far as there is work; they were asleep and had looked before."""
    paused = await put(store, QUEUE, "paused")
    for _ in range(3):
        await drop_off(store, queue=paused)

    async def work_for(key: str) -> PickedUp:
        async with store.waiting_for_work([QUEUE.name]) as place:
            while True:
                try:
                    return await pick_up(store, key=key)
                except Paused:
                    assert await place.news(10)

    waiters = [asyncio.create_task(work_for(key)) for key in "abc"]

    async def all_wait() -> bool:
        return store.waiting_here(QUEUE.name) == 3

    await until("all of them to wait", all_wait)
    await store.ping()

    await put(store, paused, "open")

    picked = await within("all of them to have work", asyncio.gather(*waiters))
    assert len({one.handoff.id for one in picked}) == 3


async def test_the_first_who_waits_is_woken_by_the_resumption_itself(store: RedisStore, look: Look):
    """Not by the count that comes once a second."""

    async def subscribed() -> bool:
        return (await look.client.pubsub_numsub(look.keys.wake))[0][1] == 1

    await until("the store to have subscribed", subscribed)
    store._wakes._tasks[1].cancel()
    async with store.waiting_for_work([QUEUE.name]) as place:
        paused = await put(store, QUEUE, "paused")
        assert await place.news(10), "of the pause itself"

        await put(store, paused, "open")

        assert await place.news(10)


async def test_work_for_a_paused_queue_wakes_nobody_again_and_again(store: RedisStore):
    """The count, once a second, leaves a paused queue out: there is work, and none of it to be had."""
    paused = await put(store, QUEUE, "paused")
    await drop_off(store, queue=paused)

    assert await store._waiting_in([QUEUE.name]) == {}

    await put(store, paused, "open")
    assert await store._waiting_in([QUEUE.name]) == {QUEUE.name: {QUEUE.schema: 1}}


# ---- draining ---------------------------------------------------------------------------------------------------


async def test_a_draining_queue_takes_nothing_and_says_why(store: RedisStore, look: Look):
    draining = await put(store, QUEUE, "draining", "moving house")

    async with look.nothing_changes():
        with pytest.raises(QueueDraining) as refusal:
            await drop_off(store, queue=draining)

    assert (refusal.value.queue, refusal.value.reason, refusal.value.of_next) == (QUEUE.name, "moving house", False)


async def test_who_knows_the_queue_as_open_finds_out(store: RedisStore, look: Look):
    """In the same round trip; what is decided anew is then refused."""
    await put(store, QUEUE, "draining")

    async with look.nothing_changes():
        with pytest.raises(Stale):
            await drop_off(store, queue=QUEUE)


async def test_what_is_in_a_draining_queue_goes_out(store: RedisStore, clock: Clock):
    """Also what was scheduled, or comes back."""
    await drop_off(store)
    scheduled = await drop_off(store, delay_ms=1_000)
    draining = await put(store, QUEUE, "draining")
    await hand_back(store, (await pick_up(store, queue=draining)).lease, "release")
    await complete(store, (await pick_up(store, CAROL, queue=draining)).lease, CAROL)
    await live(store, clock, 1_000)

    assert await store.due(scheduled.receipt.handoff_id)
    assert (await pick_up(store, queue=draining)).handoff.id == scheduled.receipt.handoff_id


async def test_a_drop_off_heard_again_is_answered_though_the_queue_drains_by_now(store: RedisStore, look: Look):
    """It was taken; that nothing new is taken says nothing about it."""
    first = await drop_off(store, key="k")
    draining = await put(store, QUEUE, "draining")

    async with look.nothing_changes():
        again = await drop_off(store, queue=draining, key="k")

    assert (again.receipt, again.repeated) == (first.receipt, True)


# ---- changed over a revision ------------------------------------------------------------------------------------


async def test_an_edit_is_in_force_on_return(store: RedisStore, clock: Clock):
    """For the very next step of anybody; leases that go on keep the end they were given."""
    await drop_off(store)
    await drop_off(store)
    before = await pick_up(store)
    edited = await store.put_queue(OPS, msgspec.structs.replace(QUEUE, lease_ms=5_000))
    assert int(edited.rev) > int(QUEUE.rev)

    after = await pick_up(store, queue=QUEUE)  # by a broker that has not heard of it

    assert after.handoff.lease_ends_ms == clock.now_ms + 5_000
    assert before.handoff.lease_ends_ms == clock.now_ms + LEASE_MS
    assert (await extend(store, before.lease)).lease_ends_ms == clock.now_ms + 5_000
    assert await store.queues(fresh=True) == {QUEUE.name: edited}


async def test_two_who_edit_cannot_overwrite_each_other(store: RedisStore, look: Look):
    """Settings are written over the revision that they were made from, and no other."""
    await put(store, QUEUE, "paused")

    async with look.nothing_changes():
        with pytest.raises(Stale):
            await store.put_queue(OPS, msgspec.structs.replace(QUEUE, lease_ms=5_000))


async def test_many_who_edit_at_once_make_one_change(store: RedisStore):
    """One is carried out, the others hear that they looked at something older."""
    asked = [store.put_queue(OPS, msgspec.structs.replace(QUEUE, lease_ms=5_000 + i)) for i in range(10)]

    outcomes = await within("all to be answered", asyncio.gather(*asked, return_exceptions=True))

    assert [type(one) for one in outcomes].count(Stale) == 9
    [edited] = [one for one in outcomes if isinstance(one, Queue)]
    assert await store.queues(fresh=True) == {QUEUE.name: edited}


async def test_an_edit_said_again_is_the_same_edit(store: RedisStore, look: Look):
    """The step ran, its answer was lost, it is asked again: what was asked for is there."""
    wanted = msgspec.structs.replace(QUEUE, lease_ms=5_000)
    first = await store.put_queue(OPS, wanted)

    async with look.nothing_changes():
        assert await store.put_queue(OPS, wanted) == first


async def test_the_entry_says_who_changed_what_state_and_why(store: RedisStore):
    paused = await put(store, QUEUE, "paused", "too many owls")

    entry = (await store.entries(at_most=1))[-1]
    assert (entry.step, entry.actor, entry.queue, entry.rev) == ("put_queue", OPS.agent, QUEUE.name, paused.rev)
    assert (entry.standing, entry.reason) == ("paused", "too many owls")


async def test_a_revision_rises_also_when_the_clock_does_not(store: RedisStore, clock: Clock):
    clock.advance(-10_000)

    assert int((await put(store, QUEUE, "paused")).rev) == int(QUEUE.rev) + 1


async def test_a_queue_that_is_gone_cannot_be_edited(store: RedisStore, look: Look):
    """It must not come back by an edit that was on its way."""
    await store.remove_queue(OPS, QUEUE)

    async with look.nothing_changes():
        with pytest.raises(Stale):
            await put(store, QUEUE, "paused")


# ---- removed ----------------------------------------------------------------------------------------------------

EVERYWHERE = ("waiting", "scheduled", "held", "leased", "completed", "dead")


@pytest.mark.parametrize("where", EVERYWHERE)
async def test_a_queue_in_which_anything_is_left_is_not_removed(store: RedisStore, look: Look, where: str):
    """Whatever state it is in, also what has only ended: its sender may still ask."""
    queue = await store.put_queue(UPKEEP, a_queue("full", approval=where == "held", attempts_max=1))
    id = (await drop_off(store, queue=queue, delay_ms=1_000 if where == "scheduled" else 0)).receipt.handoff_id
    match where:
        case "leased":
            await pick_up(store, queue=queue)
        case "completed":
            await complete(store, (await pick_up(store, queue=queue)).lease)
        case "dead":
            await hand_back(store, (await pick_up(store, queue=queue)).lease, "retry", reason="no")
        case _:
            pass

    async with look.nothing_changes():
        with pytest.raises(QueueNotEmpty) as refusal:
            await store.remove_queue(OPS, queue)

    assert (refusal.value.queue, refusal.value.left) == (queue.name, 1)
    assert await state(store, id) == where


async def test_an_empty_queue_is_removed_and_leaves_nothing(store: RedisStore, look: Look, clock: Clock):
    """No key of it but its counters, which end by themselves; and the ledger says who did it."""
    queue = await store.put_queue(UPKEEP, a_queue("brief", retention_ms=0, expires_ms=1_000))
    await drop_off(store, queue=queue)
    await complete(store, (await pick_up(store, queue=queue)).lease)
    await go_round(store)

    assert await store.remove_queue(OPS, queue)

    left = await look.everything()
    assert {name for name in left if name.startswith("q:brief:")} == {f"q:brief:minute:{clock.now_ms // 60_000}"}
    assert set(await store.queues()) == set(await store.queues(fresh=True)) == {QUEUE.name}
    entry = (await store.entries(at_most=1))[-1]
    assert (entry.step, entry.actor, entry.queue, entry.rev) == ("remove_queue", OPS.agent, "brief", queue.rev)


async def test_a_queue_that_was_edited_since_is_not_removed(store: RedisStore, look: Look):
    """Whoever removes it has looked at another one."""
    await put(store, QUEUE, "paused")

    async with look.nothing_changes():
        with pytest.raises(Stale):
            await store.remove_queue(OPS, QUEUE)


async def test_to_remove_twice_is_to_remove_once(store: RedisStore, look: Look):
    assert await store.remove_queue(OPS, QUEUE)

    async with look.nothing_changes():
        assert not await store.remove_queue(OPS, QUEUE)


async def test_what_comes_into_a_removed_queue_is_stale(store: RedisStore, look: Look):
    """By a broker that has not heard of it; and nothing of the queue comes back."""
    await store.remove_queue(OPS, QUEUE)

    async with look.nothing_changes():
        with pytest.raises(Stale):
            await drop_off(store, ANN, queue=QUEUE)
        with pytest.raises(Stale):
            await store.pick_up(BOB, QUEUE, "k")


async def test_a_queue_may_be_made_again_under_its_name(store: RedisStore, clock: Clock):
    """As a new one, whose revision is not the old one's: what was decided for the old one is stale."""
    await store.remove_queue(OPS, QUEUE)
    clock.advance(1)

    again = await store.put_queue(OPS, a_queue(QUEUE.name, lease_ms=5_000))

    assert again.rev != QUEUE.rev
    with pytest.raises(Stale):
        await drop_off(store, queue=QUEUE)
    await drop_off(store, queue=again)


async def test_a_new_queue_does_not_replace_one_with_other_settings(store: RedisStore, look: Look):
    async with look.nothing_changes():
        with pytest.raises(QueueExists):
            await store.put_queue(OPS, a_queue(QUEUE.name, state="paused"))


async def test_a_drop_and_a_removal_at_once_lose_nothing(store: RedisStore):
    """Either the drop is first and the queue stays, or the removal and the drop is refused."""
    for i in range(20):
        queue = await store.put_queue(OPS, a_queue(f"brief-{i}"))
        asked = (drop_off(store, queue=queue), store.remove_queue(OPS, queue))
        dropped, removed = await within("both to be answered", asyncio.gather(*asked, return_exceptions=True))
        if removed is True:
            assert isinstance(dropped, Stale)
        else:
            assert isinstance(removed, QueueNotEmpty)
            assert not isinstance(dropped, BaseException)
            assert await state(store, dropped.receipt.handoff_id) == WAITING


async def test_a_paused_queue_is_counted_as_ever(store: RedisStore):
    """A pause hides nothing from who looks."""
    await drop_off(store)
    await drop_off(store)
    await drop_off(store, delay_ms=1_000)
    await pick_up(store)
    await put(store, QUEUE, "paused")

    figures = (await store.figures([QUEUE.name]))[QUEUE.name]

    assert (figures.waiting, figures.leased, figures.scheduled) == (1, 1, 1)
