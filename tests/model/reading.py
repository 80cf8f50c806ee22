"""What operators read: queues in numbers, handoffs by their state, the ledger."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from dropoff.core import limits
from dropoff.core.answers import Pick
from dropoff.core.handoff import AgentName, Handoff, HandoffId, QueueName
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
            waiting_of=dict(Counter(one.schema for one in self._here(queue) if one.state == WAITING)),
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

    async def unleased(self, queue: QueueName, at_most: int) -> tuple[HandoffId, ...]:
        line = [one.id for state in (WAITING, SCHEDULED, HELD) for one in await self.handoffs(queue, state, at_most)]
        return tuple(line[:at_most])

    async def payloads(self, ids: Sequence[HandoffId]) -> dict[HandoffId, bytes]:
        known = [self.kept[id].handoff for id in ids if id in self.kept]
        return {one.id: one.payload for one in known if one.state in (WAITING, SCHEDULED, HELD)}

    async def picked_lately(self, queue: QueueName) -> tuple[Pick, ...]:
        """Of what is leased or has ended: by its last holder, and by those before."""
        newest: dict[tuple[AgentName, str], int] = {}
        for one in self._here(queue):
            if one.state == LEASED or one.state in FINAL:
                for agent, fence in ((one.holder, one.fence), *((was.agent, int(was.fence)) for was in one.attempts)):
                    newest[agent, one.schema] = max(newest.get((agent, one.schema), 0), fence)
        ago_ms = {who: max(self._now - at_ms, 0) for who, at_ms in newest.items() if who[0]}
        lately = sorted((ago, who) for who, ago in ago_ms.items() if ago <= limits.PICKED_LATELY_MS)
        return tuple(Pick(agent=agent, schema=schema, ago_ms=ago) for ago, (agent, schema) in lately)

    async def entries(self, *, after: str = "", at_most: int = 100, handoff_id: str = "") -> tuple[Entry, ...]:
        if handoff_id:
            kept = self.kept.get(HandoffId(handoff_id))
            return tuple(kept.entries[-at_most:]) if kept else ()
        return tuple(self.ledger[int(after) + 1 :][:at_most] if after else self.ledger[-at_most:])

    async def ping(self) -> None:
        return

    async def refresh(self) -> None:
        return

    def waiting_for_work(
        self, queues: Sequence[QueueName], accepts: Sequence[str] = ()
    ) -> AbstractAsyncContextManager[Waiting]:
        raise NotImplementedError("nobody waits in the model")

    def waiting_for_outcome(self, handoff_id: HandoffId) -> AbstractAsyncContextManager[Waiting]:
        raise NotImplementedError("nobody waits in the model")
