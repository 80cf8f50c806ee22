"""A call that is made again is answered as it was the first time, whatever was changed in between."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import pytest

from dropoff.broker import NothingToPickUp
from dropoff.core.answers import Completed, DroppedOff, PickedUp
from dropoff.core.handoff import QueueName
from dropoff.core.requests import Complete, DropOff, Next, PickUp, Withdraw
from dropoff.errors import (
    AlreadySettled,
    BrokerUnavailable,
    ChangingNow,
    DropoffError,
    Frozen,
    HandoffUnknown,
    NextInvalid,
    NotAllowed,
    PayloadInvalid,
    PayloadTooLarge,
    QueueDraining,
    QueueNeeded,
    QueueUnknown,
    RequestConflict,
    StorageFull,
    Unauthenticated,
)
from dropoff.operations import NewQueue
from tests.fundamentals.conftest import BRIEF as SCHEMA
from tests.fundamentals.conftest import House
from tests.look import Look
from tests.world import EVERYBODY, change

PAYLOAD: Final = {"topic": "heat pumps", "audience": "exec"}
BRIEF: Final = DropOff(queue="research", payload=PAYLOAD, note="by Friday")


@dataclass
class Said:
    """A call that was answered; who made it, by which grant, and into which queue it brought something."""

    again: Callable[[], Awaitable[DroppedOff | Completed]]
    other: Callable[[], Awaitable[DroppedOff | Completed]]  # the same caller, for the first time, about other work
    who: str
    grant: str
    queue: str


async def dropped_off(house: House) -> Said:
    return Said(
        lambda: house.broker.drop_off(house.scout, BRIEF, key="k"),
        lambda: house.broker.drop_off(house.scout, BRIEF, key="never used"),
        *("scout", "drop:research", "research"),
    )


async def forwarded(house: House) -> Said:
    await house.operations.add_queue(house.operator, NewQueue(name="drafts", schema="brief"))
    await house.operations.grant(house.operator, "writer", ["drop:drafts"])
    leases: list[str] = []
    for _ in range(2):
        await house.broker.drop_off(house.scout, BRIEF)
        picked = await house.takes(house.writer)
        assert picked is not None
        leases.append(picked.lease.id)
    onward = Next(queue="drafts", payload=PAYLOAD)
    first, second = (Complete(lease_id=lease, result={"found": 3}, next=onward) for lease in leases)
    return Said(
        lambda: house.broker.complete(house.writer, first),
        lambda: house.broker.complete(house.writer, second),
        *("writer", "drop:drafts", "drafts"),
    )


async def resubmitted(house: House) -> Said:
    made = await house.operations.add_agent(house.operator, "deputy", ["operate:research"])
    deputy = await house.callers.of(f"Bearer {made.bearer}")
    ids: list[str] = []
    for _ in range(2):
        ids.append((await house.broker.drop_off(house.scout, BRIEF)).receipt.handoff_id)
        await house.broker.withdraw(house.scout, Withdraw(handoff_id=ids[-1]))
    return Said(
        lambda: house.broker.resubmit(deputy, ids[0]),
        lambda: house.broker.resubmit(deputy, ids[1]),
        *("deputy", "operate:research", "research"),
    )


async def the_grant_is_taken(house: House, said: Said) -> None:
    await house.operations.ungrant(house.operator, said.who, [said.grant])


async def the_limit_is_lowered(house: House, said: Said) -> None:
    await house.operations.edit_queue(house.operator, said.queue, {"max_bytes": 10})


async def the_schema_is_another(house: House, said: Said) -> None:
    """No act of operators does that to a queue yet; the store lets it be done."""
    other = {**SCHEMA, "required": ["topic", "audience", "by"], "properties": {**SCHEMA["properties"], "by": {}}}
    stored, _ = await house.operations.push_schema(house.operator, "brief", other)
    queue = (await house.store.queues(fresh=True))[QueueName(said.queue)]
    changed = msgspec.structs.replace(queue, schema=stored.ref, schema_hash=stored.hash)
    await house.store.put_queue(house.operator, changed)


async def the_disk_is_nearly_full(house: House, said: Said) -> None:
    house.store.room = lambda: "180 MB left"


async def everything_is_frozen(house: House, said: Said) -> None:
    await change(house.store, EVERYBODY, "frozen")


async def contract_and_record_are_changed(house: House, said: Said) -> None:
    """The refusal is decided before anybody has found out that the caller's record is an old one."""
    await the_limit_is_lowered(house, said)
    await house.operations.grant(house.operator, said.who, ["inspect:drafts"])


Change = Callable[[House, Said], Awaitable[None]]
ACTS: Final = (dropped_off, forwarded, resubmitted)
CHANGES: Final[dict[Change, tuple[type[DropoffError], ...]]] = {
    the_grant_is_taken: (NotAllowed, QueueUnknown, HandoffUnknown),
    the_limit_is_lowered: (PayloadTooLarge,),
    the_schema_is_another: (PayloadInvalid, NextInvalid),
    the_disk_is_nearly_full: (StorageFull,),
    everything_is_frozen: (Frozen,),
    contract_and_record_are_changed: (PayloadTooLarge,),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("act", ACTS)
async def test_the_same_call_again_is_answered_as_the_first_was(
    house: House, look: Look, act: Callable[[House], Awaitable[Said]], change: Change
):
    """And who says something new under the changed rules is refused by them."""
    said = await act(house)
    first = await said.again()
    await change(house, said)

    async with look.nothing_changes():
        assert await said.again() == msgspec.structs.replace(first, repeated=True)
        with pytest.raises(CHANGES[change]):
            await said.other()


@pytest.mark.parametrize("payload", [PAYLOAD | {"topic": "owls"}, {"topic": 2**60}])
async def test_other_work_under_the_same_key_is_a_conflict_whatever_else_is_wrong_with_it(
    house: House, look: Look, payload: dict[str, Any]
):
    """What stands under that key is not what its caller believes."""
    said = await dropped_off(house)
    await said.again()
    await the_limit_is_lowered(house, said)

    async with look.nothing_changes():
        with pytest.raises(RequestConflict):
            await house.broker.drop_off(house.scout, msgspec.structs.replace(BRIEF, payload=payload), key="k")


@pytest.mark.parametrize(
    "other", [{"queue": "research"}, {"note": "other"}, {"payload": {"topic": "owls"}}, {"payload": {"topic": 2**60}}]
)
async def test_another_next_is_no_repeat_whatever_else_is_wrong_with_it(
    house: House, look: Look, other: dict[str, Any]
):
    """The lease is over: there is nothing that its holder could mend."""
    said = await forwarded(house)
    onward = Next(queue="drafts", payload=PAYLOAD)
    first = Complete(lease_id=(await house.store.leases_of(house.writer.agent))[0].id, next=onward)
    await house.broker.complete(house.writer, first)
    await the_limit_is_lowered(house, said)
    another = msgspec.structs.replace(first, next=msgspec.structs.replace(onward, **other))

    async with look.nothing_changes():
        with pytest.raises(AlreadySettled):
            await house.broker.complete(house.writer, another)


@pytest.mark.parametrize("grants", [["drop:research", "drop:drafts"], [], ["drop:drafts"]])
async def test_who_named_no_queue_is_answered_from_the_queue_that_it_was(house: House, look: Look, grants: list[str]):
    """Its one grant said which; now there are two, or none, or another one: then the same call would do it twice."""
    unnamed = await _an_unnamed_one(house)
    first = await house.broker.drop_off(house.scout, unnamed, key="k")
    await _has_now(house, grants)

    async with look.nothing_changes():
        again = await house.broker.drop_off(house.scout, unnamed, key="k")
    assert again == msgspec.structs.replace(first, repeated=True)
    new = house.broker.drop_off(house.scout, unnamed, key="other")
    if grants == ["drop:drafts"]:
        assert (await new).receipt.handoff_id.startswith("drafts-")
        return
    async with look.nothing_changes():
        with pytest.raises((QueueNeeded, NotAllowed)):
            await new


async def test_other_work_in_another_queue_does_not_hide_what_was_heard(house: House, look: Look):
    """The key was used there for a call that named it; that says nothing of the one that named none."""
    unnamed = await _an_unnamed_one(house)
    await _has_now(house, ["drop:drafts"])
    other = DropOff(queue="drafts", payload=PAYLOAD | {"topic": "owls"})
    await house.broker.drop_off(house.scout, other, key="k")
    await _has_now(house, ["drop:research"])
    first = await house.broker.drop_off(house.scout, unnamed, key="k")
    await _has_now(house, [])

    async with look.nothing_changes():
        again = await house.broker.drop_off(house.scout, unnamed, key="k")
    assert again == msgspec.structs.replace(first, repeated=True)


async def _an_unnamed_one(house: House) -> DropOff:
    await house.operations.add_queue(house.operator, NewQueue(name="drafts", schema="brief"))
    return DropOff(payload=PAYLOAD)


async def _has_now(house: House, grants: list[str]) -> None:
    await house.operations.ungrant(house.operator, "scout", ["drop:research", "drop:drafts"])
    await house.operations.grant(house.operator, "scout", grants)


async def test_a_next_that_named_no_queue_is_the_same_when_another_is_the_only_one(house: House, look: Look):
    """What was asked is the same; which queue was meant was known the first time."""
    await forwarded(house)
    await house.operations.add_queue(house.operator, NewQueue(name="reviews", schema="brief"))
    lease = (await house.store.leases_of(house.writer.agent))[0]
    unnamed = Complete(lease_id=lease.id, next=Next(payload=PAYLOAD))
    first = await house.broker.complete(house.writer, unnamed)
    await house.operations.ungrant(house.operator, "writer", ["drop:drafts"])
    await house.operations.grant(house.operator, "writer", ["drop:reviews"])

    async with look.nothing_changes():
        assert await house.broker.complete(house.writer, unnamed) == msgspec.structs.replace(first, repeated=True)


@pytest.mark.parametrize("queue", ["research", ""])
@pytest.mark.parametrize("at_most", [1, 3])
async def test_who_may_not_pick_up_any_more_is_told_the_leases_that_it_has(house: House, queue: str, at_most: int):
    """Else it would never hear of them, and they would lapse to its debit."""
    for _ in range(3):
        await house.broker.drop_off(house.scout, BRIEF)
    wanted = PickUp(queue=queue, wait_seconds=0)
    first = await house.broker.pick_up_several(house.writer, wanted, at_most, key="k")
    await house.operations.ungrant(house.operator, "writer", ["pick:research"])
    assert not isinstance(first, NothingToPickUp)

    again = await house.broker.pick_up_several(house.writer, wanted, at_most, key="k")

    assert again == tuple(msgspec.structs.replace(one, repeated=True, waiting=3 - at_most) for one in first)


async def test_who_may_not_pick_up_any_more_and_holds_nothing_is_refused(house: House, look: Look):
    """By no key, by one that brought nothing, by one whose lease is over, and by another agent's."""
    for _ in range(2):
        await house.broker.drop_off(house.scout, BRIEF)
    wanted = PickUp(queue="research", wait_seconds=0)
    over = await house.broker.pick_up(house.writer, wanted, key="over")
    assert isinstance(over, PickedUp)
    await house.broker.complete(house.writer, Complete(lease_id=over.lease.id))
    await house.broker.pick_up(house.rival, wanted, key="rival's")
    await house.operations.ungrant(house.operator, "writer", ["pick:research"])

    async with look.nothing_changes():
        for key in ("", "never used", "over", "rival's"):
            with pytest.raises((NotAllowed, QueueUnknown)):
                await house.broker.pick_up(house.writer, wanted, key=key)


async def test_who_may_not_look_for_its_lease_does_not_hear_that_nothing_was_stored(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    """The store is away just then: of the first call nobody knows."""
    await house.operations.ungrant(house.operator, "writer", ["pick:research"])

    async def away(*arguments: Any) -> None:
        raise BrokerUnavailable(stored="nothing")

    monkeypatch.setattr(house.store, "picked_before", away)
    with pytest.raises(BrokerUnavailable) as refusal:
        await house.broker.pick_up(house.writer, PickUp(queue="research", wait_seconds=0), key="k")
    assert refusal.value.stored == "unknown"


async def test_what_was_put_back_is_known_though_the_old_one_is_forgotten(house: House, look: Look):
    said = await resubmitted(house)
    first = await said.again()
    await house.operations.edit_queue(house.operator, "research", {"retention_seconds": 60})
    await house.time_passes(62)

    async with look.nothing_changes():
        again = await said.again()
        assert (again.receipt, again.repeated) == (first.receipt, True)
        with pytest.raises(HandoffUnknown):
            await said.other()


async def test_what_another_has_put_back_is_not_told_to_who_may_not_operate(house: House, look: Look):
    """Nor that it was put back at all."""
    said = await resubmitted(house)
    [one, _] = both = await house.store.handoffs(QueueName("research"), "withdrawn", 10)
    await house.broker.resubmit(house.operator, one.id)
    await the_grant_is_taken(house, said)

    async with look.nothing_changes():
        for ask in (said.again, said.other):  # one of them is put back, the other is not
            with pytest.raises(HandoffUnknown):
                await ask()
        for old in both:
            with pytest.raises(NotAllowed):
                await house.broker.resubmit(house.scout, old.id)


@pytest.mark.parametrize(
    "refusal",
    [BrokerUnavailable(stored="nothing"), ChangingNow(), Frozen(), StorageFull(why="full"), Unauthenticated()],
)
def test_a_refusal_that_has_not_looked_speaks_of_this_call_alone(refusal: DropoffError):
    """The same call may have been heard before, and what it stored is there."""
    assert "Nothing of this call was stored." in refusal.sentence()


@pytest.mark.parametrize("why", [BrokerUnavailable(stored="nothing"), ChangingNow()], ids=["away", "changing"])
async def test_nothing_was_stored_is_not_said_where_nobody_could_look(
    house: House, monkeypatch: pytest.MonkeyPatch, why: DropoffError
):
    """The store is away just then, or the caller changes too fast: of the first call nobody knows."""
    said = await dropped_off(house)
    await said.again()
    await the_limit_is_lowered(house, said)

    async def away(*arguments: Any, **named: Any) -> None:
        raise why

    monkeypatch.setattr(house.store, "dropped_before", away)
    with pytest.raises(BrokerUnavailable) as refusal:
        await said.again()
    assert refusal.value.stored == "unknown"


async def test_who_brings_no_key_is_refused_at_once(house: House, monkeypatch: pytest.MonkeyPatch):
    """There is no first call that this could be: the store is not asked."""
    monkeypatch.setattr(house.store, "dropped_before", None)
    with pytest.raises(PayloadInvalid):
        await house.broker.drop_off(house.scout, DropOff(queue="research", payload={}))


async def test_a_step_that_has_looked_is_not_asked_once_more(house: House, monkeypatch: pytest.MonkeyPatch):
    """A draining queue refuses what it has not heard before, and nothing else."""
    await house.operations.set_queue(house.operator, "research", "draining")
    monkeypatch.setattr(house.store, "dropped_before", None)
    with pytest.raises(QueueDraining):
        await house.broker.drop_off(house.scout, BRIEF, key="k")


@pytest.mark.parametrize("named", ["no queue's name", "-", "reserch", "research-8F3K2Q9T1MXK7A4B"])
async def test_a_queue_that_cannot_be_is_unknown_also_under_a_key(house: House, look: Look, named: str):
    async with look.nothing_changes():
        with pytest.raises(QueueUnknown):
            await house.broker.drop_off(house.scout, msgspec.structs.replace(BRIEF, queue=named), key="k")


@pytest.mark.parametrize("key", ["", "k"])
async def test_what_is_no_json_within_bounds_is_refused_as_ever(house: House, look: Look, key: str):
    """It can never have been stored."""
    async with look.nothing_changes():
        with pytest.raises(PayloadInvalid):
            await house.broker.drop_off(house.scout, DropOff(queue="research", payload={"topic": 2**60}), key)
