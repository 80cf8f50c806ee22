"""What stands around a call, the same at every door: who calls, its request key, its trace, and how long it may be.

None of it is an argument: a model would make keys up, and knows nothing of traces. HTTP carries both as headers
(`Idempotency-Key`, `traceparent`), MCP in `_meta`; who calls stands in the `Authorization` header of either.
"""

import re
from collections.abc import Sequence
from typing import Final

from dropoff.core import limits
from dropoff.errors import ArgumentsInvalid, Problem

# What is read of a body before anything is parsed. A letter of two bytes may be written in six (`ж` as \u0436), so a
# payload within its own limit is never cut off here, only one that is refused anyway. `complete` brings two, a
# result and what comes next; 64 kB are for what stands around.
BODY_BYTES_MAX: Final = 2 * 3 * limits.PAYLOAD_BYTES_MAX + 65_536

# W3C Trace Context, level 1: version, trace id, parent id, flags; an id of zeros is none.
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")


def authorization(headers: Sequence[str]) -> str | None:
    """The one Authorization header. Of two neither counts: two readers might choose differently."""
    return headers[0] if len(headers) == 1 else None


def request_key(given: object, verb: str, where: str) -> str:
    """The key, "" for none. Raises `ArgumentsInvalid` for one that could not be kept or shown."""
    text = "" if given is None else given
    if isinstance(text, str) and len(text) <= limits.REQUEST_KEY_CHARS_MAX and text.isascii() and text.isprintable():
        return text
    expected = f"at most {limits.REQUEST_KEY_CHARS_MAX} printable ASCII characters"
    raise ArgumentsInvalid(
        verb=verb, problems=(Problem(path=where, problem=f"is no request key ({expected})", expected=expected),)
    )


def trace(traceparent: object) -> str:
    """The traceparent, if it is one. What is none is left out and not refused, as the standard asks."""
    return traceparent if isinstance(traceparent, str) and _TRACEPARENT.match(traceparent) else ""
