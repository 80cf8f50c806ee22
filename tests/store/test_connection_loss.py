"""The store dies in the middle: each call is answered, or says truthfully what is known; nothing runs twice.

The server is a real one, killed with `kill -9` and started again on the file it had written. Where the exact moment
matters, a proxy between us and the server cuts the connection there: before the command, in it, or before its answer.
What becomes of many commands on one connection is in `test_commit.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from redis.exceptions import ResponseError

from dropoff.errors import BrokerUnavailable
from dropoff.storage.connection import Source
from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from tests.look import Look
from tests.proxy import MOMENTS, Moment, Proxy
from tests.servers import PRODUCTS, Server, source_of
from tests.world import BOB, QUEUE, Clock, complete, drop_off, extend, furnish, hand_back, pick_up, until, within

STEP: Final = b"EVALSHA"


@pytest.fixture
async def cut_store(proxy: Proxy, keys: Keys, clock: Clock) -> AsyncIterator[RedisStore]:
    """A furnished store behind the proxy."""
    store = RedisStore(await proxy.start(), keys, clock)
    await store.start()
    await furnish(store)
    yield store
    await store.close()


async def steps(store: RedisStore) -> list[str]:
    """What happened to handoffs, by the ledger."""
    return [entry.step for entry in await store.entries(at_most=1_000) if entry.handoff]


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_step_whose_answer_is_lost_is_asked_again_and_happens_once(
    cut_store: RedisStore, proxy: Proxy, moment: Moment
):
    """Whether it ran or not: the caller gets its answer, and the ledger has one entry."""
    store = cut_store
    cuts = [proxy.cut(moment, STEP)]
    await drop_off(store)
    cuts.append(proxy.cut(moment, STEP))
    picked = await pick_up(store)
    cuts.append(proxy.cut(moment, STEP))
    await extend(store, picked.lease)
    cuts.append(proxy.cut(moment, STEP))
    await hand_back(store, picked.lease, "release")
    cuts.append(proxy.cut(moment, STEP))
    picked = await pick_up(store)
    cuts.append(proxy.cut(moment, STEP))
    await complete(store, picked.lease)

    assert await steps(store) == ["drop_off", "pick_up", "extend", "release", "pick_up", "complete"]
    assert [cut.left for cut in cuts] == [0] * 6


async def test_a_store_that_is_full_when_it_is_asked_again_does_not_deny_what_it_did(
    own_server: Callable[..., Server], keys: Keys, clock: Clock
):
    """The first time it may have run, and it did: "nothing was stored" would be false."""
    server = own_server("valkey")
    proxy = Proxy(server)
    store = RedisStore(await proxy.start(), keys, clock)
    await store.start()
    await furnish(store)

    def fill() -> None:
        with server.client as client:
            client.config_set("maxmemory", "1")

    proxy.cut("after", STEP).when_met = fill
    with pytest.raises(BrokerUnavailable) as refusal:
        await drop_off(store)

    assert refusal.value.stored == "unknown"
    assert await steps(store) == ["drop_off"]
    await store.close()
    await proxy.close()


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_step_whose_answer_is_lost_twice_says_that_nobody_knows(
    cut_store: RedisStore, proxy: Proxy, moment: Moment
):
    """It is asked again once, not for ever; and the same call later finds what has happened."""
    cuts = proxy.cut(moment, STEP, times=2)
    with pytest.raises(BrokerUnavailable) as refusal:
        await drop_off(cut_store, key="k")
    assert refusal.value.stored == "unknown"
    assert cuts.left == 0

    again = await drop_off(cut_store, key="k")

    assert again.repeated == (moment == "after")
    assert await steps(cut_store) == ["drop_off"]


@pytest.mark.parametrize("product", PRODUCTS)
async def test_when_the_store_is_away_nothing_is_stored_and_it_is_said(
    own_server, keys: Keys, clock: Clock, product: str
):
    """What was never sent was certainly not stored. When the store is back, the same broker goes on."""
    server = own_server(product, appendfsync="always")
    store = RedisStore(source_of(server), keys, clock)
    await store.start()
    try:
        await furnish(store)
        first = await drop_off(store)
        server.kill()
        with suppress(BrokerUnavailable):
            await store.ping()  # finds out that the old connection is gone

        with pytest.raises(BrokerUnavailable) as refusal:
            await within("the store to be given up", drop_off(store))
        assert refusal.value.stored == "nothing"

        server.start()
        picked = await pick_up(store)
        assert picked.handoff.id == first.receipt.handoff_id
        assert await steps(store) == ["drop_off", "pick_up"]
    finally:
        await store.close()


@pytest.mark.parametrize("product", PRODUCTS)
async def test_a_store_killed_under_load_keeps_what_it_acknowledged_and_runs_nothing_twice(
    own_server, keys: Keys, clock: Clock, product: str
):
    """`kill -9` in the middle of many calls, three times; afterwards every receipt is in the ledger, once."""
    server: Server = own_server(product, appendfsync="always")
    store = RedisStore(source_of(server), keys, clock)
    await store.start()
    acknowledged: list[str] = []
    refused: dict[str, str] = {}
    over = False

    async def drop_on(agent: int) -> None:
        number = 0
        while not over:
            number += 1
            key = f"{agent}-{number}"
            try:
                acknowledged.append((await drop_off(store, key=key)).receipt.entry)
            except BrokerUnavailable as error:
                refused[key] = error.stored
                await asyncio.sleep(0.01)

    async def grown(by: int) -> None:
        enough = len(acknowledged) + by

        async def there() -> bool:
            return len(acknowledged) >= enough

        await until(f"{by} more drop-offs to be acknowledged", there)

    try:
        await furnish(store)
        load = [asyncio.create_task(drop_on(agent)) for agent in range(16)]
        try:
            for _ in range(3):
                await grown(100)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            await grown(100)
        finally:
            over = True
            await within("the agents to stop", asyncio.gather(*load))

        entries = [entry for entry in await store.entries(at_most=100_000) if entry.step == "drop_off"]
        ids = {entry.handoff for entry in entries}
        assert len(ids) == len(entries), "a handoff was dropped off twice"
        assert set(acknowledged) <= {entry.id for entry in entries}, "an acknowledged entry is not there"
        for key, stored in refused.items():
            again = await drop_off(store, key=key)
            assert not (stored == "nothing" and again.repeated), f"{key} was stored, and was said not to be"
    finally:
        await store.close()


async def test_a_store_that_forgot_its_scripts_gets_them_again(store: RedisStore, look: Look):
    """SCRIPT FLUSH, a failover: the step did not run, so it is loaded and sent once more."""
    await look.client.script_flush()

    dropped = await drop_off(store)

    assert len(await store.entries(handoff_id=dropped.receipt.handoff_id)) == 1


async def test_steps_that_arrive_together_are_answered_each_by_its_own(store: RedisStore):
    """Also more than one batch holds, also with refusals between them."""
    answers = await asyncio.gather(
        *(drop_off(store, key=f"k{n % 200}", note=str(n // 200)) for n in range(300)), return_exceptions=True
    )

    assert [type(answer).__name__ for answer in answers] == ["DroppedOff"] * 200 + ["RequestConflict"] * 100
    ids = [entry.handoff for entry in await store.entries(at_most=1_000) if entry.handoff]
    assert len(ids) == len(set(ids)) == 200


async def test_who_leaves_while_it_waits_for_its_turn_is_not_sent(store: RedisStore):
    """A cancelled caller whose step was not on its way has done nothing, and holds up nobody."""
    leaving = asyncio.create_task(drop_off(store))
    staying = asyncio.create_task(drop_off(store))
    await asyncio.sleep(0)
    leaving.cancel()

    stayed = await within("the one that stays", staying)

    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert [entry.handoff for entry in await store.entries() if entry.handoff] == [stayed.receipt.handoff_id]


async def test_a_closed_store_refuses_and_stored_nothing(empty_store: RedisStore):
    await empty_store.close()
    await empty_store.close()

    with pytest.raises(BrokerUnavailable) as refusal:
        await empty_store.pick_up(BOB, QUEUE, "k")

    assert refusal.value.stored == "nothing"


async def test_who_stops_waiting_for_a_connection_leaves_none_behind(tmp_path: Path):
    """The other side accepts, listens and never says a word: a store that is just starting does that, too."""
    heard, gone = asyncio.Event(), asyncio.Event()

    async def listens(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        heard.set()
        await reader.read()
        gone.set()
        writer.close()

    async def place() -> str:
        return f"unix://{tmp_path / 'silent'}"

    async with await asyncio.start_unix_server(listens, tmp_path / "silent"):
        connecting = asyncio.create_task(Source(place).connect())
        await within("the first word", heard.wait())
        connecting.cancel()
        with suppress(asyncio.CancelledError):
            await connecting
        await within("the connection to be closed", gone.wait())


async def test_who_is_sent_away_leaves_no_connection_behind(tmp_path: Path):
    """Redis refuses a PING, too, when it cannot write. It is closed although a refusal is kept."""
    gone = asyncio.Event()

    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line.startswith(b"*"):
                words = [await reader.readline() for _ in range(2 * int(line[1:]))]
                writer.write(b"-MISCONF the disk is full\r\n" if b"PING\r\n" in words else b"+OK\r\n")
        gone.set()
        writer.close()

    async def place() -> str:
        return f"unix://{tmp_path / 'refusing'}"

    async with await asyncio.start_unix_server(refuses, tmp_path / "refusing"):
        with pytest.raises(ResponseError) as remembered:
            await Source(place).connect()
        await within("the connection to be closed", gone.wait())
    assert "MISCONF" in str(remembered.value)
