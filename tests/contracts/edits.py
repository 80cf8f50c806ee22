"""Pairs of schemas that differ by one demand at one place, each keyword's as often as any other's.

So a rule that forgets its keyword is found soon. Hypothesis draws unevenly, for it looks for what is strange: of 1,000
pairs that it drew from these three had another `contains`, and one other `properties`. So here a seed is all that is
drawn, and what fails is small by itself.
"""

from collections.abc import Callable
from random import Random
from typing import Any

Json = dict[str, Any]

NAMES = ["a", "b", "c"]
NUMBERS = [-1, 0, 1, 2, 3, 0.5, 2.5]
WORDS = ["", "a", "ab", "abc", "b"]
PATTERNS = ["^a", "b", "^.{2}$"]
SCALARS = [None, True, False, *NUMBERS, *WORDS]
TYPES = ["null", "boolean", "integer", "number", "string", "array", "object"]
DEFS = {"one": {"type": "string"}, "two": {"maximum": 2, "minLength": 2}}


def _plain(random: Random) -> Any:
    """A schema inside of a demand; not `true`, which says nothing."""
    return random.choice(
        [
            False,
            {"type": random.choice(TYPES)},
            {"const": random.choice(SCALARS)},
            {"maxLength": random.randint(0, 2)},
            {"required": [random.choice(NAMES)]},
        ]
    )


def _some(make: Callable[[Random], Any], most: int) -> Callable[[Random], list[Any]]:
    return lambda random: [make(random) for _ in range(random.randint(1, most))]


def _by(keys: list[str], make: Callable[[Random], Any]) -> Callable[[Random], Json]:
    return lambda random: {key: make(random) for key in random.sample(keys, random.randint(1, 2))}


def _one_of(choices: list[Any]) -> Callable[[Random], Any]:
    return lambda random: random.choice(choices)


def _names(random: Random) -> list[str]:
    return random.sample(NAMES, random.randint(1, 2))


def _contains(random: Random) -> Json:
    counts = {name: random.randint(1, 3) for name in ("minContains", "maxContains") if random.random() < 0.3}
    return {"contains": _plain(random)} | counts


def _if(random: Random) -> Json:
    said = random.choice([["then"], ["else"], ["then", "else"]])
    return {"if": _plain(random)} | {name: _plain(random) for name in said}


_LEAST, _MOST = _one_of([1, 2, 3]), _one_of([0, 1, 2, 3])
_SCHEMAS = _some(_plain, 3)

# By the type that it is about. One name stands for several keywords where these mean nothing alone.
DEMANDS: dict[str, dict[str, Callable[[Random], Any]]] = {
    "": {
        "type": lambda random: random.choice([random.choice(TYPES), random.sample(TYPES, 2)]),
        "enum": lambda random: random.sample(SCALARS, random.randint(1, 3)),
        "const": _one_of([*SCALARS, ["a"], {"a": 1}]),
        "anyOf": _SCHEMAS, "oneOf": _SCHEMAS, "allOf": _SCHEMAS,
        "not": _plain,
        "if": _if,
        "$ref": _one_of(["#", "#/$defs/one", "#/$defs/two"]),
    },
    "number": {
        "minimum": _one_of(NUMBERS), "maximum": _one_of(NUMBERS),
        "exclusiveMinimum": _one_of(NUMBERS), "exclusiveMaximum": _one_of(NUMBERS),
        "multipleOf": _one_of([1, 2, 3, 0.5]),
    },
    "string": {"minLength": _LEAST, "maxLength": _MOST, "pattern": _one_of(PATTERNS)},
    "array": {
        "minItems": _LEAST, "maxItems": _MOST,
        "items": _plain, "prefixItems": _SCHEMAS,
        "uniqueItems": _one_of([True]),
        "contains": _contains,
        "unevaluatedItems": _plain,
    },
    "object": {
        "minProperties": _LEAST, "maxProperties": _MOST,
        "properties": _by(NAMES, _plain), "patternProperties": _by(PATTERNS, _plain),
        "additionalProperties": _plain,
        "required": _names,
        "propertyNames": _plain,
        "dependentRequired": _by(NAMES, _names), "dependentSchemas": _by(NAMES, _plain),
        "unevaluatedProperties": _plain,
    },
}  # fmt: skip
TYPE_OF = {keyword: name for name, made in DEMANDS.items() for keyword in made}


def edited(keyword: str, random: Random) -> tuple[Json, Json]:
    """This demand more, another in its place, or now and then one less."""
    beside = _beside(keyword, random)
    old = beside if random.random() < 0.8 else beside | _demand(keyword, random)
    new = beside | _demand(keyword, random)
    place = random.choice([_whole] * (TYPE_OF[keyword] == "object") + [_field, _field, _item])
    one, other = place(beside if old == new else old), place(new)
    return (one, other) if random.random() < 0.8 else (other, one)


def _beside(keyword: str, random: Random) -> Json:
    """What both demand: nothing, the type that it is about, or anything."""
    match random.randint(0, 3):
        case 0:
            return _demand(random.choice(list(TYPE_OF)), random)
        case 1:
            return {"type": TYPE_OF[keyword]} if TYPE_OF[keyword] else {}
        case _:
            return {}


def _demand(keyword: str, random: Random) -> Json:
    made = DEMANDS[TYPE_OF[keyword]][keyword](random)
    return made if keyword in ("contains", "if") else {keyword: made}


def _whole(schema: Json) -> Json:
    return {name: value for name, value in schema.items() if name != "$ref"} | {"type": "object", "$defs": DEFS}


def _field(schema: Json) -> Json:
    return {"type": "object", "properties": {"a": schema}, "$defs": DEFS}


def _item(schema: Json) -> Json:
    return _field({"type": "array", "items": schema})
