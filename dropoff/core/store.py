"""The store, as the core speaks to it: our verbs, and nothing of Redis.

There is one store (`storage/store.py`) and, in the tests, a plain model of it in memory (`tests/model`); the promise
is proved by making both tell the same story.

Each verb is one atomic step: it passes the gate, changes the record, and writes its ledger entry, or does nothing at
all. What a step refuses is raised as one of `dropoff.errors`. `Stale` is the step's way of saying that it was decided
with an older record of the caller or of the queue than the store has: whoever decided loads both anew, decides again,
and tries once more. Any step may also raise `Frozen`, `Unauthenticated` (the caller is revoked) and
`BrokerUnavailable`; each verb below says what else it raises, and what it answers when it is heard again.

`request` is the request key of the call. The same key gives the same answer: a step that was heard twice happens once.
`content` is the digest of all that was asked; the same key with other content is a `RequestConflict`.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

from dropoff.core.answers import (
    Completed,
    DroppedOff,
    Extended,
    Gated,
    HandedBack,
    Judged,
    Mended,
    Overdue,
    Pick,
    PickedUp,
    Released,
    StoredSchema,
    Withdrawn,
)
from dropoff.core.caller import Caller, Principal
from dropoff.core.handoff import AgentName, Handoff, HandoffId, NewHandoff, QueueName
from dropoff.core.lease import Lease
from dropoff.core.ledger import Entry, Receipt
from dropoff.core.lifecycle import State
from dropoff.core.queue import Queue, QueueFigures
from dropoff.core.rejections import Fault, Rejection

Settling = Literal["release", "retry", "reject"]
Judging = Literal["approve", "deny"]


class Stale(Exception):
    """The step was decided with an older record than the store has. Nothing of this step was done."""

    half_done = False  # whether it comes after one that has stored something


class Paused(Exception):
    """The queue gives nothing out for now. Nothing was done."""


class Waiting(Protocol):
    """One caller's place among those who wait."""

    async def news(self, timeout_s: float) -> bool:
        """True as soon as there may be something new, False when the time is up."""
        ...


class Store(Protocol):
    # ---- what agents ask ----------------------------------------------------------------------------------------

    async def drop_off(self, caller: Caller, queue: Queue, handoff: NewHandoff) -> DroppedOff:
        """Put the handoff into its queue. Heard again, under the same id: the same entry, and its state of now.

        Raises `QueueFull`, `QueueDraining`, `StorageFull`, `RequestConflict`.
        """
        ...

    async def dropped_before(
        self, caller: Caller, handoff_id: HandoffId, content: str, *, resubmit_of: str = "", may_operate: bool = False
    ) -> DroppedOff | None:
        """The answer to just this drop_off if it was heard before, as `drop_off` repeats it; None if it never was.

        What another has put back is repeated only to one who may operate its queue.
        """
        ...

    async def pick_up(self, caller: Caller, queue: Queue, request: str, accepts: Sequence[str] = ()) -> PickedUp | None:
        """Lease the oldest waiting handoff to the caller; None when nothing waits. Raises `Paused`.

        `accepts` are the schemas (`research@3`) that the caller can read; nothing pinned to another is given to it.
        Heard again while the lease goes on: the same lease, from whatever queue; after that, new work.
        """
        ...

    async def picked_before(self, caller: Caller, agent: AgentName, request: str) -> PickedUp | None:
        """The lease that just this pick_up of the agent brought, as `pick_up` repeats it; None where none goes on."""
        ...

    async def extend(
        self, caller: Caller, lease: Lease, *, progress: str, checkpoint: bytes, request: str, content: str
    ) -> Extended:
        """Give the lease another term, and keep progress and checkpoint where they are not empty.

        Heard again while the lease goes on: the same answer. Raises `RequestConflict`, and what every step on a lease
        that is not the caller's raises: `LeaseUnknown`, `LeaseLost`, `AlreadySettled`.
        """
        ...

    async def lease_ends(self, caller: Caller, lease: Lease) -> int:
        """When the caller's lease ends, in ms; refused like any step on a lease that is not the caller's."""
        ...

    async def complete(self, caller: Caller, lease: Lease, result: bytes, judged_by: str = "") -> Completed:
        """End the lease and record the result; the handoff is final.

        `judged_by` is the hash of the result schema that the result fits: `Stale` if the queue has another one by now.
        The same result again from the same holder is the same success, without any key, whatever the queue has by now.
        Raises `LeaseUnknown`, `LeaseLost`, and `AlreadySettled` (for another result, too).
        """
        ...

    async def forward(
        self, caller: Caller, lease: Lease, result: bytes, queue: Queue, onward: NewHandoff, judged_by: str = ""
    ) -> Completed:
        """Complete, and drop `onward` off into `queue`: both or neither. The caller's right to is already judged.

        The same again is the same success. Raises what `complete` raises, and of `queue` what `drop_off` raises: then
        the lease goes on.
        """
        ...

    async def completed_before(self, caller: Caller, lease: Lease, content: str) -> Completed | None:
        """The answer to just this completion if it was heard before; None while the caller holds the lease.

        `content` is the digest of its result, and of what came next if anything did. Refused like any step on a lease
        that is lost.
        """
        ...

    async def hand_back(
        self,
        caller: Caller,
        lease: Lease,
        verb: Settling,
        *,
        reason: str,
        delay_ms: int | None,
        checkpoint: bytes,
        request: str,
        content: str,
    ) -> HandedBack:
        """End the lease without a result. Only `retry` counts as a failure; it waits `delay_ms`, or longer each time.

        Heard again: the first answer, also when another agent has the handoff by now. Raises what `extend` raises.
        """
        ...

    async def withdraw(self, caller: Caller, handoff_id: HandoffId, *, reason: str, may_operate: bool) -> Withdrawn:
        """Take the handoff back, for its sender or one who may operate its queue; a holder is asked to give it up.

        Withdrawn or asked already: the same answer. Raises `HandoffUnknown` (also to who may not), `HandoffSettled`.
        """
        ...

    async def check(self, caller: Caller, handoff_id: HandoffId, *, may_inspect: bool) -> Handoff:
        """The handoff, for its sender, its last holder, or one who may inspect its queue; else `HandoffUnknown`."""
        ...

    async def leases_of(self, agent: AgentName) -> tuple[Lease, ...]:
        """What the agent holds now, the oldest lease first: at most a hundred."""
        ...

    # ---- what operators ask -------------------------------------------------------------------------------------

    async def judge(self, caller: Caller, handoff_id: HandoffId, verb: Judging, *, digest: str, reason: str) -> Judged:
        """Approve or deny what is held, for the payload of this digest; never by its own sender.

        The same verb again by the same operator: the same answer. Raises `HandoffUnknown`, `HandoffMoved` (it is no
        longer held), `ApprovalNeedsAnother`, `DigestDiffers`.
        """
        ...

    async def release(self, caller: Caller, lease: Lease, *, reason: str) -> Released:
        """Take work from the holder of just this lease; it counts as nothing.

        Heard again from the same operator: the same answer. Raises `HandoffUnknown`, and `HandoffMoved` where this is
        no longer the lease.
        """
        ...

    # ---- who waits ----------------------------------------------------------------------------------------------

    def waiting_for_work(
        self, queues: Sequence[QueueName], accepts: Sequence[str] = ()
    ) -> AbstractAsyncContextManager[Waiting]:
        """A place in the line of those who wait for work in any of these queues that they can read (`pick_up`)."""
        ...

    def waiting_for_outcome(self, handoff_id: HandoffId) -> AbstractAsyncContextManager[Waiting]:
        """A place among those who wait for the outcome of this handoff."""
        ...

    # ---- what the clock starts ----------------------------------------------------------------------------------

    async def beat(self) -> None:
        """Upkeep's heartbeat, once a second; without a fresh one nothing lapses, and a gap is an outage.

        A store that a newer release has written is found here: from then on this broker takes no step at all.
        """
        ...

    async def overdue(self, queue: QueueName, at_most: int) -> Overdue:
        """What is to be ended or started in the queue now, the longest overdue first; `at_most` of each kind."""
        ...

    async def lapse(self, handoff_id: HandoffId) -> Receipt | None:
        """End the lease if its time is over; None if it is not (extended, settled, or ended by another broker).

        Or give it one more term, if its holder could not extend it (a freeze, an outage).
        """
        ...

    async def due(self, handoff_id: HandoffId) -> Receipt | None:
        """Let what is scheduled wait for an agent, once its time has come; None if it has not, or it waits already."""
        ...

    async def expire(self, handoff_id: HandoffId) -> Receipt | None:
        """End what nobody took in its queue's time; None if there is time left, or if it is leased or final."""
        ...

    async def erase(self, handoff_id: HandoffId, by: Caller | None = None) -> Receipt | None:
        """Remove the record of what ended longer ago than its queue keeps it; by upkeep, or by who removes the queue.

        The ledger alone tells of it from then on, an `erased` entry last. None if it is too early, or done already.
        """
        ...

    async def revoked(self, at_most: int) -> tuple[Lease, ...]:
        """Leases whose holder is revoked."""
        ...

    async def recall(self, lease: Lease, reason: str, *, unheard: bool = False) -> Receipt | None:
        """End just this lease, uncounted; None if it has ended already.

        `unheard`: only if its pick_up was not asked again meanwhile, for then its picker has been told of it.
        """
        ...

    async def changing(self) -> tuple[AgentName, ...]:
        """Agents whose record the gate may not know: it has changed just now, or the gate has lost its words."""
        ...

    async def turn_to_mend(self, for_ms: int) -> bool:
        """True for one broker of all that ask within this time."""
        ...

    async def mend(self) -> Mended:
        """Put back what a lost key took: every record into just the indexes that it demands, and the gate's words."""
        ...

    # ---- who may what -------------------------------------------------------------------------------------------

    async def principal(self, agent: AgentName, *, fresh: bool = False) -> Principal | None:
        """The record, from memory unless `fresh`: the gate finds out when memory is old."""
        ...

    async def principals(self) -> tuple[Principal, ...]:
        """Every record but that of everybody at once (`*`), by name."""
        ...

    async def agent_by_bearer(self, bearer_hash: str) -> AgentName | None:
        """Whose bearer has this SHA-256; None if it is nobody's."""
        ...

    async def put_principal(self, by: Caller, principal: Principal) -> Principal:
        """Write the record over the revision it was made from (`Stale` if that is no longer current), then the gate.

        The change is in force, for the very next step of anybody, on return. `NotAllowed` if nobody would govern then.
        """
        ...

    async def gate(self, by: Caller, agent: AgentName, rev: str, standing: str, reason: str = "") -> Gated:
        """Let the gate know, which takes only a higher revision."""
        ...

    async def enforce(self, agent: AgentName) -> Principal | None:
        """Let the gate know what the agent's record says now; the record, or None if there is none.

        Where the gate is ahead of the record, the record is put again above it, as it is.
        """
        ...

    # ---- queues and schemas -------------------------------------------------------------------------------------

    async def queues(self, *, fresh: bool = False) -> dict[QueueName, Queue]:
        """Every queue with its settings, from memory unless `fresh`: each step finds out when memory is old."""
        ...

    async def put_queue(self, by: Caller, queue: Queue) -> Queue:
        """Make the queue, or change it over the revision that it brings (`Stale` if that is no longer current).

        A new one has revision 0: `QueueExists` if there is one with other settings, the same again otherwise.
        """
        ...

    async def remove_queue(self, by: Caller, queue: Queue) -> bool:
        """Remove a queue in which nothing is left (`QueueNotEmpty` otherwise); False if it is gone already.

        `Stale` unless it has the revision that `queue` brings.
        """
        ...

    async def schema(self, hash: str) -> StoredSchema | None:
        """The content under its hash, also where no name stands for it any more; None if there is none."""
        ...

    async def schemas(self) -> dict[str, str]:
        """Every registered `name@version`, and its hash."""
        ...

    async def put_schema(self, by: Caller, name: str, hash: str, content: bytes) -> tuple[StoredSchema, bool]:
        """Register as the next version; the same content again is the version it has. True if it is new."""
        ...

    async def count_rejections(self, queue: QueueName, schema: str, counts: Mapping[Fault, int], request: str) -> None:
        """Add to what payloads for the queue were rejected for by this version of its schema; no queue, no count.

        Bounded: places beyond `REJECTED_PLACES_MAX` are counted as `MORE`, and only the versions stay in which
        something was wrong last. Heard again: nothing more is counted.
        """
        ...

    # ---- what operators read ------------------------------------------------------------------------------------

    async def rejections(self, queue: QueueName) -> tuple[Rejection, ...]:
        """What payloads for the queue were rejected for; of the newest version first, and the most frequent."""
        ...

    async def figures(self, queues: Sequence[QueueName]) -> dict[QueueName, QueueFigures]:
        """How many of what each queue holds now, and its rates; of those that there are."""
        ...

    async def handoffs(self, queue: QueueName, state: State, at_most: int) -> tuple[Handoff, ...]:
        """Handoffs in one state, without payload, result and checkpoint; final ones the newest first."""
        ...

    async def unleased(self, queue: QueueName, at_most: int) -> tuple[HandoffId, ...]:
        """What nobody holds yet, in the order in which it comes out: waiting, then scheduled, then held."""
        ...

    async def payloads(self, ids: Sequence[HandoffId]) -> dict[HandoffId, bytes]:
        """The payloads of those that nobody holds at this moment; each may have 256 kB, so ask for a few."""
        ...

    async def picked_lately(self, queue: QueueName) -> tuple[Pick, ...]:
        """Who picked up within the last hour, under which schema, the newest first; by what is leased or has ended."""
        ...

    async def entries(self, *, after: str = "", at_most: int = 100, handoff_id: str = "") -> tuple[Entry, ...]:
        """Entries after one, oldest first; without `after` the newest; of one handoff its last ones."""
        ...

    async def standing(self, agent: AgentName) -> str:
        """What the gate says of an agent: "<rev> <standing>", or "" if nothing."""
        ...

    async def ping(self) -> None:
        """Return if the store answers; `BrokerUnavailable` if it does not."""
        ...

    async def refresh(self) -> None:
        """Look again at how durable a write is: a receipt must not promise what the store's settings no longer give."""
        ...
