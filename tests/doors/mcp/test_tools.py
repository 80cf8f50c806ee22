"""What a caller's model sees: which tools, with which contracts inside. Every case in full: `test_lists.py`."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dropoff.contracts.schema import Schema
from dropoff.doors import answers
from dropoff.doors.mcp.tools import AT, embedded
from dropoff.doors.verbs import VERBS
from tests.doors.mcp.conftest import BRIEF, NOTES, Desk
from tests.doors.mcp.listed import TREE
from tests.doors.mcp.wire import Agent, Wire

Open = Callable[[Agent], Wire]


# ---- who sees which -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grants", "seen"),
    [
        ([], ["describe_queues"]),
        (["drop:research"], ["drop_off", "check_handoff", "withdraw_handoff", "describe_queues"]),
        (
            ["pick:research"],
            ["pick_up", "complete_handoff", "hand_back", "extend_lease", "check_handoff", "describe_queues"],
        ),
        (["inspect:*"], ["check_handoff", "describe_queues"]),
        (["operate:*"], ["withdraw_handoff", "describe_queues"]),
        (["pick:research", "drop:research"], [verb.tool for verb in VERBS]),
        (["admin"], [verb.tool for verb in VERBS]),
    ],
)
async def test_a_tool_that_a_caller_may_not_use_at_all_is_not_listed(
    grants: list[str], seen: list[str], wire: Open, desk: Desk
) -> None:
    """The list follows from the caller's grants, always in the same order."""
    line = wire(await desk.agent("somebody", *grants))
    assert list(await line.tools()) == seen


# ---- whose contracts ----------------------------------------------------------------------------------------------


async def test_with_one_queue_its_schema_is_the_payload(wire: Open, desk: Desk) -> None:
    """The first drop_off can be right without another call; the queue need not be said."""
    await desk.queue("other", NOTES)
    tools = await wire(await desk.agent("both", "drop:research", "pick:other")).tools()
    schema = tools["drop_off"]["inputSchema"]
    assert schema["properties"]["payload"] == {name: BRIEF[name] for name in BRIEF if name != "examples"}
    assert schema["properties"]["queue"]["enum"] == ["research"]
    assert schema["required"] == ["payload"]
    assert list(schema["properties"])[-1] == "payload"
    assert tools["pick_up"]["inputSchema"]["properties"]["queue"]["enum"] == ["other"]


async def test_what_is_sent_on_names_the_queues_and_not_their_contracts(wire: Open, desk: Desk) -> None:
    """`next` is a plain object beside them; who may drop off nowhere does not see it."""
    await desk.queue("drafts", NOTES)
    tools = await wire(await desk.agent("worker", "pick:research", "drop:drafts", "drop:research")).tools()
    onward = tools["complete_handoff"]["inputSchema"]["properties"]["next"]
    assert onward["properties"]["queue"]["enum"] == ["drafts", "research"]
    assert set(onward["properties"]["payload"]) == {"description", "type"}
    assert (onward["type"], onward["required"]) == ("object", ["payload"])
    tools = await wire(await desk.agent("reader", "pick:research")).tools()
    assert set(tools["complete_handoff"]["inputSchema"]["properties"]) == {"lease_id", "result"}


async def test_every_id_that_is_answered_is_announced(wire: Open, desk: Desk) -> None:
    """A client's program takes ids from where the schema says that they are."""
    tools = await wire(await desk.agent("all", "admin")).tools()
    ids = {name: set(tool["outputSchema"]["properties"]) - {"status", "error"} for name, tool in tools.items()}
    assert ids.pop("describe_queues") == set()
    assert ids.pop("pick_up") == {"handoff_id", "lease_id"}
    assert set(map(frozenset, ids.values())) == {frozenset({"handoff_id"})}


async def test_many_queues_are_not_named_in_the_list(wire: Open, desk: Desk) -> None:
    """Above 1,000 characters of names the list keeps silent, and describe_queues names them."""
    for place in range(16):
        await desk.queue(f"{place:02}" + "x" * 62, NOTES)
    tools = await wire(await desk.agent("all", "pick:*")).tools()
    assert "enum" not in tools["pick_up"]["inputSchema"]["properties"]["queue"]


async def test_with_several_queues_their_schemas_stand_side_by_side(wire: Open, desk: Desk) -> None:
    """Each names the queues that it is for; the queue has to be said."""
    await desk.queue("facts", NOTES)
    line = wire(await desk.agent("editor", "drop:*"))
    schema = (await line.tools())["drop_off"]["inputSchema"]
    assert schema["properties"]["queue"]["enum"] == ["facts", "research"]
    assert schema["required"] == ["queue", "payload"]
    assert [one["title"] for one in schema["properties"]["payload"]["anyOf"]] == ["facts", "research"]
    assert not {"anyOf", "oneOf", "allOf"} & set(schema)
    assert schema["type"] == "object"

    told = await line.call("drop_off", payload={"text": "owls see at night"})
    assert told.text == "Say which queue. You may drop off into: facts, research. Nothing was stored."
    assert not (await line.call("drop_off", payload={"text": "owls see at night"}, queue="facts")).is_error


async def test_queues_that_share_a_contract_show_it_once(wire: Open, desk: Desk) -> None:
    """One schema for two queues is one branch, and the only one needs no `anyOf`."""
    await desk.queue("a", NOTES)
    await desk.queue("b", NOTES)
    both = (await wire(await desk.agent("one", "drop:a", "drop:b")).tools())["drop_off"]["inputSchema"]
    assert both["properties"]["payload"]["properties"] == NOTES["properties"]
    assert both["required"] == ["queue", "payload"]
    three = (await wire(await desk.agent("two", "drop:*")).tools())["drop_off"]["inputSchema"]
    assert [one["title"] for one in three["properties"]["payload"]["anyOf"]] == ["a, b", "research"]


async def test_schemas_that_are_too_long_together_are_pointed_to(wire: Open, desk: Desk) -> None:
    """Above 6,000 characters the payload is a plain object, and describe_queues has the rest."""
    for name in ("a", "b", "c"):
        await desk.queue(name, NOTES | {"description": name * 2_500})
    two = await wire(await desk.agent("one", "drop:a", "drop:b")).tools()
    assert len(two["drop_off"]["inputSchema"]["properties"]["payload"]["anyOf"]) == 2

    line = wire(await desk.agent("all", "drop:a", "drop:b", "drop:c"))
    payload = (await line.tools())["drop_off"]["inputSchema"]["properties"]["payload"]
    assert payload == {
        "type": "object",
        "description": "The work itself: an object that fits the queue's schema. describe_queues shows it.",
    }
    shown = (await line.call("describe_queues")).content["queues"]
    assert [one["schema"]["description"] for one in shown] == ["a" * 2_500, "b" * 2_500, "c" * 2_500]


async def test_an_example_that_is_shown_fits(wire: Open, desk: Desk) -> None:
    """A model copies it. One that does not fit is passed over, and where none does nothing is shown."""
    await desk.queue("some", NOTES | {"examples": ["owls", {"txt": "owls"}, {"text": "owls"}]})
    await desk.queue("none", NOTES | {"examples": [{"text": 1}]})
    described = (await wire(await desk.agent("one", "drop:some", "drop:none")).call("describe_queues")).content
    assert {one["queue"]: one.get("example") for one in described["queues"]} == {"some": {"text": "owls"}, "none": None}


# ---- what comes back ----------------------------------------------------------------------------------------------


async def test_with_one_queue_its_result_schema_is_the_result(wire: Open, desk: Desk) -> None:
    """Its definitions stand at the root under the queue's name; what must be there is asked for."""
    answer = {**NOTES, "properties": {"text": {"$ref": "#/$defs/t"}}, "$defs": {"t": {"type": "string"}}}
    await desk.operations.push_schema(desk.operator, "answer", answer)
    await desk.queue("asked", NOTES, result_schema="answer")
    tools = await wire(await desk.agent("worker", "pick:asked", "drop:*")).tools()
    schema = tools["complete_handoff"]["inputSchema"]
    assert schema["properties"]["result"] == {
        "description": "The outcome, for the sender to read.",
        "type": "object",
        "properties": {"text": {"$ref": "#/$defs/asked:t"}},
        "required": ["text"],
    }
    assert schema["$defs"] == {"asked:t": {"type": "string"}}
    assert schema["required"] == ["lease_id", "result"]
    assert not {"anyOf", "oneOf", "allOf"} & set(schema)
    assert list(schema["properties"]) == ["lease_id", "result", "next"]
    jsonschema.validate({"lease_id": "x", "result": {"text": "owl"}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"lease_id": "x", "result": {"text": 1}}, schema)


async def test_a_result_that_need_not_have_anything_need_not_be_given(wire: Open, desk: Desk) -> None:
    await desk.operations.push_schema(desk.operator, "answer", {"type": "object", "maxProperties": 2})
    await desk.queue("asked", NOTES, result_schema="answer")
    tools = await wire(await desk.agent("worker", "pick:asked")).tools()
    assert tools["complete_handoff"]["inputSchema"]["required"] == ["lease_id"]
    assert tools["complete_handoff"]["inputSchema"]["properties"]["result"]["maxProperties"] == 2


@pytest.mark.parametrize(("size", "grants"), [(6_001, ["pick:asked"]), (1, ["pick:asked", "pick:research"])])
async def test_a_result_schema_that_is_long_or_one_of_several_is_pointed_to(
    wire: Open, desk: Desk, size: int, grants: list[str]
) -> None:
    """Which one counts depends on the handoff; describe_queues has it, for who drops off as well."""
    await desk.operations.push_schema(desk.operator, "answer", NOTES | {"description": "x" * size})
    await desk.queue("asked", NOTES, result_schema="answer")
    line = wire(await desk.agent("worker", *grants))
    schema = (await line.tools())["complete_handoff"]["inputSchema"]
    assert schema["properties"]["result"] == {
        "type": "object",
        "description": "The outcome, for the sender to read. It must fit its queue's result schema; describe_queues "
        "shows it.",
    }
    assert schema["required"] == ["lease_id"]
    for one in (line, wire(await desk.agent("sender", "drop:asked"))):
        [shown, *_] = (await one.call("describe_queues", queue="asked")).content["queues"]
        assert shown["result_schema_name"] == "answer@1"
        assert shown["result_schema"] == NOTES | {"description": "x" * size}


async def test_a_changed_result_schema_shows_in_the_next_list(wire: Open, desk: Desk, elsewhere: Desk) -> None:
    """Also where another broker made the change; without one all is as if there had never been any."""
    line = wire(await desk.agent("worker", "pick:research"))
    before = (await line.tools())["complete_handoff"]
    await elsewhere.operations.edit_queue(elsewhere.operator, "research", {"result_schema": "research"})
    shown = (await line.tools())["complete_handoff"]["inputSchema"]["properties"]["result"]
    assert shown["properties"] == BRIEF["properties"]
    await elsewhere.operations.edit_queue(elsewhere.operator, "research", {"result_schema": ""})
    assert (await line.tools())["complete_handoff"] == before


# ---- a schema inside of another -----------------------------------------------------------------------------------


TREES = [
    {"name": "ok"},
    {"name": "o"},
    {"name": "ok", "left": {"name": "ok", "right": {"name": "x"}}},
    {"name": "ok", "left": {"name": "ok", "right": {"name": "fine"}}},
    {"name": "ok", "leaf": ["ab", "c"]},
    {"name": "ok", "leaf": ["ab"]},
    {"name": "ok", "inner": 2},
    {"name": "ok", "inner": 1},
    {"name": "ok", "odd": 2},
    {"name": "ok", "odd": 3},
    {"name": "ok", "data": {"$ref": "#/not/a/reference"}},
    {"name": "ok", "data": {}},
]


@pytest.mark.parametrize("payload", TREES)
def test_a_schema_means_the_same_inside_of_a_tool(payload: dict[str, Any]) -> None:
    """Wherever a reference leads in the queue's schema, it leads to the same place in the tool's."""
    alone = jsonschema.Draft202012Validator(TREE).is_valid(payload)
    for at in (AT, f"{AT}/anyOf/1"):
        part = embedded(Schema.of("tree", 1, TREE), at, "tree.queue.")
        inside: dict[str, Any] = {"type": "object", "$defs": part.definitions}
        inside["properties"] = {"payload": part.content if at == AT else {"anyOf": [False, part.content]}}
        jsonschema.Draft202012Validator.check_schema(inside)
        assert jsonschema.Draft202012Validator(inside).is_valid({"payload": payload}) == alone


def test_what_may_stand_only_once_in_a_schema_stays_outside() -> None:
    """Several queues may use one anchor, and a dialect is named at a root: strict clients refuse either inside."""
    part = embedded(Schema.of("tree", 1, TREE), AT, "tree.")
    written = json.dumps([part.content, part.definitions])
    assert not {"$anchor", "$schema", "$id"} & set(re.findall(r'"(\$\w+)":', written))
    assert '"$ref": "#/$defs/tree.a~1b%20c"' in written  # a reference is a URL: no space stands in it


async def test_definitions_of_several_queues_do_not_meet(wire: Open, desk: Desk) -> None:
    """Two queues may use the same name for different things; each keeps its own at the root."""
    for name, kind in (("numbers", "integer"), ("words", "string")):
        schema = {"type": "object", "properties": {"it": {"$ref": "#/$defs/it"}}, "$defs": {"it": {"type": kind}}}
        await desk.queue(name, schema | {"required": ["it"]})
    line = wire(await desk.agent("poet", "drop:numbers", "drop:words"))
    schema = (await line.tools())["drop_off"]["inputSchema"]
    assert schema["$defs"] == {"numbers:it": {"type": "integer"}, "words:it": {"type": "string"}}
    jsonschema.validate({"queue": "words", "payload": {"it": "owl"}}, schema)


# ---- what clients judge by ----------------------------------------------------------------------------------------


async def test_every_tool_has_all_four_annotations_and_an_output_schema(wire: Open, desk: Desk) -> None:
    """Clients ask a person by the annotations, and judge answers and refusals by the schema."""
    for tool in (await wire(await desk.agent("all", "admin")).tools()).values():
        assert set(tool["annotations"]) == {"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"}
        assert {"status", "error"} <= set(tool["outputSchema"]["properties"])
        assert "refused" in tool["outputSchema"]["properties"]["status"]["enum"]
        jsonschema.Draft202012Validator.check_schema(tool["inputSchema"])
        assert tool["inputSchema"]["type"] == "object"


def test_every_status_that_is_answered_is_announced() -> None:
    """A client throws away an answer whose status its schema does not know."""
    source = Path(answers.__file__).read_text()
    written = {part.partition('"')[0] for part in source.split('"status": "')[1:]}
    assert written | {"dropped_off", "withdrawal_asked"} == {status for verb in VERBS for status in verb.statuses}
