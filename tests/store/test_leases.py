"""extend, complete and hand_back: what a holder may do, and nobody else."""

import pytest

from dropoff.core import limits
from dropoff.core.answers import DroppedOff, PickedUp
from dropoff.core.lease import Lease
from dropoff.core.lifecycle import COMPLETED, DEAD, LEASED, REJECTED, SCHEDULED, WAITING, WITHDRAWN
from dropoff.core.store import Settling, Store
from dropoff.errors import AlreadySettled, LeaseLost, LeaseUnknown, RequestConflict
from dropoff.storage.store import RedisStore
from tests.look import Look
from tests.world import (
    ANN,
    BOB,
    CAROL,
    LEASE_MS,
    QUEUE,
    UPKEEP,
    Caller,
    Clock,
    a_queue,
    complete,
    drop_off,
    extend,
    hand_back,
    live,
    pick_up,
    state,
    unknown_id,
    withdraw,
)

VERBS = ("extend", "complete", "release", "retry", "reject")


async def use(store: Store, verb: str, lease: Lease, by: Caller, key: str = "") -> object:
    """Any of the verbs that need a lease."""
    match verb:
        case "extend":
            return await extend(store, lease, by, key=key)
        case "complete":
            return await complete(store, lease, by)
        case _:
            settling: Settling = verb  # pyright: ignore[reportAssignmentType]  (one of the three that are left)
            return await hand_back(store, lease, settling, by, key=key)


async def lapsed(store: Store, clock: Clock, picked: PickedUp) -> None:
    await live(store, clock, picked.handoff.lease_ends_ms - clock.now_ms)
    assert await store.lapse(picked.handoff.id)


# ---- whose lease it is ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
async def test_a_borrowed_lease_id_is_refused_and_changes_nothing(
    store: RedisStore, picked: PickedUp, look: Look, verb: str
):
    """Who read a lease id in a log has gained nothing, and hears what leases are its own."""
    await drop_off(store)
    own = await pick_up(store, CAROL)

    async with look.nothing_changes():
        with pytest.raises(LeaseUnknown) as refusal:
            await use(store, verb, picked.lease, by=CAROL)

    assert (refusal.value.lease_id, refusal.value.held) == (picked.lease.id, (own.lease.id,))


@pytest.mark.parametrize("verb", ["extend", "release"])
async def test_a_borrowed_lease_id_with_its_holder_s_request_key_is_refused_too(
    store: RedisStore, picked: PickedUp, look: Look, verb: str
):
    """What a call answered is told again to who made it, and to nobody else."""
    await use(store, verb, picked.lease, BOB, key="k")

    async with look.nothing_changes():
        with pytest.raises(LeaseUnknown):
            await use(store, verb, picked.lease, CAROL, key="k")


@pytest.mark.parametrize("verb", VERBS)
async def test_a_lease_that_ended_was_its_holder_s_and_no_one_else_s(
    store: RedisStore, picked: PickedUp, look: Look, clock: Clock, verb: str
):
    """A stranger does not hear what became of it; nor does the holder by a fence that never was."""
    await lapsed(store, clock, picked)
    made_up = Lease(picked.lease.handoff_id, picked.lease.fence + 1)

    async with look.nothing_changes():
        with pytest.raises(LeaseUnknown):
            await use(store, verb, picked.lease, CAROL)
        with pytest.raises(LeaseUnknown):
            await use(store, verb, made_up, BOB)


@pytest.mark.parametrize("verb", VERBS)
async def test_an_earlier_holder_did_not_settle_what_a_later_one_did(
    store: RedisStore, picked: PickedUp, look: Look, clock: Clock, verb: str
):
    """It has lost its lease; the outcome is another's."""
    await lapsed(store, clock, picked)
    await complete(store, (await pick_up(store, CAROL)).lease, CAROL, result=b'{"by":"carol"}')

    async with look.nothing_changes():
        with pytest.raises(LeaseLost, match="the handoff is completed"):
            await use(store, verb, picked.lease, BOB)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("off", [-1, 1])
async def test_a_made_up_fence_is_refused_and_changes_nothing(
    store: RedisStore, picked: PickedUp, look: Look, verb: str, off: int
):
    """Also from the holder: the lease is the fence."""
    made_up = Lease(picked.lease.handoff_id, picked.lease.fence + off)

    async with look.nothing_changes():
        with pytest.raises(LeaseUnknown):
            await use(store, verb, made_up, by=BOB)


@pytest.mark.parametrize("verb", VERBS)
async def test_a_lease_on_nothing_is_refused_and_changes_nothing(store: RedisStore, look: Look, verb: str):
    async with look.nothing_changes():
        with pytest.raises(LeaseUnknown):
            await use(store, verb, Lease(unknown_id(), 1), by=BOB)


@pytest.mark.parametrize("verb", VERBS)
async def test_a_late_call_is_refused_and_changes_nothing(
    store: RedisStore, picked: PickedUp, look: Look, clock: Clock, verb: str
):
    """A holder whose lease lapsed cannot touch what another agent now holds."""
    await lapsed(store, clock, picked)
    second = await pick_up(store, CAROL)
    await live(store, clock, 7_000)

    async with look.nothing_changes():
        with pytest.raises(LeaseLost) as refusal:
            await use(store, verb, picked.lease, by=BOB)

    assert refusal.value.fence_now == second.lease.fence
    assert refusal.value.now == "was picked up again by another agent"
    assert refusal.value.ended_ago_ms == 7_000
    assert await state(store, picked.handoff.id) == LEASED


@pytest.mark.parametrize("verb", VERBS)
async def test_a_late_call_on_what_waits_again_is_refused(
    store: RedisStore, picked: PickedUp, look: Look, clock: Clock, verb: str
):
    """The lease ended when it lapsed, also if nobody has taken the handoff since."""
    await lapsed(store, clock, picked)

    async with look.nothing_changes():
        with pytest.raises(LeaseLost, match="the handoff is waiting"):
            await use(store, verb, picked.lease, by=BOB)


async def test_a_holder_whose_handoff_was_withdrawn_after_its_lease_has_lost_the_lease(
    store: RedisStore, picked: PickedUp, look: Look, clock: Clock
):
    """It did not settle the handoff itself, so nothing tells it that it had."""
    await lapsed(store, clock, picked)
    await withdraw(store, picked.handoff.id)

    async with look.nothing_changes():
        with pytest.raises(LeaseLost, match="the handoff is withdrawn"):
            await complete(store, picked.lease, BOB)


async def test_a_former_holder_is_told_as_long_as_its_attempt_is_remembered(store: RedisStore, clock: Clock):
    """After three more attempts it is a stranger."""
    patient = await store.put_queue(UPKEEP, a_queue("long", attempts_max=9))
    await drop_off(store, queue=patient)
    first = await pick_up(store, BOB, queue=patient)
    await lapsed(store, clock, first)
    for _ in range(2):
        await lapsed(store, clock, await pick_up(store, CAROL, queue=patient))
    with pytest.raises(LeaseLost):
        await complete(store, first.lease, BOB)

    await lapsed(store, clock, await pick_up(store, CAROL, queue=patient))

    with pytest.raises(LeaseUnknown):
        await complete(store, first.lease, BOB)


async def test_a_late_complete_that_nobody_overtook_counts(store: RedisStore, picked: PickedUp, clock: Clock):
    """A lease ends when it is ended, not by the clock alone: finished work is not thrown away."""
    await live(store, clock, 10 * LEASE_MS)

    await complete(store, picked.lease)

    assert await state(store, picked.handoff.id) == COMPLETED


# ---- extend -----------------------------------------------------------------------------------------------------


async def test_an_extend_gives_another_term_from_now(store: RedisStore, picked: PickedUp, clock: Clock):
    await live(store, clock, LEASE_MS // 2)

    extended = await extend(store, picked.lease, progress="half way")

    assert extended.lease_ends_ms == clock.now_ms + LEASE_MS
    await live(store, clock, LEASE_MS - 1)
    assert await store.lapse(picked.handoff.id) is None
    assert (await store.check(BOB, picked.handoff.id, may_inspect=False)).progress == "half way"


async def test_an_extend_heard_twice_happens_once(store: RedisStore, picked: PickedUp, look: Look, clock: Clock):
    """The second one answers what the first one did, and gives no second term."""
    first = await extend(store, picked.lease, checkpoint=b'{"page":1}', key="k")
    await live(store, clock, 1_000)

    async with look.nothing_changes():
        second = await extend(store, picked.lease, checkpoint=b'{"page":1}', key="k")

    assert second == first


async def test_a_key_is_remembered_for_its_lease_alone(store: RedisStore, picked: PickedUp, clock: Clock):
    """The same agent, on its next lease of the same handoff, makes a new call."""
    await extend(store, picked.lease, key="k")
    await live(store, clock, LEASE_MS)
    await store.lapse(picked.handoff.id)
    again = await pick_up(store, BOB)
    await live(store, clock, 1_000)

    extended = await extend(store, again.lease, key="k")

    assert extended.lease_ends_ms == clock.now_ms + LEASE_MS


async def test_an_extend_with_other_content_under_a_used_key_is_a_conflict(
    store: RedisStore, picked: PickedUp, look: Look
):
    await extend(store, picked.lease, progress="a third", key="k")

    async with look.nothing_changes():
        with pytest.raises(RequestConflict) as refusal:
            await extend(store, picked.lease, progress="two thirds", key="k")

    assert refusal.value.handoff_id == picked.handoff.id


async def test_a_lease_cannot_be_extended_for_ever(store: RedisStore, picked: PickedUp, clock: Clock):
    """A day after it was given it ends, however often it was extended."""
    given_ms = clock.now_ms
    await live(store, clock, limits.LEASE_MS_MAX - 1_000)

    extended = await extend(store, picked.lease)

    assert extended.lease_ends_ms == given_ms + limits.LEASE_MS_MAX


async def test_an_extend_without_a_checkpoint_keeps_the_one_there_was(store: RedisStore, picked: PickedUp):
    await extend(store, picked.lease, checkpoint=b'{"page":1}')

    await extend(store, picked.lease)

    assert (await store.check(BOB, picked.handoff.id, may_inspect=False)).checkpoint == b'{"page":1}'


# ---- complete ---------------------------------------------------------------------------------------------------


async def test_a_completed_handoff_shows_its_result_to_its_sender(store: RedisStore, picked: PickedUp, clock: Clock):
    await complete(store, picked.lease, result=b'{"found":3}')

    kept = await store.check(ANN, picked.handoff.id, may_inspect=False)
    assert (kept.state, kept.result, kept.ended_ms) == (COMPLETED, b'{"found":3}', clock.now_ms)
    assert await store.leases_of(BOB.agent) == ()


async def test_the_same_result_again_is_the_same_success(store: RedisStore, picked: PickedUp, look: Look):
    """Without any key: the result is its own."""
    first = await complete(store, picked.lease)

    async with look.nothing_changes():
        second = await complete(store, picked.lease)

    assert (second.receipt, second.repeated) == (first.receipt, True)


async def test_another_result_is_refused_and_changes_nothing(
    store: RedisStore, picked: PickedUp, look: Look, clock: Clock
):
    """One outcome each: the first one stands."""
    await complete(store, picked.lease, result=b'{"found":3}')
    settled_ms = clock.now_ms
    await live(store, clock, 1_000)

    async with look.nothing_changes():
        with pytest.raises(AlreadySettled) as refusal:
            await complete(store, picked.lease, result=b'{"found":4}')

    assert (refusal.value.state, refusal.value.at_ms) == (COMPLETED, settled_ms)


@pytest.mark.parametrize("outcome", ["complete", "reject"])
@pytest.mark.parametrize("verb", VERBS)
async def test_final_is_final(store: RedisStore, picked: PickedUp, look: Look, outcome: str, verb: str):
    """Whoever settled it may hear so again; nothing leads out of a final state."""
    await use(store, outcome, picked.lease, BOB)
    if (outcome, verb) == ("complete", "complete"):
        return  # the same result again: the test above

    async with look.nothing_changes():
        with pytest.raises(AlreadySettled):
            await use(store, verb, picked.lease, BOB)


# ---- hand_back --------------------------------------------------------------------------------------------------


async def test_a_released_handoff_goes_to_the_end_and_counts_as_nothing(store: RedisStore, picked: PickedUp):
    """Not for me: somebody else should take it, and no attempt was made."""
    other = await drop_off(store)

    back = await hand_back(store, picked.lease, "release", checkpoint=b'{"page":1}')

    assert (back.state, back.attempts_left) == (WAITING, QUEUE.attempts_max)
    assert (await pick_up(store)).handoff.id == other.receipt.handoff_id
    again = await pick_up(store)
    assert (again.handoff.id, again.handoff.attempt, again.handoff.deliveries) == (picked.handoff.id, 1, 2)
    assert again.handoff.checkpoint == b'{"page":1}'


async def test_a_retried_handoff_waits_longer_each_time(store: RedisStore, clock: Clock):
    """5 s, 10 s, 20 s …, at most 5 minutes."""
    queue = await store.put_queue(UPKEEP, a_queue("stubborn", attempts_max=20))
    id = (await drop_off(store, queue=queue)).receipt.handoff_id
    waits_s = []
    for _ in range(8):
        back = await hand_back(store, (await pick_up(store, queue=queue)).lease, "retry", reason="it failed")
        assert back.state == SCHEDULED
        due_ms = (await store.check(UPKEEP, id, may_inspect=True)).due_ms
        waits_s.append((due_ms - clock.now_ms) // 1_000)
        clock.now_ms = due_ms
        await store.due(id)

    assert waits_s == [5, 10, 20, 40, 80, 160, 300, 300]


@pytest.mark.parametrize("delay_ms", [0, 7_000])
async def test_a_retry_may_say_when(store: RedisStore, picked: PickedUp, clock: Clock, delay_ms: int):
    await hand_back(store, picked.lease, "retry", reason="busy", delay_ms=delay_ms)

    kept = await store.check(ANN, picked.handoff.id, may_inspect=False)
    assert (kept.state, kept.due_ms) == (SCHEDULED, clock.now_ms + delay_ms)


async def test_a_handoff_that_failed_too_often_is_dead(store: RedisStore, waiting_handoff: DroppedOff):
    """`attempts_max` counts failures, and the last reason is kept."""
    id = waiting_handoff.receipt.handoff_id
    lefts = []
    for attempt in range(QUEUE.attempts_max):
        back = await hand_back(store, (await pick_up(store)).lease, "retry", reason=f"reason {attempt}", delay_ms=0)
        lefts.append(back.attempts_left)
        await store.due(id)

    kept = await store.check(ANN, id, may_inspect=False)
    assert lefts == [2, 1, 0]
    assert (kept.state, kept.reason, kept.failures) == (DEAD, "reason 2", 3)


async def test_a_handoff_that_is_only_ever_released_dies_after_ten_times_its_attempts(store: RedisStore):
    """Deliveries have an end too, or a handoff that nobody wants would go round for ever."""
    queue = await store.put_queue(UPKEEP, a_queue("unloved", attempts_max=1))
    await drop_off(store, queue=queue)

    states = [(await hand_back(store, (await pick_up(store, queue=queue)).lease, "release")).state for _ in range(10)]

    assert states == [WAITING] * 9 + [DEAD]


async def test_a_rejected_handoff_is_final_and_tells_the_sender_why(store: RedisStore, picked: PickedUp):
    back = await hand_back(store, picked.lease, "reject", reason="no such bird")

    kept = await store.check(ANN, picked.handoff.id, may_inspect=False)
    assert back.state == kept.state == REJECTED
    assert kept.reason == "no such bird"


@pytest.mark.parametrize("verb", ["release", "retry", "reject"])
async def test_a_hand_back_heard_twice_happens_once(store: RedisStore, picked: PickedUp, look: Look, verb: Settling):
    """Also when somebody else has the handoff meanwhile."""
    first = await hand_back(store, picked.lease, verb, reason="why", delay_ms=0, key="k")
    await store.due(picked.handoff.id)
    await store.pick_up(CAROL, QUEUE, "k")

    async with look.nothing_changes():
        second = await hand_back(store, picked.lease, verb, reason="why", delay_ms=0, key="k")

    assert second == first


async def test_a_hand_back_with_other_content_under_a_used_key_is_a_conflict(
    store: RedisStore, picked: PickedUp, look: Look
):
    await hand_back(store, picked.lease, "release", reason="not mine", key="k")

    async with look.nothing_changes():
        with pytest.raises(RequestConflict):
            await hand_back(store, picked.lease, "reject", reason="not mine", key="k")


async def test_an_attempt_s_reason_may_be_any_text(store: RedisStore, picked: PickedUp):
    """Quotes, line ends, other scripts: it goes through the step and back as it was."""
    reason = 'ünïcode "quoted"\n\\/\x7f\x00 🦉'

    await hand_back(store, picked.lease, "release", reason=reason)

    assert [one.reason for one in (await pick_up(store)).handoff.attempts] == [reason]


# ---- withdrawn meanwhile ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "ends"),
    [("complete", COMPLETED), ("reject", REJECTED), ("release", WITHDRAWN), ("retry", WITHDRAWN)],
)
async def test_a_holder_may_finish_what_was_asked_back_but_nobody_gets_it_next(
    store: RedisStore, picked: PickedUp, verb: str, ends: str
):
    await withdraw(store, picked.handoff.id)

    await use(store, verb, picked.lease, BOB)

    assert await state(store, picked.handoff.id) == ends


async def test_a_holder_learns_of_a_withdrawal_at_its_next_extend(store: RedisStore, picked: PickedUp):
    assert not (await extend(store, picked.lease)).withdrawal_asked
    await withdraw(store, picked.handoff.id)

    assert (await extend(store, picked.lease)).withdrawal_asked


async def test_an_extend_heard_twice_tells_of_a_withdrawal_too(store: RedisStore, picked: PickedUp):
    """The answer that was lost may be the one that would have told it."""
    await withdraw(store, picked.handoff.id)
    first = await extend(store, picked.lease, key="k")

    assert await extend(store, picked.lease, key="k") == first
    assert first.withdrawal_asked


async def test_who_handed_back_and_asks_again_too_late_gets_the_first_answer(store: RedisStore, look: Look):
    """The answer may have been lost; that another agent has settled it meanwhile does not make it untrue."""
    await drop_off(store)
    picked = await pick_up(store)
    first = await hand_back(store, picked.lease, "release", key="k")
    await complete(store, (await pick_up(store, CAROL)).lease, CAROL)

    async with look.nothing_changes():
        again = await hand_back(store, picked.lease, "release", key="k")

    assert again == first


async def test_an_overtaken_hand_back_with_other_content_is_a_conflict(store: RedisStore, look: Look):
    """What it said then was stored; what it says now was not, and the refusal is about now."""
    await drop_off(store)
    picked = await pick_up(store)
    await hand_back(store, picked.lease, "release", key="k")
    await pick_up(store, CAROL)

    async with look.nothing_changes():
        with pytest.raises(RequestConflict):
            await hand_back(store, picked.lease, "retry", reason="busy", key="k")


async def test_who_handed_back_and_goes_on_hears_that_it_handed_back(store: RedisStore, look: Look):
    """A new call on the old lease: the sentence must be true of both."""
    await drop_off(store)
    picked = await pick_up(store)
    await hand_back(store, picked.lease, "release", key="k")
    await complete(store, (await pick_up(store, CAROL)).lease, CAROL)

    async with look.nothing_changes():
        with pytest.raises(LeaseLost) as refusal:
            await hand_back(store, picked.lease, "release", key="other")

    assert refusal.value.handed_back
    assert "Nothing of this call was stored" not in str(refusal.value)


async def test_what_was_handed_out_too_often_says_so(store: RedisStore):
    """Released for ever, without a word from anybody: the operator must read why it is dead."""
    dropped = await drop_off(store)
    for _ in range(limits.DELIVERIES_PER_ATTEMPT * QUEUE.attempts_max):
        await hand_back(store, (await pick_up(store)).lease, "release")

    dead = await store.check(ANN, dropped.receipt.handoff_id, may_inspect=False)

    assert (dead.state, dead.reason) == (DEAD, "handed out too often")


async def test_of_a_withdrawal_the_senders_reason_stays(store: RedisStore):
    """Whatever the holder says when it lets go."""
    dropped = await drop_off(store)
    picked = await pick_up(store)
    await withdraw(store, dropped.receipt.handoff_id, reason="no longer needed")
    await hand_back(store, picked.lease, "release", reason="as you wish")

    gone = await store.check(ANN, dropped.receipt.handoff_id, may_inspect=False)

    assert (gone.state, gone.reason) == (WITHDRAWN, "no longer needed")
