"""What another version of a contract means: for those who know the one before, and for what its queues hold now.

Said when it is registered, which by itself moves nothing, and before a queue is moved to it. It is a look and no
promise: work comes and goes meanwhile. So that it holds up nobody it is bounded in handoffs, bytes and time, and says
how far it came; what it has not looked at, it does not judge.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from dropoff.apart import NotComputedError
from dropoff.contracts.compare import Change, Comparison, compare
from dropoff.contracts.gate import Gate, Gates
from dropoff.contracts.schema import Schema, registered
from dropoff.core import payload
from dropoff.core.answers import StoredSchema
from dropoff.core.caller import Caller
from dropoff.core.handoff import AgentName, HandoffId, QueueName
from dropoff.core.queue import Queue, QueueFigures
from dropoff.core.refs import name_of, version_of
from dropoff.core.store import Store
from dropoff.errors import DropoffError, Problem, SchemaIncompatible
from dropoff.operations.acting import Acting

log = logging.getLogger("dropoff.operations")

HANDOFFS_MAX: Final = 10_000  # of one queue: 14 us each through the gate, and some more to read it
BYTES_MAX: Final = 64 << 20  # of their payloads
SECONDS_MAX: Final = 3.0  # for one queue, whatever its payloads cost the gate
REPORT_S_MAX: Final = 10.0  # after this no further queue is begun: a command waits 30 s for its answer
PAGE: Final = 32  # handoffs that are read at once: at worst 8 MB
SLICE_BYTES: Final = 65_536  # judged at once, before others have their turn: 0.6 ms
EXAMPLES_MAX: Final = 3
WITNESS_CHARS_MAX: Final = 300  # in a refusal; a look at what a version means shows the whole


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


class Meaning(msgspec.Struct, frozen=True, kw_only=True):
    """What a version of a schema means against the one before, and for each queue that has one of its name."""

    compared_with: str = ""  # nothing: it is the first
    comparison: Comparison | None = None
    queues: tuple[Effects, ...] = ()
    more_queues: int = 0  # for which there was no time
    untold: str = ""  # the code of what kept all this from being found out


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


class Moving(Acting):
    """Says what a version of a schema means."""

    async def compared(self, old: Schema, new: Schema) -> Comparison:
        """What `new` means for those who know `old`: apart, for of 64 values each it may take 0.1 s to find out."""
        try:
            return await self._apart(compare, old.as_object(), new.as_object())
        except NotComputedError as error:
            return Comparison(verdict="unknown", changes=(Change(path="payload", says=f"is not compared: {error}"),))

    async def meaning(self, caller: Caller, stored: StoredSchema) -> Meaning:
        """Of a version that is registered, or would be the next. Nothing is changed."""
        ref = stored.ref
        schema = Schema(name=name_of(ref), version=version_of(ref), hash=stored.hash, content=stored.content)

        async def look(_: Caller) -> Meaning:
            before = await self._before(schema)
            comparison = await self.compared(before, schema) if before else None
            queues, more = await self._for_queues(schema)
            return Meaning(
                compared_with=before.ref if before else "", comparison=comparison, queues=queues, more_queues=more
            )

        return await self._done(caller, "register schemas", look)

    async def meaning_for(self, queue: Queue, schema: Schema) -> Meaning:
        """Of a version for a queue that has another. Nothing is changed."""
        comparison = await self.compared(await self._of_queue(queue), schema)
        found = await effects(self.store, self._gates, queue, schema)
        return Meaning(compared_with=queue.schema, comparison=comparison, queues=(found,))

    async def require_compatible(self, queue: Queue, schema: Schema) -> None:
        """All that fits the version which the queue has fits this one, or `SchemaIncompatible`."""
        found = await self.compared(await self._of_queue(queue), schema)
        if found.verdict == "compatible":
            return
        witness = "" if found.witness is None else payload.canonical(found.witness).decode()
        raise SchemaIncompatible(
            queue=queue.name,
            has=queue.schema,
            wanted=schema.ref,
            certain=found.verdict == "incompatible",
            problems=tuple(Problem(path=change.path, problem=change.says) for change in found.changes),
            witness=witness if len(witness) <= WITNESS_CHARS_MAX else "",
        )

    async def meaning_after(self, caller: Caller, stored: StoredSchema) -> Meaning:
        """The same, of what has been pushed just now: what keeps it from being told is no failure of that."""
        try:
            return await self.meaning(caller, stored)
        except DropoffError as error:
            return Meaning(untold=error.code)
        except Exception as error:  # whatever it is, the schema is registered
            log.error("what %s means could not be told: %s", stored.ref, error, exc_info=error)
            return Meaning(untold="internal_error")

    async def _before(self, schema: Schema) -> Schema | None:
        """The version before this one; None for the first."""
        versions = await self._versions(schema.name)
        version = max((each for each in versions if each < schema.version), default=0)
        if not version:
            return None
        return await registered(self.store, f"{schema.name}@{version}", versions[version])

    async def _of_queue(self, queue: Queue) -> Schema:
        return await registered(self.store, queue.schema, queue.schema_hash)

    async def _versions(self, name: str) -> dict[int, str]:
        """Every version of this name, and its hash."""
        known = await self.store.schemas()
        return {version_of(ref): hash for ref, hash in known.items() if name_of(ref) == name}

    async def _for_queues(self, schema: Schema) -> tuple[tuple[Effects, ...], int]:
        """Of every queue that is pinned to a version of this name, until the time is up; and how many are left."""
        queues = await self.store.queues(fresh=True)
        named = [queue for _, queue in sorted(queues.items()) if name_of(queue.schema) == schema.name]
        now = asyncio.get_running_loop().time
        ends = now() + REPORT_S_MAX
        found: list[Effects] = []
        for queue in named:
            if now() > ends:
                break
            found.append(await effects(self.store, self._gates, queue, schema))
        return tuple(found), len(named) - len(found)
