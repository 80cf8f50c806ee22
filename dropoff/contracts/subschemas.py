"""Where schemas stand inside a schema.

A schema is full of things that look like schemas and are data: `const`, `enum`, `default`, `examples`, and a property
may be called `$ref`. So nobody searches the text; everybody who looks into schemas walks by this table. What stands at
no place of the table is data, and no `$ref` may point at it.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, cast
from urllib.parse import unquote

from dropoff.core.payload import Step

ONE: Final = (
    "items", "additionalProperties", "contains", "propertyNames", "unevaluatedItems", "unevaluatedProperties",
    "not", "if", "then", "else", "contentSchema",
)  # fmt: skip
LIST: Final = ("prefixItems", "allOf", "anyOf", "oneOf")
MAP: Final = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")


class Subschema(NamedTuple):
    """An object schema and the way to it; `true` and `false` have nothing inside."""

    steps: tuple[Step, ...]
    content: dict[str, Any]

    @property
    def pointer(self) -> str:
        return "#" + "".join(f"/{_escaped(str(step))}" for step in self.steps)


def walk(content: object) -> Iterator[Subschema]:
    """The schema itself and all that stand in it. It takes anything, also what is no valid schema."""
    todo = [Subschema((), cast("dict[str, Any]", content))] if isinstance(content, dict) else []
    while todo:
        schema = todo.pop()
        yield schema
        todo.extend(reversed(list(inside(schema))))


def inside(schema: Subschema) -> Iterator[Subschema]:
    """The schemas that stand directly in this one."""
    for steps, value in _places(schema):
        if isinstance(value, dict):
            yield Subschema(steps, cast("dict[str, Any]", value))


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


def local_targets(content: object) -> dict[str, Subschema]:
    """What a `$ref` may point at, by what it may say: `#`, `#/$defs/source`, `#anchor`."""
    targets: dict[str, Subschema] = {}
    for schema in walk(content):
        targets[schema.pointer] = schema
        anchor = schema.content.get("$anchor")
        if isinstance(anchor, str):
            targets[f"#{anchor}"] = schema
    return targets


def normal(ref: str) -> str:
    """A `$ref` with its percent-encoding undone, as `local_targets` writes them."""
    return unquote(ref)


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")
