"""All that the model knows, and the only way in which a handoff changes: along an arrow, with an entry."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from dropoff.core import limits
from dropoff.core.answers import StoredSchema
from dropoff.core.caller import UPKEEP, Caller, Principal, caller_upkeep
from dropoff.core.handoff import AgentName, Handoff, HandoffId, QueueName, queue_of
from dropoff.core.lease import Lease
from dropoff.core.ledger import Entry, Receipt
from dropoff.core.lifecycle import FINAL, LEASED, WAITING, State, Verb, may
from dropoff.core.queue import Queue
from dropoff.core.rejections import Fault
from dropoff.errors import HandoffUnknown

THE_CLOCK: Final = caller_upkeep()

changed = msgspec.structs.replace


class Remembered(NamedTuple):
    """A call that was answered: what it was about, all that it said, and the entry that it wrote."""

    call: tuple[object, ...]
    content: str
    entry: Entry


@dataclass
class Rejected:
    """What a queue's payloads were rejected for: by version and fault, how often and when last."""

    counts: dict[tuple[str, Fault], tuple[int, int]] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)


@dataclass
class Kept:
    """One handoff, and what the store remembers of it beside its record."""

    handoff: Handoff
    content: str
    entries: list[Entry] = field(default_factory=list)
    leased_ms: int = 0
    picked: Entry | None = None
    asked: Remembered | None = None  # the last extend or complete
    judged: Remembered | None = None  # the last approve, deny or release by an operator
    withdrawal: Entry | None = None  # that asked the holder


class Memory:
    """What is known, and how it changes."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self.ledger: list[Entry] = []
        self.kept: dict[HandoffId, Kept] = {}
        self._line: list[HandoffId] = []  # who waits, in all queues, in the order in which they began to
        self._picks: dict[tuple[AgentName, str], Lease] = {}
        self._told_again: set[Lease] = set()  # whose pick_up was asked again
        self._pickers: dict[tuple[QueueName, AgentName], int] = {}
        self._per_minute: Counter[tuple[QueueName, int, str]] = Counter()
        self._gate: dict[AgentName, tuple[int, str]] = {}
        self._beat_ms = 0
        self._resumed_ms: dict[AgentName, int] = {}  # when an agent, or everybody (`*`), came out of a freeze or outage
        self._principals: dict[AgentName, Principal] = {}
        self._changing: dict[AgentName, str] = {}
        self.rejected: dict[QueueName, Rejected] = {}
        self._queues: dict[QueueName, Queue] = {}
        self._schemas: dict[str, StoredSchema] = {}
        self._mending = False

    # ---- changes and their entries --------------------------------------------------------------------------------

    def _move(self, kept: Kept, verb: Verb, to: State, by: Caller, because: str = "", **change: Any) -> Entry:
        before = kept.handoff
        assert may(before.state, verb, to), f"no arrow: {before.state} {verb} {to}"
        if to in FINAL:
            change["ended_ms"] = self._now
        now = kept.handoff = changed(before, state=to, **change)
        if before.state == WAITING:
            self._line.remove(now.id)
        if to == WAITING:
            self._line.append(now.id)
        if verb == "drop_off":
            self._count(now.queue, "in")
        if to in FINAL:
            self._count(now.queue, "out")
        entry = self._write(
            verb,
            by,
            handoff=now.id,
            queue=now.queue,
            from_=before.state,
            to=to,
            n=str(len(kept.entries) + 1),
            prev=kept.entries[-1].id if kept.entries else "",
            fence=str(now.fence),
            lease_ends=str(now.lease_ends_ms) if to == LEASED else "",
            digest=now.digest,
            schema=now.schema_hash,
            failures=str(now.failures),
            reason=because,
            parent=now.parent if verb == "drop_off" else "",
            resubmit_of=now.resubmit_of if verb == "drop_off" else "",
        )
        kept.entries.append(entry)
        return entry

    def _write(self, step: str, by: Caller, **facts: str) -> Entry:
        entry = Entry(
            id=self._next_entry,
            step=step,
            at=str(self._now),
            actor=by.agent,
            credential=by.credential,
            revs="" if by.agent == UPKEEP else f"{by.agent}={by.rev}",
            trace=by.trace,
            **facts,
        )
        self.ledger.append(entry)
        return entry

    @property
    def _next_entry(self) -> str:
        return str(len(self.ledger))

    def _receipt(self, entry: Entry) -> Receipt:
        return Receipt(handoff_id=HandoffId(entry.handoff), log="p0", entry=entry.id, leaf="", durability="memory")

    def _count(self, queue: QueueName, what: str) -> None:
        self._per_minute[queue, self._now // 60_000, what] += 1

    # ---- looking ------------------------------------------------------------------------------------------------

    @property
    def _now(self) -> int:
        return self._clock_ms()

    def _known(self, handoff_id: HandoffId) -> Kept | None:
        if queue_of(handoff_id) is None:
            raise HandoffUnknown(handoff_id=handoff_id)
        return self.kept.get(handoff_id)

    def _here(self, queue: QueueName) -> list[Handoff]:
        return [one.handoff for one in self.kept.values() if one.handoff.queue == queue]

    def _waiting(self, queue: QueueName) -> list[HandoffId]:
        return [id for id in self._line if self.kept[id].handoff.queue == queue]

    def _pickers_of(self, queue: QueueName) -> int:
        since_ms = self._now - limits.PICKER_SEEN_MS
        return sum(1 for (name, _), seen_ms in self._pickers.items() if name == queue and seen_ms >= since_ms)
