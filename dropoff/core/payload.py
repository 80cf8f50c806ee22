"""Data from outside: its bounds, and the one encoding in which it goes on.

A payload is hostile until shown otherwise. It may be made to overflow a parser's stack, to mean one thing to us and
another to the receiver (`{"a": 1, "a": 2}`, 2⁵³ + 1), or to be nothing JSON can say (NaN, half a surrogate pair). So
bounds come first, before any validator; those on size, depth and number even before any object exists. There are two
entrances, for a payload comes as bytes or, from a library that has parsed it already, as an object.

**Bytes.** A slow and exact reading of each byte in Python would cost more than all the rest, so we prove what we can
cheaply and read exactly only where the proof fails:

- depth ≤ number of opening brackets, and values ≤ 1 + openers + commas, wherever in the text they stand;
- a member is a quote, white space, a colon; where the text has as many of those as the parsed objects have members, no
  key stood twice. More of them mean a duplicate, or `":` inside of a string, and the exact reader decides.

**Objects.** Their duplicate keys were dropped by whoever parsed them; nothing can be seen of that here.

No function here recurses before the depth is proven. Out of bounds in size is `PayloadTooLarge`; everything else is one
`Problem`, in the error that the caller of these functions chooses: it knows whether this is a payload, a result or a
tool's arguments. One problem, not all, for what breaks a bound is rarely a slip that a list would help with.

`canonical` is made once, after validation; what is stored, digested and delivered is these bytes and no others.
"""

import json
import re
from collections.abc import Iterable
from math import isfinite
from typing import Any, Final, Protocol, cast

import msgspec

from dropoff.core import limits
from dropoff.errors import DropoffError, PayloadTooLarge, Problem

Step = str | int  # a field's name or an item's index
SHOWN_CHARS_MAX: Final = 80  # no more of anybody's payload than this is ever repeated


class Refusal(Protocol):
    """How the caller wants to be refused: `partial(PayloadInvalid, schema="research@3")`."""

    def __call__(self, *, problems: tuple[Problem, ...]) -> DropoffError: ...


# ---- the two entrances ------------------------------------------------------------------------------------------


def decode(
    raw: bytes,
    *,
    refusal: Refusal,
    root: str = "payload",
    what: str = "Payload",
    queue: str = "",
    bytes_max: int = limits.PAYLOAD_BYTES_MAX,
    depth_max: int = limits.PAYLOAD_DEPTH_MAX,
) -> Any:
    """The value that these bytes write, within all bounds.

    Raises PayloadTooLarge, or `refusal` with one problem whose path begins with `root`. An envelope around a payload
    may be given a few levels more than `depth_max`; the payload inside is then bounded by itself, by `bound`.
    """
    if len(raw) > bytes_max:
        raise PayloadTooLarge(what=what, bytes=len(raw), bytes_max=bytes_max, queue=queue)
    value: Any = None
    try:
        _prove_outline(raw, depth_max)
        value = _parse(raw)
        members = _walk(value, depth_max)
        if len(_MEMBER.findall(raw)) != members:
            _refuse_repeated_keys(raw)
    except _OutOfBoundsError as out:
        raise refusal(problems=(out.as_problem(value, root),)) from None
    return value


def bound(
    value: object,
    *,
    refusal: Refusal,
    root: str = "payload",
    what: str = "Payload",
    queue: str = "",
    bytes_max: int = limits.PAYLOAD_BYTES_MAX,
    depth_max: int = limits.PAYLOAD_DEPTH_MAX,
) -> None:
    """Return only if this object, parsed by somebody else, is JSON within all bounds; its size is that of its encoding.

    Raises what `decode` raises.
    """
    try:
        _walk(value, depth_max)
    except _OutOfBoundsError as out:
        raise refusal(problems=(out.as_problem(value, root),)) from None
    size = len(_ENCODER.encode(value))
    if size > bytes_max:
        raise PayloadTooLarge(what=what, bytes=size, bytes_max=bytes_max, queue=queue)


def canonical(value: object) -> bytes:
    """The one encoding of a bounded value: keys sorted, no white space, UTF-8. Never of one that was not bounded."""
    return _CANONICAL.encode(value)


def encoded(value: object) -> bytes:
    """The one encoding of a value that nobody has judged; empty, as none is, where no queue could take it."""
    try:
        _walk(value, limits.PAYLOAD_DEPTH_MAX)
    except _OutOfBoundsError:
        return b""
    return canonical(value)


_ENCODER: Final = msgspec.json.Encoder()
_CANONICAL: Final = msgspec.json.Encoder(order="sorted")


# ---- how a place and a value are named ----------------------------------------------------------------------------


def path_of(root: str, steps: Iterable[Step]) -> str:
    """`payload.sources[2].url`; a tool's own arguments have no root word, and begin with the field."""
    path = root
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
        elif _PLAIN_KEY.fullmatch(step):
            path += f".{clipped(step)}" if path else clipped(step)
        else:
            path += f"[{json.dumps(clipped(step))}]"  # ASCII, so that half a surrogate pair cannot ride along
    if len(path) > SHOWN_CHARS_MAX:  # names are the sender's text, too
        path = path[: SHOWN_CHARS_MAX // 2] + "…" + path[-SHOWN_CHARS_MAX // 2 + 1 :]
    return path or "arguments"


def clipped(text: str, chars_max: int = SHOWN_CHARS_MAX) -> str:
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


_PLAIN_KEY: Final = re.compile(r"[\w-]+")


# ---- bytes --------------------------------------------------------------------------------------------------------

# What stands between two strokes of the outline, strings among it, and then the stroke: a bracket, an empty pair, a
# comma, or the end. Possessive, and an open string runs to the end: each byte is looked at once, whatever is sent.
_STROKE: Final = re.compile(rb'(?:[^"\[\]{},]++|"[^"]*+"?)*+([\[{](?:[ \t\r\n]*+[\]}])?+|[\]},]|\Z)')
_MEMBER: Final = re.compile(rb'"[ \t\r\n]*+:')
_OPENERS: Final = frozenset({b"[", b"{"})
_CLOSERS: Final = frozenset({b"]", b"}"})
_ADDS_ONE: Final = frozenset({b"[", b"{", b","})
_COUNTED: Final = bytes(byte for byte in range(256) if byte not in b"[{,")


def _prove_outline(raw: bytes, depth_max: int) -> None:
    """Depth and number of values, before a parser sees the text."""
    counted = raw.translate(None, _COUNTED)
    if len(counted) - counted.count(b",") <= depth_max and len(counted) < limits.PAYLOAD_VALUES_MAX:
        return
    _follow_outline(raw, depth_max)


def _follow_outline(raw: bytes, depth_max: int) -> int:
    """The number of values, if they are not too many or too deep.

    Stroke by stroke, and no further than the bound: a list of all could be thirty times the text.
    """
    # Without escapes a string ends at the next quote; 2 million of them, read one by one, are 0.2 s. A backslash
    # outside of strings is the end of the way for the parser too.
    raw = raw.replace(rb"\\", b"").replace(rb"\"", b"")
    depth, values = 0, 1  # a container of n ≥ 1 values has one opener and n - 1 commas; an empty one adds nothing
    for found in _STROKE.finditer(raw):
        stroke = found[1]
        depth += stroke[:1] in _OPENERS
        values += stroke in _ADDS_ONE
        if depth > depth_max:
            raise _OutOfBoundsError(_DEEP.format(depth_max))
        if values > limits.PAYLOAD_VALUES_MAX:
            raise _OutOfBoundsError(_MANY)
        depth -= stroke[-1:] in _CLOSERS
    return values


def _parse(raw: bytes) -> Any:
    # msgspec refuses NaN, Infinity, 1e400, integers past 2⁶⁴ or so, bytes that are not UTF-8, and half surrogate pairs.
    try:
        return msgspec.json.decode(raw)
    except UnicodeDecodeError:
        raise _OutOfBoundsError("is not valid UTF-8") from None
    except msgspec.ValidationError as error:
        raise _OutOfBoundsError(f"has a number that JSON readers do not agree on ({error})") from None
    except msgspec.DecodeError as error:
        raise _OutOfBoundsError(f"is not JSON: {clipped(str(error))}") from None


def _refuse_repeated_keys(raw: bytes) -> None:
    """The exact reader. Depth is proven by now, so that its recursion is bounded; numbers stay text, at no cost."""

    def look(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _OutOfBoundsError(f"has the key {json.dumps(clipped(key))} twice in one object; keep one")
            seen.add(key)

    json.loads(raw, object_pairs_hook=look, parse_int=str, parse_float=str)


# ---- objects ------------------------------------------------------------------------------------------------------


def _walk(value: object, depth_max: int) -> int:
    """The number of members in all objects; raises at the first value out of bounds.

    Level by level, so that the depth is the number of rounds, and a list that contains itself ends at the bound.
    """
    members = depth = 0
    count = 1
    level: list[Any] = [value]
    while level:
        below: list[Any] = []
        for item in level:
            kind = type(item)  # pyright: ignore[reportUnknownVariableType]  (a cast would be a quarter of the walk)
            if kind is str:
                if not item.isascii():  # a flag of the string, no search: most texts end here
                    _check_text(item, item)
            elif kind is dict or kind is list:
                if depth == depth_max:
                    raise _OutOfBoundsError(_DEEP.format(depth_max))
                if kind is list:
                    below += item
                else:
                    members += len(item)
                    below += item.values()
                    for key in item:
                        if type(key) is not str or not key.isascii():
                            _check_text(key, item)
                # Asked for each container: one shared list may stand in a level thousands of times.
                if count + len(below) > limits.PAYLOAD_VALUES_MAX:
                    raise _OutOfBoundsError(_MANY)
            elif kind is int:
                if not -limits.INTEGER_MAX <= item <= limits.INTEGER_MAX:
                    raise _OutOfBoundsError("is an integer beyond ±(2⁵³ − 1); send it as a string", item)
            elif kind is float:
                if not isfinite(item):
                    raise _OutOfBoundsError("is not a finite number, which JSON cannot say", item)
            elif item is not None and kind is not bool:
                raise _OutOfBoundsError(f"is not JSON but a Python {clipped(kind.__name__)}", item)
        count += len(below)
        depth += 1
        level = below
    return members


def _check_text(text: object, at: object) -> None:
    if type(text) is not str:
        raise _OutOfBoundsError("has a key that is not a string", at)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _OutOfBoundsError("has half a surrogate pair, which UTF-8 cannot say", at) from None


# ---- refusing -----------------------------------------------------------------------------------------------------

_DEEP: Final = "nests too deep (more than {} levels)"
_MANY: Final = f"has too many values (more than {limits.PAYLOAD_VALUES_MAX:,})"
_NOWHERE: Final = object()


class _OutOfBoundsError(Exception):
    """What is wrong, and the very object it was found at; its path is sought only now, so that the walk needs none."""

    def __init__(self, problem: str, at: object = _NOWHERE) -> None:
        self.problem = problem
        self.at = at

    def as_problem(self, value: object, root: str) -> Problem:
        steps = () if self.at is _NOWHERE else _steps_to(self.at, value)
        return Problem(path=path_of(root, steps), problem=self.problem)


def _steps_to(at: object, value: object) -> tuple[Step, ...]:
    """The way to the first place where this object stands; level by level like `_walk`, and ending where that did."""
    level: list[tuple[object, tuple[Step, ...]]] = [(value, ())]
    while level:
        below: list[tuple[object, tuple[Step, ...]]] = []
        for item, steps in level:
            if item is at:
                return steps
            if type(item) is dict:
                members = cast("dict[str, object]", item)
                below.extend((child, (*steps, str(key))) for key, child in members.items())
            elif type(item) is list:
                below.extend((child, (*steps, index)) for index, child in enumerate(cast("list[object]", item)))
        level = below
    return ()
