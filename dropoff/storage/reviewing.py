"""What is read before a queue's contract changes: what nobody holds yet, who has been picking up. Nothing here writes.

Payloads are read in two steps, ids first and then a few records at a time, so that however much waits, neither the
store nor this broker holds up others for long. A record may have moved on between the two; then it is left out.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from dropoff.core import limits
from dropoff.core.answers import Pick
from dropoff.core.handoff import AgentName, Attempt, HandoffId, QueueName
from dropoff.core.lifecycle import HELD, SCHEDULED, WAITING, State
from dropoff.storage.reading import Reading
from dropoff.storage.replies import Facts, number

UNLEASED: Final[tuple[State, ...]] = (WAITING, SCHEDULED, HELD)
_PICKED: Final = ("holder", "fence", "schema", "attempts")


class Reviewing(Reading):
    """Answers from indexes and records as they are."""

    async def unleased(self, queue: QueueName, at_most: int) -> tuple[HandoffId, ...]:
        known = await self.queues()
        ids: list[str] = []
        for state in UNLEASED if queue in known else ():
            if len(ids) < at_most:
                ids += await self._ids(known[queue], state, at_most - len(ids))
        return tuple(HandoffId(id) for id in ids)

    async def payloads(self, ids: Sequence[HandoffId]) -> dict[HandoffId, bytes]:
        found = await self._fields(ids, ("state", "payload"))
        states = {state.encode() for state in UNLEASED}
        return {id: facts.get("payload", b"") for id, facts in found.items() if facts.get("state") in states}

    async def picked_lately(self, queue: QueueName) -> tuple[Pick, ...]:
        """A fence is the store's time of the pick in ms, or the one before and one more: it says when, for each."""
        newest: dict[tuple[AgentName, str], int] = {}
        for facts in (await self._fields(await self._picked_ids(queue), _PICKED)).values():
            for agent, fence in _holders(facts):
                who = agent, facts.get("schema", b"").decode()
                newest[who] = max(newest.get(who, 0), fence)
        now_ms = await self._now_ms()
        lately = sorted((max(now_ms - fence, 0), who) for who, fence in newest.items())
        return tuple(
            Pick(agent=agent, schema=schema, ago_ms=ago_ms)
            for ago_ms, (agent, schema) in lately
            if ago_ms <= limits.PICKED_LATELY_MS
        )

    async def _picked_ids(self, queue: QueueName) -> list[HandoffId]:
        last = str(limits.PICKS_READ - 1)
        indexes = (self.keys.of(index, queue=queue) for index in ("leases", "dead", "final"))
        found = await asyncio.gather(*(self._commit.ask("ZREVRANGE", index, "0", last) for index in indexes))
        return [HandoffId(id.decode()) for ids in found for id in ids]

    async def _fields(self, ids: Sequence[HandoffId], names: Sequence[str]) -> dict[HandoffId, Facts]:
        """These fields, where there is a record that has them."""
        found = await asyncio.gather(*(self._commit.ask("HMGET", self._handoff_key(id), *names) for id in ids))
        return {
            id: {name: value for name, value in zip(names, values, strict=True) if value is not None}
            for id, values in zip(ids, found, strict=True)
        }


def _holders(facts: Facts) -> Iterator[tuple[AgentName, int]]:
    """The last one, and those before of whom the record still knows."""
    if facts.get("holder"):
        yield AgentName(facts["holder"].decode()), number(facts, "fence")
    if facts.get("attempts"):
        for attempt in msgspec.json.decode(facts["attempts"], type=tuple[Attempt, ...]):
            yield attempt.agent, int(attempt.fence)
