"""No attempt is burnt: who could not extend is not to blame.

By a broker's stop, a revocation, a freeze, an outage: the failures stay as they were, and the lease has one whole term
from the moment when its holder can go on. Once: then it lapses as any other.
"""

import asyncio
import hashlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx2
import msgspec
import pytest

from dropoff.core import limits
from dropoff.core.answers import PickedUp
from dropoff.core.caller import Caller
from dropoff.core.handoff import HandoffId, QueueName
from dropoff.core.ledger import Entry
from dropoff.core.lifecycle import COMPLETED, DEAD, LEASED, WAITING
from dropoff.errors import BrokerUnavailable
from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from dropoff.upkeep.rounds import ROUND_S, Rounds, go_round
from tests.crash import conductor
from tests.crash.conductor import calling
from tests.look import Look
from tests.servers import PRODUCTS, Server, source_of
from tests.store.rules import check_gate, ledger_of
from tests.world import (
    ANN,
    BOB,
    CAROL,
    EVERYBODY,
    LEASE_MS,
    QUEUE,
    UPKEEP,
    Clock,
    a_queue,
    change,
    complete,
    drop_off,
    extend,
    furnish,
    live,
    pick_up,
    state,
    until,
    withdraw,
    within,
)

LONG_MS = 600_000  # ten minutes; a lease is one

LEFT_MS = 10_000  # what is left of the lease when it begins


@pytest.fixture
async def picked(store: RedisStore, clock: Clock) -> PickedUp:
    """BOB holds it, and has had most of its term."""
    await drop_off(store)
    picked = await pick_up(store, BOB)
    await live(store, clock, LEASE_MS - LEFT_MS)
    return picked


async def lives(store: RedisStore, clock: Clock, ms: int) -> None:
    """Time passes in which brokers are there and do all that they do."""
    end_ms = clock.now_ms + ms
    while clock.now_ms < end_ms:
        clock.advance(min(limits.OUTAGE_MS, end_ms - clock.now_ms))
        await go_round(store)


async def history(store: RedisStore, id: HandoffId) -> list[str]:
    """What became of it since it was picked up."""
    return [entry.step for entry in await store.entries(handoff_id=id)][2:]


async def has_one_whole_term_and_then_lapses(store: RedisStore, clock: Clock, picked: PickedUp) -> None:
    """From now on: a term of which nothing is missing, uncounted, and no second one."""
    id, from_ms = picked.handoff.id, clock.now_ms
    await lives(store, clock, LEASE_MS - 1)
    held = await store.check(ANN, id, may_inspect=False)
    assert (held.state, held.fence, held.failures, held.attempts) == (LEASED, picked.lease.fence, 0, ())
    assert held.lease_ends_ms == from_ms + LEASE_MS

    await lives(store, clock, 1)

    lapsed = await store.check(ANN, id, may_inspect=False)
    assert (lapsed.state, lapsed.failures) == (WAITING, 1)
    assert (await history(store, id))[-1] == "lapse"
    assert lapsed.attempts[-1].at_ms == str(from_ms + LEASE_MS)


# ---- a freeze ---------------------------------------------------------------------------------------------------


either = pytest.mark.parametrize("frozen", [BOB, EVERYBODY])


@either
async def test_a_freeze_burns_no_attempt(store: RedisStore, picked: PickedUp, clock: Clock, frozen: Caller):
    """Of the holder or of everything, much longer than a lease: it stands still, and thaw gives it one term."""
    await change(store, frozen, "frozen")
    await lives(store, clock, LONG_MS)
    assert await state(store, picked.handoff.id) == LEASED

    await change(store, frozen, "active")

    await has_one_whole_term_and_then_lapses(store, clock, picked)
    assert set((await history(store, picked.handoff.id))[:-1]) == {"postpone"}


@either
async def test_who_is_thawed_finishes_what_it_held(store: RedisStore, picked: PickedUp, clock: Clock, frozen: Caller):
    """The same lease, the same fence: a target outside that knows it goes on to take it."""
    await change(store, frozen, "frozen")
    await lives(store, clock, LONG_MS)
    thawed = await change(store, frozen, "active")
    await lives(store, clock, LEASE_MS - 1)

    await complete(store, picked.lease, thawed if frozen is BOB else BOB)

    assert await state(store, picked.handoff.id) == COMPLETED


@either
async def test_a_short_freeze_gives_a_whole_term_too(store: RedisStore, picked: PickedUp, clock: Clock, frozen: Caller):
    """Though the lease was not over while it lasted: its holder may have wanted to extend just then."""
    await change(store, frozen, "frozen")
    await lives(store, clock, LEFT_MS - 1)
    await change(store, frozen, "active")
    thawed_ms = clock.now_ms

    await lives(store, clock, LEASE_MS - 1)

    kept = await store.check(ANN, picked.handoff.id, may_inspect=False)
    assert (kept.state, kept.failures, kept.lease_ends_ms) == (LEASED, 0, thawed_ms + LEASE_MS)


async def test_a_freeze_of_another_agent_gives_nobody_else_a_term(store: RedisStore, picked: PickedUp, clock: Clock):
    await change(store, CAROL, "frozen")
    await lives(store, clock, LEFT_MS - 1)
    await change(store, CAROL, "active")

    await lives(store, clock, 1)

    assert await history(store, picked.handoff.id) == ["lapse"]


async def test_a_lease_that_began_after_the_thaw_gets_nothing_extra(store: RedisStore, clock: Clock):
    await drop_off(store)
    await change(store, BOB, "frozen")
    thawed = await change(store, BOB, "active")
    picked = await pick_up(store, thawed)

    await lives(store, clock, LEASE_MS)

    assert await history(store, picked.handoff.id) == ["lapse"]


async def test_while_a_freeze_lasts_an_extended_queue_term_counts(store: RedisStore, picked: PickedUp, clock: Clock):
    """One whole term is the queue's term of now."""
    await change(store, BOB, "frozen")
    longer = await store.put_queue(UPKEEP, msgspec.structs.replace(QUEUE, lease_ms=2 * LEASE_MS))
    await lives(store, clock, LONG_MS)
    await change(store, BOB, "active")
    thawed_ms = clock.now_ms

    await lives(store, clock, longer.lease_ms - 1)

    assert (await store.check(ANN, picked.handoff.id, may_inspect=False)).lease_ends_ms == thawed_ms + longer.lease_ms


async def test_a_freeze_whose_gate_was_lost_burns_no_attempt(
    store: RedisStore, picked: PickedUp, look: Look, clock: Clock
):
    """Missing means neither free nor thawed: nothing lapses until the gate's words are put back from the records."""
    await change(store, BOB, "frozen")
    await live(store, clock, LEASE_MS)
    await look.client.delete(look.keys.of("gate"))

    async with look.nothing_changes():
        assert await store.lapse(picked.handoff.id) is None

    await lives(store, clock, LONG_MS)
    assert (await store.standing(BOB.agent)).endswith(" frozen")
    await change(store, BOB, "active")
    await has_one_whole_term_and_then_lapses(store, clock, picked)


# ---- an outage --------------------------------------------------------------------------------------------------


async def test_an_outage_burns_no_attempt(store: RedisStore, picked: PickedUp, clock: Clock):
    """Nobody's heart beat for ten minutes, so nobody could have extended."""
    clock.advance(LONG_MS)
    await go_round(store)

    await has_one_whole_term_and_then_lapses(store, clock, picked)
    assert await history(store, picked.handoff.id) == ["postpone", "lapse"]


@pytest.mark.parametrize("product", PRODUCTS)
async def test_a_store_that_was_killed_and_comes_back_burns_no_attempt(
    own_server: Callable[..., Server], keys: Keys, clock: Clock, product: str
):
    """A real one: `kill -9`, ten minutes of the clock, and it starts on what it had written."""
    server = own_server(product, appendfsync="always")
    store = RedisStore(source_of(server), keys, clock)
    await store.start()
    try:
        await furnish(store)
        await drop_off(store)
        picked = await pick_up(store, BOB)
        await live(store, clock, LEASE_MS - LEFT_MS)
        server.kill()
        clock.advance(LONG_MS)
        server.start()

        await until("the first round after the restart", partial(reached, store))
        await has_one_whole_term_and_then_lapses(store, clock, picked)
        assert await history(store, picked.handoff.id) == ["postpone", "lapse"]
    finally:
        await store.close()


async def reached(store: RedisStore) -> bool:
    """Go a round; False as long as the store is away."""
    try:
        await go_round(store)
    except BrokerUnavailable:
        return False
    return True


async def test_a_holder_that_comes_back_after_an_outage_finishes(store: RedisStore, picked: PickedUp, clock: Clock):
    """Before or after upkeep's first round: its lease is its own."""
    clock.advance(LONG_MS)
    await extend(store, picked.lease)
    await go_round(store)
    await complete(store, picked.lease)

    assert await history(store, picked.handoff.id) == ["extend", "complete"]


async def test_a_lease_that_is_over_does_not_lapse_before_the_first_beat_after_an_outage(
    store: RedisStore, picked: PickedUp, look: Look, clock: Clock
):
    """A broker that was in the middle of its round when the store went away must not end it now."""
    clock.advance(LONG_MS)

    async with look.nothing_changes():
        assert await store.lapse(picked.handoff.id) is None

    await store.beat()
    assert await store.lapse(picked.handoff.id)
    assert await history(store, picked.handoff.id) == ["postpone"]


async def test_without_a_heartbeat_nothing_lapses(store: RedisStore, picked: PickedUp, look: Look, clock: Clock):
    """Its key was lost, or nobody has ever beaten: whether there was an outage is not known."""
    await live(store, clock, LEFT_MS)
    await look.client.delete(look.keys.of("beat"))

    async with look.nothing_changes():
        assert await store.lapse(picked.handoff.id) is None

    await go_round(store)
    await has_one_whole_term_and_then_lapses(store, clock, picked)


@pytest.mark.parametrize(("gap_ms", "steps"), [(limits.OUTAGE_MS, ["lapse"]), (limits.OUTAGE_MS + 1, ["postpone"])])
async def test_a_gap_is_an_outage_from_three_missed_beats_on(
    store: RedisStore, picked: PickedUp, clock: Clock, gap_ms: int, steps: list[str]
):
    """A beat that is late by a moment gives no lease a second term, or none would ever lapse."""
    await live(store, clock, LEFT_MS - gap_ms)
    clock.advance(gap_ms)

    await go_round(store)

    assert await history(store, picked.handoff.id) == steps


async def test_who_extends_with_three_seconds_left_loses_no_lease_to_an_outage_that_is_not_seen(
    store: RedisStore, clock: Clock
):
    """Also of the shortest lease that there is: it outlasts any such outage, with time left for a call."""
    queue = await store.put_queue(UPKEEP, a_queue("quick", lease_ms=limits.LEASE_MS_MIN))
    await drop_off(store, queue=queue)
    picked = await pick_up(store, queue=queue)
    clock.advance(limits.OUTAGE_MS)
    await go_round(store)
    await extend(store, picked.lease)

    assert await history(store, picked.handoff.id) == ["extend"]


async def test_a_second_outage_gives_a_second_term(store: RedisStore, picked: PickedUp, clock: Clock):
    """Each of them from its own end."""
    for _ in range(2):
        clock.advance(LONG_MS)
        await go_round(store)
    await has_one_whole_term_and_then_lapses(store, clock, picked)

    assert await history(store, picked.handoff.id) == ["postpone", "postpone", "lapse"]


async def test_the_last_attempt_survives_an_outage(store: RedisStore, clock: Clock):
    """Where one burnt attempt would be the handoff's death."""
    queue = await store.put_queue(UPKEEP, a_queue("once", attempts_max=1))
    await drop_off(store, queue=queue)
    picked = await pick_up(store, queue=queue)
    clock.advance(LONG_MS)
    await go_round(store)
    assert await state(store, picked.handoff.id) == LEASED

    await lives(store, clock, LEASE_MS)

    assert await state(store, picked.handoff.id) == DEAD


async def test_a_withdrawal_still_waits_for_its_holder_after_an_outage(
    store: RedisStore, picked: PickedUp, clock: Clock
):
    """It learns of it at its next extend, as it would have."""
    await withdraw(store, picked.handoff.id)
    clock.advance(LONG_MS)
    await go_round(store)

    assert (await extend(store, picked.lease)).withdrawal_asked


async def test_the_memory_of_a_pick_up_lives_as_long_as_its_postponed_lease(
    store: RedisStore, look: Look, clock: Clock
):
    """An agent that asks again after the outage holds one handoff, and not two."""
    await drop_off(store)
    picked = await pick_up(store, key="k")
    clock.advance(LONG_MS)
    await go_round(store)
    await drop_off(store)

    again = await pick_up(store, key="k")

    assert (again.lease, again.repeated) == (picked.lease, True)


# ---- again and again --------------------------------------------------------------------------------------------

LONG_TERM_MS = 4 * 3_600_000  # six of them are the longest lease


async def beats_until(store: RedisStore, look: Look, clock: Clock, then_ms: int) -> None:
    """Hours pass in which hearts beat, and only the last beat is left of them: as `lives`, without 28,800 rounds."""
    clock.advance(then_ms - clock.now_ms)
    await look.client.hset(look.keys.of("beat"), "@", str(clock.now_ms))


@pytest.fixture
async def long(store: RedisStore) -> PickedUp:
    """Of a queue with long leases; BOB holds it, and is never heard of again."""
    queue = await store.put_queue(UPKEEP, a_queue("long", lease_ms=LONG_TERM_MS))
    await drop_off(store, queue=queue)
    return await pick_up(store, BOB, queue=queue)


@pytest.mark.parametrize("what", [BOB, EVERYBODY, "an outage"])
async def test_no_lease_outlives_the_longest_by_being_postponed(
    store: RedisStore, long: PickedUp, look: Look, clock: Clock, what: Caller | str
):
    """Its holder is dead, and each term something keeps it: a day after the pick_up the work waits, uncounted."""
    id, ends_ms = long.handoff.id, clock.now_ms + limits.LEASE_MS_MAX
    while (kept := await store.check(ANN, id, may_inspect=False)).state == LEASED:
        assert kept.lease_ends_ms <= ends_ms
        await beats_until(store, look, clock, kept.lease_ends_ms - limits.OUTAGE_MS - 1)
        if isinstance(what, Caller):
            await change(store, what, "frozen")
            await change(store, what, "active")
            await beats_until(store, look, clock, kept.lease_ends_ms)
        clock.advance(kept.lease_ends_ms - clock.now_ms)
        await go_round(store)

    assert clock.now_ms == ends_ms
    assert (kept.state, kept.failures, kept.attempts[-1].outcome) == (WAITING, 0, "recall")
    *before, last = await history(store, id)
    assert (set(before), last) == ({"postpone"}, "recall")


async def test_a_freeze_longer_than_the_longest_lease_gives_the_work_to_the_next(
    store: RedisStore, long: PickedUp, look: Look, clock: Clock
):
    """As its holder's own extensions would have ended by then; nobody is blamed."""
    await change(store, BOB, "frozen")
    await beats_until(store, look, clock, clock.now_ms + limits.LEASE_MS_MAX)

    await go_round(store)

    again = await pick_up(store, CAROL, queue=(await store.queues())[QueueName("long")])
    assert (again.handoff.id, again.handoff.failures, again.handoff.attempt) == (long.handoff.id, 0, 1)
    assert await history(store, long.handoff.id) == ["recall", "pick_up"]


async def test_who_extends_a_postponed_lease_loses_nothing_of_it(
    store: RedisStore, long: PickedUp, look: Look, clock: Clock
):
    """Both end at the same moment, a day after the pick_up: otherwise who extends would be gone by the next round."""
    ends_ms = clock.now_ms + limits.LEASE_MS_MAX
    clock.advance(limits.LEASE_MS_MAX - LONG_TERM_MS // 2)
    await go_round(store)
    assert (await store.check(ANN, long.handoff.id, may_inspect=False)).lease_ends_ms == ends_ms

    assert (await extend(store, long.lease)).lease_ends_ms == ends_ms


# ---- a clock that goes back -------------------------------------------------------------------------------------


async def test_a_clock_that_goes_back_burns_no_attempt(store: RedisStore, picked: PickedUp, clock: Clock):
    """Nor when it is put right again: the jump forward looks like an outage, and is treated as one."""
    clock.advance(-LONG_MS)
    await lives(store, clock, LEASE_MS)
    assert await history(store, picked.handoff.id) == []

    clock.advance(LONG_MS)
    await go_round(store)

    await has_one_whole_term_and_then_lapses(store, clock, picked)


async def test_after_a_clock_has_gone_back_hearts_go_on_beating(
    store: RedisStore, picked: PickedUp, look: Look, clock: Clock
):
    """Not only when the old time comes round again: leases made since lapse as they should."""
    clock.advance(-LONG_MS)
    await go_round(store)
    await drop_off(store)
    later = await pick_up(store, CAROL)

    await lives(store, clock, LEASE_MS)

    assert await history(store, later.handoff.id) == ["lapse"]
    assert int((await look.everything())["beat"]["@"]) == clock.now_ms


async def test_the_same_pick_up_again_after_a_freeze_is_the_same_lease(store: RedisStore, clock: Clock, look: Look):
    """Its answer was lost before the freeze began, and the memory of it would have ended with the lease."""
    await drop_off(store)
    await drop_off(store)
    first = await pick_up(store, BOB, key="asked")
    await change(store, BOB, "frozen")
    await live(store, clock, LEASE_MS)
    memory = look.keys.of("pick", agent=BOB.agent, request=hashlib.sha256(b"asked").hexdigest()[:32])
    await look.client.delete(memory)  # its time is over
    await go_round(store)
    thawed = await change(store, BOB, "active")

    again = await pick_up(store, thawed, key="asked")

    assert (again.lease, again.repeated) == (first.lease, True)


async def test_a_longer_lease_time_prolongs_no_lease_that_runs(store: RedisStore, picked: PickedUp, clock: Clock):
    """Only a freeze or an outage since it was taken does."""
    known = (await store.queues())[QUEUE.name]
    await store.put_queue(UPKEEP, msgspec.structs.replace(known, lease_ms=60 * LEASE_MS))

    await lives(store, clock, LEASE_MS)

    assert (await history(store, picked.handoff.id))[-1] == "lapse"


async def test_a_thaw_whose_freeze_the_gate_has_lost_gives_a_whole_term(
    store: RedisStore, picked: PickedUp, clock: Clock, look: Look
):
    """Who holds something may have been frozen until now, and has its time; of who holds nothing nothing is noted."""
    for agent in (BOB, CAROL):
        await change(store, agent, "frozen")
    await lives(store, clock, LONG_MS)
    await look.client.delete(look.keys.of("gate"))
    for agent in (BOB, CAROL):
        await change(store, agent, "active")

    assert {"bob", "carol"} & set(await look.client.hkeys(look.keys.of("beat"))) == {"bob"}
    await has_one_whole_term_and_then_lapses(store, clock, picked)


# ---- a revocation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late_ms", [0, LEFT_MS, LONG_MS])
async def test_a_revocation_burns_no_attempt(store: RedisStore, picked: PickedUp, clock: Clock, late_ms: int):
    """However late upkeep comes: the lease is recalled, and the next holder is the first to try."""
    await change(store, BOB, "revoked")
    await live(store, clock, late_ms)

    await go_round(store)

    again = await pick_up(store, CAROL)
    assert (again.handoff.id, again.handoff.failures, again.handoff.attempt) == (picked.handoff.id, 0, 1)
    assert (await history(store, picked.handoff.id))[0] == "recall"
    check_gate(await ledger_of(store))


# ---- a broker that stops ----------------------------------------------------------------------------------------


EMBEDDED = pytest.mark.skipif(sys.platform == "win32", reason="there is no embedded store on Windows")


@EMBEDDED
async def test_a_broker_stopped_by_sigterm_burns_no_attempt():
    """A real one, the only one, and the lease was over before the next came up: its holder finishes, as the first."""
    async with holding() as (broker, worker, picked):
        assert await broker.stop() == 0
        long_s = conductor.LEASE_S + limits.OUTAGE_MS / 1_000  # by the clock on the wall: only time tells of it
        await until("the lease to be over, and three beats to be missed", past(long_s))
        await is_held_until_the_next_broker_serves(broker, worker, picked)


@EMBEDDED
async def test_a_broker_that_waits_for_the_end_of_a_call_lapses_nothing_meanwhile():
    """A client sends half of its call and then no more. Nobody else can call by then, so none may lapse by our hand."""
    async with holding() as (broker, worker, picked):
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        writer.write(b"POST /v1/check HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\nExpect: 100-continue\r\n")
        writer.write(f"Authorization: {worker.headers['authorization']}\r\n\r\n".encode())
        await within("the broker to read on", reader.readuntil(b"100 Continue\r\n\r\n"))
        writer.write(b'{"handoff_id":')
        await writer.drain()
        stopping = asyncio.create_task(broker.stop())
        # Time passes at the broker, and shows itself in nothing.
        await until("the lease to be over, and for two rounds", past(conductor.LEASE_S + 2 * ROUND_S))
        assert not stopping.done(), "it waits for the other half"
        assert (await record_of(broker, picked))["n"] == "2", "dropped off and picked up"

        writer.close()
        assert await stopping == 0
        await is_held_until_the_next_broker_serves(broker, worker, picked)


@asynccontextmanager
async def holding() -> AsyncIterator[tuple[conductor.Broker, httpx2.AsyncClient, dict[str, Any]]]:
    """A real broker, and an agent that has just picked something up there."""
    async with conductor.broker_in_a_folder() as broker:
        bearers = await conductor.furnish(broker, conductor.LEASE_S)
        async with (
            calling(broker, bearers["dropper-1"]) as dropper,
            calling(broker, bearers["worker-1"]) as worker,
        ):
            work = {"queue": conductor.QUEUE, "payload": {"topic": "owls", "audience": "exec"}}
            await asked(dropper, "drop_off", work)
            yield broker, worker, await asked(worker, "pick_up", {"queue": conductor.QUEUE})


def past(seconds: float) -> Callable[[], Awaitable[bool]]:
    """Whether so much time has passed since now."""
    ends = time.monotonic() + seconds

    async def is_past() -> bool:
        return time.monotonic() > ends

    return is_past


async def record_of(broker: conductor.Broker, picked: dict[str, Any]) -> dict[str, str]:
    async with conductor.store_client(broker.data) as client:
        return await client.hgetall(f"dropoff:{{p0}}:q:{conductor.QUEUE}:h:{picked['handoff_id']}")


async def is_held_until_the_next_broker_serves(
    broker: conductor.Broker, worker: httpx2.AsyncClient, picked: dict[str, Any]
) -> None:
    """Its upkeep comes to the lease, and postpones it; the holder finishes."""
    await broker.start()
    await broker.ready()
    kept: dict[str, str] = {}

    async def looked_at() -> bool:
        kept.update(await record_of(broker, picked))
        return int(kept["n"]) > 2

    await until("upkeep to have come to the lease", looked_at)
    done = await asked(worker, "complete", {"lease_id": picked["lease_id"], "result": {"found": 3}})
    assert (kept["state"], kept["failures"], kept["n"]) == (LEASED, "0", "3")
    assert done["status"] == "completed"


async def asked(client: httpx2.AsyncClient, verb: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await client.post(f"/v1/{verb}", json=body)
    assert response.is_success, response.text
    return response.json()


# ---- several brokers --------------------------------------------------------------------------------------------


@pytest.fixture
async def three(server: Server, keys: Keys, clock: Clock, store: RedisStore) -> AsyncIterator[list[RedisStore]]:
    """Three brokers' stores on one server, each with a memory of its own."""
    others = [RedisStore(source_of(server), keys, clock) for _ in range(2)]
    for other in others:
        await other.start()
    yield [store, *others]
    for other in others:
        await other.close()


async def leased(store: RedisStore, count: int) -> list[HandoffId]:
    await asyncio.gather(*(drop_off(store) for _ in range(count)))
    return [one.handoff.id for one in await asyncio.gather(*(pick_up(store) for _ in range(count)))]


async def ends(store: RedisStore) -> dict[str, list[Entry]]:
    """What ended or postponed leases, by handoff."""
    found: dict[str, list[Entry]] = {}
    for entry in await ledger_of(store):
        if entry.step in ("lapse", "postpone", "recall"):
            found.setdefault(entry.handoff, []).append(entry)
    return found


async def test_brokers_that_go_their_rounds_at_once_lapse_each_lease_once(
    store: RedisStore, three: list[RedisStore], clock: Clock
):
    ids = await leased(store, 50)
    await live(store, clock, LEASE_MS)

    done = await asyncio.gather(*(go_round(one) for one in three))

    assert sorted(receipt.handoff_id for receipts in done for receipt in receipts) == sorted(ids)
    assert {id: [entry.step for entry in found] for id, found in (await ends(store)).items()} == {
        id: ["lapse"] for id in ids
    }


async def test_brokers_that_go_their_rounds_at_once_give_each_lease_one_term(
    store: RedisStore, three: list[RedisStore], clock: Clock
):
    """After an outage all of them come back together, in any order of beats and lapses."""
    ids = await leased(store, 50)
    clock.advance(LONG_MS)

    await asyncio.gather(*(go_round(one) for one in three))

    found = await ends(store)
    assert {id: [entry.step for entry in found[id]] for id in ids} == {id: ["postpone"] for id in ids}
    assert {entry.lease_ends for entries in found.values() for entry in entries} == {str(clock.now_ms + LEASE_MS)}


async def test_rounds_of_three_brokers_lapse_each_lease_once(
    store: RedisStore, three: list[RedisStore], clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    """As they run, each by itself: nobody has to ask, and failures are counted once."""
    monkeypatch.setattr("dropoff.upkeep.rounds.ROUND_S", 0.01)
    monkeypatch.setattr("dropoff.upkeep.rounds.BEAT_S", 0.01)
    ids = await leased(store, 50)
    await live(store, clock, LEASE_MS)
    running = [Rounds(one) for one in three]
    for rounds in running:
        rounds.start()
    try:

        async def all_wait() -> bool:
            return (await store.figures([QUEUE.name]))[QUEUE.name].waiting == len(ids)

        await until("all leases to have lapsed", all_wait)
    finally:
        for rounds in running:
            await rounds.close()

    for id in ids:
        kept = await store.check(ANN, id, may_inspect=False)
        assert (kept.state, kept.failures) == (WAITING, 1)
    assert {id: len(found) for id, found in (await ends(store)).items()} == dict.fromkeys(ids, 1)


async def test_of_several_brokers_one_beat_a_second_is_enough(
    store: RedisStore, three: list[RedisStore], look: Look, clock: Clock
):
    """A hundred brokers write no more than one."""
    clock.advance(limits.BEAT_MS - 1)
    async with look.nothing_changes():
        for one in three:
            await one.beat()

    clock.advance(1)
    await three[2].beat()

    assert (await look.everything())["beat"]["@"] == str(clock.now_ms)


async def test_one_broker_s_heart_is_enough(store: RedisStore, three: list[RedisStore], clock: Clock):
    """Others may be down: agents could have extended through the one that is up."""
    [id] = await leased(three[0], 1)
    await lives(three[2], clock, LEASE_MS)

    assert await history(store, id) == ["lapse"]
