"""What agents get wrong can be seen afterwards by who inspects the queue: how often, and where the schema says so.

A broker writes a second after it has begun to gather, and when it ends; here each ends as soon as it has gathered.
"""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dropoff.broker import Broker
from dropoff.broker.rejections import GATHERED_S
from dropoff.contracts.gate import Gates
from dropoff.core import limits
from dropoff.core.caller import Caller
from dropoff.core.requests import Complete, DropOff, HandBack, Next
from dropoff.errors import (
    DropoffError,
    NextInvalid,
    NotAllowed,
    PayloadInvalid,
    PayloadTooLarge,
    QueueUnknown,
    ResultInvalid,
)
from dropoff.operations import NewQueue
from dropoff.storage.scripts import script
from dropoff.storage.store import RedisStore
from tests.faults.twins import out_of_reach
from tests.fundamentals.conftest import House
from tests.proxy import Proxy
from tests.world import until

WORK = {"topic": "heat pumps", "audience": "exec"}
WRONG = {"topic": "no"}  # too short, and no audience
FAULTS_OF_WRONG = {("missing", "/properties/audience"): 1, ("extent", "/properties/topic"): 1}


async def drop(house: House, payload: Any, refused: type[DropoffError] = PayloadInvalid, **more: Any) -> None:
    with pytest.raises(refused):
        await house.broker.drop_off(house.scout, DropOff(queue="research", payload=payload), **more)


async def rejected(house: House, queue: str = "research", by: Caller | None = None) -> dict[tuple[str, str], int]:
    """What the broker has written, once it has ended."""
    await house.broker.close()
    found = await house.inspector.rejections(by or house.operator, queue)
    return {(one.what, one.place): one.count for one in found}


async def test_an_operator_sees_what_agents_get_wrong(house: House):
    """A payload counts once for each of its faults; an unknown field for what is around it, and without its name."""
    for _ in range(2):
        await drop(house, WRONG)
    await drop(house, WORK | {"audiense": 1, "audeince": 2})

    assert await rejected(house) == {
        ("missing", "/properties/audience"): 2,
        ("extent", "/properties/topic"): 2,
        ("unknown", "/properties"): 1,
    }
    [_, _, one] = await house.inspector.rejections(house.operator, "research")
    assert (one.schema, one.last_ms) == ("brief@1", house.clock.now_ms)


async def test_what_no_schema_was_asked_about_is_counted_at_its_root(house: House):
    """Too large, too deep, or what is no JSON for all."""
    deep: dict[str, Any] = {}
    for _ in range(limits.PAYLOAD_DEPTH_MAX):
        deep = {"a": deep}
    await house.operations.edit_queue(house.operator, "research", {"max_bytes": 10_000})
    await drop(house, {"topic": "x" * 10_000}, PayloadTooLarge)
    await drop(house, deep)
    await drop(house, {"topic": float("nan")})

    assert await rejected(house) == {("too_large", ""): 1, ("bounds", ""): 2}


async def test_what_comes_next_counts_for_the_queue_that_it_would_come_into(house: House):
    """And not for the one whose work is done."""
    await house.operations.push_schema(house.operator, "note", {"type": "object", "required": ["by"]})
    await house.operations.add_queue(house.operator, NewQueue(name="notes", schema="note"))
    await house.operations.grant(house.operator, "writer", ["drop:notes"])
    await house.broker.drop_off(house.scout, DropOff(queue="research", payload=WORK))
    picked = await house.takes(house.writer)
    assert picked is not None
    for payload, refused in (({}, NextInvalid), ({"text": "x" * limits.PAYLOAD_BYTES_MAX}, PayloadTooLarge)):
        request = Complete(lease_id=picked.lease.id, result={}, next=Next(queue="notes", payload=payload))
        with pytest.raises(refused):
            await house.broker.complete(house.writer, request)

    assert await rejected(house, "notes") == {("missing", "/required"): 1, ("too_large", ""): 1}
    assert await rejected(house) == {}


async def test_a_result_is_no_payload_for_a_queue(house: House):
    """What is wrong with one is not counted as if a schema had rejected it."""
    await house.broker.drop_off(house.scout, DropOff(queue="research", payload=WORK))
    picked = await house.takes(house.writer)
    assert picked is not None
    large = {"text": "x" * limits.PAYLOAD_BYTES_MAX}
    for result, refused in ((large, PayloadTooLarge), ({"n": float("inf")}, ResultInvalid)):
        with pytest.raises(refused):
            await house.broker.complete(house.writer, Complete(lease_id=picked.lease.id, result=result))

    assert await rejected(house) == {}


async def test_what_is_answered_as_it_was_then_is_not_counted(house: House):
    """The contract was changed since, so it does not fit any more; but it was not rejected."""
    request = DropOff(queue="research", payload=WORK)
    first = await house.broker.drop_off(house.scout, request, "key")
    await house.operations.edit_queue(house.operator, "research", {"max_bytes": 10})

    again = await house.broker.drop_off(house.scout, request, "key")

    assert again.receipt == first.receipt
    assert await rejected(house) == {}


async def test_another_refusal_is_not_counted(house: House):
    """Only what was brought and judged."""
    with pytest.raises(DropoffError):
        await house.broker.drop_off(house.writer, DropOff(queue="research", payload=WRONG))
    with pytest.raises(DropoffError):
        await house.broker.drop_off(house.scout, DropOff(queue="nowhere", payload=WRONG))

    assert await rejected(house) == {}


async def test_what_an_operator_puts_back_is_not_counted(house: House):
    """Counted is what agents get wrong, and this was right when it was brought."""
    dropped = await house.broker.drop_off(house.scout, DropOff(queue="research", payload=WORK))
    picked = await house.takes(house.writer)
    assert picked is not None
    given_up = HandBack(lease_id=picked.lease.id, outcome="impossible", reason="no such thing")
    await house.broker.hand_back(house.writer, given_up)
    await house.operations.edit_queue(house.operator, "research", {"max_bytes": 10})
    with pytest.raises(PayloadTooLarge):
        await house.broker.resubmit(house.operator, dropped.receipt.handoff_id)

    assert await rejected(house) == {}


async def test_who_may_not_inspect_the_queue_sees_nothing_of_it(house: House):
    for name in ("research", "nowhere"):
        with pytest.raises((NotAllowed, QueueUnknown)):
            await house.inspector.rejections(house.scout, name)


# ---- when it is written -------------------------------------------------------------------------------------------


async def test_a_broker_that_runs_writes_a_little_later(house: House):
    """Nobody has to end it; and what is rejected after that is written too."""
    house.broker.start()

    async def seen(count: int) -> bool:
        return [one.count for one in await house.inspector.rejections(house.operator, "research")] == [count] * 2

    for count in (1, 2):
        await drop(house, WRONG)
        await until("the counts to be written", lambda count=count: seen(count))
    await house.broker.close()
    await house.broker.close()
    assert await seen(2)


async def test_who_is_rejected_waits_for_no_write(house: House):
    """It comes a second later at the earliest, in a step of its own."""
    assert GATHERED_S > 0
    house.broker.start()
    await drop(house, WRONG)

    assert await house.inspector.rejections(house.operator, "research") == ()
    await house.broker.close()


async def test_many_places_are_gathered_within_a_bound(house: House):
    """However long the store is away."""
    names = [f"n{number:03}" for number in range(300)]
    schema = {"type": "object", "properties": {name: {"type": "null"} for name in names}}
    await house.operations.push_schema(house.operator, "wide", schema)
    await house.operations.add_queue(house.operator, NewQueue(name="wide", schema="wide"))
    await house.operations.grant(house.operator, "scout", ["drop:wide"])
    for begin in range(0, 300, 50):
        payload = dict.fromkeys(names[begin : begin + 50], 1)
        with pytest.raises(PayloadInvalid):
            await house.broker.drop_off(house.scout, DropOff(queue="wide", payload=payload))

    [gathered] = house.broker._rejections._gathered.values()  # pyright: ignore[reportPrivateUsage]
    assert len(gathered) == limits.REJECTED_PLACES_MAX
    found = await rejected(house, "wide")
    assert len(found) == limits.REJECTED_PLACES_MAX
    assert found["more", ""] == 3  # payloads, each with many faults elsewhere


@pytest.fixture
async def cut_off(house: House, proxy: Proxy) -> AsyncIterator[House]:
    """The same house with a broker whose connection to the store can be cut."""
    store = RedisStore(await proxy.start(), house.store.keys, house.clock)
    await store.start()
    house.broker = Broker(store, Gates(), secrets.token_bytes)
    yield house
    await store.close()


async def test_what_cannot_be_written_is_written_once_when_the_store_is_back(cut_off: House, proxy: Proxy):
    """Who is rejected meanwhile is told so as ever, and is counted behind it."""
    store = cut_off.broker.store
    assert isinstance(store, RedisStore)
    await drop(cut_off, WRONG)
    await out_of_reach(store, proxy)
    await cut_off.broker.close()
    assert await cut_off.inspector.rejections(cut_off.operator, "research") == ()
    proxy.away = False

    await drop(cut_off, WRONG)

    assert await rejected(cut_off) == dict.fromkeys(FAULTS_OF_WRONG, 2)


async def test_a_write_whose_answer_is_lost_counts_once(cut_off: House, proxy: Proxy):
    """The broker asks again under the same key, also when it had to give up in between."""
    await drop(cut_off, WRONG)
    proxy.cut("after", script("count_rejections").sha, times=2)

    await cut_off.broker.close()

    assert await rejected(cut_off) == FAULTS_OF_WRONG


async def test_a_damaged_key_holds_up_no_other_queue(house: House, caplog: pytest.LogCaptureFixture):
    """Of its queue nothing is counted, and the log says so."""
    await house.operations.add_queue(house.operator, NewQueue(name="other", schema="brief"))
    await house.operations.grant(house.operator, "scout", ["drop:other"])
    damaged = house.store.keys.of("rejected", queue="research")
    await house.store._commit.ask("SET", damaged, "of another type")  # pyright: ignore[reportPrivateUsage]
    await drop(house, WRONG)
    with pytest.raises(PayloadInvalid):
        await house.broker.drop_off(house.scout, DropOff(queue="other", payload=WRONG))

    assert await rejected(house, "other") == FAULTS_OF_WRONG
    assert "what queue research rejected cannot be counted" in caplog.text
    await house.store._commit.ask("DEL", damaged)  # pyright: ignore[reportPrivateUsage]
