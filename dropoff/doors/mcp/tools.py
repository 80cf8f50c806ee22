"""What a caller's model sees: the tools that the caller may use, with the contracts of its own queues inside.

The list depends on who asks and on nothing else, in a fixed order; a name never moves. An agent that may drop into one
queue sees that queue's schema as `payload`, and needs no other call to get its first one right. With several it sees
all of them while they are short, and is otherwise told to ask `describe_queues`. An agent that may pick up from one
queue sees that queue's result schema as `result`, if there is one and it is short; it learns of any other by asking.

A queue's schema becomes a part of the tool's, and its references must still mean what they meant. What stands in its
`$defs` is hoisted to the root, under the queue's name; every other reference is led through `payload`. The root stays
an object without `anyOf` and the like, which several clients refuse, some of them with the whole server.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast
from urllib.parse import quote

import mcp_types as types

from dropoff.broker import Description
from dropoff.contracts import subschemas
from dropoff.contracts.schema import Schema
from dropoff.core import policy
from dropoff.core.caller import Caller
from dropoff.doors import verbs
from dropoff.doors.mcp.results import output_schema
from dropoff.doors.verbs import AgentVerb

SCHEMAS_CHARS_MAX: Final = 6_000  # of all schemas together; beyond it a list costs a model more than one more call
QUEUES_CHARS_MAX: Final = 1_000  # of all names together, for the same reason

AT: Final = "#/properties/payload"
AT_RESULT: Final = "#/properties/result"
UNDER: Final = ":"  # after the queue's name; it stands in no name, so `a` with `b.c` never meets `a.b` with `c`
SAID_ELSEWHERE: Final = ("$schema", "$comment", "title", "examples")  # by us, or by describe_queues

NAMED_ELSEWHERE: Final = (*subschemas.ANCHORS, "$id", "$schema")  # of no use once every reference is a pointer

Json = dict[str, Any]

LOST: Final = Schema.of(
    "lost", 1, {"type": "object", "description": "Its schema is lost. Tell your operator, who can push it again."}
)  # stands for what the store has lost


class Embedded(NamedTuple):
    """A schema as a part of another: what stands in its place, and what stands at the root of the whole."""

    content: Json
    definitions: Json


def tools_for(caller: Caller, queues: Sequence[Description]) -> list[types.Tool]:
    """The tools of this caller, by its grants of now; `queues` are those that it may drop into or pick up from."""
    return [_tool(verb, caller, queues) for verb in verbs.listed(caller)]


def _tool(verb: AgentVerb, caller: Caller, queues: Sequence[Description]) -> types.Tool:
    return types.Tool(
        name=verb.tool,
        description=verb.description,
        input_schema=_input_schema(verb, caller, queues),
        output_schema=output_schema(verb),
        annotations=types.ToolAnnotations(
            read_only_hint=verb.effect.read_only,
            destructive_hint=verb.effect.destructive,
            idempotent_hint=verb.effect.idempotent,
            open_world_hint=verb.effect.open_world,
        ),
    )


def _input_schema(verb: AgentVerb, caller: Caller, queues: Sequence[Description]) -> Json:
    schema = verbs.input_schema(verb)
    mine = [one for one in queues if policy.may(caller, "drop", one.queue.name)]
    picks = [one for one in queues if policy.may(caller, "pick", one.queue.name)]
    if verb.tool == "drop_off":
        _name_queues(schema, mine)
        if len(mine) > 1:
            schema["required"] = ["queue", *schema["required"]]
        _show_payload(schema, mine)
    elif verb.tool == "complete_handoff":
        _show_result(schema, picks)
        if mine:
            _name_queues(schema["properties"]["next"], mine)
        else:  # who may drop off nowhere has nothing to send on
            del schema["properties"]["next"]
    elif verb.tool == "pick_up":
        _name_queues(schema, picks)
    return schema


def _name_queues(schema: Json, queues: Sequence[Description]) -> None:
    """A model that sees the names makes none up. It is a help and no check: the broker judges, in better words."""
    if queues and _may_be_named(queues):
        schema["properties"]["queue"]["enum"] = [one.queue.name for one in queues]


def _may_be_named(queues: Sequence[Description]) -> bool:
    return sum(len(one.queue.name) for one in queues) <= QUEUES_CHARS_MAX


def _show_payload(schema: Json, queues: Sequence[Description]) -> None:
    """Put the contracts of these queues in the place of `payload`, if they are short enough for it."""
    plain: Json = schema["properties"]["payload"]
    contracts = _by_contract(queues)
    if len(contracts) == 1:
        [(contract, names)] = contracts
        shown = embedded(contract, AT, names[0] + UNDER)
        schema["properties"]["payload"] = {"description": plain["description"]} | shown.content
        definitions = shown.definitions
    elif contracts and _may_be_named(queues) and _chars(contracts) <= SCHEMAS_CHARS_MAX:
        branches = [
            embedded(contract, f"{AT}/anyOf/{place}", names[0] + UNDER)
            for place, (contract, names) in enumerate(contracts)
        ]
        schema["properties"]["payload"] = {
            "description": "The work itself. Use the alternative whose title names your queue.",
            "type": "object",
            "anyOf": [
                {"title": ", ".join(names)} | branch.content
                for (_, names), branch in zip(contracts, branches, strict=True)
            ],
        }
        definitions = {name: one for branch in branches for name, one in branch.definitions.items()}
    else:
        plain["description"] = "The work itself: an object that fits the queue's schema. describe_queues shows it."
        return
    if definitions:
        schema["$defs"] = definitions


def _chars(contracts: Sequence[tuple[Schema, list[str]]]) -> int:
    return sum(len(contract.content.decode()) for contract, _ in contracts)


def _show_result(schema: Json, queues: Sequence[Description]) -> None:
    """Put the result schema of the one queue in the place of `result`; where no queue has one, any object is right."""
    plain: Json = schema["properties"]["result"]
    contracts = [one.result_schema or LOST for one in queues if one.queue.result_schema]
    if len(queues) == len(contracts) == 1 and len(contracts[0].content.decode()) <= SCHEMAS_CHARS_MAX:
        shown = embedded(contracts[0], AT_RESULT, f"{queues[0].queue.name}{UNDER}")
        schema["properties"]["result"] = {"description": plain["description"]} | shown.content
        if shown.content.get("required"):  # a result that is left out is judged as {}
            schema["required"] = [*schema["required"], "result"]
        if shown.definitions:
            schema["$defs"] = shown.definitions
    elif contracts:
        plain["description"] += " It must fit its queue's result schema; describe_queues shows it."


def _by_contract(queues: Sequence[Description]) -> list[tuple[Schema, list[str]]]:
    """The schemas of these queues, each once, with the queues that share it."""
    found: dict[str, tuple[Schema, list[str]]] = {}
    for one in queues:
        schema = one.schema or LOST
        found.setdefault(schema.hash, (schema, []))[1].append(one.queue.name)
    return list(found.values())


def embedded(schema: Schema, at: str, prefix: str) -> Embedded:
    """The schema as it stands at the pointer `at`, with its `$defs` to be put at the root, their names under `prefix`.

    Registered schemas refer only to what is in them. Each reference becomes a pointer, whatever it was: two schemas may
    use the same names.
    """
    content = schema.as_object()
    targets = subschemas.Targets(content)
    parts = list(subschemas.walk(content))
    for part, target in [(part, targets.of(part)) for part in parts]:
        if target is not None:
            part.content["$ref"] = _moved(target.pointer, at, prefix)
    for part in parts:
        for name in NAMED_ELSEWHERE:
            part.content.pop(name, None)
    definitions = cast("Json", content.pop("$defs", {}))
    shown = {name: value for name, value in content.items() if name not in SAID_ELSEWHERE}
    return Embedded(shown, {prefix + name: one for name, one in definitions.items()})


def _moved(pointer: str, at: str, prefix: str) -> str:
    """Where what this pointer named stands now, as it is written in a URL."""
    hoisted = pointer.removeprefix("#/$defs/")
    moved = f"#/$defs/{prefix}{hoisted}" if hoisted != pointer else at + pointer[1:]
    return "#" + quote(moved[1:], safe="/~$:")
