"""What crosses a process boundary, as files: `schemas/wire/` is printed from the code by

    python -m tests.wire --write

so that readers in other languages need no Python, and so that a change on the wire is seen in review as one.

requests.json      what each operation under /v1 takes: its body, or its query as an object
answers.json       what it answers, health and batches included
problem.json       what it answers instead, with the codes of errors.json
mcp.json           what crosses at /mcp: calls, the result of each tool, lists, errors
receipt.json       what proves a step, in answers and in the `_meta` of results
ledger-entry.json  a line of the ledger
errors.json        a table: every code, with its statuses
tools.json         a table: every tool as it is listed, but for what depends on who asks

The first three are made of the OpenAPI document, and that of the rows that are served: there is no second truth. A new
row, field or code is in the files once they are written anew. Then `tests/doors/test_wire.py`, which holds what really
crosses against them, says which of it nobody has met, and its story is where to meet it.
"""

import json
from pathlib import Path
from typing import Any, Final, cast

from dropoff import errors
from dropoff.core.caller import Caller, Revision
from dropoff.core.grant import Grant
from dropoff.core.handoff import AgentName
from dropoff.doors import verbs
from dropoff.doors.http import openapi, routes
from dropoff.doors.mcp.tools import tools_for
from tests.wire import mcp

FOLDER: Final = Path(__file__).parents[2] / "schemas" / "wire"
COMMAND: Final = "python -m tests.wire --write"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
ADMIN: Final = Caller(agent=AgentName("admin"), rev=Revision("1"), grants=(Grant("admin"),))  # is shown every tool

Json = dict[str, Any]


def files() -> dict[str, str]:
    """Every file's name and content."""
    document: Json = json.loads(openapi.document(routes.rows(), ""))
    components = _in_a_file(document["components"]["schemas"])
    operations = {one["operationId"]: _in_a_file(one) for path in document["paths"].values() for one in path.values()}
    written = {
        "requests.json": _schema(
            "requests",
            "What each operation takes",
            "By the operation's id in /v1/openapi.json: the body of a POST; of a GET its query as an object.",
            {name: _taken(operation) for name, operation in operations.items()},
            components,
        ),
        "answers.json": _schema(
            "answers",
            "What each operation answers",
            "By the operation's id in /v1/openapi.json: the body of status 200. A later release may add fields, so "
            "readers leave alone what they do not know.",
            {name: _content(operation["responses"]["200"]) for name, operation in operations.items()},
            components,
        ),
        "problem.json": _one(
            "problem", "A refusal", "application/problem+json: what any operation answers instead.", "ProblemDetails",
            components,
        ),
        "receipt.json": _one(
            "receipt", "A receipt", "What proves a step to its caller: in answers, and in the _meta of results.",
            "Receipt", components,
        ),
        "ledger-entry.json": _one(
            "ledger-entry", "An entry of the ledger", "One step, as /v1/ledger and /v1/handoffs/{id} show it.",
            "Entry", components,
        ),
        "mcp.json": _schema("mcp", mcp.TITLE, mcp.ABOUT, *mcp.shapes(components)),
        "errors.json": errors.table(),
        "tools.json": _tools(),
    }  # fmt: skip
    return {name: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for name, content in written.items()}


def _in_a_file(schemas: Any) -> Any:
    """The same, with references as they are in a file."""
    return json.loads(json.dumps(schemas).replace("#/components/schemas/", "#/$defs/"))


# ---- one operation ----------------------------------------------------------------------------------------------


def _taken(operation: Json) -> Json:
    if "requestBody" in operation:
        return _content(operation["requestBody"])
    query = {one["name"]: one["schema"] for one in operation.get("parameters", []) if one["in"] == "query"}
    return {"type": "object", "properties": query, "additionalProperties": False}


def _content(side: Json) -> Json:
    return side["content"]["application/json"]["schema"]


# ---- one file ---------------------------------------------------------------------------------------------------


def _schema(name: str, title: str, about: str, properties: Json, components: Json) -> Json:
    return {
        **_head(name, title, about),
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "$defs": _named_in(properties, components),
    }


def _one(name: str, title: str, about: str, kind: str, components: Json) -> Json:
    root = {"$ref": f"#/$defs/{kind}"}
    return {**_head(name, title, about), **root, "$defs": _named_in(root, components)}


def _head(name: str, title: str, about: str) -> Json:
    return {"$schema": DIALECT, "$id": f"urn:dropoff:wire:{name}", "title": title, "description": about}


def _named_in(node: Any, components: Json) -> Json:
    """The definitions that it refers to, and those that these refer to."""
    found: Json = {}
    left = [node]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left += one
        elif isinstance(one, dict):
            left += one.values()
            name = str(cast(Json, one).get("$ref", "")).removeprefix("#/$defs/")
            if name in components and name not in found:
                found[name] = components[name]
                left.append(components[name])
    return dict(sorted(found.items()))


def _tools() -> list[Json]:
    """The tools without what depends on who asks: a caller's list holds the schemas of its own queues."""
    listed = {
        tool.name: tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools_for(ADMIN, [])
    }
    return [
        {"path": f"/v1/{verb.path}"} | listed[verb.tool] | {"inputSchema": verbs.input_schema(verb)}
        for verb in verbs.VERBS
    ]
