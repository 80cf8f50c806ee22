"""What crosses this door, as the OpenAPI document shows it: what the shapes of agents and operators have in common.

agents_shapes.py   what agents are answered
operators/         what operators ask and are answered, beside the rows of each subject
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Time = Annotated[
    str,
    Meta(
        description="ISO 8601, UTC, to the second.",
        pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$",
    ),
]
Payload = dict[str, Any]


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Absent rather than null, and nothing that is not announced."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """All fields, always: a zero is news to an operator."""


class AttemptShape(Shape, frozen=True, kw_only=True):
    """How an earlier holder came to its end."""

    agent: str
    outcome: str
    at: Time
    reason: str = ""


class Health(Answer, frozen=True, kw_only=True, omit_defaults=True):
    status: Literal["alive", "ready"]
    says: str = ""
