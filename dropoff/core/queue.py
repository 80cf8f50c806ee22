"""A queue: its contract and its limits, as one value."""

from typing import Final, Literal

import msgspec

from dropoff.core import limits
from dropoff.core.caller import Revision
from dropoff.core.handoff import QueueName
from dropoff.core.refs import version_of

# open: as one expects. paused: work comes in, none goes out. draining: work goes out, none comes in.
QueueState = Literal["open", "paused", "draining"]

# With a handoff in one of these states a queue is not empty. The likeliest first, for people are told in this order.
UNDER_WAY: Final = ("waiting", "leased", "scheduled", "held")


class Queue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one queue. A step that was decided with an older `rev` than the store has is not carried out."""

    name: QueueName
    rev: Revision = Revision("0")
    schema: str  # research@3
    schema_hash: str
    result_schema: str = ""  # what a result must fit; without one any object is a result
    result_schema_hash: str = ""
    purpose: str = ""
    lease_ms: int = limits.LEASE_MS_DEFAULT
    attempts_max: int = limits.ATTEMPTS_MAX_DEFAULT
    payload_bytes_max: int = limits.PAYLOAD_BYTES_MAX
    waiting_max: int = limits.WAITING_MAX_DEFAULT
    approval: bool = False  # what is dropped off is held until somebody else approves it
    expires_ms: int = 0  # what nobody has taken in this time expires; 0: never
    retention_ms: int = limits.RETENTION_MS_DEFAULT  # what ended is forgotten after this time
    state: QueueState = "open"
    reason: str = ""  # why it is paused or draining

    @property
    def version(self) -> str:
        """The schema's version: what is dropped off now is pinned to it, and waits apart from other versions."""
        return str(version_of(self.schema))


class QueueFigures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A queue in numbers, at one moment."""

    waiting: int = 0
    waiting_of: dict[str, int] = {}  # by the schema version it is pinned to: research@3 → 12
    leased: int = 0
    scheduled: int = 0
    held: int = 0
    dead: int = 0
    ended: int = 0
    pickers: int = 0
    oldest_ms: int = 0  # how long the oldest has been waiting; 0 when nothing waits
    in_per_minute: float = 0.0  # over the last five minutes
    out_per_minute: float = 0.0
