"""What many commands on one connection do to each other, and what is known of each of them when it breaks.

Where only the way is looked at, the command is ECHO, which leaves nothing behind; where it matters what is stored, real
steps are dropped off and the verdict of each caller is compared with the ledger.
"""

import asyncio
import logging
import tracemalloc
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest
from redis.asyncio.connection import AbstractConnection

from dropoff.core.answers import DroppedOff
from dropoff.errors import BrokerUnavailable, StoreRefused
from dropoff.storage import lane
from dropoff.storage.commit import SMALL_BYTES_MAX, Commit
from dropoff.storage.connection import Source
from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from tests.proxy import MOMENTS, Moment, Proxy
from tests.servers import Server, source_of
from tests.world import ANN, QUEUE, Clock, drop_off, furnish, until, within, work

ECHO: Final = b"ECHO"
STEP: Final = b"EVALSHA"
LARGE: Final = "x" * 262_144

# Its answer is larger than the server lets an answer be, so it closes the connection instead of answering.
POISON: Final = ("EVAL", "return string.rep('x', 4000000)", "0")


@pytest.fixture
async def commit(proxy: Proxy) -> AsyncIterator[Commit]:
    """Behind the proxy, and connected."""
    commit = Commit(await proxy.start())
    commit.start()
    assert await commit.ask("PING") == b"PONG"
    yield commit
    await commit.close()


@pytest.fixture
async def store(proxy: Proxy, keys: Keys, clock: Clock) -> AsyncIterator[RedisStore]:
    """A furnished store behind the proxy."""
    store = RedisStore(await proxy.start(), keys, clock)
    await store.start()
    await furnish(store)
    yield store
    await store.close()


def asking(commit: Commit, *words: str) -> list[asyncio.Task[bytes]]:
    """One ECHO each, all asked in one moment and in this order."""
    return [asyncio.create_task(commit.ask("ECHO", word)) for word in words]


async def asked() -> None:
    """All tasks that were just created have asked; nothing has been sent yet."""
    await asyncio.sleep(0)


async def until_cut(proxy: Proxy) -> None:
    async def closed() -> bool:
        return proxy.connections == 0

    await until("the connection to be gone", closed)


def verdict(outcome: object) -> str:
    return outcome.stored if isinstance(outcome, BrokerUnavailable) else type(outcome).__name__


async def verdicts(calls: list[asyncio.Task[bytes]]) -> list[str]:
    return [verdict(one) for one in await within("all verdicts", asyncio.gather(*calls, return_exceptions=True))]


async def dropped(store: RedisStore) -> list[str]:
    """The handoffs that were dropped off, in the order of the ledger."""
    return [entry.handoff for entry in await store.entries(at_most=10_000) if entry.step == "drop_off"]


# ---- batches ----------------------------------------------------------------------------------------------------


async def test_at_most_two_batches_of_128_steps_are_under_way(commit: Commit, proxy: Proxy):
    """What comes later waits here, where it is known that it was not stored."""
    stalled = proxy.stall("after", ECHO)
    calls = asking(commit, *(f"word {n}" for n in range(400)))
    await stalled.met()

    async def two_batches() -> bool:
        return proxy.passed(ECHO) == 256

    await until("two batches to have been sent", two_batches)
    await commit_is_idle(proxy)
    assert proxy.passed(ECHO) == 256

    proxy.go_on()
    answers = await within("all answers", asyncio.gather(*calls))
    assert answers == [f"word {n}".encode() for n in range(400)]


async def commit_is_idle(proxy: Proxy) -> None:
    """Nothing is on its way to the proxy: many rounds of the loop have brought nothing new."""
    before = -1
    while before != (before := proxy.passed(b"")):
        for _ in range(50):
            await asyncio.sleep(0)


async def test_a_batch_has_a_bound_in_bytes(commit: Commit, proxy: Proxy):
    """Forty commands of 10 kB are not sent at once: six fit into a batch, and two batches are under way."""
    stalled = proxy.stall("after", ECHO)
    calls = asking(commit, *(f"{n:010000}" for n in range(40)))
    await stalled.met()

    async def two_batches() -> bool:
        return proxy.passed(ECHO) == 12

    await until("two batches to have been sent", two_batches)
    await commit_is_idle(proxy)
    assert proxy.passed(ECHO) == 12

    proxy.go_on()
    assert [int(answer[-9:]) for answer in await within("all answers", asyncio.gather(*calls))] == list(range(40))


async def test_commands_of_a_lane_run_in_the_order_in_which_they_were_asked(store: RedisStore):
    """300 drop-offs of one moment, more than two batches: the ledger has them in that order."""
    answers = await asyncio.gather(*(drop_off(store, key=f"{n}") for n in range(300)))

    assert await dropped(store) == [answer.receipt.handoff_id for answer in answers]


# ---- two lanes --------------------------------------------------------------------------------------------------


async def test_a_small_step_does_not_wait_for_a_large_one(server: Server, keys: Keys, clock: Clock):
    """Over a network that takes nothing more of the large payloads, small steps are answered as ever."""
    proxy = Proxy(server, tcp=True)
    store = RedisStore(await proxy.start(), keys, clock)
    try:
        await store.start()
        await furnish(store)
        small_only = proxy.connections
        payload = f'"{LARGE[:200_000]}"'.encode()
        stalled = proxy.stall("before", payload)
        large = [asyncio.create_task(drop_off(store, payload=payload)) for _ in range(20)]
        await stalled.met()

        small = await within("a small step", drop_off(store))

        assert await dropped(store) == [small.receipt.handoff_id]
        assert proxy.connections == small_only + 1
        proxy.go_on()
        answers = await within("the large steps", asyncio.gather(*large))
        assert await dropped(store) == [small.receipt.handoff_id, *(answer.receipt.handoff_id for answer in answers)]
    finally:
        await store.close()
        await proxy.close()


async def test_what_fits_into_a_batch_is_small_and_one_byte_more_is_large(commit: Commit, proxy: Proxy):
    """The connection for large commands is made when the first one comes."""
    frame = len(b"*2\r\n$4\r\nECHO\r\n$65000\r\n\r\n")
    assert await commit.ask("ECHO", "x" * (SMALL_BYTES_MAX - frame))
    assert proxy.connections == 1

    assert await commit.ask("ECHO", "x" * (SMALL_BYTES_MAX - frame + 1))
    assert proxy.connections == 2


async def test_a_large_command_that_finds_no_store_is_refused_like_any(commit: Commit, proxy: Proxy, monkeypatch):
    """The broker is long at work: a store that is away for large commands only is not waited for without an end."""
    monkeypatch.setattr("dropoff.storage.link.CONNECT_S", 0.2)
    stalled = proxy.stall("before", b"LOAD")
    with pytest.raises(BrokerUnavailable) as refusal:
        await within("a verdict", commit.ask("ECHO", LARGE))
    assert refusal.value.stored == "nothing"
    assert stalled.left == 0

    proxy.go_on()
    assert await within("the answer", commit.ask("ECHO", LARGE)) == LARGE.encode()


# ---- back-pressure ----------------------------------------------------------------------------------------------


async def test_more_commands_than_may_wait_are_refused_at_once_and_never_sent(
    commit: Commit, proxy: Proxy, monkeypatch, caplog
):
    """A store that stands still does not make the broker grow. The log says so, in one line and not in hundreds."""
    monkeypatch.setattr(lane, "WAITING_STEPS_MAX", 500)
    stalled = proxy.stall("before", ECHO)
    first = asking(commit, *("first" for _ in range(256)))
    await stalled.met()
    await commit_is_idle(proxy)
    waiting = asking(commit, *("waiting" for _ in range(500)))
    late = asking(commit, *("one too many" for _ in range(300)))

    assert await verdicts(late) == ["nothing"] * 300

    assert not any(call.done() for call in first + waiting)
    assert sum("does not keep up" in record.getMessage() for record in caplog.records) == 1
    proxy.go_on()
    assert await verdicts(first + waiting) == ["bytes"] * 756
    assert proxy.passed(b"one too many") == 0
    assert await commit.ask("ECHO", "room again") == b"room again"


async def test_memory_does_not_grow_with_what_is_refused(commit: Commit, proxy: Proxy):
    """250 MB are asked of a store that stands still: 32 MB of them wait, and the rest leaves nothing behind."""

    async def ask() -> str:
        try:
            return type(await commit.ask("ECHO", LARGE)).__name__
        except BrokerUnavailable as refusal:  # kept, it would keep its command too
            return refusal.stored

    stalled = proxy.stall("before", ECHO)
    under_way = asking(commit, LARGE, LARGE)
    await stalled.met()
    await commit_is_idle(proxy)
    tracemalloc.start()
    try:
        calls: list[asyncio.Task[str]] = []
        for _ in range(1_000):
            calls.append(asyncio.create_task(ask()))
            await asked()
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    size = len(f"*2\r\n$4\r\nECHO\r\n$262144\r\n{LARGE}\r\n")
    fit = lane.WAITING_BYTES_MAX // size
    assert [call.done() for call in calls] == [False] * fit + [True] * (1_000 - fit)
    assert most < 1.1 * lane.WAITING_BYTES_MAX
    assert await commit.ask("ECHO", "small") == b"small", "a full lane must not close the other"
    proxy.go_on()
    assert await verdicts(under_way) == ["bytes"] * 2
    kinds = await within("all verdicts", asyncio.gather(*calls))
    assert kinds == ["bytes"] * fit + ["nothing"] * (1_000 - fit)


async def test_what_was_refused_takes_no_room(commit: Commit, proxy: Proxy, monkeypatch):
    """When the store is back, as many bytes may wait as before."""
    monkeypatch.setattr(lane, "WAITING_BYTES_MAX", 1_000)
    for _ in range(3):
        proxy.away = True
        proxy.cut_all()
        await until_cut(proxy)
        assert await verdicts(asking(commit, "x" * 800)) == ["nothing"]
        proxy.away = False
        assert await verdicts(asking(commit, "x" * 800)) == ["bytes"]


# ---- one that fails, fails alone --------------------------------------------------------------------------------


async def test_what_cannot_be_sent_fails_by_itself_and_before_anything_is_sent(commit: Commit, proxy: Proxy):
    """Words that are no text or bytes, text that is no UTF-8, no word at all: the connection never hears of it."""
    sent = proxy.passed(b"")
    calls = [
        asyncio.create_task(commit.ask("ECHO", "before")),
        asyncio.create_task(commit.ask("ECHO", None)),  # pyright: ignore[reportArgumentType]
        asyncio.create_task(commit.ask("ECHO", "\ud800")),
        asyncio.create_task(commit.ask()),
        asyncio.create_task(commit.ask("ECHO", "after")),
    ]

    assert await verdicts(calls) == ["bytes", "TypeError", "UnicodeEncodeError", "AssertionError", "bytes"]
    assert proxy.passed(b"") == sent + 2
    assert proxy.connections == 1


async def test_an_error_is_the_answer_of_one_command_alone(commit: Commit, proxy: Proxy):
    sent = proxy.passed(b"")
    calls = [asyncio.create_task(commit.ask(*command)) for command in (("PING",), ("NONSENSE",), ("PING",))]

    assert await verdicts(calls) == ["bytes", "ResponseError", "bytes"]
    assert proxy.passed(b"") == sent + 3, "nothing was asked again"


async def test_a_command_that_makes_the_server_close_the_connection_fails_alone(
    server: Server, own_server: Callable[..., Server], keys: Keys, clock: Clock
):
    """Three such ones among twenty steps: those are done, each once, and only the three are of unknown fate."""
    poisoned = own_server(server.product, client_output_buffer_limit="normal 1mb 0 0")
    store = RedisStore(source_of(poisoned), keys, clock)
    await store.start()
    try:
        await furnish(store)
        poison = [store._commit.ask(*POISON) for _ in range(3)]
        steps = [drop_off(store, key=f"{n}") for n in range(20)]
        together = [*steps[:5], poison[0], *steps[5:10], poison[1], *steps[10:], poison[2]]

        outcomes = await within("all of them", asyncio.gather(*together, return_exceptions=True))

        kinds = [verdict(outcome) for outcome in outcomes]
        done = [outcome.receipt.handoff_id for outcome in outcomes if isinstance(outcome, DroppedOff)]
        assert kinds == ["DroppedOff"] * 5 + ["unknown"] + ["DroppedOff"] * 5 + ["unknown"] + ["DroppedOff"] * 10 + [
            "unknown"
        ]
        assert await dropped(store) == done
    finally:
        await store.close()


async def test_a_connection_that_speaks_unasked_is_not_trusted(commit: Commit, proxy: Proxy, caplog):
    """An answer too many would be taken for another command's: the connection is given up, and a new one is right."""
    await commit.ask("SUBSCRIBE", "a", "b")  # answers twice
    await until_cut(proxy)
    assert await commit.ask("ECHO", "right") == b"right"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_server_that_is_loading_has_not_run_the_command(own_server: Callable[..., Server]):
    """redis-py has this answer among the lost connections; but it is an answer, and says that nothing was stored."""
    server = own_server(
        "valkey", enable_debug_command="yes", key_load_delay="5000", loading_process_events_interval_bytes="1024"
    )
    commit = Commit(source_of(server))
    commit.start()
    try:
        connection = await commit.ask("CLIENT", "ID")
        with server.client as client:
            client.config_set("appendonly", "no")
            for n in range(200):
                client.set(f"t-000000000000:{{p0}}:schema:{n}", "x" * 100)
            loading = asyncio.create_task(asyncio.to_thread(client.execute_command, "DEBUG", "RELOAD"))
            outcomes: list[str] = []
            while not loading.done():
                outcomes += await verdicts([asyncio.create_task(commit.ask("GET", "t"))])
            await loading
            client.flushall()
        assert "nothing" in outcomes
        assert set(outcomes) <= {"nothing", "NoneType"}
        assert await commit.ask("CLIENT", "ID") == connection
    finally:
        await commit.close()


# ---- who leaves -------------------------------------------------------------------------------------------------


async def test_who_leaves_before_its_command_is_sent_has_asked_nothing(commit: Commit, proxy: Proxy):
    """Behind two batches that stand still a hundred wait, and every second one leaves: only the others are sent."""
    stalled = proxy.stall("before", ECHO)
    under_way = asking(commit, *("under way" for _ in range(256)))
    await stalled.met()
    await commit_is_idle(proxy)
    leaving, staying = asking(commit, *["leaving"] * 50), asking(commit, *["staying"] * 50)
    await asked()
    for call in leaving:
        call.cancel()

    proxy.go_on()

    assert await verdicts(under_way + staying) == ["bytes"] * 306
    assert proxy.passed(b"staying") == 50
    assert proxy.passed(b"leaving") == 0


async def test_who_leaves_while_its_command_is_lost_is_not_asked_for_again(commit: Commit, proxy: Proxy):
    """Nobody needs that answer; and what has not run need not run for nobody."""
    stalled = proxy.stall("before", b"leaving")
    (leaving,) = asking(commit, "leaving")
    await stalled.met()
    leaving.cancel()
    proxy.cut_all()

    assert await commit.ask("ECHO", "staying") == b"staying"
    assert proxy.passed(b"leaving") == 0


async def test_who_leaves_while_its_command_is_under_way_disturbs_nobody(commit: Commit, proxy: Proxy, caplog):
    """Its answer is read and dropped; the others get theirs, and nothing is asked a second time."""
    stalled = proxy.stall("after", ECHO)
    calls = asking(commit, "leaving", "staying")
    await stalled.met()
    await commit_is_idle(proxy)
    calls[0].cancel()
    proxy.go_on()

    assert await verdicts(calls[1:]) == ["bytes"]
    assert proxy.passed(ECHO) == 2
    assert not caplog.records


async def test_who_leaves_before_a_store_is_found_to_be_away_disturbs_nobody(commit: Commit, proxy: Proxy, caplog):
    proxy.away = True
    proxy.cut_all()
    await until_cut(proxy)
    calls = asking(commit, "leaving", "staying")
    await asked()
    calls[0].cancel()

    assert await verdicts(calls[1:]) == ["nothing"]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# ---- a connection breaks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("place", [0, 127, 128, 200, 255, 256])
async def test_a_cut_in_the_middle_of_two_batches_costs_nobody_anything(
    store: RedisStore, proxy: Proxy, moment: Moment, place: int
):
    """300 steps, cut at one of them: all are done, once, in the order in which they were asked."""
    cut = proxy.cut(moment, STEP, skip=place, at=300)

    answers = await within("all answers", asyncio.gather(*(drop_off(store, key=f"{n}") for n in range(300))))

    assert cut.left == 0
    assert await dropped(store) == [answer.receipt.handoff_id for answer in answers]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("place", [0, 130, 255])
async def test_every_verdict_is_true_when_the_store_stays_away(
    server: Server, keys: Keys, clock: Clock, proxy: Proxy, store: RedisStore, moment: Moment, place: int
):
    """With two batches under way the store goes and does not come back: answered is stored, "nothing" is not, and of
    unknown fate are exactly those that were under way and unanswered.
    """
    cut = proxy.cut(moment, STEP, skip=place, at=300)
    cut.when_met = lambda: setattr(proxy, "away", True)

    outcomes = await within(
        "all verdicts", asyncio.gather(*(drop_off(store, key=f"{n}") for n in range(300)), return_exceptions=True)
    )

    assert cut.left == 0
    kinds = [verdict(outcome) for outcome in outcomes]
    assert kinds[: place + 1] == ["DroppedOff"] * place + ["unknown"]
    under_way = kinds.count("unknown")
    assert kinds == ["DroppedOff"] * place + ["unknown"] * under_way + ["nothing"] * (300 - place - under_way)
    assert 1 <= under_way <= 256
    proxy.away = False
    there = set(await dropped(store))
    ids = [work(ANN, queue=QUEUE, key=f"{n}").id for n in range(300)]
    assert there >= set(ids[:place])
    assert not there & set(ids[place + under_way :])
    if moment == "after":
        assert ids[place] in there
    else:
        assert there == set(ids[:place])


async def test_a_connection_that_broke_while_nothing_was_asked_is_known_to_be_broken(commit: Commit, proxy: Proxy):
    """Nothing is written to it any more: so what finds no store was certainly not stored."""
    proxy.away = True
    proxy.cut_all()
    await until_cut(proxy)
    assert await verdicts(asking(commit, "word")) == ["nothing"]

    proxy.away = False
    assert await verdicts(asking(commit, "word")) == ["bytes"]


async def test_a_store_that_stands_still_is_given_up_and_its_commands_are_asked_again(
    commit: Commit, proxy: Proxy, monkeypatch
):
    """No answer for too long is a lost connection; what waited behind it is sent on the next."""
    monkeypatch.setattr(lane, "ANSWER_S", 0.2)
    stalled = proxy.stall("before", ECHO)

    calls = asking(commit, *(f"{n}" for n in range(300)))

    assert await verdicts(calls) == ["bytes"] * 300
    assert stalled.left == 0


async def test_a_store_that_stands_still_for_good_is_not_waited_for_once_a_command(
    commit: Commit, proxy: Proxy, monkeypatch
):
    """256 of unknown fate share one patience: else the last would hear its verdict after most of an hour."""
    monkeypatch.setattr(lane, "ANSWER_S", 0.2)
    proxy.stall("before", ECHO, times=1_000)

    calls = asking(commit, *(f"{n}" for n in range(256)))

    assert await verdicts(calls) == ["unknown"] * 256
    proxy.go_on()
    assert await commit.ask("ECHO", "alive") == b"alive"


async def test_patience_begins_anew_with_every_batch(commit: Commit, proxy: Proxy, monkeypatch):
    """A connection that has been silent for long because nothing was asked is as good as any."""
    monkeypatch.setattr(lane, "ANSWER_S", 0.2)
    assert await commit.ask("ECHO", "first") == b"first"
    loaded = proxy.passed(b"LOAD")
    for word in ("second", "third"):
        assert await commit.ask("ECHO", word) == word.encode()
        with pytest.raises(TimeoutError):  # a time in which nothing is asked
            await asyncio.wait_for(asyncio.Event().wait(), 0.3)

    assert proxy.passed(b"LOAD") == loaded, "it is the same connection still"


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_connection_that_closes_while_it_is_written_to_is_lost_like_any(
    commit: Commit, monkeypatch, times: int
):
    """uvloop says it by a RuntimeError, whether a batch is written, a first word, or a step; nobody hears of it."""
    write = AbstractConnection.send_packed_command
    closed = iter(range(times))

    async def closing(self: AbstractConnection, command: Any, check_health: bool = True) -> None:
        if next(closed, None) is not None:
            raise RuntimeError("unable to perform operation; the handler is closed")
        await write(self, command, check_health)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", closing)
    calls = asking(commit, *(f"word {n}" for n in range(400)))  # the first batch, and some that wait
    assert await within("the answers", asyncio.gather(*calls)) == [f"word {n}".encode() for n in range(400)]


# ---- the end ----------------------------------------------------------------------------------------------------


async def test_closing_tells_each_caller_what_is_known(commit: Commit, proxy: Proxy):
    """What was sent may have run, what still waited has not; and afterwards everything is refused."""
    stalled = proxy.stall("after", ECHO)
    calls = asking(commit, *(f"{n}" for n in range(300)))
    await stalled.met()
    await commit_is_idle(proxy)

    await within("the commit to close", commit.close())

    assert await verdicts(calls) == ["unknown"] * 256 + ["nothing"] * 44
    assert await verdicts(asking(commit, "late")) == ["nothing"]


async def test_closing_does_not_wait_for_a_connection_that_is_being_made(proxy: Proxy):
    """A store that takes no steps is no reason to stay; who waited for it has stored nothing."""
    source = await proxy.start()
    stalled = proxy.stall("before", b"LOAD")
    commit = Commit(source)
    commit.start()
    calls = asking(commit, "word")
    await stalled.met()

    await within("the commit to close", commit.close(), limit_s=5)

    assert await verdicts(calls) == ["nothing"]
    proxy.go_on()
    await until_cut(proxy)


async def test_closing_closes_a_connection_that_nobody_came_for(commit: Commit, proxy: Proxy, monkeypatch):
    """It was made for a caller who has been refused meanwhile."""
    monkeypatch.setattr("dropoff.storage.link.CONNECT_S", 0.05)
    loaded = proxy.passed(b"LOAD")
    stalled = proxy.stall("before", b"LOAD")
    assert await verdicts(asking(commit, LARGE)) == ["nothing"]
    await stalled.met()
    proxy.go_on()

    async def made() -> bool:
        return proxy.passed(b"LOAD") == 2 * loaded

    await until("the second connection to be made", made)
    await commit_is_idle(proxy)
    await within("the commit to close", commit.close())

    await until_cut(proxy)


async def test_closing_ends_also_when_the_connection_breaks_in_the_same_moment(proxy: Proxy):
    """Whichever of the two comes first, and by however little."""
    source = await proxy.start()
    for rounds in range(20):
        commit = Commit(source)
        commit.start()
        await commit.ask("PING")
        proxy.cut_all()
        for _ in range(rounds):
            await asyncio.sleep(0)
        await within("the commit to close", commit.close())


async def test_a_fault_of_ours_ends_those_who_wait_and_not_the_lane(server: Server, caplog):
    """A lane that died silently would let every later caller wait for ever."""
    failing = True

    async def url() -> str:
        if failing:
            raise ZeroDivisionError
        return server.url

    commit = Commit(Source(url))
    commit.start()
    try:
        assert await verdicts(asking(commit, "one")) == ["ZeroDivisionError"]
        failing = False
        assert await verdicts(asking(commit, "two")) == ["bytes"]
    finally:
        await commit.close()


async def test_a_starting_broker_waits_for_its_store_as_long_as_it_takes(server: Server, proxy: Proxy, monkeypatch):
    """A store that reads a long file at its start answers nobody meanwhile, and serving nobody is no fault yet."""
    monkeypatch.setattr("dropoff.storage.link.CONNECT_S", 0.05)
    source = await proxy.start()
    stalled = proxy.stall("before", b"LOAD")
    commit = Commit(source)
    commit.start()
    try:
        (call,) = asking(commit, "first")
        await stalled.met()
        with pytest.raises(TimeoutError):  # the time after which a caller of a running broker is told
            await asyncio.wait_for(asyncio.shield(call), 0.2)
        proxy.go_on()
        assert await verdicts([call]) == ["bytes"]
    finally:
        await commit.close()


async def test_only_a_starting_broker_hears_why_a_store_refuses_it(server: Server):
    """Later its callers cannot mend that; they hear that nothing was stored."""
    refusing = True

    async def url() -> str:
        if refusing:
            raise StoreRefused("no")
        return proxy_url

    proxy = Proxy(server)
    source = await proxy.start()
    proxy_url = await source._url()
    commit = Commit(Source(url))
    commit.start()
    try:
        assert await verdicts(asking(commit, "one")) == ["StoreRefused"]
        refusing = False
        assert await verdicts(asking(commit, "two")) == ["bytes"]
        refusing = True
        proxy.cut_all()
        await until_cut(proxy)
        assert await verdicts(asking(commit, "three")) == ["nothing"]
        assert await verdicts(asking(commit, LARGE)) == ["nothing"]
    finally:
        await commit.close()
        await proxy.close()
