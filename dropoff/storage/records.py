"""The records that decisions are made from: principals and their gate, queues with what they rejected, schemas.

Principals and queues are remembered, and what is remembered may be old. The gate and the queue's revision find that out
inside the step (`stale`), so a memory can make a call slower, never wrong.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import cast

import msgspec

from dropoff.core.answers import Gated, StoredSchema
from dropoff.core.caller import EVERYONE, Caller, Principal, Revision, caller_upkeep
from dropoff.core.deciding import half_done
from dropoff.core.handoff import AgentName, QueueName
from dropoff.core.queue import Queue
from dropoff.core.rejections import Fault
from dropoff.core.store import Stale
from dropoff.errors import BrokerUnavailable, QueueExists
from dropoff.storage.connection import Source
from dropoff.storage.keys import Keys
from dropoff.storage.replies import facts_of, queue_of_record, texts_of
from dropoff.storage.steps import Steps


class Records(Steps):
    """Reads and writes the records of one store."""

    def __init__(self, source: Source, keys: Keys, clock_ms: Callable[[], int] | None) -> None:
        super().__init__(source, keys, clock_ms)
        self._principals: dict[AgentName, Principal] = {}
        self._queues: dict[QueueName, Queue] | None = None

    # ---- who may what -------------------------------------------------------------------------------------------

    async def principal(self, agent: AgentName, *, fresh: bool = False) -> Principal | None:
        if not fresh and agent in self._principals:
            return self._principals[agent]
        found = await self._commit.ask("HMGET", self.keys.of("agent", agent=agent), "rev", "content")
        if found[0] is None:
            self._principals.pop(agent, None)
            return None
        principal = msgspec.json.decode(found[1], type=Principal)
        principal = msgspec.structs.replace(principal, rev=Revision(found[0].decode()))
        self._principals[agent] = principal
        return principal

    async def principals(self) -> tuple[Principal, ...]:
        """Every agent and operator; everybody at once (`*`) is none of them."""
        agents = await self._commit.ask("SMEMBERS", self.keys.of("agents"))
        names = sorted({name.decode() for name in agents} - {EVERYONE})
        found = await asyncio.gather(*(self.principal(AgentName(name), fresh=True) for name in names))
        return tuple(principal for principal in found if principal is not None)

    async def agent_by_bearer(self, bearer_hash: str) -> AgentName | None:
        found = await self._commit.ask("HGET", self.keys.of("bearers"), bearer_hash)
        return None if found is None else AgentName(found.decode())

    async def put_principal(self, by: Caller, principal: Principal) -> Principal:
        content = msgspec.json.encode(msgspec.structs.replace(principal, rev=Revision("0")))
        reply = await self._run(
            "put_principal",
            by,
            {
                **self._log_keys(),
                "record": self.keys.of("agent", agent=principal.agent),
                "agents": self.keys.of("agents"),
                "admins": self.keys.of("admins"),
                "bearers": self.keys.of("bearers"),
                "changing": self.keys.of("changing"),
            },
            partition_keys=self.keys.base,
            agent=principal.agent,
            expected=principal.rev,
            content=content,
            bearers_now=" ".join(principal.bearers),
            governs="1" if principal.governs else "",
        )
        written = await self._written_already(principal) if reply.word == "stale" else None
        if written is None:
            self._raise_refusal(reply)
            written = msgspec.structs.replace(principal, rev=Revision(reply.facts["rev"].decode()))
        with half_done():
            return await self._opened(by, written)

    async def _written_already(self, principal: Principal) -> Principal | None:
        """The step may have run before, with its answer lost: then the record holds just what was asked for."""
        now = await self.principal(principal.agent, fresh=True)
        if now is None or msgspec.structs.replace(now, rev=principal.rev) != principal or now.rev == principal.rev:
            return None
        return now

    async def _opened(self, by: Caller, principal: Principal) -> Principal:
        """The record is written; now the gate. Whoever dies in between leaves the rest to upkeep (`changing`).

        A gate that is ahead was closed by mending, which found the record lost while somebody made it anew. The record
        is the truth, and is put again as it is, above that word. This undoes no revocation: that stands in the record
        before it comes to the gate, and both lie on one node, so a store that comes back older has lost the gate's word
        first.
        """
        self._principals[principal.agent] = principal
        told = await self.gate(by, principal.agent, principal.rev, principal.standing, principal.reason)
        if told == "behind":
            with suppress(Stale):  # somebody has changed the record since, and his is put above as well
                return await self.put_principal(caller_upkeep(), principal)
        keys = {"changing": self.keys.of("changing")}
        await self._run("changed", caller_upkeep(), keys, agent=principal.agent, agent_rev=principal.rev)
        return principal

    async def enforce(self, agent: AgentName) -> Principal | None:
        principal = await self.principal(agent, fresh=True)
        return None if principal is None else await self._opened(caller_upkeep(), principal)

    async def changing(self) -> tuple[AgentName, ...]:
        gate, agents = self.keys.of("gate"), self.keys.of("agents")
        found, known, there = await asyncio.gather(
            self._commit.ask("HKEYS", self.keys.of("changing")),
            self._commit.ask("HLEN", gate),
            self._commit.ask("SCARD", agents),
        )
        names = set[bytes](found)
        if known < there:  # the gate has lost its words
            names |= {*await self._commit.ask("SMEMBERS", agents)} - {*await self._commit.ask("HKEYS", gate)}
        return tuple(AgentName(name.decode()) for name in sorted(names))

    async def gate(self, by: Caller, agent: AgentName, rev: str, standing: str, reason: str = "") -> Gated:
        kinds = ("beat", "recalls")
        reply = await self._run(
            "gate",
            by,
            {
                **self._log_keys(),
                **{kind: self.keys.of(kind) for kind in kinds},
                "holds": self.keys.of("holds", agent=agent),
                "record": self.keys.of("agent", agent=agent),
            },
            agent=agent,
            agent_rev=rev,
            agent_standing=standing,
            reason=reason,
        )
        self._raise_refusal(reply)
        return cast(Gated, reply.word)

    async def standing(self, agent: AgentName) -> str:
        found = await self._commit.ask("HGET", self.keys.of("gate"), agent)
        return found.decode() if found else ""

    # ---- queues and schemas -------------------------------------------------------------------------------------

    async def queues(self, *, fresh: bool = False) -> dict[QueueName, Queue]:
        if self._queues is None or fresh:
            found = facts_of(await self._commit.ask("HGETALL", self.keys.of("queues")))
            read = (found[name].partition(b" ") for name in sorted(found))
            self._queues = {queue.name: queue for queue in (queue_of_record(rev, content) for rev, _, content in read)}
        return self._queues

    async def put_queue(self, by: Caller, queue: Queue) -> Queue:
        content = msgspec.json.encode(msgspec.structs.replace(queue, rev=Revision("0")))
        reply = await self._run(
            "put_queue",
            by,
            {**self._log_keys(), "config": self.keys.of("config", queue=queue.name), "queues": self.keys.of("queues")},
            queue=queue.name,
            expected=queue.rev,
            wake=self.keys.wake,
            content=content,
            schema=queue.schema,
            schema_hash=queue.schema_hash,
            result_schema_hash=queue.result_schema_hash,
            version=queue.version,
            lease_ms=str(queue.lease_ms),
            attempts_max=str(queue.attempts_max),
            waiting_max=str(queue.waiting_max),
            state=queue.state,
            approval="1" if queue.approval else "",
            expires_ms=str(queue.expires_ms),
            retention_ms=str(queue.retention_ms),
            reason=queue.reason,
        )
        self._raise_refusal(reply)
        written = msgspec.structs.replace(queue, rev=Revision(reply.facts["rev"].decode()))
        if reply.word == "exists" and reply.facts["content"] != content:
            if reply.again:  # it may have been made by this call, and edited by another since
                raise BrokerUnavailable(stored="unknown")
            there = queue_of_record(reply.facts["rev"], reply.facts["content"])
            differs = tuple(name for name in queue.__struct_fields__ if getattr(there, name) != getattr(written, name))
            raise QueueExists(queue=queue.name, differs=differs)
        self._queues = None  # read anew by who needs them: here a lost connection would deny what is stored
        return written

    async def remove_queue(self, by: Caller, queue: Queue) -> bool:
        keys = self._queue_keys(queue.name) | {
            "queues": self.keys.of("queues"),
            "rejected": self.keys.of("rejected", queue=queue.name),
        }
        reply = await self._run(
            "remove_queue", by, keys, **self._queue_args(queue.name), queue=queue.name, expected=queue.rev
        )
        self._raise_refusal(reply)
        self._queues = None
        return reply.word == "removed"

    async def count_rejections(self, queue: QueueName, schema: str, counts: Mapping[Fault, int], request: str) -> None:
        await self._run(
            "count_rejections",
            caller_upkeep(),
            {kind: self.keys.of(kind, queue=queue) for kind in ("config", "rejected")},
            schema=schema,
            counts=msgspec.json.encode([(" ".join(fault), counts[fault]) for fault in sorted(counts)]),
            request=request,
        )

    async def schema(self, hash: str) -> StoredSchema | None:
        content = await self._commit.ask("GET", self.keys.of("schema", hash=hash))
        if content is None:
            return None
        ref = next((ref for ref, known in (await self.schemas()).items() if known == hash), "")
        return StoredSchema(ref=ref, hash=hash, content=content)

    async def schemas(self) -> dict[str, str]:
        pairs = texts_of(await self._commit.ask("HGETALL", self.keys.of("schemas")))
        return {ref: pairs[ref] for ref in sorted(pairs) if "@" in ref}

    async def put_schema(self, by: Caller, name: str, hash: str, content: bytes) -> tuple[StoredSchema, bool]:
        keys = self._schema_keys(hash)
        reply = await self._run("put_schema", by, keys, name=name, hash=hash, content=content, version="")
        self._raise_refusal(reply)
        return StoredSchema(ref=reply.facts["ref"].decode(), hash=hash, content=content), reply.word == "written"

    def _schema_keys(self, hash: str) -> dict[str, str]:
        return self._log_keys() | {"schema": self.keys.of("schema", hash=hash), "schemas": self.keys.of("schemas")}
