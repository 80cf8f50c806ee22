"""The whole round, by every kind of client: list, drop off, pick up, extend, complete, check."""

from collections.abc import Callable
from typing import Any, Protocol

import httpx2
import pytest
from agents.mcp import MCPServerStreamableHttp
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import TextContent
from mcp_types.version import KNOWN_PROTOCOL_VERSIONS

from tests.doors.mcp.conftest import NOTES, Desk
from tests.doors.mcp.wire import Agent, Wire

BRIEF = {"topic": "heat pumps", "audience": "exec"}
FOUND = {"answer": "they pay off", "sources": 3}


@pytest.fixture
async def writer(desk: Desk) -> Agent:
    await desk.queue("drafts", NOTES)
    return await desk.agent("writer", "pick:research", "drop:drafts")


async def test_the_same_call_again_is_answered_as_the_first_was_though_it_would_be_refused_by_now(
    wire: Callable[..., Wire], desk: Desk, scout: Agent, writer: Agent
):
    """Grants are taken and contracts narrowed; neither takes back what was stored."""
    sender, holder, key = wire(scout), wire(writer), {"dropoff/request": "monday"}
    sent = await sender.call("drop_off", key, payload=BRIEF)
    picked = await holder.call("pick_up", None, wait_seconds=0)
    onward = {"lease_id": picked.content["lease_id"], "next": {"payload": {"text": "they pay off"}}}
    done = await holder.call("complete_handoff", None, **onward)
    await desk.operations.ungrant(desk.operator, "scout", ["drop:research"])
    await desk.operations.edit_queue(desk.operator, "drafts", {"max_bytes": 10})

    assert (await sender.call("drop_off", key, payload=BRIEF)).content["handoff_id"] == sent.content["handoff_id"]
    assert (await holder.call("complete_handoff", None, **onward)).content == done.content


class Call(Protocol):
    async def __call__(self, tool: str, **arguments: Any) -> dict[str, Any]: ...


async def hand_over(scout: Call, writer: Call) -> dict[str, Any]:
    """One handoff from drop_off to its result, and what the result sends on; what the sender reads at the end."""
    sent = await scout("drop_off", payload=BRIEF, note="by Friday")
    assert (sent["status"], sent["queue"], sent["ahead_of_it"]) == ("dropped_off", "research", 0)

    picked = await writer("pick_up", wait_seconds=0)
    assert (picked["status"], picked["handoff_id"]) == ("picked_up", sent["handoff_id"])
    assert (picked["from_agent"], picked["note"], picked["payload"]) == ("scout", "by Friday", BRIEF)
    assert list(picked)[-1] == "payload"

    extended = await writer("extend_lease", lease_id=picked["lease_id"], progress="reading")
    assert (extended["status"], extended["withdrawal_asked"]) == ("extended", False)
    assert (await scout("check_handoff", handoff_id=sent["handoff_id"]))["progress"] == "reading"

    onward = {"queue": "drafts", "payload": {"text": "they pay off"}, "note": "check it"}
    done = await writer("complete_handoff", lease_id=picked["lease_id"], result=FOUND, next=onward)
    assert done == {"status": "completed", "handoff_id": sent["handoff_id"], "next_handoff_id": done["next_handoff_id"]}
    assert (await writer("check_handoff", handoff_id=done["next_handoff_id"]))["state"] == "waiting"
    nothing = await writer("pick_up", wait_seconds=0)
    assert (nothing["status"], "paused" in nothing) == ("nothing_to_pick_up", False)
    return await scout("check_handoff", handoff_id=sent["handoff_id"])


def _is_completed(read: dict[str, Any]) -> bool:
    return (read["status"], read["state"], read["result"]) == ("found", "completed", FOUND)


async def test_plain_json_rpc_does_the_whole_round(wire: Callable[[Agent], Wire], scout: Agent, writer: Agent) -> None:
    """Whoever can POST JSON can hand off work, in the oldest and in the newest way of speaking."""
    lines = {agent.name: wire(agent) for agent in (scout, writer)}
    for line in lines.values():
        said = await line.greet()
        assert said["instructions"].startswith("Agents in other processes leave work for each other here.")

    async def call_as(agent: str, tool: str, **arguments: Any) -> dict[str, Any]:
        assert tool in await lines[agent].tools()
        return (await lines[agent].call(tool, **arguments)).content

    async def by_scout(tool: str, **arguments: Any) -> dict[str, Any]:
        return await call_as("scout", tool, **arguments)

    async def by_writer(tool: str, **arguments: Any) -> dict[str, Any]:
        return await call_as("writer", tool, **arguments)

    assert _is_completed(await hand_over(by_scout, by_writer))


@pytest.mark.parametrize("revision", KNOWN_PROTOCOL_VERSIONS)
async def test_every_revision_of_the_protocol_is_answered(revision: str, desk: Desk, scout: Agent) -> None:
    """Also those that know no structured content: the text says the same."""
    line = Wire(desk.url, scout, revision)
    async with line.client:
        await line.greet()
        result = await line.ask("tools/call", {"name": "drop_off", "arguments": {"payload": BRIEF}})
        refused = await line.ask("tools/call", {"name": "drop_off", "arguments": {"payload": {}}})
    assert '"status":"dropped_off"' in result["content"][0]["text"]
    assert (result.get("isError", False), refused["isError"]) == (False, True)
    assert refused["content"][0]["text"].startswith("Payload rejected by schema research@1")


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_sdk_s_client_does_the_whole_round(mode: Any, desk: Desk, scout: Agent, writer: Agent) -> None:
    """`mcp.Client` works, and it holds every answer against the tool's outputSchema."""
    async with (
        _http(scout) as a,
        _http(writer) as b,
        Client(streamable_http_client(desk.url, http_client=a), mode=mode) as scouts,
        Client(streamable_http_client(desk.url, http_client=b), mode=mode) as writers,
    ):

        def caller(client: Client) -> Call:
            async def call(tool: str, **arguments: Any) -> dict[str, Any]:
                assert tool in {one.name for one in (await client.list_tools()).tools}
                result = await client.call_tool(tool, arguments)
                assert not result.is_error
                return result.structured_content

            return call

        assert _is_completed(await hand_over(caller(scouts), caller(writers)))
        refused = await scouts.call_tool("drop_off", {"payload": {}})
        assert refused.is_error
        assert refused.structured_content["error"]["code"] == "payload_invalid"


async def test_the_agents_sdk_does_the_whole_round(desk: Desk, scout: Agent, writer: Agent) -> None:
    """An agent of the Agents SDK needs an address and a header, and no code of ours."""
    async with _server(desk, scout) as scouts, _server(desk, writer) as writers:

        def caller(server: MCPServerStreamableHttp) -> Call:
            async def call(tool: str, **arguments: Any) -> dict[str, Any]:
                assert tool in {one.name for one in await server.list_tools()}
                result = await server.call_tool(tool, arguments)
                assert not result.is_error
                return result.structured_content

            return call

        assert _is_completed(await hand_over(caller(scouts), caller(writers)))
        refused = await scouts.call_tool("drop_off", {"payload": {"topic": "x"}})
        [said] = refused.content
        assert isinstance(said, TextContent)
        assert said.text.startswith("Payload rejected by schema research@1: 2 problems.")


def _http(agent: Agent) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(headers={"authorization": f"Bearer {agent.bearer}"}, trust_env=False)


def _server(desk: Desk, agent: Agent) -> MCPServerStreamableHttp:
    return MCPServerStreamableHttp(
        {
            "url": desk.url,
            "headers": {"authorization": f"Bearer {agent.bearer}"},
            "httpx_client_factory": lambda headers=None, timeout=None, auth=None: httpx2.AsyncClient(
                headers=headers, timeout=timeout, auth=auth, trust_env=False
            ),
        }
    )
