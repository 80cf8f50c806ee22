"""What operators read: queues in numbers, handoffs by their state, the ledger."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from dropoff.core.handoff import Handoff, HandoffId, QueueName
from dropoff.core.ledger import Entry
from dropoff.core.lifecycle import DEAD, FINAL, HELD, LEASED, SCHEDULED, WAITING, State
from dropoff.core.queue import QueueFigures
from dropoff.core.store import Waiting
from tests.model.memory import Memory, changed

# In which order the handoffs of a state are shown; what has ended, the newest first.
BY_TIME: Final[dict[str, Callable[[Handoff], int]]] = {
    HELD: lambda one: one.dropped_ms,
    SCHEDULED: lambda one: one.due_ms,
    LEASED: lambda one: one.lease_ends_ms,
}
NOT_LISTED: Final[dict[str, Any]] = {"payload": b"", "result": b"", "checkpoint": b""}  # a list would be too long


class Reading(Memory):
    """Nothing here writes."""

    async def figures(self, queues: Sequence[QueueName]) -> dict[QueueName, QueueFigures]:
        return {name: self._figures_of(name) for name in queues if name in self._queues}

    def _figures_of(self, queue: QueueName) -> QueueFigures:
        states = Counter(one.state for one in self._here(queue))
        minutes = [self._now // 60_000 - back for back in range(5)]
        return QueueFigures(
            waiting=states[WAITING],
            leased=states[LEASED],
            scheduled=states[SCHEDULED],
            held=states[HELD],
            dead=states[DEAD],
            ended=sum(states[state] for state in FINAL - {DEAD}),
            pickers=self._pickers_of(queue),
            in_per_minute=sum(self._per_minute[queue, minute, "in"] for minute in minutes) / 5,
            out_per_minute=sum(self._per_minute[queue, minute, "out"] for minute in minutes) / 5,
        )

    async def handoffs(self, queue: QueueName, state: State, at_most: int) -> tuple[Handoff, ...]:
        if queue not in self._queues:
            return ()
        if state == WAITING:
            here = [self.kept[id].handoff for id in self._waiting(queue)]
        else:
            here = [one for one in self._here(queue) if one.state == state]
            by_time = BY_TIME.get(state, lambda one: one.ended_ms)
            here.sort(key=lambda one: (by_time(one), one.id), reverse=state in FINAL)
        return tuple(changed(one, **NOT_LISTED) for one in here[:at_most])

    async def entries(self, *, after: str = "", at_most: int = 100, handoff_id: str = "") -> tuple[Entry, ...]:
        if handoff_id:
            kept = self.kept.get(HandoffId(handoff_id))
            return tuple(kept.entries[-at_most:]) if kept else ()
        return tuple(self.ledger[int(after) + 1 :][:at_most] if after else self.ledger[-at_most:])

    async def ping(self) -> None:
        return

    async def refresh(self) -> None:
        return

    def waiting_for_work(self, queues: Sequence[QueueName]) -> AbstractAsyncContextManager[Waiting]:
        raise NotImplementedError("nobody waits in the model")

    def waiting_for_outcome(self, handoff_id: HandoffId) -> AbstractAsyncContextManager[Waiting]:
        raise NotImplementedError("nobody waits in the model")
