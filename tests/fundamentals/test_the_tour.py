"""The tour: what dropoff does, in the order in which one meets it. Read this file first."""

import asyncio

import msgspec
import pytest

from dropoff.broker import NothingToPickUp
from dropoff.core import credential
from dropoff.core.answers import PickedUp
from dropoff.core.caller import Caller
from dropoff.core.requests import Check, Complete, Describe, DropOff, Extend, HandBack, Next, PickUp, Withdraw
from dropoff.errors import (
    AlreadySettled,
    ApprovalNeedsAnother,
    DigestDiffers,
    Frozen,
    HandoffUnknown,
    LeaseLost,
    LeaseUnknown,
    NextInvalid,
    NotAllowed,
    PayloadInvalid,
    QueueDraining,
    QueueUnknown,
    RequestConflict,
    Unauthenticated,
)
from dropoff.inspector import Inspector
from dropoff.operations import NewQueue
from tests.fundamentals.conftest import House
from tests.world import within

BRIEF = DropOff(queue="research", payload={"topic": "heat pumps", "audience": "exec"})


async def test_one_agent_drops_off_and_another_picks_up_and_completes(house: House):
    """The whole way: the sender reads the result that the receiver recorded."""
    sent = await house.broker.drop_off(house.scout, BRIEF)
    picked = await house.takes(house.writer)
    assert picked is not None
    assert msgspec.json.decode(picked.handoff.payload) == BRIEF.payload
    assert picked.handoff.sender == "scout"

    await house.broker.complete(house.writer, Complete(lease_id=picked.lease.id, result={"found": 3}))

    seen = await house.broker.check(house.scout, Check(handoff_id=sent.receipt.handoff_id))
    assert (seen.state, msgspec.json.decode(seen.result)) == ("completed", {"found": 3})


async def test_a_payload_that_breaks_the_contract_is_refused_with_what_to_mend(house: House):
    """The sender reads every problem, and nothing was stored."""
    with pytest.raises(PayloadInvalid) as refusal:
        await house.broker.drop_off(house.scout, DropOff(queue="research", payload={"topic": "hp", "audiance": "exec"}))

    assert "did you mean 'audience'?" in str(refusal.value)
    assert "too short" in str(refusal.value)
    assert await house.takes(house.writer) is None


async def test_only_one_agent_holds_a_handoff(house: House):
    """While one holds it, the other finds nothing."""
    await house.broker.drop_off(house.scout, BRIEF)
    assert await house.takes(house.writer) is not None
    assert await house.takes(house.rival) is None


async def test_a_lease_id_alone_is_no_authority(house: House):
    """Who reads a lease id in a log has gained nothing: the caller must be the holder."""
    await house.broker.drop_off(house.scout, BRIEF)
    picked = await house.takes(house.writer)
    assert picked is not None
    with pytest.raises(LeaseUnknown):
        await house.broker.complete(house.rival, Complete(lease_id=picked.lease.id, result={"stolen": True}))
    await house.broker.complete(house.writer, Complete(lease_id=picked.lease.id))


async def test_the_next_holder_goes_on_from_the_checkpoint(house: House):
    """A holder that dies leaves its checkpoint, and the reason why it is there to be picked up again."""
    await house.broker.drop_off(house.scout, BRIEF)
    dead = await house.takes(house.writer)
    assert dead is not None
    await house.broker.extend(house.writer, Extend(lease_id=dead.lease.id, checkpoint={"read": 7}))
    await house.time_passes(61)

    heir = await house.takes(house.rival)
    assert heir is not None
    assert msgspec.json.decode(heir.handoff.checkpoint) == {"read": 7}
    assert [(one.agent, one.outcome) for one in heir.handoff.attempts] == [("writer", "lapse")]
    assert heir.lease.fence > dead.lease.fence


async def test_who_is_too_late_is_told_to_stop(house: House):
    """After its lease has lapsed and another holds the handoff, a completion is refused and changes nothing."""
    await house.broker.drop_off(house.scout, BRIEF)
    first = await house.takes(house.writer)
    await house.time_passes(61)
    second = await house.takes(house.rival)
    assert first is not None
    assert second is not None

    with pytest.raises(LeaseLost) as refusal:
        await house.broker.complete(house.writer, Complete(lease_id=first.lease.id, result={"late": True}))

    assert refusal.value.fence_now == second.lease.fence
    await house.broker.complete(house.rival, Complete(lease_id=second.lease.id, result={"late": False}))


async def test_a_late_completion_that_nobody_overtook_counts(house: House):
    """A lease ends when lapse ends it, not by the clock alone."""
    await house.broker.drop_off(house.scout, BRIEF)
    picked = await house.takes(house.writer)
    assert picked is not None
    house.clock.advance(3_600_000)
    await house.broker.complete(house.writer, Complete(lease_id=picked.lease.id))


async def test_completing_twice_with_the_same_result_is_one_success(house: House):
    """Repeated safely without any key; with another result it is refused."""
    await house.broker.drop_off(house.scout, BRIEF)
    picked = await house.takes(house.writer)
    assert picked is not None
    once = await house.broker.complete(house.writer, Complete(lease_id=picked.lease.id, result={"found": 3}))
    twice = await house.broker.complete(house.writer, Complete(lease_id=picked.lease.id, result={"found": 3}))
    assert twice.receipt == once.receipt
    with pytest.raises(AlreadySettled):
        await house.broker.complete(house.writer, Complete(lease_id=picked.lease.id, result={"found": 4}))


async def test_the_same_request_key_is_the_same_handoff(house: House):
    """A drop-off whose answer was lost is sent again under its key, and happens once."""
    once = await house.broker.drop_off(house.scout, BRIEF, key="k")
    twice = await house.broker.drop_off(house.scout, BRIEF, key="k")
    assert twice.receipt == once.receipt
    with pytest.raises(RequestConflict):
        await house.broker.drop_off(house.scout, msgspec.structs.replace(BRIEF, note="other"), key="k")
    assert await house.takes(house.writer) is not None
    assert await house.takes(house.writer) is None


async def test_failures_end_in_dead_and_releases_do_not_count(house: House):
    """Two attempts and no more; handing it on because it is not mine burns none."""
    await house.broker.drop_off(house.scout, BRIEF)

    async def back(outcome: str, reason: str = "") -> int:
        picked = await house.takes(house.writer)
        assert picked is not None
        request = msgspec.convert(
            {"lease_id": picked.lease.id, "outcome": outcome, "reason": reason, "delay_seconds": 0}, HandBack
        )
        return (await house.broker.hand_back(house.writer, request)).attempts_left

    assert await back("not_for_me") == 2
    assert await back("try_again", "timed out") == 1
    await house.time_passes(1)
    assert await back("try_again", "timed out") == 0
    [dead] = await house.inspector.handoffs(house.operator, "research", "dead", 10)
    assert dead.reason == "timed out"


async def test_work_can_be_taken_back(house: House):
    """While it waits it is gone at once; while it is held, the holder is asked."""
    sent = await house.broker.drop_off(house.scout, BRIEF)
    gone = await house.broker.withdraw(house.scout, Withdraw(handoff_id=sent.receipt.handoff_id))
    assert gone.state == "withdrawn"
    assert await house.takes(house.writer) is None

    sent = await house.broker.drop_off(house.scout, BRIEF)
    picked = await house.takes(house.writer)
    assert picked is not None
    await house.broker.withdraw(house.scout, Withdraw(handoff_id=sent.receipt.handoff_id))
    assert (await house.broker.extend(house.writer, Extend(lease_id=picked.lease.id))).withdrawal_asked
    await house.broker.hand_back(house.writer, HandBack(lease_id=picked.lease.id, outcome="not_for_me"))
    assert (await house.broker.check(house.scout, Check(handoff_id=sent.receipt.handoff_id))).state == "withdrawn"


async def test_the_outcome_goes_straight_on_to_the_next_agent(house: House):
    """Completed and dropped off in one step: both, or neither; and who reads the end finds the beginning."""
    await house.operations.add_queue(house.operator, NewQueue(name="drafts", schema="brief"))
    await house.operations.grant(house.operator, "writer", ["drop:drafts"])
    await house.operations.grant(house.operator, "rival", ["pick:drafts"])
    sent = await house.broker.drop_off(house.scout, BRIEF)
    picked = await house.takes(house.writer)
    assert picked is not None

    broken = Next(queue="drafts", payload={"topic": "heat pumps"})
    with pytest.raises(NextInvalid):  # what comes next does not fit: the lease goes on
        await house.broker.complete(house.writer, Complete(lease_id=picked.lease.id, next=broken))
    onward = Next(queue="drafts", payload=BRIEF.payload)
    done = await house.broker.complete(house.writer, Complete(lease_id=picked.lease.id, next=onward))

    draft = await house.takes(house.rival, "drafts")
    assert draft is not None
    assert (draft.handoff.id, draft.handoff.sender) == (done.next_id, "writer")
    assert draft.handoff.parent == sent.receipt.handoff_id


async def test_a_person_approves_before_anybody_gets_it(house: House):
    """Somebody else than its sender, who has seen just this payload; what is denied is over."""
    await house.operations.edit_queue(house.operator, "research", {"approval": True})
    sent = await house.broker.drop_off(house.scout, BRIEF)
    assert sent.state == "held"
    assert await house.takes(house.writer) is None

    [held] = await house.inspector.handoffs(house.operator, "research", "held", 10)
    with pytest.raises(DigestDiffers):
        await house.operations.judge(house.operator, held.id, "approve", "of another payload")
    await house.operations.grant(house.operator, "scout", ["operate:research"])
    with pytest.raises(ApprovalNeedsAnother):
        await house.operations.judge(house.scout, held.id, "approve", held.digest)
    await house.operations.judge(house.operator, held.id, "approve", held.digest)
    picked = await house.takes(house.writer)
    assert picked is not None
    assert picked.handoff.id == sent.receipt.handoff_id

    refused = await house.broker.drop_off(house.scout, BRIEF)
    [held] = await house.inspector.handoffs(house.operator, "research", "held", 10)
    await house.operations.judge(house.operator, held.id, "deny", held.digest, "not this month")
    seen = await house.broker.check(house.scout, Check(handoff_id=refused.receipt.handoff_id))
    assert (seen.state, seen.reason) == ("rejected", "not this month")


async def test_what_nobody_takes_in_time_expires_and_what_ended_long_ago_is_forgotten(house: House):
    """Each queue says how long; the ledger goes on saying that it happened."""
    await house.operations.edit_queue(house.operator, "research", {"expires_seconds": 60, "retention_seconds": 120})
    sent = await house.broker.drop_off(house.scout, BRIEF)
    ask = Check(handoff_id=sent.receipt.handoff_id)
    await house.time_passes(60)
    assert (await house.broker.check(house.scout, ask)).state == "expired"
    await house.time_passes(120)
    with pytest.raises(HandoffUnknown):
        await house.broker.check(house.scout, ask)
    last = (await house.inspector.entries(house.operator, "", 1))[0]
    assert (last.step, last.handoff) == ("erased", sent.receipt.handoff_id)


async def test_a_paused_queue_takes_work_in_and_gives_none_out(house: House):
    """And a draining one the other way round; to resume is to be open again."""
    await house.operations.set_queue(house.operator, "research", "paused", "the model is being changed")
    await house.broker.drop_off(house.scout, BRIEF)
    nothing = await house.broker.pick_up(house.writer, PickUp(queue="research", wait_seconds=0))
    assert nothing == NothingToPickUp(paused=True)

    await house.operations.set_queue(house.operator, "research", "draining", "it moves")
    with pytest.raises(QueueDraining, match="it moves"):
        await house.broker.drop_off(house.scout, BRIEF)
    assert await house.takes(house.writer) is not None

    await house.operations.set_queue(house.operator, "research", "open")
    await house.broker.drop_off(house.scout, BRIEF)
    assert await house.takes(house.writer) is not None


async def test_a_frozen_agent_stops_and_loses_nothing(house: House):
    """Its lease stands still; thawed, it has one whole lease time, and nothing was counted against anybody."""
    await house.broker.drop_off(house.scout, BRIEF)
    picked = await house.takes(house.writer)
    assert picked is not None
    await house.operations.freeze(house.operator, "writer", "looks odd")
    with pytest.raises(Frozen):
        await house.broker.complete(house.writer, Complete(lease_id=picked.lease.id))

    await house.time_passes(600)
    assert await house.takes(house.rival) is None
    await house.operations.thaw(house.operator, "writer")
    await house.time_passes(59)

    await house.broker.complete(house.writer, Complete(lease_id=picked.lease.id))
    [done] = await house.inspector.handoffs(house.operator, "research", "completed", 10)
    assert done.failures == 0


async def test_everything_can_be_frozen_at_once(house: House):
    """Agents stop; operators go on, for somebody must look, tidy up and thaw."""
    sent = await house.broker.drop_off(house.scout, BRIEF)
    await house.operations.freeze(house.operator, "*", "an incident")
    for act in (house.broker.drop_off(house.scout, BRIEF), house.takes(house.writer)):
        with pytest.raises(Frozen, match="Everything"):
            await act
    assert (await house.broker.check(house.scout, Check(handoff_id=sent.receipt.handoff_id))).state == "waiting"

    await house.operations.thaw(house.operator, "*")
    assert await house.takes(house.writer) is not None


async def test_an_operator_takes_work_from_who_hangs(house: House):
    """Just this lease, and it counts as nobody's failure."""
    await house.broker.drop_off(house.scout, BRIEF)
    hung = await house.takes(house.writer)
    assert hung is not None
    await house.operations.release(house.operator, hung.lease.id, "no progress for an hour")
    with pytest.raises(LeaseLost):
        await house.broker.complete(house.writer, Complete(lease_id=hung.lease.id))

    heir = await house.takes(house.rival)
    assert heir is not None
    assert heir.handoff.attempt == 1
    await house.operations.release(house.operator, hung.lease.id, "no progress for an hour")  # said again
    await house.broker.complete(house.rival, Complete(lease_id=heir.lease.id))  # and nobody was disturbed


async def test_a_frozen_operator_neither_acts_nor_looks(house: House):
    """Also where what it asks for takes no step."""
    made = (await house.operations.add_agent(house.operator, "deputy", ["admin"])).principal
    proof = credential.id_of(made.bearers[0])
    deputy = Caller(agent=made.agent, rev=made.rev, grants=made.grants, credential=proof)
    inspector = Inspector(house.broker.store)
    assert await inspector.agents(deputy)
    await house.operations.freeze(house.operator, "deputy")

    for ask in (house.operations.mend, inspector.agents, inspector.queues, inspector.schemas):
        with pytest.raises(Frozen):
            await ask(deputy)


async def test_what_is_over_is_put_back_as_a_new_handoff(house: House):
    """Final is final: the new one names the old."""
    sent = await house.broker.drop_off(house.scout, BRIEF)
    await house.broker.withdraw(house.scout, Withdraw(handoff_id=sent.receipt.handoff_id))
    again = await house.broker.resubmit(house.operator, sent.receipt.handoff_id)
    assert (await house.broker.resubmit(house.operator, sent.receipt.handoff_id)).receipt == again.receipt
    made = (await house.operations.add_agent(house.operator, "other-operator", ["operate:*"])).principal
    other = Caller(agent=made.agent, rev=made.rev, grants=made.grants)
    assert (await house.broker.resubmit(other, sent.receipt.handoff_id)).receipt == again.receipt  # whoever says it

    picked = await house.takes(house.writer)
    assert picked is not None
    assert (picked.handoff.id, picked.handoff.resubmit_of) == (again.receipt.handoff_id, sent.receipt.handoff_id)
    assert (await house.broker.check(house.scout, Check(handoff_id=sent.receipt.handoff_id))).state == "withdrawn"


async def test_a_waiting_agent_is_woken_by_the_drop(house: House):
    """pick_up waits as a coroutine, and answers as soon as there is something to answer."""
    waiting = asyncio.create_task(house.broker.pick_up(house.writer, PickUp(queue="research", wait_seconds=30)))
    await asyncio.sleep(0)
    await house.broker.drop_off(house.scout, BRIEF)
    assert isinstance(await within("the waiting agent to be woken", waiting), PickedUp)


async def test_what_an_agent_may_do_is_what_it_was_granted(house: House):
    """With another grant on the queue it hears what it may do there; with none, the queue does not exist for it."""
    with pytest.raises(NotAllowed) as refusal:
        await house.broker.drop_off(house.writer, BRIEF)
    assert "only pick up" in str(refusal.value)

    await house.operations.ungrant(house.operator, "writer", ["pick:research"])
    with pytest.raises(QueueUnknown):
        await house.broker.drop_off(house.writer, BRIEF)


async def test_a_grant_is_in_force_at_the_next_step(house: House):
    """No agent has to reconnect: the step finds that the decision is older than the record, and it is made again."""
    await house.operations.grant(house.operator, "writer", ["drop:research"])
    await house.broker.drop_off(house.writer, BRIEF)
    await house.operations.ungrant(house.operator, "scout", ["drop:research"])
    with pytest.raises(QueueUnknown):
        await house.broker.drop_off(house.scout, BRIEF)


async def test_who_is_revoked_takes_no_further_step(house: House):
    """Neither a new one, nor one on a lease it still holds, nor a look at what it has sent."""
    sent = await house.broker.drop_off(house.scout, BRIEF)
    picked = await house.takes(house.writer)
    assert picked is not None
    for name in ("scout", "writer"):
        await house.operations.revoke(house.operator, name, "left the team")

    with pytest.raises(Unauthenticated):
        await house.broker.complete(house.writer, Complete(lease_id=picked.lease.id))
    with pytest.raises(Unauthenticated):
        await house.broker.check(house.scout, Check(handoff_id=sent.receipt.handoff_id))
    with pytest.raises(Unauthenticated):
        await house.broker.describe(house.scout, Describe())


async def test_nobody_sees_what_is_not_theirs(house: House):
    """A handoff is for its sender, its holder, and those who may inspect its queue."""
    sent = await house.broker.drop_off(house.scout, BRIEF)
    with pytest.raises(HandoffUnknown):
        await house.broker.check(house.rival, Check(handoff_id=sent.receipt.handoff_id))
    assert (await house.broker.check(house.operator, Check(handoff_id=sent.receipt.handoff_id))).state == "waiting"


async def test_every_step_has_its_entry(house: House):
    """The ledger tells who did what, by which credential, in an unbroken chain."""
    sent = await house.broker.drop_off(house.scout, BRIEF)
    picked = await house.takes(house.writer)
    assert picked is not None
    await house.broker.complete(house.writer, Complete(lease_id=picked.lease.id))

    _, entries = await house.inspector.handoff(house.operator, sent.receipt.handoff_id)

    assert [(one.step, one.actor, one.from_, one.to, one.n) for one in entries] == [
        ("drop_off", "scout", "absent", "waiting", "1"),
        ("pick_up", "writer", "waiting", "leased", "2"),
        ("complete", "writer", "leased", "completed", "3"),
    ]
    assert [one.credential for one in entries[:2]] == [house.scout.credential, house.writer.credential]
    assert [one.prev for one in entries] == ["", entries[0].id, entries[1].id]
