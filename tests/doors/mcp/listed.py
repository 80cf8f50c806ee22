"""Every case of the list of tools, and what is shown in it: `lists.json` is printed from the code by

    python -m tests.doors.mcp.listed --write

so that a change of what models read is seen in review as one. A list is read by every agent at every turn, so its size
stands beside it.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from dropoff.broker import Description
from dropoff.contracts.schema import Schema
from dropoff.core import policy
from dropoff.core.caller import Principal, caller_shown
from dropoff.core.grant import Grant, parse
from dropoff.core.handoff import AgentName, QueueName
from dropoff.core.queue import Queue
from dropoff.doors.mcp.tools import tools_for

FILE: Final = Path(__file__).with_name("lists.json")
PAYLOADS: Final = Path(__file__).parents[3] / "schemas" / "payloads"
COMMAND: Final = "python -m tests.doors.mcp.listed --write"
WHOLE: Final = "one queue each way: the demo's researcher"  # shown with every word; the others as far as they differ
LONG: Final = 300

Json = dict[str, Any]


def shipped(name: str) -> Json:
    return json.loads((PAYLOADS / f"{name}@1.json").read_text())


NOTE: Final[Json] = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}

# One schema with every kind of reference, and a definition whose name needs escaping.
TREE: Final[Json] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "name": {"$ref": "#/$defs/a~1b%20c"},
        "left": {"$ref": "#"},
        "right": {"$ref": "#/properties/left"},
        "leaf": {"$ref": "#leaf"},
        "inner": {"$defs": {"own": {"const": 1}}, "$ref": "#/properties/inner/$defs/own"},
        "odd": {"$ref": "#/definitions/odd"},
        "data": {"const": {"$ref": "#/not/a/reference"}},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {
        "a/b c": {"type": "string", "minLength": 2},
        "leaf": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$anchor": "leaf",
            "type": "array",
            "items": {"$ref": "#/$defs/a~1b%20c"},
        },
    },
    "definitions": {"odd": {"type": "integer", "not": {"multipleOf": 2}}},
}
COMBINED: Final[Json] = {
    "type": "object",
    "$ref": "#/$defs/dated",
    "anyOf": [{"required": ["by"]}, {"required": ["on"]}],
    "oneOf": [{"properties": {"by": {"const": "rail"}}}, {"properties": {"by": {"const": "sea"}}}],
    "allOf": [{"properties": {"by": {"type": "string"}}}],
    "not": {"required": ["never"]},
    "if": {"required": ["by"]},
    "then": {"required": ["from"]},
    "$defs": {"dated": {"properties": {"on": {"type": "string"}}}},
}


def long(letter: str, chars: int) -> Json:
    """A contract of so many characters."""
    content = NOTE | {"description": ""}
    bare = len(Schema.of("any", 1, content).content)
    return content | {"description": letter * (chars - bare)}


class Case(NamedTuple):
    grants: tuple[str, ...]
    queues: Mapping[str, Json]


QUEUES: Final = {"research": shipped("brief"), "drafts": shipped("draft"), "notes": NOTE}
CASES: Final = {
    "nothing granted": Case((), QUEUES),
    "a grant for a queue that does not exist": Case(("drop:nowhere",), QUEUES),
    "picks up only": Case(("pick:research",), QUEUES),
    "picks up from several": Case(("pick:*",), QUEUES),
    "looks only": Case(("inspect:*",), QUEUES),
    "operates only": Case(("operate:*",), QUEUES),
    "drops off only, into one queue": Case(("drop:research",), QUEUES),
    WHOLE: Case(("pick:research", "drop:drafts"), QUEUES),
    "one queue each way: the demo's writer": Case(("pick:drafts",), QUEUES),
    "one queue with references": Case(("drop:tree",), {"tree": TREE}),
    "one queue whose schema is all combinators": Case(("drop:parcels",), {"parcels": COMBINED}),
    "one queue, its properties only true or false": Case(
        ("drop:bare",), {"bare": {"type": "object", "properties": {"any": True, "none": False}}}
    ),
    "one queue that takes any object": Case(("drop:any",), {"any": {"type": "object"}}),
    "one queue, longer than all that several may have": Case(("drop:long",), {"long": long("x", 9_000)}),
    "two queues of one contract": Case(("drop:a", "drop:b"), {"a": TREE, "b": TREE}),
    "three queues, two of one contract": Case(("drop:*",), {"a": TREE, "b": NOTE, "c": NOTE}),
    "definitions whose names and queues look alike": Case(
        ("drop:*",),
        {
            "a": {"type": "object", "properties": {"b": {"$ref": "#/$defs/b.c"}}, "$defs": {"b.c": {"const": 1}}},
            "a.b": {"type": "object", "properties": {"b": {"$ref": "#/$defs/c"}}, "$defs": {"c": {"const": 2}}},
        },
    ),
    "several of 6,000 characters together": Case(("drop:*",), {"a": long("a", 3_000), "b": long("b", 3_000)}),
    "several of 6,001 characters together": Case(("drop:*",), {"a": long("a", 3_000), "b": long("b", 3_001)}),
    "more names than a list should hold": Case(("pick:*", "drop:*"), {f"{n:02}{'x' * 62}": NOTE for n in range(16)}),
    "more names than a list should hold, of two contracts": Case(
        ("drop:*",), {"research": shipped("brief"), **{f"{n:02}{'x' * 62}": NOTE for n in range(16)}}
    ),
    "an admin": Case(("admin",), QUEUES),
}


def made(case: Case) -> list[Json]:
    """The tools of this case, as the door writes them."""
    grants = tuple(grant for grant in map(parse, case.grants) if isinstance(grant, Grant))
    caller = caller_shown(Principal(agent=AgentName("somebody"), grants=grants))
    queues = [
        Description(
            queue=Queue(name=QueueName(name), schema=f"{name}@1", schema_hash=schema.hash),
            may=(),
            schema=schema,
        )
        for name, schema in ((name, Schema.of(name, 1, case.queues[name])) for name in sorted(case.queues))
        if any(policy.may(caller, act, name) for act in ("drop", "pick"))
    ]
    return [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools_for(caller, queues)]


def read_by_a_model(tools: list[Json]) -> int:
    """The characters of names, descriptions and input schemas."""
    read = [[tool["name"], tool["description"], tool["inputSchema"]] for tool in tools]
    return len(json.dumps(read, separators=(",", ":"), ensure_ascii=False))


def shown(what: str, tools: list[Json]) -> Json:
    """A list as it is written down: whole once, else only those of its parts that depend on who asks."""
    size = {"characters": read_by_a_model(tools)}
    if what == WHOLE:
        return size | {"tools": tools}
    inputs = {tool["name"]: tool["inputSchema"] for tool in tools}
    written: Json = size | {"tools": list(inputs)}
    if "drop_off" in inputs:
        written["drop_off"] = inputs["drop_off"]
    if "pick_up" in inputs:
        written["pick_up: queue"] = inputs["pick_up"]["properties"]["queue"]
        written["complete_handoff: next"] = inputs["complete_handoff"]["properties"].get("next", "not shown")
    return _shortened(written)


def _shortened(value: Any) -> Any:
    """With a note of its length in the place of a text that says nothing."""
    if isinstance(value, dict):
        return {name: _shortened(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_shortened(each) for each in value]
    if isinstance(value, str) and len(value) > LONG:
        return f"{value[:1]}… ({len(value)} characters)"
    return value


def main() -> None:
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"usage: {COMMAND}")
    lists = {what: shown(what, made(case)) for what, case in CASES.items()}
    FILE.write_text(json.dumps(lists, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {FILE.name}")


if __name__ == "__main__":
    main()
