"""What upkeep's steps are kept from: what is not due, not over, not theirs; and what mending leaves alone."""

import pytest

from dropoff.core import limits
from dropoff.core.answers import PickedUp
from dropoff.core.caller import EVERYONE, Caller
from dropoff.core.handoff import HandoffId
from dropoff.core.lease import Lease
from dropoff.errors import BrokerUnavailable, StoreRefused
from dropoff.storage.mending import Named
from dropoff.storage.store import RedisStore
from tests.look import Look
from tests.servers import Server, source_of
from tests.world import (
    ANN,
    BOB,
    CAROL,
    LEASE_MS,
    OPS,
    QUEUE,
    START_MS,
    UPKEEP,
    Clock,
    a_queue,
    change,
    complete,
    drop_off,
    extend,
    live,
    pick_up,
    state,
    withdraw,
)

ALL = Caller(agent=EVERYONE, rev=QUEUE.rev)


@pytest.fixture
async def picked(store: RedisStore) -> PickedUp:
    await drop_off(store)
    return await pick_up(store, key="k")


async def ends_at(store: RedisStore, picked: PickedUp) -> int:
    return (await store.check(UPKEEP, picked.handoff.id, may_inspect=True)).lease_ends_ms


# ---- leases that run out ----------------------------------------------------------------------------------------


async def test_a_lease_lapses_neither_before_its_time_nor_after_its_end(
    store: RedisStore, look: Look, clock: Clock, picked: PickedUp
):
    await live(store, clock, LEASE_MS - 1)
    async with look.nothing_changes():
        assert await store.lapse(picked.handoff.id) is None
    await complete(store, picked.lease)
    await live(store, clock, 1)
    async with look.nothing_changes():
        assert await store.lapse(picked.handoff.id) is None


async def test_without_a_fresh_heartbeat_nothing_lapses(store: RedisStore, look: Look, clock: Clock, picked: PickedUp):
    """Whether anybody could have extended is not known."""
    clock.advance(LEASE_MS * 2)
    async with look.nothing_changes():
        assert await store.lapse(picked.handoff.id) is None


async def test_after_an_outage_each_lease_has_one_whole_term_and_no_more(
    store: RedisStore, clock: Clock, picked: PickedUp
):
    """Counted as nothing, and given once."""
    clock.advance(LEASE_MS)
    await store.beat()
    assert await store.lapse(picked.handoff.id) is not None
    assert (await state(store, picked.handoff.id), await ends_at(store, picked)) == ("leased", START_MS + 2 * LEASE_MS)
    await live(store, clock, LEASE_MS)
    await store.lapse(picked.handoff.id)

    handoff = await store.check(UPKEEP, picked.handoff.id, may_inspect=True)
    assert (handoff.state, handoff.failures) == ("waiting", 1)


async def test_a_lease_that_was_extended_past_the_outage_lapses_by_its_own_end(
    store: RedisStore, clock: Clock, picked: PickedUp
):
    """The term after an outage is a least, and not one more."""
    await live(store, clock, 10_000)
    clock.advance(limits.OUTAGE_MS + 1)
    await store.beat()
    await extend(store, picked.lease)
    await live(store, clock, LEASE_MS)
    await store.lapse(picked.handoff.id)

    assert await state(store, picked.handoff.id) == "waiting"


@pytest.mark.parametrize("who", [BOB, ALL], ids=["the holder", "everything"])
async def test_while_its_holder_is_frozen_a_lease_stands_still(
    store: RedisStore, clock: Clock, picked: PickedUp, who: Caller
):
    """And from the thaw on it has one whole term."""
    await change(store, who, "frozen")
    await live(store, clock, LEASE_MS * 3)
    await store.lapse(picked.handoff.id)
    assert (await state(store, picked.handoff.id), await ends_at(store, picked)) == ("leased", clock() + LEASE_MS)


@pytest.mark.parametrize("stopped", ["frozen", "revoked"])
async def test_a_thaw_gives_time(store: RedisStore, clock: Clock, picked: PickedUp, stopped: str):
    """Also to an agent that was made anew, after its record was lost and the gate closed for it."""
    frozen = await change(store, BOB, stopped)
    await live(store, clock, LEASE_MS)
    await change(store, frozen, "active")
    await store.lapse(picked.handoff.id)
    assert (await state(store, picked.handoff.id), await ends_at(store, picked)) == ("leased", clock() + LEASE_MS)


async def test_a_change_that_is_no_thaw_gives_no_time(store: RedisStore, look: Look, clock: Clock, picked: PickedUp):
    await live(store, clock, LEASE_MS)
    await store.gate(UPKEEP, BOB.agent, str(clock() + 1), "active")

    assert BOB.agent not in (await look.everything())["beat"]
    await store.lapse(picked.handoff.id)
    assert await state(store, picked.handoff.id) == "waiting"


async def test_a_revoked_holder_s_lease_is_recalled_and_counts_as_nothing(
    store: RedisStore, clock: Clock, picked: PickedUp
):
    await change(store, BOB, "revoked")
    await live(store, clock, LEASE_MS)
    await store.lapse(picked.handoff.id)

    handoff = await store.check(UPKEEP, picked.handoff.id, may_inspect=True)
    assert (handoff.state, handoff.failures) == ("waiting", 0)


async def test_who_dies_of_a_lapse_says_so(store: RedisStore, clock: Clock):
    queue = await store.put_queue(UPKEEP, a_queue("other", attempts_max=1))
    await drop_off(store, queue=queue)
    picked = await pick_up(store, queue=queue)
    await live(store, clock, LEASE_MS)
    await store.lapse(picked.handoff.id)

    handoff = await store.check(UPKEEP, picked.handoff.id, may_inspect=True)
    assert (handoff.state, handoff.reason) == ("dead", "the lease ran out")


async def test_what_was_asked_back_is_withdrawn_when_its_lease_ends(store: RedisStore, clock: Clock, picked: PickedUp):
    await withdraw(store, picked.handoff.id, reason="mine")
    await live(store, clock, LEASE_MS)
    await store.lapse(picked.handoff.id)

    handoff = await store.check(UPKEEP, picked.handoff.id, may_inspect=True)
    assert (handoff.state, handoff.reason) == ("withdrawn", "mine")


# ---- recalls ----------------------------------------------------------------------------------------------------


async def test_only_the_lease_that_is_named_is_recalled(store: RedisStore, look: Look, picked: PickedUp):
    async with look.nothing_changes():
        assert await store.recall(Lease(picked.handoff.id, 1), "gone") is None
    assert await store.recall(picked.lease, "gone")
    async with look.nothing_changes():
        assert await store.recall(picked.lease, "gone") is None


async def test_only_who_is_revoked_and_holds_something_is_on_the_list(store: RedisStore, look: Look, picked: PickedUp):
    await change(store, CAROL, "revoked")
    assert "recalls" not in await look.everything()
    await change(store, BOB, "frozen")
    assert "recalls" not in await look.everything()
    await change(store, BOB, "revoked")
    assert await store.revoked(10) == (picked.lease,)


async def test_the_list_is_read_a_few_at_a_time_and_ends(store: RedisStore, look: Look, picked: PickedUp):
    await drop_off(store)
    await pick_up(store, CAROL)
    for who in (BOB, CAROL):
        await change(store, who, "revoked")
    assert len(await store.revoked(1)) == 1
    assert len(await store.revoked(2)) == 2
    for lease in await store.revoked(10):
        await store.recall(lease, "revoked")
    assert await store.revoked(10) == ()
    assert "recalls" not in await look.everything()


# ---- the clock --------------------------------------------------------------------------------------------------


async def expiring(store: RedisStore, clock: Clock) -> HandoffId:
    queue = await store.put_queue(UPKEEP, a_queue("other", expires_ms=60_000))
    return (await drop_off(store, queue=queue)).receipt.handoff_id


async def test_nothing_expires_before_its_time_nor_twice(store: RedisStore, look: Look, clock: Clock):
    id = await expiring(store, clock)
    clock.advance(59_999)
    async with look.nothing_changes():
        assert await store.expire(id) is None
    clock.advance(1)
    assert await store.expire(id)
    assert await state(store, id) == "expired"
    async with look.nothing_changes():
        assert await store.expire(id) is None


async def test_what_has_no_time_never_expires(store: RedisStore, look: Look, clock: Clock):
    """And it does not stand among what does."""
    id = (await drop_off(store)).receipt.handoff_id
    clock.advance(limits.EXPIRES_MS_MAX)
    async with look.nothing_changes():
        assert await store.expire(id) is None
    assert f"q:{QUEUE.name}:expiries" not in await look.everything()


async def test_only_what_is_scheduled_becomes_due_and_not_before(store: RedisStore, look: Look, clock: Clock):
    id = (await drop_off(store, delay_ms=5_000)).receipt.handoff_id
    clock.advance(4_999)
    async with look.nothing_changes():
        assert await store.due(id) is None
    clock.advance(1)
    assert await store.due(id)
    async with look.nothing_changes():
        assert await store.due(id) is None


async def test_only_what_ended_long_ago_is_erased(store: RedisStore, look: Look, clock: Clock, picked: PickedUp):
    async with look.nothing_changes():
        assert await store.erase(picked.handoff.id) is None
    await complete(store, picked.lease)
    clock.advance(QUEUE.retention_ms - 1)
    async with look.nothing_changes():
        assert await store.erase(picked.handoff.id) is None
    clock.advance(1)
    assert await store.erase(picked.handoff.id, OPS)
    assert f"q:{QUEUE.name}:h:{picked.handoff.id}" not in await look.everything()


async def test_a_heart_beats_once_a_second_for_all_brokers(store: RedisStore, look: Look, clock: Clock):
    clock.advance(limits.BEAT_MS - 1)
    async with look.nothing_changes():
        await store.beat()
    clock.advance(1)
    await store.beat()
    assert (await look.everything())["beat"]["@"] == str(clock())


async def test_only_a_gap_between_beats_is_an_outage(store: RedisStore, look: Look, clock: Clock):
    began = (await look.everything())["beat"]["*"]
    await live(store, clock, 10 * limits.OUTAGE_MS)
    assert (await look.everything())["beat"]["*"] == began
    clock.advance(limits.OUTAGE_MS + 1)
    await store.beat()
    assert (await look.everything())["beat"]["*"] == str(clock())


async def test_a_store_of_a_newer_release_is_left_alone(server: Server, store: RedisStore, look: Look, clock: Clock):
    """Its format is written once, by the first, and never over a newer one."""
    assert (await look.everything())["format"] == "1"
    await look.client.set(store.keys.of("format"), "2")
    clock.advance(limits.BEAT_MS)
    async with look.nothing_changes():
        with pytest.raises(StoreRefused, match="in format 2, of a newer release"):
            await store.beat()
        with pytest.raises(BrokerUnavailable):
            await drop_off(store)
    await look.client.set(store.keys.of("format"), "0")
    again = RedisStore(source_of(server), store.keys, clock)
    try:
        await again.start()
    finally:
        await again.close()
    assert (await look.everything())["format"] == "0"


async def test_without_a_test_the_store_s_own_clock_decides(server: Server, keys, look: Look):
    """So a broker whose clock is wrong does no harm."""
    store = RedisStore(source_of(server), keys)
    await store.start()
    await store.close()
    seconds, _ = await look.client.time()
    assert abs(int((await look.everything())["beat"]["@"]) - seconds * 1_000) < 60_000


# ---- mending ----------------------------------------------------------------------------------------------------

INDEXES = ("leases", "timers", "held", "expiries", "dead", "final")


async def test_what_is_sound_is_left_alone(store: RedisStore, look: Look, picked: PickedUp):
    """Not written again, and not counted as mended."""
    waiting = await drop_off(store)
    stream = (await look.everything())[f"q:{QUEUE.name}:ready:{QUEUE.version}"]
    named = [
        Named(picked.handoff.id),
        Named(picked.handoff.id, agent=BOB.agent),
        Named(waiting.receipt.handoff_id, version=QUEUE.version, entry=stream[0][0]),
    ]
    async with look.nothing_changes():
        assert [await store._mend_one(one) for one in named] == [False] * 3


@pytest.mark.parametrize("index", INDEXES)
async def test_an_index_loses_what_its_record_does_not_demand(store: RedisStore, look: Look, index: str):
    id = (await drop_off(store)).receipt.handoff_id
    sound = await look.everything()
    await look.client.zadd(store.keys.of(index, queue=QUEUE.name), {id: 1})
    assert await store._mend_one(Named(id))
    assert await look.everything() == sound


async def test_an_index_gets_back_what_its_record_demands(store: RedisStore, look: Look, picked: PickedUp):
    """Missing, or with another score."""
    sound = await look.everything()
    leases, holds = store.keys.of("leases", queue=QUEUE.name), store.keys.of("holds", agent=BOB.agent)
    for broken in (
        lambda: look.client.delete(leases),
        lambda: look.client.zadd(leases, {picked.handoff.id: 1}),
        lambda: look.client.delete(holds),
        lambda: look.client.zadd(holds, {picked.handoff.id: 1}),
    ):
        await broken()
        assert await store._mend_one(Named(picked.handoff.id))
        assert await look.everything() == sound


async def test_who_does_not_hold_it_has_it_not_among_its_leases(store: RedisStore, look: Look, picked: PickedUp):
    sound = await look.everything()
    await look.client.zadd(store.keys.of("holds", agent=CAROL.agent), {picked.handoff.id: 1})
    assert await store._mend_one(Named(picked.handoff.id, agent=CAROL.agent))
    assert await look.everything() == sound


async def test_the_stream_holds_each_waiting_handoff_once(store: RedisStore, look: Look):
    id = (await drop_off(store)).receipt.handoff_id
    sound = await look.everything()
    stream = store.keys.of("ready", queue=QUEUE.name, version=QUEUE.version)
    entry = str(await look.client.xadd(stream, {"id": id}))
    assert await store._mend_one(Named(id, version=QUEUE.version, entry=entry))
    assert await look.everything() == sound
    await look.client.delete(stream)
    assert await store._mend_one(Named(id))
    assert (await pick_up(store)).handoff.id == id


async def test_a_heart_s_word_is_kept_for_an_agent_only_after_a_thaw(store: RedisStore, look: Look):
    frozen = await change(store, ANN, "frozen")
    assert ANN.agent not in (await look.everything())["beat"]
    await change(store, frozen, "active")
    assert ANN.agent in (await look.everything())["beat"]
