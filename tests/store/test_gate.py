"""The gate: who was revoked, frozen or changed since is stopped at the very next step, on every broker at once."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest

from dropoff.core.caller import EVERYONE, Caller, Principal, Revision
from dropoff.core.handoff import AgentName
from dropoff.core.store import PickedUp, Stale
from dropoff.errors import DropoffError, Frozen, Unauthenticated
from dropoff.storage.store import RedisStore
from tests.look import Look
from tests.world import (
    ANN,
    BOB,
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
    hand_back,
    pick_up,
    withdraw,
)

# Everything that a caller may ask the store for: by whom, on BOB's lease of ANN's handoff.
Asking = Callable[[RedisStore, Caller, PickedUp], Awaitable[object]]
ASKED_FOR: dict[str, Asking] = {
    "drop_off": lambda store, by, picked: drop_off(store, by),
    "pick_up": lambda store, by, picked: store.pick_up(by, QUEUE, "k"),
    "extend": lambda store, by, picked: extend(store, picked.lease, by),
    "complete": lambda store, by, picked: complete(store, picked.lease, by),
    "hand_back": lambda store, by, picked: hand_back(store, picked.lease, "release", by),
    "withdraw": lambda store, by, picked: withdraw(store, picked.handoff.id, by),
    "check": lambda store, by, picked: store.check(by, picked.handoff.id, may_inspect=True),
    "put_schema": lambda store, by, picked: store.put_schema(by, "new", SCHEMA_HASH, SCHEMA),
    "put_queue": lambda store, by, picked: store.put_queue(by, a_queue("new")),
    "put_principal": lambda store, by, picked: store.put_principal(by, Principal(agent=AgentName("new"))),
    "gate": lambda store, by, picked: store.gate(by, AgentName("new"), "9", "active"),
}

every_verb = pytest.mark.parametrize("verb", ASKED_FOR)


@pytest.fixture
async def picked(store: RedisStore) -> PickedUp:
    await drop_off(store, BOB)  # BOB is sender and holder, so that nothing but the gate stops it
    return await pick_up(store, BOB)


async def stopped(
    store: RedisStore, look: Look, verb: str, by: Caller, picked: PickedUp, error: type[Exception]
) -> Exception:
    """The refusal of this verb, which left everything as it was."""
    async with look.nothing_changes():
        with pytest.raises(error) as refusal:
            await ASKED_FOR[verb](store, by, picked)
    return refusal.value


@every_verb
async def test_with_the_current_record_every_verb_passes(store: RedisStore, picked: PickedUp, verb: str):
    """So that what stops in the tests below is the gate."""
    try:
        await ASKED_FOR[verb](store, BOB, picked)
    except DropoffError as refusal:
        pytest.fail(f"{verb} is refused: {refusal}")


@every_verb
async def test_a_revoked_caller_is_stopped_and_changes_nothing(
    store: RedisStore, picked: PickedUp, look: Look, verb: str
):
    """Not even reading is left to it, and its lease is worth nothing."""
    revoked = await change(store, BOB, "revoked")

    await stopped(store, look, verb, revoked, picked, Unauthenticated)


@every_verb
async def test_a_caller_decided_upon_before_it_was_revoked_is_stale(
    store: RedisStore, picked: PickedUp, look: Look, verb: str
):
    """The decision was made a moment before; the step finds out, in the same round trip."""
    await change(store, BOB, "revoked")

    await stopped(store, look, verb, BOB, picked, Stale)


@every_verb
async def test_a_caller_that_the_gate_does_not_know_is_stale(
    store: RedisStore, picked: PickedUp, look: Look, verb: str
):
    """Missing must never mean free: a gate that lost its key stops everybody."""
    await look.client.hdel(look.keys.of("gate"), BOB.agent)

    await stopped(store, look, verb, BOB, picked, Stale)


@every_verb
async def test_a_frozen_caller_is_stopped_and_changes_nothing(
    store: RedisStore, picked: PickedUp, look: Look, verb: str
):
    frozen = await change(store, BOB, "frozen")

    refusal = await stopped(store, look, verb, frozen, picked, Frozen)

    assert str(refusal).startswith("Agent 'bob' is frozen")


@every_verb
async def test_when_everything_is_frozen_nobody_passes(store: RedisStore, picked: PickedUp, look: Look, verb: str):
    """And when it is thawed, the lease is there as it was."""
    assert await store.gate(UPKEEP, EVERYONE, "1", "frozen")

    refusal = await stopped(store, look, verb, BOB, picked, Frozen)
    assert str(refusal).startswith("Everything is frozen")

    assert await store.gate(UPKEEP, EVERYONE, "2", "active")
    await complete(store, picked.lease)


async def test_an_agent_that_is_thawed_goes_on_with_its_lease(store: RedisStore, picked: PickedUp):
    await change(store, BOB, "frozen")
    thawed = await change(store, BOB, "active")

    await complete(store, picked.lease, thawed)


async def test_an_older_revision_never_wins(store: RedisStore, look: Look):
    """A broker that finishes an old change late does not undo a newer one."""
    revoked = await change(store, BOB, "revoked")

    async with look.nothing_changes():
        for rev in (revoked.rev, str(int(revoked.rev) - 1), "1"):
            assert not await store.gate(UPKEEP, BOB.agent, rev, "active")

    assert await store.standing(BOB.agent) == f"{revoked.rev} revoked"


async def test_a_revision_is_compared_as_a_number(store: RedisStore):
    """Not as text, where 9 comes after 10."""
    assert await store.gate(UPKEEP, AgentName("new"), "9", "active")

    assert await store.gate(UPKEEP, AgentName("new"), "10", "revoked")

    assert await store.standing(AgentName("new")) == "10 revoked"


async def test_the_standing_of_nobody_is_empty(store: RedisStore):
    assert await store.standing(AgentName("nobody")) == ""


async def test_upkeep_passes_while_everything_is_frozen(store: RedisStore, picked: PickedUp, clock: Clock):
    """It asks nobody, and nobody can ask as upkeep: its name is reserved, and its record is never made."""
    await store.gate(UPKEEP, EVERYONE, "1", "frozen")
    await live(store, clock, picked.handoff.lease_ends_ms - clock.now_ms)

    assert await store.lapse(picked.handoff.id)


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

    assert await store.gate(UPKEEP, changed.agent, changed.rev, "active")

    assert await store.pick_up(changed, QUEUE, "k") is None


async def test_a_revision_rises_also_when_the_clock_does_not(store: RedisStore, clock: Clock):
    clock.advance(-10_000)

    changed = await change(store, BOB, "frozen")

    assert int(changed.rev) == int(BOB.rev) + 1


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
