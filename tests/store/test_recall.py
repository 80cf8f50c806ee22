"""recall: a lease ends whose holder cannot go on: it was revoked, or its client left before it had the answer."""

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from dropoff.broker import Broker
from dropoff.contracts.gate import Gates
from dropoff.core import limits
from dropoff.core.answers import PickedUp
from dropoff.core.caller import Caller
from dropoff.core.credential import id_of
from dropoff.core.lease import Lease
from dropoff.core.lifecycle import COMPLETED, DEAD, LEASED, WAITING, WITHDRAWN
from dropoff.core.requests import PickUp
from dropoff.errors import LeaseLost
from dropoff.storage.store import RedisStore
from dropoff.upkeep.recall import recall
from dropoff.upkeep.rounds import go_round
from tests.look import Look, check_indexes
from tests.world import (
    ANN,
    BOB,
    CAROL,
    LEASE_MS,
    QUEUE,
    UPKEEP,
    Clock,
    a_queue,
    change,
    complete,
    drop_off,
    hand_back,
    live,
    pick_up,
    state,
    unknown_id,
    until,
    withdraw,
    within,
)

MANY = 500


async def recalls(store: RedisStore) -> list[str]:
    """Who was taken something from, by the ledger."""
    return [entry.handoff for entry in await store.entries(at_most=5_000) if entry.step == "recall"]


# ---- one lease --------------------------------------------------------------------------------------------------


async def test_what_was_recalled_waits_again_and_nobody_is_to_blame(store: RedisStore, picked: PickedUp, look: Look):
    """No failure is counted; the next holder reads who had it and why it was taken."""
    receipt = await store.recall(picked.lease, "its client left")

    assert receipt is not None
    check_indexes(await look.everything(), QUEUE.name)
    again = await pick_up(store, CAROL)
    assert (again.handoff.id, again.handoff.failures, again.handoff.attempt) == (picked.handoff.id, 0, 1)
    [attempt] = again.handoff.attempts
    assert (attempt.agent, attempt.outcome, attempt.reason) == (BOB.agent, "recall", "its client left")


async def test_its_holder_has_lost_the_lease(store: RedisStore, picked: PickedUp, look: Look):
    await store.recall(picked.lease, "its client left")

    async with look.nothing_changes():
        with pytest.raises(LeaseLost):
            await complete(store, picked.lease)


@pytest.mark.parametrize("now", ["recalled", "leased again", "completed", "never"])
async def test_only_the_lease_that_is_meant_is_recalled(store: RedisStore, picked: PickedUp, look: Look, now: str):
    """Heard twice, or too late, it finds nothing to do."""
    lease = picked.lease
    match now:
        case "completed":
            await complete(store, lease)
        case "never":
            lease = Lease(unknown_id(), 1)
        case _:
            await store.recall(lease, "its client left")
    if now == "leased again":
        await pick_up(store, BOB)

    async with look.nothing_changes():
        assert await store.recall(lease, "its client left") is None


async def test_what_was_withdrawn_meanwhile_goes_to_nobody(store: RedisStore, picked: PickedUp):
    await withdraw(store, picked.handoff.id)

    await store.recall(picked.lease, "its client left")

    assert await state(store, picked.handoff.id) == WITHDRAWN


async def test_what_is_recalled_too_often_is_dead_and_says_so(store: RedisStore, look: Look):
    """Deliveries have an end, or work that kills each client would go round for ever; and no attempt was counted."""
    queue = await store.put_queue(UPKEEP, a_queue("kills", attempts_max=1))
    id = (await drop_off(store, queue=queue)).receipt.handoff_id
    for _ in range(limits.DELIVERIES_PER_ATTEMPT):
        assert await state(store, id) == WAITING
        await store.recall((await pick_up(store, queue=queue)).lease, "its client left")

    kept = await store.check(ANN, id, may_inspect=False)

    assert (kept.state, kept.reason, kept.failures) == (DEAD, "handed out too often", 0)
    assert (await store.entries(handoff_id=id))[-1].reason == "handed out too often"
    check_indexes(await look.everything(), queue.name)


# ---- a revoked holder -------------------------------------------------------------------------------------------


async def test_what_a_revoked_agent_holds_is_recalled_by_the_next_round(store: RedisStore, picked: PickedUp):
    """Uncounted, long before its lease would have lapsed."""
    await change(store, BOB, "revoked")

    assert [receipt.handoff_id for receipt in await go_round(store)] == [picked.handoff.id]

    again = await pick_up(store, CAROL)
    assert (again.handoff.id, again.handoff.failures) == (picked.handoff.id, 0)
    assert again.handoff.attempts[0].reason == "the holder is revoked"


@pytest.mark.parametrize("standing", ["active", "frozen"])
async def test_who_is_not_revoked_keeps_what_it_holds(store: RedisStore, picked: PickedUp, look: Look, standing: str):
    """Frozen is no end, and a changed record is none either."""
    await change(store, BOB, standing)

    async with look.nothing_changes():
        assert await store.revoked(limits.OVERDUE_AT_ONCE) == ()
        assert await go_round(store) == []


async def test_a_revoked_agent_that_holds_nothing_leaves_no_work(store: RedisStore, look: Look):
    """It can get no lease any more, so nobody has to look again."""
    await change(store, BOB, "revoked")

    async with look.nothing_changes():
        assert await recall(store) == []
    assert "recalls" not in await look.everything()


async def test_five_hundred_leases_are_recalled_some_at_a_time(
    store: RedisStore, look: Look, monkeypatch: pytest.MonkeyPatch
):
    """A store that ended ten thousand at once would serve nobody meanwhile; and none is forgotten."""
    await asyncio.gather(*(drop_off(store) for _ in range(MANY + 1)))
    held = await asyncio.gather(*(pick_up(store, BOB) for _ in range(MANY)))
    other = await pick_up(store, CAROL)
    await change(store, BOB, "revoked")
    revoked, found = store.revoked, list[int]()

    async def counted(at_most: int) -> tuple[Lease, ...]:
        leases = await revoked(at_most)
        found.append(len(leases))
        return leases

    monkeypatch.setattr(store, "revoked", counted)
    done = await recall(store)

    assert found == [200, 200, 100]
    assert sorted(receipt.handoff_id for receipt in done) == sorted(one.handoff.id for one in held)
    assert len(await recalls(store)) == MANY
    assert await store.leases_of(CAROL.agent) == (other.lease,)
    check_indexes(await look.everything(), QUEUE.name)
    await recall(store)
    assert "recalls" not in await look.everything()


async def test_brokers_that_recall_at_the_same_moment_recall_each_lease_once(store: RedisStore):
    await asyncio.gather(*(drop_off(store) for _ in range(MANY)))
    held = await asyncio.gather(*(pick_up(store, BOB) for _ in range(MANY)))
    await change(store, BOB, "revoked")

    await asyncio.gather(*(recall(store) for _ in range(3)))

    assert sorted(await recalls(store)) == sorted(one.handoff.id for one in held)


async def test_two_revoked_agents_are_both_recalled(store: RedisStore):
    """One that holds much does not hide the other."""
    await asyncio.gather(*(drop_off(store) for _ in range(limits.OVERDUE_AT_ONCE + 1)))
    await asyncio.gather(*(pick_up(store, BOB) for _ in range(limits.OVERDUE_AT_ONCE)))
    await pick_up(store, CAROL)
    for agent in (BOB, CAROL):
        await change(store, agent, "revoked")

    assert len(await recall(store)) == limits.OVERDUE_AT_ONCE + 1

    assert await store.leases_of(BOB.agent) == await store.leases_of(CAROL.agent) == ()


async def test_no_more_leases_are_listed_than_were_asked_for(store: RedisStore):
    """Whoever holds them: what one agent leaves room for is all that the next one may fill."""
    await asyncio.gather(*(drop_off(store) for _ in range(10)))
    for agent in (BOB, CAROL):
        for _ in range(5):
            await pick_up(store, agent)
    for agent in (BOB, CAROL):
        await change(store, agent, "revoked")

    assert [len(await store.revoked(at_most)) for at_most in (3, 5, 7, 10, 20)] == [3, 5, 7, 10, 10]


async def test_a_revoked_holder_s_lease_that_is_over_is_recalled_and_not_counted(
    store: RedisStore, picked: PickedUp, clock: Clock
):
    """Whatever upkeep comes to first: its end is the revocation, not the clock."""
    await change(store, BOB, "revoked")
    await live(store, clock, LEASE_MS)

    assert await store.lapse(picked.handoff.id)

    kept = await store.check(ANN, picked.handoff.id, may_inspect=False)
    assert (kept.state, kept.failures, kept.attempts[0].outcome) == (WAITING, 0, "recall")


# ---- a client that left -----------------------------------------------------------------------------------------


@pytest.fixture
async def bob(store: RedisStore) -> Caller:
    """BOB with a credential, as the broker needs it who decides anew."""
    known = await store.principal(BOB.agent, fresh=True)
    assert known is not None
    bearer = hashlib.sha256(b"bob's").hexdigest()
    put = await store.put_principal(UPKEEP, msgspec.structs.replace(known, bearers=(bearer,)))
    return msgspec.structs.replace(BOB, rev=put.rev, credential=id_of(bearer))


@pytest.fixture
def broker(store: RedisStore) -> Broker:
    return Broker(store, Gates(), secrets.token_bytes)


def after(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """The step runs, and its answer is held back: (it has run, now the answer may come)."""
    ran, may_answer = asyncio.Event(), asyncio.Event()
    step: Callable[..., Awaitable[PickedUp | None]] = store.pick_up

    async def slow(*args: Any) -> PickedUp | None:
        picked = await step(*args)
        ran.set()
        await may_answer.wait()
        return picked

    monkeypatch.setattr(store, "pick_up", slow)
    return ran, may_answer


async def test_what_a_client_has_picked_up_and_never_heard_of_goes_to_the_next_at_once(
    store: RedisStore, broker: Broker, bob: Caller, monkeypatch: pytest.MonkeyPatch
):
    """Nobody has to wait for the lease to lapse, and nobody is to blame."""
    id = (await drop_off(store)).receipt.handoff_id
    ran, may_answer = after(store, monkeypatch)
    asking = asyncio.create_task(broker.pick_up(bob, PickUp(queue=QUEUE.name, wait_seconds=0), "k"))
    await within("the step to run", ran.wait())
    assert await state(store, id) == LEASED

    asking.cancel()
    may_answer.set()
    await asyncio.wait([asking])

    assert asking.cancelled()
    kept = await store.check(ANN, id, may_inspect=False)
    assert (kept.state, kept.failures, kept.deliveries) == (WAITING, 0, 1)
    assert kept.attempts[0].reason == "the client left before it had the answer"


async def test_a_client_that_leaves_while_it_waits_is_given_nothing(store: RedisStore, broker: Broker, bob: Caller):
    """Its place is gone, and what comes later stays for others."""
    asking = asyncio.create_task(broker.pick_up(bob, PickUp(queue=QUEUE.name, wait_seconds=20), "k"))

    async def waits() -> bool:
        return store.waiting_here(QUEUE.name) == 1

    await until("it to wait", waits)
    asking.cancel()
    await asyncio.wait([asking])

    assert store.waiting_here(QUEUE.name) == 0
    await drop_off(store)
    assert (await pick_up(store, CAROL)).handoff.deliveries == 1


async def test_a_client_that_leaves_when_it_asks_again_keeps_the_lease_that_it_had(
    store: RedisStore, broker: Broker, bob: Caller, monkeypatch: pytest.MonkeyPatch
):
    """The lease came to it under the first call; who asks again and leaves has not lost what it holds."""
    await drop_off(store)
    first = await broker.pick_up(bob, PickUp(queue=QUEUE.name, wait_seconds=0), "k")
    assert isinstance(first, PickedUp)
    ran, may_answer = after(store, monkeypatch)
    asking = asyncio.create_task(broker.pick_up(bob, PickUp(queue=QUEUE.name, wait_seconds=0), "k"))
    await within("the step to run", ran.wait())

    asking.cancel()
    may_answer.set()
    await asyncio.wait([asking])

    assert await store.leases_of(bob.agent) == (first.lease,)
    await complete(store, first.lease, bob)
    assert await state(store, first.handoff.id) == COMPLETED


async def test_taken_back_twice_or_too_late_disturbs_nobody(
    store: RedisStore, broker: Broker, picked: PickedUp, look: Look
):
    await hand_back(store, picked.lease, "release")
    newer = await pick_up(store, CAROL)

    async with look.nothing_changes():
        await broker.take_back([picked])

    assert await store.leases_of(CAROL.agent) == (newer.lease,)
