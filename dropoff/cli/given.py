"""What is given on the line, from a file, or through a pipe: JSON, read as strictly as the broker reads it, and words.

JSON is read here and not only there, because a careless reading on the way would mend what has to be refused: of two
equal keys Python's parser keeps the last one, silently.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from dropoff.core import limits
from dropoff.errors import ArgumentsInvalid


class Words(click.ParamType[str]):
    """A sentence that somebody reads, no longer than the broker takes it."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if len(value) > limits.REASON_CHARS_MAX:
            self.fail(f"is {len(value):,} characters long; at most {limits.REASON_CHARS_MAX} are taken.", param, ctx)
        return str(value)


WORDS = Words()


def json_of(text: str | None, *, root: str, verb: str) -> Any:
    """The value that an argument stands for: JSON, `-` for stdin, `@FILE`; left out, stdin if something is piped in."""
    from dropoff.core import payload

    raw = bytes_of(text, root)
    return payload.decode(raw, refusal=partial(ArgumentsInvalid, verb=f"dropoff {verb}"), root=root, what=root.title())


def bytes_of(text: str | None, root: str) -> bytes:
    if text is None and sys.stdin.isatty():
        raise click.UsageError(f"Give the {root} as JSON, as @FILE, or - for what is piped in.")
    if text is None or text == "-":
        # One byte more than is allowed is enough to see that there is too much.
        return sys.stdin.buffer.read(limits.PAYLOAD_BYTES_MAX + 1)
    if text.startswith("@"):
        return bytes_of_file(Path(text[1:]))
    return text.encode()


def bytes_of_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limits.PAYLOAD_BYTES_MAX + 1)
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}.") from error
