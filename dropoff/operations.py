"""What operators may do: schemas, queues, agents, and their grants.

Every act is a step of the store in the operator's name: it passes the gate and is written into the ledger. An act that
would change nothing succeeds and changes nothing, so that a set-up can be applied again and again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

import msgspec

from dropoff.contracts import lint
from dropoff.contracts.schema import hash_of, split_ref
from dropoff.core import credential, limits, payload, policy
from dropoff.core import lease as leases
from dropoff.core.caller import EVERYONE, RESERVED, Caller, Principal, Standing, caller_upkeep
from dropoff.core.deciding import current, decided, everyone
from dropoff.core.grant import Grant, parse
from dropoff.core.handoff import NAME, AgentName, HandoffId, QueueName, queue_of
from dropoff.core.queue import Queue, QueueState
from dropoff.core.store import Judged, Judging, Mended, Released, Stale, Store, StoredSchema
from dropoff.errors import (
    AgentExists,
    AgentRevoked,
    AgentUnknown,
    ArgumentsInvalid,
    HandoffUnknown,
    LeaseUnknown,
    NotAllowed,
    Problem,
    QueueNotEmpty,
    QueueUnknown,
    SchemaUnknown,
)

T = TypeVar("T")

OPERATOR: Final = AgentName("operator")  # the one that the first start makes
OPERATOR_TRIES: Final = 5
NAME_RULE: Final = "a-z 0-9 . _ - (at most 64), beginning and ending with a letter or digit"


class NewQueue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A queue as an operator asks for it. The schema without a version means the newest."""

    name: str
    schema: str
    purpose: str = ""
    lease_seconds: int = limits.LEASE_MS_DEFAULT // 1_000
    max_attempts: int = limits.ATTEMPTS_MAX_DEFAULT
    max_bytes: int = limits.PAYLOAD_BYTES_MAX
    max_waiting: int = limits.WAITING_MAX_DEFAULT
    approval: bool = False
    expires_seconds: int = 0
    retention_seconds: int = limits.RETENTION_MS_DEFAULT // 1_000


class MadeAgent(msgspec.Struct, frozen=True, kw_only=True):
    """A new agent, and its bearer: the only time that it is ever shown."""

    principal: Principal
    bearer: str


class Operations:
    """Acts on the store in an operator's name."""

    def __init__(self, store: Store, unique: Callable[[int], bytes]) -> None:
        self.store = store
        self._unique = unique

    async def push_schema(self, caller: Caller, name: str, content: Any) -> tuple[StoredSchema, bool]:
        """Register content as the next version of this schema; the same content again is the version it has."""

        async def push(caller: Caller) -> tuple[StoredSchema, bool]:
            _require_name("name", name, "dropoff schema push")
            lint.require(name, content)  # costs up to seconds, so after the question who is asking
            encoded = payload.canonical(content)
            return await self.store.put_schema(caller, name, hash_of(encoded), encoded)

        return await self._done(caller, "register schemas", push)

    async def add_queue(self, caller: Caller, new: NewQueue) -> Queue:
        """Make the queue; the same again is the same queue, other settings are `QueueExists`."""
        _require_name("name", new.name, "dropoff queue add")
        _require_limits(new)

        async def add(caller: Caller) -> Queue:
            ref, hash = await self._pinned(new.schema)
            bare = Queue(name=QueueName(new.name), schema=ref, schema_hash=hash)
            return await self.store.put_queue(caller, _queue(new, bare))

        return await self._done(caller, "add queues", add)

    async def edit_queue(self, caller: Caller, name: str, changes: Mapping[str, Any]) -> Queue:
        """Change settings of a queue, by the names that `NewQueue` gives them; the schema stays. In force on return."""

        async def edit(caller: Caller) -> Queue:
            queue = await self._known_queue(name)
            edited = msgspec.structs.replace(_settings(queue), **changes)
            _require_limits(edited)
            return await self._put(caller, queue, _queue(edited, queue))

        return await self._done(caller, "edit queues", edit)

    async def set_queue(self, caller: Caller, name: str, state: QueueState, reason: str = "") -> Queue:
        """Pause (nothing goes out), drain (nothing comes in) or open a queue. In force on return."""

        async def change(caller: Caller) -> Queue:
            queue = await self._operated_queue(caller, name)
            return await self._put(caller, queue, msgspec.structs.replace(queue, state=state, reason=reason))

        return await decided(self.store, await current(self.store, caller), change)

    async def remove_queue(self, caller: Caller, name: str) -> int:
        """Remove a queue in which nothing is going on; what ended in it is forgotten at once. Says how many that were.

        `QueueNotEmpty` while anything waits, is held, scheduled or leased; then what ended stays as well.
        """

        async def remove(caller: Caller) -> int:
            queue = await self._known_queue(name)
            figures = (await self.store.figures([queue.name]))[queue.name]
            left = figures.waiting + figures.leased + figures.scheduled + figures.held
            if left:
                raise QueueNotEmpty(queue=name, left=left)
            closed = msgspec.structs.replace(queue, state="draining", retention_ms=0, reason="is being removed")
            closed = await self.store.put_queue(caller, closed)
            try:
                erased = await self._erase_all(caller, queue.name)
                await self.store.drop_queue(caller, closed)
            except QueueNotEmpty:  # something came in just before it was closed
                await self.store.put_queue(caller, msgspec.structs.replace(queue, rev=closed.rev))
                raise
            return erased

        return await self._done(caller, "remove queues", remove)

    async def _erase_all(self, caller: Caller, queue: QueueName) -> int:
        """Forget all that has ended in a queue that keeps nothing."""
        erased = 0
        while ended := (await self.store.overdue(queue, limits.OVERDUE_AT_ONCE)).ended:
            erased += sum(
                done is not None for done in await asyncio.gather(*(self.store.erase(id, caller) for id in ended))
            )
        return erased

    async def add_agent(self, caller: Caller, name: str, grants: Iterable[str]) -> MadeAgent:
        """Make an agent with a new long bearer, which is returned once and never kept."""
        bearer = credential.bearer(self._unique(credential.BEARER_BYTES))

        async def add(caller: Caller) -> Principal:
            _require_name("name", name, "dropoff agent add")
            if name in RESERVED:
                raise _invalid("dropoff agent add", "name", f"'{name}' is reserved", expected="another name")
            principal = Principal(agent=AgentName(name), grants=_grants(grants), bearers=(credential.hash_of(bearer),))
            if await self.store.principal(principal.agent, fresh=True):
                raise AgentExists(agent=name)
            return await self.store.put_principal(caller, principal)

        return MadeAgent(principal=await self._done(caller, "add agents", add), bearer=bearer)

    async def grant(self, caller: Caller, name: str, grants: Iterable[str]) -> Principal:

        def change(known: Principal) -> dict[str, Any]:
            if known.standing == "revoked":
                raise AgentRevoked(agent=name)
            return {"grants": (*known.grants, *_without(_grants(grants), known.grants))}

        return await self._changed(caller, name, change)

    async def ungrant(self, caller: Caller, name: str, grants: Iterable[str]) -> Principal:
        return await self._changed(caller, name, lambda known: {"grants": _without(known.grants, _grants(grants))})

    async def revoke(self, caller: Caller, name: str, reason: str = "") -> Principal:
        """End the agent's authority: in force, for the very next step of anybody, on return."""
        return await self._changed(caller, name, lambda _: {"standing": "revoked", "reason": reason})

    async def freeze(self, caller: Caller, name: str, reason: str = "") -> Principal:
        """Stop an agent, or everybody (`*`), until thawed: in force, for the very next step of anybody, on return."""
        return await self._changed(caller, name, lambda known: _standing(known, "frozen", reason), or_everyone=True)

    async def thaw(self, caller: Caller, name: str, reason: str = "") -> Principal:
        """Let a frozen agent, or everybody (`*`), go on: what is held has one whole lease time from now."""
        return await self._changed(caller, name, lambda known: _standing(known, "active", reason), or_everyone=True)

    async def judge(self, caller: Caller, handoff_id: str, verb: Judging, digest: str, reason: str = "") -> Judged:
        """Approve or deny a held handoff, for the payload of this digest; never by its own sender."""

        async def judge(caller: Caller) -> Judged:
            await self._operated_queue(caller, queue_of(handoff_id) or "")
            return await self.store.judge(caller, HandoffId(handoff_id), verb, digest=digest, reason=reason)

        return await self._on_handoff(caller, handoff_id, judge)

    async def release(self, caller: Caller, lease_id: str, reason: str = "") -> Released:
        """Take work from a holder that hangs: just this lease of it. It counts as nobody's failure."""
        lease = leases.parse(lease_id)
        if lease is None:
            raise LeaseUnknown(lease_id=lease_id, held=())

        async def release(caller: Caller) -> Released:
            await self._operated_queue(caller, lease.queue)
            return await self.store.release(caller, lease, reason=reason)

        return await self._on_handoff(caller, lease.handoff_id, release)

    async def mend(self, caller: Caller) -> Mended:
        """Put back what lost keys took, now. Upkeep does it at each start and once an hour."""
        return await self._done(caller, "mend the store", lambda _: self.store.mend())

    async def ensure_operator(self, bearer: str) -> Principal:
        """The operator whose credential lies in the data folder: made at the first start, found at the next."""
        for _ in range(OPERATOR_TRIES - 1):
            with suppress(Stale):  # another broker, with a data folder of its own, does the same at this moment
                return await self._operator_with(credential.hash_of(bearer))
        return await self._operator_with(credential.hash_of(bearer))

    async def _operator_with(self, bearer_hash: str) -> Principal:
        await everyone(self.store)  # before anybody calls: no step passes without its word
        known = await self.store.principal(OPERATOR, fresh=True) or Principal(agent=OPERATOR, grants=(Grant("admin"),))
        if bearer_hash in known.bearers:
            return known
        changed = msgspec.structs.replace(known, bearers=(*known.bearers, bearer_hash))
        return await self.store.put_principal(caller_upkeep(), changed)

    # ---- how an act is done -------------------------------------------------------------------------------------

    async def _changed(
        self, caller: Caller, name: str, change: Callable[[Principal], dict[str, Any]], *, or_everyone: bool = False
    ) -> Principal:
        """The agent's record with this change, made over whatever it is now.

        Everybody at once has no grants, and cannot be revoked: nothing would ever pass again.
        """

        async def act(caller: Caller) -> Principal:
            asked = everyone(self.store) if name == EVERYONE else self.store.principal(AgentName(name), fresh=True)
            known = await asked
            if known is None or (known.agent == EVERYONE and not or_everyone):
                raise AgentUnknown(agent=name)
            changed = msgspec.structs.replace(known, **change(known))
            if changed == known:  # said again: somebody may have died between the record and the gate
                await self.store.gate(caller, known.agent, known.rev, known.standing, known.reason)
                return known
            if _governs(known) and not _governs(changed):
                await self._require_another_admin(caller, known)
            return await self.store.put_principal(caller, changed)

        return await self._done(caller, "change agents", act)

    async def _require_another_admin(self, caller: Caller, last: Principal) -> None:
        """An installation that nobody governs could never be governed again."""
        if not any(_governs(other) for other in await self.store.principals() if other.agent != last.agent):
            raise NotAllowed(agent=caller.agent, doing=f"end the authority of '{last.agent}', the last admin")

    # ---- queues and handoffs ------------------------------------------------------------------------------------

    async def _known_queue(self, name: str) -> Queue:
        queues = await self.store.queues(fresh=True)
        if name not in queues:
            raise QueueUnknown(queue=name, doing=policy.DOING["operate"], allowed=tuple(queues))
        return queues[QueueName(name)]

    async def _operated_queue(self, caller: Caller, name: str) -> Queue:
        queues = await self.store.queues(fresh=True)
        return queues[policy.require(caller, "operate", name, tuple(queues))]

    async def _put(self, caller: Caller, queue: Queue, changed: Queue) -> Queue:
        return queue if changed == queue else await self.store.put_queue(caller, changed)

    async def _on_handoff(self, caller: Caller, handoff_id: str, act: Callable[[Caller], Awaitable[T]]) -> T:
        """Without a grant on its queue a handoff does not exist for the caller."""
        try:
            return await decided(self.store, await current(self.store, caller), act)
        except QueueUnknown:
            raise HandoffUnknown(handoff_id=handoff_id) from None

    async def _done(self, caller: Caller, doing: str, act: Callable[[Caller], Awaitable[T]]) -> T:
        """The act in the operator's name, who must be an admin by the gate's word of now: an act that finds nothing to
        change takes no step, and would tell a revoked operator what is there.
        """

        async def decide(caller: Caller) -> T:
            policy.require_admin(caller, doing)
            return await act(caller)

        return await decided(self.store, await current(self.store, caller), decide)

    async def _pinned(self, ref: str) -> tuple[str, str]:
        """`name@version` and hash of the schema that a reference means."""
        known = await self.store.schemas()
        split = split_ref(ref)
        if split is not None:
            name, version = split
            versions = [
                int(known_ref.rpartition("@")[2]) for known_ref in known if known_ref.rpartition("@")[0] == name
            ]
            wanted = f"{name}@{version or max(versions, default=0)}"
            if wanted in known:
                return wanted, known[wanted]
        raise SchemaUnknown(schema=ref, known=tuple(known))


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
        purpose=queue.purpose,
        lease_seconds=queue.lease_ms // 1_000,
        max_attempts=queue.attempts_max,
        max_bytes=queue.payload_bytes_max,
        max_waiting=queue.waiting_max,
        approval=queue.approval,
        expires_seconds=queue.expires_ms // 1_000,
        retention_seconds=queue.retention_ms // 1_000,
    )


def _standing(known: Principal, standing: Standing, reason: str) -> dict[str, Any]:
    if known.standing == "revoked":
        raise AgentRevoked(agent=known.agent)
    return {"standing": standing, "reason": reason if standing != known.standing else known.reason}


def _governs(principal: Principal) -> bool:
    return principal.standing == "active" and any(grant.act == "admin" for grant in principal.grants)


def _grants(texts: Iterable[str]) -> tuple[Grant, ...]:
    parsed = [parse(text) for text in texts]
    problems = tuple(problem for problem in parsed if isinstance(problem, Problem))
    if problems:
        raise ArgumentsInvalid(verb="dropoff agent", problems=problems)
    return tuple(dict.fromkeys(grant for grant in parsed if isinstance(grant, Grant)))


def _without(grants: Iterable[Grant], others: Iterable[Grant]) -> tuple[Grant, ...]:
    left_out = set(others)
    return tuple(grant for grant in grants if grant not in left_out)


def _require_name(path: str, name: str, verb: str) -> None:
    if not NAME.match(name):
        raise _invalid(
            verb,
            path,
            f"'{name[:80]}' is no name ({NAME_RULE})",
            expected=NAME_RULE,
        )


def _require_limits(new: NewQueue) -> None:
    """Each setting within what the broker can keep its promise for."""
    ranges = {
        "lease_seconds": (limits.LEASE_MS_MIN // 1_000, limits.LEASE_MS_MAX // 1_000),
        "max_attempts": (1, 1_000),
        "max_bytes": (1, limits.PAYLOAD_BYTES_MAX),
        "max_waiting": (1, limits.WAITING_MAX_DEFAULT),
        "expires_seconds": (0, limits.EXPIRES_MS_MAX // 1_000),
        "retention_seconds": (limits.RETENTION_MS_MIN // 1_000, limits.EXPIRES_MS_MAX // 1_000),
    }
    problems = [
        Problem(
            path=name, problem=f"{getattr(new, name)} is not between {least} and {most}", got=str(getattr(new, name))
        )
        for name, (least, most) in ranges.items()
        if not least <= getattr(new, name) <= most
    ]
    if len(new.purpose) > limits.NOTE_CHARS_MAX:
        problems.append(Problem(path="purpose", problem=f"too long (more than {limits.NOTE_CHARS_MAX} characters)"))
    if problems:
        raise ArgumentsInvalid(verb="dropoff queue add", problems=tuple(problems))


def _invalid(verb: str, path: str, problem: str, expected: str) -> ArgumentsInvalid:
    return ArgumentsInvalid(verb=verb, problems=(Problem(path=path, problem=problem, expected=expected),))
