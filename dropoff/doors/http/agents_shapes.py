"""What agents are answered.

`doors/answers.py` makes it as JSON, once for every door; the Structs here say how it looks, and a test reads real
answers with them. What is absent there has a default here.
"""

from typing import Any, Literal

from dropoff.core.ledger import Receipt
from dropoff.core.lifecycle import State
from dropoff.doors.http.shapes import AttemptShape, Payload, Shape, Time
from dropoff.errors import ErrorRecord


class DropOffAnswer(Shape, frozen=True, kw_only=True):
    status: Literal["dropped_off", "held"]
    handoff_id: str
    queue: str
    ahead_of_it: int
    pickers: int
    receipt: Receipt
    scheduled: bool = False
    hint: str = ""
    warning: str = ""


class PickedUpAnswer(Shape, frozen=True, kw_only=True, tag_field="status", tag="picked_up"):
    """Work, and the lease under which it is held."""

    lease_id: str
    handoff_id: str
    queue: str
    schema: str
    from_agent: str
    dropped_off_at: Time
    attempt: int
    max_attempts: int
    lease_ends_at: Time
    note: str = ""
    waiting: int
    previous_attempts: tuple[AttemptShape, ...] = ()
    checkpoint: Payload = {}
    payload: Payload
    receipt: Receipt


class NothingAnswer(Shape, frozen=True, kw_only=True, tag_field="status", tag="nothing_to_pick_up"):
    """No work; `paused` where that is an operator's word."""

    hint: str
    paused: bool = False


PickUpAnswer = PickedUpAnswer | NothingAnswer


class SeveralPickedUp(Shape, frozen=True, kw_only=True):
    """What a `pick_up` of a batch answers that says `at_most`; with none there is a hint, as with one."""

    status: Literal["picked_up", "nothing_to_pick_up"]
    handoffs: tuple[PickedUpAnswer, ...]
    hint: str = ""
    paused: bool = False


class Refused(Shape, frozen=True, kw_only=True):
    """A refusal where an answer would stand: of one call of a batch, or of a tool."""

    status: Literal["refused"]
    error: ErrorRecord


class CompleteAnswer(Shape, frozen=True, kw_only=True):
    status: Literal["completed"]
    handoff_id: str
    receipt: Receipt
    next_handoff_id: str = ""


class HandBackAnswer(Shape, frozen=True, kw_only=True):
    status: Literal["handed_back"]
    handoff_id: str
    outcome: str
    state: State
    attempts_left: int
    receipt: Receipt


class ExtendAnswer(Shape, frozen=True, kw_only=True):
    status: Literal["extended"]
    handoff_id: str
    lease_ends_at: Time
    withdrawal_asked: bool
    receipt: Receipt
    hint: str = ""


class CheckAnswer(Shape, frozen=True, kw_only=True):
    status: Literal["found"]
    handoff_id: str
    queue: str
    state: State
    attempt: int
    max_attempts: int
    dropped_off_at: Time
    held_by: str = ""
    lease_ends_at: Time = ""
    due_at: Time = ""
    ended_at: Time = ""
    progress: str = ""
    reason: str = ""
    previous_attempts: tuple[AttemptShape, ...] = ()
    result: Payload = {}


class WithdrawAnswer(Shape, frozen=True, kw_only=True):
    status: Literal["withdrawn", "withdrawal_asked"]
    handoff_id: str
    receipt: Receipt
    hint: str = ""


class DescribedQueue(Shape, frozen=True, kw_only=True):
    queue: str
    you_may: tuple[str, ...]
    schema_name: str
    lease_seconds: int
    max_attempts: int
    max_bytes: int
    schema: Payload = {}
    purpose: str = ""
    example: Any = None
    result_schema_name: str = ""
    result_schema: Payload = {}
    hint: str = ""


class DescribeAnswer(Shape, frozen=True, kw_only=True):
    status: Literal["described"]
    count: int
    queues: tuple[DescribedQueue, ...] = ()
    hint: str = ""
