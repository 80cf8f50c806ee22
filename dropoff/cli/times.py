"""Durations and ages: `5m` on the way in, `12m 04s` on the way out."""

import re
from datetime import UTC, datetime
from typing import Any

import click

from dropoff.core import limits
from dropoff.errors import length

_DURATION = re.compile(r"(\d{1,9})\s*(s|m|h|d)?\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds(text: str) -> int | None:
    """`300`, `300s`, `5m`, `2h`, `7d` in seconds; None if it is no duration."""
    match = _DURATION.match(text.strip())
    return int(match[1]) * _SECONDS[match[2] or "s"] if match else None


def age(seconds: float) -> str:
    """The two largest units, which is as exact as anybody reads an age: `41s`, `12m 04s`, `3h 07m`, `2d 04h`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3_600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3_600}h {whole // 60 % 60:02}m"
    return f"{whole // 86_400}d {whole // 3_600 % 24:02}h"


def iso(time_ms: str) -> str:
    """What the ledger calls `at`, to the millisecond, for entries of one second have an order too."""
    if not time_ms.isdecimal():
        return time_ms
    at = datetime.fromtimestamp(int(time_ms) / 1_000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Duration(click.ParamType[int]):
    """Seconds, or a number with s, m, h or d; within a range, where one is given."""

    name = "duration"

    def __init__(self, least: int | None = None, most: int | None = None) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = value if isinstance(value, int) else seconds(str(value))
        if found is None:
            self.fail(f"'{value}' is no duration. Write seconds, or 90s, 5m, 2h, 7d.", param, ctx)
        least, most = self.least or 0, found if self.most is None else self.most
        if not least <= found <= most:
            self.fail(f"{value} is not between {length(least)} and {length(most)}.", param, ctx)
        return found


class DurationOrNever(Duration):
    """A duration, or `never`, which the broker writes as 0."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return 0 if value == "never" else super().convert(value, param, ctx)


DURATION = Duration()
DELAY = Duration(0, limits.DELAY_MS_MAX // 1_000)
