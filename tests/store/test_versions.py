"""A queue that moves to another version of its schema: what waits stays pinned to its own, and keeps its place."""

import asyncio

import msgspec
import pytest

from dropoff.core.handoff import HandoffId
from dropoff.core.queue import Queue
from dropoff.errors import QueueFull, QueueNotEmpty
from dropoff.storage.mending import Named
from dropoff.storage.store import RedisStore
from tests.look import Look, check_indexes
from tests.world import BOB, OPS, QUEUE, UPKEEP, complete, drop_off, hand_back, pick_up, within

ONE, TWO, THREE = "research@1", "research@2", "research@3"
NAME = QUEUE.name
VERSIONS = f"q:{NAME}:versions"


async def moved(store: RedisStore, to: str, **settings: object) -> Queue:
    now = (await store.queues(fresh=True))[NAME]
    return await store.put_queue(UPKEEP, msgspec.structs.replace(now, schema=to, **settings))


async def dropped(store: RedisStore, queue: Queue = QUEUE) -> HandoffId:
    return (await drop_off(store, queue=queue)).receipt.handoff_id


async def test_what_waits_stays_pinned_and_goes_first(store: RedisStore, look: Look):
    """The oldest is the oldest of all versions."""
    first = [await dropped(store), await dropped(store)]
    queue = await moved(store, TWO)
    second = [await dropped(store, queue)]
    queue = await moved(store, ONE)
    third = [await dropped(store, queue)]

    picked = [(await pick_up(store)).handoff for _ in range(4)]

    assert [handoff.id for handoff in picked] == first + second + third
    assert [handoff.schema for handoff in picked] == [ONE, ONE, TWO, ONE]
    check_indexes(await look.everything(), NAME)


async def test_who_cannot_read_a_version_is_not_given_it(store: RedisStore, look: Look):
    """And gets what it can read in its order, past everything else."""
    old = [await dropped(store), await dropped(store)]
    queue = await moved(store, TWO)
    new = [await dropped(store, queue)]
    queue = await moved(store, THREE)
    newest = [await dropped(store, queue)]

    assert [(await pick_up(store, accepts=[TWO, THREE])).handoff.id for _ in range(2)] == new + newest
    assert await store.pick_up(BOB, QUEUE, "none of these", [TWO, THREE]) is None
    assert await store.pick_up(BOB, QUEUE, "of another name", ["drafts@1"]) is None
    assert await store.pick_up(BOB, QUEUE, "a longer number", ["research@11"]) is None
    assert [(await pick_up(store, accepts=[ONE])).handoff.id for _ in range(2)] == old
    check_indexes(await look.everything(), NAME)


async def test_order_holds_within_one_millisecond(store: RedisStore):
    """What comes back to an old version's stream stands behind what came meanwhile into the new one's."""
    same_millisecond = 0
    for _ in range(300):
        queue = await moved(store, ONE)
        await dropped(store, queue)
        old = await pick_up(store)
        queue = await moved(store, TWO)
        calls = [drop_off(store, queue=queue), hand_back(store, old.lease, "release"), drop_off(store, queue=queue)]
        entries = [done.receipt.entry for done in await within("all three", asyncio.gather(*calls))]
        picked = [await pick_up(store) for _ in entries]

        waited_since = {(await store.entries(handoff_id=one.handoff.id))[-2].id: one.handoff.id for one in picked}
        assert set(waited_since) == set(entries)
        in_order = sorted(entries, key=lambda entry: tuple(map(int, entry.split("-"))))
        assert [one.handoff.id for one in picked] == [waited_since[entry] for entry in in_order]
        same_millisecond += len({entry.partition("-")[0] for entry in entries}) == 1
        for one in picked:
            await complete(store, one.lease)
        if same_millisecond == 3:
            return
    pytest.fail("no three calls came in one millisecond")


async def test_a_stream_ahead_of_the_ledger_takes_work_all_the_same(store: RedisStore, look: Look):
    """Its clock went back, or one of the two was lost: then the new one is the last of its stream."""
    stream = store.keys.of("ready", queue=NAME, version="1")
    ahead = await look.client.xadd(stream, {"id": "nobody's"}, id="9999999999999-0")
    await look.client.xdel(stream, ahead)

    ids = [await dropped(store), await dropped(store)]

    assert [(await pick_up(store)).handoff.id for _ in ids] == ids
    check_indexes(await look.everything(), NAME)


async def test_all_that_waits_is_counted_and_listed(store: RedisStore):
    """Whatever version it is pinned to: by the figures, the list, the limit, the answers to sender and picker."""
    old = [await dropped(store), await dropped(store)]
    queue = await moved(store, TWO, waiting_max=4)
    answer = await drop_off(store, queue=queue)
    assert answer.ahead_of_it == 2
    new = [answer.receipt.handoff_id, await dropped(store, queue)]

    with pytest.raises(QueueFull):
        await drop_off(store, queue=queue)
    figures = (await store.figures([NAME]))[NAME]
    assert (figures.waiting, figures.waiting_of) == (4, {ONE: 2, TWO: 2})
    assert [one.id for one in await store.handoffs(NAME, "waiting", 3)] == [*old, new[0]]
    assert (await pick_up(store)).waiting == 3
    assert (await pick_up(store, key="once")).waiting == 2
    assert (await pick_up(store, key="once")).waiting == 2
    again = await store.picked_before(BOB, BOB.agent, "once")
    assert again
    assert again.waiting == 2


async def test_a_version_of_which_nothing_waits_is_forgotten(store: RedisStore, look: Look):
    """With its stream; and it is known again as soon as something of it comes back."""
    await dropped(store)
    queue = await moved(store, TWO)
    held = await pick_up(store)
    await dropped(store, queue)
    assert (await look.everything())[VERSIONS] == {"1", "2"}

    await pick_up(store)
    assert (await look.everything())[VERSIONS] == {"2"}
    assert f"q:{NAME}:ready:1" not in await look.everything()

    await hand_back(store, held.lease, "release")
    assert (await pick_up(store)).handoff.id == held.handoff.id


async def test_a_queue_is_empty_when_no_version_waits(store: RedisStore, look: Look):
    """Then it goes with all its streams."""
    await dropped(store)
    queue = await moved(store, TWO)
    with pytest.raises(QueueNotEmpty):
        await store.remove_queue(OPS, queue)

    picked = await pick_up(store)
    await dropped(store, queue)
    await complete(store, (await pick_up(store)).lease)
    await complete(store, picked.lease)
    for one in await store.handoffs(NAME, "completed", 10):
        await look.client.zrem(store.keys.of("final", queue=NAME), one.id)
        await look.client.delete(store.keys.of("handoff", queue=NAME, id=one.id))
    assert await store.remove_queue(OPS, queue)
    left = {name for name in await look.everything() if name.startswith(f"q:{NAME}:") and "minute" not in name}
    assert left == set()


async def test_lost_versions_are_put_back(store: RedisStore, look: Look):
    """Nothing waits for an index that was lost longer than until it is mended."""
    old = await dropped(store)
    await moved(store, TWO)
    await look.client.delete(store.keys.of("versions", queue=NAME))
    assert await store.pick_up(BOB, QUEUE, "k") is None

    assert await store._mend_one(Named(old))
    assert not await store._mend_one(Named(old))

    assert (await pick_up(store)).handoff.id == old
