"""What a version of a schema would mean for what a queue holds now.

It is a look and no promise: work comes and goes meanwhile. So that it holds up nobody it is bounded in handoffs, bytes
and time, and says how far it came; what it has not looked at, it does not judge.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from dropoff.contracts.gate import Gate, Gates
from dropoff.contracts.schema import Schema
from dropoff.core.handoff import AgentName, HandoffId, QueueName
from dropoff.core.queue import Queue, QueueFigures
from dropoff.core.store import Store

HANDOFFS_MAX: Final = 10_000  # of one queue: 14 us each through the gate, and some more to read it
BYTES_MAX: Final = 64 << 20  # of their payloads
SECONDS_MAX: Final = 3.0  # for one queue, whatever its payloads cost the gate
PAGE: Final = 32  # handoffs that are read at once: at worst 8 MB
SLICE_BYTES: Final = 65_536  # judged at once, before others have their turn: 0.6 ms
EXAMPLES_MAX: Final = 3


class Misfit(msgspec.Struct, frozen=True, kw_only=True):
    """A handoff that would not fit, and the first problem with it."""

    handoff_id: HandoffId
    path: str
    problem: str


class Picker(msgspec.Struct, frozen=True, kw_only=True):
    """Who picked up within the last hour, and by which version that had been judged."""

    agent: AgentName
    schema: str
    seconds_ago: int


class Effects(msgspec.Struct, frozen=True, kw_only=True):
    """What a schema means for one queue. `waiting` counts all that nobody holds yet: waiting, scheduled or held."""

    queue: QueueName
    pinned_now: str
    waiting: int
    looked_at: int  # where it is less than `waiting`: the first in line
    would_not_fit: int  # of those looked at
    examples: tuple[Misfit, ...]
    picked_up: tuple[Picker, ...]


async def effects(store: Store, gates: Gates, queue: Queue, schema: Schema) -> Effects:
    """What it would mean now if the queue had this schema. Nothing is changed."""
    figures = (await store.figures([queue.name])).get(queue.name, QueueFigures())
    look = _Look(gates.of(schema))
    await look.along(store, await store.unleased(queue.name, HANDOFFS_MAX))
    return Effects(
        queue=queue.name,
        pinned_now=queue.schema,
        waiting=figures.waiting + figures.scheduled + figures.held,
        looked_at=look.looked_at,
        would_not_fit=look.would_not_fit,
        examples=tuple(look.examples),
        picked_up=tuple(
            Picker(agent=pick.agent, schema=pick.schema, seconds_ago=pick.ago_ms // 1_000)
            for pick in await store.picked_lately(queue.name)
        ),
    )


@dataclass
class _Look:
    """One walk along what waits, with a gate that is not in force yet."""

    gate: Gate
    looked_at: int = 0
    would_not_fit: int = 0
    read_bytes: int = 0
    examples: list[Misfit] = field(default_factory=list[Misfit])

    async def along(self, store: Store, line: Sequence[HandoffId]) -> None:
        now = asyncio.get_running_loop().time
        ends, pause_at = now() + SECONDS_MAX, SLICE_BYTES
        for start in range(0, len(line), PAGE):
            for id, raw in (await store.payloads(line[start : start + PAGE])).items():
                if self.read_bytes + len(raw) > BYTES_MAX or now() > ends:
                    return
                self.take(id, raw)
                if self.read_bytes >= pause_at:
                    pause_at = self.read_bytes + SLICE_BYTES
                    await asyncio.sleep(0)

    def take(self, id: HandoffId, raw: bytes) -> None:
        value = msgspec.json.decode(raw)
        self.looked_at += 1
        self.read_bytes += len(raw)
        if self.gate.fits(value):
            return
        self.would_not_fit += 1
        if len(self.examples) < EXAMPLES_MAX:
            first = self.gate.judge(value)[0]
            self.examples.append(Misfit(handoff_id=id, path=first.path, problem=first.problem))
