"""What can be read: one handoff by those it concerns, queues and schemas by brokers, lists and figures by operators."""

import msgspec
import pytest

from dropoff.core.answers import DroppedOff, StoredSchema
from dropoff.core.lifecycle import COMPLETED, DEAD, LEASED, REJECTED, SCHEDULED, WAITING
from dropoff.core.queue import QueueFigures
from dropoff.errors import HandoffUnknown, QueueExists
from dropoff.storage.store import RedisStore
from tests.look import Look
from tests.world import (
    ANN,
    BOB,
    CAROL,
    OPS,
    QUEUE,
    SCHEMA,
    SCHEMA_HASH,
    Clock,
    a_queue,
    complete,
    drop_off,
    extend,
    hand_back,
    pick_up,
    unknown_id,
)

# ---- one handoff ------------------------------------------------------------------------------------------------


async def test_a_handoff_is_shown_to_its_sender_its_holder_and_who_may_inspect(
    store: RedisStore, waiting_handoff: DroppedOff, look: Look
):
    """And looking changes nothing."""
    id = waiting_handoff.receipt.handoff_id
    await pick_up(store, BOB)

    async with look.nothing_changes():
        shown = [await store.check(by, id, may_inspect=by is CAROL) for by in (ANN, BOB, CAROL)]

    assert shown[0] == shown[1] == shown[2]


async def test_a_stranger_cannot_tell_a_handoff_from_none(store: RedisStore, waiting_handoff: DroppedOff):
    refusals = []
    for id in (waiting_handoff.receipt.handoff_id, unknown_id()):
        with pytest.raises(HandoffUnknown) as refusal:
            await store.check(CAROL, id, may_inspect=False)
        refusals.append(str(refusal.value).replace(id, "…"))

    assert refusals[0] == refusals[1]


# ---- lists and figures ------------------------------------------------------------------------------------------


async def test_each_state_lists_its_handoffs(store: RedisStore):
    """Waiting ones oldest first, final ones newest first."""
    for _ in range(4):
        await drop_off(store)
    await complete(store, (await pick_up(store)).lease)
    await hand_back(store, (await pick_up(store)).lease, "reject", reason="no")
    leased = await pick_up(store)
    later = await drop_off(store, delay_ms=5_000)

    def ids(handoffs: tuple) -> list[str]:
        return [handoff.id for handoff in handoffs]

    assert len(await store.handoffs(QUEUE.name, WAITING, 10)) == 1
    assert ids(await store.handoffs(QUEUE.name, LEASED, 10)) == [leased.handoff.id]
    assert ids(await store.handoffs(QUEUE.name, SCHEDULED, 10)) == [later.receipt.handoff_id]
    assert [one.state for one in await store.handoffs(QUEUE.name, COMPLETED, 10)] == [COMPLETED]
    assert [one.state for one in await store.handoffs(QUEUE.name, REJECTED, 10)] == [REJECTED]
    assert await store.handoffs(QUEUE.name, DEAD, 10) == ()
    assert await store.handoffs(msgspec.structs.replace(QUEUE, name="gone").name, WAITING, 10) == ()


async def test_a_list_is_as_long_as_was_asked_for(store: RedisStore):
    dropped = [(await drop_off(store)).receipt.handoff_id for _ in range(5)]

    assert [one.id for one in await store.handoffs(QUEUE.name, WAITING, 3)] == dropped[:3]


async def test_figures_count_each_handoff_once(store: RedisStore, clock: Clock):
    """And rates are those of the last five minutes."""
    for _ in range(5):
        await drop_off(store)
    await drop_off(store, delay_ms=5_000)
    await complete(store, (await pick_up(store)).lease)
    await pick_up(store)

    figures = (await store.figures([QUEUE.name]))[QUEUE.name]

    assert msgspec.structs.replace(figures, oldest_ms=0) == QueueFigures(
        waiting=3,
        waiting_of={"research@1": 3},
        leased=1,
        scheduled=1,
        ended=1,
        pickers=1,
        in_per_minute=6 / 5,
        out_per_minute=1 / 5,
    )
    clock.advance(5 * 60_000)
    later = (await store.figures([QUEUE.name]))[QUEUE.name]
    assert (later.waiting, later.in_per_minute, later.out_per_minute) == (3, 0, 0)


async def test_a_picker_is_counted_as_long_as_it_was_seen_lately(store: RedisStore, clock: Clock):
    await store.pick_up(BOB, QUEUE, "k")
    clock.advance(299_999)
    assert (await store.figures([QUEUE.name]))[QUEUE.name].pickers == 1

    clock.advance(2)

    assert (await store.figures([QUEUE.name]))[QUEUE.name].pickers == 0


async def test_a_picker_seen_before_the_clock_went_back_is_not_counted_for_ever(store: RedisStore, clock: Clock):
    await store.pick_up(BOB, QUEUE, "k")
    clock.advance(-3_600_000)
    await store.pick_up(BOB, QUEUE, "k")

    clock.advance(300_001)

    assert (await store.figures([QUEUE.name]))[QUEUE.name].pickers == 0


async def test_a_picker_not_seen_for_an_hour_is_forgotten(store: RedisStore, look: Look, clock: Clock):
    """Or every agent that ever asked would stay in memory."""
    await store.pick_up(BOB, QUEUE, "k")
    clock.advance(3_600_000)
    await store.pick_up(CAROL, QUEUE, "k")

    assert [agent for agent, _ in (await look.everything())["q:research:pickers"]] == [CAROL.agent]


async def test_an_empty_queue_that_is_asked_again_and_again_writes_nothing(store: RedisStore, look: Look, clock: Clock):
    """Ten thousand waiting agents must not fill the disk."""
    await store.pick_up(BOB, QUEUE, "k")
    clock.advance(10_000)

    async with look.nothing_changes():
        await store.pick_up(BOB, QUEUE, "k")


NEW = a_queue(QUEUE.name)


# ---- queues and schemas -----------------------------------------------------------------------------------------


async def test_the_same_queue_again_is_the_same_queue(store: RedisStore, look: Look, clock: Clock):
    """Made by two operators, or by one who did not hear the answer."""
    clock.advance(1_000)

    async with look.nothing_changes():
        assert await store.put_queue(OPS, NEW) == QUEUE


async def test_a_queue_with_other_settings_is_refused_and_named(store: RedisStore, look: Look):
    async with look.nothing_changes():
        with pytest.raises(QueueExists) as refusal:
            await store.put_queue(OPS, msgspec.structs.replace(NEW, lease_ms=1_000, purpose="other"))

    assert set(refusal.value.differs) == {"lease_ms", "purpose"}


async def test_queues_are_remembered_until_they_are_read_anew(store: RedisStore, look: Look):
    """The queue's revision finds out inside the step when memory is old."""
    await store.queues()
    await look.client.delete(look.keys.of("queues"))

    assert await store.queues() == {QUEUE.name: QUEUE}
    assert await store.queues(fresh=True) == {}


async def test_the_same_schema_again_is_the_version_it_has(store: RedisStore, look: Look):
    """Also an older one."""
    second, new = await store.put_schema(OPS, "research", "h2", b"{}")
    assert (second, new) == (StoredSchema(ref="research@2", hash="h2", content=b"{}"), True)

    async with look.nothing_changes():
        first, new = await store.put_schema(OPS, "research", SCHEMA_HASH, SCHEMA)

    assert (first.ref, new) == ("research@1", False)
    assert await store.schemas() == {"research@1": SCHEMA_HASH, "research@2": "h2"}
    assert await store.schema("h2") == second
    assert await store.schema("none") is None


async def test_one_content_may_have_two_names(store: RedisStore):
    """Each name counts its own versions."""
    other, new = await store.put_schema(OPS, "drafts", SCHEMA_HASH, SCHEMA)

    assert (other.ref, new) == ("drafts@1", True)


async def test_a_list_says_all_but_what_may_be_large(store: RedisStore):
    """The same as the record, without payload, result and checkpoint."""
    dropped = await drop_off(store, note="for you")
    await hand_back(store, (await pick_up(store)).lease, "release", reason="busy", checkpoint=b'{"read":7}')
    await extend(store, (await pick_up(store)).lease, progress="half")

    whole = await store.check(ANN, dropped.receipt.handoff_id, may_inspect=False)
    [listed] = await store.handoffs(QUEUE.name, LEASED, 10)

    assert whole.attempts
    assert listed == msgspec.structs.replace(whole, payload=b"", result=b"", checkpoint=b"")
