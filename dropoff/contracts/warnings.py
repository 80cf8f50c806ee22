"""What makes models stumble over a contract that is sound.

The lint refuses what cannot be judged; here is what can be judged and is hard to get right by somebody who knows
nothing but the schema. A warning keeps nothing from being registered. Each rule is a row of `RULES`, a function from
one place of the payload to what is said about it.

A place is looked at as a model meets it: with all that `$ref` and `allOf` bring there, and alternative by alternative
where there are some. What stands under `if`, `then`, `not` and the like demands more of places that are named
elsewhere, and is not looked into.
"""

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any, Final, NamedTuple

from dropoff.contracts.gate import Gate
from dropoff.contracts.places import TYPES, Contract, Json, Place
from dropoff.contracts.rules import OTHER_FIELD, apart
from dropoff.contracts.schema import Schema
from dropoff.core import payload
from dropoff.errors import Problem

PLACES_MAX: Final = 1_000  # a second; a schema with more of them is warned about as far as that


class Spot(NamedTuple):
    """One place of the payload, and the way to it."""

    steps: tuple[payload.Step, ...]
    place: Place
    is_field: bool = False  # with a name that the schema gives
    is_piece: bool = False  # one alternative of a place that was looked at before

    @property
    def is_root(self) -> bool:
        return self.place is self.place.contract.root

    def says(self, problem: str, expected: str, got: str = "") -> Problem:
        return Problem(path=payload.path_of("payload", self.steps), problem=problem, expected=expected, got=got)


Rule = Callable[[Spot], Iterator[Problem]]


def warnings(content: Json) -> tuple[Problem, ...]:
    """All that is worth a word, the gravest kind first; `content` has passed the lint."""
    spots = list(_spots(Contract(content)))
    return tuple(dict.fromkeys(said for rule in RULES for spot in spots for said in rule(spot)))


# ---- the places ---------------------------------------------------------------------------------------------------


def _spots(contract: Contract) -> Iterator[Spot]:
    """Each place once, from the root down; of a schema that contains itself its first round."""
    todo, known = [Spot((), contract.root)], set[tuple[bool, bytes]]()
    while todo and len(known) < PLACES_MAX:
        spot = todo.pop(0)
        key = spot.is_field, spot.place.key
        if spot.place.is_empty or key in known:
            continue
        known.add(key)
        yield spot
        todo += _below(spot)


def _below(spot: Spot) -> Iterator[Spot]:
    steps, place = spot.steps, spot.place
    pieces = _pieces(place)
    if pieces:
        yield from (Spot(steps, piece, is_piece=True) for piece in pieces)
        return
    for name in place.named:
        yield Spot((*steps, name), place.field(name), is_field=True)
    for patterns in place.said("patternProperties"):
        yield from (Spot((*steps, pattern), place.contract.place((each,))) for pattern, each in patterns.items())
    yield Spot((*steps, OTHER_FIELD), place.other_fields)
    for index in range(place.items_named + 1):
        yield Spot((*steps, index), place.item(index))


def _pieces(place: Place) -> list[Place]:
    """The place with each of its first alternatives; the others are in each of them still."""
    return next(place.alternatives(), _NO_PIECES) if _branches(place) else _NO_PIECES


_NO_PIECES: Final[list[Place]] = []


def _branches(place: Place) -> list[Place]:
    for part in place.parts:
        for keyword in ("anyOf", "oneOf"):
            if keyword in part:
                return [place.contract.place((branch,)) for branch in part[keyword]]
    return []


# ---- the rules ----------------------------------------------------------------------------------------------------


def values_that_do_not_fit(spot: Spot) -> Iterator[Problem]:
    """An example is copied rather than understood. What a place offers need not fit each of its alternatives."""
    if spot.is_piece:
        return
    offering = [(spot.place, spot.place), *zip(_branches(spot.place), _pieces(spot.place), strict=False)]
    for name, value, place in [(*each, place) for offers, place in offering for each in _offered(offers)]:
        if not place.fits(value):
            yield spot.says(f"{name} does not fit the schema it stands in", "a value that fits", _why(place, value))


def _offered(place: Place) -> Iterator[tuple[str, Any]]:
    for examples in place.said("examples"):
        yield from ((f"examples[{index}]", value) for index, value in enumerate(examples))
    yield from (("default", value) for value in place.said("default"))


def _why(place: Place, value: Any) -> str:
    judging = Schema.of("", 0, place.contract.judging(place.parts))
    return next((payload.clipped(f"{each.path}: {each.problem}") for each in Gate(judging).judge(value, "it")), "")


def open_objects(spot: Spot) -> Iterator[Problem]:
    place = spot.place
    is_object = "object" in place.types and (place.types != TYPES or place.named)
    if not is_object or _pieces(place):
        return
    said = [*place.said("additionalProperties"), *place.said("unevaluatedProperties")]
    if all(each is True or each == {} for each in said):
        yield spot.says("takes any field: a misspelt one is not noticed", '"additionalProperties": false')


def alternatives_alike(spot: Spot) -> Iterator[Problem]:
    pieces = zip(_pieces(spot.place), _branches(spot.place), strict=False)
    objects = [piece for piece, branch in pieces if branch.named and piece.types == frozenset({"object"})]
    if not all(apart(one, other) for one, other in combinations(objects, 2)):
        yield spot.says(
            "no field tells its alternatives apart, so what is wrong with a payload can only be guessed",
            'one field that each of them requires, with another "const" in each',
        )


def formats(spot: Spot) -> Iterator[Problem]:
    for name in spot.place.said("format"):
        if not spot.place.said("pattern"):
            yield spot.says(f"format {payload.clipped(name)} is a note to the reader: nobody checks it", 'a "pattern"')


def undescribed(spot: Spot) -> Iterator[Problem]:
    if spot.is_root and not _described(spot.place):
        yield spot.says("has no description", "what this is for, and what the receiver makes of it")
    elif spot.is_field and not _described(spot.place):
        yield spot.says("has no description", "what belongs here, in one sentence")


def _described(place: Place) -> bool:
    """A field that can have one value only says what it is."""
    is_fixed = place.finite is not None and len(place.finite) == 1
    return is_fixed or any(place.said("description")) or any(any(one.said("description")) for one in _branches(place))


def no_examples(spot: Spot) -> Iterator[Problem]:
    if spot.is_root and not any(spot.place.said("examples")):
        yield spot.says("has no examples", '"examples": one payload that fits, for describe_queues to show')


RULES: Final[tuple[Rule, ...]] = (
    values_that_do_not_fit, open_objects, alternatives_alike, formats, undescribed, no_examples,
)  # fmt: skip
