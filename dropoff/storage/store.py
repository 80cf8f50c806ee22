"""The store: names the keys of a step, runs it, and makes its answer a record or an error.

What a step decides is written in its Lua file; what it means to a caller is written in `core/store.py`. Here is the way
between: values in, words out. Two things are remembered, and both may be old: principals and queues. The gate and
the queue's revision find that out inside the step (`stale`), so a cache can make a call slower, never wrong.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple, cast

import msgspec
from redis.exceptions import NoScriptError, ResponseError

from dropoff.core import limits
from dropoff.core.caller import Caller, Principal, Revision, caller_upkeep
from dropoff.core.handoff import AgentName, Attempt, Handoff, HandoffId, NewHandoff, QueueName, queue_of
from dropoff.core.lease import Lease
from dropoff.core.ledger import Durability, Entry, Receipt, leaf
from dropoff.core.lifecycle import LEASED, SCHEDULED, WAITING, State
from dropoff.core.queue import Queue, QueueFigures
from dropoff.core.store import (
    Completed,
    DroppedOff,
    Extended,
    HandedBack,
    Overdue,
    PickedUp,
    Settling,
    Stale,
    StoredSchema,
    Withdrawn,
)
from dropoff.errors import (
    AlreadySettled,
    BrokerUnavailable,
    DropoffError,
    Frozen,
    HandoffSettled,
    HandoffUnknown,
    LeaseLost,
    LeaseUnknown,
    QueueExists,
    QueueFull,
    RequestConflict,
    StoreRefused,
    Unauthenticated,
)
from dropoff.storage.commit import Commit
from dropoff.storage.connection import Examined, Source, durability, examine, lacks_rights
from dropoff.storage.keys import Keys
from dropoff.storage.scripts import script
from dropoff.storage.wakes import Waiter, Wakes

Facts = dict[str, bytes]

RATE_MINUTES: Final = 5

# What a server answers that did not run the step and may do so later.
BROKEN: Final = ("OOM", "MISCONF", "READONLY", "LOADING", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "BUSY")


class Reply(NamedTuple):
    """What a step answered."""

    word: str
    facts: Facts
    entry: Entry | None


class RedisStore:
    """Implements `core.store.Store` on one node."""

    def __init__(self, source: Source, keys: Keys | None = None, clock_ms: Callable[[], int] | None = None) -> None:
        self.keys = keys or Keys()
        self._commit = Commit(source)
        self._wakes = Wakes(source, self.keys.wake, self._waiting_in)
        self._clock_ms = clock_ms
        self._durability: Durability = "memory"
        self._principals: dict[AgentName, Principal] = {}
        self._queues: dict[QueueName, Queue] | None = None

    async def start(self) -> Examined:
        """Connect, and refuse a store that cannot keep what is promised."""
        self._commit.start()
        try:
            found = await examine(self._commit.ask)
            await self._prove_rights()
        except BrokerUnavailable as error:
            await self.close()
            raise StoreRefused("The store cannot be reached. Is it running, and is DROPOFF_STORE right?") from error
        except BaseException:
            await self.close()
            raise
        self._durability = found.durability
        self._wakes.start()
        return found

    async def close(self) -> None:
        await self._wakes.close()
        await self._commit.close()

    def end_waits(self) -> None:
        """The broker is about to stop: whoever waits gets its empty answer."""
        self._wakes.end_waits()

    async def ping(self) -> None:
        await self._commit.ask("PING")

    async def refresh(self) -> None:
        self._durability = await durability(self._commit.ask)

    # ---- what agents ask ----------------------------------------------------------------------------------------

    async def drop_off(self, caller: Caller, queue: Queue, handoff: NewHandoff) -> DroppedOff:
        reply = await self._step(
            "drop_off",
            caller,
            queue.name,
            handoff.id,
            id=handoff.id,
            queue=queue.name,
            config_rev=queue.rev,
            payload=handoff.payload,
            salt=handoff.salt,
            digest=handoff.digest,
            content=handoff.content,
            note=handoff.note,
            delay_ms=str(handoff.delay_ms),
        )
        self._raise_refusal(reply, queue_name=queue.name)
        return DroppedOff(
            receipt=self._receipt(handoff.id, reply),
            state=cast(State, reply.facts["state"].decode()),
            ahead_of_it=_number(reply.facts, "ahead"),
            pickers=_number(reply.facts, "pickers"),
            repeated=reply.word == "repeated",
        )

    async def pick_up(self, caller: Caller, queue: Queue, request: str) -> PickedUp | None:
        remembered = hashlib.sha256(f"{queue.name}\0{request}".encode()).hexdigest()[:32]
        keys = self._queue_keys(queue.name) | {"pick": self.keys.of("pick", agent=caller.agent, request=remembered)}
        reply = await self._run("pick_up", caller, keys, **self._queue_args(queue.name), version=queue.version)
        self._raise_refusal(reply)
        if reply.word == "empty":
            return None
        handoff = _handoff(reply.facts)
        return PickedUp(
            receipt=self._receipt(handoff.id, reply),
            lease=Lease(handoff.id, handoff.fence),
            handoff=handoff,
            waiting=_number(reply.facts, "waiting"),
            repeated=reply.word == "repeated",
        )

    async def extend(
        self, caller: Caller, lease: Lease, *, progress: str, checkpoint: bytes, request: str, content: str
    ) -> Extended:
        reply = await self._lease_step(
            "extend",
            caller,
            lease,
            request=request,
            content=content,
            progress=progress,
            checkpoint=checkpoint,
            lease_ms_max=str(limits.LEASE_MS_MAX),
        )
        return Extended(
            receipt=self._receipt(lease.handoff_id, reply),
            lease_ends_ms=int(reply.entry.lease_ends or 0) if reply.entry else 0,
            withdrawal_asked=bool(reply.facts.get("withdrawal_asked")),
        )

    async def complete(self, caller: Caller, lease: Lease, result: bytes) -> Completed:
        content = hashlib.sha256(result).hexdigest()
        reply = await self._lease_step("complete", caller, lease, request="complete", content=content, result=result)
        return Completed(receipt=self._receipt(lease.handoff_id, reply), repeated=reply.word == "repeated")

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
        reply = await self._lease_step(
            "hand_back",
            caller,
            lease,
            request=request,
            content=content,
            verb=verb,
            reason=reason,
            delay_ms="" if delay_ms is None else str(delay_ms),
            checkpoint=checkpoint,
        )
        entry = reply.entry
        assert entry is not None
        return HandedBack(
            receipt=self._receipt(lease.handoff_id, reply),
            state=cast(State, entry.to),
            attempts_left=max(_number(reply.facts, "attempts_max") - int(entry.failures or 0), 0),
        )

    async def withdraw(self, caller: Caller, handoff_id: HandoffId, *, reason: str, may_operate: bool) -> Withdrawn:
        reply = await self._handoff_step(
            "withdraw", caller, handoff_id, reason=reason, may_operate="1" if may_operate else "0"
        )
        assert reply.entry is not None
        return Withdrawn(
            receipt=self._receipt(handoff_id, reply),
            state=cast(State, reply.entry.to),
            repeated=reply.word == "repeated",
        )

    async def check(self, caller: Caller, handoff_id: HandoffId, *, may_inspect: bool) -> Handoff:
        reply = await self._handoff_step("check", caller, handoff_id, may_inspect="1" if may_inspect else "0")
        return _handoff(reply.facts)

    async def leases_of(self, agent: AgentName) -> tuple[Lease, ...]:
        held = await self._commit.ask("ZRANGE", self.keys.of("holds", agent=agent), "0", "99", "WITHSCORES")
        return tuple(Lease(HandoffId(held[i].decode()), int(held[i + 1])) for i in range(0, len(held), 2))

    # ---- who waits ----------------------------------------------------------------------------------------------

    def waiting_for_work(self, queues: Sequence[QueueName]) -> AbstractAsyncContextManager[Waiter]:
        return self._wakes.place(queues, queues=True)

    def waiting_for_outcome(self, handoff_id: HandoffId) -> AbstractAsyncContextManager[Waiter]:
        return self._wakes.place([handoff_id], queues=False)

    async def _waiting_in(self, queues: Sequence[QueueName]) -> dict[str, int]:
        known = await self.queues()
        streams = {
            name: self.keys.of("ready", queue=name, version=known[name].version) for name in queues if name in known
        }
        lengths = await asyncio.gather(*(self._commit.ask("XLEN", stream) for stream in streams.values()))
        return dict(zip(streams, lengths, strict=True))

    # ---- what the clock starts ----------------------------------------------------------------------------------

    async def overdue(self, queue: QueueName, at_most: int) -> Overdue:
        reply = await self._step("overdue", caller_upkeep(), queue, at_most=str(at_most))
        leases, timers = (reply.facts[kind].decode().split() for kind in ("leases", "timers"))
        return Overdue(leases=tuple(map(HandoffId, leases)), timers=tuple(map(HandoffId, timers)))

    async def lapse(self, handoff_id: HandoffId) -> Receipt | None:
        return await self._by_clock("lapse", handoff_id)

    async def due(self, handoff_id: HandoffId) -> Receipt | None:
        return await self._by_clock("due", handoff_id)

    async def _by_clock(self, step: str, handoff_id: HandoffId) -> Receipt | None:
        reply = await self._handoff_step(step, caller_upkeep(), handoff_id)
        return None if reply.word == "nothing" else self._receipt(handoff_id, reply)

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
        names = sorted(name.decode() for name in await self._commit.ask("SMEMBERS", self.keys.of("agents")))
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
                "bearers": self.keys.of("bearers"),
            },
            agent=principal.agent,
            expected=principal.rev,
            content=content,
            bearers_now=" ".join(principal.bearers),
        )
        if reply.word == "stale":
            return await self._written_already(by, principal)
        self._raise_refusal(reply)
        written = msgspec.structs.replace(principal, rev=Revision(reply.facts["rev"].decode()))
        return await self._opened(by, written)

    async def _written_already(self, by: Caller, principal: Principal) -> Principal:
        """The step may have run before, with its answer lost: then the record holds just what was asked for."""
        now = await self.principal(principal.agent, fresh=True)
        if now is None or msgspec.structs.replace(now, rev=principal.rev) != principal or now.rev == principal.rev:
            raise Stale
        return await self._opened(by, now)

    async def _opened(self, by: Caller, principal: Principal) -> Principal:
        self._principals[principal.agent] = principal
        await self.gate(by, principal.agent, principal.rev, principal.standing, principal.reason)
        return principal

    async def gate(self, by: Caller, agent: AgentName, rev: str, standing: str, reason: str = "") -> bool:
        reply = await self._run(
            "gate",
            by,
            self._log_keys(),
            agent=agent,
            agent_rev=rev,
            agent_standing=standing,
            reason=reason,
        )
        self._raise_refusal(reply)
        return reply.word == "changed"

    # ---- queues and schemas -------------------------------------------------------------------------------------

    async def queues(self, *, fresh: bool = False) -> dict[QueueName, Queue]:
        if self._queues is None or fresh:
            names = sorted(name.decode() for name in await self._commit.ask("HKEYS", self.keys.of("queues")))
            read = await asyncio.gather(
                *(self._commit.ask("HMGET", self.keys.of("config", queue=name), "rev", "content") for name in names)
            )
            self._queues = {queue.name: queue for queue in (_queue(rev, content) for rev, content in read if rev)}
        return self._queues

    async def put_queue(self, by: Caller, queue: Queue) -> Queue:
        content = msgspec.json.encode(msgspec.structs.replace(queue, rev=Revision("0")))
        reply = await self._run(
            "put_queue",
            by,
            {**self._log_keys(), "config": self.keys.of("config", queue=queue.name), "queues": self.keys.of("queues")},
            queue=queue.name,
            partition=self.keys.partition,
            content=content,
            schema=queue.schema,
            schema_hash=queue.schema_hash,
            version=queue.version,
            lease_ms=str(queue.lease_ms),
            attempts_max=str(queue.attempts_max),
            waiting_max=str(queue.waiting_max),
        )
        self._raise_refusal(reply)
        written = msgspec.structs.replace(queue, rev=Revision(reply.facts["rev"].decode()))
        if reply.word == "exists" and reply.facts["content"] != content:
            there = _queue(reply.facts["rev"], reply.facts["content"])
            differs = tuple(name for name in queue.__struct_fields__ if getattr(there, name) != getattr(written, name))
            raise QueueExists(queue=queue.name, differs=differs)
        await self.queues(fresh=True)
        return written

    async def schema(self, hash: str) -> StoredSchema | None:
        content = await self._commit.ask("GET", self.keys.of("schema", hash=hash))
        if content is None:
            return None
        ref = next((ref for ref, known in (await self.schemas()).items() if known == hash), "")
        return StoredSchema(ref=ref, hash=hash, content=content)

    async def schemas(self) -> dict[str, str]:
        found = await self._commit.ask("HGETALL", self.keys.of("schemas"))
        pairs = {found[i].decode(): found[i + 1].decode() for i in range(0, len(found), 2)}
        return {ref: pairs[ref] for ref in sorted(pairs) if "@" in ref}

    async def put_schema(self, by: Caller, name: str, hash: str, content: bytes) -> tuple[StoredSchema, bool]:
        keys = {
            **self._log_keys(),
            "schema": self.keys.of("schema", hash=hash),
            "schemas": self.keys.of("schemas"),
        }
        reply = await self._run("put_schema", by, keys, name=name, hash=hash, content=content)
        self._raise_refusal(reply)
        return StoredSchema(ref=reply.facts["ref"].decode(), hash=hash, content=content), reply.word == "written"

    # ---- what operators read ------------------------------------------------------------------------------------

    async def figures(self, queues: Sequence[QueueName]) -> dict[QueueName, QueueFigures]:
        known = await self.queues()
        names = [name for name in queues if name in known]
        now_ms = await self._now_ms()
        found = await asyncio.gather(*(self._figures_of(known[name], now_ms) for name in names))
        return dict(zip(names, found, strict=True))

    async def _figures_of(self, queue: Queue, now_ms: int) -> QueueFigures:
        def key(kind: str, **more: str) -> str:
            return self.keys.of(kind, queue=queue.name, **more)

        ready, seen_since = key("ready", version=queue.version), str(now_ms - limits.PICKER_SEEN_MS)
        minutes = [key("minute", minute=str(now_ms // 60_000 - back)) for back in range(RATE_MINUTES)]
        found = await asyncio.gather(
            self._commit.ask("XLEN", ready),
            self._commit.ask("ZCARD", key("leases")),
            self._commit.ask("ZCARD", key("timers")),
            self._commit.ask("ZCARD", key("dead")),
            self._commit.ask("ZCARD", key("final")),
            self._commit.ask("ZCOUNT", key("pickers"), seen_since, "+inf"),
            self._commit.ask("XRANGE", ready, "-", "+", "COUNT", "1"),
            *(self._commit.ask("HMGET", minute, "in", "out") for minute in minutes),
        )
        waiting, leased, scheduled, dead, ended, pickers, oldest, *counted = found
        ins, outs = (sum(int(minute[i] or 0) for minute in counted) for i in (0, 1))
        return QueueFigures(
            waiting=waiting,
            leased=leased,
            scheduled=scheduled,
            dead=dead,
            ended=ended,
            pickers=pickers,
            oldest_ms=max(now_ms - int(oldest[0][0].partition(b"-")[0]), 0) if oldest else 0,
            in_per_minute=ins / RATE_MINUTES,
            out_per_minute=outs / RATE_MINUTES,
        )

    async def handoffs(self, queue: QueueName, state: State, at_most: int) -> tuple[Handoff, ...]:
        known = await self.queues()
        if queue not in known:
            return ()
        ids = await self._ids(known[queue], state, at_most)
        asked = (self._commit.ask("HGETALL", self.keys.of("handoff", queue=queue, id=id)) for id in ids)
        found = await asyncio.gather(*asked)
        handoffs = (_handoff(_facts(flat)) for flat in found if flat)
        return tuple(handoff for handoff in handoffs if handoff.state == state)[:at_most]

    async def _ids(self, queue: Queue, state: State, at_most: int) -> list[str]:
        """Ids that the state's index holds. The final states but `dead` share one, newest first: ask for a few more."""
        if state == WAITING:
            ready = self.keys.of("ready", queue=queue.name, version=queue.version)
            found = await self._commit.ask("XRANGE", ready, "-", "+", "COUNT", str(at_most))
            return [fields[1].decode() for _, fields in found]
        index = {LEASED: "leases", SCHEDULED: "timers", "held": "held", "dead": "dead"}.get(state, "final")
        newest_first = index in ("dead", "final")
        last = str((at_most * 10 if index == "final" else at_most) - 1)
        command = "ZREVRANGE" if newest_first else "ZRANGE"
        found = await self._commit.ask(command, self.keys.of(index, queue=queue.name), "0", last)
        return [id.decode() for id in found]

    async def entries(self, *, after: str = "", at_most: int = 100, handoff_id: str = "") -> tuple[Entry, ...]:
        """Entries after one, oldest first; without `after` the newest; of one handoff, by walking back its chain."""
        log = self.keys.of("ledger")
        if handoff_id:
            return await self._chain(log, handoff_id, at_most)
        if after:
            found = await self._commit.ask("XRANGE", log, f"({after}", "+", "COUNT", str(at_most))
        else:
            found = list(reversed(await self._commit.ask("XREVRANGE", log, "+", "-", "COUNT", str(at_most))))
        return tuple(_entry(id, fields) for id, fields in found)

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
            entries.append(_entry(*at[0]))
            last = entries[-1].prev
        return tuple(reversed(entries))

    async def standing(self, agent: AgentName) -> str:
        found = await self._commit.ask("HGET", self.keys.of("gate"), agent)
        return found.decode() if found else ""

    # ---- how a step runs ----------------------------------------------------------------------------------------

    def _log_keys(self) -> dict[str, str]:
        return {"gate": self.keys.of("gate"), "ledger": self.keys.of("ledger")}

    def _queue_keys(self, queue: QueueName) -> dict[str, str]:
        kinds = ("config", "leases", "timers", "held", "final", "dead", "pickers")
        return self._log_keys() | {kind: self.keys.of(kind, queue=queue) for kind in kinds}

    async def _lease_step(self, name: str, caller: Caller, lease: Lease, /, **args: str | bytes) -> Reply:
        reply = await self._step(name, caller, lease.queue, lease.handoff_id, fence=str(lease.fence), **args)
        if reply.word == "refused" and reply.facts["code"] == b"lease_unknown":
            held = await self.leases_of(caller.agent)
            raise LeaseUnknown(lease_id=lease.id, held=tuple(lease.id for lease in held))
        self._raise_refusal(reply, handoff_id=lease.handoff_id)
        return reply

    async def _handoff_step(self, name: str, caller: Caller, handoff_id: HandoffId, /, **args: str | bytes) -> Reply:
        queue = queue_of(handoff_id)
        if queue is None:
            raise HandoffUnknown(handoff_id=handoff_id)
        reply = await self._step(name, caller, queue, handoff_id, **args)
        self._raise_refusal(reply, handoff_id=handoff_id)
        return reply

    async def _step(
        self, name: str, caller: Caller, queue: QueueName, handoff_id: str = "", /, **args: str | bytes
    ) -> Reply:
        """A step on one queue, and on one handoff of it."""
        keys = self._queue_keys(queue)
        if handoff_id:
            keys["handoff"] = self.keys.of("handoff", queue=queue, id=handoff_id)
        return await self._run(name, caller, keys, **self._queue_args(queue), **args)

    def _queue_args(self, queue: QueueName) -> dict[str, str]:
        return {
            "queue_keys": self.keys.of_queue(queue),
            "partition_keys": self.keys.base,
            "wake": self.keys.wake,
        }

    async def _run(self, name: str, by: Caller, keys: dict[str, str], /, **args: str | bytes) -> Reply:
        step = script(name)
        args |= {
            "caller": by.agent,
            "rev": by.rev,
            "credential": by.credential,
            "trace": by.trace,
            "clock_ms": str(self._clock_ms()) if self._clock_ms else "",
        }
        command = step.command(keys, args)
        try:
            reply = await self._commit.ask(*command)
        except NoScriptError:  # somebody flushed the scripts; this one did not run
            await self._commit.ask("SCRIPT", "LOAD", step.text)
            reply = await self._commit.ask(*command)
        except ResponseError as error:
            if _code_of(error) in BROKEN:
                raise BrokerUnavailable(stored="nothing") from error
            raise
        word, facts, entry = reply[0].decode(), _facts(reply[1]), _facts(reply[2])
        assert word in step.gives, f"{name} answered {word}, which its header does not announce"
        return Reply(word, facts, _made_entry(entry) if entry else None)

    def _raise_refusal(self, reply: Reply, *, handoff_id: str = "", queue_name: str = "") -> None:
        if reply.word == "stale":
            raise Stale
        if reply.word == "refused":
            raise _refusal(reply.facts, handoff_id, queue_name)

    def _receipt(self, handoff_id: HandoffId, reply: Reply) -> Receipt:
        assert reply.entry is not None
        return Receipt(
            handoff_id=handoff_id,
            log=self.keys.partition,
            entry=reply.entry.id,
            leaf=leaf(reply.entry),
            durability=self._durability,
        )

    async def _prove_rights(self) -> None:
        """Run one step that leaves nothing: missing rights are found now, not in the middle of a handoff."""
        kinds = ("hash", "stream", "zset", "set", "string")
        keys = {f"a_{kind}": self.keys.of("proof", type=kind) for kind in kinds}
        try:
            reply = await self._run("prove", caller_upkeep(), keys, wake=self.keys.wake)
        except ResponseError as error:
            raise lacks_rights("EVALSHA", error) from error
        if reply.word == "lacking":
            raise lacks_rights("the broker's steps", reply.facts["why"].decode())

    async def _now_ms(self) -> int:
        if self._clock_ms:
            return self._clock_ms()
        seconds, micros = await self._commit.ask("TIME")
        return int(seconds) * 1000 + int(micros) // 1000


def _code_of(error: ResponseError) -> str:
    """The server's word for an error. redis-py cuts it off the text of those that it has a class for."""
    return str(getattr(error, "status_code", "") or str(error).partition(" ")[0])


# ---- from the wire ------------------------------------------------------------------------------------------------


def _facts(flat: Sequence[Any]) -> Facts:
    return {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}


def _number(facts: Facts, name: str) -> int:
    return int(facts.get(name) or 0)


def _made_entry(facts: Facts) -> Entry:
    return msgspec.convert({name: value.decode() for name, value in facts.items()}, Entry)


def _entry(id: bytes, fields: Sequence[bytes]) -> Entry:
    return _made_entry({"id": id} | _facts(fields))


def _queue(rev: bytes, content: bytes) -> Queue:
    queue = msgspec.json.decode(content, type=Queue)
    return msgspec.structs.replace(queue, rev=Revision(rev.decode()))


def _handoff(facts: Facts) -> Handoff:
    def text(name: str) -> str:
        return facts.get(name, b"").decode()

    return Handoff(
        id=HandoffId(text("id")),
        queue=QueueName(text("queue")),
        state=cast(State, text("state")),
        sender=AgentName(text("sender")),
        dropped_ms=_number(facts, "dropped"),
        payload=facts.get("payload", b""),
        digest=text("digest"),
        schema=text("schema"),
        schema_hash=text("schema_hash"),
        note=text("note"),
        deliveries=_number(facts, "deliveries"),
        failures=_number(facts, "failures"),
        attempts_max=_number(facts, "attempts_max"),
        holder=AgentName(text("holder")),
        fence=_number(facts, "fence"),
        lease_ends_ms=_number(facts, "lease_ends"),
        due_ms=_number(facts, "due"),
        ended_ms=_number(facts, "ended"),
        reason=text("reason"),
        progress=text("progress"),
        checkpoint=facts.get("checkpoint", b""),
        result=facts.get("result", b""),
        withdrawal_asked=bool(text("withdrawal_asked")),
        attempts=msgspec.json.decode(facts["attempts"], type=tuple[Attempt, ...]) if facts.get("attempts") else (),
    )


def _refusal(facts: Facts, handoff_id: str, queue_name: str) -> DropoffError:
    """The error that a step's refusal names. A code that is missing here is a fault of ours."""

    def text(name: str) -> str:
        return facts.get(name, b"").decode()

    match text("code"):
        case "frozen":
            return Frozen(what=text("what"))
        case "revoked":
            return Unauthenticated()
        case "queue_full":
            return QueueFull(queue=queue_name, waiting_max=_number(facts, "waiting_max"))
        case "request_conflict":
            return RequestConflict(handoff_id=text("handoff"))
        case "already_settled":
            return AlreadySettled(handoff_id=handoff_id, state=text("state"), at_ms=_number(facts, "at"))
        case "lease_lost":
            ago_ms = max(_number(facts, "now") - _number(facts, "ended"), 0)
            became = "was given to another agent" if text("state") == LEASED else f"is {text('state')}"
            return LeaseLost(ended_ago_ms=ago_ms, now=became, fence_now=_number(facts, "fence"))
        case "handoff_unknown":
            return HandoffUnknown(handoff_id=handoff_id)
        case "handoff_settled":
            return HandoffSettled(handoff_id=handoff_id, state=text("state"), at_ms=_number(facts, "at"))
        case code:
            raise AssertionError(f"a step refused with '{code}', which has no error")
