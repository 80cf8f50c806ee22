"""Who waits costs no connection, is woken at once, and is found again when a wake is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest

from dropoff.core.answers import DroppedOff, PickedUp
from dropoff.core.handoff import QueueName
from dropoff.core.queue import Queue
from dropoff.storage.store import RedisStore
from dropoff.storage.wakes import Waiter
from tests.look import Look
from tests.world import (
    ANN,
    BOB,
    CAROL,
    LEASE_MS,
    QUEUE,
    UPKEEP,
    Clock,
    complete,
    drop_off,
    hand_back,
    key_or_new,
    live,
    pick_up,
    until,
    within,
)

WAITERS = 200
LONG_S = 20.0
NOT_YET_S = 0.3  # how long we watch for what must not happen; counting comes once a second


async def work_for(store: RedisStore, by=BOB) -> PickedUp | None:
    """Wait for work as the broker does: take a place, look, wait, look again."""
    key = key_or_new("")
    async with store.waiting_for_work([QUEUE.name]) as place:
        while True:
            picked = await store.pick_up(by, QUEUE, key)
            if picked or not await place.news(LONG_S):
                return picked


@asynccontextmanager
async def waiting(store: RedisStore, waiters: int) -> AsyncIterator[list["asyncio.Task[PickedUp | None]"]]:
    """So many who wait for work, all of them asleep."""
    tasks = [asyncio.create_task(work_for(store)) for _ in range(waiters)]

    async def asleep() -> bool:
        # All have looked once (each of them is one batch's part), and the line is as long as it should be.
        await store.ping()
        return store.waiting_here(QUEUE.name) == waiters

    try:
        await until("all waiters to have taken their place", asleep)
        await store.ping()
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(autouse=True)
async def subscribed(store: RedisStore, look: Look) -> None:
    """From here on a wake is heard; before, it would be found by counting."""

    async def heard() -> bool:
        return (await look.client.pubsub_numsub(look.keys.wake))[0][1] == 1

    await until("the store to have subscribed", heard)


def do_not_count(store: RedisStore) -> None:
    """Leave only the wakes that are published, so that nobody is woken by the regular count."""
    store._wakes._tasks[1].cancel()


async def test_200_who_wait_use_at_most_3_connections(store: RedisStore, look: Look):
    """They are coroutines; steps and wakes have one connection each."""
    async with waiting(store, WAITERS):
        assert len(await look.connections()) <= 3


async def test_a_drop_wakes_exactly_one(store: RedisStore, look: Look):
    """And the others sleep on: nobody else comes to look, which the server counts."""
    do_not_count(store)

    async def steps() -> int:
        return (await look.client.info("commandstats"))["cmdstat_evalsha"]["calls"]

    async with waiting(store, WAITERS) as tasks:
        before = await steps()
        dropped = await drop_off(store)
        done, _ = await within("one to be woken", asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))
        await asyncio.wait([task for task in tasks if task not in done], timeout=NOT_YET_S)

        picked = [task.result() for task in done]
        assert [one.handoff.id for one in picked if one] == [dropped.receipt.handoff_id]
        assert await steps() - before == 2, "the drop, and the look of the one who was woken"


async def test_who_came_first_is_woken_first(store: RedisStore):
    do_not_count(store)
    async with waiting(store, 3) as tasks:
        for first in tasks:
            await drop_off(store)
            await within("the first in the line", first)


async def test_as_many_are_woken_as_there_is_work(store: RedisStore):
    """Many drops at once: each is picked up by another waiter."""
    do_not_count(store)
    async with waiting(store, 20) as tasks:
        await asyncio.gather(*(drop_off(store) for _ in range(20)))
        picked = await within("all of them", asyncio.gather(*tasks))

        assert len({one.handoff.id for one in picked if one}) == 20


@pytest.mark.parametrize("cause", ["due", "release", "lapse"])
async def test_whatever_makes_a_handoff_waiting_wakes_one(store: RedisStore, clock: Clock, cause: str):
    """A drop is only one way to it."""
    dropped = await drop_off(store, delay_ms=1_000 if cause == "due" else 0)
    id = dropped.receipt.handoff_id
    lease = (await pick_up(store, CAROL)).lease if cause != "due" else None
    async with waiting(store, 2) as tasks:
        await live(store, clock, LEASE_MS)
        if lease is None:
            await store.due(id)
        elif cause == "release":
            await hand_back(store, lease, "release", CAROL)
        else:
            await store.lapse(id)
        done, _ = await within("one to be woken", asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))

        assert [task.result() is not None for task in done] == [True]


async def test_all_who_wait_for_an_outcome_are_woken(store: RedisStore, waiting_handoff: DroppedOff):
    """It is the same news for everybody; and nobody else is woken by it."""
    do_not_count(store)
    id = waiting_handoff.receipt.handoff_id
    picked = await pick_up(store)
    other = await drop_off(store)
    async with AsyncExitStack() as stack:
        places = [await stack.enter_async_context(store.waiting_for_outcome(id)) for _ in range(50)]
        stranger = await stack.enter_async_context(store.waiting_for_outcome(other.receipt.handoff_id))
        news = [asyncio.create_task(place.news(LONG_S)) for place in places]

        await complete(store, picked.lease)

        assert all(await within("all of them", asyncio.gather(*news)))
        assert not await within("the stranger's time to be up", stranger.news(NOT_YET_S))
    assert (await store.check(ANN, id, may_inspect=False)).state == "completed"


async def test_a_waiter_that_leaves_hands_its_wake_on(store: RedisStore):
    """It was woken, and is cancelled before it could ask: the next one asks instead."""
    woken = asyncio.Event()

    async def leave_when_woken() -> None:
        async with store.waiting_for_work([QUEUE.name]) as place:
            woken.set()
            await asyncio.Event().wait()  # whatever keeps it, it does not come to ask
            await place.news(LONG_S)

    leaving = asyncio.create_task(leave_when_woken())
    await within("the first to have its place", woken.wait())
    async with store.waiting_for_work([QUEUE.name]) as next_one:
        store._wakes.wake(QUEUE.name)
        assert not next_one.woken

        leaving.cancel()

        assert await within("the wake to be handed on", next_one.news(LONG_S))


async def test_a_waiter_in_several_queues_leaves_all_of_them(store: RedisStore):
    """No line keeps one that is gone."""
    queues = [QUEUE.name, QueueName("drafts")]
    async with store.waiting_for_work(queues):
        assert [store.waiting_here(queue) for queue in queues] == [1, 1]

    assert [store.waiting_here(queue) for queue in queues] == [0, 0]


async def test_the_time_is_up_when_it_is_up(store: RedisStore):
    async with store.waiting_for_work([QUEUE.name]) as place:
        assert not await within("the time to be up", place.news(0.05))


async def test_a_drop_between_looking_and_waiting_is_not_missed(store: RedisStore):
    """The place is taken before the first look."""
    do_not_count(store)
    async with store.waiting_for_work([QUEUE.name]) as place:
        assert await store.pick_up(BOB, QUEUE, "k") is None
        await drop_off(store)

        assert await within("the news", place.news(LONG_S))


async def test_a_lost_wake_is_found_by_counting(store: RedisStore, look: Look, monkeypatch: pytest.MonkeyPatch):
    """The subscription is cut at the very moment of the drop, and its news with it."""
    monkeypatch.setattr("dropoff.storage.wakes.RECONNECT_S", LONG_S)  # so that it is not found by the new subscription
    async with waiting(store, 1) as tasks:
        subscribers = [one for one in await look.connections() if int(one["sub"]) > 0]
        for one in subscribers:
            await look.client.client_kill_filter(_id=one["id"])

        async def nobody_listens() -> bool:
            return (await look.client.pubsub_numsub(look.keys.wake))[0][1] == 0

        await until("the subscription to be gone", nobody_listens)
        dropped = await drop_off(store)

        [picked] = await within("the waiter to be found by counting", asyncio.gather(*tasks), limit_s=3.0)
        assert picked is not None
        assert picked.handoff.id == dropped.receipt.handoff_id


async def test_a_subscription_that_was_cut_is_taken_up_again(store: RedisStore, look: Look):
    """After that, wakes are heard as before."""
    [subscriber] = [one for one in await look.connections() if int(one["sub"]) > 0]
    await look.client.client_kill_filter(_id=subscriber["id"])

    async def listens_anew() -> bool:
        now = [one["id"] for one in await look.connections() if int(one["sub"]) > 0]
        return bool(now) and now != [subscriber["id"]]

    await until("the store to have subscribed again", listens_anew)
    async with waiting(store, 1) as tasks:
        await drop_off(store)
        assert await within("the waiter", tasks[0])


# ---- who can read only some versions ----------------------------------------------------------------------------

OLD, NEW = "research@1", "research@2"


@pytest.fixture
async def moved(store: RedisStore) -> Queue:
    """The queue, at the next version of its schema."""
    return await store.put_queue(UPKEEP, msgspec.structs.replace(QUEUE, schema=NEW))


async def test_a_drop_wakes_the_first_who_can_read_it(store: RedisStore, moved: Queue):
    """Whoever cannot sleeps on, and keeps its place before those who came later."""
    do_not_count(store)
    async with (
        store.waiting_for_work([QUEUE.name], [OLD]) as old_worker,
        store.waiting_for_work([QUEUE.name], [NEW]) as new_worker,
        store.waiting_for_work([QUEUE.name]) as reads_all,
    ):
        await drop_off(store, queue=moved)
        assert await within("the new worker to be woken", new_worker.news(LONG_S))
        await drop_off(store, queue=moved)
        assert await within("the new worker to be woken again", new_worker.news(LONG_S))
        assert (old_worker.woken, reads_all.woken) == (False, False)


async def test_a_lost_wake_is_found_by_who_can_read_it(store: RedisStore, moved: Queue):
    """Counting knows what waits of each version."""
    async with (
        store.waiting_for_work([QUEUE.name], [OLD]) as old_worker,
        store.waiting_for_work([QUEUE.name], [NEW]) as new_worker,
    ):
        store._wakes._tasks[0].cancel()  # nothing is heard
        await drop_off(store, queue=moved)
        assert await within("the new worker to be found", new_worker.news(LONG_S))
        assert not old_worker.woken


async def test_a_wake_is_handed_on_to_who_can_read_it(store: RedisStore, moved: Queue):
    do_not_count(store)
    async with (
        store.waiting_for_work([QUEUE.name], [OLD]) as old_worker,
        store.waiting_for_work([QUEUE.name], [OLD, NEW]) as other,
    ):
        async with store.waiting_for_work([QUEUE.name], [NEW]) as leaving:
            other.wake()
            await drop_off(store, queue=moved)
            await until("the one who leaves to be woken", lambda: is_woken(leaving))
            assert await other.news(0)  # it was awake already, and asks, and sleeps again
        assert await within("the wake to be handed on", other.news(LONG_S))
        assert not old_worker.woken


async def is_woken(waiter: Waiter) -> bool:
    return waiter.woken
