"""What operators read: queues in numbers, handoffs by their state, the ledger. Nothing here writes."""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple, Self

from dropoff.core import limits
from dropoff.core.handoff import Handoff, QueueName, queue_of
from dropoff.core.ledger import Entry
from dropoff.core.lifecycle import LEASED, SCHEDULED, WAITING, State
from dropoff.core.queue import Queue, QueueFigures
from dropoff.core.rejections import Rejection, in_order
from dropoff.storage.records import Records
from dropoff.storage.replies import entry_of, handoff_of, rejection_of, texts_of

RATE_MINUTES: Final = 5

# A list shows these; a payload, a result and a checkpoint may have 256 kB each.
LISTED: Final = (
    *("id", "queue", "state", "sender", "dropped", "digest", "schema", "schema_hash", "note", "deliveries", "failures"),
    *("attempts_max", "holder", "fence", "lease_ends", "due", "ended", "reason", "progress", "withdrawal_asked"),
    *("expires", "parent", "next", "resubmit_of", "attempts"),
)


class InLine(NamedTuple):
    """One that waits, and since when: its entry's id is a time, and a number within that."""

    since_ms: int
    number: int
    id: str

    @classmethod
    def of(cls, entry: bytes, fields: Sequence[bytes]) -> Self:
        since_ms, _, number = entry.partition(b"-")
        return cls(int(since_ms), int(number), fields[1].decode())


class Reading(Records):
    """Answers from indexes and records as they are."""

    async def figures(self, queues: Sequence[QueueName]) -> dict[QueueName, QueueFigures]:
        known = await self.queues()
        names = [name for name in queues if name in known]
        now_ms = await self._now_ms()
        found = await asyncio.gather(*(self._figures_of(known[name], now_ms) for name in names))
        return dict(zip(names, found, strict=True))

    async def _figures_of(self, queue: Queue, now_ms: int) -> QueueFigures:
        def key(kind: str, **more: str) -> str:
            return self.keys.of(kind, queue=queue.name, **more)

        waiting, first = await asyncio.gather(self._waiting(queue), self._first_waiting(queue.name, 1))
        seen_since = str(now_ms - limits.PICKER_SEEN_MS)
        minutes = [key("minute", minute=str(now_ms // 60_000 - back)) for back in range(RATE_MINUTES)]
        found = await asyncio.gather(
            self._commit.ask("ZCARD", key("leases")),
            self._commit.ask("ZCARD", key("timers")),
            self._commit.ask("ZCARD", key("held")),
            self._commit.ask("ZCARD", key("dead")),
            self._commit.ask("ZCARD", key("final")),
            self._commit.ask("ZCOUNT", key("pickers"), seen_since, "+inf"),
            *(self._commit.ask("HMGET", minute, "in", "out") for minute in minutes),
        )
        leased, scheduled, held, dead, ended, pickers, *counted = found
        ins, outs = (sum(int(minute[i] or 0) for minute in counted) for i in (0, 1))
        return QueueFigures(
            waiting=sum(waiting.values()),
            waiting_of=waiting,
            leased=leased,
            scheduled=scheduled,
            held=held,
            dead=dead,
            ended=ended,
            pickers=pickers,
            oldest_ms=max(now_ms - first[0].since_ms, 0) if first else 0,
            in_per_minute=ins / RATE_MINUTES,
            out_per_minute=outs / RATE_MINUTES,
        )

    async def rejections(self, queue: QueueName) -> tuple[Rejection, ...]:
        found = texts_of(await self._commit.ask("HGETALL", self.keys.of("rejected", queue=queue)))
        return in_order(rejection_of(field, says) for field, says in found.items() if field != "@")

    async def handoffs(self, queue: QueueName, state: State, at_most: int) -> tuple[Handoff, ...]:
        known = await self.queues()
        if queue not in known:
            return ()
        ids = await self._ids(known[queue], state, at_most)
        asked = (self._commit.ask("HMGET", self.keys.of("handoff", queue=queue, id=id), *LISTED) for id in ids)
        found = [
            {name: value for name, value in zip(LISTED, values, strict=True) if value is not None}
            for values in await asyncio.gather(*asked)
        ]
        handoffs = (handoff_of(facts) for facts in found if facts)
        return tuple(handoff for handoff in handoffs if handoff.state == state)[:at_most]

    async def _ids(self, queue: Queue, state: State, at_most: int) -> list[str]:
        """Ids that the state's index holds. The final states but `dead` share one, newest first: ask for a few more."""
        if state == WAITING:
            return [one.id for one in await self._first_waiting(queue.name, at_most)]
        index = {LEASED: "leases", SCHEDULED: "timers", "held": "held", "dead": "dead"}.get(state, "final")
        newest_first = index in ("dead", "final")
        last = str((at_most * 10 if index == "final" else at_most) - 1)
        command = "ZREVRANGE" if newest_first else "ZRANGE"
        found = await self._commit.ask(command, self.keys.of(index, queue=queue.name), "0", last)
        return [id.decode() for id in found]

    async def _first_waiting(self, queue: QueueName, at_most: int) -> list[InLine]:
        """The first of those that wait, in the one order of all versions."""
        streams = await self._streams(queue)
        asked = (self._commit.ask("XRANGE", stream, "-", "+", "COUNT", str(at_most)) for stream in streams.values())
        heads = [head for found in await asyncio.gather(*asked) for head in found]
        return sorted(InLine.of(entry, fields) for entry, fields in heads)[:at_most]

    async def entries(self, *, after: str = "", at_most: int = 100, handoff_id: str = "") -> tuple[Entry, ...]:
        """Entries after one, oldest first; without `after` the newest; of one handoff, by walking back its chain."""
        log = self.keys.of("ledger")
        if handoff_id:
            return await self._chain(log, handoff_id, at_most)
        if after:
            found = await self._commit.ask("XRANGE", log, f"({after}", "+", "COUNT", str(at_most))
        else:
            found = list(reversed(await self._commit.ask("XREVRANGE", log, "+", "-", "COUNT", str(at_most))))
        return tuple(entry_of(id, fields) for id, fields in found)

    async def _chain(self, log: str, handoff_id: str, at_most: int) -> tuple[Entry, ...]:
        queue = queue_of(handoff_id)
        if queue is None:
            return ()
        found = await self._commit.ask("HGET", self.keys.of("handoff", queue=queue, id=handoff_id), "last")
        entries: list[Entry] = []
        last = found.decode() if found else ""
        while last and len(entries) < at_most:
            at = await self._commit.ask("XRANGE", log, last, last)
            if not at:
                break
            entries.append(entry_of(*at[0]))
            last = entries[-1].prev
        return tuple(reversed(entries))
