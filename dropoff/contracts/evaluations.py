"""How often a schema has the validator ask, for one value of each kind that it describes.

A schema that says the same part twice, by `$ref`, has it asked twice; parts that do so themselves double it with each
level. Twenty-four such levels are a kilobyte of text and 0.2 s for a single integer, forty are hours. So the ways from
the root to all of its parts are counted, and the lint refuses a schema that has too many.

What leads back into itself is counted once: the validator remembers what it is asked on such ways, and the depth of a
payload is bounded. `$defs` are asked only where something refers to them.
"""

from collections.abc import Iterator
from typing import Any, Final

from dropoff.contracts.subschemas import Subschema, Targets, inside, walk

# 16 kB hold some 1,500 schemas with a word in each; more ways than this need parts that are used again and again. At 5
# to 10 ns a question that is 20 µs for one value, and for 50,000 values of the dearest kind there is, 1 s.
EVALUATIONS_MAX: Final = 2_000

ONLY_NAMED: Final = ("$defs", "definitions")


def evaluations(content: dict[str, Any]) -> int:
    """The number of ways from the root to itself and to every schema that it leads to."""
    targets = Targets(content)
    ways: dict[str, int] = {}
    begun: set[str] = set()
    todo = [(next(walk(content)), False)]
    while todo:
        schema, is_done = todo.pop()
        if is_done:  # what has no number by now stands above: a circle
            ways[schema.pointer] = 1 + sum(ways.get(each.pointer, 0) for each in _asked(schema, targets))
        elif schema.pointer not in begun:
            begun.add(schema.pointer)
            todo.append((schema, True))
            todo.extend((each, False) for each in _asked(schema, targets))
    return ways["#"]


def _asked(schema: Subschema, targets: Targets) -> Iterator[Subschema]:
    here = len(schema.steps)
    yield from (each for each in inside(schema) if each.steps[here] not in ONLY_NAMED)
    if target := targets.of(schema):
        yield target
