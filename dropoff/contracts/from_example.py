"""A first contract from payloads that somebody has sent by hand.

It says what all of the examples have in common and nothing that is only likely: the types that were seen, the fields
that each of them has, no field that none of them has. Bounds, choices and descriptions are not in the examples, and are
written by whoever knows what they mean. What comes out may be registered as it is, and each of the examples fits it.
"""

from collections.abc import Sequence
from typing import Any, Final, cast

from dropoff.contracts import gate, lint
from dropoff.contracts.places import Json, type_of
from dropoff.errors import SchemaRefused

_ORDER: Final = ("object", "array", "string", "integer", "number", "boolean", "null")


def from_examples(examples: Sequence[Json]) -> Json:
    """The strictest plain schema that all of these fit; at least one is given.

    Its `examples` has the first of them, unless that alone makes it too large. SchemaRefused where the examples have
    more fields than a contract can name.
    """
    plain = {"$schema": lint.DIALECT, **_merged(examples)}
    content = {**plain, "examples": [examples[0]]}
    if lint.judge(_NAME, content):
        content = plain
    if problems := lint.judge(_NAME, content):
        raise SchemaRefused(name=_NAME, problems=problems)
    assert all(map(gate.compile_schema(content).is_valid, examples))
    return content


_NAME: Final = "example"


def _merged(values: Sequence[Any]) -> Json:
    """What fits all of these. A keyword demands something of its own type only, so several types need no `anyOf`."""
    types = _types(values)
    schema: Json = {"type": types[0] if len(types) == 1 else types}
    if "object" in types:
        schema |= _fields([cast("Json", value) for value in values if isinstance(value, dict)])
    items = [item for value in values if isinstance(value, list) for item in cast("list[Any]", value)]
    if items:
        schema["items"] = _merged(items)
    return schema


def _types(values: Sequence[Any]) -> list[str]:
    """1.0 is written by somebody who means a number, though it is an integer by the specification."""
    seen = {"number" if isinstance(value, float) else type_of(value) for value in values}
    if "number" in seen:
        seen.discard("integer")
    return sorted(seen, key=_ORDER.index)


def _fields(objects: Sequence[Json]) -> Json:
    names = list(dict.fromkeys(name for one in objects for name in one))
    schema: Json = {"properties": {name: _merged([one[name] for one in objects if name in one]) for name in names}}
    required = [name for name in names if all(name in one for one in objects)]
    if required:
        schema["required"] = required
    schema["additionalProperties"] = False
    return schema
