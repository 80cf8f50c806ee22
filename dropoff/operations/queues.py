"""Queues: made, changed, moved to another version of their schema, paused, drained, removed."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from dropoff.contracts.schema import Schema, registered
from dropoff.core import limits
from dropoff.core.caller import Caller
from dropoff.core.deciding import decided, half_done, unfrozen
from dropoff.core.handoff import HandoffId, QueueName
from dropoff.core.queue import UNDER_WAY, Queue, QueueState
from dropoff.core.refs import name_of
from dropoff.errors import ArgumentsInvalid, Problem, QueueExists, QueueNotEmpty, length
from dropoff.operations.acting import invalid, require_name
from dropoff.operations.schemas import Meaning, Schemas

BEING_REMOVED: Final = "is being removed"


class NewQueue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A queue as an operator asks for it. A schema without a version means the newest."""

    name: str
    schema: str
    result_schema: str = ""  # what results must fit; none: any object
    purpose: str = ""
    lease_seconds: int = limits.LEASE_MS_DEFAULT // 1_000
    max_attempts: int = limits.ATTEMPTS_MAX_DEFAULT
    max_bytes: int = limits.PAYLOAD_BYTES_MAX
    max_waiting: int = limits.WAITING_MAX_DEFAULT
    approval: bool = False
    expires_seconds: int = 0
    retention_seconds: int = limits.RETENTION_MS_DEFAULT // 1_000


class Queues(Schemas):
    """Acts on queues."""

    async def add_queue(self, caller: Caller, new: NewQueue) -> Queue:
        """Make the queue; the same again is the same queue, other settings are `QueueExists`.

        Whether it is open, paused or draining is no setting: somebody has done that to it since.
        """
        require_name("name", new.name, "dropoff queue add")
        _require_limits(new, "dropoff queue add")

        async def add(caller: Caller) -> Queue:
            ref, hash = await self._pinned(new.schema)
            base = Queue(name=QueueName(new.name), schema=ref, schema_hash=hash)
            wanted = _queue(new, await self._with_result_schema(base, new.result_schema))
            there = (await self.store.queues(fresh=True)).get(wanted.name)
            if there is None:
                return await self.store.put_queue(caller, wanted)
            if differs := _differences(there, wanted):
                raise QueueExists(queue=wanted.name, differs=differs)
            return there

        return await self._done(caller, "add queues", add)

    async def edit_queue(
        self, caller: Caller, name: str, changes: Mapping[str, Any], *, incompatible: bool = False
    ) -> Queue:
        """Change settings of a queue, by the names that `NewQueue` gives them. In force on return.

        With another version of its schema, what is dropped off from now on is judged by that. What is there already
        stays pinned to its own, and keeps its place. `SchemaIncompatible` where senders may have to change, unless that
        is what is meant.
        """

        async def edit(caller: Caller) -> Queue:
            queue = await self._known_queue(name)
            edited = await self._edited(queue, changes)
            if edited.schema != queue.schema:
                schema = await registered(self.store, edited.schema, edited.schema_hash)
                if not incompatible:
                    await self.require_compatible(queue, schema)
            return await self._put(caller, queue, edited)

        return await self._done(caller, "edit queues", edit)

    async def try_edit(
        self, caller: Caller, name: str, changes: Mapping[str, Any]
    ) -> tuple[Queue, tuple[Schema, Meaning] | None]:
        """What `edit_queue` would make of the queue; with another version of its schema, that and what it means."""

        async def look(_: Caller) -> tuple[Queue, tuple[Schema, Meaning] | None]:
            queue = await self._known_queue(name)
            edited = await self._edited(queue, changes)
            if edited.schema == queue.schema:
                return edited, None
            schema = await registered(self.store, edited.schema, edited.schema_hash)
            return edited, (schema, await self.meaning_for(queue, schema))

        return await self._done(caller, "edit queues", look)

    async def _edited(self, queue: Queue, changes: Mapping[str, Any]) -> Queue:
        settings = msgspec.structs.replace(_settings(queue), **changes)
        _require_limits(settings, "dropoff queue edit")
        base = await self._with_result_schema(await self._with_schema(queue, settings.schema), settings.result_schema)
        return _queue(settings, base)

    async def _with_schema(self, queue: Queue, ref: str) -> Queue:
        """With another version of its schema; where it is the one that it has, nothing is looked for, as below."""
        if ref == queue.schema:
            return queue
        ref, hash = await self._pinned(ref)
        if name_of(ref) != name_of(queue.schema):
            raise _other_contract(queue, ref)
        return msgspec.structs.replace(queue, schema=ref, schema_hash=hash)

    async def set_queue(self, caller: Caller, name: str, state: QueueState, reason: str = "") -> Queue:
        """Pause (nothing goes out), drain (nothing comes in) or open a queue. In force on return."""

        async def change(caller: Caller) -> Queue:
            queue = await self._operated_queue(caller, name)
            why = reason or (queue.reason if state == queue.state else "")  # said again without one, it keeps its own
            kept_ms = queue.retention_ms or limits.RETENTION_MS_DEFAULT  # 0: its removal stopped halfway
            changed = msgspec.structs.replace(queue, state=state, reason=why, retention_ms=kept_ms)
            return await self._put(caller, queue, changed)

        return await decided(self.store, await unfrozen(self.store, caller), change)

    async def remove_queue(self, caller: Caller, name: str) -> int:
        """Remove a queue in which nothing is going on; what ended in it is forgotten at once. Says how many that were.

        `QueueNotEmpty` while anything waits, is held, scheduled or leased; then what ended stays as well. It is closed
        before the last look, so that nothing comes in behind it, and what ended is forgotten only after that.
        """
        seen: list[Queue] = []  # as this call first saw it, and then as others have set it since, however often

        async def remove(caller: Caller) -> int:
            queue = await self._known_queue(name)
            if not (seen and _is_being_removed(queue)):  # else this call has closed it: the look below opens it again
                await self._require_empty(queue)
                seen.append(queue)
            closed = msgspec.structs.replace(queue, state="draining", reason=BEING_REMOVED)
            closed = await self._put(caller, queue, closed)
            with half_done():
                try:
                    await self._require_empty(closed)
                except QueueNotEmpty:  # something came in just before it was closed
                    await self.store.put_queue(caller, _opened_again(closed, seen[-1]))
                    raise
                closed = await self._put(caller, closed, msgspec.structs.replace(closed, retention_ms=0))
                erased = await self._erase_all(caller, queue.name)
                await self.store.remove_queue(caller, closed)
            return erased

        return await self._done(caller, "remove queues", remove)

    async def _require_empty(self, queue: Queue) -> None:
        figures = (await self.store.figures([queue.name]))[queue.name]
        states = tuple((state, getattr(figures, state)) for state in UNDER_WAY)
        if left := sum(count for _, count in states):
            raise QueueNotEmpty(queue=queue.name, left=left, states=states)

    async def _erase_all(self, caller: Caller, queue: QueueName) -> int:
        """Forget all that has ended in a queue that keeps nothing.

        Each that was there is counted, also where the answer was lost and its erasing was asked for again.
        """
        erased: set[HandoffId] = set()
        while ended := {*(await self.store.overdue(queue, limits.OVERDUE_AT_ONCE)).ended} - erased:
            await asyncio.gather(*(self.store.erase(id, caller) for id in ended))
            erased |= ended
        return len(erased)

    async def _put(self, caller: Caller, queue: Queue, changed: Queue) -> Queue:
        return queue if changed == queue else await self.store.put_queue(caller, changed)

    async def _with_result_schema(self, queue: Queue, ref: str) -> Queue:
        """Where it is the one that the queue has, nothing is looked for: what is known of it may be lost."""
        if ref == queue.result_schema:
            return queue
        ref, hash = await self._pinned(ref) if ref else ("", "")
        return msgspec.structs.replace(queue, result_schema=ref, result_schema_hash=hash)


def _other_contract(queue: Queue, ref: str) -> ArgumentsInvalid:
    name = name_of(queue.schema)
    problem = f"{ref} is no version of {name}, and a queue keeps its contract; for another contract make another queue"
    return invalid("dropoff queue edit", "schema", problem, f"{name}@VERSION")


def _is_being_removed(queue: Queue) -> bool:
    return queue.state == "draining" and queue.reason == BEING_REMOVED


def _opened_again(closed: Queue, seen: Queue) -> Queue:
    """Without what its removal has changed; what others have edited meanwhile stays."""
    kept_ms = closed.retention_ms or seen.retention_ms
    return msgspec.structs.replace(closed, state=seen.state, reason=seen.reason, retention_ms=kept_ms)


def _queue(new: NewQueue, base: Queue) -> Queue:
    return msgspec.structs.replace(
        base,
        purpose=new.purpose,
        lease_ms=new.lease_seconds * 1_000,
        attempts_max=new.max_attempts,
        payload_bytes_max=new.max_bytes,
        waiting_max=new.max_waiting,
        approval=new.approval,
        expires_ms=new.expires_seconds * 1_000,
        retention_ms=new.retention_seconds * 1_000,
    )


def _settings(queue: Queue) -> NewQueue:
    """What `_queue` would make it from."""
    return NewQueue(
        name=queue.name,
        schema=queue.schema,
        result_schema=queue.result_schema,
        purpose=queue.purpose,
        lease_seconds=queue.lease_ms // 1_000,
        max_attempts=queue.attempts_max,
        max_bytes=queue.payload_bytes_max,
        max_waiting=queue.waiting_max,
        approval=queue.approval,
        expires_seconds=queue.expires_ms // 1_000,
        retention_seconds=queue.retention_ms // 1_000,
    )


def _differences(there: Queue, wanted: Queue) -> tuple[str, ...]:
    """The settings in which two queues are not the same, each as a flag, with what it is and what it was to be."""
    has, said = msgspec.structs.asdict(_settings(there)), msgspec.structs.asdict(_settings(wanted))
    return tuple(_as_flags(name, has[name], said[name]) for name in has if has[name] != said[name])


def _as_flags(name: str, has: Any, said: Any) -> str:
    if name == "approval":
        return "--approval, not --no-approval" if has else "--no-approval, not --approval"
    flag = name.removesuffix("_seconds").replace("_", "-")
    if name == "result_schema":
        return ", not ".join(f"--{flag} {ref}" if ref else f"--no-{flag}" for ref in (has, said))
    return f"--{flag} {_as_typed(name, has)}, not {_as_typed(name, said)}"


def _as_typed(name: str, value: Any) -> str:
    if name == "purpose":
        return f"'{value[:80]}'"
    if name.endswith("_seconds"):
        return length(value) if value else "never"
    return str(value)


def _require_limits(new: NewQueue, verb: str) -> None:
    """Each setting within what the broker can keep its promise for."""
    problems = [
        Problem(
            path=name, problem=f"{getattr(new, name)} is not between {least} and {most}", got=str(getattr(new, name))
        )
        for name, (least, most) in limits.QUEUE_SETTINGS.items()
        if not least <= getattr(new, name) <= most
    ]
    if len(new.purpose) > limits.PURPOSE_CHARS_MAX:
        problems.append(Problem(path="purpose", problem=f"too long (more than {limits.PURPOSE_CHARS_MAX} characters)"))
    if problems:
        raise ArgumentsInvalid(verb=verb, problems=tuple(problems))
