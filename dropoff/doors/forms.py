"""Forms: the shape of what comes in at a door, and how it becomes a value.

A form is made of a Struct. The gate judges by the form's schema and the teacher explains, so that a wrong argument is
told like a wrong payload: everything that is wrong at once, an unknown field with the name that was probably meant.
Null and "" for an optional field mean that it was not given: models and command lines write them so.

What comes in may hold what JSON cannot say (NaN, half a surrogate pair), for the library that parsed it lets that
through. Plain fields are bounded here. What stands in a free object is not looked at: whoever takes the object (a
payload, a result, a checkpoint) bounds it by its own limits and refuses in its own words.
"""

from collections.abc import Mapping
from functools import cache, partial
from typing import Any, Final, cast

import msgspec

from dropoff.contracts.gate import Gate
from dropoff.contracts.schema import Schema
from dropoff.core import payload
from dropoff.errors import ArgumentsInvalid, Problem


class Form:
    """One shape, its gate compiled once."""

    def __init__(self, kind: type[Any]) -> None:
        self.kind = kind
        self.schema: Final = flat_schema(kind)
        self._required = frozenset[str](self.schema.get("required", ()))
        self._objects = [name for name, field in self.schema["properties"].items() if field.get("type") == "object"]
        self._gate = Gate(Schema.of(kind.__name__, 1, self.schema))

    def read(self, given: Mapping[str, Any], name: str) -> Any:
        """The value that these fields make. Raises `ArgumentsInvalid` with every problem; `name` is what was called."""
        present = {
            key: _whole(value) for key, value in given.items() if key in self._required or value not in (None, "")
        }
        unseen: dict[str, Any] = {key: {} for key in self._objects if isinstance(present.get(key), dict)}
        outline = present | unseen
        payload.bound(outline, refusal=partial(ArgumentsInvalid, verb=name), root="", what="Text in the arguments")
        problems = self._slips(present) or self._gate.judge(outline, "")
        if problems:
            raise ArgumentsInvalid(verb=name, problems=problems)
        return msgspec.convert(present, self.kind)

    def _slips(self, given: Mapping[str, Any]) -> tuple[Problem, ...]:
        """Typical slips of models, which deserve their own sentence: an object passed as a string of JSON."""
        return tuple(
            Problem(path=name, problem="is a string of JSON. Pass the object itself.", expected="an object")
            for name in self._objects
            if isinstance(given.get(name), str) and given[name].lstrip().startswith("{")
        )


def _whole(value: Any) -> Any:
    """3.0 is an integer to JSON Schema, so it has to be one to us."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


@cache
def form_of(kind: type[Any]) -> Form:
    return Form(kind)


def flat_schema(kind: type[Any]) -> dict[str, Any]:
    """The Struct as JSON Schema, its root an object and no reference."""
    schema = msgspec.json.schema(kind)
    definitions: dict[str, Any] = schema.pop("$defs", {})
    name = schema.pop("$ref", "").rpartition("/")[2]
    schema |= definitions.pop(name, {})
    return _inlined(schema, definitions)


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema with each Struct that it refers to written out where it stands."""
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    fields = cast("dict[str, Any]", schema)
    if "$ref" in fields:
        return _inlined(definitions[fields["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(value, definitions) for name, value in fields.items()}
