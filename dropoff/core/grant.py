"""A grant: one thing that may be done, on one queue or on all whose names begin alike.

A verb and a queue, or a prefix of queues: `drop:research`, `pick:drafts.*`, `inspect:*`, `operate:*`. `admin` stands
alone and may everything. No other pattern exists, so that a grant means what it seems to mean to somebody who reads a
list of them quickly.
"""

import difflib
from typing import Literal

import msgspec

from dropoff.core.handoff import NAME
from dropoff.errors import Problem

Act = Literal["drop", "pick", "inspect", "operate", "admin"]


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that may be done, on one queue or on all whose names begin alike."""

    act: Act
    pattern: str = "*"

    def covers(self, act: Act, queue: str) -> bool:
        if self.act == "admin":
            return True
        if self.act != act:
            return False
        return queue.startswith(self.pattern[:-1]) if self.pattern.endswith("*") else queue == self.pattern

    def __str__(self) -> str:
        return "admin" if self.act == "admin" else f"{self.act}:{self.pattern}"


def parse(text: str) -> Grant | Problem:
    """The grant that `text` writes, or what is wrong with it."""
    if text == "admin":
        return Grant("admin")
    act, colon, pattern = text.partition(":")
    expected = "drop:QUEUE, pick:QUEUE, inspect:QUEUE, operate:QUEUE or admin; QUEUE may end in *"
    if not colon or act not in ("drop", "pick", "inspect", "operate"):
        meant = difflib.get_close_matches(act, ("drop", "pick", "inspect", "operate", "admin"), n=1)
        hint = f"; did you mean '{meant[0]}'?" if meant else ""
        if not colon and meant and act == meant[0]:
            hint = f" without a queue; did you mean '{act}:QUEUE'?"
        return Problem(path="grant", problem=f"'{text[:80]}' is no grant{hint}", expected=expected, got=text[:80])
    stem = pattern.removesuffix("*")
    if pattern != "*" and not NAME.match(stem.rstrip("._-") or "?"):
        return Problem(path="grant", problem=f"'{pattern[:80]}' names no queue", expected=expected, got=text[:80])
    return Grant(act, pattern)
