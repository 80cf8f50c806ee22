"""Schemas: registered, and what another version of one means.

Said when it is registered, which by itself moves nothing, and before a queue is moved to it: for those who know the
version before, and for what the queues hold now (`effects.py`).
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec

from dropoff.apart import NotComputedError
from dropoff.contracts import lint
from dropoff.contracts.compare import Change, Comparison, compare
from dropoff.contracts.gate import Gates
from dropoff.contracts.schema import Schema, hash_of, registered
from dropoff.core import payload
from dropoff.core.answers import StoredSchema
from dropoff.core.caller import Caller
from dropoff.core.queue import Queue
from dropoff.core.refs import meant, name_of, version_of
from dropoff.core.store import Store
from dropoff.errors import DropoffError, Problem, SchemaIncompatible, SchemaRefused, SchemaUnknown
from dropoff.operations.acting import Acting, require_name
from dropoff.operations.effects import Effects, effects

log = logging.getLogger("dropoff.operations")

REPORT_S_MAX: Final = 10.0  # after this no further queue is begun; those that are left are counted
WITNESS_CHARS_MAX: Final = 300  # in a refusal; a look at what a version means shows the whole


class Meaning(msgspec.Struct, frozen=True, kw_only=True):
    """What a version of a schema means against the one before, and for each queue that has one of its name."""

    compared_with: str = ""  # nothing: it is the first
    comparison: Comparison | None = None
    queues: tuple[Effects, ...] = ()
    more_queues: int = 0  # for which there was no time
    untold: str = ""  # the code of what kept all this from being found out


class Schemas(Acting):
    """Acts on schemas."""

    def __init__(self, store: Store, unique: Callable[[int], bytes]) -> None:
        super().__init__(store, unique)
        self._gates = Gates(kept=16)  # of versions that somebody wants to know the meaning of

    async def push_schema(self, caller: Caller, name: str, content: Any) -> tuple[StoredSchema, bool]:
        """Register content as the next version of this schema; the same content again is the version it has."""

        async def push(caller: Caller) -> tuple[StoredSchema, bool]:
            encoded = await self._admitted(name, content)
            return await self.store.put_schema(caller, name, hash_of(encoded), encoded)

        return await self._done(caller, "register schemas", push)

    async def try_schema(self, caller: Caller, name: str, content: Any) -> tuple[StoredSchema, bool]:
        """What `push_schema` would answer at this moment. Nothing is registered."""

        async def look(_: Caller) -> tuple[StoredSchema, bool]:
            encoded = await self._admitted(name, content)
            versions = await self._versions(name)
            hash = hash_of(encoded)
            has = next((version for version, known in versions.items() if known == hash), None)
            version = has or max(versions, default=0) + 1
            return StoredSchema(ref=f"{name}@{version}", hash=hash, content=encoded), has is None

        return await self._done(caller, "register schemas", look)

    async def _admitted(self, name: str, content: Any) -> bytes:
        """The schema in its one encoding, if it may be a contract."""
        require_name("name", name, "dropoff schema push")
        if problems := await self._judged(name, content):
            raise SchemaRefused(name=name, problems=problems)
        return payload.canonical(content)

    async def _judged(self, name: str, content: Any) -> tuple[Problem, ...]:
        if lint.is_quick(content):
            return lint.judge(name, content)
        try:
            return await self._apart(lint.judge, name, content)
        except NotComputedError as error:
            return (Problem(path="schema", problem=f"could not be judged: {error}", expected="a smaller schema"),)

    # ---- what a version means ---------------------------------------------------------------------------------------

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

    async def _pinned(self, ref: str) -> tuple[str, str]:
        """`name@version` and hash of the schema that a reference means."""
        known = await self.store.schemas()
        wanted = meant(ref, known)
        if wanted is None:
            raise SchemaUnknown(schema=ref, known=tuple(known))
        return wanted, known[wanted]
