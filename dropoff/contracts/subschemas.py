"""Where schemas stand inside a schema.

A schema is full of things that look like schemas and are data: `const`, `enum`, `default`, `examples`, and a property
may be called `$ref`. So nobody searches the text; everybody who looks into schemas walks by this table. What stands at
no place of the table is data, and no `$ref` may point at it.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, cast
from urllib.parse import unquote, urljoin

from dropoff.core.payload import Step

ONE: Final = (
    "items", "additionalProperties", "contains", "propertyNames", "unevaluatedItems", "unevaluatedProperties",
    "not", "if", "then", "else", "contentSchema",
)  # fmt: skip
LIST: Final = ("prefixItems", "allOf", "anyOf", "oneOf")
MAP: Final = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")


ANCHORS: Final = ("$anchor", "$dynamicAnchor")  # without a `$dynamicRef`, which the lint refuses, they are the same


class Subschema(NamedTuple):
    """An object schema and the way to it; `true` and `false` have nothing inside."""

    steps: tuple[Step, ...]
    content: dict[str, Any]
    base: str = ""  # the address of the schema around it that has one
    base_steps: int = 0  # and how far down that stands

    @property
    def pointer(self) -> str:
        return _pointer(self.steps)

    @property
    def address(self) -> str:
        """By its way from where its base stands."""
        return self.base + _pointer(self.steps[self.base_steps :])


def walk(content: object) -> Iterator[Subschema]:
    """The schema itself and all that stand in it. It takes anything, also what is no valid schema."""
    todo = [_based(Subschema((), cast("dict[str, Any]", content)))] if isinstance(content, dict) else []
    while todo:
        schema = todo.pop()
        yield schema
        todo.extend(reversed(list(inside(schema))))


def inside(schema: Subschema) -> Iterator[Subschema]:
    """The schemas that stand directly in this one."""
    for steps, value in _places(schema):
        if isinstance(value, dict):
            yield _based(Subschema(steps, cast("dict[str, Any]", value), schema.base, schema.base_steps))


def _based(schema: Subschema) -> Subschema:
    id = schema.content.get("$id")
    if not isinstance(id, str):
        return schema
    return schema._replace(base=_absolute(schema.base, id.removesuffix("#")), base_steps=len(schema.steps))


def _absolute(base: str, ref: str) -> str:
    """A reference by its base. The address of a book or a UUID (`urn:…`) has no folders to walk through."""
    if ref.startswith("#") or not ref:
        return base + ref
    try:
        return urljoin(base, ref)
    except ValueError:  # `//[`: no address at all, so it leads nowhere
        return ref


def _pointer(steps: tuple[Step, ...]) -> str:
    return "#" + "".join(f"/{_escaped(str(step))}" for step in steps)


def _places(schema: Subschema) -> Iterator[tuple[tuple[Step, ...], object]]:
    for keyword, value in schema.content.items():
        if keyword in ONE:
            yield (*schema.steps, keyword), value
        elif keyword in LIST and isinstance(value, list):
            for index, each in enumerate(cast("list[object]", value)):
                yield (*schema.steps, keyword, index), each
        elif keyword in MAP and isinstance(value, dict):
            for name, each in cast("dict[str, object]", value).items():
                yield (*schema.steps, keyword, name), each


def at(content: object, steps: list[Step]) -> dict[str, Any]:
    """The object schema that these steps lead to; an empty one where they lead nowhere."""
    here: Any = content
    try:
        for step in steps:
            here = here[step]
    except (KeyError, IndexError, TypeError):
        return {}
    return cast("dict[str, Any]", here) if isinstance(here, dict) else {}


class Targets:
    """What the references of one schema mean."""

    def __init__(self, content: object) -> None:
        self._by_address: dict[str, Subschema] = {}
        root = ""
        for schema in walk(content):
            root = root if schema.steps else schema.base
            self._by_address[root + schema.pointer] = schema  # also into a part that has an address of its own
            self._by_address[schema.address] = schema
            for keyword in ANCHORS:
                if isinstance(anchor := schema.content.get(keyword), str):
                    self._by_address[f"{schema.base}#{anchor}"] = schema
            for steps, value in _places(schema):
                if isinstance(value, bool):
                    plain = schema._replace(steps=steps, content={} if value else {"not": {}})
                    self._by_address[plain.address] = plain

    def of(self, schema: Subschema) -> Subschema | None:
        """The schema that its `$ref` means; None if it has none, or one that leads nowhere."""
        ref = schema.content.get("$ref")
        if not isinstance(ref, str):
            return None
        address, _, fragment = _absolute(schema.base, ref).partition("#")
        return self._by_address.get(f"{address}#{unquote(fragment)}")


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")
