"""What a schema may cost to be asked, beyond the number of its parts: options that are compared, and patterns.

A payload has a bounded number of values, and of bytes. So a price is for one value, or for one byte of text, that meets
all that a schema has for it: parts in the same place add up, properties of one object do not, for a value is under one
name. Where parts lead back into themselves they all add up.

- Options. Strings among strings are looked up; any other `enum`, and each `const`, is compared with one option after
  the other. Numbers are compared as fractions: 0.8 µs for 1.5, 1 µs for 1e300, 10 µs for 1e-300; so is `multipleOf`.
  The price is between, for the dearest have the most bytes. `type: integer` beside keeps fractions away.
- Patterns. What remembers too many places at once (`a[ab]{300}c`) is followed place by place: 1 ns for each byte of
  text and for each 12 bytes or more of the compiled pattern. One that begins with ^ and leaves nothing open but how
  often its end is repeated is only ever at one place, and costs nothing to speak of.

What stands under no `items`, `contains` or the like is asked once for one payload, not once for each value; there a
`maxLength`, which is asked first, bounds the text.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, cast

from dropoff.contracts.subschemas import Subschema, Targets, inside, walk
from dropoff.core import limits

OPTIONS_NS_MAX: Final = 20_000  # for one value: 1 s for 50,000; 1.9 s if all of them are like 1e-300
PATTERNS_BYTES_MAX: Final = 1 << 17  # for one text: 1 to 3 s for 256 kB, where each is followed place by place

NUMBER_NS: Final = 4_000
INTEGER_NS: Final = 600
GROUP_NS: Final = 400  # an array or object, and the dearest that is in it
WORD_NS: Final = 10

REPEATS: Final = (
    "items", "contains", "additionalProperties", "patternProperties", "unevaluatedItems", "unevaluatedProperties",
    "propertyNames",
)  # fmt: skip
APART: Final = ("properties", "prefixItems")  # one value is at one of these
ONLY_NAMED: Final = ("$defs", "definitions")
STRAIGHT: Final = re.compile(r"(?:\(\?[is]+\))?\^(?:[^*+?|{]|\{\d+\})*(?:[*+?]|\{\d+,\d*\})?\$?\Z")
LETTER: Final = re.compile(r"\\[^pP]|\\[pP]\{\w+\}|\[(?:\\.|[^\[\]\\])+\]")  # written as more than one
UTF8_MAX: Final = 4


class Price(NamedTuple):
    """At most, wherever in the schema."""

    options_ns: float  # for each value of a payload
    patterns_bytes: float  # for each byte of its text


NOTHING: Final = Price(0, 0)
Place = tuple[str, bool]  # a schema, and whether more than one value of a payload may be asked by it there


def price(content: dict[str, Any], size: Callable[[str], int]) -> Price:
    """Of a valid schema; `size` says how large a pattern is, compiled."""
    return _Pricing(content, size).price()


class _Pricing:
    """Both prices of each place are those of the schema itself and of all that it leads to."""

    def __init__(self, content: dict[str, Any], size: Callable[[str], int]) -> None:
        self._root = next(walk(content))
        self._targets = Targets(content)
        self._size = size
        self._is_circle = False

    def price(self) -> Price:
        first = self._from(repeats=False)
        return self._from(repeats=True) if self._is_circle else first

    def _from(self, *, repeats: bool) -> Price:
        start = (self._root.pointer, repeats)
        prices: dict[Place, Price] = {}
        begun: set[Place] = set()
        todo = [(self._root, repeats, False)]
        while todo:
            schema, repeats, is_done = todo.pop()
            place = (schema.pointer, repeats)
            if is_done:
                prices[place] = self._together(schema, repeats, prices)
            elif place not in begun:
                begun.add(place)
                todo.append((schema, repeats, True))
                todo.extend((each, more, False) for _, each, more in self._asked(schema, repeats))
            elif place not in prices:
                self._is_circle = True
        return prices[start]

    def _together(self, schema: Subschema, repeats: bool, prices: dict[Place, Price]) -> Price:
        own = Price(_options_ns(schema.content, repeats), self._patterns_bytes(schema.content, repeats))
        added, apart = [own], {keyword: [NOTHING] for keyword in APART}
        for keyword, each, more in self._asked(schema, repeats):
            found = prices.get((each.pointer, more), NOTHING)  # what has none by now stands above: a circle
            (added if self._is_circle or keyword not in apart else apart[keyword]).append(found)
        added += [Price(max(one[0] for one in found), max(one[1] for one in found)) for found in apart.values()]
        return Price(sum(one.options_ns for one in added), sum(one.patterns_bytes for one in added))

    def _asked(self, schema: Subschema, repeats: bool) -> Iterator[tuple[str, Subschema, bool]]:
        here = len(schema.steps)
        for each in inside(schema):
            keyword = str(each.steps[here])
            if keyword not in ONLY_NAMED:
                yield keyword, each, repeats or keyword in REPEATS
        if target := self._targets.of(schema):
            yield "$ref", target, repeats

    def _patterns_bytes(self, schema: dict[str, Any], repeats: bool) -> float:
        length = UTF8_MAX * schema.get("maxLength", limits.PAYLOAD_BYTES_MAX)
        share = 1.0 if repeats else min(1.0, length / limits.PAYLOAD_BYTES_MAX)
        beside = self._followed(schema["pattern"]) * share if "pattern" in schema else 0
        return beside + sum(map(self._followed, schema.get("patternProperties", {})))

    def _followed(self, pattern: str) -> int:
        return 0 if STRAIGHT.match(LETTER.sub("x", pattern)) else self._size(pattern)


def _options_ns(schema: dict[str, Any], repeats: bool) -> float:
    number_ns = INTEGER_NS if schema.get("type") == "integer" else NUMBER_NS
    options = [*schema.get("enum", ()), *(schema[word] for word in ("const", "multipleOf") if word in schema)]
    if all(isinstance(each, str) for each in options):
        return 0
    together = sum(_option_ns(each, number_ns) for each in options)
    return together if repeats else together / limits.PAYLOAD_VALUES_MAX


def _option_ns(option: object, number_ns: int) -> int:
    if isinstance(option, dict):
        option = list(cast("dict[str, object]", option).values())
    if isinstance(option, list):
        inside_ns = (_option_ns(each, NUMBER_NS) for each in cast("list[object]", option))
        return GROUP_NS + max(inside_ns, default=0)
    return number_ns if isinstance(option, (int, float)) and not isinstance(option, bool) else WORD_NS
