"""What rides beside a call, the same through every door: its request key and its trace.

Neither is an argument: a model would make keys up, and knows nothing of traces. HTTP carries them as headers
(`Idempotency-Key`, `traceparent`), MCP in `_meta`.
"""

import re
from typing import Final

from dropoff.core import limits
from dropoff.errors import ArgumentsInvalid, Problem

# W3C Trace Context, level 1: version, trace id, parent id, flags; an id of zeros is none.
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")


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
