"""Drafts of payloads: a value that fits a schema, made from the schema alone.

A draft is a guess. It takes what the schema offers by itself (`const`, `enum`, `examples`, `default`), else the least
of each type; it does not solve patterns, nor `not`, nor what excludes each other. Whoever needs one that fits asks the
gate. What a schema leaves out is left out.

Demands may be large, and multiply: 2,000 items, each of 2,000 items. So no guess is larger than a payload can be, and
all guesses about one contract together are bounded too; beyond that there are none.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, cast

from dropoff.contracts.places import Contract, Json, Place
from dropoff.core import limits

DEEP_MAX: Final = 12
GUESSES_MAX: Final = 24
HELD_MAX: Final = 2_000  # items or fields of one guess: nobody reads more
CHARS_MAX: Final = limits.PAYLOAD_BYTES_MAX // 2  # of one string, so that something may stand beside it
WORK_MAX: Final = 400_000  # by `size`, of all guesses about one contract: 0.1 s to make, weigh and judge them
CHARS_A_VALUE: Final = 64  # of a string, at what one value costs
WORDS: Final = ("text", "a", "2026-01-01", "2026-01-01T00:00:00Z", "a@example.org", "https://example.org", "0", "A1")


def draft(place: Place, deep: int = DEEP_MAX) -> Any:
    """A value for this place: one that fits, where there is one among the guesses; else the first guess."""
    known = place.contract.drafts
    if place.key not in known:
        known[place.key] = None  # what it is made of may contain it again
        known[place.key] = _best(place, deep)
    return known[place.key]


def _best(place: Place, deep: int) -> Any:
    guesses = list(islice(candidates(place, deep), GUESSES_MAX))
    return next(filter(place.fits, guesses), guesses[0] if guesses else None)


def candidates(place: Place, deep: int = DEEP_MAX) -> Iterator[Any]:
    """Guesses, the likeliest first."""
    return (guess for guess in _guesses(place, deep) if affordable(place.contract, guess))


def affordable(contract: Contract, guess: Any) -> bool:
    """Whether it may be looked at. It is paid for by that."""
    if contract.guessed > WORK_MAX:
        return False
    weighs = size(guess)
    contract.guessed += weighs
    return weighs <= limits.PAYLOAD_VALUES_MAX


def size(value: Any) -> int:
    """How many values it holds, long strings counted as several; of what no payload can hold, enough to know that."""
    todo, seen = [value], 0
    while todo and seen <= limits.PAYLOAD_VALUES_MAX:
        item = todo.pop()
        seen += 1
        if isinstance(item, str):
            seen += len(item) // CHARS_A_VALUE
        elif isinstance(item, list):
            todo += cast("list[Any]", item)
        elif isinstance(item, dict):
            todo += cast("Json", item).values()
    return seen


def _guesses(place: Place, deep: int) -> Iterator[Any]:
    if place.finite is not None:
        yield from place.finite
        return
    for examples in place.said("examples"):
        yield from examples
    yield from place.said("default")
    if deep == 0:
        return
    for name in sorted(place.types, key=_LIKELY.index):
        yield from _OF_TYPE[name](place, deep - 1)
    for pieces in place.alternatives():
        for piece in pieces:
            yield from _guesses(piece, deep - 1)


def _strings(place: Place, deep: int) -> Iterator[str]:
    least, most = place.most("minLength", max) or 0, place.most("maxLength", min)
    for word in WORDS if least <= CHARS_MAX else ():
        long_enough = word + "x" * max(0, int(least) - len(word))
        yield long_enough if most is None else long_enough[: int(most)]


def _integers(place: Place, deep: int) -> Iterator[int]:
    step = place.most("multipleOf", max)
    for bound in _bounds(place):
        yield from (int(bound), int(bound) + 1, int(bound) - 1)
        if step and step >= 1:
            yield from (int(bound // step) * int(step), (int(bound // step) + 1) * int(step))


def _fractions(place: Place, deep: int) -> Iterator[float]:
    for bound in _bounds(place):
        yield from (bound + 0.5, bound - 0.5)


def _bounds(place: Place) -> Iterator[int | float]:
    for keyword in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
        yield from place.said(keyword)
    yield 0


def _arrays(place: Place, deep: int) -> Iterator[list[Any]]:
    least = int(place.most("minItems", max) or 0)
    if least > HELD_MAX:
        return
    items = [draft(place.item(index), deep) for index in range(min(place.items_named, least) + 1)]
    items += items[-1:] * (least - len(items) + 1)  # beyond those that somebody names, all are alike
    yield items[:least]
    yield items
    if least > 1:
        yield [_different(item, index) for index, item in enumerate(items[:least])]
    for wanted in place.said("contains"):
        yield [draft(place.contract.place((wanted,)), deep)] * max(least, 1)


def _different(value: Any, number: int) -> Any:
    match value:
        case str():
            return value + str(number)
        case bool() | None:
            return number
        case int() | float():
            return value + number
        case _:
            return value


def _objects(place: Place, deep: int) -> Iterator[Json]:
    least = {name: draft(place.field(name), deep) for name in place.required}
    yield least
    named = [name for name in place.named if not place.field(name).is_empty]
    yield {name: draft(place.field(name), deep) for name in dict.fromkeys([*place.required, *named])}
    wanted = int(place.most("minProperties", max) or 0)
    more = [f"x{number}" for number in range(wanted if wanted <= HELD_MAX else 0)]
    yield least | {name: draft(place.field(name), deep) for name in more}


_LIKELY: Final = ("object", "array", "string", "integer", "fraction", "boolean", "null")
_OF_TYPE: Final[dict[str, Callable[[Place, int], Iterator[Any]]]] = {
    "object": _objects,
    "array": _arrays,
    "string": _strings,
    "integer": _integers,
    "fraction": _fractions,
    "boolean": lambda _place, _deep: iter((True, False)),
    "null": lambda _place, _deep: iter((None,)),
}
