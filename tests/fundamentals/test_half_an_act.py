"""An act of several steps whose later step is refused: what the first one stored is not denied.

Between two steps another broker does something, really: the operator loses its authority, work comes in, the disk
fills. Whatever a refusal then says of its own step, of the whole act it would be false that nothing was stored.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest

from dropoff.core.caller import Caller
from dropoff.core.deciding import ROUNDS
from dropoff.core.requests import Check, Complete, DropOff
from dropoff.errors import AgentExists, BrokerUnavailable, QueueNotEmpty
from dropoff.identity.callers import Callers
from dropoff.operations import Operations
from dropoff.storage.store import RedisStore
from dropoff.upkeep.rounds import go_round
from tests.fundamentals.conftest import House
from tests.look import Look
from tests.servers import Server, source_of

BRIEF = DropOff(queue="research", payload={"topic": "heat pumps", "audience": "exec"})

Act = Callable[[], Awaitable[Any]]


class Elsewhere:
    """Another broker on the same store, and an operator of its own."""

    def __init__(self, store: RedisStore, deputy: Caller) -> None:
        self.store, self.deputy = store, deputy
        self.operations = Operations(store, bytes)

    async def revoke(self) -> None:
        await self.operations.revoke(self.deputy, "operator")

    async def freeze(self) -> None:
        await self.operations.freeze(self.deputy, "operator")

    async def ungrant(self) -> None:
        await self.operations.ungrant(self.deputy, "operator", ["admin"])

    async def grant(self) -> None:
        await self.operations.grant(self.deputy, "operator", ["inspect:*"])

    async def take_it_back(self) -> None:
        await self.operations.ungrant(self.deputy, "operator", ["inspect:*"])


@pytest.fixture
async def elsewhere(house: House, server: Server) -> AsyncIterator[Elsewhere]:
    other = RedisStore(source_of(server), house.store.keys, house.clock)
    await other.start()
    made = await house.operations.add_agent(house.operator, "deputy", ["admin"])
    yield Elsewhere(other, await house.callers.of(f"Bearer {made.bearer}"))
    await other.close()


@pytest.fixture
def before(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Something happens right before the operator's step of that name is asked for, for the n-th time."""
    real, due = house.store._run, dict[tuple[str, int], Act]()
    asked: list[str] = []

    async def run(name: str, by: Caller, *args: Any, **kwargs: Any) -> Any:
        if by.agent == "operator":
            asked.append(name)
            if act := due.pop((name, asked.count(name)), None):
                await act()
        return await real(name, by, *args, **kwargs)

    def arrange(step: str, act: Act, *, time: int = 1) -> None:
        due[step, time] = act

    monkeypatch.setattr(house.store, "_run", run)
    yield arrange
    assert not due, "it never came to these steps"


# ---- the operator loses its authority in between ----------------------------------------------------------------

LOSSES = ["revoke", "freeze", "ungrant"]


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_record_that_is_written_is_not_denied_when_its_operator_may_no_longer(
    house: House, elsewhere: Elsewhere, before: Callable[..., None], loss: str
):
    """The gate refused the operator; upkeep puts in force what the record says."""
    before("gate", getattr(elsewhere, loss))
    with pytest.raises(BrokerUnavailable) as refusal:
        await house.operations.revoke(house.operator, "writer")

    assert refusal.value.stored == "unknown"
    assert str(refusal.value).startswith("This call was half done when something changed that stopped it. It is not ")
    assert await house.store.changing() == ("writer",)
    await go_round(elsewhere.store)
    assert (await house.store.standing(house.writer.agent)).endswith(" revoked")


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_queue_that_is_closed_is_not_denied_when_its_operator_may_no_longer(
    house: House, elsewhere: Elsewhere, before: Callable[..., None], loss: str
):
    """It was closed for its removal; another operator finishes it."""
    before("put_queue", getattr(elsewhere, loss), time=2)
    with pytest.raises(BrokerUnavailable) as refusal:
        await house.operations.remove_queue(house.operator, "research")

    assert refusal.value.stored == "unknown"
    [queue] = (await elsewhere.store.queues(fresh=True)).values()
    assert queue.state == "draining"
    assert await elsewhere.operations.remove_queue(elsewhere.deputy, "research") == 0
    assert await elsewhere.store.queues(fresh=True) == {}


async def test_a_record_that_is_written_is_not_denied_when_its_operator_changes_again_and_again(
    house: House, elsewhere: Elsewhere, before: Callable[..., None]
):
    """More often than the broker decides anew."""
    for time in range(1, ROUNDS + 1):
        before("gate", elsewhere.grant if time % 2 else elsewhere.take_it_back, time=time)
    with pytest.raises(BrokerUnavailable) as refusal:
        await house.operations.revoke(house.operator, "writer")

    assert refusal.value.stored == "unknown"
    assert await house.store.changing() == ("writer",)
    await house.operations.revoke(house.operator, "writer")
    assert await house.store.changing() == ("writer",), "the note is upkeep's to strike"
    assert (await house.store.standing(house.writer.agent)).endswith(" revoked")


async def test_a_call_that_is_stopped_after_it_had_to_begin_again_does_not_blame_the_storage(
    house: House, elsewhere: Elsewhere, before: Callable[..., None]
):
    """What stopped it is told through both: that this try was half done, and that another one was before."""
    before("put_queue", elsewhere.grant, time=2)
    before("put_queue", elsewhere.revoke, time=3)
    with pytest.raises(BrokerUnavailable) as refusal:
        await house.operations.remove_queue(house.operator, "research")

    assert refusal.value.stored == "unknown"
    assert str(refusal.value).startswith("This call was half done when something changed that stopped it. It is not ")


async def test_an_agent_is_made_by_a_call_that_had_to_begin_again(
    house: House, elsewhere: Elsewhere, before: Callable[..., None]
):
    """It knows its own record by the bearer, so the bearer is told: nobody could ask for it a second time."""
    before("gate", elsewhere.grant)
    made = await house.operations.add_agent(house.operator, "scribe", ["drop:research"])

    scribe = await Callers(elsewhere.store).of(f"Bearer {made.bearer}")
    assert (scribe.agent, scribe.rev) == ("scribe", made.principal.rev)
    assert (await house.broker.drop_off(scribe, BRIEF)).state == "waiting"
    with pytest.raises(AgentExists):
        await house.operations.add_agent(house.operator, "scribe", ["drop:research"])


# ---- what it is about is another's by then -----------------------------------------------------------------------


async def test_a_grant_that_is_written_is_not_denied_when_its_agent_was_revoked_meanwhile(
    house: House, elsewhere: Elsewhere, before: Callable[..., None]
):
    """The operator changed as well, so it had to be decided anew; the record shows that the first try was there."""

    async def overtaken() -> None:
        await elsewhere.grant()
        await elsewhere.operations.revoke(elsewhere.deputy, "writer")

    before("gate", overtaken)
    with pytest.raises(BrokerUnavailable) as refusal:
        await house.operations.grant(house.operator, "writer", ["drop:research"])

    assert refusal.value.stored == "unknown"
    writer = await elsewhere.store.principal(house.writer.agent, fresh=True)
    assert writer is not None
    assert (writer.standing, [str(grant) for grant in writer.grants]) == ("revoked", ["pick:research", "drop:research"])


async def test_a_queue_that_is_closed_is_not_denied_when_another_has_removed_it_meanwhile(
    house: House, elsewhere: Elsewhere, before: Callable[..., None]
):
    """Two operators at the same: the one that was overtaken had closed it."""
    before("put_queue", lambda: elsewhere.operations.remove_queue(elsewhere.deputy, "research"), time=2)
    with pytest.raises(BrokerUnavailable) as refusal:
        await house.operations.remove_queue(house.operator, "research")

    assert refusal.value.stored == "unknown"
    steps = [(entry.step, entry.actor) for entry in await elsewhere.store.entries(at_most=1_000) if entry.queue]
    assert steps[-3:] == [("put_queue", "operator"), ("put_queue", "deputy"), ("remove_queue", "deputy")]


# ---- the disk fills in between -----------------------------------------------------------------------------------


async def test_a_mend_on_a_full_disk_tells_what_it_did_and_what_it_could_not(house: House, look: Look):
    """A queue's settings need no room, the name of a schema does; both were lost."""
    config, names = look.keys.of("config", queue="research"), look.keys.of("schemas")
    await look.client.delete(config, names)
    house.store.room = lambda: "180 MB left; it keeps 256 MB free"

    half = await house.operations.mend(house.operator)

    assert (half.mended, half.failed) == (1, 1)
    assert await look.client.hget(config, "schema")
    house.store.room = lambda: ""
    rest = await house.operations.mend(house.operator)
    assert (rest.mended, rest.failed) == (1, 0)
    assert "brief@1" in await house.store.schemas()


# ---- work comes in between ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before it is closed", "and the operator changes", "after it was opened again"])
async def test_a_queue_that_work_came_into_is_left_as_it_was(
    house: House, elsewhere: Elsewhere, before: Callable[..., None], when: str
):
    """As it was when the call first saw it, however often the removal has had to begin again."""
    [was] = (await house.store.queues(fresh=True)).values()

    async def comes() -> None:
        await house.broker.drop_off(house.scout, BRIEF)

    async def comes_into_an_opened_one() -> None:
        await elsewhere.operations.set_queue(elsewhere.deputy, "research", "open")
        await comes()

    match when:
        case "after it was opened again":
            before("remove_queue", comes_into_an_opened_one)
        case "and the operator changes":
            before("put_queue", comes)
            before("put_queue", elsewhere.grant, time=2)
        case _:
            before("put_queue", comes)

    with pytest.raises(QueueNotEmpty) as refusal:
        await house.operations.remove_queue(house.operator, "research")

    assert refusal.value.left == 1
    [now] = (await elsewhere.store.queues(fresh=True)).values()
    assert msgspec.structs.replace(now, rev=was.rev) == was
    assert await house.takes(house.writer)


@pytest.mark.parametrize("when", ["before it is looked at again", "before it is removed"])
async def test_what_another_says_of_a_queue_while_it_is_being_removed_is_in_force(
    house: House, elsewhere: Elsewhere, before: Callable[..., None], when: str
):
    """It was paused, and that was answered; work that came in before keeps it from being removed."""

    async def comes() -> None:
        await house.broker.drop_off(house.scout, BRIEF)

    async def paused() -> None:
        if when == "before it is removed":
            await elsewhere.operations.set_queue(elsewhere.deputy, "research", "open")
            await comes()
        await elsewhere.operations.set_queue(elsewhere.deputy, "research", "paused", "by night")

    if when == "before it is removed":
        before("remove_queue", paused)
    else:
        before("put_queue", comes)
        before("put_queue", paused, time=2)
    with pytest.raises(QueueNotEmpty):
        await house.operations.remove_queue(house.operator, "research")

    [now] = (await elsewhere.store.queues(fresh=True)).values()
    assert (now.state, now.reason) == ("paused", "by night")


async def test_what_another_edits_in_a_queue_that_is_closed_for_its_removal_stays(
    house: House, elsewhere: Elsewhere, before: Callable[..., None]
):
    """And it is opened again all the same."""

    async def edited() -> None:
        await elsewhere.operations.edit_queue(elsewhere.deputy, "research", {"max_waiting": 7})

    async def comes() -> None:
        await house.broker.drop_off(house.scout, BRIEF)

    before("put_queue", comes)
    before("put_queue", edited, time=2)
    with pytest.raises(QueueNotEmpty):
        await house.operations.remove_queue(house.operator, "research")

    [now] = (await elsewhere.store.queues(fresh=True)).values()
    assert (now.state, now.reason, now.waiting_max) == ("open", "", 7)


async def test_a_queue_whose_removal_stopped_halfway_keeps_what_ends_in_it_once_it_is_open_again(
    house: House, elsewhere: Elsewhere, before: Callable[..., None]
):
    """To be removed it keeps nothing; to whoever opens it again that would cost every outcome."""
    before("remove_queue", elsewhere.revoke)
    with pytest.raises(BrokerUnavailable):
        await house.operations.remove_queue(house.operator, "research")

    await elsewhere.operations.set_queue(elsewhere.deputy, "research", "open")
    done = await house.broker.drop_off(house.scout, BRIEF)
    picked = await house.takes(house.writer)
    assert picked is not None
    await house.broker.complete(house.writer, Complete(lease_id=picked.lease.id, result={"found": 3}))
    await house.time_passes(60)
    assert (await house.broker.check(house.scout, Check(handoff_id=done.receipt.handoff_id))).result == b'{"found":3}'
