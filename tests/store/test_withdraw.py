"""withdraw: the sender takes its handoff back; while somebody holds it, the holder is asked."""

import pytest

from dropoff.core.answers import DroppedOff
from dropoff.core.lifecycle import COMPLETED, LEASED, WITHDRAWN
from dropoff.errors import HandoffSettled, HandoffUnknown
from dropoff.storage.store import RedisStore
from tests.look import Look
from tests.world import ANN, BOB, CAROL, QUEUE, Clock, complete, drop_off, pick_up, state, unknown_id, withdraw


@pytest.mark.parametrize("delay_ms", [0, 5_000])
async def test_what_nobody_holds_is_gone_at_once(store: RedisStore, clock: Clock, delay_ms: int):
    """Waiting or scheduled: nobody gets it any more."""
    id = (await drop_off(store, delay_ms=delay_ms)).receipt.handoff_id

    withdrawn = await withdraw(store, id, reason="no longer needed")

    assert withdrawn.state == WITHDRAWN
    assert (await store.check(ANN, id, may_inspect=False)).reason == "no longer needed"
    clock.advance(5_000)
    assert await store.due(id) is None
    assert await store.pick_up(BOB, QUEUE, "k") is None


async def test_a_holder_is_asked_and_keeps_its_lease(store: RedisStore, waiting_handoff: DroppedOff):
    picked = await pick_up(store, BOB)

    withdrawn = await withdraw(store, picked.handoff.id)

    assert withdrawn.state == LEASED
    assert (await store.check(ANN, picked.handoff.id, may_inspect=False)).withdrawal_asked
    assert await store.leases_of(BOB.agent) == (picked.lease,)
    await complete(store, picked.lease)
    assert await state(store, picked.handoff.id) == COMPLETED


@pytest.mark.parametrize("held", [False, True])
async def test_to_withdraw_twice_is_to_withdraw_once(
    store: RedisStore, waiting_handoff: DroppedOff, look: Look, held: bool
):
    """The second one answers what the first one did."""
    if held:
        await pick_up(store)
    first = await withdraw(store, waiting_handoff.receipt.handoff_id)

    async with look.nothing_changes():
        second = await withdraw(store, waiting_handoff.receipt.handoff_id)

    assert (second.receipt, second.state, second.repeated) == (first.receipt, first.state, True)


async def test_another_agent_s_handoff_is_unknown_and_does_not_change(
    store: RedisStore, waiting_handoff: DroppedOff, look: Look
):
    """Missing and forbidden look alike, also for its holder."""
    await pick_up(store, BOB)

    async with look.nothing_changes():
        for stranger in (BOB, CAROL):
            with pytest.raises(HandoffUnknown):
                await withdraw(store, waiting_handoff.receipt.handoff_id, stranger)
            with pytest.raises(HandoffUnknown):
                await withdraw(store, unknown_id(), stranger)


async def test_who_operates_the_queue_may_withdraw_for_the_sender(store: RedisStore, waiting_handoff: DroppedOff):
    withdrawn = await withdraw(store, waiting_handoff.receipt.handoff_id, CAROL, may_operate=True)

    assert withdrawn.state == WITHDRAWN


async def test_what_is_settled_cannot_be_withdrawn(store: RedisStore, waiting_handoff: DroppedOff, look: Look):
    """Final is final, and the refusal says since when."""
    picked = await pick_up(store)
    await complete(store, picked.lease)
    ended_ms = (await store.check(ANN, picked.handoff.id, may_inspect=False)).ended_ms

    async with look.nothing_changes():
        with pytest.raises(HandoffSettled) as refusal:
            await withdraw(store, picked.handoff.id)

    assert (refusal.value.state, refusal.value.at_ms) == (COMPLETED, ended_ms)


async def test_what_is_no_id_is_unknown(store: RedisStore):
    """Nothing that somebody wrote becomes part of a key unless it is an id."""
    for made_up in ("", "research", "research-lower", "../q-8F3K2Q9T1MXK7A4B", "research-8F3K2Q9T1MXK7A4B:x"):
        with pytest.raises(HandoffUnknown):
            await withdraw(store, made_up)  # pyright: ignore[reportArgumentType]
