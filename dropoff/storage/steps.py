"""How a step runs: its keys by name, its arguments, who calls it, and what its answer means.

The caller's revision rides in every step, and the gate inside compares it. A refusal becomes its error here, `stale`
becomes `Stale`; a reply that the step's header does not announce is a fault of ours.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from redis.exceptions import NoScriptError, OutOfMemoryError, ResponseError

from dropoff.core.caller import Caller, caller_upkeep
from dropoff.core.handoff import AgentName, HandoffId, QueueName, queue_of
from dropoff.core.lease import Lease
from dropoff.core.ledger import Durability, Receipt, leaf
from dropoff.core.queue import Queue
from dropoff.core.refs import name_of
from dropoff.core.store import Stale
from dropoff.errors import BrokerUnavailable, HandoffUnknown, LeaseUnknown, StorageFull, StoreRefused
from dropoff.storage.commit import Commit
from dropoff.storage.connection import Command, Source, lacks_rights
from dropoff.storage.keys import Keys
from dropoff.storage.lane import Again, NoScriptAgainError
from dropoff.storage.replies import Reply, facts_of, made_entry, refusal_of
from dropoff.storage.scripts import Script, script

FORMAT: Final = 1  # of what the store holds. Raised when an older release could no longer work on it without harm


class Steps:
    """Runs steps on one partition. What the store offers is built on this."""

    def __init__(self, source: Source, keys: Keys, clock_ms: Callable[[], int] | None) -> None:
        self.keys = keys
        self._commit = Commit(source)
        self._clock_ms = clock_ms
        self._durability: Durability = "memory"
        self.room: Callable[[], str] = lambda: ""  # why new work cannot be taken now; `wiring` puts the disk behind it
        self._outdated: StoreRefused | None = None

    async def beat(self) -> None:
        keys = {"beat": self.keys.of("beat"), "format": self.keys.of("format")}
        reply = await self._run("beat", caller_upkeep(), keys, my_format=str(FORMAT))
        if reply.word == "newer":
            self._outdated = StoreRefused(
                f"The store is in format {reply.facts['format'].decode()}, of a newer release; this one knows {FORMAT}."
                " Nothing was changed. Upgrade dropoff, or bring back the backup that was made before the upgrade."
            )
            raise self._outdated

    def _log_keys(self) -> dict[str, str]:
        return {"gate": self.keys.of("gate"), "ledger": self.keys.of("ledger")}

    def _queue_keys(self, queue: QueueName) -> dict[str, str]:
        own = {kind: self.keys.of(kind, queue=queue) for kind in ("versions", "pickers")}
        return self._log_keys() | {"beat": self.keys.of("beat")} | own | self.keys.given(queue)

    async def _lease_step(self, name: str, caller: Caller, lease: Lease, /, **args: str | bytes) -> Reply:
        reply = await self._step(name, caller, lease.queue, lease.handoff_id, fence=str(lease.fence), **args)
        await self._raise_lease_refusal(caller, lease, reply)
        return reply

    async def _raise_lease_refusal(self, caller: Caller, lease: Lease, reply: Reply) -> None:
        if reply.word == "refused" and reply.facts["code"] == b"lease_unknown" and not reply.again:
            held = await self.leases_of(caller.agent)
            raise LeaseUnknown(lease_id=lease.id, held=tuple(lease.id for lease in held))
        self._raise_refusal(reply, handoff_id=lease.handoff_id)

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
            keys["handoff"] = self._handoff_key(handoff_id)
        return await self._run(name, caller, keys, **self._queue_args(queue), **args)

    def _handoff_key(self, handoff_id: str) -> str:
        queue = queue_of(handoff_id)
        assert queue is not None
        return self.keys.of("handoff", queue=queue, id=handoff_id)

    def _queue_args(self, queue: QueueName) -> dict[str, str]:
        return {
            "queue_keys": self.keys.of_queue(queue),
            "partition_keys": self.keys.base,
            "wake": self.keys.wake,
        }

    async def _run(self, name: str, by: Caller, keys: dict[str, str], /, **args: str | bytes) -> Reply:
        if self._outdated:
            why = "A newer release has changed the storage, and this broker takes no step in it."
            raise BrokerUnavailable(stored="nothing", why=why, again="Tell your operator.") from self._outdated
        step = script(name)
        args |= {
            "caller": by.agent,
            "rev": by.rev,
            "credential": by.credential,
            "trace": by.trace,
            "clock_ms": str(self._clock_ms()) if self._clock_ms else "",
        }
        command = step.command(keys, args)
        if step.adds and (full := self.room()):
            raise StorageFull(why=full)
        try:
            reply = await self._asked(step, command)
        except BrokerUnavailable as away:
            if away.stored == "nothing" and isinstance(away.__cause__, OutOfMemoryError):
                raise StorageFull(why="its memory limit is reached") from away
            raise
        word, facts, entry = reply[0].decode(), facts_of(reply[1]), facts_of(reply[2])
        assert word in step.gives, f"{name} answered {word}, which its header does not announce"
        return Reply(word, facts, made_entry(entry) if entry else None, isinstance(reply, Again))

    async def _asked(self, step: Script, command: Command) -> Any:
        try:
            return await self._commit.ask(*command)
        except NoScriptAgainError:
            try:
                return Again(await self._loaded_and_asked(step, command))
            except BrokerUnavailable as away:  # it says "nothing" of this try, and that is not all there is to say
                raise BrokerUnavailable(stored="unknown") from away
        except NoScriptError:  # somebody flushed the scripts; this one did not run
            return await self._loaded_and_asked(step, command)

    async def _loaded_and_asked(self, step: Script, command: Command) -> Any:
        await self._commit.ask("SCRIPT", "LOAD", step.text)
        return await self._commit.ask(*command)

    def _raise_refusal(self, reply: Reply, *, handoff_id: str = "") -> None:
        if reply.again and reply.word in ("stale", "refused"):  # it may have run before something changed that
            raise BrokerUnavailable(stored="unknown")
        if reply.word == "stale":
            raise Stale
        if reply.word == "refused":
            raise refusal_of(reply.facts, handoff_id)

    def _receipt(self, handoff_id: HandoffId, reply: Reply) -> Receipt:
        assert reply.entry is not None
        return Receipt(
            handoff_id=handoff_id,
            log=self.keys.partition,
            entry=reply.entry.id,
            leaf=leaf(reply.entry) if reply.entry.step else "",  # none for an entry that the store has lost
            durability=self._durability,
        )

    async def leases_of(self, agent: AgentName) -> tuple[Lease, ...]:
        held = await self._commit.ask("ZRANGE", self.keys.of("holds", agent=agent), "0", "99", "WITHSCORES")
        return tuple(Lease(HandoffId(held[i].decode()), int(held[i + 1])) for i in range(0, len(held), 2))

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

    async def _streams(self, queue: QueueName) -> dict[str, str]:
        """Where work waits in this queue: by schema version, for each of which some may, its stream."""
        found = await self._commit.ask("SMEMBERS", self.keys.of("versions", queue=queue))
        versions = sorted((version.decode() for version in found), key=int)
        return {version: self.keys.of("ready", queue=queue, version=version) for version in versions}

    async def _waiting(self, queue: Queue) -> dict[str, int]:
        """How many wait, by the schema that they are pinned to."""
        streams, name = await self._streams(queue.name), name_of(queue.schema)
        lengths = await asyncio.gather(*(self._commit.ask("XLEN", stream) for stream in streams.values()))
        return {f"{name}@{version}": length for version, length in zip(streams, lengths, strict=True) if length}

    async def _now_ms(self) -> int:
        if self._clock_ms:
            return self._clock_ms()
        seconds, micros = await self._commit.ask("TIME")
        return int(seconds) * 1000 + int(micros) // 1000
