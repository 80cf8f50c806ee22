"""Who picks up may say which versions of a contract it can read; what it cannot read waits for somebody else.

An argument for programs, which know: the tool for models does not have it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.doors.http.house import BRIEF, WORK, Agent, Desk
from tests.doors.http.test_moving import PRESS, WIDE, drop
from tests.doors.http.test_refusals import problem
from tests.doors.mcp.wire import ERAS, Wire
from tests.doors.mcp.wire import Agent as Named
from tests.world import until, within

ONE, TWO = ["research@1"], ["research@2"]


async def move(desk: Desk) -> None:
    """`research` to its second version, which takes more."""
    await desk.operator.done("/v1/schemas/research", WIDE)
    await desk.operator.done("/v1/queues/research/edit", {"schema": "research@2"})


@pytest.fixture
async def line_up(desk: Desk, scout: Agent) -> list[str]:
    """Two handoffs under the first version, then two under the second."""
    old = [await drop(scout), await drop(scout)]
    await move(desk)
    return [*old, await drop(scout, PRESS), await drop(scout)]


async def picked(writer: Agent, accepts: list[str], **more: Any) -> str:
    answer = await writer.done("/v1/pick_up", {"wait_seconds": 0, "accepts": accepts, **more})
    return answer.get("handoff_id", answer["status"])


async def batched(writer: Agent, key: str = "", **arguments: Any) -> Any:
    call = {"verb": "pick_up", "key": key, "arguments": {"wait_seconds": 0, **arguments}}
    [answer] = (await writer.done("/v1/batch", {"calls": [call]}))["answers"]
    return answer


# ---- what is given -------------------------------------------------------------------------------------------------


async def test_only_what_it_can_read_is_given_in_its_order(writer: Agent, line_up: list[str]):
    """Past what it cannot read; with all versions, or none said, the oldest."""
    nothing = "nothing_to_pick_up"
    assert await picked(writer, TWO) == line_up[2]
    assert await picked(writer, ONE + TWO) == line_up[0]
    assert await picked(writer, ["drafts@1", "research@11"]) == nothing
    assert [await picked(writer, ONE) for _ in range(2)] == [line_up[1], nothing]
    assert [await picked(writer, []) for _ in range(2)] == [line_up[3], nothing]


async def test_a_batch_takes_it_for_one_and_for_several(writer: Agent, line_up: list[str]):
    assert (await batched(writer, accepts=TWO))["handoff_id"] == line_up[2]
    several = await batched(writer, accepts=ONE, at_most=4)
    assert [one["handoff_id"] for one in several["handoffs"]] == line_up[:2]
    assert (await batched(writer, accepts=ONE, at_most=4))["status"] == "nothing_to_pick_up"
    rest = await batched(writer, at_most=4)
    assert [one["handoff_id"] for one in rest["handoffs"]] == line_up[3:]


async def test_who_names_no_queue_is_given_it_from_another(desk: Desk, line_up: list[str]):
    """Where the first in line of all cannot be read."""
    await desk.queue("drafts", BRIEF)
    both = await desk.agent("both", "pick:*", "drop:drafts")
    sent = (await both.done("/v1/drop_off", {"payload": WORK}))["handoff_id"]
    assert await picked(both, ["drafts@1"]) == sent


async def test_who_waits_goes_on_waiting_for_what_it_can_read(desk: Desk, scout: Agent, writer: Agent):
    """Work of another version comes in, and it does not get that; it gets the first that it can read."""
    await move(desk)
    waiting = asyncio.create_task(writer.done("/v1/pick_up", {"wait_seconds": 30, "accepts": ONE}))

    async def is_seen() -> bool:
        return (await desk.operator.seen("/v1/queues/research"))["pickers"] == 1

    await until("the writer to be seen", is_seen)
    other = await drop(scout)
    await desk.operator.done("/v1/queues/research/edit", {"schema": "research@1", "incompatible": True})
    sent = await drop(scout)

    assert (await within("the writer to get it", waiting))["handoff_id"] == sent
    assert await picked(writer, []) == other


async def test_asked_again_under_its_key_it_is_the_same_lease(desk: Desk, scout: Agent, writer: Agent):
    """Also when the queue has moved in between; and no second one is taken."""
    await drop(scout)
    asked = {"wait_seconds": 0, "accepts": ONE}
    first = await writer.done("/v1/pick_up", asked, idempotency_key="p")
    await drop(scout)
    await move(desk)
    again = await writer.done("/v1/pick_up", asked, idempotency_key="p")
    assert (again["lease_id"], again["payload"]) == (first["lease_id"], first["payload"])
    assert (await batched(writer, "p", accepts=ONE))["lease_id"] == first["lease_id"]
    assert (await desk.operator.seen("/v1/agents/writer"))["holds"] == [first["lease_id"]]


# ---- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "accepts",
    [
        ["research"], ["research@0"], ["research@01"], ["research@1 "], ["research@1\n"], ["@1"], ["Research@1"], [""],
        ["research@1", "research"], [1], [None], [ONE], "research@1", 1, {"research": 1},
        ["research@9999999999"], [f"{'x' * 65}@1"], ["research@1"] * 101,
    ],
)  # fmt: skip
async def test_what_names_no_version_is_refused(accepts: Any, desk: Desk, writer: Agent, line_up: list[str]):
    """Alone and in a batch; nothing is picked up, and nothing changed."""
    before = desk.stored()
    told = problem(await writer.ask("/v1/pick_up", {"wait_seconds": 0, "accepts": accepts}), 422, "arguments_invalid")
    assert "accepts" in told["detail"]
    several: dict[str, Any] = {"at_most": 2}
    for more in ({}, several):
        answer = await batched(writer, accepts=accepts, **more)
        assert (answer["status"], answer["error"]["code"]) == ("refused", "arguments_invalid")
        assert "accepts" in answer["error"]["message"]
    assert desk.stored() == before


async def test_a_slip_is_told_with_what_to_write(writer: Agent):
    told = problem(await writer.ask("/v1/pick_up", {"accepts": ["research"]}), 422, "arguments_invalid")
    assert "- accepts[0]: 'research' is not written like research@3" in told["detail"]


# ---- who has it ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def line(desk: Desk, writer: Agent) -> AsyncIterator[Callable[[str], Wire]]:
    """The writer as a client of tools, in an era."""
    async with AsyncExitStack() as stack:

        def wire(era: str) -> Wire:
            made = Wire(f"{desk.url}/mcp", Named("", writer.bearer), era)
            stack.push_async_callback(made.client.aclose)
            return made

        yield wire


@pytest.mark.parametrize("era", ERAS)
async def test_the_tool_does_not_have_it(era: str, line: Callable[[str], Wire], desk: Desk, line_up: list[str]):
    """It is not in the list, and whoever says it all the same is told; nothing is picked up."""
    wire = line(era)
    listed = (await wire.tools())["pick_up"]["inputSchema"]["properties"]
    assert set(listed) == {"queue", "wait_seconds"}
    before = desk.stored()
    told = await wire.call("pick_up", accepts=ONE)
    assert told.content["error"]["code"] == "arguments_invalid"
    assert "accepts: unknown field" in told.content["error"]["message"]
    assert desk.stored() == before


async def test_the_document_names_it(desk: Desk):
    """For the verb alone, and in a batch beside `at_most`."""
    document = await desk.operator.seen("/v1/openapi.json")
    body = document["paths"]["/v1/pick_up"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    named = document["components"]["schemas"]
    single, several = named[body["$ref"].rpartition("/")[2]], named["PickUpSeveral"]
    for schema in (single, several):
        accepts = schema["properties"]["accepts"]
        assert (accepts["type"], accepts["maxItems"]) == ("array", 100)
        assert "research@3" in accepts["description"]
