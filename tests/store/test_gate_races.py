"""The gate while everything happens at once: three brokers, each with its own memory, and callers that do not stop.

What is claimed is always the same, and asked of the ledger alone (`rules.check_gate`): after the gate's entry no step
by a revoked or frozen caller, none by a caller at another revision than the gate's, and no older revision ever wins.
"""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import pytest

from dropoff.broker import Broker
from dropoff.contracts.gate import Gates
from dropoff.core import credential
from dropoff.core.answers import PickedUp
from dropoff.core.caller import EVERYONE, Caller, Principal
from dropoff.core.handoff import AgentName
from dropoff.core.requests import Complete, DropOff, PickUp
from dropoff.core.store import Stale
from dropoff.errors import BrokerUnavailable, ChangingNow, Frozen, NotAllowed, QueueUnknown, Unauthenticated
from dropoff.identity.callers import Callers
from dropoff.operations import NewQueue, Operations
from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from dropoff.upkeep.enforce import enforce
from dropoff.upkeep.rounds import go_round
from tests.look import Look
from tests.servers import Server, source_of
from tests.store.rules import check_gate, ledger_of
from tests.world import UPKEEP, Clock, until, within

AGENTS = ("ann", "bob", "carol", "dan")
OPERATOR = f"{credential.PREFIX}{'o' * 43}"


@dataclass
class House:
    """One broker: its own memory, its own connection, the same store."""

    store: RedisStore
    broker: Broker
    operations: Operations
    callers: Callers

    async def caller(self, bearer: str) -> Caller:
        return await self.callers.of(f"Bearer {bearer}")


@pytest.fixture
async def houses(server: Server, keys: Keys, clock: Clock, empty_store: RedisStore) -> AsyncIterator[list[House]]:
    """Three brokers on one store."""
    stores = [empty_store, *(RedisStore(source_of(server), keys, clock) for _ in range(2))]
    for store in stores[1:]:
        await store.start()
    houses = [
        House(
            store,
            Broker(store, Gates(), secrets.token_bytes),
            Operations(store, secrets.token_bytes),
            Callers(store),
        )
        for store in stores
    ]
    yield houses
    for store in stores[1:]:
        await store.close()


@pytest.fixture
async def bearers(houses: list[House]) -> dict[str, str]:
    """Queue, operator and agents; every broker has heard of all of them, and remembers."""
    first = houses[0]
    await first.operations.ensure_operator(OPERATOR)
    ops = await first.caller(OPERATOR)
    await first.operations.push_schema(ops, "any", {"type": "object"})
    await first.operations.add_queue(ops, NewQueue(name="work", schema="any", lease_seconds=600))
    made = {name: (await first.operations.add_agent(ops, name, ["drop:work", "pick:work"])).bearer for name in AGENTS}
    for house in houses:
        await house.store.queues(fresh=True)
        for bearer in (*made.values(), OPERATOR):
            await house.caller(bearer)
    return made


async def ops_of(house: House) -> Caller:
    return await house.caller(OPERATOR)


Told = dict[tuple[int, str], list[str]]  # which broker, which agent: what it was told, call by call


async def at_work(house: House, bearer: str, told: list[str], enough: asyncio.Event) -> None:
    """An agent that does not stop. Refusals are among the answers."""
    while not enough.is_set():
        try:
            caller = await house.caller(bearer)
            await house.broker.drop_off(caller, DropOff(queue="work", payload={"n": 1}))
            picked = await house.broker.pick_up(caller, PickUp(queue="work", wait_seconds=0))
            if isinstance(picked, PickedUp):
                await house.broker.complete(caller, Complete(lease_id=picked.lease.id, result={}))
            told.append("done")
        except (Frozen, Unauthenticated, NotAllowed, QueueUnknown, ChangingNow) as refusal:
            told.append(type(refusal).__name__)
        except BrokerUnavailable as unknown:  # it could not see either whether this completion was heard before
            if not isinstance(unknown.__cause__, ChangingNow):
                raise
            told.append("ChangingNow")


@asynccontextmanager
async def all_busy(houses: list[House], bearers: dict[str, str]) -> AsyncIterator[Told]:
    """Every agent on every broker at once, from the beginning of what happens inside to its end."""
    told: Told = {(i, name): [] for i in range(len(houses)) for name in bearers}
    enough = asyncio.Event()
    tasks = [asyncio.create_task(at_work(houses[i], bearers[name], told[i, name], enough)) for i, name in told]
    try:
        await some_steps(houses[0])
        yield told
        await some_steps(houses[0], 1)
    finally:
        enough.set()
        await within("all to have finished", asyncio.gather(*tasks))


async def last_told(told: Told, names: Iterable[str], what: str) -> None:
    """Return as soon as these were told so on every broker, after whatever they were told before."""

    async def heard() -> bool:
        return all(lines[-1:] == [what] for (_, name), lines in told.items() if name in names)

    await until(f"{', '.join(names)} to be told {what}", heard)


async def some_steps(house: House, count: int = 100) -> None:
    """So much has happened since now."""
    before = await house.store._commit.ask("XLEN", house.store.keys.of("ledger"))

    async def happened() -> bool:
        return await house.store._commit.ask("XLEN", house.store.keys.of("ledger")) >= before + count

    await until(f"{count} more entries in the ledger", happened)


async def checked(house: House) -> list[Any]:
    """The ledger, held against the rule; there must be something to hold."""
    entries = await ledger_of(house.store)
    assert check_gate(entries) > 100
    return entries


# ---- the rule itself --------------------------------------------------------------------------------------------


async def test_the_rule_finds_each_kind_of_step_that_must_not_be(houses: list[House], bearers: dict[str, str]):
    """Or the tests below would prove nothing."""
    house = houses[0]
    async with all_busy(houses, bearers):
        pass
    await house.operations.freeze(await ops_of(house), "*")
    entries = await checked(house)
    step = next(entry for entry in entries if entry.actor == "ann")
    gates = [entry for entry in entries if entry.step == "gate"]
    mine = next(entry for entry in gates if entry.agent == "ann")
    at, changed = entries.index(step), msgspec.structs.replace
    higher = str(int(mine.rev) + 1)

    for wrong in (
        [*entries[:at], changed(mine, rev=higher), *entries[at:]],  # by a record that was changed since
        [*entries[:at], changed(mine, rev=higher, standing="revoked"), changed(step, revs=f"ann={higher}")],
        [*entries[:at], changed(mine, rev=higher, standing="frozen"), changed(step, revs=f"ann={higher}")],
        [*entries, step],  # while everything is frozen
        [changed(step, revs="nobody=1")],  # whom the gate does not know
        [changed(step, revs="")],  # by nobody at all
        [*entries, changed(mine, rev="1")],  # an older revision that wins
        [*entries, changed(mine, standing="frozen")],  # two words under one revision
    ):
        with pytest.raises(AssertionError):
            check_gate(wrong)


# ---- changes while all are busy ---------------------------------------------------------------------------------


async def test_nobody_takes_a_step_after_its_revocation_on_any_broker(houses: list[House], bearers: dict[str, str]):
    """Two of four are revoked by two brokers while all are busy on all three; the others never notice."""
    async with all_busy(houses, bearers) as told:
        await asyncio.gather(
            houses[0].operations.revoke(await ops_of(houses[0]), "ann", "left"),
            houses[1].operations.revoke(await ops_of(houses[1]), "bob", "left"),
        )
        await last_told(told, ("ann", "bob"), "Unauthenticated")
        await some_steps(houses[0])

    entries = await checked(houses[0])
    for (_, name), lines in told.items():
        stopped = lines.index("Unauthenticated") if name in ("ann", "bob") else len(lines)
        assert set(lines[:stopped]) == {"done"}
        assert "done" not in lines[stopped:]
    revoked_at = max(i for i, entry in enumerate(entries) if entry.standing == "revoked")
    assert {entry.actor for entry in entries[revoked_at + 1 :]} <= {"carol", "dan", "upkeep"}


async def test_nobody_takes_a_step_in_a_freeze_and_everybody_goes_on_after_it(
    houses: list[House], bearers: dict[str, str]
):
    """Of one agent and of everything, again and again, by different brokers."""
    async with all_busy(houses, bearers):
        for i in range(6):
            house, name = houses[i % 3], ("*", "ann")[i % 2]
            await house.operations.freeze(await ops_of(house), name, "looking")
            assert (await houses[(i + 1) % 3].store.standing(AgentName(name))).endswith(" frozen")
            await house.operations.thaw(await ops_of(house), name)

    entries = await checked(houses[0])
    assert [entry.standing for entry in entries if entry.step == "gate"].count("frozen") == 6
    await drop(houses[2], bearers["ann"])


async def test_while_everything_is_frozen_the_ledger_has_no_step_of_any_agent(
    houses: list[House], bearers: dict[str, str]
):
    """From the gate's entry on, on all brokers, with all of them trying."""
    async with all_busy(houses, bearers) as told:
        await houses[0].operations.freeze(await ops_of(houses[0]), "*")
        await last_told(told, AGENTS, "Frozen")
        await houses[1].operations.thaw(await ops_of(houses[1]), "*")

    entries = await checked(houses[0])
    frozen_at = next(i for i, entry in enumerate(entries) if entry.standing == "frozen")
    assert [entry.step for entry in entries[frozen_at + 1 :]][:2] == ["put_principal", "gate"], "the thaw"


async def test_new_grants_reach_brokers_that_remember_older_records(houses: list[House], bearers: dict[str, str]):
    """Given and taken while all are busy: who may not at the gate's revision does not, and who may is never refused."""
    async with all_busy(houses, bearers):
        for i in range(5):
            house = houses[i % 3]
            await house.operations.ungrant(await ops_of(house), "ann", ["drop:work"])
            with pytest.raises(NotAllowed):
                await drop(houses[(i + 1) % 3], bearers["ann"])
            await house.operations.grant(await ops_of(house), "ann", ["drop:work"])
            await drop(houses[(i + 2) % 3], bearers["ann"])

    await checked(houses[0])


async def drop(house: House, bearer: str) -> None:
    await house.broker.drop_off(await house.caller(bearer), DropOff(queue="work", payload={"n": 2}))


@pytest.mark.parametrize("run", range(3))
async def test_changes_in_any_order_leave_one_word(
    houses: list[House], bearers: dict[str, str], fresh_seed: int, run: int
):
    """Three operators change the same agents at random: the gate ends with what the record says, whoever was last."""
    chance = random.Random(f"{fresh_seed} {run}")
    acts = [
        lambda ops, by, name: ops.freeze(by, name),
        lambda ops, by, name: ops.thaw(by, name),
        lambda ops, by, name: ops.grant(by, name, ["inspect:work"]),
        lambda ops, by, name: ops.ungrant(by, name, ["inspect:work"]),
    ]

    async def operator(house: House) -> None:
        for _ in range(10):
            act, name = chance.choice(acts), chance.choice(("ann", "bob"))
            with suppress(ChangingNow):  # two others were quicker, again and again
                await act(house.operations, await ops_of(house), name)

    async with all_busy(houses, bearers):
        await asyncio.gather(*(operator(house) for house in houses))
        await houses[0].operations.revoke(await ops_of(houses[0]), "ann")

    await checked(houses[0])
    for name in ("ann", "bob"):
        record = await houses[1].store.principal(AgentName(name), fresh=True)
        assert record is not None
        assert await houses[0].store.standing(record.agent) == f"{record.rev} {record.standing}"
    assert await houses[0].store.changing() == ()


# ---- who died between the record and the gate -------------------------------------------------------------------


@asynccontextmanager
async def cut_before(house: House, monkeypatch: pytest.MonkeyPatch, what: str) -> AsyncIterator[None]:
    """This broker dies when it comes to that step; what it did before is done."""

    async def cut(*_: object, **__: object) -> bool:
        raise BrokerUnavailable(stored="unknown")

    with monkeypatch.context() as patch:
        patch.setattr(house.store, what, cut)
        with pytest.raises(BrokerUnavailable):
            yield


@pytest.fixture
async def half_revoked(houses: list[House], bearers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """ANN's record is revoked, and no gate knows."""
    before = await houses[0].store.standing(AgentName("ann"))
    async with cut_before(houses[0], monkeypatch, "gate"):
        await houses[0].operations.revoke(await ops_of(houses[0]), "ann", "left")
    assert await houses[1].store.standing(AgentName("ann")) == before
    return before


async def is_revoked(houses: list[House], bearer: str) -> None:
    """By the gate's word, on every broker, and the change is finished."""
    assert (await houses[1].store.standing(AgentName("ann"))).endswith(" revoked")
    for house in houses:
        with pytest.raises(Unauthenticated):
            await drop(house, bearer)
    assert await houses[2].store.changing() == ()
    check_gate(await ledger_of(houses[0].store))


async def test_upkeep_of_any_broker_finishes_what_was_half_done(
    houses: list[House], bearers: dict[str, str], half_revoked: str
):
    assert await houses[1].store.changing() == ("ann",)

    await go_round(houses[2].store)

    await is_revoked(houses, bearers["ann"])


async def test_an_operator_who_says_it_again_finishes_what_was_half_done(
    houses: list[House], bearers: dict[str, str], half_revoked: str
):
    """On another broker, too."""
    await houses[1].operations.revoke(await ops_of(houses[1]), "ann", "left")
    assert (await houses[1].store.standing(AgentName("ann"))).endswith(" revoked")

    await enforce(houses[1].store)

    await is_revoked(houses, bearers["ann"])


async def test_who_knows_the_new_record_before_the_gate_does_is_stale_and_ends_the_old_one(
    houses: list[House], bearers: dict[str, str], half_revoked: str, look: Look
):
    """The safe side; and by deciding anew its broker brings the gate up to date, for everybody."""
    record = await houses[1].store.principal(AgentName("ann"), fresh=True)
    assert record is not None
    new = Caller(agent=record.agent, rev=record.rev, grants=record.grants)
    queue = (await houses[1].store.queues())["work"]  # pyright: ignore[reportArgumentType]
    async with look.nothing_changes():
        with pytest.raises(Stale):
            await houses[1].store.pick_up(new, queue, "k")

    with pytest.raises(Unauthenticated):
        await houses[1].broker.pick_up(new, PickUp(queue="work", wait_seconds=0))

    await is_revoked(houses, bearers["ann"])


async def test_a_broker_that_presents_the_old_revision_is_stale_once_another_has_finished(
    houses: list[House], bearers: dict[str, str], half_revoked: str, look: Look
):
    """It was decided before; the step finds out."""
    old = await houses[1].caller(bearers["ann"])
    queue = (await houses[1].store.queues())["work"]  # pyright: ignore[reportArgumentType]
    await enforce(houses[2].store)

    async with look.nothing_changes():
        with pytest.raises(Stale):
            await houses[1].store.pick_up(old, queue, "k")


async def test_until_the_gate_knows_a_half_done_revocation_has_not_been_told_to_anybody(
    houses: list[House], bearers: dict[str, str], half_revoked: str
):
    """Its operator heard that it is not known whether; steps until then stand before the gate's entry, legally."""
    await drop(houses[1], bearers["ann"])
    await enforce(houses[2].store)

    check_gate(await ledger_of(houses[0].store))


async def test_who_died_after_the_gate_left_nothing_that_matters(
    houses: list[House], bearers: dict[str, str], monkeypatch: pytest.MonkeyPatch, look: Look
):
    """Only the note that somebody should look; looking finds that the gate knows."""
    run = houses[0].store._run

    async def cut(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "changed":
            raise BrokerUnavailable(stored="unknown")
        return await run(name, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(houses[0].store, "_run", cut)
        with pytest.raises(BrokerUnavailable):
            await houses[0].operations.revoke(await ops_of(houses[0]), "ann")
    ledger = (await look.everything())["ledger"]

    await enforce(houses[1].store)

    await is_revoked(houses, bearers["ann"])
    assert (await look.everything())["ledger"] == ledger


async def test_a_half_done_change_is_not_taken_for_done_because_a_newer_one_was_finished_meanwhile(
    houses: list[House], bearers: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    """The one that is late with its gate finds a higher revision there, and strikes nobody else's note."""
    slow, may_go = hold(houses[0], monkeypatch)
    freezing = asyncio.create_task(houses[0].operations.freeze(await ops_of(houses[0]), "ann"))
    await within("the record to be written", slow.wait())
    async with cut_before(houses[1], monkeypatch, "gate"):
        await houses[1].operations.revoke(await ops_of(houses[1]), "ann")

    may_go.set()
    await within("the freeze to be finished", freezing)

    assert await houses[2].store.changing() == ("ann",)
    await go_round(houses[2].store)
    await is_revoked(houses, bearers["ann"])


# ---- an older revision that comes late --------------------------------------------------------------------------


def hold(house: House, monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """This broker stops between record and gate: (it has come there, it may go on)."""
    came, may_go = asyncio.Event(), asyncio.Event()
    gate: Callable[..., Awaitable[Any]] = house.store.gate

    async def held(*args: Any, **kwargs: Any) -> Any:
        came.set()
        await may_go.wait()
        return await gate(*args, **kwargs)

    monkeypatch.setattr(house.store, "gate", held)
    return came, may_go


@pytest.mark.parametrize("gate_lost", [False, True])
@pytest.mark.parametrize("late", ["an operator", "upkeep"])
async def test_an_older_revision_that_comes_late_never_wins(
    houses: list[House],
    bearers: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    look: Look,
    late: str,
    gate_lost: bool,
):
    """A broker hung between record and gate while another revoked; also where the gate has lost its words since."""
    came, may_go = hold(houses[0], monkeypatch)
    ops = await ops_of(houses[0])
    acts = {
        "an operator": lambda: houses[0].operations.grant(ops, "ann", ["inspect:work"]),
        "upkeep": lambda: houses[0].store.enforce(AgentName("ann")),
    }
    hung = asyncio.ensure_future(acts[late]())
    await within("it to come to the gate", came.wait())
    await houses[1].operations.revoke(await ops_of(houses[1]), "ann", "left")
    if gate_lost:
        await look.client.delete(look.keys.of("gate"))

    may_go.set()
    await within("the late one to end", asyncio.gather(hung, return_exceptions=True))

    for house in houses:
        with pytest.raises(Unauthenticated):
            await drop(house, bearers["ann"])
    await enforce(houses[2].store)
    await is_revoked(houses, bearers["ann"])


# ---- a gate that is lost, a subscription that is cut --------------------------------------------------------------


async def test_a_gate_that_is_lost_under_load_lets_nobody_through_who_was_stopped(
    houses: list[House], bearers: dict[str, str], look: Look
):
    """Again and again, with all busy: the active go on without noticing, the revoked and the frozen never."""
    await houses[0].operations.revoke(await ops_of(houses[0]), "ann")
    await houses[0].operations.freeze(await ops_of(houses[0]), "bob")
    async with all_busy(houses, bearers) as told:
        for _ in range(10):
            await look.client.delete(look.keys.of("gate"))
            await some_steps(houses[1], 20)

    entries = await checked(houses[0])
    allowed = {"ann": {"Unauthenticated"}, "bob": {"Frozen"}}
    for (_, name), lines in told.items():
        assert set(lines) == allowed.get(name, {"done"})
    assert not [entry for entry in entries if entry.actor in ("ann", "bob")]


async def test_a_freeze_of_everything_is_restored_from_its_record(
    houses: list[House], bearers: dict[str, str], look: Look
):
    """Not as free, whoever comes first: an agent, or upkeep."""
    await houses[0].operations.freeze(await ops_of(houses[0]), "*", "looking")
    first = await houses[1].caller(bearers["ann"])
    for come in (partial(drop, houses[2], bearers["bob"]), partial(go_round, houses[1].store)):
        await look.client.delete(look.keys.of("gate"))
        with suppress(Frozen):
            await come()
        assert (await houses[0].store.standing(EVERYONE)).endswith(" frozen")

    with pytest.raises(Frozen):
        await houses[1].broker.pick_up(first, PickUp(queue="work", wait_seconds=0))
    check_gate(await ledger_of(houses[0].store))


async def test_upkeep_puts_every_word_back_into_a_gate_that_was_lost(
    houses: list[House], bearers: dict[str, str], look: Look
):
    """Within a round, also those of agents that do not call; and a gate that is whole is left alone."""
    await houses[0].operations.revoke(await ops_of(houses[0]), "ann")
    await houses[0].operations.freeze(await ops_of(houses[0]), "bob")
    before = await look.client.hgetall(look.keys.of("gate"))
    await look.client.delete(look.keys.of("gate"))
    await drop(houses[1], bearers["carol"])  # whose word, and the one about everything, come back by themselves

    await enforce(houses[2].store)

    assert await look.client.hgetall(look.keys.of("gate")) == before
    async with look.nothing_changes():
        await enforce(houses[2].store)
    check_gate(await ledger_of(houses[0].store))


async def test_a_cut_subscription_lets_nobody_through(houses: list[House], bearers: dict[str, str], look: Look):
    """Wakes come by it, and no word of the gate: who hears nothing is as exact as who hears all."""
    for house in houses[1:]:
        for task in house.store._wakes._tasks:
            task.cancel()
    async with all_busy(houses, bearers) as told:
        await houses[0].operations.revoke(await ops_of(houses[0]), "ann")
        await last_told(told, ("ann",), "Unauthenticated")

    await checked(houses[0])


async def test_records_that_were_lost_stop_their_agents(houses: list[House], bearers: dict[str, str], look: Look):
    """The gate still knows a revision, and nobody can prove to have it: with the next change it is over."""
    ann = AgentName("ann")
    await look.client.delete(look.keys.of("agent", agent=ann), look.keys.of("gate"))

    for house in houses:
        with pytest.raises(Unauthenticated):
            await drop(house, bearers["ann"])
    with pytest.raises(Stale):
        await houses[0].store.put_principal(UPKEEP, Principal(agent=ann, rev=(await houses[1].caller(OPERATOR)).rev))
    check_gate(await ledger_of(houses[0].store))


# ---- a record that was lost, and is made anew while mending closes the gate ---------------------------------------

ANN = AgentName("ann")


async def in_force(houses: list[House], standing: str) -> None:
    """Record and gate say the same, that one, and nothing is left to be done."""
    record = await houses[2].store.principal(ANN, fresh=True)
    assert record is not None
    assert record.standing == standing
    assert await houses[1].store.standing(ANN) == f"{record.rev} {standing}"
    assert await houses[1].store.changing() == ()
    check_gate(await ledger_of(houses[0].store))


@pytest.mark.parametrize("turned_ms", [0, 5, -5])
@pytest.mark.parametrize("closed", ["before the record", "between record and gate", "after the gate"])
async def test_an_agent_that_is_made_anew_while_mending_closes_the_gate_works(
    houses: list[House],
    bearers: dict[str, str],
    look: Look,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    closed: str,
    turned_ms: int,
):
    """Whichever comes first, and whatever the clock says in between: it was made, so it works."""
    await look.client.delete(look.keys.of("agent", agent=ANN))
    clock.advance(5)
    to_close, may_close = hold(houses[0], monkeypatch)
    mending = asyncio.create_task(houses[0].store.mend())
    await within("mending to come to the gate", to_close.wait())
    clock.advance(turned_ms)
    made, may_open = hold(houses[1], monkeypatch)
    ops = await ops_of(houses[1])

    async def close_now(when: str) -> None:
        if when == closed:
            may_close.set()
            await within("the gate to be closed", mending)

    await close_now("before the record")
    adding = asyncio.create_task(houses[1].operations.add_agent(ops, "ann", ["drop:work"]))
    await within("the record to be made", made.wait())
    await close_now("between record and gate")
    may_open.set()
    bearer = (await within("it to be added", adding)).bearer
    await close_now("after the gate")

    await in_force(houses, "active")
    for house in houses:
        await drop(house, bearer)


@pytest.fixture
async def closed_late(houses: list[House], bearers: dict[str, str]) -> str:
    """Whoever mended has closed the gate over a record that is there by now, and died."""
    above = str(int((await houses[0].caller(bearers["ann"])).rev) + 10)
    assert await houses[0].store.gate(UPKEEP, ANN, above, "revoked", "its record is lost") == "changed"
    return bearers["ann"]


Healing = Callable[[House, Caller, str], Awaitable[object]]
HEALINGS: dict[str, Healing] = {
    "the agent calls": lambda house, ops, bearer: drop(house, bearer),
    "thaw": lambda house, ops, bearer: house.operations.thaw(ops, "ann"),
    "grant": lambda house, ops, bearer: house.operations.grant(ops, "ann", ["drop:work"]),
    "freeze and thaw": lambda house, ops, bearer: _frozen_and_thawed(house, ops),
    "mend": lambda house, ops, bearer: house.store.mend(),
}


async def _frozen_and_thawed(house: House, ops: Caller) -> None:
    await house.operations.freeze(ops, "ann")
    await house.operations.thaw(ops, "ann")


@pytest.mark.parametrize("how", HEALINGS)
async def test_a_gate_that_was_closed_over_a_record_is_opened_again_by(
    houses: list[House], bearers: dict[str, str], closed_late: str, how: str
):
    await HEALINGS[how](houses[1], await ops_of(houses[1]), closed_late)

    await in_force(houses, "active")
    for house in houses:
        await drop(house, closed_late)


async def test_two_words_under_one_revision_are_told_apart(houses: list[House], bearers: dict[str, str], look: Look):
    """Who closes in the very millisecond of the record closes under its revision."""
    ann = await houses[0].caller(bearers["ann"])
    await look.client.hset(look.keys.of("gate"), ANN, f"{ann.rev} revoked")

    await houses[1].operations.thaw(await ops_of(houses[1]), "ann")

    await drop(houses[2], bearers["ann"])


@pytest.mark.parametrize("standing", ["revoked", "frozen"])
@pytest.mark.parametrize("how", ["the agent calls", "mend", "upkeep"])
async def test_a_gate_that_is_ahead_of_who_was_stopped_lets_nobody_through(
    houses: list[House], bearers: dict[str, str], look: Look, standing: str, how: str
):
    """The record is the truth: whatever the gate said above it, it is put again as it is."""
    stop = houses[0].operations.revoke if standing == "revoked" else houses[0].operations.freeze
    record = await stop(await ops_of(houses[0]), "ann", "left")
    await look.client.hset(look.keys.of("gate"), ANN, f"{int(record.rev) + 10} active")
    healings = HEALINGS | {"upkeep": lambda house, ops, bearer: house.store.enforce(ANN)}

    with suppress(Frozen, Unauthenticated):
        await healings[how](houses[1], await ops_of(houses[1]), bearers["ann"])
    if (how, standing) == ("the agent calls", "revoked"):  # it is refused before the gate is asked
        await houses[1].store.enforce(ANN)

    found = await houses[2].store.principal(ANN, fresh=True)
    assert found is not None
    assert (found.standing, found.reason) == (standing, "left")
    assert await houses[1].store.standing(ANN) == f"{found.rev} {standing}"
    for house in houses:
        with pytest.raises(Frozen if standing == "frozen" else Unauthenticated):
            await drop(house, bearers["ann"])


@pytest.mark.parametrize("where", ["gate", "put_principal"])
async def test_to_open_a_gate_again_never_undoes_a_revocation_of_that_moment(
    houses: list[House], bearers: dict[str, str], closed_late: str, monkeypatch: pytest.MonkeyPatch, where: str
):
    """Who heals has read the record as active, and then it is revoked elsewhere."""
    ops, go_on = await ops_of(houses[2]), getattr(houses[1].store, where)

    async def overtaken(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(houses[1].store, where, go_on)
        await houses[2].operations.revoke(ops, "ann", "left")
        return await go_on(*args, **kwargs)

    monkeypatch.setattr(houses[1].store, where, overtaken)
    await houses[1].store.enforce(ANN)

    await is_revoked(houses, closed_late)


async def test_what_is_said_again_is_done_again_where_it_was_undone_in_between(
    houses: list[House], bearers: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    """Frozen when it was read, thawed elsewhere before the answer: who asked for a freeze gets one."""
    ops, gate = await ops_of(houses[2]), houses[1].store.gate
    await houses[1].operations.freeze(await ops_of(houses[1]), "ann")

    async def overtaken(*args: Any) -> Any:
        monkeypatch.setattr(houses[1].store, "gate", gate)
        await houses[2].operations.thaw(ops, "ann")
        return await gate(*args)

    monkeypatch.setattr(houses[1].store, "gate", overtaken)
    frozen = await houses[1].operations.freeze(await ops_of(houses[1]), "ann")

    assert frozen.standing == "frozen"
    await in_force(houses, "frozen")


async def test_what_is_said_again_is_in_force_on_return_although_the_record_changed_in_between(
    houses: list[House], bearers: dict[str, str], half_revoked: str, monkeypatch: pytest.MonkeyPatch
):
    """By one who died before the gate, too: the gate still had the word of before both."""
    to_finish, may_finish = hold(houses[1], monkeypatch)
    again = asyncio.create_task(houses[1].operations.revoke(await ops_of(houses[1]), "ann", "left"))
    await within("it to come to the gate", to_finish.wait())
    async with cut_before(houses[2], monkeypatch, "gate"):
        await houses[2].operations.ungrant(await ops_of(houses[2]), "ann", ["drop:work"])

    may_finish.set()
    await within("it to be revoked", again)

    assert (await houses[0].store.standing(ANN)).endswith(" revoked")
    await enforce(houses[0].store)  # the note is upkeep's to strike
    await in_force(houses, "revoked")


async def test_who_is_made_anew_keeps_what_it_takes(houses: list[House], bearers: dict[str, str], look: Look):
    """What the lost one held is to be recalled; but not, round after round, all that the new one works on."""
    for _ in range(2):
        await drop(houses[0], bearers["bob"])
    await take(houses[0], bearers["ann"])
    await look.client.delete(look.keys.of("agent", agent=ANN))
    await houses[0].store.mend()
    made = await houses[1].operations.add_agent(await ops_of(houses[1]), "ann", ["pick:work"])
    lease = (await take(houses[1], made.bearer)).lease

    await go_round(houses[2].store)

    await houses[1].broker.complete(await houses[1].caller(made.bearer), Complete(lease_id=lease.id, result={}))


async def take(house: House, bearer: str) -> PickedUp:
    picked = await house.broker.pick_up(await house.caller(bearer), PickUp(queue="work", wait_seconds=0))
    assert isinstance(picked, PickedUp)
    return picked
