"""What a schema demands at one place, put together from everywhere it says so.

A place is a conjunction: the schema that stands there, what its `$ref` and `allOf` add, and, further inside, what each
of these says of the same field or item. `Contract` is one schema whose references are resolved; it makes places, and
asks the gate about them. Of a place one may ask what its parts demand: types, fields, items, bounds. What nobody asks
about is left out, and that only makes the place wider than it is: what is concluded from it is never too much.
"""

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from functools import cached_property, lru_cache
from typing import Any, Final, cast
from urllib.parse import quote

from dropoff.contracts import gate, subschemas
from dropoff.core import payload

Json = dict[str, Any]

# A number is an integer or it is not. So "number" is two types here, and types are sets that can be compared.
TYPES: Final = frozenset({"null", "boolean", "integer", "fraction", "string", "array", "object"})
NUMBERS: Final = frozenset({"integer", "fraction"})
WHOLE: Final = "#/$defs/whole"  # where the contract stands when the gate is asked about one place of it


class Contract:
    """One schema, and every place in it."""

    def __init__(self, content: Json) -> None:
        self._content = _led_through_whole(content)
        self._targets = subschemas.Targets(self._content)
        self._gates: dict[bytes, Any] = {}
        self.drafts: dict[bytes, Any] = {}  # by place: see `drafts.py`
        self.guessed = 0  # what guesses have cost: see there
        self.root = self.place((self._content,))

    def place(self, schemas: Iterable[object]) -> "Place":
        """All of these at once, and what they refer to."""
        parts: list[Json] = []
        followed: set[str] = set()
        todo, refuses = list(schemas), False
        while todo:
            schema = todo.pop(0)
            if not isinstance(schema, dict):
                refuses = refuses or schema is False
                continue
            part = cast("Json", schema)
            flat = part if has_leftovers(part) else _without(part, "allOf", "$ref")
            if flat and flat not in parts:
                parts.append(flat)
            todo += part.get("allOf", ())
            target = self.target_of(part)
            if target is not None and target.pointer not in followed:
                followed.add(target.pointer)
                todo.append(target.content)
        return Place(self, tuple(parts), refuses=refuses)

    def target_of(self, part: Json) -> subschemas.Subschema | None:
        ref = part.get("$ref")
        here = subschemas.Subschema((), {"$ref": "#" + ref.removeprefix(WHOLE)}) if isinstance(ref, str) else None
        return self._targets.of(here) if here else None

    def fits(self, schemas: Iterable[object], value: object) -> bool:
        """The gate's own verdict on this value, by these parts of the contract."""
        wanted = list(schemas) or [True]
        key = payload.canonical(wanted)
        if key not in self._gates:
            self._gates[key] = gate.compile_schema(self.judging(wanted))
        return self._gates[key].is_valid(value)

    def judging(self, schemas: Iterable[object]) -> Json:
        """A schema that judges by these parts of the contract, and stands by itself."""
        return {"$defs": {"whole": self._content}, "allOf": list(schemas)}

    def meaning_of(self, schema: object) -> bytes:
        """Two schemas of one meaning, whatever contract they stand in: their text, and that of all they refer to."""
        said: dict[str, object] = {"": schema}
        todo = [schema]
        while todo:
            for part in subschemas.walk(todo.pop()):
                target = self.target_of(part.content)
                if target is not None and target.pointer not in said:
                    said[target.pointer] = target.content
                    todo.append(target.content)
        return payload.canonical(said)


class Place:
    """What is demanded of one value."""

    def __init__(self, contract: Contract, parts: tuple[Json, ...], *, refuses: bool = False) -> None:
        self.contract, self.parts = contract, parts
        self.refuses = refuses  # `false` stands here: nothing fits

    def also(self, schema: object) -> "Place":
        """What fits here and fits this schema as well."""
        place = self.contract.place((*self.parts, schema))
        return place if not self.refuses else Place(self.contract, place.parts, refuses=True)

    def fits(self, value: object) -> bool:
        return not self.refuses and self.contract.fits(self.parts, value)

    @cached_property
    def key(self) -> bytes:
        return payload.canonical([self.refuses, *self.parts])

    @cached_property
    def is_empty(self) -> bool:
        """Nothing fits: certain where it is said, and not always found."""
        return self.refuses or not self.types or self.finite == []

    @cached_property
    def types(self) -> frozenset[str]:
        found = TYPES
        for part in self.parts:
            if "type" in part:
                found &= types_named(part["type"])
            for choices in _choices(part):
                found &= {type_of(value) for value in choices}
        return found

    @cached_property
    def finite(self) -> list[Any] | None:
        """All that fits, where that can be listed."""
        listed = [choices for part in self.parts for choices in _choices(part)]
        if listed:
            return [value for value in min(listed, key=len) if self.fits(value)]
        if self.types <= {"null", "boolean"}:
            return [value for value in (None, True, False) if type_of(value) in self.types and self.fits(value)]
        return None

    def alternatives(self) -> Iterator[list["Place"]]:
        """Ways to cut this place into pieces that together hold all of it."""
        if any(has_leftovers(part) for part in self.parts):
            return  # without one of its neighbours such a part would mean another thing
        for part in self.parts:
            for keyword in ("anyOf", "oneOf"):
                if keyword in part:
                    bare = [_without(each, keyword) if each is part else each for each in self.parts]
                    yield [self.contract.place((*bare, branch)) for branch in part[keyword]]
        if len(self.types) > 1 and self.types != NUMBERS:
            yield [self.also({"type": word_of(name)}) for name in sorted(self.types)]

    # ---- bounds -------------------------------------------------------------------------------------------------

    def said(self, keyword: str) -> list[Any]:
        return [part[keyword] for part in self.parts if keyword in part]

    def most(self, keyword: str, pick: Callable[[list[Any]], Any]) -> Any:
        """The strictest of what is said by this keyword; None if nothing is."""
        said = self.said(keyword)
        return pick(said) if said else None

    # ---- fields -------------------------------------------------------------------------------------------------

    @cached_property
    def named(self) -> list[str]:
        """Fields that some part names."""
        return list(dict.fromkeys(name for properties in self.said("properties") for name in properties))

    @cached_property
    def required(self) -> list[str]:
        return list(dict.fromkeys(name for names in self.said("required") for name in names))

    def field(self, name: str) -> "Place":
        return self.contract.place([each for part in self.parts for each in field_schemas(part, name)])

    @cached_property
    def other_fields(self) -> "Place":
        """Fields that no part names. Where there are patterns, one of them may be what judges such a field."""
        rest = [
            part["additionalProperties"]
            for part in self.parts
            if "additionalProperties" in part and "patternProperties" not in part
        ]
        return self.contract.place(rest)

    # ---- items --------------------------------------------------------------------------------------------------

    @cached_property
    def items_named(self) -> int:
        return max((len(prefix) for prefix in self.said("prefixItems")), default=0)

    def item(self, index: int) -> "Place":
        return self.contract.place([each for part in self.parts for each in item_schemas(part, index)])

    @cached_property
    def items_max(self) -> int | None:
        said = self.said("maxItems")
        for index in range(self.items_named + 1):
            if self.item(index).is_empty:
                said.append(index)
                break
        return min(said, default=None)


def field_schemas(part: Json, name: str) -> Iterator[object]:
    """What one part says of this field."""
    found = False
    properties = part.get("properties", {})
    if name in properties:
        found = True
        yield properties[name]
    for pattern, schema in part.get("patternProperties", {}).items():
        if _matches(pattern, name):
            found = True
            yield schema
    if not found and "additionalProperties" in part:
        yield part["additionalProperties"]


def item_schemas(part: Json, index: int) -> Iterator[object]:
    prefix = part.get("prefixItems", ())
    if index < len(prefix):
        yield prefix[index]
    elif "items" in part:
        yield part["items"]


def types_named(said: object) -> frozenset[str]:
    names = cast("list[str]", said if isinstance(said, list) else [said])
    return frozenset(each for name in names for each in (NUMBERS if name == "number" else (name,)))


def type_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "fraction"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _choices(part: Json) -> Iterator[list[Any]]:
    if "enum" in part:
        yield part["enum"]
    if "const" in part:
        yield [part["const"]]


def word_of(type_name: str) -> str:
    return "number" if type_name == "fraction" else type_name


def has_leftovers(part: Json) -> bool:
    """`unevaluated…` judges what the keywords beside it have left, also those inside of `allOf` and behind `$ref`."""
    return "unevaluatedProperties" in part or "unevaluatedItems" in part


def _without(part: Json, *keywords: str) -> Json:
    return {name: value for name, value in part.items() if name not in keywords}


@lru_cache(maxsize=1_000)
def _matches(pattern: str, name: str) -> bool:
    return gate.compile_schema({"pattern": pattern}).is_valid(name)


def _led_through_whole(content: Json) -> Json:
    """The schema as it reads inside of another: each reference goes through `$defs/whole`, none by a name."""
    content = deepcopy(content)
    targets = subschemas.Targets(content)
    parts = list(subschemas.walk(content))
    for part, target in [(part, targets.of(part)) for part in parts]:
        if target is not None:
            part.content["$ref"] = WHOLE + quote(target.pointer[1:], safe="/~$")
    for part in parts:
        for name in (*subschemas.ANCHORS, "$id"):
            part.content.pop(name, None)
    return content
