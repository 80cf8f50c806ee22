"""What the verbs of the store answer: a record each, with the receipt where something was written."""

from typing import Literal

import msgspec

from dropoff.core.handoff import AgentName, Handoff, HandoffId
from dropoff.core.lease import Lease
from dropoff.core.ledger import Receipt
from dropoff.core.lifecycle import State

Gated = Literal["changed", "known", "behind"]  # `behind`: the gate's word is above that of the agent's own record


class StoredSchema(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A registered schema: `name@version`, and its canonical content under its hash."""

    ref: str
    hash: str
    content: bytes


class DroppedOff(msgspec.Struct, frozen=True, kw_only=True):
    receipt: Receipt
    state: State
    ahead_of_it: int
    pickers: int
    repeated: bool = False


class PickedUp(msgspec.Struct, frozen=True, kw_only=True):
    receipt: Receipt
    lease: Lease
    handoff: Handoff
    waiting: int
    repeated: bool = False


class Extended(msgspec.Struct, frozen=True, kw_only=True):
    receipt: Receipt
    lease_ends_ms: int
    withdrawal_asked: bool


class Completed(msgspec.Struct, frozen=True, kw_only=True):
    receipt: Receipt
    next_id: str = ""  # what the same step dropped off
    repeated: bool = False


class HandedBack(msgspec.Struct, frozen=True, kw_only=True):
    receipt: Receipt
    state: State
    attempts_left: int


class Withdrawn(msgspec.Struct, frozen=True, kw_only=True):
    receipt: Receipt
    state: State  # `withdrawn`, or `leased` where the holder was asked
    repeated: bool = False


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    receipt: Receipt
    state: State  # `waiting` or `scheduled` if approved, `rejected` if denied
    repeated: bool = False


class Released(msgspec.Struct, frozen=True, kw_only=True):
    receipt: Receipt
    state: State
    repeated: bool = False


class Pick(msgspec.Struct, frozen=True, kw_only=True):
    """The newest that an agent has picked up under one version of a contract."""

    agent: AgentName
    schema: str
    ago_ms: int


class Overdue(msgspec.Struct, frozen=True, kw_only=True):
    """What the clock has to end or to start in one queue."""

    leases: tuple[HandoffId, ...] = ()
    timers: tuple[HandoffId, ...] = ()
    expiries: tuple[HandoffId, ...] = ()
    ended: tuple[HandoffId, ...] = ()  # so long ago that it is to be forgotten


class Mended(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at everything found wrong and put right, and what it could not: the log says which, and why."""

    looked_at: int = 0
    mended: int = 0
    failed: int = 0


class StoreFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a store says of itself at this moment, for whoever judges it. Empty where it does not say."""

    product: str = ""  # "Valkey 9.1.2"
    unfit: str = ""  # why no broker would start on it
    lacking: str = ""  # which right the broker's user has not
    settings: dict[str, str] = {}  # of those that durability and eviction depend on, the ones that can be read
    used_bytes: int = 0
    max_bytes: int = 0  # 0: as much as the machine has
    time_ms: int = 0  # by its clock
