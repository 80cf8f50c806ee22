"""Puts back what a lost key took.

The record of a handoff is the truth, and its indexes follow from it: one step a handoff (`mend.lua`) compares and
corrects, atomically, so it may run beside everything else and by several brokers at once. Records of agents and queues
are put again where something that stands beside them is missing; schemas are registered again in the order in which the
ledger names them.

What cannot be put back: a handoff's own record (then its index entries go, so that nothing hangs on them; the ledger
still tells of it), an agent's record (then the gate closes for it), a schema's content, the ledger.

Every key is looked at once (SCAN), and what a key names is corrected in batches: a store of a million handoffs takes
about a minute of this, beside the work. What cannot be read, or is of another type, fails alone (`Tally`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import Final, NamedTuple, cast

from dropoff.core import limits
from dropoff.core.answers import Mended
from dropoff.core.caller import EVERYONE, Principal, caller_upkeep
from dropoff.core.deciding import everyone
from dropoff.core.handoff import AgentName, queue_of
from dropoff.core.refs import name_of, version_of
from dropoff.core.store import Stale, Store
from dropoff.errors import QueueExists
from dropoff.storage.handoffs import Handoffs
from dropoff.storage.keys import INDEXES
from dropoff.storage.replies import facts_of, queue_of_record
from dropoff.storage.reviewing import Reviewing
from dropoff.storage.tally import Tally

AT_ONCE: Final = limits.OVERDUE_AT_ONCE  # handoffs that are corrected in one go
PAGE: Final = 1_000  # of the ledger, read in one go
NAMES_HANDOFFS: Final = frozenset({*INDEXES, "holds"})
# Nothing puts these back, or a step does in its course; but who mends is told if they cannot be read.
ALSO_READ: Final = {
    "gate": "HLEN",
    "beat": "HLEN",
    "changing": "HLEN",
    "minute": "HLEN",
    "ledger": "XLEN",
    "pickers": "ZCARD",
    "recalls": "SCARD",
    "versions": "SCARD",
    "schema": "GET",
}
NOWHERE: Final = "*"  # no agent and no version has this name


class Named(NamedTuple):
    """A handoff, as some key names it: its record or an index."""

    id: str
    agent: str = NOWHERE  # among whose leases
    version: str = NOWHERE  # in which stream of its queue,
    entry: str = ""  # by which entry


class Known(NamedTuple):
    """What the indexes of agents say, each by itself: None of one that cannot be read."""

    agents: set[str] | None
    admins: set[str] | None
    bearers: dict[str, bytes] | None

    def has(self, principal: Principal) -> bool:
        """Whether each says what the record does, as far as it can be known."""
        name, bearers = principal.agent, self.bearers
        return (
            (self.agents is None or name in self.agents)
            and (self.admins is None or (name in self.admins) == principal.governs)
            and (bearers is None or all(bearers.get(hash) == name.encode() for hash in principal.bearers))
        )


class Mending(Handoffs, Reviewing):
    """Looks at everything, and corrects it."""

    async def turn_to_mend(self, for_ms: int) -> bool:
        return await self._commit.ask("SET", self.keys.of("mending"), "1", "NX", "PX", str(for_ms)) is not None

    async def mend(self) -> Mended:
        tally = Tally()
        parts = {"queues": self._mend_queues, "schemas": self._mend_schemas, "agents": self._mend_agents}
        for name, mend in parts.items():
            with tally.alone("all", name):
                await mend(tally)
        async for some in self._named(tally):
            await asyncio.gather(*(tally.look("handoff", one.id, self._mend_one(one)) for one in some))
        return tally.result()

    # ---- handoffs -----------------------------------------------------------------------------------------------

    async def _mend_one(self, named: Named) -> bool:
        queue = queue_of(named.id)
        if queue is None:
            return False
        keys = self._queue_keys(queue) | {
            "handoff": self._handoff_key(named.id),
            "holds": self.keys.of("holds", agent=named.agent),
            "ready": self.keys.of("ready", queue=queue, version=named.version),
        }
        reply = await self._run(
            "mend", caller_upkeep(), keys, **self._queue_args(queue), id=named.id, entry=named.entry
        )
        return reply.word == "mended"

    async def _named(self, tally: Tally) -> AsyncIterator[list[Named]]:
        """Every handoff that any key names, a few at a time."""
        async for keys in self._pages("*"):
            parsed = [(key, *self.keys.parse(key)) for key in keys]
            records = [Named(parts["id"]) for _, kind, parts in parsed if kind == "handoff"]
            for start in range(0, len(records), AT_ONCE):
                yield records[start : start + AT_ONCE]
            for key, kind, parts in parsed:
                with tally.alone("key", key):
                    async for some in self._in_key(key, kind, parts):
                        yield some

    async def _in_key(self, key: str, kind: str, parts: dict[str, str]) -> AsyncIterator[list[Named]]:
        if kind == "ready":
            async for some in self._in_stream(key, parts["version"]):
                yield some
        elif kind in NAMES_HANDOFFS:
            async for some in self._in_index(key, parts.get("agent", NOWHERE)):
                yield some
        elif kind in ALSO_READ:
            await self._commit.ask(ALSO_READ[kind], key)

    async def _in_stream(self, key: str, version: str) -> AsyncIterator[list[Named]]:
        """As far as it goes now: who reads on until nothing comes never ends while others drop off."""
        after = "-"
        while True:
            found = await self._commit.ask("XRANGE", key, after, "+", "COUNT", str(AT_ONCE))
            yield [Named(fields[1].decode(), version=version, entry=entry.decode()) for entry, fields in found]
            if len(found) < AT_ONCE:
                return
            after = f"({found[-1][0].decode()}"

    async def _in_index(self, key: str, agent: str) -> AsyncIterator[list[Named]]:
        cursor = b"0"
        while True:
            cursor, found = await self._commit.ask("ZSCAN", key, cursor, "COUNT", str(AT_ONCE))
            yield [Named(id.decode(), agent=agent) for id in found[::2]]
            if cursor == b"0":
                return

    async def _keys(self, pattern: str) -> list[str]:
        return [key async for keys in self._pages(pattern) for key in keys]

    async def _pages(self, pattern: str) -> AsyncIterator[list[str]]:
        cursor = b"0"
        while True:
            cursor, names = await self._commit.ask("SCAN", cursor, "MATCH", self.keys.base + pattern, "COUNT", "1000")
            yield [name.decode() for name in names]
            if cursor == b"0":
                return

    # ---- records ------------------------------------------------------------------------------------------------

    async def _mend_queues(self, tally: Tally) -> None:
        """A queue's settings and the index of all queues carry the same content; either is made from the other."""
        configs = {self.keys.parse(key)[1]["queue"]: key for key in await self._keys("q:*:config")}
        # Read after the look at all keys, which takes its time: a queue that was removed meanwhile is in neither.
        index = facts_of(await self._commit.ask("HGETALL", self.keys.of("queues")))
        for name in sorted(configs.keys() | index.keys()):
            await tally.look("queue", name, self._mend_queue(configs.get(name), index.get(name)))

    async def _mend_queue(self, config: str | None, indexed: bytes | None) -> bool:
        if config is None:
            assert indexed is not None
            queue = queue_of_record(b"0", indexed.partition(b" ")[2])
            made = await self._commit.ask("HGET", self.keys.of("config", queue=queue.name), "rev")
            if made or not await self._commit.ask("HGET", self.keys.of("queues"), queue.name):
                return False  # added, or added and removed, since the look at all keys
            return await self._put_again(self.put_queue(caller_upkeep(), queue))
        rev, content = await self._commit.ask("HMGET", config, "rev", "content")
        if indexed is not None or rev is None:
            return False
        return await self._put_again(self.put_queue(caller_upkeep(), queue_of_record(rev, content)))

    async def _put_again(self, put: Awaitable[object]) -> bool:
        """Whoever changes the same record at this moment puts it back as well."""
        try:
            await put
        except (Stale, QueueExists):
            return False
        return True

    async def _mend_schemas(self, tally: Tally) -> None:
        """The ledger tells which version of which name each content is; it is read where one stands under none."""
        contents = {self.keys.parse(key)[1]["hash"] for key in await self._keys("schema:*")}
        if contents <= set((await self.schemas()).values()):
            return
        after = "0-0"
        while True:
            entries = await self.entries(after=after, at_most=PAGE)
            for entry in entries:
                if entry.step == "put_schema":
                    await tally.look("schema", entry.reason, self._name_again(entry.reason, entry.schema))
            if len(entries) < PAGE:  # others write on meanwhile, and know nothing of older schemas
                return
            after = entries[-1].id

    async def _name_again(self, ref: str, hash: str) -> bool:
        """Under the very version that it had, also where the content is lost: what is pinned to it must not change."""
        named = {"name": name_of(ref), "version": str(version_of(ref))}
        reply = await self._run("put_schema", caller_upkeep(), self._schema_keys(hash), **named, hash=hash, content="")
        return reply.word == "written"

    async def _mend_agents(self, tally: Tally) -> None:
        names = {self.keys.parse(key)[1]["agent"] for key in await self._keys("agent:*")}
        known = Known(
            await self._members(tally, "agents"),
            await self._members(tally, "admins"),
            await self._bearers(tally),
        )
        if EVERYONE not in names:  # by the gate's word: a freeze must outlive both
            await tally.look("agent", EVERYONE, everyone(cast(Store, self)))
        for name in sorted(names):
            await tally.look("agent", name, self._mend_agent(AgentName(name), known))
        for name in sorted((known.agents or set()) - names):
            await tally.look("agent", name, self._close(AgentName(name)))

    async def _members(self, tally: Tally, kind: str) -> set[str] | None:
        key = self.keys.of(kind)
        with tally.alone("key", key):
            members: Iterable[bytes] = await self._commit.ask("SMEMBERS", key)
            return {name.decode() for name in members}
        return None

    async def _bearers(self, tally: Tally) -> dict[str, bytes] | None:
        key = self.keys.of("bearers")
        with tally.alone("key", key):
            return facts_of(await self._commit.ask("HGETALL", key))
        return None

    async def _mend_agent(self, agent: AgentName, known: Known) -> bool:
        principal = await self.principal(agent, fresh=True)
        if principal is None:
            return False
        if not known.has(principal):
            mended = await self._put_again(self.put_principal(caller_upkeep(), principal))
        else:
            mended = await self.standing(agent) != f"{principal.rev} {principal.standing}"
            if mended:
                await self.enforce(agent)
        if principal.standing == "revoked":
            for lease in await self.leases_of(agent):
                await self.recall(lease, "the holder is revoked")
        return mended

    async def _close(self, agent: AgentName) -> bool:
        """An agent whose record is lost is nobody, and by the gate's old word it would go on until brokers forget it.

        An operator may make it anew at this very moment: then its record is put above what is said here.
        Not so everybody at once, whose record is made again by the gate's word where it is needed (`everyone`).
        """
        if agent == EVERYONE or await self.principal(agent, fresh=True) is not None:
            return False
        rev, _, standing = (await self.standing(agent)).partition(" ")
        if standing == "revoked":
            return False
        above = str(max(int(rev or 0) + 1, await self._now_ms()))
        await self.gate(caller_upkeep(), agent, above, "revoked", "its record is lost")
        await self.enforce(agent)
        return True
