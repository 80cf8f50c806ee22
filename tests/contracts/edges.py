"""Payloads at the edges of schemas: what they name, what is just within their limits, and what is just beyond.

Made from the text of all schemas that speak of a place, by nothing of what is tested: a wrong draft of `drafts.py` must
not hide a wrong rule. Nothing here knows what fits; whoever needs that asks the gate.
"""

from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple

Json = dict[str, Any]

DEEP_MAX = 4
WORDS = ["", "a", "b", "ab", "ba", "abc", "bb", "abcd"]
NAMES = ["a", "b", "c", "d", "ab"]
KINDS = ["null", "boolean", "integer", "number", "string", "array", "object"]
SAME_VALUE = ("allOf", "anyOf", "oneOf")


class Said(NamedTuple):
    """A schema, and the contract that its references lead into."""

    schema: Json
    contract: Json


def payloads(contracts: list[Json], random: Random) -> Iterator[Json]:
    """Without an end, each new."""
    while True:
        yield _object(_spoken([(contract, contract) for contract in contracts]), random, DEEP_MAX)


def changed(payload: Json, contracts: list[Json], random: Random) -> Json:
    """Like this one, but for a field that is gone, new or another."""
    said = _spoken([(contract, contract) for contract in contracts])
    name = random.choice([*payload, *NAMES])
    rest = {each: value for each, value in payload.items() if each != name}
    return rest if random.random() < 0.2 else rest | {name: _value(_of_field(said, name), random, DEEP_MAX - 1)}


def _spoken(todo: list[tuple[Any, Json]]) -> list[Said]:
    """All that speak of the same value, however they are joined; also what must not be, and what is only asked."""
    said: list[Said] = []
    todo = list(todo)
    while todo:
        schema, contract = todo.pop()
        if not isinstance(schema, dict) or any(schema is each.schema for each in said):
            continue
        said.append(Said(schema, contract))
        inner = [each for keyword in SAME_VALUE for each in schema.get(keyword, ())]
        inner += [schema.get(keyword) for keyword in ("not", "if", "then", "else")]
        inner += schema.get("dependentSchemas", {}).values()
        if "$ref" in schema:
            inner.append(contract if schema["$ref"] == "#" else contract["$defs"][schema["$ref"].rpartition("/")[2]])
        todo += [(each, contract) for each in inner]
    return said


def _value(said: list[Said], random: Random, deep: int) -> Any:
    """Of a type that somebody speaks of, most often; now and then of any."""
    named = [each.schema[keyword] for each in said for keyword in ("enum", "const") if keyword in each.schema]
    if named and random.random() < 0.5:
        choice = random.choice(named)
        return random.choice(choice) if isinstance(choice, list) and choice else choice
    kinds = [name for each in said for name in _kinds(each.schema)]
    kind = random.choice(kinds if kinds and random.random() < 0.8 else KINDS)
    match kind:
        case "null":
            return None
        case "boolean":
            return random.random() < 0.5
        case "integer" | "number":
            return _number(said, random)
        case "string":
            return random.choice([*WORDS, *("ab"[n % 2] * n for n in _counts(said, "Length"))])
        case "array":
            return _array(said, random, deep - 1) if deep else []
        case _:
            return _object(said, random, deep - 1) if deep else {}


SPEAKS_OF = {
    "number": ("imum", "Minimum", "Maximum", "multipleOf"),
    "string": ("Length", "pattern"),  # also of `patternProperties`, which does no harm
    "array": ("Items", "items", "ontains"),
    "object": ("ropert", "required", "dependent"),
}


def _kinds(schema: Json) -> Iterator[str]:
    types = schema.get("type", [])
    yield from [types] if isinstance(types, str) else types
    yield from (kind for kind, words in SPEAKS_OF.items() if any(word in key for key in schema for word in words))


def _number(said: list[Said], random: Random) -> int | float:
    limits = [value for each in said for key, value in each.schema.items() if key.endswith(SPEAKS_OF["number"])]
    limit = random.choice([*limits, 0, 1])
    return random.choice([limit, limit - 1, limit + 1, limit - 0.5, limit + 0.5, limit * 2, limit * 3, limit / 2])


def _counts(said: list[Said], what: str) -> list[int]:
    limits = [int(value) for each in said for key, value in each.schema.items() if key in (f"min{what}", f"max{what}")]
    return [max(0, limit + by) for limit in limits for by in (-1, 0, 1)] or [0, 1, 2]


def _array(said: list[Said], random: Random, deep: int) -> list[Any]:
    length = random.choice([*_counts(said, "Items"), *_counts(said, "Contains"), 1, 2])
    items = [_value(_of_item(said, index), random, deep) for index in range(length)]
    return items[:1] * length if random.random() < 0.3 else items


def _of_item(said: list[Said], index: int) -> list[Said]:
    todo: list[tuple[Any, Json]] = []
    for schema, contract in said:
        inner = [schema.get(keyword) for keyword in ("items", "contains", "unevaluatedItems")]
        inner += schema.get("prefixItems", ())[index : index + 1]
        todo += [(each, contract) for each in inner]
    return _spoken(todo)


def _object(said: list[Said], random: Random, deep: int) -> Json:
    """Of the names that are spoken of a few, or all; sometimes just so many."""
    names = [name for each in said for key in ("properties", "required", "dependentRequired", "dependentSchemas")
        for name in each.schema.get(key, ())]  # fmt: skip
    share = random.choice([0, 0.3, 0.7, 1])
    chosen = [name for name in dict.fromkeys([*names, random.choice(NAMES)]) if random.random() < share]
    if random.random() < 0.3:
        chosen = random.sample(NAMES, min(len(NAMES), random.choice(_counts(said, "Properties"))))
    return {name: _value(_of_field(said, name), random, deep) for name in chosen}


def _of_field(said: list[Said], name: str) -> list[Said]:
    todo: list[tuple[Any, Json]] = []
    for schema, contract in said:
        inner = [schema.get("properties", {}).get(name), *schema.get("patternProperties", {}).values()]
        inner += [schema.get("additionalProperties"), schema.get("unevaluatedProperties")]
        todo += [(each, contract) for each in inner]
    return _spoken(todo)
