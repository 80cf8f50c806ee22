"""Schemas: registered, with what that means; listed, shown."""

from typing import Final, Literal

import msgspec
from starlette.requests import Request

from dropoff.contracts.schema import Schema
from dropoff.core.answers import StoredSchema
from dropoff.doors.house import House
from dropoff.doors.http.calls import Call
from dropoff.doors.http.operators.asked import Nothing
from dropoff.doors.http.shapes import Answer, Payload
from dropoff.doors.http.table import Row
from dropoff.operations import Meaning


class Misfit(Answer, frozen=True, kw_only=True):
    """A handoff that would not fit, and the first problem with it."""

    handoff_id: str
    path: str
    problem: str


class Picker(Answer, frozen=True, kw_only=True):
    """Who picked up within the last hour, and by which version that had been judged."""

    agent: str
    schema: str
    seconds_ago: int


class QueueEffects(Answer, frozen=True, kw_only=True):
    """What it would mean for a queue to have this version. `waiting`: waiting, scheduled or held.

    `would_not_fit` counts among the `looked_at`, which are the first in line where more wait.
    """

    queue: str
    pinned_now: str
    waiting: int
    looked_at: int
    would_not_fit: int
    examples: list[Misfit]
    picked_up: list[Picker]


class SchemaChange(Answer, frozen=True, kw_only=True):
    """A place where this version demands more than the one before."""

    path: str
    says: str


class SchemaMeaning(Answer, frozen=True, kw_only=True):
    """A version of a schema, and what it means. Nothing moves by it: `queues` stay with the version they are pinned to.

    `verdict` on whether all that fits `compared_with` (the version before, or that of the queue) fits this one; both
    are "" for the first version. `unknown` is to be treated as incompatible. `witness` fits the one before and not
    this one. `more_changes` and `more_queues` are counted and not listed. `new`: registered by this call, or it would
    be. Where something kept all this from being found out, `untold` is the code of that; the schema is registered all
    the same.
    """

    schema: str
    hash: str
    new: bool
    compared_with: str
    verdict: Literal["", "compatible", "incompatible", "unknown"]
    changes: list[SchemaChange]
    more_changes: int
    witness: Payload | None
    queues: list[QueueEffects]
    more_queues: int
    untold: str


class NamedSchema(Answer, frozen=True, kw_only=True):
    schema: str
    hash: str


class SchemasAnswer(Answer, frozen=True, kw_only=True):
    schemas: list[NamedSchema]


class SchemaAnswer(Answer, frozen=True, kw_only=True):
    schema: str
    hash: str
    content: Payload


async def _push(house: House, call: Call, request: Request) -> SchemaMeaning:
    stored, new = await house.operations.push_schema(call.caller, call.path["name"], call.given)
    return meaning_of(stored, await house.operations.meaning_after(call.caller, stored), new=new)


async def _try(house: House, call: Call, request: Request) -> SchemaMeaning:
    stored, new = await house.operations.try_schema(call.caller, call.path["name"], call.given)
    return meaning_of(stored, await house.operations.meaning(call.caller, stored), new=new)


def meaning_of(schema: StoredSchema | Schema, meaning: Meaning, *, new: bool = False) -> SchemaMeaning:
    found = meaning.comparison
    return SchemaMeaning(
        schema=schema.ref,
        hash=schema.hash,
        new=new,
        compared_with=meaning.compared_with,
        verdict=found.verdict if found else "",
        changes=[SchemaChange(path=one.path, says=one.says) for one in found.changes] if found else [],
        more_changes=found.more if found else 0,
        witness=found.witness if found else None,
        queues=[msgspec.convert(one, QueueEffects, from_attributes=True) for one in meaning.queues],
        more_queues=meaning.more_queues,
        untold=meaning.untold,
    )


async def _every(house: House, call: Call, request: Request) -> SchemasAnswer:
    known = await house.inspector.schemas(call.caller)
    return SchemasAnswer(schemas=[NamedSchema(schema=ref, hash=hash) for ref, hash in known.items()])


async def _one(house: House, call: Call, request: Request) -> SchemaAnswer:
    stored = await house.inspector.schema(call.caller, call.path["name"])
    return SchemaAnswer(schema=stored.ref, hash=stored.hash, content=msgspec.json.decode(stored.content))


ROWS: Final = (
    Row("GET", "/v1/schemas", "schema ls", "Every registered version of every schema.",
        Nothing, SchemasAnswer, (), _every),
    Row("POST", "/v1/schemas/{name}", "schema push", "Register the body as the next version of this schema, "
        "and say what it means. The same content again is the version it has.",
        dict, SchemaMeaning, ("schema_refused", "storage_full"), _push),
    Row("POST", "/v1/schemas/{name}/compare", "schema compare", "What registering the body as the next version of this "
        "schema would mean. Nothing is registered.",
        dict, SchemaMeaning, ("schema_refused", "schema_unknown"), _try),
    Row("GET", "/v1/schemas/{name}", "schema show", "A schema by name@version, or the newest of that name.",
        Nothing, SchemaAnswer, ("schema_unknown",), _one),
)  # fmt: skip
