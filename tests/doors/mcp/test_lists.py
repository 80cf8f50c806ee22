"""The list of tools: every case of it as it was reviewed, its size, its form, and that it is never old."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dropoff.contracts import lint
from dropoff.contracts.gate import compile_schema
from dropoff.demo.editor import DRAFTS, GRANTS, RESEARCH
from dropoff.doors.mcp.tools import LOST
from dropoff.doors.verbs import VERBS
from tests.contracts.pairs import PAYLOADS, SLOW, contracts
from tests.doors.mcp.conftest import NOTES, Desk
from tests.doors.mcp.listed import CASES, COMMAND, FILE, Case, made, read_by_a_model, shipped, shown
from tests.doors.mcp.wire import MODERN, Agent, Wire
from tests.look import Look

Open = Callable[[Agent], Wire]
Json = dict[str, Any]

READ_BYTES_MAX = 6_000
WIRE_BYTES_MAX = 8_000


# ---- every case ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def bare(desk: Desk) -> Desk:
    """A desk without a queue."""
    await desk.operations.remove_queue(desk.operator, "research")
    return desk


@pytest.mark.parametrize("what", CASES)
async def test_each_list_is_as_it_was_reviewed(what: str, wire: Open, bare: Desk) -> None:
    """Over the wire, in either era. A change of what models read is a change of `lists.json`."""
    case = CASES[what]
    for name in sorted(case.queues, reverse=True):  # the order in which they were made shows nowhere
        await bare.queue(name, case.queues[name])
    tools = list((await wire(await bare.agent("somebody", *case.grants)).tools()).values())
    assert shown(what, tools) == json.loads(FILE.read_text())[what], f"if that is right: {COMMAND}"
    assert tools == made(case)


def test_each_reviewed_list_has_its_case() -> None:
    assert list(json.loads(FILE.read_text())) == list(CASES)


# ---- how much -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", GRANTS)
async def test_the_lists_of_the_demos_agents_are_small(part: str, wire: Open, bare: Desk) -> None:
    """≤ 6 kB of what a model reads and ≤ 8 kB on the wire: every turn of every agent pays for it."""
    await bare.queue(RESEARCH, shipped("brief"))
    await bare.queue(DRAFTS, shipped("draft"))
    await assert_small(wire(await bare.agent(part, *GRANTS[part])))


@pytest.mark.parametrize("payload", ["brief", "draft"])
async def test_with_one_queue_each_way_the_list_is_small(payload: str, wire: Open, bare: Desk) -> None:
    """Either contract of the demo as the one to drop off by, and all tools there are."""
    await bare.queue("outbox", shipped(payload))
    await bare.queue("inbox", NOTES)
    assert await assert_small(wire(await bare.agent("busy", "drop:outbox", "pick:inbox"))) == len(VERBS)


async def assert_small(line: Wire) -> int:
    response = await line.post("tools/list", {})
    tools = response.json()["result"]["tools"]
    read = [[tool["name"], tool["description"], tool["inputSchema"]] for tool in tools]
    assert len(json.dumps(read, separators=(",", ":"), ensure_ascii=False).encode()) <= READ_BYTES_MAX
    assert read_by_a_model(tools) <= READ_BYTES_MAX
    assert len(response.content) <= WIRE_BYTES_MAX
    return len(tools)


# ---- whatever the contracts ---------------------------------------------------------------------------------------


@settings(max_examples=200, suppress_health_check=SLOW)
@given(st.lists(contracts(), min_size=1, max_size=3), st.lists(PAYLOADS, min_size=4, max_size=4))
def test_no_contract_puts_a_combinator_at_the_root_or_means_something_else_in_a_list(
    schemas: list[Json], payloads: list[Json]
) -> None:
    """Clients refuse `anyOf`, `$ref` and the like at a root, some with the whole server; below it, what fits a queue's
    contract fits the tool's, and nothing else does.
    """
    assume(not any(lint.judge("any", schema) for schema in schemas))
    queues = {f"q{place}": schema for place, schema in enumerate(schemas)}
    tool = next(tool for tool in made(Case(("drop:*",), queues)) if tool["name"] == "drop_off")["inputSchema"]

    assert set(tool) <= {"type", "properties", "required", "additionalProperties", "$defs"}
    assert tool["type"] == "object"
    shows_all = tool["properties"]["payload"].get("description", "").find("describe_queues") < 0
    judge, judges = compile_schema(tool), [compile_schema(schema) for schema in schemas]
    for payload in payloads if shows_all else []:
        fits = any(each.is_valid(payload) for each in judges)
        assert judge.is_valid({"queue": "q0", "payload": payload}) == fits


# ---- never old ----------------------------------------------------------------------------------------------------


async def test_a_changed_grant_shows_in_the_next_list(wire: Open, elsewhere: Desk, scout: Agent) -> None:
    """Also where another broker made the change, or the queue that it is about."""
    line = wire(scout)
    await elsewhere.queue("drafts", NOTES)
    await elsewhere.operations.grant(elsewhere.operator, "scout", ["pick:drafts"])
    tools = await line.tools()
    assert tools["pick_up"]["inputSchema"]["properties"]["queue"]["enum"] == ["drafts"]

    await elsewhere.operations.ungrant(elsewhere.operator, "scout", ["drop:research"])
    assert "drop_off" not in await line.tools()


async def test_a_new_queue_shows_in_the_next_list(wire: Open, desk: Desk, elsewhere: Desk) -> None:
    """A grant may cover queues that come later, from another broker, with nothing said to this one."""
    line = wire(await desk.agent("editor", "pick:*"))
    assert (await line.tools())["pick_up"]["inputSchema"]["properties"]["queue"]["enum"] == ["research"]
    await elsewhere.queue("drafts", NOTES)
    assert (await line.tools())["pick_up"]["inputSchema"]["properties"]["queue"]["enum"] == ["drafts", "research"]


async def test_the_list_is_nobody_elses_and_at_once_stale(wire: Open, scout: Agent) -> None:
    """No cache may show one caller's tools to another, or an old list after a grant was taken; in one page."""
    line = wire(scout)
    said = await line.ask("tools/list")
    hints = {name: said[name] for name in said if name in ("ttlMs", "cacheScope", "nextCursor")}
    assert hints == ({"ttlMs": 0, "cacheScope": "private"} if line.era == MODERN else {})


async def test_a_changed_contract_shows_in_the_next_list(wire: Open, elsewhere: Desk, scout: Agent) -> None:
    """The queue of this name has another contract now, from another broker: no list shows the old one."""
    line = wire(scout)
    assert "topic" in (await line.tools())["drop_off"]["inputSchema"]["properties"]["payload"]["properties"]
    await elsewhere.operations.remove_queue(elsewhere.operator, "research")
    await elsewhere.queue("research", NOTES)
    payload = (await line.tools())["drop_off"]["inputSchema"]["properties"]["payload"]
    assert payload["properties"] == NOTES["properties"]


async def test_a_changed_contract_or_grant_shows_in_the_next_description(
    wire: Open, elsewhere: Desk, scout: Agent
) -> None:
    """Who is pointed to describe_queues may ask another broker than the one that made the list."""
    line = wire(scout)
    assert (await line.call("describe_queues")).content["queues"][0]["schema_name"] == "research@1"
    await elsewhere.operations.remove_queue(elsewhere.operator, "research")
    await elsewhere.queue("research", NOTES)
    [described] = (await line.call("describe_queues", queue="research")).content["queues"]
    assert (described["schema_name"], described["schema"]) == ("research@2", NOTES)

    await elsewhere.operations.grant(elsewhere.operator, "scout", ["pick:research"])
    [described] = (await line.call("describe_queues")).content["queues"]
    assert described["you_may"] == ["drop off into", "pick up from"]


async def test_a_queue_is_described_by_the_name_of_its_own_schema(wire: Open, desk: Desk) -> None:
    """Two schemas may have the same content; a queue says the one that its operator gave it."""
    for name in ("first", "second"):
        await desk.queue(name, NOTES)
    described = (await wire(await desk.agent("one", "drop:first", "drop:second")).call("describe_queues")).content
    assert [one["schema_name"] for one in described["queues"]] == ["first@1", "second@1"]


async def test_a_schema_that_is_lost_hides_no_tool_and_no_other_queue(wire: Open, desk: Desk, look: Look) -> None:
    """What is lost is said for its queue only; the payload there is any object."""
    await desk.queue("notes", NOTES)
    line = wire(await desk.agent("both", "drop:research", "drop:notes", "pick:notes"))
    whole = await line.tools()
    lost = (await desk.store.schemas())["research@1"]
    await look.client.delete(desk.store.keys.of("schema", hash=lost))
    desk.broker._contracts._schemas.clear()  # as if it had just been started

    tools = await line.tools()

    assert list(tools) == list(whole)
    of_notes, of_research = tools["drop_off"]["inputSchema"]["properties"]["payload"]["anyOf"]
    assert (of_notes["title"], of_notes["properties"]) == ("notes", NOTES["properties"])
    assert of_research == {"title": "research"} | LOST.as_object()
    notes, research = (await line.call("describe_queues")).content["queues"]
    assert (notes["schema"], "hint" in notes) == (NOTES, False)
    assert research["schema_name"] == "research@1"
    assert "schema" not in research
    assert research["hint"] == (
        "The store has lost the content of schema 'research@1'. Tell your operator, who can push it again."
    )


async def test_a_result_schema_that_is_lost_hides_no_tool(wire: Open, desk: Desk, look: Look) -> None:
    answer = {**NOTES, "title": "Answer"}
    await desk.operations.push_schema(desk.operator, "answer", answer)
    await desk.queue("asked", NOTES, result_schema="answer")
    line = wire(await desk.agent("worker", "pick:asked"))
    whole = await line.tools()
    lost = (await desk.store.schemas())["answer@1"]
    await look.client.delete(desk.store.keys.of("schema", hash=lost))
    desk.broker._contracts._schemas.clear()  # as if it had just been started

    tools = await line.tools()

    assert list(tools) == list(whole)
    result = tools["complete_handoff"]["inputSchema"]["properties"]["result"]
    assert result.keys() == {"type", "description"}
    [shown] = (await line.call("describe_queues")).content["queues"]
    assert (shown["schema"], shown["result_schema_name"], "result_schema" in shown) == (NOTES, "answer@1", False)
    assert "'answer@1'" in shown["hint"]
