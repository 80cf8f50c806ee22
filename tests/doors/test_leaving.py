"""A client that leaves: no work stays with it, at whatever moment it goes and by whichever door it came.

The clients here hang up one direction of a real socket and read on. So the broker sees them leave, and the test knows
to the byte whether the answer came.
"""

import asyncio
import json
import secrets
from typing import Any, NamedTuple

import pytest

from dropoff.broker import Broker
from dropoff.contracts.gate import Gates
from dropoff.core.requests import PickUp
from dropoff.identity.callers import Callers
from dropoff.storage.store import RedisStore
from tests.doors.http.house import WORK, Agent, Desk
from tests.doors.mcp import wire
from tests.doors.mcp.wire import HANDSHAKE, MODERN, Wire
from tests.world import until, within

LEFT = "the client left before it had the answer"

# A pick_up takes some 2 to 5 ms here; these moments lie before, in and after it. Fewer than deliveries may be.
# However slow the machine: at the first nothing is answered yet, for the broker runs in this very loop, and the last
# waits for the answer.
ANSWERED = -1.0
CUTS_S = [0.0, *(step * 0.0002 for step in range(1, 41)), 0.02, 0.05, ANSWERED]


class Sent(NamedTuple):
    """A request as it goes over the line, and the line."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def cut(self) -> bytes:
        """Hang up; what had been answered until then."""
        self.writer.write_eof()
        answered = await within("the broker to close the line", self.reader.read())
        self.writer.close()
        await self.writer.wait_closed()
        return answered


async def post(desk: Desk, path: str, headers: dict[str, str], body: Any) -> Sent:
    content = json.dumps(body).encode()
    lines = {"host": f"127.0.0.1:{desk.port}", "content-length": str(len(content))} | headers
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content)
    await writer.drain()
    return Sent(reader, writer)


async def plainly(desk: Desk, agent: Agent, wait_s: int, key: str) -> Sent:
    headers = {"authorization": f"Bearer {agent.bearer}", "idempotency-key": key}
    return await post(desk, "/v1/pick_up", headers, {"wait_seconds": wait_s})


async def in_a_batch(desk: Desk, agent: Agent, wait_s: int, key: str) -> Sent:
    call = {"verb": "pick_up", "arguments": {"wait_seconds": wait_s, "at_most": 3}, "key": key}
    return await post(desk, "/v1/batch", {"authorization": f"Bearer {agent.bearer}"}, {"calls": [call]})


def by_mcp(era: str) -> Any:
    async def send(desk: Desk, agent: Agent, wait_s: int, key: str) -> Sent:
        line = Wire(f"{desk.url}/mcp", wire.Agent("", agent.bearer), era)
        await line.client.aclose()
        params = {"name": "pick_up", "arguments": {"wait_seconds": wait_s}}
        body = line.body("tools/call", params, {"dropoff/request": key})
        return await post(desk, "/mcp", line.headers("tools/call", params), body)

    return send


DOORS = {
    "plain": plainly,
    "batch": in_a_batch,
    HANDSHAKE: by_mcp(HANDSHAKE),
    MODERN: by_mcp(MODERN),
}


@pytest.fixture(params=DOORS)
def send(request: pytest.FixtureRequest) -> Any:
    return DOORS[request.param]


async def shown(desk: Desk, handoff_id: str) -> dict[str, Any]:
    return await desk.operator.seen(f"/v1/handoffs/{handoff_id}")


async def waits_again(desk: Desk, handoff_id: str) -> bool:
    return (await shown(desk, handoff_id))["state"] == "waiting"


async def test_whoever_leaves_at_whatever_moment_leaves_the_work_or_has_it(
    send: Any, desk: Desk, scout: Agent, writer: Agent
):
    """After each cut the answer came whole, or the work waits again; and nobody is blamed for it."""
    sent = await scout.done("/v1/drop_off", {"payload": WORK})
    had, gone = 0, 0

    async def waits() -> bool:
        return await waits_again(desk, sent["handoff_id"])

    for number, moment_s in enumerate(CUTS_S):
        line = await send(desk, writer, 5, f"cut-{number}")
        begun = b""
        if moment_s == ANSWERED:
            begun = await within("the answer", line.reader.readuntil(b"picked_up"))
        else:
            await asyncio.sleep(moment_s)  # the moment itself is what is tried here
        answered = begun + await line.cut()
        if answered:
            assert b"picked_up" in answered
            had += 1
            lease_id = (await shown(desk, sent["handoff_id"]))["lease_id"]
            await writer.done("/v1/hand_back", {"lease_id": lease_id, "outcome": "not_for_me"})
        else:
            gone += 1
            await until(f"the work to wait again, cut at {moment_s} s", waits)
        assert (await shown(desk, sent["handoff_id"]))["attempt"] == 1
    assert had
    assert gone


async def test_the_ledger_says_why_work_went_back(
    send: Any, desk: Desk, scout: Agent, writer: Agent, empty_store: RedisStore
):
    """The step was sent when the client left: it happens, and is undone, uncounted, with its reason."""
    sent = await scout.done("/v1/drop_off", {"payload": WORK})
    original, arrived, go_on = empty_store.pick_up, asyncio.Event(), asyncio.Event()

    async def slowly(*arguments: Any) -> Any:
        arrived.set()
        await go_on.wait()
        return await original(*arguments)

    for wait_s in (0, 5):
        arrived.clear()
        go_on.clear()
        empty_store.pick_up = slowly  # type: ignore[method-assign]
        line = await send(desk, writer, wait_s, f"slow-{wait_s}")
        await within("the step to be on its way", arrived.wait())
        assert await line.cut() == b""
        go_on.set()
        empty_store.pick_up = original  # type: ignore[method-assign]

        async def went_back(times: int = 2 if wait_s else 1) -> bool:
            entries = (await shown(desk, sent["handoff_id"]))["entries"]
            return [entry["step"] for entry in entries] == ["drop_off", *["pick_up", "recall"] * times]

        await until("the work to go back", went_back)
    whole = await shown(desk, sent["handoff_id"])
    assert (whole["entries"][-1]["reason"], whole["attempt"]) == (LEFT, 1)
    assert whole["entries"][-1]["actor"] == "upkeep"


async def test_another_takes_at_once_what_a_client_left(desk: Desk, scout: Agent, writer: Agent, send: Any):
    """Who waits for work gets it, without the wait for a lease that runs out."""
    lines = [await send(desk, writer, 30, f"gone-{number}") for number in range(3)]
    sent = await scout.done("/v1/drop_off", {"payload": WORK})
    answers = [await line.cut() for line in lines]
    had = [answer for answer in answers if sent["handoff_id"].encode() in answer]
    if not had:
        again = await within("the work", writer.done("/v1/pick_up", {"wait_seconds": 10}))
        assert (again["handoff_id"], again["attempt"]) == (sent["handoff_id"], 1)


async def test_who_leaves_a_batch_that_waits_leaves_what_its_other_calls_took(desk: Desk, scout: Agent):
    """One call has its work already, another still waits: nobody hears of either."""
    await desk.queue("empty", {"type": "object"})
    worker = await desk.agent("worker", "pick:research", "pick:empty")
    sent = await scout.done("/v1/drop_off", {"payload": WORK})
    calls = [
        {"verb": "pick_up", "arguments": {"queue": "research", "wait_seconds": 0}},
        {"verb": "pick_up", "arguments": {"queue": "empty", "wait_seconds": 30}},
    ]
    line = await post(desk, "/v1/batch", {"authorization": f"Bearer {worker.bearer}"}, {"calls": calls})

    async def taken() -> bool:
        return (await shown(desk, sent["handoff_id"]))["state"] == "leased"

    await until("the first to be taken", taken)
    assert await line.cut() == b""
    await until("it to wait again", lambda: waits_again(desk, sent["handoff_id"]))
    assert (await shown(desk, sent["handoff_id"]))["entries"][-1]["reason"] == LEFT


async def test_the_same_call_again_gets_the_same_lease(desk: Desk, scout: Agent, writer: Agent):
    """Whose answer was lost after it had been written asks again under its key; and leaving then takes nothing back."""
    await scout.done("/v1/drop_off", {"payload": WORK})
    first = await writer.done("/v1/pick_up", {"wait_seconds": 5}, idempotency_key="mine")
    line = await plainly(desk, writer, 5, "mine")
    await line.cut()
    again = await writer.done("/v1/pick_up", {"wait_seconds": 5}, idempotency_key="mine")
    assert again["lease_id"] == first["lease_id"]
    await writer.done("/v1/complete", {"lease_id": first["lease_id"]})


async def test_a_try_that_is_cancelled_twice_is_seen_to_its_end(desk: Desk, scout: Agent, empty_store: RedisStore):
    """A broker that stops cancels once more what is giving work back already."""
    sent = await scout.done("/v1/drop_off", {"payload": WORK})
    broker = Broker(empty_store, Gates(), secrets.token_bytes)
    caller = await Callers(empty_store).of(f"Bearer {(await desk.agent('ann', 'pick:research')).bearer}")
    original, arrived, go_on = empty_store.pick_up, asyncio.Event(), asyncio.Event()

    async def slowly(*arguments: Any) -> Any:
        arrived.set()
        await go_on.wait()
        return await original(*arguments)

    empty_store.pick_up = slowly  # type: ignore[method-assign]
    picking = asyncio.create_task(broker.pick_up(caller, PickUp(wait_seconds=5)))
    await within("the step to be on its way", arrived.wait())
    for _ in range(3):
        picking.cancel()
        await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await within("it to end", picking)
    assert await waits_again(desk, sent["handoff_id"])
