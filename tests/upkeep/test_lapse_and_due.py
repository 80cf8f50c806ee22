"""What the clock starts: leases that ran out, work whose time has come. Any broker does it, several at once."""

import asyncio
from contextlib import suppress

import pytest

from dropoff.core.answers import PickedUp
from dropoff.core.ledger import Receipt
from dropoff.core.lifecycle import DEAD, LEASED, SCHEDULED, WAITING, WITHDRAWN
from dropoff.errors import BrokerUnavailable, HandoffUnknown
from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from dropoff.upkeep.rounds import Rounds, go_round
from tests.look import Look
from tests.world import (
    ANN,
    BOB,
    CAROL,
    LEASE_MS,
    QUEUE,
    SCHEMA_HASH,
    UPKEEP,
    Clock,
    a_queue,
    change,
    complete,
    drop_off,
    extend,
    hand_back,
    live,
    pick_up,
    state,
    unknown_id,
    until,
    withdraw,
    within,
)


async def test_a_lease_whose_time_is_over_ends_and_the_handoff_waits_again(
    store: RedisStore, picked: PickedUp, clock: Clock
):
    """It counts as a failure, and the next holder is told."""
    await live(store, clock, LEASE_MS)

    assert await store.lapse(picked.handoff.id)

    again = await pick_up(store)
    assert again.handoff.id == picked.handoff.id
    assert (again.handoff.attempt, again.handoff.failures) == (2, 1)
    [attempt] = again.handoff.attempts
    assert (attempt.agent, attempt.outcome, attempt.reason) == (BOB.agent, "lapse", "the lease ran out")


async def test_a_lease_whose_time_is_not_over_goes_on(store: RedisStore, picked: PickedUp, look: Look, clock: Clock):
    """Whoever asks for the lapse: the step looks at the clock itself."""
    await live(store, clock, LEASE_MS - 1)

    async with look.nothing_changes():
        assert await store.lapse(picked.handoff.id) is None


async def test_an_extended_lease_goes_on(store: RedisStore, picked: PickedUp, clock: Clock):
    await live(store, clock, LEASE_MS - 1)
    await extend(store, picked.lease)
    await live(store, clock, LEASE_MS - 1)

    assert await store.lapse(picked.handoff.id) is None
    assert await state(store, picked.handoff.id) == LEASED


async def test_what_is_not_leased_does_not_lapse(store: RedisStore, picked: PickedUp, look: Look, clock: Clock):
    """Settled meanwhile, or ended by another broker a moment ago, or never there."""
    await live(store, clock, LEASE_MS)
    await complete(store, picked.lease)

    async with look.nothing_changes():
        assert await store.lapse(picked.handoff.id) is None
        assert await store.lapse(unknown_id()) is None


async def test_brokers_that_end_a_lease_at_the_same_moment_end_it_once(
    store: RedisStore, picked: PickedUp, clock: Clock
):
    await live(store, clock, LEASE_MS)

    ended = await asyncio.gather(*(store.lapse(picked.handoff.id) for _ in range(5)))

    assert len([receipt for receipt in ended if receipt]) == 1
    assert [entry.step for entry in await store.entries(handoff_id=picked.handoff.id)][-1] == "lapse"


async def test_a_handoff_that_lapses_too_often_is_dead(store: RedisStore, picked: PickedUp, clock: Clock):
    """`attempts_max` counts lapses too, and the reason is kept."""
    for _ in range(QUEUE.attempts_max - 1):
        await live(store, clock, LEASE_MS)
        await store.lapse(picked.handoff.id)
        await pick_up(store)
    await live(store, clock, LEASE_MS)
    await store.lapse(picked.handoff.id)

    kept = await store.check(ANN, picked.handoff.id, may_inspect=False)
    assert (kept.state, kept.reason) == (DEAD, "the lease ran out")


async def test_a_lapse_of_what_was_asked_back_withdraws_it(store: RedisStore, picked: PickedUp, clock: Clock):
    """The sender wanted it back, and the holder is gone: nobody gets it next."""
    await withdraw(store, picked.handoff.id)
    await live(store, clock, LEASE_MS)

    await store.lapse(picked.handoff.id)

    assert await state(store, picked.handoff.id) == WITHDRAWN


async def test_what_is_scheduled_becomes_due_once_and_not_before(store: RedisStore, look: Look, clock: Clock):
    id = (await drop_off(store, delay_ms=5_000)).receipt.handoff_id
    await live(store, clock, 4_999)
    async with look.nothing_changes():
        assert await store.due(id) is None
    await live(store, clock, 1)

    assert await store.due(id)

    async with look.nothing_changes():
        assert await store.due(id) is None
    assert await state(store, id) == WAITING


@pytest.mark.parametrize("made_up", ["", "research", "x:research-8F3K2Q9T1MXK7A4B"])
async def test_what_is_no_id_is_unknown(store: RedisStore, made_up: str):
    for step in (store.lapse, store.due):
        with pytest.raises(HandoffUnknown):
            await step(made_up)  # pyright: ignore[reportArgumentType]


async def test_the_longest_overdue_comes_first_and_no_more_than_was_asked_for(store: RedisStore, clock: Clock):
    """So a broker that was away for long catches up in small steps."""
    ids = []
    for _ in range(4):
        await drop_off(store)
        ids.append((await pick_up(store)).handoff.id)
        await live(store, clock, 10)
    await live(store, clock, LEASE_MS - 10)

    late = await store.overdue(QUEUE.name, 3)

    assert (late.leases, late.timers) == (tuple(ids[:3]), ())
    assert (await store.overdue(QUEUE.name, 0)).leases == ()


async def test_a_round_ends_and_starts_all_that_is_late_and_nothing_else(store: RedisStore, clock: Clock):
    """In every queue."""
    await drop_off(store)
    late = await pick_up(store)
    scheduled = await drop_off(store, delay_ms=LEASE_MS)
    await live(store, clock, LEASE_MS)
    await drop_off(store, key="stays")
    in_time = await drop_off(store, delay_ms=1)

    done: list[Receipt] = await go_round(store)

    assert [receipt.handoff_id for receipt in done] == [late.handoff.id, scheduled.receipt.handoff_id]
    assert await state(store, late.handoff.id) == await state(store, scheduled.receipt.handoff_id) == WAITING
    assert await state(store, in_time.receipt.handoff_id) == SCHEDULED
    assert await go_round(store) == []


async def test_what_is_retried_comes_back_by_the_rounds(store: RedisStore, picked: PickedUp, clock: Clock):
    await hand_back(store, picked.lease, "retry", reason="busy")
    await live(store, clock, 5_000)

    await go_round(store)

    assert (await pick_up(store)).handoff.id == picked.handoff.id


async def test_rounds_are_gone_until_they_are_closed(store: RedisStore, picked: PickedUp, clock: Clock):
    """Nobody has to ask; and afterwards nothing happens any more."""
    rounds = Rounds(store)
    await live(store, clock, LEASE_MS)
    rounds.start()

    async def waits_again() -> bool:
        return await state(store, picked.handoff.id) == WAITING

    await until("the round to end the lease", waits_again)
    await rounds.close()
    await rounds.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "dropoff upkeep"]


@pytest.mark.parametrize("error", [BrokerUnavailable(stored="nothing"), ValueError("a fault of ours")])
async def test_a_round_that_fails_is_followed_by_the_next(
    store: RedisStore, picked: PickedUp, clock: Clock, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    """The store was away for a moment, or something is wrong with one handoff: upkeep outlives it."""
    monkeypatch.setattr("dropoff.upkeep.rounds.ROUND_S", 0.01)
    overdue, failed = store.overdue, asyncio.Event()

    async def fail_once(*args):
        if not failed.is_set():
            failed.set()
            raise error
        return await overdue(*args)

    monkeypatch.setattr(store, "overdue", fail_once)
    await live(store, clock, LEASE_MS)
    rounds = Rounds(store)
    rounds.start()
    try:
        await within("the first round to fail", failed.wait())

        async def waits_again() -> bool:
            return await state(store, picked.handoff.id) == WAITING

        await until("the next round to end the lease", waits_again)
    finally:
        with suppress(BrokerUnavailable):
            await rounds.close()


# ---- a key of another type --------------------------------------------------------------------------------------

OF_THE_QUEUE = ("leases", "timers", "held", "expiries", "final", "dead", "config")


def damageable(keys: Keys) -> dict[str, str]:
    return {
        **{kind: keys.of(kind, queue=QUEUE.name) for kind in OF_THE_QUEUE},
        **{kind: keys.of(kind) for kind in ("changing", "recalls", "agents", "admins", "bearers", "schemas")},
        "ready": keys.of("ready", queue=QUEUE.name, version=QUEUE.version),
        "holds": keys.of("holds", agent=BOB.agent),
        "agent": keys.of("agent", agent=BOB.agent),
        "schema": keys.of("schema", hash=SCHEMA_HASH),
    }


@pytest.mark.parametrize("kind", sorted(damageable(Keys())))
async def test_a_key_of_another_type_holds_up_nothing_but_what_hangs_on_it(
    store: RedisStore, look: Look, clock: Clock, kind: str
):
    """In another queue everything goes on; and in its own what needs another index."""
    other = await store.put_queue(UPKEEP, a_queue("other"))
    await drop_off(store)
    await drop_off(store)
    bobs, here = await pick_up(store, BOB), await pick_up(store, CAROL)
    await drop_off(store, queue=other)
    there = await pick_up(store, CAROL, queue=other)
    scheduled = await drop_off(store, queue=other, delay_ms=LEASE_MS)
    await live(store, clock, LEASE_MS)

    async with look.of_another_type(damageable(look.keys)[kind]):
        await go_round(store)

    still = {LEASED} if kind in ("ready", "leases", "config") else {WAITING}
    assert await state(store, there.handoff.id) == await state(store, scheduled.receipt.handoff_id) == WAITING
    assert {await state(store, here.handoff.id)} == still
    assert {await state(store, bobs.handoff.id)} == ({LEASED} if kind == "holds" else still)


@pytest.mark.parametrize("index", ["leases", "timers", "expiries", "final", "dead"])
async def test_an_index_that_cannot_be_read_is_named(
    store: RedisStore, look: Look, caplog: pytest.LogCaptureFixture, index: str
):
    async with look.of_another_type(key := look.keys.of(index, queue=QUEUE.name)):
        await go_round(store)
    assert f"upkeep cannot read {key}" in caplog.text


async def test_leases_of_a_revoked_agent_that_cannot_be_read_hold_up_no_other_s(
    store: RedisStore, look: Look, caplog: pytest.LogCaptureFixture
):
    """It stays on the list, for when they can."""
    for who in (BOB, CAROL):
        await drop_off(store)
        await pick_up(store, who)
        await change(store, who, "revoked")

    async with look.of_another_type(key := look.keys.of("holds", agent=BOB.agent)):
        done = await go_round(store)
        assert await store.revoked(10) == ()
        assert (await look.everything())["recalls"] == {BOB.agent}

    assert len(done) == 1
    assert f"upkeep cannot read {key}" in caplog.text


async def test_a_record_that_cannot_be_read_holds_up_no_other_s_change(
    store: RedisStore, look: Look, caplog: pytest.LogCaptureFixture
):
    """ANN's comes first, and CAROL's gate is brought up to date all the same."""
    await look.client.hdel(look.keys.of("gate"), ANN.agent, CAROL.agent)

    async with look.of_another_type(look.keys.of("agent", agent=ANN.agent)):
        await go_round(store)

    assert (await store.standing(CAROL.agent)).endswith(" active")
    assert "upkeep of ann failed" in caplog.text
