"""What it would cost to explain why a payload does not fit.

A verdict is cheap whatever the payload; an explanation is not, for the validator copies the offending value
into every error. Measured: 2,000 bad names in one object of 2,000 fields are 4 million copies, 3 s and 900 MB; a tree
of `anyOf`, 18 levels deep, of which every branch fails, is 114 s and 13 GB. So the copies are estimated before they
are asked for. The estimate is meant to be too high rather than too low:

- an error holds the value it is about, so a value at depth d is copied by the errors of d places; a long text counts
  as many values, and is gone through once more by every pattern;
- a place has as many errors as the schema has demands: `required` gives one for each missing name, `propertyNames` one
  for each field, any other keyword one; and what was demanded is copied too, all of a long `enum`;
- a failing `anyOf` holds the errors of all its branches, and `allOf` gives those of all its parts, so each one inside
  another multiplies; where a schema contains itself, with every level of the payload.
"""

from collections import Counter
from typing import Any, Final, cast

from dropoff.contracts import subschemas
from dropoff.core import payload

COPIES_MAX: Final = 60_000  # at 0.8 µs and 230 bytes each: 50 ms and 14 MB for the worst refusal
CHARS_A_VALUE: Final = 1_000  # of a long text or name: 250,000 are 0.8 ms a copy, 0.5 ms a pattern
BYTES_A_VALUE: Final = 8  # of a short word or number as JSON, quotes and comma included


class Cost:
    """The facts of one schema that the price depends on."""

    def __init__(self, content: dict[str, Any]) -> None:
        schemas = [schema.content for schema in subschemas.walk(content)]
        self._errors_a_place = max(_errors_a_place(schema) for schema in schemas)
        self._names_checked = any("propertyNames" in schema for schema in schemas)
        self._patterns = sum(("pattern" in one) + len(one.get("patternProperties", ())) for one in schemas)
        self._branches = max(_branches(schema) for schema in schemas)
        self._branching = sum(_branches(schema) > 0 for schema in schemas)
        self._nested = nested_branches(content)
        self.has_alternatives = any("anyOf" in schema or "oneOf" in schema for schema in schemas)

    def copies(self, value: object) -> int:
        """The estimate for this value."""
        copies = widest = depth = long = 0
        level = [value]
        while level:
            depth += 1
            nested = self._branching * depth if self._nested is None else self._nested
            texts = sum(_chars(item) // CHARS_A_VALUE for item in level)
            long += texts
            copies += depth * (len(level) + texts) * max(1, self._branches) ** nested
            below: list[object] = []
            for item in level:
                if isinstance(item, dict):
                    members = cast("dict[str, object]", item)
                    widest = max(widest, len(members))
                    below += members.values()
                elif isinstance(item, list):
                    below += cast("list[object]", item)
            level = below
        return copies * (self._errors_a_place + (widest if self._names_checked else 0)) + long * self._patterns


def _chars(item: object) -> int:
    """Of its own text: a string's, or an object's names."""
    if isinstance(item, str):
        return len(item)
    return sum(map(len, cast("dict[str, object]", item))) if isinstance(item, dict) else 0


def nested_branches(content: dict[str, Any]) -> int | None:
    """How many `anyOf`, `oneOf`, `allOf` stand inside one another on the longest way; None if the way is a circle.

    Schemas are taken from above, each once nothing is left that leads to it (Kahn's order); what a circle holds stays.
    """
    targets = subschemas.Targets(content)
    schemas = {schema.pointer: schema for schema in subschemas.walk(content)}
    below = {
        pointer: [each for each in _below(schema, targets) if each in schemas] for pointer, schema in schemas.items()
    }
    waiting_for = Counter(pointer for pointers in below.values() for pointer in pointers)
    nested = {pointer: int(_branches(schemas[pointer].content) > 0) for pointer in below}
    free = [pointer for pointer in below if not waiting_for[pointer]]
    taken = 0
    while free:
        above = free.pop()
        taken += 1
        for pointer in below[above]:
            here = _branches(schemas[pointer].content) > 0
            nested[pointer] = max(nested[pointer], nested[above] + here)
            waiting_for[pointer] -= 1
            if not waiting_for[pointer]:
                free.append(pointer)
    return max(nested.values()) if taken == len(below) else None


def _below(schema: subschemas.Subschema, targets: subschemas.Targets) -> list[str]:
    pointers = [each.pointer for each in subschemas.inside(schema)]
    target = targets.of(schema)
    return [*pointers, target.pointer] if target else pointers


def _branches(schema: dict[str, Any]) -> int:
    return sum(len(schema.get(keyword, ())) for keyword in ("anyOf", "oneOf", "allOf"))


def _errors_a_place(schema: dict[str, Any]) -> int:
    dependent: dict[str, list[str]] = schema.get("dependentRequired", {})
    names = len(schema.get("required", ())) + sum(len(each) for each in dependent.values())
    demanded = sum(len(payload.canonical(schema[keyword])) for keyword in ("enum", "const", "not") if keyword in schema)
    return names + demanded // BYTES_A_VALUE + 2
