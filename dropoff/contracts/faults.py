"""Where in a schema it is said what a payload broke, in the schema's own words.

The validator's errors bring the way into the schema, and of a payload no way there holds a word today. Nothing rests on
that: the way is walked in the schema itself, and only names that are found there become part of a place. What a `$ref`
leads to has one place, wherever it is used, so there are no more places than the schema has.
"""

from collections.abc import Iterable
from typing import Any

from dropoff.core import limits
from dropoff.core.payload import Step
from dropoff.core.rejections import Fault, What


def fault(schema: dict[str, Any], what: What, steps: Iterable[Step]) -> Fault:
    """The fault at the end of this way; or as far as the schema has it, and a pointer has room for it."""
    place = ""
    here: Any = schema
    for step in steps:
        try:
            here = here[step]
        except (KeyError, IndexError, TypeError):
            break
        word = str(step).replace("~", "~0").replace("/", "~1")
        if len(place) + len(word) >= limits.REJECTED_PLACE_CHARS_MAX:
            break
        place += f"/{word}"
    return Fault(what, place)
