"""What agents are answered.

`doors/answers.py` makes it as JSON, once for every door; the Structs here say how it looks, and a test reads real
answers with them. What is absent there has a default here.
"""

from typing import Any, Literal

import msgspec

from dropoff.core.ledger import Receipt
from dropoff.core.lifecycle import State
from dropoff.doors.http.shapes import AttemptShape, Payload, Shape, Time


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


class PickUpAnswer(Shape, frozen=True, kw_only=True):
    """With `nothing_to_pick_up` there is a hint, `paused` where that is an operator's word, and nothing else."""

    status: Literal["picked_up", "nothing_to_pick_up"]
    hint: str = ""
    paused: bool = False
    lease_id: str = ""
    handoff_id: str = ""
    queue: str = ""
    schema: str = ""
    from_agent: str = ""
    dropped_off_at: Time = ""
    attempt: int = 0
    max_attempts: int = 0
    lease_ends_at: Time = ""
    note: str = ""
    waiting: int = 0
    previous_attempts: tuple[AttemptShape, ...] = ()
    checkpoint: Payload = {}
    payload: Payload = {}
    receipt: Receipt | msgspec.UnsetType = msgspec.UNSET


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
    schema: Payload
    purpose: str = ""
    example: Any = None


class DescribeAnswer(Shape, frozen=True, kw_only=True):
    status: Literal["described"]
    count: int
    queues: tuple[DescribedQueue, ...] = ()
    hint: str = ""
