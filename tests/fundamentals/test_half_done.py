"""What was cut in the middle, and is said again: it must be true the second time."""

import pytest

from dropoff.broker import Broker, NothingToPickUp
from dropoff.contracts.gate import Gates
from dropoff.core.caller import caller_of
from dropoff.core.credential import hash_of, id_of
from dropoff.core.handoff import AgentName
from dropoff.core.requests import Check, Complete, DropOff, Extend, PickUp
from dropoff.core.store import PickedUp
from dropoff.errors import (
    AgentRevoked,
    BrokerUnavailable,
    LeaseLost,
    LeaseUnknown,
    NotAllowed,
    ResultInvalid,
    Unauthenticated,
)
from dropoff.identity.callers import Callers
from dropoff.operations import NewQueue, Operations
from dropoff.storage.store import RedisStore
from dropoff.upkeep.rounds import go_round
from tests.fundamentals.conftest import House
from tests.look import Look
from tests.servers import Server, source_of
from tests.world import live

BRIEF = DropOff(queue="research", payload={"topic": "heat pumps", "audience": "exec"})
NOW = PickUp(queue="research", wait_seconds=0)


async def test_a_revocation_said_again_is_in_force(house: House, server: Server, monkeypatch: pytest.MonkeyPatch):
    """The record was written, the gate was not: the second call ends it, also for a broker with the old record."""
    other = RedisStore(source_of(server), house.store.keys, house.clock)
    await other.start()
    elsewhere = Broker(other, Gates(), lambda count: b"7" * count)
    await elsewhere.drop_off(house.scout, BRIEF)

    async def cut(*arguments: object) -> bool:
        raise BrokerUnavailable(stored="unknown")

    with monkeypatch.context() as patch:
        patch.setattr(house.store, "gate", cut)
        with pytest.raises(BrokerUnavailable):
            await house.operations.revoke(house.operator, "scout")
    await house.operations.revoke(house.operator, "scout")

    with pytest.raises(Unauthenticated):
        await elsewhere.drop_off(house.scout, BRIEF)
    await other.close()


async def test_a_credential_made_elsewhere_is_known_where_the_record_was_remembered(house: House, server: Server):
    """Two brokers on one store, each with an operator's credential of its own."""
    other = RedisStore(source_of(server), house.store.keys, house.clock)
    await other.start()
    await other.principal(AgentName("operator"))
    second = "dropoff_bearer_" + "p" * 43
    await house.operations.ensure_operator(second)

    assert (await Callers(other).of(f"Bearer {second}")).agent == "operator"
    await other.close()


async def test_two_brokers_that_start_at_once_both_have_their_operator(house: House, server: Server):
    """One of them is too late with its record, and makes it anew."""
    other = RedisStore(source_of(server), house.store.keys, house.clock)
    await other.start()
    real, bearers = other.principal, ["dropoff_bearer_" + letter * 43 for letter in "pq"]
    overtaken: list[str] = []

    async def principal(agent: AgentName, *, fresh: bool = False) -> object:
        known = await real(agent, fresh=fresh)
        if not overtaken:
            overtaken.append("yes")
            await house.operations.ensure_operator(bearers[0])
        return known

    other.principal = principal  # pyright: ignore[reportAttributeAccessIssue]
    await Operations(other, bytes).ensure_operator(bearers[1])

    for bearer in bearers:
        assert (await house.callers.of(f"Bearer {bearer}")).agent == "operator"
    await other.close()


async def test_the_last_admin_cannot_be_taken_away(house: House):
    """Nobody could ever give it back."""
    for act in (
        house.operations.revoke(house.operator, "operator"),
        house.operations.ungrant(house.operator, "operator", ["admin"]),
    ):
        with pytest.raises(NotAllowed, match="the last admin"):
            await act
    await house.operations.add_agent(house.operator, "deputy", ["admin"])
    await house.operations.revoke(house.operator, "operator")


async def test_the_same_pick_up_from_any_queue_is_the_same_lease(house: House):
    """Where an agent that names no queue begins to look is left to chance; its request key is not."""
    await house.operations.grant(house.operator, "writer", ["pick:*"])
    for queue in ("drafts", "reviews"):
        await house.operations.add_queue(house.operator, NewQueue(name=queue, schema="brief"))
        await house.operations.grant(house.operator, "scout", [f"drop:{queue}"])
        await house.broker.drop_off(house.scout, DropOff(queue=queue, payload=BRIEF.payload))
    await house.broker.drop_off(house.scout, BRIEF)

    picked = [await house.broker.pick_up(house.writer, PickUp(wait_seconds=0), key="k") for _ in range(20)]

    assert len({one.lease for one in picked if isinstance(one, PickedUp)}) == 1


async def test_one_damaged_record_holds_up_nobody_else(house: House, look: Look):
    """Upkeep goes on with the others; the damaged one is left for somebody to look at."""
    damaged = await house.broker.drop_off(house.scout, BRIEF)
    whole = await house.broker.drop_off(house.scout, BRIEF)
    for _ in range(2):
        await house.takes(house.writer)
    record = house.store.keys.of("handoff", queue="research", id=damaged.receipt.handoff_id)
    await look.client.hset(record, "failures", "many")

    await live(house.store, house.clock, 61_000)
    done = await go_round(house.store)

    assert [receipt.handoff_id for receipt in done] == [whole.receipt.handoff_id]
    assert (await house.broker.check(house.scout, Check(handoff_id=whole.receipt.handoff_id))).state == "waiting"
    await look.client.hset(record, "failures", "0")


async def test_a_bad_result_is_refused_by_the_lease_that_it_came_with(house: House):
    """Mine: until when I may mend it. Lost or somebody else's: that comes first."""
    await house.broker.drop_off(house.scout, BRIEF)
    picked = await house.takes(house.writer)
    assert picked is not None
    bad = Complete(lease_id=picked.lease.id, result={"n": 2**60})
    with pytest.raises(ResultInvalid) as mine:
        await house.broker.complete(house.writer, bad)
    assert mine.value.lease_ends_ms == picked.handoff.lease_ends_ms
    with pytest.raises(LeaseUnknown):
        await house.broker.complete(house.rival, bad)
    await house.time_passes(61)
    with pytest.raises(LeaseLost):
        await house.broker.complete(house.writer, bad)


async def test_extending_without_a_word_keeps_what_was_said(house: House):
    """A worker that extends in the background must not wipe the progress that its agent told."""
    sent = await house.broker.drop_off(house.scout, BRIEF)
    picked = await house.takes(house.writer)
    assert picked is not None
    await house.broker.extend(house.writer, Extend(lease_id=picked.lease.id, progress="half"))
    await house.broker.extend(house.writer, Extend(lease_id=picked.lease.id))
    assert (await house.broker.check(house.scout, Check(handoff_id=sent.receipt.handoff_id))).progress == "half"


async def test_who_brought_no_key_is_not_told_that_repeating_is_safe(house: House, monkeypatch: pytest.MonkeyPatch):
    """Without one the repeated call is another call, and may drop off the same work twice."""

    async def lost(*arguments: object) -> object:
        raise BrokerUnavailable(stored="unknown")

    monkeypatch.setattr(house.store, "drop_off", lost)
    with pytest.raises(BrokerUnavailable, match="may do it twice"):
        await house.broker.drop_off(house.scout, BRIEF)
    with pytest.raises(BrokerUnavailable, match="will not happen twice"):
        await house.broker.drop_off(house.scout, BRIEF, key="k")


async def test_a_new_grant_lets_pick_up_pass_where_the_old_record_is_remembered(house: House, server: Server):
    """Another broker gave it; this one has only its memory, and asks before it refuses."""
    other = RedisStore(source_of(server), house.store.keys, house.clock)
    await other.start()
    elsewhere = Broker(other, Gates(), lambda count: b"7" * count)
    await house.operations.grant(house.operator, "scout", ["pick:research"])
    await house.broker.drop_off(house.scout, BRIEF)

    assert isinstance(await elsewhere.pick_up(house.scout, NOW), PickedUp)
    await other.close()


async def test_who_is_no_admin_is_refused_before_anything_is_looked_at(house: House):
    """Judging a schema may take seconds; a stranger must not be able to ask for that."""
    with pytest.raises(NotAllowed):
        await house.operations.push_schema(house.scout, "x", {"type": "nonsense"})
    with pytest.raises(NotAllowed):
        await house.operations.add_agent(house.scout, "../x", ["nonsense"])
    with pytest.raises(NotAllowed):
        await house.operations.grant(house.scout, "writer", ["nonsense"])


async def test_a_revoked_agent_is_given_nothing(house: House):
    """Revoked is final: a grant that is never in force must not be confirmed."""
    await house.operations.revoke(house.operator, "writer")
    with pytest.raises(AgentRevoked):
        await house.operations.grant(house.operator, "writer", ["drop:research"])


@pytest.mark.parametrize("verb", ["drop_off", "pick_up"])
async def test_a_queue_made_elsewhere_is_known_to_who_names_none(house: House, server: Server, verb: str):
    """A broker that remembers the queues of before must not say to an agent that it may do nothing."""
    other = RedisStore(source_of(server), house.store.keys, house.clock)
    await other.start()
    elsewhere = Broker(other, Gates(), lambda count: b"7" * count)
    await other.queues()
    await house.operations.add_queue(house.operator, NewQueue(name="essays", schema="brief"))
    made = await house.operations.add_agent(house.operator, "essayist", ["drop:essays", "pick:essays"])
    essayist = caller_of(made.principal, id_of(hash_of(made.bearer)))

    if verb == "drop_off":
        assert (await elsewhere.drop_off(essayist, DropOff(payload=BRIEF.payload))).state == "waiting"
    else:
        assert await elsewhere.pick_up(essayist, PickUp(wait_seconds=0)) == NothingToPickUp()
    await other.close()
