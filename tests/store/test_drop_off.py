"""drop_off: put one new handoff into its queue, once."""

import msgspec
import pytest

from dropoff.core.answers import DroppedOff
from dropoff.core.caller import Revision
from dropoff.core.lifecycle import SCHEDULED, WAITING
from dropoff.core.store import Stale
from dropoff.errors import QueueFull, RequestConflict
from dropoff.storage.store import RedisStore
from tests.look import Look
from tests.world import ANN, BOB, CAROL, QUEUE, UPKEEP, Clock, a_queue, change, complete, drop_off, pick_up, state, work


async def test_a_handoff_is_kept_as_it_was_dropped_off(store: RedisStore, clock: Clock):
    """The record has what the agent brought, what the queue demands, and who brought it."""
    new = work(ANN, payload=b'{"topic":"owls"}', note="for you")

    dropped = await store.drop_off(ANN, QUEUE, new)

    kept = await store.check(ANN, new.id, may_inspect=False)
    assert (kept.id, kept.queue, kept.sender, kept.state) == (new.id, QUEUE.name, ANN.agent, WAITING)
    assert (kept.payload, kept.digest, kept.note) == (new.payload, new.digest, "for you")
    assert (kept.schema, kept.schema_hash, kept.attempts_max) == (QUEUE.schema, QUEUE.schema_hash, QUEUE.attempts_max)
    assert kept.dropped_ms == clock.now_ms
    assert dropped.state == WAITING
    assert not dropped.repeated


async def test_a_repeated_drop_off_is_the_same_handoff(store: RedisStore, look: Look):
    """An agent that did not hear the answer asks again, and has dropped off once."""
    first = await drop_off(store, key="k")

    async with look.nothing_changes():
        second = await drop_off(store, key="k")

    assert second == msgspec.structs.replace(first, repeated=True)


async def test_a_repeated_drop_off_tells_what_became_of_the_handoff(store: RedisStore, look: Look):
    """The same call long after is still the same call: it answers with its own receipt, and the state of now."""
    first = await drop_off(store, key="k")
    await complete(store, (await pick_up(store)).lease)

    async with look.nothing_changes():
        again = await drop_off(store, key="k")

    assert (again.receipt, again.state, again.repeated) == (first.receipt, "completed", True)


@pytest.mark.parametrize("other", [{"payload": b'{"topic":"bats"}'}, {"note": "other"}, {"delay_ms": 1}])
async def test_other_content_under_a_used_key_is_a_conflict(store: RedisStore, look: Look, other: dict):
    """Nobody can guess which of the two was meant, so neither replaces the other."""
    first = await drop_off(store, key="k")

    async with look.nothing_changes():
        with pytest.raises(RequestConflict) as refusal:
            await drop_off(store, key="k", **other)

    assert refusal.value.handoff_id == first.receipt.handoff_id


async def test_a_key_belongs_to_its_agent(store: RedisStore):
    """Two agents that use the same key drop off two handoffs."""
    ours, theirs = await drop_off(store, ANN, key="k"), await drop_off(store, CAROL, key="k")

    assert ours.receipt.handoff_id != theirs.receipt.handoff_id


async def test_an_id_that_another_agent_has_used_is_a_conflict(store: RedisStore, look: Look):
    """Should an id ever meet another agent's, that agent's handoff is neither changed nor shown."""
    new = work(ANN)
    await store.drop_off(ANN, QUEUE, new)

    async with look.nothing_changes():
        with pytest.raises(RequestConflict):
            await store.drop_off(CAROL, QUEUE, new)


async def test_a_delayed_handoff_is_given_to_nobody_before_its_time(store: RedisStore, clock: Clock):
    """It is scheduled; the clock makes it waiting, no sooner."""
    dropped = await drop_off(store, delay_ms=5_000)
    id = dropped.receipt.handoff_id
    assert dropped.state == SCHEDULED
    assert await store.pick_up(BOB, QUEUE, "k") is None

    clock.advance(4_999)
    assert await store.due(id) is None
    clock.advance(1)
    assert await store.due(id)

    assert (await pick_up(store)).handoff.id == id


async def test_a_sender_hears_what_is_ahead_and_who_asked_for_work(store: RedisStore):
    """Enough for it to guess how long it takes."""
    await drop_off(store)
    await pick_up(store, BOB)
    assert await store.pick_up(CAROL, QUEUE, "k") is None
    await drop_off(store)
    await drop_off(store)

    dropped = await drop_off(store)

    assert (dropped.ahead_of_it, dropped.pickers) == (2, 2)


async def test_a_full_queue_refuses_until_something_is_picked_up(store: RedisStore, look: Look):
    """The limit counts what waits; what is being worked on has left."""
    small = await store.put_queue(UPKEEP, a_queue("small", waiting_max=2))
    await drop_off(store, queue=small)
    last = await drop_off(store, queue=small, key="last")

    async with look.nothing_changes():
        with pytest.raises(QueueFull) as refusal:
            await drop_off(store, queue=small)
    again = await drop_off(store, queue=small, key="last")
    await pick_up(store, queue=small)
    await drop_off(store, queue=small)

    assert (refusal.value.queue, refusal.value.waiting_max) == ("small", 2)
    assert again.receipt == last.receipt


async def test_a_payload_judged_by_old_settings_is_stale(store: RedisStore, look: Look):
    """The queue's contract may have changed since; so the broker reads it anew and judges again."""
    old = msgspec.structs.replace(QUEUE, rev=Revision("1"))

    async with look.nothing_changes():
        with pytest.raises(Stale):
            await drop_off(store, queue=old)


async def test_a_queue_that_is_not_there_is_stale(store: RedisStore, look: Look):
    """The broker remembers a queue that the store does not have (any more)."""
    gone = msgspec.structs.replace(QUEUE, name="gone")

    async with look.nothing_changes():
        with pytest.raises(Stale):
            await drop_off(store, queue=gone)


async def test_a_revoked_sender_s_handoffs_go_on(store: RedisStore, waiting_handoff: DroppedOff):
    """What was asked for while it was allowed stays asked for."""
    await change(store, ANN, "revoked")

    picked = await pick_up(store)

    assert picked.handoff.id == waiting_handoff.receipt.handoff_id
    assert await state(store, picked.handoff.id) == "leased"


async def test_scheduled_work_counts_against_the_queues_limit(store: RedisStore):
    """It will wait there; otherwise a delay would be the way around."""
    small = await store.put_queue(UPKEEP, a_queue("small", waiting_max=2))
    await drop_off(store, queue=small, delay_ms=1_000)
    await drop_off(store, queue=small)
    with pytest.raises(QueueFull):
        await drop_off(store, queue=small, delay_ms=1_000)
