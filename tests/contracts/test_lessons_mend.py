"""Slips in payloads that fit: the first problem names the place, and what is said of it is enough to mend it.

The slips are made by chance: a field is left out, a name or a choice is misspelt, a value has another type, or is out
of its range. `Mender` knows nothing but the fields of the problems, as a client that never saw the schema; it applies
what they say and sends again, a few times.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any, Final, NamedTuple

from dropoff.contracts.gate import Gate
from dropoff.contracts.schema import Schema
from dropoff.core.payload import Step, path_of
from dropoff.errors import Problem

SLIPS: Final = 200
NAMED_FIRST_MIN: Final = 0.95
MENDED_MIN: Final = 0.80
ROUNDS: Final = 5

Json = dict[str, Any]

PAYLOADS: Final = Path(__file__).parents[2] / "schemas/payloads"
ORDER: Final = {
    "type": "object",
    "properties": {
        "customer": {
            "type": "object",
            "properties": {"name": {"type": "string", "minLength": 2}, "vip": {"type": "boolean"}},
            "required": ["name"],
            "additionalProperties": False,
        },
        "lines": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "article": {"type": "string", "minLength": 3, "maxLength": 20},
                    "count": {"type": "integer", "minimum": 1, "maximum": 99},
                    "price": {"type": "number", "exclusiveMinimum": 0},
                },
                "required": ["article", "count"],
                "additionalProperties": False,
            },
        },
        "priority": {"enum": ["low", "normal", "high"]},
        "ship_by": {"anyOf": [{"enum": ["air", "sea", "rail"]}, {"type": "null"}]},
        "address": {
            "oneOf": [
                {
                    "type": "object",
                    "properties": {
                        "kind": {"const": "street"},
                        "street": {"type": "string"},
                        "zip": {"type": "string"},
                    },
                    "required": ["kind", "street"],
                    "additionalProperties": False,
                },
                {
                    "type": "object",
                    "properties": {"kind": {"const": "box"}, "box": {"type": "integer", "minimum": 1}},
                    "required": ["kind", "box"],
                    "additionalProperties": False,
                },
            ]
        },
    },
    "required": ["customer", "lines", "priority"],
    "additionalProperties": False,
}
ORDERED: Final = {
    "customer": {"name": "Ann", "vip": True},
    "lines": [{"article": "lamp", "count": 2, "price": 9.5}, {"article": "table", "count": 1}],
    "priority": "normal",
    "ship_by": "sea",
    "address": {"kind": "street", "street": "Elm Street 1", "zip": "12345"},
}


def schemas() -> list[tuple[Json, Json]]:
    """Contracts with a payload that fits each: those that the demo ships with, and one with alternatives."""
    shipped = [json.loads((PAYLOADS / name).read_text()) for name in ("brief@1.json", "draft@1.json")]
    return [*((each, each["examples"][0]) for each in shipped), (ORDER, ORDERED)]


# ---- slips --------------------------------------------------------------------------------------------------------


class Slip(NamedTuple):
    """One mistake: the payload with it, and the paths it broke."""

    kind: str
    payload: Json
    broken: frozenset[str]


def broken(*places: tuple[Step, ...]) -> frozenset[str]:
    return frozenset(path_of("payload", place) for place in places)


def left_out(payload: Json, place: tuple[Step, ...], chance: random.Random) -> frozenset[str]:
    around = at(payload, place[:-1])
    if not isinstance(around, dict):
        return frozenset()
    del around[place[-1]]
    return broken(place)


def misspelt(payload: Json, place: tuple[Step, ...], chance: random.Random) -> frozenset[str]:
    around, name = at(payload, place[:-1]), place[-1]
    if not isinstance(around, dict) or len(str(name)) < 4:
        return frozenset()
    wrong = typo(str(name), chance)
    around[wrong] = around.pop(name)
    return broken(place, (*place[:-1], wrong))


def wrong_choice(payload: Json, place: tuple[Step, ...], chance: random.Random) -> frozenset[str]:
    value = at(payload, place)
    if place[-1] not in ("audience", "priority", "ship_by"):
        return frozenset()
    put(payload, place, typo(value, chance) if chance.random() < 0.7 else "whatever")
    return broken(place)


def wrong_type(payload: Json, place: tuple[Step, ...], chance: random.Random) -> frozenset[str]:
    match at(payload, place):
        case bool() | int() | float() as value:
            put(payload, place, json.dumps(value))
        case str() as value:
            put(payload, place, chance.choice([7, True, [value]]))
        case value:
            put(payload, place, json.dumps(value))
    return broken(place)


def out_of_range(payload: Json, place: tuple[Step, ...], chance: random.Random) -> frozenset[str]:
    match at(payload, place):
        case bool():
            return frozenset()
        case int() | float() as value:
            put(payload, place, chance.choice([-5, value * 1_000]))
        case str() as value:
            put(payload, place, chance.choice(["", value[:1], value * 400]))
        case list() as value:
            put(payload, place, chance.choice([[], value * 60]))
        case _:
            return frozenset()
    return broken(place)


KINDS: Final = {
    "missing": left_out, "misspelt": misspelt, "choice": wrong_choice, "type": wrong_type, "range": out_of_range
}  # fmt: skip


def typo(word: str, chance: random.Random) -> str:
    """One letter left out, doubled, or swapped with its neighbour."""
    place = chance.randrange(1, len(word) - 1)
    return chance.choice(
        [
            word[:place] + word[place + 1 :],
            word[:place] + word[place] + word[place:],
            word[:place] + word[place + 1] + word[place] + word[place + 2 :],
        ]
    )


def slips(chance: random.Random, number: int) -> Iterator[tuple[Gate, Slip]]:
    """So many, all kinds alike; what happens to fit all the same is no slip."""
    contracts = [(Gate(Schema.of("contract", 1, content)), fitting) for content, fitting in schemas()]
    made = 0
    while made < number:
        kind = list(KINDS)[made % len(KINDS)]
        gate, fitting = chance.choice(contracts)
        payload = deepcopy(fitting)
        place = chance.choice(list(every_place(payload)))
        paths = KINDS[kind](payload, place, chance)
        if paths and gate.judge(payload):
            made += 1
            yield gate, Slip(kind, payload, paths)


# ---- places in a payload ------------------------------------------------------------------------------------------


def every_place(value: Any, before: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, each in inside:
        yield (*before, step)
        yield from every_place(each, (*before, step))


def at(value: Any, place: tuple[Step, ...]) -> Any:
    for step in place:
        value = value[step]
    return value


def put(payload: Any, place: tuple[Step, ...], value: Any) -> None:
    at(payload, place[:-1])[place[-1]] = value


# ---- who mends by what is said ------------------------------------------------------------------------------------


class Mender:
    """Knows the fields of a problem, and nothing of any schema, in 40 lines."""

    def mend(self, payload: Json, problem: Problem) -> None:
        place = tuple(int(index) if index else name for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", problem.path))
        meant = re.search(r"did you mean '([^']+)'", problem.problem)
        with suppress(KeyError, IndexError, TypeError):  # an earlier problem was about the same place
            if problem.problem.startswith("unknown field"):
                value = at(payload, place[:-1]).pop(place[-1])
                if meant:
                    put(payload, (*place[:-1], meant[1]), value)
            elif problem.problem.startswith("missing"):
                at(payload, place[:-1]).setdefault(place[-1], self.made(problem.expected))
            else:
                put(payload, place, meant[1] if meant else self.changed(at(payload, place), problem.expected))

    def made(self, expected: str) -> Any:
        if expected.startswith('"'):
            return json.loads(expected)
        if expected.startswith("one of: "):
            return expected.removeprefix("one of: ").split(", ")[0]
        words = {"a string": "text", "an integer": 1, "a number": 1, "an object": {}, "an array": [], "a boolean": True}
        return next((deepcopy(value) for word, value in words.items() if expected.startswith(word)), "text")

    def changed(self, value: Any, expected: str) -> Any:
        found = re.search(r"(at least|at most|more than|less than) (-?[\d.]+)", expected)
        if found is None:
            return self.cast(value, expected)
        limit = json.loads(found[2])
        low = found[1] in ("at least", "more than")
        if isinstance(value, str):
            return value.ljust(limit, "x") if low else value[:limit]
        if isinstance(value, list):
            return [*value, *[value[0] if value else "text"] * (limit - len(value))] if low else value[:limit]
        return limit + {"more than": 1, "less than": -1}.get(found[1], 0)

    def cast(self, value: Any, expected: str) -> Any:
        if expected.startswith("a string"):
            return value[0] if isinstance(value, list) else str(value)
        with suppress(ValueError, TypeError):  # no JSON, or no text
            return json.loads(value)
        return self.made(expected)


def mended(gate: Gate, payload: Json) -> bool:
    """A client that sends again what it was told to mend, a few times."""
    for _ in range(ROUNDS):
        problems = gate.judge(payload)
        if not problems:
            return True
        for problem in problems:
            Mender().mend(payload, problem)
    return not gate.judge(payload)


def test_the_first_problem_names_the_place_and_what_is_said_is_enough_to_mend_it(fresh_seed: int):
    chance = random.Random(fresh_seed)
    named, whole, made = Counter[str](), Counter[str](), Counter[str]()
    for gate, slip in slips(chance, SLIPS):
        made[slip.kind] += 1
        named[slip.kind] += gate.judge(slip.payload)[0].path in slip.broken
        whole[slip.kind] += mended(gate, slip.payload)

    seen = f"seed {fresh_seed}: made {dict(made)}, named first {dict(named)}, mended {dict(whole)}"
    assert named.total() / SLIPS >= NAMED_FIRST_MIN, seen
    assert whole.total() / SLIPS >= MENDED_MIN, seen
    assert min(made.values()) == SLIPS // len(KINDS), seen
