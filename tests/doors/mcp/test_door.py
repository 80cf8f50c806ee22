"""The door itself: who comes in, by which name, and what happens when one of the two sides leaves."""

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from dropoff.core.handoff import HandoffId, QueueName
from dropoff.doors.beside import BODY_BYTES_MAX
from dropoff.doors.mcp.results import LONG_CHARS
from dropoff.errors import BrokerUnavailable, Unauthenticated
from tests.doors.mcp.conftest import Desk
from tests.doors.mcp.wire import MODERN, Agent, Wire
from tests.look import Look
from tests.world import WAIT_S, until, within

Open = Callable[[Agent], Wire]
BRIEF = {"topic": "heat pumps", "audience": "exec"}
CALL = {"name": "drop_off", "arguments": {"payload": BRIEF}}


def unauthenticated(response: Any) -> None:
    """A 401 that a program understands, and a person can read."""
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    reply = response.json()
    assert (reply["jsonrpc"], reply["error"]["code"]) == ("2.0", -32001)
    assert reply["error"]["message"] == Unauthenticated().sentence()


# ---- who -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shown",
    [
        [],
        [""],
        ["Bearer"],
        ["Bearer dropoff_bearer_unknown"],
        ["Basic {bearer}"],
        ["{bearer}"],
        ["Bearer {bearer}", "Bearer {bearer}"],
        ["Bearer {bearer}", "Bearer dropoff_bearer_unknown"],
        ["Bearer {bearer}, Bearer {bearer}"],
    ],
)
async def test_who_does_not_prove_one_identity_is_nobody(
    shown: list[str], wire: Open, look: Look, scout: Agent
) -> None:
    """None, two, unknown, of another scheme: one answer to all of them, and nothing changed."""
    line = wire(scout)
    headers = line.headers("tools/call", CALL)
    headers.pop("authorization")
    proofs = [("authorization", one.format(bearer=scout.bearer)) for one in shown]
    async with look.nothing_changes():
        response = await line.post("tools/call", CALL, headers=[*headers.items(), *proofs])
    unauthenticated(response)
    assert response.json()["id"] is None


async def test_a_revoked_caller_is_nobody(wire: Open, desk: Desk, look: Look, scout: Agent) -> None:
    """After the revocation no call of any kind is answered with more than 401."""
    line = wire(scout)
    await line.drop()
    await desk.operations.revoke(desk.operator, "scout")
    async with look.nothing_changes():
        unauthenticated(await line.post("tools/call", CALL))
        unauthenticated(await line.post("tools/list", {}))


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", CALL),
        ("tools/call", {"name": "describe_queues", "arguments": {}}),
        ("tools/call", {"name": "check_handoff", "arguments": {"handoff_id": "research-0000000000000000"}}),
        ("tools/list", {}),
    ],
)
async def test_who_was_revoked_elsewhere_is_nobody_at_the_next_step(
    method: str, params: dict[str, Any], wire: Open, elsewhere: Desk, look: Look, scout: Agent
) -> None:
    """This broker still remembers the caller as it was; the step finds out, and the answer is a 401 all the same."""
    line = wire(scout)
    await line.drop()
    await elsewhere.operations.revoke(elsewhere.operator, "scout")
    async with look.nothing_changes():
        response = await line.post(method, params)
    unauthenticated(response)
    assert response.json()["id"] is not None


async def test_a_store_out_of_reach_is_no_reason_to_ask_for_a_credential(
    wire: Open, desk: Desk, scout: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the caller is known cannot be said: that is the broker's failure, and the body says so."""

    async def out_of_reach(bearer_hash: str) -> None:
        raise BrokerUnavailable(stored="nothing")

    monkeypatch.setattr(desk.store, "agent_by_bearer", out_of_reach)
    response = await wire(scout).post("tools/call", CALL)
    assert response.status_code == 503
    assert response.json()["error"]["message"].startswith("The broker cannot reach its storage.")


# ---- by which name -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost:1"])
async def test_a_foreign_host_is_refused(host: str, wire: Open, look: Look, scout: Agent) -> None:
    """A name that resolves to us and is not ours is somebody's trick with DNS."""
    line = wire(scout)
    async with look.nothing_changes():
        response = await line.post("tools/call", CALL, headers=line.headers("tools/call", CALL) | {"host": host})
    assert response.status_code == 421


async def test_a_foreign_origin_is_refused_and_a_friend_let_in(wire: Open, look: Look, scout: Agent) -> None:
    """A page in somebody's browser may not call with that browser's hands."""
    line = wire(scout)
    headers = line.headers("tools/call", CALL)
    async with look.nothing_changes():
        response = await line.post("tools/call", CALL, headers=headers | {"origin": "http://evil.example"})
    assert response.status_code == 403
    response = await line.post("tools/call", CALL, headers=headers | {"origin": "http://friend.example"})
    assert response.json()["result"]["structuredContent"]["status"] == "dropped_off"


# ---- what is no call -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "OPTIONS"])
async def test_only_post_is_answered(method: str, desk: Desk, wire: Open, scout: Agent) -> None:
    """There is no session to end, and no stream that a client could hold open for nothing."""
    line = wire(scout)
    response = await line.client.request(method, desk.url, headers=line.headers("ping", {}))
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


async def test_an_unknown_tool_is_a_protocol_error(wire: Open, look: Look, scout: Agent) -> None:
    """There is nothing that a model could mend."""
    line = wire(scout)
    name = "drop_of" + "f" * 200
    async with look.nothing_changes():
        response = await line.post("tools/call", {"name": name, "arguments": {}})
    error = response.json()["error"]
    assert error["code"] == -32602
    assert error["message"] == f"There is no tool '{name[:79]}…'."


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "7", '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{}}}']
)
async def test_what_is_no_request_is_a_protocol_error(content: str, wire: Open, look: Look, scout: Agent) -> None:
    """Whatever comes, the answer is JSON-RPC, and tells nothing of our inside."""
    line = wire(scout)
    async with look.nothing_changes():
        response = await line.post("tools/call", {"name": "drop_off"}, content=content or " ")
    assert response.json()["error"]["code"] in (-32700, -32600, -32602)
    assert "Traceback" not in response.text


async def test_arguments_that_are_no_object_are_a_protocol_error(wire: Open, look: Look, scout: Agent) -> None:
    """The protocol says that they are an object, before any tool is asked."""
    line = wire(scout)
    async with look.nothing_changes():
        response = await line.post("tools/call", {"name": "drop_off", "arguments": [BRIEF]})
    assert response.json()["error"]["code"] == -32602


async def test_a_body_over_the_limit_is_not_read(wire: Open, look: Look, scout: Agent) -> None:
    """It is cut before any parser sees it, also when nobody says beforehand how long it is."""
    line = wire(scout)

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(BODY_BYTES_MAX // 65_536 + 2):
            yield b" " * 65_536

    async with look.nothing_changes():
        for body in (b" " * (BODY_BYTES_MAX + 1), endless()):
            response = await line.client.post(line.url, headers=line.headers("tools/call", CALL), content=body)
            assert response.status_code == 413


async def test_a_payload_within_its_limit_is_taken_however_it_is_written(wire: Open, desk: Desk) -> None:
    """A library that escapes all but ASCII writes a Russian text three times as long; it is the same payload."""
    await desk.queue("letters", {"type": "object"})
    line = wire(await desk.agent("tolstoy", "drop:letters"))
    told = await line.call("drop_off", payload={"text": "ж" * 131_000})
    assert told.content["status"] == "dropped_off"


# ---- what goes wrong inside ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["tools/call", "tools/list"])
async def test_a_fault_of_ours_tells_the_caller_its_number_and_no_more(
    method: str,
    wire: Open,
    desk: Desk,
    scout: Agent,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What failed stands in the log under that number."""
    line = wire(scout)
    await line.tools()

    async def fails(*_: Any) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(desk.broker, "describe", fails)
    with caplog.at_level(logging.ERROR, "dropoff.doors"):
        if method == "tools/call":
            told = await line.call("describe_queues")
            assert told.error["code"] == "internal_error"
            said = told.text
        else:
            said = (await line.post("tools/list", {})).text
    assert "swordfish" not in said
    [number] = re.findall(r"id ([0-9a-f]{12});", said)
    assert f"internal error {number}" in caplog.text
    assert "swordfish" in caplog.text


# ---- answers -------------------------------------------------------------------------------------------------------


async def test_a_receipt_rides_beside_the_answer(wire: Open, desk: Desk, scout: Agent) -> None:
    """It names the ledger's entry of this very step, and does not fill the model's memory."""
    told = await wire(scout).call("drop_off", payload=BRIEF)
    [entry] = await desk.store.entries(handoff_id=told.content["handoff_id"])
    receipt = told.meta["dropoff/receipt"]
    assert (receipt["entry"], receipt["handoff_id"]) == (entry.id, told.content["handoff_id"])
    assert entry.id not in told.text


async def test_a_long_answer_states_its_size(wire: Open, desk: Desk) -> None:
    """Clients cut long results; a model that reads the size knows that something is missing."""
    await desk.queue("letters", {"type": "object"})
    line = wire(await desk.agent("tolstoy", "drop:letters", "pick:letters"))
    for chars in (LONG_CHARS // 2, LONG_CHARS):
        await line.call("drop_off", payload={"text": "x" * chars})
    short, long = [await line.call("pick_up", wait_seconds=0) for _ in range(2)]
    assert "characters" not in short.content
    assert list(long.content)[:2] == ["status", "characters"]
    assert list(long.content)[-1] == "payload"
    stated = f',"characters":{long.content["characters"]}'
    assert len(long.text) == long.content["characters"] + len(stated)


# ---- who leaves ----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def on_the_line(
    desk: Desk, line: Wire, params: dict[str, Any], meta: Any = None, missing: int = 0
) -> AsyncIterator[None]:
    """A call that was sent, but for `missing` bytes, and is not answered yet; leaving the block hangs up."""
    body = json.dumps(line.body("tools/call", params, meta)).encode()
    headers = line.headers("tools/call", params) | {"host": f"127.0.0.1:{desk.port}", "content-length": str(len(body))}
    _, writer = await asyncio.open_connection("127.0.0.1", desk.port)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body[: len(body) - missing])
    await writer.drain()
    yield
    writer.close()
    await writer.wait_closed()


async def test_who_hangs_up_in_the_middle_of_a_call_is_no_fault_of_ours(
    desk: Desk, scout: Agent, look: Look, caplog: pytest.LogCaptureFixture
) -> None:
    """Agents are killed at any moment; the log is for what somebody has to mend. (In the older era the SDK logs it.)"""
    line = Wire(desk.url, scout, MODERN)
    async with line.client, look.nothing_changes():
        async with on_the_line(desk, line, CALL, missing=1):
            await until("the call to be read", lambda: _is(bool(desk.server.server_state.tasks)))
        await until("the server to notice", desk.server.is_idle)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_who_hangs_up_while_waiting_gets_no_work(wire: Open, desk: Desk, scout: Agent, writer: Agent) -> None:
    """The next drop goes to somebody who is there; nothing is leased to a client that has gone."""

    def waiting() -> int:
        return desk.store.waiting_here(QueueName("research"))

    line = wire(writer)
    async with on_the_line(desk, line, {"name": "pick_up", "arguments": {"wait_seconds": 30}}):
        await until("the first to wait", lambda: _is(waiting() == 1))
    await until("the first to be gone", lambda: _is(waiting() == 0))

    other = wire(await desk.agent("other", "pick:research"))
    second = asyncio.create_task(other.call("pick_up", wait_seconds=30))
    await until("the second to wait", lambda: _is(waiting() == 1))
    handoff_id = await wire(scout).drop()
    told = await within("the second to get it", second)
    assert (told.content["handoff_id"], told.content["attempt"]) == (handoff_id, 1)
    steps = [entry.step for entry in await desk.store.entries(handoff_id=handoff_id)]
    assert steps == ["drop_off", "pick_up"]


async def test_who_hangs_up_while_waiting_for_an_outcome_waits_no_more(wire: Open, desk: Desk, scout: Agent) -> None:
    """A place in a line costs memory as long as it is kept."""
    line = wire(scout)
    handoff_id = HandoffId(await line.drop())
    arguments = {"handoff_id": handoff_id, "wait_seconds": 30}

    def waiting() -> int:
        return desk.store.waiting_here(handoff_id)

    async with on_the_line(desk, line, {"name": "check_handoff", "arguments": arguments}):
        await until("it to wait", lambda: _is(waiting() == 1))
    await until("it to be gone", lambda: _is(waiting() == 0))


async def test_a_step_that_was_sent_happens_though_its_caller_left(wire: Open, desk: Desk, scout: Agent) -> None:
    """Only waits end with their caller. A drop-off is carried out, and its request key brings the answer later."""
    line = wire(scout)
    key = {"dropoff/request": "call-1"}
    original, sent, go_on = desk.store.drop_off, asyncio.Event(), asyncio.Event()

    async def slowly(*arguments: Any) -> Any:
        sent.set()
        await go_on.wait()
        return await original(*arguments)

    desk.store.drop_off = slowly  # type: ignore[method-assign]
    async with on_the_line(desk, line, CALL, key):
        await within("the call to arrive", sent.wait())
    await until("the server to notice", desk.server.is_alone)
    await asyncio.sleep(0)  # whoever watched the connection has had a turn
    go_on.set()

    async def dropped() -> bool:
        return len(await desk.store.handoffs(QueueName("research"), "waiting", 10)) == 1

    await until("the step to happen", dropped)
    del desk.store.drop_off
    [handoff] = await desk.store.handoffs(QueueName("research"), "waiting", 10)
    assert (await line.call("drop_off", key, payload=BRIEF)).content["handoff_id"] == handoff.id


async def test_a_wait_is_answered_when_its_time_is_up(desk: Desk, writer: Agent) -> None:
    """Nobody hears an error for finding no work."""
    line = Wire(desk.url, writer, MODERN)
    async with line.client:
        told = await within("an empty answer", line.call("pick_up", wait_seconds=1), WAIT_S)
    assert told.content["status"] == "nothing_to_pick_up"


async def _is(holds: bool) -> bool:
    return holds
