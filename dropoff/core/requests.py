"""What agents ask, as values: the arguments of each verb, the same through every door.

The doors advertise these shapes, check what comes against them, and hand the value to the broker. None of them has an
argument that names the caller, and none has the request key: who calls is proven, and a model would make keys up.
An empty text is an argument that was not given.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dropoff.core import limits

Note = Annotated[str, Meta(max_length=limits.NOTE_CHARS_MAX)]
Reason = Annotated[str, Meta(max_length=limits.REASON_CHARS_MAX)]
Wait = Annotated[int, Meta(ge=0, le=limits.WAIT_S_MAX)]
Delay = Annotated[int, Meta(ge=0, le=limits.DELAY_MS_MAX // 1000)]
SchemaRef = Annotated[
    str, Meta(pattern=r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?@[1-9][0-9]{0,8}$", examples=["research@3"])
]
Outcome = Literal["try_again", "not_for_me", "impossible"]


class DropOff(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    queue: Annotated[str, Meta(description="Where it goes; may be left out if you have one only.")] = ""
    note: Annotated[Note, Meta(description="A word to the receiver.")] = ""
    delay_seconds: Annotated[Delay, Meta(description="Nobody gets it before this time has passed.")] = 0
    payload: Annotated[dict[str, Any], Meta(description="The work itself: an object that fits the queue's schema.")]


class PickUp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    queue: Annotated[str, Meta(description="Left out: from any of yours.")] = ""
    wait_seconds: Annotated[Wait, Meta(description="Wait this long for work.")] = limits.WAIT_S_DEFAULT
    accepts: Annotated[
        tuple[SchemaRef, ...],
        Meta(max_length=100, description="Versions that you can read, like research@3; others wait on. Left out: any."),
    ] = ()  # for programs, which know; a model reads what comes


class Next(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is dropped off in the same step that completes."""

    queue: Annotated[str, Meta(description="Where it goes.")] = ""
    note: Annotated[Note, Meta(description="A word to the receiver.")] = ""
    payload: Annotated[dict[str, Any], Meta(description="The work itself; describe_queues shows what must fit.")]


class Complete(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    lease_id: Annotated[str, Meta(description="From pick_up.")]
    result: Annotated[dict[str, Any], Meta(description="The outcome, for the sender to read.")] = {}
    next: Annotated[Next | None, Meta(description="What you drop off with it: both happen, or neither.")] = None


class HandBack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    lease_id: Annotated[str, Meta(description="From pick_up.")]
    outcome: Annotated[
        Outcome,
        Meta(
            description="try_again: it failed, later it may work. not_for_me: somebody else should take it. "
            "impossible: nobody can; this is final."
        ),
    ]
    reason: Annotated[Reason, Meta(description="Why; the next holder or the sender reads it.")] = ""
    delay_seconds: Annotated[Delay | None, Meta(description="Only for try_again: not before this time.")] = None
    checkpoint: Annotated[dict[str, Any], Meta(description="What you have so far, for the next holder.")] = {}


class Extend(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    lease_id: Annotated[str, Meta(description="From pick_up.")]
    progress: Annotated[
        str, Meta(max_length=limits.PROGRESS_CHARS_MAX, description="How far you are, for those who watch.")
    ] = ""
    checkpoint: Annotated[dict[str, Any], Meta(description="What you have so far.")] = {}


class Check(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    handoff_id: Annotated[str, Meta(description="From drop_off.")]
    wait_seconds: Annotated[Wait, Meta(description="Wait this long for its outcome.")] = 0


class Withdraw(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    handoff_id: Annotated[str, Meta(description="From drop_off.")]
    reason: Annotated[Reason, Meta(description="Why you take it back.")] = ""


class Describe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    queue: Annotated[str, Meta(description="One queue; left out: all of yours.")] = ""
