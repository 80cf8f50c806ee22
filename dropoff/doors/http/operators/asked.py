"""What several subjects are asked alike."""

from typing import Annotated

from msgspec import Meta

from dropoff.core import limits
from dropoff.doors.http.shapes import Shape


class Nothing(Shape, frozen=True, kw_only=True):
    """No fields."""


class Why(Shape, frozen=True, kw_only=True):
    """Why, for the ledger."""

    reason: Annotated[str, Meta(max_length=limits.REASON_CHARS_MAX)] = ""
