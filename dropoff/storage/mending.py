"""Puts back what a lost key took.

The record of a handoff is the truth, and its indexes follow from it: one step a handoff (`mend.lua`) compares and
corrects, atomically, so it may run beside everything else and by several brokers at once. Records of agents and queues
are put again where something that stands beside them is missing; schemas are registered again in the order in which the
ledger names them.

What cannot be put back: a handoff's own record (then its index entries go, so that nothing hangs on them; the ledger
still tells of it), an agent's record (then the gate closes for it), a schema's content, the ledger.

Every key is looked at once (SCAN), and what a key names is corrected in batches: a store of a million handoffs takes
about a minute of this, beside the work.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import Final, NamedTuple, cast

from dropoff.core import limits
from dropoff.core.caller import EVERYONE, caller_upkeep
from dropoff.core.deciding import everyone
from dropoff.core.handoff import AgentName, queue_of
from dropoff.core.store import Mended, Stale, Store
from dropoff.errors import QueueExists
from dropoff.storage.handoffs import Handoffs
from dropoff.storage.keys import INDEXES
from dropoff.storage.reading import Reading
from dropoff.storage.replies import facts_of, queue_of_record

AT_ONCE: Final = limits.OVERDUE_AT_ONCE  # handoffs that are corrected in one go
PAGE: Final = 1_000  # of the ledger, read in one go
NAMES_HANDOFFS: Final = frozenset({*INDEXES, "holds"})
NOWHERE: Final = "*"  # no agent and no version has this name


class Named(NamedTuple):
    """A handoff, as some key names it: its record or an index."""

    id: str
    agent: str = NOWHERE  # among whose leases
    version: str = NOWHERE  # in which stream of its queue,
    entry: str = ""  # by which entry


class Mending(Handoffs, Reading):
    """Looks at everything, and corrects it."""

    async def turn_to_mend(self, for_ms: int) -> bool:
        return await self._commit.ask("SET", self.keys.of("mending"), "1", "NX", "PX", str(for_ms)) is not None

    async def mend(self) -> Mended:
        mended = await self._mend_queues() + await self._mend_schemas() + await self._mend_agents()
        looked_at = mended
        async for some in self._named():
            done = await asyncio.gather(*(self._mend_one(one) for one in some))
            looked_at += len(done)
            mended += sum(done)
        return Mended(looked_at=looked_at, mended=mended)

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

    async def _named(self) -> AsyncIterator[list[Named]]:
        """Every handoff that any key names, a few at a time."""
        async for keys in self._pages("*"):
            parsed = [(key, *self.keys.parse(key)) for key in keys]
            records = [Named(parts["id"]) for _, kind, parts in parsed if kind == "handoff"]
            for start in range(0, len(records), AT_ONCE):
                yield records[start : start + AT_ONCE]
            for key, kind, parts in parsed:
                if kind == "ready":
                    async for some in self._in_stream(key, parts["version"]):
                        yield some
                elif kind in NAMES_HANDOFFS:
                    async for some in self._in_index(key, parts.get("agent", NOWHERE)):
                        yield some

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

    async def _mend_queues(self) -> int:
        """A queue's settings and the index of all queues carry the same content; either is made from the other."""
        configs = {self.keys.parse(key)[1]["queue"]: key for key in await self._keys("q:*:config")}
        # Read after the look at all keys, which takes its time: a queue that was removed meanwhile is in neither.
        index = facts_of(await self._commit.ask("HGETALL", self.keys.of("queues")))
        mended = 0
        for name in configs.keys() - index.keys():
            rev, content = await self._commit.ask("HMGET", configs[name], "rev", "content")
            if rev is not None:
                mended += await self._put_again(self.put_queue(caller_upkeep(), queue_of_record(rev, content)))
        for name in index.keys() - configs.keys():
            queue = queue_of_record(b"0", index[name].partition(b" ")[2])
            mended += await self._put_again(self.put_queue(caller_upkeep(), queue))
        return mended

    async def _put_again(self, put: Awaitable[object]) -> int:
        """Whoever changes the same record at this moment puts it back as well."""
        try:
            await put
        except (Stale, QueueExists):
            return 0
        return 1

    async def _mend_schemas(self) -> int:
        """The ledger tells which version of which name each content is; it is read where one stands under none."""
        contents = {self.keys.parse(key)[1]["hash"] for key in await self._keys("schema:*")}
        if contents <= set((await self.schemas()).values()):
            return 0
        mended, after = 0, "0-0"
        while True:
            entries = await self.entries(after=after, at_most=PAGE)
            for entry in entries:
                if entry.step == "put_schema":
                    mended += await self._name_again(entry.reason, entry.schema)
            if len(entries) < PAGE:  # others write on meanwhile, and know nothing of older schemas
                return mended
            after = entries[-1].id

    async def _name_again(self, ref: str, hash: str) -> int:
        """Under the very version that it had, also where the content is lost: what is pinned to it must not change."""
        name, _, version = ref.rpartition("@")
        keys = self._schema_keys(hash)
        reply = await self._run("put_schema", caller_upkeep(), keys, name=name, hash=hash, content="", version=version)
        return 1 if reply.word == "written" else 0

    async def _mend_agents(self) -> int:
        names = {self.keys.parse(key)[1]["agent"] for key in await self._keys("agent:*")}
        listed, admins = await self._members("agents"), await self._members("admins")
        if EVERYONE not in names:
            await everyone(cast(Store, self))  # by the gate's word: a freeze must outlive both
        bearers = facts_of(await self._commit.ask("HGETALL", self.keys.of("bearers")))
        mended = sum([await self._mend_agent(AgentName(name), listed, admins, bearers) for name in sorted(names)])
        return mended + sum([await self._close(AgentName(name)) for name in sorted(listed - names)])

    async def _members(self, kind: str) -> set[str]:
        members: Iterable[bytes] = await self._commit.ask("SMEMBERS", self.keys.of(kind))
        return {name.decode() for name in members}

    async def _mend_agent(self, agent: AgentName, listed: set[str], admins: set[str], bearers: dict[str, bytes]) -> int:
        principal = await self.principal(agent, fresh=True)
        if principal is None:
            return 0
        governs = agent in admins
        known = all(bearers.get(hash) == agent.encode() for hash in principal.bearers)
        found = agent in listed and governs == principal.governs and known
        if not found:
            await self._put_again(self.put_principal(caller_upkeep(), principal))
        elif await self.standing(agent) != f"{principal.rev} {principal.standing}":
            await self.enforce(agent)
        if principal.standing == "revoked":
            for lease in await self.leases_of(agent):
                await self.recall(lease, "the holder is revoked")
        return 0 if found else 1

    async def _close(self, agent: AgentName) -> int:
        """An agent whose record is lost is nobody, and by the gate's old word it would go on until brokers forget it.

        An operator may make it anew at this very moment: then its record is put above what is said here.
        Not so everybody at once, whose record is made again by the gate's word where it is needed (`everyone`).
        """
        if agent == EVERYONE or await self.principal(agent, fresh=True) is not None:
            return 0
        rev, _, standing = (await self.standing(agent)).partition(" ")
        if standing == "revoked":
            return 0
        above = str(max(int(rev or 0) + 1, await self._now_ms()))
        await self.gate(caller_upkeep(), agent, above, "revoked", "its record is lost")
        await self.enforce(agent)
        return 1
