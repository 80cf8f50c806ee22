"""What operators ask, and what they are answered."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dropoff.core import limits
from dropoff.core.caller import Standing
from dropoff.core.ledger import Entry
from dropoff.core.lifecycle import State
from dropoff.doctor import Finding
from dropoff.doors.http.shapes import Answer, AttemptShape, Payload, Shape, Time

# ---- asked ------------------------------------------------------------------------------------------------------


class NewAgent(Shape, frozen=True, kw_only=True):
    """An agent, and what it may do: "drop:research", "pick:drafts.*", "inspect:*", "operate:*", "admin"."""

    name: str
    grants: list[str] = []


class Grants(Shape, frozen=True, kw_only=True):
    """Grants to give or to take."""

    grants: list[str]


class Revocation(Shape, frozen=True, kw_only=True):
    """Why, for the ledger."""

    reason: Annotated[str, Meta(max_length=limits.REASON_CHARS_MAX)] = ""


class Nothing(Shape, frozen=True, kw_only=True):
    """No fields."""


class HandoffsQuery(Shape, frozen=True, kw_only=True):
    """Which handoffs; without a queue those of all that you may inspect, without a state the urgent ones first."""

    queue: str = ""
    state: Literal[
        "", "dead", "held", "leased", "waiting", "scheduled", "rejected", "expired", "withdrawn", "completed"
    ] = ""
    limit: Annotated[int, Meta(ge=1, le=500)] = 50


class LedgerQuery(Shape, frozen=True, kw_only=True):
    """Entries after this one, oldest first; "0-0" for the very first. Without `after`: the newest."""

    after: Annotated[str, Meta(pattern="^[0-9]{1,15}-[0-9]{1,15}$")] = ""
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 100


# ---- answered ---------------------------------------------------------------------------------------------------


class QueueAnswer(Answer, frozen=True, kw_only=True):
    name: str
    waiting: int
    leased: int
    scheduled: int
    dead: int
    ended: int
    pickers: int
    oldest_seconds: int
    in_per_minute: float
    out_per_minute: float
    schema: str
    state: Literal["open"]
    purpose: str
    lease_seconds: int
    max_attempts: int
    max_bytes: int
    max_waiting: int


class QueuesAnswer(Answer, frozen=True, kw_only=True):
    queues: list[QueueAnswer]


class PushedSchema(Answer, frozen=True, kw_only=True):
    schema: str
    hash: str
    new: bool


class NamedSchema(Answer, frozen=True, kw_only=True):
    schema: str
    hash: str


class SchemasAnswer(Answer, frozen=True, kw_only=True):
    schemas: list[NamedSchema]


class SchemaAnswer(Answer, frozen=True, kw_only=True):
    schema: str
    hash: str
    content: Payload


class AddedAgent(Answer, frozen=True, kw_only=True):
    """The bearer is shown this once, and kept by nobody but you."""

    agent: str
    grants: list[str]
    bearer: str


class AgentAnswer(Answer, frozen=True, kw_only=True):
    agent: str
    grants: list[str]
    standing: Standing
    reason: str
    credentials: list[str]
    holds: list[str]
    rev: str


class AgentsAnswer(Answer, frozen=True, kw_only=True):
    agents: list[AgentAnswer]


class ChangedAgent(Answer, frozen=True, kw_only=True):
    agent: str
    grants: list[str]
    standing: Standing
    reason: str
    rev: str
    in_force: Literal["everywhere"]


class HandoffAnswer(Shape, frozen=True, kw_only=True):
    """A handoff in a list."""

    handoff_id: str
    queue: str
    state: State
    from_agent: str
    dropped_off_at: Time
    attempt: int
    max_attempts: int
    deliveries: int
    schema: str
    held_by: str = ""
    lease_id: str = ""
    lease_ends_at: Time = ""
    due_at: Time = ""
    ended_at: Time = ""
    progress: str = ""
    reason: str = ""
    note: str = ""
    withdrawal_asked: bool = False


class HandoffsAnswer(Answer, frozen=True, kw_only=True):
    handoffs: list[HandoffAnswer]
    count: int


class WholeHandoff(HandoffAnswer, frozen=True, kw_only=True):
    """All that is known of one handoff: what came, what became of it, and every step of the way."""

    digest: str
    schema_hash: str
    entries: list[Entry]
    previous_attempts: list[AttemptShape] = []
    checkpoint: Payload = {}
    result: Payload | msgspec.UnsetType = msgspec.UNSET  # an empty result is one
    payload: Payload


class LedgerAnswer(Answer, frozen=True, kw_only=True):
    """`next` is what to ask for `after` the next time."""

    entries: list[Entry]
    next: str


class DoctorAnswer(Answer, frozen=True, kw_only=True):
    """`you` is the caller, `time_ms` the broker's clock while it answered."""

    you: str
    version: str
    time_ms: int
    findings: list[Finding]


class MendedAnswer(Answer, frozen=True, kw_only=True):
    """How many things were looked at, and how many of them had lost something that is put back now."""

    looked_at: int
    mended: int
