"""A queue may say what a result must be: who picks up is held to it, and who drops off knows what it will get."""

import secrets
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import pytest

from dropoff.broker import Broker
from dropoff.contracts.gate import Gates
from dropoff.core.answers import PickedUp
from dropoff.core.handoff import QueueName
from dropoff.core.lifecycle import COMPLETED, LEASED
from dropoff.core.requests import Check, Complete, Describe, DropOff, Next
from dropoff.errors import (
    AlreadySettled,
    BrokerUnavailable,
    LeaseLost,
    LeaseUnknown,
    NextInvalid,
    QueueExists,
    ResultInvalid,
    SchemaUnknown,
)
from dropoff.operations import NewQueue
from dropoff.storage.store import RedisStore
from tests.fundamentals.conftest import House
from tests.look import Look
from tests.servers import Server, source_of

PAYLOAD: Final = {"topic": "heat pumps", "audience": "exec"}
ANSWER: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 3}, "sources": {"type": "integer"}},
    "required": ["text"],
    "additionalProperties": False,
}
STRICTER: Final[dict[str, Any]] = {**ANSWER, "required": ["text", "sources"]}
GOOD: Final = {"text": "They heat."}


@pytest.fixture
async def held(house: House) -> PickedUp:
    """Of a queue whose results must be an answer@1; answer@2 is there, and wants more."""
    for schema in (ANSWER, STRICTER):
        await house.operations.push_schema(house.operator, "answer", schema)
    await house.operations.edit_queue(house.operator, "research", {"result_schema": "answer@1"})
    return await _held(house)


async def _held(house: House) -> PickedUp:
    await house.broker.drop_off(house.scout, DropOff(payload=PAYLOAD))
    picked = await house.takes(house.writer)
    assert picked is not None
    return picked


async def set_to(house: House, ref: str) -> None:
    await house.operations.edit_queue(house.operator, "research", {"result_schema": ref})


async def state(house: House, held: PickedUp) -> str:
    return (await house.broker.check(house.scout, Check(handoff_id=held.handoff.id))).state


def finished(held: PickedUp, result: dict[str, Any], onward: Next | None = None) -> Complete:
    return Complete(lease_id=held.lease.id, result=result, next=onward)


# ---- judged -----------------------------------------------------------------------------------------------------


async def test_a_result_that_does_not_fit_is_taught_and_the_lease_goes_on(house: House, held: PickedUp, look: Look):
    async with look.nothing_changes():
        with pytest.raises(ResultInvalid) as refusal:
            await house.broker.complete(house.writer, finished(held, {"txet": "They heat.", "sources": "3"}))

    assert [problem.path for problem in refusal.value.problems] == ["result.text", "result.txet", "result.sources"]
    assert "did you mean 'text'?" in refusal.value.sentence()
    assert refusal.value.sentence().startswith(
        "Result rejected by schema answer@1: 3 problems. It was not stored. The lease is still yours until "
    )
    assert refusal.value.sentence().endswith("Fix these and call complete_handoff again.")
    assert refusal.value.lease_ends_ms == held.handoff.lease_ends_ms
    await house.broker.complete(house.writer, finished(held, GOOD))
    assert await state(house, held) == COMPLETED


async def test_a_result_that_is_left_out_is_judged_too(house: House, held: PickedUp, look: Look):
    """It stands for an empty object."""
    async with look.nothing_changes():
        with pytest.raises(ResultInvalid) as refusal:
            await house.broker.complete(house.writer, Complete(lease_id=held.lease.id))
    assert [problem.path for problem in refusal.value.problems] == ["result.text"]


async def test_with_next_both_must_fit_or_neither_happens(house: House, held: PickedUp, look: Look):
    await house.operations.grant(house.operator, "writer", ["drop:research"])
    onward = Next(queue="research", payload=PAYLOAD)
    async with look.nothing_changes():
        with pytest.raises(ResultInvalid):
            await house.broker.complete(house.writer, finished(held, {}, onward))
        with pytest.raises(NextInvalid):
            await house.broker.complete(house.writer, finished(held, GOOD, Next(queue="research", payload={})))
    assert await state(house, held) == LEASED

    assert (await house.broker.complete(house.writer, finished(held, GOOD, onward))).next_id


async def test_a_queue_without_one_takes_any_object(house: House, held: PickedUp):
    await set_to(house, "")
    await house.broker.complete(house.writer, finished(held, {"txet": 1}))
    assert await state(house, held) == COMPLETED


async def test_whoever_holds_no_lease_of_the_queue_learns_nothing_of_its_schema(
    house: House, held: PickedUp, look: Look
):
    """Neither who borrows the lease of another, nor who makes one up."""
    made_up = held.lease.id.rpartition(".")[0] + ".1"
    async with look.nothing_changes():
        for who, lease in ((house.rival, held.lease.id), (house.writer, made_up)):
            with pytest.raises(LeaseUnknown):
                await house.broker.complete(who, Complete(lease_id=lease, result={"txet": 1}))


async def test_who_is_too_late_hears_that_and_not_what_was_wrong(house: House, held: PickedUp, look: Look):
    """There is nothing left to mend."""
    await house.time_passes(62)
    async with look.nothing_changes():
        with pytest.raises(LeaseLost):
            await house.broker.complete(house.writer, finished(held, {}))


# ---- changed ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def elsewhere(house: House, held: PickedUp, server: Server) -> AsyncIterator[Broker]:
    """Another broker on the same store; it remembers what it has read."""
    store = RedisStore(source_of(server), house.store.keys, house.clock)
    await store.start()
    yield Broker(store, Gates(), secrets.token_bytes)
    await store.close()


@pytest.mark.parametrize("onward", [None, Next(queue="research", payload=PAYLOAD)])
async def test_what_fits_the_schema_of_before_is_judged_by_that_of_now(
    house: House, held: PickedUp, elsewhere: Broker, look: Look, onward: Next | None
):
    """Its broker finds out at the step, and judges again."""
    await house.operations.grant(house.operator, "writer", ["drop:research"])
    await elsewhere.store.queues(fresh=True)
    await set_to(house, "answer@2")

    async with look.nothing_changes():
        with pytest.raises(ResultInvalid) as refusal:
            await elsewhere.complete(house.writer, finished(held, GOOD, onward))

    assert refusal.value.schema == "answer@2"
    await elsewhere.complete(house.writer, finished(held, {**GOOD, "sources": 3}, onward))


@pytest.mark.parametrize("now", ["", "answer@1"])
async def test_what_does_not_fit_the_schema_of_before_may_fit_that_of_now(
    house: House, held: PickedUp, elsewhere: Broker, now: str
):
    """A refusal takes no step that would find it out, so its broker looks before it refuses."""
    await set_to(house, "answer@2")
    await elsewhere.store.queues(fresh=True)
    await set_to(house, now)

    await elsewhere.complete(house.writer, finished(held, GOOD))

    assert await state(house, held) == COMPLETED


@pytest.mark.parametrize("change", ["stricter", "lost"])
async def test_the_same_completion_again_has_its_first_answer(house: House, held: PickedUp, look: Look, change: str):
    """Also where it would be refused by now; and another result is no repeat, whatever is wrong with it."""
    first = await house.broker.complete(house.writer, finished(held, GOOD))
    await set_to(house, "answer@2")
    if change == "lost":
        hash = (await house.store.schemas())["answer@2"]
        await look.client.delete(house.store.keys.of("schema", hash=hash))

    async with look.nothing_changes():
        again = await house.broker.complete(house.writer, finished(held, GOOD))
        assert again == msgspec.structs.replace(first, repeated=True)
        with pytest.raises(AlreadySettled):
            await house.broker.complete(house.writer, finished(held, {"text": 3}))


async def test_of_a_repeat_that_nobody_can_look_for_it_is_not_said_that_it_was_refused(
    house: House, held: PickedUp, monkeypatch: pytest.MonkeyPatch
):
    await house.broker.complete(house.writer, finished(held, GOOD))
    await set_to(house, "answer@2")

    async def away(*arguments: Any) -> None:
        raise BrokerUnavailable(stored="nothing")

    monkeypatch.setattr(house.store, "completed_before", away)
    with pytest.raises(BrokerUnavailable) as refusal:
        await house.broker.complete(house.writer, finished(held, GOOD))
    assert refusal.value.stored == "unknown"


# ---- set --------------------------------------------------------------------------------------------------------


async def test_a_queue_is_made_with_one_and_pinned_to_its_version(house: House, held: PickedUp):
    """The same again is the same queue; another one is a conflict that names the flag."""
    new = NewQueue(name="judged", schema="brief", result_schema="answer@1")
    made = await house.operations.add_queue(house.operator, new)
    assert (made.result_schema, made.result_schema_hash) == (
        "answer@1",
        (await house.store.schemas())["answer@1"],
    )
    assert await house.operations.add_queue(house.operator, new) == made
    for ref, differs in (
        ("answer", "--result-schema answer@1, not --result-schema answer@2"),
        ("", "--result-schema answer@1, not --no-result-schema"),
    ):
        with pytest.raises(QueueExists) as refusal:
            await house.operations.add_queue(house.operator, msgspec.structs.replace(new, result_schema=ref))
        assert refusal.value.differs == (differs,)


async def test_one_that_nobody_has_registered_is_unknown_and_nothing_is_changed(
    house: House, held: PickedUp, look: Look
):
    async with look.nothing_changes():
        with pytest.raises(SchemaUnknown):
            await house.operations.add_queue(house.operator, NewQueue(name="q", schema="brief", result_schema="nope"))
        with pytest.raises(SchemaUnknown):
            await set_to(house, "answer@3")


async def test_it_is_given_changed_and_taken_away_by_an_edit_and_stays_by_any_other(house: House, held: PickedUp):
    async def now() -> str:
        return (await house.store.queues(fresh=True))[QueueName("research")].result_schema

    await house.operations.edit_queue(house.operator, "research", {"max_attempts": 7})
    assert await now() == "answer@1"
    await set_to(house, "answer")
    assert await now() == "answer@2"
    await set_to(house, "")
    assert await now() == ""


async def test_an_edit_of_something_else_needs_no_word_of_a_schema_that_is_lost(
    house: House, held: PickedUp, look: Look
):
    """What stays as it is need not be looked up."""
    await look.client.delete(house.store.keys.of("schemas"))
    edited = await house.operations.edit_queue(house.operator, "research", {"max_attempts": 7})
    assert (edited.result_schema, edited.attempts_max) == ("answer@1", 7)


# ---- shown ------------------------------------------------------------------------------------------------------


async def test_who_picks_up_and_who_drops_off_are_shown_what_a_result_must_be(house: House, held: PickedUp):
    """The sender wants to know what it will get."""
    for who in (house.writer, house.scout):
        [shown] = await house.broker.describe(who, Describe())
        assert shown.result_schema is not None
        assert (shown.result_schema.ref, shown.result_schema.as_object()) == ("answer@1", ANSWER)
    await set_to(house, "")
    [shown] = await house.broker.describe(house.scout, Describe())
    assert shown.result_schema is None


@pytest.mark.parametrize("ref", ["brief@1", "answer@1"])
async def test_a_schema_that_is_lost_is_left_out_of_what_is_described(
    house: House, held: PickedUp, look: Look, ref: str
):
    """And nothing else is: the other schema is there, and so is the queue's name for the one that is lost."""
    lost = (await house.store.schemas())[ref]
    await look.client.delete(house.store.keys.of("schema", hash=lost))
    broker = Broker(house.store, Gates(), secrets.token_bytes)

    for request in (Describe(), Describe(queue="research")):
        [shown] = await broker.describe(house.scout, request)
        assert (shown.queue.schema, shown.queue.result_schema) == ("brief@1", "answer@1")
        here = {one.ref for one in (shown.schema, shown.result_schema) if one}
        assert here == {"brief@1", "answer@1"} - {ref}
