"""By which rules one schema implies another: a row for the keywords of the new one that belong together.

A row says for which types its keywords demand anything, and has a function that yields what the old place does not
imply. It yields nothing only where every value of the old place meets the demand; that is all that a rule promises. A
difference brings guesses for a witness, values that the old place may allow and the new demand refuses; the gate judges
them.

What both sides say in the same words is implied without a rule. Where words are all there is to go by, because nobody
reasons about the keyword, the rule is `only_the_same`.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from itertools import combinations
from math import ceil, floor
from typing import Any, Final, NamedTuple, Protocol, cast

from dropoff.contracts.drafts import candidates, draft
from dropoff.contracts.places import (
    NUMBERS,
    TYPES,
    Contract,
    Json,
    Place,
    field_schemas,
    item_schemas,
    types_named,
    word_of,
)
from dropoff.core import payload

_STRINGS, _ARRAYS, _OBJECTS = frozenset({"string"}), frozenset({"array"}), frozenset({"object"})

Guesses = Callable[[], Iterator[Any]]


class Difference(NamedTuple):
    """What the new schema demands and the old one does not imply; `guesses` are values of the place it was found at."""

    steps: tuple[payload.Step, ...]  # to what it is about, from that place
    says: str
    guesses: Guesses


class Inside(Protocol):
    """Compares further: a field or an item of the value; the value itself where there is no step."""

    def __call__(self, old: Place, new: Place, step: payload.Step | None = None) -> list[Difference]: ...


class Asked(NamedTuple):
    """One part of the new schema, beside the old place whose values it will judge."""

    old: Place
    part: Json
    new: Contract
    inside: Inside

    def differs(self, says: str, guesses: Guesses | None = None) -> Difference:
        """Right here. Without better guesses, drafts of the old place may do."""
        return Difference((), says, guesses or partial(candidates, self.old))


# ---- one value ----------------------------------------------------------------------------------------------------


def types(asked: Asked) -> Iterator[Difference]:
    lost = sorted(asked.old.types - types_named(asked.part["type"]))
    if lost:
        pieces = [asked.old.also({"type": word_of(name)}) for name in lost]
        names = " or ".join(dict.fromkeys(map(word_of, lost)))
        yield asked.differs(
            f"may not be {names} any more", lambda: (each for one in pieces for each in candidates(one))
        )


def choices(asked: Asked) -> Iterator[Difference]:
    """The old place is no list of values, or each of them would have been judged."""
    allowed = asked.part.get("enum", [asked.part.get("const")])
    yield asked.differs(f"must be {shown(allowed)} now")


def only_the_same(keyword: str, asked: Asked) -> Iterator[Difference]:
    yield asked.differs(f"'{keyword}' has changed, and nobody reasons about it")


def shown(values: list[Any]) -> str:
    some = [payload.clipped(payload.canonical(value).decode()) for value in values[:SHOWN]]
    return ", ".join(some) + (f" and {len(values) - SHOWN} more" if len(values) > SHOWN else "")


SHOWN: Final = 3


# ---- counts -------------------------------------------------------------------------------------------------------

OPPOSITE: Final = {
    "minLength": "maxLength", "minItems": "maxItems", "minProperties": "maxProperties",
    "maxLength": "minLength", "maxItems": "minItems", "maxProperties": "minProperties",
}  # fmt: skip


def at_least(keyword: str, asked: Asked) -> Iterator[Difference]:
    """How much the value holds: characters, items or fields."""
    wanted = asked.part[keyword]
    least = max([0, *asked.old.said(keyword), len(asked.old.required) if keyword == "minProperties" else 0])
    if wanted > least:
        fewer = asked.old.also({OPPOSITE[keyword]: least})
        yield asked.differs(f"{keyword} is {wanted} now, and was {least}", partial(candidates, fewer))


def at_most(keyword: str, asked: Asked) -> Iterator[Difference]:
    wanted = asked.part[keyword]
    most = asked.old.items_max if keyword == "maxItems" else min(asked.old.said(keyword), default=None)
    if most is None or wanted < most:
        more = asked.old.also({OPPOSITE[keyword]: wanted + 1})
        was = "had no limit" if most is None else f"was {most}"
        yield asked.differs(f"{keyword} is {wanted} now, and {was}", partial(candidates, more))


# ---- numbers ------------------------------------------------------------------------------------------------------

Bound = tuple[Fraction, bool]  # a number, and whether it is excluded itself


def lower(asked: Asked) -> Iterator[Difference]:
    yield from _bounded(asked, "minimum", "exclusiveMinimum", upwards=True)


def upper(asked: Asked) -> Iterator[Difference]:
    """As `lower`, seen from the other end of the line."""
    yield from _bounded(asked, "maximum", "exclusiveMaximum", upwards=False)


def _bounded(asked: Asked, including: str, excluding: str, *, upwards: bool) -> Iterator[Difference]:
    whole = "fraction" not in asked.old.types

    def bound(keyword: str, number: int | float) -> Bound:
        exact = Fraction(number) if upwards else -Fraction(number)
        excluded = keyword == excluding
        if whole:  # more than 2.5, and more than 2, is 3 and up
            return Fraction(floor(exact) + 1 if excluded else ceil(exact)), False
        return exact, excluded

    had = max((bound(key, each) for key in (including, excluding) for each in asked.old.said(key)), default=None)
    for keyword in (including, excluding):
        if keyword in asked.part and (had is None or had < bound(keyword, asked.part[keyword])):
            near = [asked.part[keyword], *asked.old.said(including), *asked.old.said(excluding)]
            yield asked.differs(f"{keyword} is {asked.part[keyword]} now", partial(_near, near))


def multiples(asked: Asked) -> Iterator[Difference]:
    """Only whole steps are reasoned about: what is a multiple of 0.1 is a matter of rounding."""
    wanted = asked.part["multipleOf"]
    steps = [each for each in asked.old.said("multipleOf") if _whole(each)]
    if "fraction" not in asked.old.types:
        steps.append(1)
    if not (_whole(wanted) and any(each % wanted == 0 for each in steps)):
        yield asked.differs(f"must be a multiple of {wanted} now", partial(_near, [*steps, 1, wanted]))


def _near(numbers: list[int | float]) -> Iterator[int | float]:
    for number in numbers:
        yield from (number, number - 1, number + 1, number - 0.5, number + 0.5, number * 2, number * 3)


def _whole(number: int | float) -> bool:
    return number == int(number) and number >= 1


# ---- arrays -------------------------------------------------------------------------------------------------------


def items(asked: Asked) -> Iterator[Difference]:
    """Each item that somebody names, and then all the others, which are alike on both sides."""
    named = max(asked.old.items_named, len(asked.part.get("prefixItems", ())))
    for index in range(named + 1):
        if asked.old.items_max is not None and index >= asked.old.items_max:
            return
        yield from asked.inside(asked.old.item(index), asked.new.place(item_schemas(asked.part, index)), index)


def no_item_twice(asked: Asked) -> Iterator[Difference]:
    if not asked.part["uniqueItems"] or any(asked.old.said("uniqueItems")):
        return
    if asked.old.items_max is not None and asked.old.items_max <= 1:
        return
    item = draft(asked.old.item(0))
    alike = [[item] * length for length in range(2, 5)]
    yield asked.differs("may not have the same item twice any more", lambda: iter(alike))


# ---- objects ------------------------------------------------------------------------------------------------------


def required(asked: Asked) -> Iterator[Difference]:
    for name in asked.part["required"]:
        if name not in asked.old.required:
            lacking = asked.old.also({"properties": {name: False}})
            yield Difference((name,), "is required now", partial(candidates, lacking))


def fields(asked: Asked) -> Iterator[Difference]:
    """Each field that somebody names, and then all the others.

    An unnamed field may match a pattern of the new part or none: it is held against all of them.
    """
    named = dict.fromkeys([*asked.old.named, *asked.part.get("properties", {})])
    for name in named:
        yield from asked.inside(asked.old.field(name), asked.new.place(field_schemas(asked.part, name)), name)
    patterns = asked.part.get("patternProperties", {}).values()
    others = asked.new.place((asked.part.get("additionalProperties", True), *patterns))
    yield from asked.inside(asked.old.other_fields, others, OTHER_FIELD)


OTHER_FIELD: Final = "another_field"  # stands for all that nobody names


def field_names(asked: Asked) -> Iterator[Difference]:
    """Reasoned about only where the old schema names all fields there can be."""
    allowed = asked.new.place((asked.part["propertyNames"],))
    possible = [name for name in asked.old.named if not asked.old.field(name).is_empty]
    open_ended = asked.old.said("patternProperties") or not asked.old.other_fields.is_empty
    if open_ended or not all(map(allowed.fits, possible)):
        yield asked.differs("not every field name is allowed any more", partial(_with_another_field, asked.old))


def _with_another_field(old: Place) -> Iterator[Any]:
    for whole in candidates(old):
        if isinstance(whole, dict):
            yield {**cast("Json", whole), OTHER_FIELD: draft(old.other_fields)}
        yield whole


def required_with(asked: Asked) -> Iterator[Difference]:
    for name, needs in asked.part["dependentRequired"].items():
        implied = {name, *asked.old.required}
        implied.update(*(said.get(name, ()) for said in asked.old.said("dependentRequired")))
        for missing in needs:
            if missing not in implied and not asked.old.field(name).is_empty:
                alone = asked.old.also({"required": [name], "properties": {missing: False}})
                yield Difference((missing,), f"is required now beside '{name}'", partial(candidates, alone))


# ---- alternatives -------------------------------------------------------------------------------------------------


def any_of(asked: Asked) -> Iterator[Difference]:
    """One branch that takes all of the old place is enough. What several take together, the walk cuts to pieces."""
    if all(asked.inside(asked.old, asked.new.place((branch,))) for branch in asked.part["anyOf"]):
        yield asked.differs("may fit none of the alternatives any more")


def one_of(asked: Asked) -> Iterator[Difference]:
    branches = [asked.new.place((branch,)) for branch in asked.part["oneOf"]]
    if not all(apart(one, other) for one, other in combinations(branches, 2)):
        yield asked.differs("the alternatives of 'oneOf' have changed, and may overlap")
    elif all(asked.inside(asked.old, branch) for branch in branches):
        yield asked.differs("may fit none of the alternatives any more")


def apart(one: Place, other: Place) -> bool:
    """Nothing fits both: they are of other types, or a field that both demand has other values."""
    if one.is_empty or other.is_empty or not one.types & other.types:
        return True
    if one.types & other.types != _OBJECTS:
        return False
    for name in one.required:
        mine, yours = one.field(name).finite, other.field(name)
        if name in other.required and mine is not None and not any(map(yours.fits, mine)):
            return True
    return False


# ---- the table ----------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    keywords: tuple[str, ...]  # what is said by all of them together is one demand
    types: frozenset[str]
    rule: Callable[[Asked], Iterator[Difference]]
    by_itself: bool = True  # it means the same wherever it stands


ROWS: Final = (
    Row(("type",), TYPES, types),
    Row(("enum",), TYPES, choices),
    Row(("const",), TYPES, choices),
    Row(("minimum", "exclusiveMinimum"), NUMBERS, lower),
    Row(("maximum", "exclusiveMaximum"), NUMBERS, upper),
    Row(("multipleOf",), NUMBERS, multiples),
    Row(("minLength",), _STRINGS, partial(at_least, "minLength")),
    Row(("maxLength",), _STRINGS, partial(at_most, "maxLength")),
    Row(("pattern",), _STRINGS, partial(only_the_same, "pattern")),
    Row(("minItems",), _ARRAYS, partial(at_least, "minItems")),
    Row(("maxItems",), _ARRAYS, partial(at_most, "maxItems")),
    Row(("prefixItems", "items"), _ARRAYS, items),
    Row(("uniqueItems",), _ARRAYS, no_item_twice),
    Row(("contains", "minContains", "maxContains"), _ARRAYS, partial(only_the_same, "contains")),
    Row(("unevaluatedItems",), _ARRAYS, partial(only_the_same, "unevaluatedItems"), by_itself=False),
    Row(("required",), _OBJECTS, required),
    Row(("properties", "patternProperties", "additionalProperties"), _OBJECTS, fields),
    Row(("propertyNames",), _OBJECTS, field_names),
    Row(("minProperties",), _OBJECTS, partial(at_least, "minProperties")),
    Row(("maxProperties",), _OBJECTS, partial(at_most, "maxProperties")),
    Row(("dependentRequired",), _OBJECTS, required_with),
    Row(("dependentSchemas",), _OBJECTS, partial(only_the_same, "dependentSchemas")),
    Row(("unevaluatedProperties",), _OBJECTS, partial(only_the_same, "unevaluatedProperties"), by_itself=False),
    Row(("anyOf",), TYPES, any_of),
    Row(("oneOf",), TYPES, one_of),
    Row(("not",), TYPES, partial(only_the_same, "not")),
    Row(("if", "then", "else"), TYPES, partial(only_the_same, "if")),
)
