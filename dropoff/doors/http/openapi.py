"""The OpenAPI 3.1 document, made from the same rows that are served and the same Structs that are read and written."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from dropoff import errors
from dropoff.doors.http import problems, shapes
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
    kinds = {kind for row in rows for kind in (row.takes, row.gives) if kind is not dict}
    ordered = sorted({*kinds, ProblemDetails, shapes.Health}, key=lambda kind: kind.__name__)
    _, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    return dict(sorted(components.items()))


def _ref(kind: type[Any]) -> Json:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


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
