"""The gate: who was revoked, frozen or changed since is stopped at the very next step, on every broker at once."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
import pytest

from dropoff.core.answers import DroppedOff, PickedUp
from dropoff.core.caller import EVERYONE, Caller, Principal, Revision
from dropoff.core.handoff import AgentName, HandoffId
from dropoff.core.queue import Queue
from dropoff.core.store import Stale
from dropoff.errors import DropoffError, Frozen, Unauthenticated
from dropoff.storage.store import RedisStore
from tests.look import Look
from tests.world import (
    ANN,
    BOB,
    EVERYBODY,
    OPS,
    QUEUE,
    SCHEMA,
    SCHEMA_HASH,
    UPKEEP,
    Clock,
    a_queue,
    change,
    complete,
    drop_off,
    extend,
    forward,
    hand_back,
    judge,
    live,
    pick_up,
    release,
    withdraw,
)


@dataclass(frozen=True)
class Given:
    """Something to ask every verb about, so that nothing but the gate stops it."""

    picked: PickedUp  # BOB is its sender and its holder
    held: DroppedOff  # from ANN
    ended: PickedUp  # in a queue that keeps nothing
    empty: Queue
    asked: DroppedOff  # scheduled; from ANN


# Everything that a caller may ask the store for, in three lists: a freeze of everything stops only the first.
Asking = Callable[[RedisStore, Caller, Given], Awaitable[object]]
STEPS_OF_AGENTS: dict[str, Asking] = {
    "drop_off": lambda store, by, given: drop_off(store, by),
    "pick_up": lambda store, by, given: store.pick_up(by, QUEUE, "k"),
    "extend": lambda store, by, given: extend(store, given.picked.lease, by),
    "complete": lambda store, by, given: complete(store, given.picked.lease, by),
    "forward": lambda store, by, given: forward(store, given.picked.lease, by, queue=given.empty),
    "hand_back": lambda store, by, given: hand_back(store, given.picked.lease, "release", by),
    "withdraw": lambda store, by, given: withdraw(store, given.picked.handoff.id, by),
}
STEPS_OF_OPERATORS: dict[str, Asking] = {
    "withdraw for another": lambda store, by, given: withdraw(store, idof(given.asked), by, may_operate=True),
    "judge": lambda store, by, given: judge(store, idof(given.held), "approve", by),
    "release": lambda store, by, given: release(store, given.picked.lease, by),
    "erase": lambda store, by, given: store.erase(given.ended.handoff.id, by),
    "put_schema": lambda store, by, given: store.put_schema(by, "new", SCHEMA_HASH, SCHEMA),
    "put_queue": lambda store, by, given: store.put_queue(by, a_queue("new")),
    "remove_queue": lambda store, by, given: store.remove_queue(by, given.empty),
    "put_principal": lambda store, by, given: store.put_principal(by, Principal(agent=AgentName("new"))),
    "gate": lambda store, by, given: store.gate(by, AgentName("new"), "9", "active"),
}
READS: dict[str, Asking] = {
    "check": lambda store, by, given: store.check(by, given.picked.handoff.id, may_inspect=True),
    "lease_ends": lambda store, by, given: store.lease_ends(by, given.picked.lease),
}
ASKED_FOR = STEPS_OF_AGENTS | STEPS_OF_OPERATORS | READS

every_verb = pytest.mark.parametrize("verb", ASKED_FOR)


def idof(dropped: DroppedOff) -> HandoffId:
    return dropped.receipt.handoff_id


@pytest.fixture
async def given(store: RedisStore) -> Given:
    approved = await store.put_queue(UPKEEP, a_queue("approved", approval=True))
    past = await store.put_queue(UPKEEP, a_queue("past", retention_ms=0))
    empty = await store.put_queue(UPKEEP, a_queue("empty"))
    await drop_off(store, queue=past)
    ended = await pick_up(store, queue=past)
    await complete(store, ended.lease)
    held, asked = await drop_off(store, queue=approved), await drop_off(store, delay_ms=5_000)
    await drop_off(store, BOB)
    return Given(picked=await pick_up(store, BOB), held=held, ended=ended, empty=empty, asked=asked)


@pytest.fixture
def picked(given: Given) -> PickedUp:
    return given.picked


async def stopped(
    store: RedisStore, look: Look, verb: str, by: Caller, given: Given, error: type[Exception]
) -> Exception:
    """The refusal of this verb, which left everything as it was."""
    async with look.nothing_changes():
        with pytest.raises(error) as refusal:
            await ASKED_FOR[verb](store, by, given)
    return refusal.value


@every_verb
async def test_with_the_current_record_every_verb_passes(store: RedisStore, given: Given, verb: str):
    """So that what stops in the tests below is the gate."""
    await passes(store, verb, given)


async def passes(store: RedisStore, verb: str, given: Given) -> None:
    try:
        await ASKED_FOR[verb](store, BOB, given)
    except DropoffError as refusal:
        pytest.fail(f"{verb} is refused: {refusal}")


@every_verb
async def test_a_revoked_caller_is_stopped_and_changes_nothing(store: RedisStore, given: Given, look: Look, verb: str):
    """Not even reading is left to it, and its lease is worth nothing."""
    revoked = await change(store, BOB, "revoked")

    await stopped(store, look, verb, revoked, given, Unauthenticated)


@every_verb
async def test_a_caller_decided_upon_before_it_was_revoked_is_stale(
    store: RedisStore, given: Given, look: Look, verb: str
):
    """The decision was made a moment before; the step finds out, in the same round trip."""
    await change(store, BOB, "revoked")

    await stopped(store, look, verb, BOB, given, Stale)


@every_verb
@pytest.mark.parametrize("lost", [BOB.agent, EVERYONE])
async def test_a_gate_that_lacks_a_word_stops_everybody(
    store: RedisStore, given: Given, look: Look, verb: str, lost: AgentName
):
    """Missing must never mean free: neither the agent's own word, nor that about everything."""
    await look.client.hdel(look.keys.of("gate"), lost)

    await stopped(store, look, verb, BOB, given, Stale)


@every_verb
async def test_a_frozen_caller_is_stopped_and_changes_nothing(store: RedisStore, given: Given, look: Look, verb: str):
    frozen = await change(store, BOB, "frozen")

    refusal = await stopped(store, look, verb, frozen, given, Frozen)

    assert str(refusal).startswith("Agent 'bob' is frozen")


@pytest.mark.parametrize("verb", STEPS_OF_AGENTS)
async def test_when_everything_is_frozen_no_agent_takes_a_step(store: RedisStore, given: Given, look: Look, verb: str):
    """And when it is thawed, the lease is there as it was."""
    await change(store, EVERYBODY, "frozen")

    refusal = await stopped(store, look, verb, BOB, given, Frozen)
    assert str(refusal).startswith("Everything is frozen")

    await change(store, EVERYBODY, "active")
    await complete(store, given.picked.lease)


@pytest.mark.parametrize("verb", [*STEPS_OF_OPERATORS, *READS])
async def test_when_everything_is_frozen_operators_go_on_and_so_do_reads(store: RedisStore, given: Given, verb: str):
    """They must be able to look, to tidy and to thaw."""
    await change(store, EVERYBODY, "frozen")

    await passes(store, verb, given)


async def test_who_freezes_everything_can_thaw_it(store: RedisStore):
    """The operator's own steps are the way out."""
    await change(store, EVERYBODY, "frozen", by=OPS)

    await change(store, EVERYBODY, "active", by=OPS)

    await drop_off(store)


async def test_an_agent_that_is_thawed_goes_on_with_its_lease(store: RedisStore, picked: PickedUp):
    await change(store, BOB, "frozen")
    thawed = await change(store, BOB, "active")

    await complete(store, picked.lease, thawed)


async def test_an_older_revision_never_wins(store: RedisStore, look: Look):
    """A broker that finishes an old change late does not undo a newer one."""
    revoked = await change(store, BOB, "revoked")

    async with look.nothing_changes():
        for rev in (revoked.rev, str(int(revoked.rev) - 1), "1"):
            assert await store.gate(UPKEEP, BOB.agent, rev, "active") != "changed"

    assert await store.standing(BOB.agent) == f"{revoked.rev} revoked"


async def test_a_revision_is_compared_as_a_number(store: RedisStore):
    """Not as text, where 9 comes after 10."""
    assert await store.gate(UPKEEP, AgentName("new"), "9", "active") == "changed"

    assert await store.gate(UPKEEP, AgentName("new"), "10", "revoked") == "changed"

    assert await store.standing(AgentName("new")) == "10 revoked"


async def test_the_standing_of_nobody_is_empty(store: RedisStore):
    assert await store.standing(AgentName("nobody")) == ""


async def test_upkeep_passes_while_everything_is_frozen(store: RedisStore, given: Given, clock: Clock):
    """It asks nobody, and nobody can ask as upkeep: its name is reserved, and its record is never made."""
    await change(store, EVERYBODY, "frozen")
    await live(store, clock, 5_000)

    assert await store.due(idof(given.asked))
    assert await store.erase(given.ended.handoff.id)
    assert await store.recall(given.picked.lease, "the holder is revoked")


# ---- records ----------------------------------------------------------------------------------------------------


async def test_a_record_is_in_force_on_return(store: RedisStore, clock: Clock):
    """For the very next step of anybody, also one that was decided upon with the old record."""
    clock.advance(5)
    changed = await change(store, BOB, "revoked", by=OPS)

    assert await store.standing(BOB.agent) == f"{clock.now_ms} revoked"
    with pytest.raises(Stale):
        await store.pick_up(BOB, QUEUE, "k")
    with pytest.raises(Unauthenticated):
        await store.pick_up(changed, QUEUE, "k")


async def test_two_operators_cannot_overwrite_each_other(store: RedisStore, look: Look):
    """A record is written over the revision that it was made from, and no other."""
    known = await store.principal(BOB.agent, fresh=True)
    assert known is not None
    await store.put_principal(OPS, msgspec.structs.replace(known, standing="revoked"))

    async with look.nothing_changes():
        with pytest.raises(Stale):
            await store.put_principal(OPS, msgspec.structs.replace(known, standing="frozen"))


async def test_a_record_written_twice_is_written_once(store: RedisStore, look: Look):
    """The step ran, its answer was lost, it is asked again: what was asked for is there."""
    known = await store.principal(BOB.agent, fresh=True)
    assert known is not None
    wanted = msgspec.structs.replace(known, standing="revoked", reason="left")
    first = await store.put_principal(OPS, wanted)

    async with look.nothing_changes():
        second = await store.put_principal(OPS, wanted)

    assert second == first


async def test_a_gate_that_was_left_behind_is_brought_up_to_date(store: RedisStore, look: Look, clock: Clock):
    """Somebody died between record and gate. Until the gate knows, the new record is stale, which is the safe side."""
    before = await store.standing(BOB.agent)
    clock.advance(5)
    changed = await change(store, BOB, "active")
    await look.client.hset(look.keys.of("gate"), BOB.agent, before)
    with pytest.raises(Stale):
        await store.pick_up(changed, QUEUE, "k")

    assert await store.gate(UPKEEP, changed.agent, changed.rev, "active") == "changed"

    assert await store.pick_up(changed, QUEUE, "k") is None


async def test_a_revision_rises_also_when_the_clock_does_not(store: RedisStore, clock: Clock):
    clock.advance(-10_000)

    changed = await change(store, BOB, "frozen")

    assert int(changed.rev) == int(BOB.rev) + 1


@pytest.mark.parametrize("make", ["change", "enforce"])
async def test_a_record_rises_above_what_the_gate_knows(store: RedisStore, look: Look, make: str):
    """In one step, however far that is: where a record was lost the gate has gone on without it."""
    above = str(int(BOB.rev) + 5_000)
    await look.client.hset(look.keys.of("gate"), BOB.agent, f"{above} revoked")

    put = await (change(store, BOB, "active") if make == "change" else store.enforce(BOB.agent))

    assert put is not None
    assert put.rev == str(int(above) + 1)
    assert await store.standing(BOB.agent) == f"{put.rev} active"
    assert [entry.step for entry in await store.entries(at_most=2)] == ["put_principal", "gate"]
    assert [entry.rev for entry in await store.entries(at_most=2)] == [put.rev, put.rev]


async def test_a_bearer_leads_to_its_agent_until_it_is_replaced(store: RedisStore):
    """The index follows the record in the same step."""
    ann = await store.principal(ANN.agent, fresh=True)
    assert ann is not None
    ann = await store.put_principal(OPS, msgspec.structs.replace(ann, bearers=("old", "kept")))
    assert await store.agent_by_bearer("old") == ANN.agent

    await store.put_principal(OPS, msgspec.structs.replace(ann, bearers=("kept", "new")))

    found = [await store.agent_by_bearer(bearer) for bearer in ("old", "kept", "new", "")]
    assert found == [None, ANN.agent, ANN.agent, None]


async def test_records_are_remembered_until_they_are_read_anew(store: RedisStore, look: Look):
    """What is remembered may be old; the gate finds out, and then it is read."""
    put = await store.principal(BOB.agent)
    assert put is not None
    await look.client.hset(look.keys.of("agent", agent=BOB.agent), "rev", "7")

    assert await store.principal(BOB.agent) == put
    assert await store.principal(BOB.agent, fresh=True) == msgspec.structs.replace(put, rev=Revision("7"))


async def test_an_agent_that_is_not_there_is_none(store: RedisStore):
    assert await store.principal(AgentName("nobody")) is None
    assert [one.agent for one in await store.principals()] == ["ann", "bob", "carol", "ops"]
