"""forward: complete, and drop off what comes next, in one step: both happen, or neither."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from dropoff.core.answers import Completed, PickedUp
from dropoff.core.handoff import HandoffId
from dropoff.core.lifecycle import COMPLETED, HELD, LEASED, WAITING
from dropoff.core.queue import Queue
from dropoff.core.store import Stale
from dropoff.errors import AlreadySettled, DropoffError, LeaseLost, LeaseUnknown, QueueDraining, QueueFull
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
    forward,
    live,
    pick_up,
    state,
    until,
    within,
    work,
)


@pytest.fixture
async def drafts(store: RedisStore, picked: PickedUp) -> Queue:
    """Where it goes next."""
    return await store.put_queue(UPKEEP, a_queue("drafts"))


@asynccontextmanager
async def neither(store: RedisStore, look: Look, picked: PickedUp, error: type[Exception]) -> AsyncIterator[list[Any]]:
    """Whatever happens inside is refused, changes nothing, and BOB may go on with its lease."""
    refused: list[Any] = []
    async with look.nothing_changes():
        with pytest.raises(error) as refusal:
            yield refused
    refused.append(refusal.value)
    await extend(store, picked.lease)
    await complete(store, picked.lease)


# ---- both -------------------------------------------------------------------------------------------------------


async def test_both_happen_and_each_names_the_other(
    store: RedisStore, picked: PickedUp, drafts: Queue, look: Look, clock: Clock
):
    """The result is recorded, and what comes next waits under its own contract."""
    clock.advance(5)

    done = await forward(store, picked.lease, queue=drafts, result=b'{"found":3}', payload=b'{"draft":1}', note="new")

    old = await store.check(ANN, picked.handoff.id, may_inspect=False)
    onward = await store.check(BOB, HandoffId(done.next_id), may_inspect=False)
    assert (old.state, old.result, old.next) == (COMPLETED, b'{"found":3}', onward.id)
    assert (onward.state, onward.sender, onward.parent) == (WAITING, BOB.agent, old.id)
    assert (onward.queue, onward.payload, onward.note, onward.dropped_ms) == (
        drafts.name,
        b'{"draft":1}',
        "new",
        clock.now_ms,
    )
    for queue in (QUEUE, drafts):
        check_indexes(await look.everything(), queue.name)
    assert (await pick_up(store, CAROL, queue=drafts)).handoff.id == onward.id


async def test_both_entries_stand_in_the_ledger_side_by_side(store: RedisStore, picked: PickedUp, drafts: Queue):
    """The completion, whose receipt its holder gets, and the drop_off, which names its parent."""
    done = await forward(store, picked.lease, queue=drafts)

    completing, dropping = await store.entries(at_most=2)
    assert (completing.step, completing.handoff, completing.id) == ("complete", picked.handoff.id, done.receipt.entry)
    assert (dropping.step, dropping.handoff, dropping.parent) == ("drop_off", done.next_id, picked.handoff.id)
    assert (dropping.actor, dropping.revs, dropping.n) == (BOB.agent, completing.revs, "1")


async def test_it_may_go_on_in_the_queue_that_it_came_from(store: RedisStore, picked: PickedUp, look: Look):
    """Both of its ends are in the same keys then."""
    done = await forward(store, picked.lease, queue=QUEUE)

    check_indexes(await look.everything(), QUEUE.name)
    again = await pick_up(store, CAROL)
    assert (again.handoff.id, again.handoff.parent) == (done.next_id, picked.handoff.id)


async def test_what_comes_next_wakes_who_waits_for_it(store: RedisStore, picked: PickedUp, drafts: Queue, look: Look):
    """And who waits for the outcome of what it came from."""

    async def subscribed() -> bool:
        return (await look.client.pubsub_numsub(look.keys.wake))[0][1] == 1

    await until("the store to have subscribed", subscribed)
    store._wakes._tasks[1].cancel()  # only the wakes that are published, not the regular count
    async with store.waiting_for_work([drafts.name]) as work, store.waiting_for_outcome(picked.handoff.id) as outcome:
        await forward(store, picked.lease, queue=drafts)

        assert await within("both to be woken", asyncio.gather(work.news(10), outcome.news(10))) == [True, True]


async def test_what_comes_next_obeys_the_queue_that_it_comes_into(store: RedisStore, picked: PickedUp):
    """It is held or expires as anything that is dropped off there."""
    held = await store.put_queue(UPKEEP, a_queue("held", approval=True, expires_ms=7_000))

    done = await forward(store, picked.lease, queue=held)

    onward = await store.check(BOB, HandoffId(done.next_id), may_inspect=False)
    assert (onward.state, onward.expires_ms - onward.dropped_ms) == (HELD, 7_000)


async def test_into_a_paused_queue_it_may_go(store: RedisStore, picked: PickedUp):
    """Paused: work comes in, none goes out."""
    paused = await store.put_queue(UPKEEP, a_queue("paused", state="paused"))

    done = await forward(store, picked.lease, queue=paused)

    assert await state(store, HandoffId(done.next_id)) == WAITING


# ---- neither ----------------------------------------------------------------------------------------------------


async def test_into_a_draining_queue_nothing_goes_and_the_lease_goes_on(
    store: RedisStore, picked: PickedUp, look: Look
):
    """The refusal says that it is about what comes next, and why."""
    draining = await store.put_queue(UPKEEP, a_queue("draining", state="draining", reason="moving house"))

    async with neither(store, look, picked, QueueDraining) as refused:
        await forward(store, picked.lease, queue=draining)

    assert (refused[0].queue, refused[0].reason, refused[0].of_next) == ("draining", "moving house", True)


async def test_into_a_full_queue_nothing_goes_and_the_lease_goes_on(store: RedisStore, picked: PickedUp, look: Look):
    full = await store.put_queue(UPKEEP, a_queue("full", waiting_max=1))
    await drop_off(store, queue=full)

    async with neither(store, look, picked, QueueFull) as refused:
        await forward(store, picked.lease, queue=full)

    assert (refused[0].queue, refused[0].waiting_max, refused[0].of_next) == ("full", 1, True)


async def test_judged_by_old_settings_nothing_goes_and_the_lease_goes_on(
    store: RedisStore, picked: PickedUp, drafts: Queue, look: Look
):
    """The payload was held against a contract that is not the queue's any more."""
    await store.put_queue(OPS, msgspec.structs.replace(drafts, purpose="other"))

    async with neither(store, look, picked, Stale):
        await forward(store, picked.lease, queue=drafts)


async def test_into_a_queue_that_is_gone_nothing_goes_and_the_lease_goes_on(
    store: RedisStore, picked: PickedUp, drafts: Queue, look: Look
):
    assert await store.remove_queue(OPS, drafts)

    async with neither(store, look, picked, Stale):
        await forward(store, picked.lease, queue=drafts)


@pytest.mark.parametrize("lost", ["ready", "h", "minute"])
async def test_a_damaged_key_of_the_next_queue_stops_both(
    store: RedisStore, picked: PickedUp, drafts: Queue, look: Look, clock: Clock, lost: str
):
    """Scripts are not rolled back, so all of it is looked at before the first write."""
    parts = {"ready": f"ready:{drafts.version}", "minute": f"minute:{clock.now_ms // 60_000}"}
    name = look.keys.of_queue(drafts.name) + parts.get(lost, "")
    if lost == "h":
        name = look.keys.of("handoff", queue=drafts.name, id=work_id(picked, drafts))
    await look.client.set(name, "damaged")

    async with look.nothing_changes():
        with pytest.raises(Exception, match="WRONGTYPE"):
            await forward(store, picked.lease, queue=drafts)

    await look.client.delete(name)
    await forward(store, picked.lease, queue=drafts)


def work_id(picked: PickedUp, queue: Queue) -> HandoffId:
    """What comes next has an id that follows from the lease."""
    return work(BOB, queue=queue, key=f"next\n{picked.lease.id}").id


# ---- who ---------------------------------------------------------------------------------------------------------


async def test_only_the_holder_forwards(store: RedisStore, picked: PickedUp, drafts: Queue, look: Look):
    """A borrowed lease id brings nothing into any queue."""
    async with look.nothing_changes():
        with pytest.raises(LeaseUnknown):
            await forward(store, picked.lease, CAROL, queue=drafts)


async def test_who_has_lost_its_lease_forwards_nothing(
    store: RedisStore, picked: PickedUp, drafts: Queue, look: Look, clock: Clock
):
    """Or the same work would go on twice."""
    await live(store, clock, LEASE_MS)
    await store.lapse(picked.handoff.id)
    await pick_up(store, CAROL)

    async with look.nothing_changes():
        with pytest.raises(LeaseLost):
            await forward(store, picked.lease, queue=drafts)

    assert await state(store, picked.handoff.id) == LEASED


# ---- said again --------------------------------------------------------------------------------------------------


async def test_the_same_again_is_the_same_success(store: RedisStore, picked: PickedUp, drafts: Queue, look: Look):
    """Without any key; also when what came next has been picked up, or the queue takes nothing more by now."""
    first = await forward(store, picked.lease, queue=drafts)
    await pick_up(store, CAROL, queue=drafts)
    await store.put_queue(OPS, msgspec.structs.replace(drafts, state="draining"))

    async with look.nothing_changes():
        again = await forward(store, picked.lease, queue=drafts)

    assert again == Completed(receipt=first.receipt, next_id=first.next_id, repeated=True)


@pytest.mark.parametrize(
    "other", [{"result": b'{"found":4}'}, {"payload": b'{"topic":"bats"}'}, {"note": "other"}, {"queue": QUEUE}]
)
async def test_another_result_or_another_next_is_refused(
    store: RedisStore, picked: PickedUp, drafts: Queue, look: Look, other: dict[str, Any]
):
    """One outcome each: the first one stands, and nothing else is dropped off beside it."""
    await forward(store, picked.lease, queue=drafts)
    asked: dict[str, Any] = {"queue": drafts} | other

    async with look.nothing_changes():
        with pytest.raises(AlreadySettled):
            await forward(store, picked.lease, **asked)


async def test_with_next_and_without_are_two_things(store: RedisStore, picked: PickedUp, drafts: Queue, look: Look):
    """Whichever came first stands."""
    await forward(store, picked.lease, queue=drafts)
    async with look.nothing_changes():
        with pytest.raises(AlreadySettled):
            await complete(store, picked.lease)

    await drop_off(store)
    plain = await pick_up(store, BOB)
    await complete(store, plain.lease)
    async with look.nothing_changes():
        with pytest.raises(AlreadySettled):
            await forward(store, plain.lease, queue=drafts)


async def test_said_many_times_at_once_it_happens_once(store: RedisStore, picked: PickedUp, drafts: Queue):
    asked = (forward(store, picked.lease, queue=drafts) for _ in range(20))

    answers = await within("all to be answered", asyncio.gather(*asked))

    assert len({answer.next_id for answer in answers}) == len({answer.receipt.entry for answer in answers}) == 1
    assert [answer.repeated for answer in answers].count(False) == 1
    assert (await store.figures([drafts.name]))[drafts.name].waiting == 1


async def test_a_refusal_mended_goes_through_under_the_same_lease(store: RedisStore, picked: PickedUp, drafts: Queue):
    """What was refused is not remembered: the queue opens again, and the same call is carried out."""
    closed = await store.put_queue(OPS, msgspec.structs.replace(drafts, state="draining"))
    with pytest.raises(DropoffError):
        await forward(store, picked.lease, queue=closed)
    opened = await store.put_queue(OPS, msgspec.structs.replace(closed, state="open"))

    done = await forward(store, picked.lease, queue=opened)

    assert (done.repeated, await state(store, HandoffId(done.next_id))) == (False, WAITING)
