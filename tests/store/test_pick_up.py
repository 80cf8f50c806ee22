"""pick_up: lease the oldest waiting handoff to one agent."""

import asyncio

import msgspec
import pytest

from dropoff.core import limits
from dropoff.core.answers import DroppedOff
from dropoff.core.lifecycle import LEASED
from dropoff.core.store import Stale
from dropoff.storage.store import RedisStore
from tests.look import Look, check_indexes
from tests.world import (
    BOB,
    CAROL,
    LEASE_MS,
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
    within,
)


async def test_the_oldest_is_picked_up_first(store: RedisStore):
    """Order is the order of dropping off."""
    dropped = [(await drop_off(store)).receipt.handoff_id for _ in range(3)]

    picked = [(await pick_up(store)).handoff.id for _ in range(3)]

    assert picked == dropped


async def test_the_holder_gets_all_it_needs(store: RedisStore, waiting_handoff: DroppedOff, clock: Clock):
    """Payload, lease, and until when."""
    picked = await pick_up(store, BOB)

    assert picked.handoff.id == waiting_handoff.receipt.handoff_id
    assert (picked.handoff.state, picked.handoff.holder) == (LEASED, BOB.agent)
    assert picked.handoff.payload == b'{"topic":"owls"}'
    assert picked.handoff.lease_ends_ms == clock.now_ms + LEASE_MS
    assert (picked.handoff.attempt, picked.handoff.deliveries, picked.waiting) == (1, 1, 0)
    assert picked.lease.fence == picked.handoff.fence
    assert await store.leases_of(BOB.agent) == (picked.lease,)


async def test_one_handoff_is_given_to_one_agent(store: RedisStore, waiting_handoff: DroppedOff):
    """However many ask at once."""
    asked = [store.pick_up(by, QUEUE, f"k{i}") for i in range(20) for by in (BOB, CAROL)]

    picked = await within("all to be answered", asyncio.gather(*asked))

    assert len([one for one in picked if one]) == 1


async def test_an_empty_queue_gives_nothing(store: RedisStore):
    assert await store.pick_up(BOB, QUEUE, "k") is None


async def test_a_repeated_pick_up_brings_the_same_lease(store: RedisStore, look: Look):
    """An agent that did not hear the answer asks again, and holds one handoff."""
    await drop_off(store)
    await drop_off(store)
    first = await pick_up(store, key="k")
    second = await pick_up(store, key="k")

    async with look.nothing_changes():  # that it was asked again is known by now
        assert await pick_up(store, key="k") == second

    assert second == msgspec.structs.replace(first, repeated=True)


async def test_a_pick_up_is_remembered_for_its_agent_alone(store: RedisStore):
    """The same key of another agent is another call."""
    await drop_off(store)
    await drop_off(store)

    picked = {(await pick_up(store, by, key="k")).handoff.id for by in (BOB, CAROL)}

    assert len(picked) == 2


async def test_a_pick_up_heard_again_in_another_queue_is_the_lease_it_was(store: RedisStore):
    """An agent that names no queue may be led to another one the second time; its call is the same."""
    await drop_off(store)
    other = await store.put_queue(UPKEEP, a_queue("other"))
    await drop_off(store, queue=other)

    first = await pick_up(store, key="k")
    again = await pick_up(store, queue=other, key="k")

    assert again.repeated
    assert (again.lease, again.handoff, again.waiting) == (first.lease, first.handoff, 0)


async def test_a_pick_up_is_remembered_as_long_as_its_lease_goes_on(store: RedisStore, look: Look):
    """Who extends keeps the memory of the call, too."""
    await drop_off(store)
    picked = await pick_up(store, key="k")
    [memory] = [look.keys.base + name for name in await look.everything() if name.startswith("picks:")]
    await look.client.pexpire(memory, 5_000)

    await extend(store, picked.lease)

    assert await look.client.pttl(memory) > 5_000


async def test_a_pick_up_is_looked_for_without_asking_for_work(store: RedisStore, look: Look):
    """The lease as it stands, to its agent; and to one that brought none, nothing."""
    await drop_off(store)
    async with look.nothing_changes():
        assert await store.picked_before(BOB, BOB.agent, "k") is None
    first = await pick_up(store, BOB, key="k")

    assert await store.picked_before(BOB, BOB.agent, "k") == msgspec.structs.replace(first, repeated=True)
    assert await store.picked_before(CAROL, CAROL.agent, "k") is None


async def test_what_was_looked_for_is_known_to_its_picker(store: RedisStore, look: Look):
    """Nobody takes it back as something that was never heard of."""
    await drop_off(store)
    first = await pick_up(store, BOB, key="k")
    await store.picked_before(BOB, BOB.agent, "k")

    async with look.nothing_changes():
        assert await store.recall(first.lease, "its client left", unheard=True) is None


async def test_a_pick_up_whose_lease_is_over_is_not_found(store: RedisStore, look: Look, clock: Clock):
    """Neither while its handoff waits, nor when it is leased again."""
    await drop_off(store)
    first = await pick_up(store, BOB, key="k")
    await live(store, clock, LEASE_MS)
    await store.lapse(first.handoff.id)
    async with look.nothing_changes():
        assert await store.picked_before(BOB, BOB.agent, "k") is None
    await pick_up(store, BOB, key="other")

    async with look.nothing_changes():
        assert await store.picked_before(BOB, BOB.agent, "k") is None


async def test_a_key_whose_lease_is_over_takes_new_work(store: RedisStore):
    """From the old lease its agent has nothing any more."""
    await drop_off(store)
    await drop_off(store)
    first = await pick_up(store, key="k")
    await complete(store, first.lease)

    second = await pick_up(store, key="k")

    assert second.handoff.id != first.handoff.id
    assert not second.repeated


async def test_a_key_whose_handoff_has_another_holder_takes_new_work(store: RedisStore, clock: Clock):
    """The memory of a request never shows an agent the lease of another."""
    await drop_off(store)
    first = await pick_up(store, BOB, key="k")
    await live(store, clock, LEASE_MS)
    await store.lapse(first.handoff.id)
    await pick_up(store, CAROL)

    assert await store.pick_up(BOB, QUEUE, "k") is None


async def test_a_key_does_not_show_a_later_lease_of_the_same_agent(store: RedisStore, clock: Clock):
    """That one was asked for under another key; under this one there is nothing any more."""
    await drop_off(store)
    first = await pick_up(store, BOB, key="k")
    await live(store, clock, LEASE_MS)
    await store.lapse(first.handoff.id)
    await pick_up(store, BOB, key="other")

    assert await store.pick_up(BOB, QUEUE, "k") is None


async def test_every_lease_has_a_higher_fence(store: RedisStore, clock: Clock):
    """Also within one millisecond, also when the clock goes back; a target outside can rely on it."""
    await drop_off(store)
    fences = []
    for step_ms in (0, 0, 5, -1_000):
        clock.advance(step_ms)
        picked = await pick_up(store)
        fences.append(picked.lease.fence)
        await hand_back(store, picked.lease, "release")

    assert fences == sorted(set(fences))
    assert fences[0] >= clock.now_ms


async def test_checkpoint_and_last_three_attempts_go_to_the_next_holder(store: RedisStore, clock: Clock):
    """Who comes next learns what was tried and how far it came; older attempts are forgotten."""
    await drop_off(store)
    for attempt in range(4):
        picked = await pick_up(store, BOB)
        await extend(store, picked.lease, progress="half", checkpoint=b'{"page":%d}' % attempt)
        await hand_back(store, picked.lease, "release", reason=f"reason {attempt}")

    picked = await pick_up(store, CAROL)

    assert picked.handoff.checkpoint == b'{"page":3}'
    assert [one.reason for one in picked.handoff.attempts] == ["reason 1", "reason 2", "reason 3"]
    assert {(one.agent, one.outcome, one.at_ms) for one in picked.handoff.attempts} == {
        (BOB.agent, "release", str(clock.now_ms))
    }
    assert picked.handoff.progress == ""


async def test_a_queue_that_is_not_there_is_stale(store: RedisStore, look: Look):
    async with look.nothing_changes():
        with pytest.raises(Stale):
            await store.pick_up(BOB, msgspec.structs.replace(QUEUE, name="gone"), "k")


async def test_an_index_entry_without_its_record_is_passed_over(store: RedisStore, look: Look):
    """The record is the truth: what an index says beyond it is removed, and the next handoff is taken."""
    lost, kept = await drop_off(store), await drop_off(store)
    await look.client.delete(look.keys.of("handoff", queue=QUEUE.name, id=lost.receipt.handoff_id))

    picked = await pick_up(store)

    assert picked.handoff.id == kept.receipt.handoff_id
    assert await store.pick_up(CAROL, QUEUE, "k") is None


async def test_an_index_entry_that_its_record_does_not_name_is_passed_over(store: RedisStore, look: Look):
    """A handoff that stands in line twice is given out once, and nothing of it stays behind."""
    dropped = await drop_off(store)
    line = look.keys.of("ready", queue=QUEUE.name, version=QUEUE.version)
    await look.client.xadd(line, {"id": dropped.receipt.handoff_id})
    first = await pick_up(store)
    await hand_back(store, first.lease, "release")

    second = await pick_up(store)

    assert second.waiting == 0
    check_indexes(await look.everything(), QUEUE.name)


async def test_an_index_entry_of_what_is_leased_is_passed_over(store: RedisStore, look: Look):
    """Whatever the index says: the record is leased, and has one holder."""
    dropped = await drop_off(store)
    picked = await pick_up(store, BOB)
    line = look.keys.of("ready", queue=QUEUE.name, version=QUEUE.version)
    entry = await look.client.xadd(line, {"id": dropped.receipt.handoff_id})
    await look.client.hset(look.keys.of("handoff", queue=QUEUE.name, id=picked.handoff.id), "entry", entry)

    assert await store.pick_up(CAROL, QUEUE, "k") is None

    assert await store.leases_of(BOB.agent) == (picked.lease,)
    check_indexes(await look.everything(), QUEUE.name)


async def test_a_pick_up_is_remembered_until_its_lease_has_lapsed(store: RedisStore, look: Look):
    """Upkeep comes a little after the end. Not for ever: else each call that anybody ever made would stay in memory."""
    await drop_off(store)
    await pick_up(store, key="k")

    [name] = [name for name in await look.everything() if name.startswith("picks:")]
    assert LEASE_MS < await look.client.pttl(look.keys.base + name) <= LEASE_MS + limits.OUTAGE_MS


@pytest.mark.parametrize("late_ms", [0, 60_000])
async def test_a_lease_whose_day_is_over_is_told_again_until_somebody_ends_it(
    store: RedisStore, clock: Clock, late_ms: int
):
    """Nobody has come yet, at this instant or for a while; to extend it gives it no more time, and takes no memory."""
    await drop_off(store)
    picked = await pick_up(store, key="k")
    clock.advance(limits.LEASE_MS_MAX + late_ms)
    await extend(store, picked.lease)

    assert (await pick_up(store, key="k")).lease == picked.lease
