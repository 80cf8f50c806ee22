"""The OpenAPI 3.1 document, made from the same rows that are served and the same Structs that are read and written."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, get_args

import msgspec

from dropoff import errors
from dropoff.doors import verbs
from dropoff.doors.http import agents, problems, shapes
from dropoff.doors.http.agents_shapes import Refused, SeveralPickedUp
from dropoff.doors.http.batch import BatchAnswer, BatchCall, PickUpSeveral
from dropoff.doors.http.problems import ProblemDetails
from dropoff.doors.http.table import Row

Json = dict[str, Any]

ANY_ROW: Final = (
    "arguments_invalid",
    "unauthenticated",
    "not_allowed",
    "origin_refused",
    "host_refused",
    "internal_error",
    "broker_unavailable",
)
ABOUT: Final = (
    "A hand-off broker for AI agents. Every refusal is application/problem+json; its `code` never changes, and "
    "`detail` says what is wrong, what state the broker is in, and what to do next."
)


def document(rows: Sequence[Row], version: str) -> bytes:
    """The whole document, encoded."""
    components = _components(rows)
    paths: dict[str, Json] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, components)
    paths |= {
        "/v1/openapi.json": {"get": _open("openapi", "This document.", {"type": "object"})},
        "/livez": {"get": _open("livez", "200 as long as the process serves.", _ref(shapes.Health))},
        "/readyz": {
            "get": _open("readyz", "200 when calls would be answered; else 503 with the reason.", _ref(shapes.Health))
            | {"responses": _responses(_ref(shapes.Health), ("broker_unavailable",))}
        },
    }
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "dropoff",
                "version": version,
                "description": ABOUT,
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "security": [{"bearer": []}],
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            },
        }
    )


def _components(rows: Iterable[Row]) -> Json:
    kinds = {kind for row in rows for side in (row.takes, row.gives) for kind in _each(side) if kind is not dict}
    kinds |= {ProblemDetails, shapes.Health, PickUpSeveral, SeveralPickedUp, Refused}
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    _, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    _say_what_structs_cannot(components)
    return dict(sorted(components.items()))


def _say_what_structs_cannot(components: Json) -> None:
    """Nothing crosses that is not announced; which codes there are; what may stand in a batch."""
    for component in components.values():
        component["additionalProperties"] = False
    codes = [row["code"] for row in errors.table()]
    for kind in (ProblemDetails, errors.ErrorRecord):
        components[kind.__name__]["properties"]["code"] = {"enum": codes}
    call = components[BatchCall.__name__]["properties"]
    call["verb"] = {"enum": [verb.path for verb in verbs.VERBS]}
    call["arguments"] = _one_of(*(verb.request for verb in verbs.VERBS), PickUpSeveral) | {"default": {}}
    answers = components[BatchAnswer.__name__]["properties"]["answers"]
    answers["items"] = _one_of(*agents.ANSWERS.values(), SeveralPickedUp, Refused)


def _each(kind: Any) -> tuple[Any, ...]:
    """The Structs that a row may take or give: one, or each of a union."""
    return get_args(kind) or (kind,)


def _one_of(*kinds: Any) -> Json:
    return {"anyOf": [_ref(one) for kind in kinds for one in _each(kind)]}


def _ref(kind: Any) -> Json:
    each = _each(kind)
    return {"$ref": f"#/components/schemas/{kind.__name__}"} if len(each) == 1 else _one_of(*each)


def _operation(row: Row, components: Json) -> Json:
    parameters = [_parameter("path", name, {"type": "string"}, required=True) for name in _names(row.path)]
    if row.method == "GET":
        fields: Json = components[row.takes.__name__]["properties"]
        parameters += [_parameter("query", name, schema) for name, schema in fields.items()]
    else:
        parameters.append(_parameter("header", "traceparent", {"type": "string"}, about="W3C Trace Context."))
    if row.keyed:
        about = "The request key: the same call under the same key is done once, and answers the same."
        key = {"type": "string", "maxLength": 200}
        parameters.append(_parameter("header", "Idempotency-Key", key, about=about))
    codes = (*row.errors, *ANY_ROW, *(("payload_too_large",) if row.method == "POST" else ()))
    operation: Json = {
        "operationId": row.name.replace(" ", "_"),
        "summary": row.summary,
        "tags": ["agents" if row.keyed or row.loose else "operators"],
        "parameters": parameters,
        "responses": _responses(_ref(row.gives), codes),
    }
    if row.method == "POST":
        schema = {"type": "object"} if row.takes is dict else _ref(row.takes)
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _names(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def _parameter(where: str, name: str, schema: Json, *, required: bool = False, about: str = "") -> Json:
    parameter: Json = {"name": name, "in": where, "required": required, "schema": schema}
    return parameter | ({"description": about} if about else {})


def _responses(answer: Json, codes: Iterable[str]) -> Json:
    """The answer, and the problems by their status."""
    table = {row["code"]: row for row in errors.table()}
    by_status: dict[int, list[Json]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(table[code]["http_status"], []).append(table[code])
    content = {problems.MEDIA_TYPE: {"schema": _ref(ProblemDetails)}}
    refused = {
        str(status): {
            "description": " ".join(f"`{row['code']}`: {row['meaning']}" for row in found),
            "content": content,
        }
        for status, found in sorted(by_status.items())
    }
    return {"200": {"description": "Done.", "content": {"application/json": {"schema": answer}}}} | refused


def _open(name: str, summary: str, answer: Json) -> Json:
    """Something that needs no credential."""
    return {
        "operationId": name,
        "summary": summary,
        "tags": ["process"],
        "security": [],
        "responses": _responses(answer, ("origin_refused", "host_refused")),
    }
