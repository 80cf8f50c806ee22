"""Forms: the shape of what comes in at a door, and how it becomes a value.

A form is made of a Struct. The gate judges by the form's schema and the teacher explains, so that a wrong argument is
told like a wrong payload: everything that is wrong at once, an unknown field with the name that was probably meant.
Null and "" for an optional field mean that it was not given: models and command lines write them so.

What comes in may hold what JSON cannot say (NaN, half a surrogate pair), for the library that parsed it lets that
through. Plain fields are bounded here. What stands in a free object is not looked at: whoever takes the object (a
payload, a result, a checkpoint) bounds it by its own limits and refuses in its own words.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, Final, cast

import msgspec

from dropoff.contracts.gate import Gate
from dropoff.contracts.schema import Schema
from dropoff.core import payload
from dropoff.errors import ArgumentsInvalid, Problem

Json = dict[str, Any]

_UNKNOWN: Final[Json] = {"default": ""}  # a field that the form does not have


class Form:
    """One shape, its gate compiled once."""

    def __init__(self, kind: type[Any], without: Sequence[str]) -> None:
        self.kind = kind
        self.schema: Final = flat_schema(kind, without=without)
        self._gate = Gate(Schema.of(kind.__name__, 1, self.schema))

    def read(self, given: Mapping[str, Any], name: str) -> Any:
        """The value that these fields make. Raises `ArgumentsInvalid` with every problem; `name` is what was called."""
        present = _present(self.schema, given)
        outline = _outline(self.schema, present)
        payload.bound(outline, refusal=partial(ArgumentsInvalid, verb=name), root="", what="Text in the arguments")
        problems = tuple(_slips(self.schema, present)) or self._gate.judge(outline, "")
        if problems:
            raise ArgumentsInvalid(verb=name, problems=problems)
        return msgspec.convert(present, self.kind)


def _present(schema: Json, given: Mapping[str, Any]) -> Json:
    """What was given, in its forms inside as well. A text without a default is given also where it is empty."""
    fields, required = schema["properties"], schema.get("required", ())
    present: Json = {}
    for key, value in given.items():
        field = fields.get(key, _UNKNOWN)
        if key not in required and (value is None or (value == "" and "default" in field)):
            continue
        present[key] = (
            _present(field, cast("Json", value)) if _is_form(field) and isinstance(value, dict) else _whole(value)
        )
    return present


def _outline(schema: Json, present: Json) -> Json:
    """The same, and nothing in its free objects."""
    return {key: _outlined(schema["properties"].get(key, _UNKNOWN), value) for key, value in present.items()}


def _outlined(field: Json, value: Any) -> Any:
    if field.get("type") != "object" or not isinstance(value, dict):
        return value
    return _outline(field, cast("Json", value)) if _is_form(field) else {}


def _slips(schema: Json, present: Json, root: str = "") -> Iterator[Problem]:
    """Typical slips, which deserve their own sentence: an object passed as a string of JSON, a version left out."""
    for key, field in schema["properties"].items():
        value = present.get(key)
        if field.get("type") == "object" and isinstance(value, str) and value.lstrip().startswith("{"):
            yield Problem(path=root + key, problem="is a string of JSON. Pass the object itself.", expected="an object")
        if _is_form(field) and isinstance(value, dict):
            yield from _slips(field, cast("Json", value), f"{root}{key}.")
        if "pattern" in field.get("items", {}) and isinstance(value, list):
            yield from _unlike(field["items"], cast("list[Any]", value), root + key)


def _unlike(items: Json, values: list[Any], path: str) -> Iterator[Problem]:
    """Texts of a list that are not of its pattern. An example says more than a pattern does."""
    [example] = items["examples"]
    for index, text in enumerate(values):
        if isinstance(text, str) and not re.fullmatch(items["pattern"], text):
            problem = f"'{text[:80]}' is not written like {example}"
            yield Problem(path=f"{path}[{index}]", problem=problem, expected=f"like {example}")


def _is_form(field: Json) -> bool:
    """Whether its fields are known; a free object's are its own."""
    return "properties" in field


def _whole(value: Any) -> Any:
    """3.0 is an integer to JSON Schema, so it has to be one to us."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


@cache
def form_of(kind: type[Any], without: Sequence[str] = ()) -> Form:
    return Form(kind, without)


def flat_schema(kind: type[Any], without: Sequence[str] = ()) -> Json:
    """The Struct as JSON Schema, its root an object and no reference: a Struct inside stands where it is used.

    Null means of any argument that it was not given, so that no schema needs to say it. Fields named in `without` are
    left out, so they are unknown: only such as have a default.
    """
    schema = msgspec.json.schema(kind)
    definitions: Json = schema.pop("$defs", {})
    flat = _flat(schema, definitions)
    for field in without:
        del flat["properties"][field]
    return flat


def _flat(schema: Json, definitions: Json) -> Json:
    if "$ref" in schema:
        named = _flat(definitions[schema["$ref"].rpartition("/")[2]], definitions)
        return named | {key: value for key, value in schema.items() if key != "$ref"}
    choices = [choice for choice in schema.pop("anyOf", []) if choice != {"type": "null"}]
    assert len(choices) <= 1, "a choice between shapes would need references"
    if choices:
        return _flat(choices[0], definitions) | schema
    if "properties" in schema:
        schema["properties"] = {key: _flat(field, definitions) for key, field in schema["properties"].items()}
    return schema
