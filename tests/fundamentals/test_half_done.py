"""What was cut in the middle, and is said again: it must be true the second time."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dropoff.broker import Broker, NothingToPickUp
from dropoff.contracts.gate import Gates
from dropoff.core import limits
from dropoff.core.answers import PickedUp
from dropoff.core.caller import caller_of
from dropoff.core.credential import hash_of, id_of
from dropoff.core.handoff import AgentName, QueueName
from dropoff.core.requests import Check, Complete, DropOff, Extend, Next, PickUp
from dropoff.errors import (
    AgentRevoked,
    BrokerUnavailable,
    LeaseLost,
    LeaseUnknown,
    NotAllowed,
    PayloadTooLarge,
    ResultInvalid,
    Unauthenticated,
)
from dropoff.identity.callers import Callers
from dropoff.operations import NewQueue, Operations
from dropoff.storage.scripts import script
from dropoff.storage.store import RedisStore
from dropoff.upkeep.rounds import go_round
from tests.faults.twins import out_of_reach
from tests.fundamentals.conftest import House
from tests.look import Look
from tests.proxy import Moment, Proxy, Rule
from tests.servers import Server, source_of
from tests.world import live, until, within

BRIEF = DropOff(queue="research", payload={"topic": "heat pumps", "audience": "exec"})
NOW = PickUp(queue="research", wait_seconds=0)
QUEUE = QueueName("research")


class Line:
    """Another broker on the same store, and the line between them, which a test may cut."""

    def __init__(self, proxy: Proxy, store: RedisStore) -> None:
        self.store = store
        self.broker = Broker(store, Gates(), secrets.token_bytes)
        self.operations = Operations(store, secrets.token_bytes)
        self._proxy = proxy

    async def is_away(self) -> None:
        await out_of_reach(self.store, self._proxy)

    def lose(self, moment: Moment, step: str, *, skip: int = 0) -> Rule:
        """The connection breaks at this step, and once more when it is asked again: nobody can say whether it ran."""
        return self._proxy.cut(moment, script(step).sha, times=2, skip=skip)

    def away_after(self, step: str) -> None:
        """The first of these steps is answered; then the store is away, and the broker knows it before the second."""
        real, calls = getattr(self.store, step), iter([False, True])

        async def ask(*arguments: Any) -> Any:
            if next(calls, False):
                await out_of_reach(self.store, self._proxy)
            return await real(*arguments)

        setattr(self.store, step, ask)


@pytest.fixture
async def line(house: House, proxy: Proxy) -> AsyncIterator[Line]:
    store = RedisStore(await proxy.start(), house.store.keys, house.clock)
    await store.start()
    line = Line(proxy, store)
    yield line
    await line.broker.close()
    await store.close()


async def test_a_revocation_said_again_is_in_force(house: House, line: Line):
    """The record was written, the gate was not: the second call ends it, also for a broker with the old record."""
    await house.broker.drop_off(house.scout, BRIEF)
    cut = line.lose("before", "gate")
    with pytest.raises(BrokerUnavailable):
        await line.operations.revoke(house.operator, "scout")
    assert cut.left == 0
    assert (await house.store.standing(house.scout.agent)).endswith(" active")

    await line.operations.revoke(house.operator, "scout")

    with pytest.raises(Unauthenticated):
        await house.broker.drop_off(house.scout, BRIEF)


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


async def test_a_mend_that_loses_the_store_on_its_way_does_not_say_that_nothing_was_changed(
    house: House, line: Line, look: Look
):
    """Of two queues one is put back by then."""
    await house.operations.add_queue(house.operator, NewQueue(name="drafts", schema="brief"))
    await look.client.delete(look.keys.of("queues"))
    line.away_after("put_queue")
    with pytest.raises(BrokerUnavailable) as refusal:
        await line.operations.mend(house.operator)

    assert refusal.value.stored == "unknown"
    assert await look.client.hkeys(look.keys.of("queues")) == ["drafts"]


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


@pytest.mark.parametrize("what", ["result", "next"])
async def test_a_result_that_is_too_large_is_refused_by_its_lease_too(house: House, what: str):
    """And so is what comes next, by the limit of its own queue; the holder hears how long it may make it smaller."""
    small = NewQueue(name="edits", schema="brief", max_bytes=60)
    await house.operations.add_queue(house.operator, small)
    await house.operations.grant(house.operator, "writer", ["drop:edits"])
    await house.broker.drop_off(house.scout, BRIEF)
    picked = await house.takes(house.writer)
    assert picked is not None
    large = {"topic": "heat pumps " * 10, "audience": "exec"}
    asked = {
        "result": Complete(lease_id=picked.lease.id, result={"text": "x" * limits.PAYLOAD_BYTES_MAX}),
        "next": Complete(lease_id=picked.lease.id, next=Next(queue="edits", payload=large)),
    }
    with pytest.raises(PayloadTooLarge) as refusal:
        await house.broker.complete(house.writer, asked[what])
    assert refusal.value.lease_ends_ms == picked.handoff.lease_ends_ms
    assert "The lease is still yours until " in str(refusal.value)

    with pytest.raises(LeaseUnknown):
        await house.broker.complete(house.rival, asked["result"])


async def test_extending_without_a_word_keeps_what_was_said(house: House):
    """A worker that extends in the background must not wipe the progress that its agent told."""
    sent = await house.broker.drop_off(house.scout, BRIEF)
    picked = await house.takes(house.writer)
    assert picked is not None
    await house.broker.extend(house.writer, Extend(lease_id=picked.lease.id, progress="half"))
    await house.broker.extend(house.writer, Extend(lease_id=picked.lease.id))
    assert (await house.broker.check(house.scout, Check(handoff_id=sent.receipt.handoff_id))).progress == "half"


@pytest.mark.parametrize(("key", "says", "there"), [("", "may do it twice", 2), ("k", "will not happen twice", 1)])
async def test_who_brought_no_key_is_not_told_that_repeating_is_safe(
    house: House, line: Line, key: str, says: str, there: int
):
    """Without one the repeated call is another call, and drops off the same work twice."""
    line.lose("after", "drop_off")
    with pytest.raises(BrokerUnavailable, match=says):
        await line.broker.drop_off(house.scout, BRIEF, key=key)

    await line.broker.drop_off(house.scout, BRIEF, key=key)
    assert (await house.store.figures([QUEUE]))[QUEUE].waiting == there


async def test_a_batch_of_which_one_is_lost_is_not_said_to_be_all_there_is(house: House, line: Line):
    """The first is had, of a later one nobody knows: under the same key all of them come back."""
    for _ in range(3):
        await house.broker.drop_off(house.scout, BRIEF)
    cut = line.lose("after", "pick_up", skip=1)
    with pytest.raises(BrokerUnavailable) as refusal:
        await line.broker.pick_up_several(house.writer, NOW, 3, key="k")
    assert cut.left == 0
    assert refusal.value.stored == "unknown"
    held = {lease.id for lease in await house.store.leases_of(house.writer.agent)}
    assert len(held) == 3
    assert not giving_back(), "its caller asks again, and has it"

    again = await line.broker.pick_up_several(house.writer, NOW, 3, key="k")

    assert not isinstance(again, NothingToPickUp)
    assert {picked.lease.id for picked in again} == held


def giving_back() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "dropoff picks, given back"]


async def test_what_a_batch_still_brings_after_one_was_lost_goes_back_too(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    """The fate of the second is unknown while the third is on its way: all are waited for, then looked for."""
    for _ in range(3):
        await house.broker.drop_off(house.scout, BRIEF)
    real, calls, may_go_on = house.store.pick_up, iter(range(3)), asyncio.Event()

    async def ask(*arguments: Any) -> Any:
        number = next(calls)
        if number == 1:
            may_go_on.set()
            raise BrokerUnavailable(stored="unknown")
        if number == 2:
            await may_go_on.wait()
            await live(house.store, house.clock, 3_000)  # a few round trips more
        picked = await real(*arguments)
        order.append("brought")
        return picked

    async def look(*arguments: Any) -> Any:
        order.append("looked")
        return await looking(*arguments)

    looking, order = house.store.picked_before, list[str]()
    monkeypatch.setattr(house.store, "pick_up", ask)
    monkeypatch.setattr(house.store, "picked_before", look)
    with pytest.raises(BrokerUnavailable):
        await house.broker.pick_up_several(house.writer, NOW, 3)

    async def none_is_held() -> bool:
        return not giving_back() and await house.store.leases_of(house.writer.agent) == ()

    await until("all to go back", none_is_held)
    assert order == ["brought"] * 2 + ["looked"] * 3
    assert (await house.store.figures([QUEUE]))[QUEUE].waiting == 3
    given_out = [one for one in await house.store.handoffs(QUEUE, "waiting", 10) if one.deliveries]
    assert len(given_out) == 2, "the first and the third"


@pytest.mark.parametrize(("at_most", "skip"), [(1, 0), (3, 0), (3, 1)])
async def test_what_was_picked_up_without_a_key_and_is_lost_goes_to_the_next(
    house: House, line: Line, at_most: int, skip: int
):
    """Nobody can ask for it again; what a batch has in hand goes back as well, and none of it counts."""
    sent = [await house.broker.drop_off(house.scout, BRIEF) for _ in range(3)]
    cut = line.lose("after", "pick_up", skip=skip)
    with pytest.raises(BrokerUnavailable) as refusal:
        await line.broker.pick_up_several(house.writer, NOW, at_most)
    assert (cut.left, refusal.value.stored) == (0, "unknown")

    async def all_wait() -> bool:
        return (await house.store.figures([QUEUE]))[QUEUE].waiting == 3

    await until("all to wait again", all_wait)
    for one in sent:
        kept = await house.broker.check(house.scout, Check(handoff_id=one.receipt.handoff_id))
        assert kept.failures == 0


async def test_what_was_lost_while_the_store_went_away_goes_back_when_it_is_there_again(
    house: House, line: Line, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
):
    """Until then the broker tries again, and it stops with the broker."""
    monkeypatch.setattr("dropoff.broker.picking.GIVING_BACK_PAUSE_S", 0.05)
    await house.broker.drop_off(house.scout, BRIEF)
    real, tries = line.store.picked_before, []

    async def counted(*arguments: Any) -> Any:
        tries.append(arguments)
        if len(tries) == 1:
            await line.is_away()
        return await real(*arguments)

    async def tried_twice() -> bool:
        return len(tries) > 1

    async def given_back() -> bool:
        return await house.store.leases_of(house.writer.agent) == ()

    monkeypatch.setattr(line.store, "picked_before", counted)
    line.lose("after", "pick_up")
    with pytest.raises(BrokerUnavailable):
        await line.broker.pick_up(house.writer, NOW)
    await until("it to try again", tried_twice)
    assert not await given_back()

    proxy.away = False
    await until("the work to go back", given_back)


async def test_a_broker_that_stops_gives_nothing_back_any_more(
    house: House, line: Line, monkeypatch: pytest.MonkeyPatch
):
    """It does not wait for a store that is away."""
    await house.broker.drop_off(house.scout, BRIEF)
    asked, never = asyncio.Event(), asyncio.Event()

    async def stuck(*arguments: Any) -> None:
        asked.set()
        await never.wait()

    monkeypatch.setattr(line.store, "picked_before", stuck)
    line.lose("after", "pick_up")
    with pytest.raises(BrokerUnavailable):
        await line.broker.pick_up(house.writer, NOW)
    await within("it to look", asked.wait())

    await within("the broker to stop", line.broker.close())

    assert not giving_back()


async def test_a_batch_whose_later_one_is_refused_is_what_was_had(house: House, line: Line):
    """The store is away right after the first: the other was never asked for, and that is certain."""
    for _ in range(2):
        await house.broker.drop_off(house.scout, BRIEF)
    line.away_after("pick_up")

    had = await line.broker.pick_up_several(house.writer, NOW, 2, key="k")

    assert not isinstance(had, NothingToPickUp)
    assert len(had) == 1
    assert [lease.id for lease in await house.store.leases_of(house.writer.agent)] == [had[0].lease.id]


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
