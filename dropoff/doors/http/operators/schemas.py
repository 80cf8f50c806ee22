"""Schemas: registered, listed, shown."""

from typing import Final

import msgspec
from starlette.requests import Request

from dropoff.doors.house import House
from dropoff.doors.http.calls import Call
from dropoff.doors.http.operators.asked import Nothing
from dropoff.doors.http.shapes import Answer, Payload
from dropoff.doors.http.table import Row


class PushedSchema(Answer, frozen=True, kw_only=True):
    schema: str
    hash: str
    new: bool


class NamedSchema(Answer, frozen=True, kw_only=True):
    schema: str
    hash: str


class SchemasAnswer(Answer, frozen=True, kw_only=True):
    schemas: list[NamedSchema]


class SchemaAnswer(Answer, frozen=True, kw_only=True):
    schema: str
    hash: str
    content: Payload


async def _push(house: House, call: Call, request: Request) -> PushedSchema:
    stored, new = await house.operations.push_schema(call.caller, call.path["name"], call.given)
    return PushedSchema(schema=stored.ref, hash=stored.hash, new=new)


async def _every(house: House, call: Call, request: Request) -> SchemasAnswer:
    known = await house.inspector.schemas(call.caller)
    return SchemasAnswer(schemas=[NamedSchema(schema=ref, hash=hash) for ref, hash in known.items()])


async def _one(house: House, call: Call, request: Request) -> SchemaAnswer:
    stored = await house.inspector.schema(call.caller, call.path["name"])
    return SchemaAnswer(schema=stored.ref, hash=stored.hash, content=msgspec.json.decode(stored.content))


ROWS: Final = (
    Row("GET", "/v1/schemas", "schema ls", "Every registered version of every schema.",
        Nothing, SchemasAnswer, (), _every),
    Row("POST", "/v1/schemas/{name}", "schema push", "Register the body as the next version of this schema. "
        "The same content again is the version it has.",
        dict, PushedSchema, ("schema_refused", "storage_full"), _push),
    Row("GET", "/v1/schemas/{name}", "schema show", "A schema by name@version, or the newest of that name.",
        Nothing, SchemaAnswer, ("schema_unknown",), _one),
)  # fmt: skip
