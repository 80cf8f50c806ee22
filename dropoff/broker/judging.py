"""What callers bring, in its one encoding, if it is within bounds and what the contract says."""

from functools import partial
from typing import Any, Final

from dropoff.broker.rejections import Noted
from dropoff.contracts.gate import Gates
from dropoff.contracts.schema import Schema, registered
from dropoff.core import payload
from dropoff.core.queue import Queue
from dropoff.core.store import Store
from dropoff.errors import ArgumentsInvalid, PayloadInvalid, ResultInvalid

SCHEMAS_KEPT: Final = 1_000


class Contracts:
    """Holds payloads and results against the schemas that their queues are pinned to, and remembers these."""

    def __init__(self, store: Store, gates: Gates) -> None:
        self._store = store
        self._gates = gates
        self._schemas: dict[tuple[str, str], Schema] = {}

    async def judged(
        self,
        queue: Queue,
        brought: object,
        refusal: payload.Refusal | None = None,
        root: str = "payload",
        *,
        noted: Noted | None = None,
    ) -> bytes:
        """The payload in its one encoding, if within bounds and as the queue's schema says; `noted` hears why not."""
        refusal, noted = refusal or partial(PayloadInvalid, schema=queue.schema), noted or Noted()
        noted.begins(queue.name, queue.schema)
        payload.bound(brought, refusal=refusal, root=root, queue=queue.name, bytes_max=queue.payload_bytes_max)
        problems, noted.faults = self._gates.of(await self.schema(queue)).verdict(brought, root)
        if problems:
            raise refusal(problems=problems)
        return payload.canonical(brought)

    async def schema(self, queue: Queue) -> Schema:
        """The schema that the queue is pinned to."""
        return await self._pinned(queue.schema, queue.schema_hash)

    async def result_schema(self, queue: Queue) -> Schema | None:
        """The schema that results must fit; None where any object is a result."""
        return await self._pinned(queue.result_schema, queue.result_schema_hash) if queue.result_schema else None

    async def result_fits(self, queue: Queue, brought: object) -> str:
        """By which schema this result, within bounds, was judged and found to fit: its hash; "" where there is none."""
        schema = await self.result_schema(queue)
        if schema is None:
            return ""
        self._gates.require(schema, brought, refusal=partial(ResultInvalid, schema=schema.ref), root="result")
        return schema.hash

    async def _pinned(self, ref: str, hash: str) -> Schema:
        """By its hash, so what is remembered is never old; and by its name, for two may have the same content."""
        known = self._schemas.get((ref, hash))
        if known is None:
            known = await registered(self._store, ref, hash)
            if len(self._schemas) >= SCHEMAS_KEPT:
                self._schemas.clear()
            self._schemas[ref, hash] = known
        return known


def result(brought: dict[str, Any]) -> bytes:
    """The result in its one encoding, if it is within bounds; what it must be its queue's result schema says."""
    payload.bound(brought, refusal=ResultInvalid, root="result", what="Result")
    return payload.canonical(brought)


def checkpoint(verb: str, brought: dict[str, Any]) -> bytes:
    """The checkpoint in its one encoding; empty when there is none."""
    refusal = partial(ArgumentsInvalid, verb=verb)
    payload.bound(brought, refusal=refusal, root="checkpoint", what="Checkpoint")
    return payload.canonical(brought) if brought else b""
