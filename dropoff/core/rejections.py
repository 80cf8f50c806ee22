"""What agents get wrong, told without a word of theirs: which rule of the schema a payload broke, and how.

A fault is made of words of ours and words of the schema. A name that only the payload has is in none of them, so that
faults can be kept where nothing of a rejected payload may come.
"""

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

import msgspec

from dropoff.core.refs import name_of, version_of

# `bounds`: it is too large or too deep, or no JSON for all readers, so that no schema was asked. `more`: places beyond
# those that are counted apart.
What = Literal["missing", "unknown", "type", "choice", "extent", "pattern", "other", "too_large", "bounds", "more"]


class Fault(NamedTuple):
    """What was wrong, and where in the schema that is said: a JSON pointer into it, empty for its root."""

    what: What
    place: str = ""


TOO_LARGE: Final = Fault("too_large")
OUT_OF_BOUNDS: Final = Fault("bounds")
MORE: Final = Fault("more")


class Rejection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """In how many of the payloads that this schema rejected one fault was, and when last."""

    schema: str  # research@3
    what: What
    place: str
    count: int
    last_ms: int


def in_order(rejections: Iterable[Rejection]) -> tuple[Rejection, ...]:
    """The newest version first, and of each what is wrong most often."""

    def order(one: Rejection) -> tuple[int, str, int, str, str]:
        return -version_of(one.schema), name_of(one.schema), -one.count, one.place, one.what

    return tuple(sorted(rejections, key=order))
