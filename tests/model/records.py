"""What decisions are made from: agents and their gate, queues, schemas.

Each is written over the revision that it was made from; what was asked for and is there already is a success.
"""

from collections.abc import Mapping

from dropoff.core import limits
from dropoff.core.answers import Gated, Mended, StoredSchema
from dropoff.core.caller import EVERYONE, Caller, Principal, Revision
from dropoff.core.deciding import half_done
from dropoff.core.handoff import AgentName, QueueName
from dropoff.core.queue import Queue
from dropoff.core.rejections import MORE, Fault, Rejection, in_order
from dropoff.core.store import Stale
from dropoff.errors import NotAllowed, QueueExists, QueueNotEmpty
from tests.model.leases import Leases
from tests.model.memory import THE_CLOCK, Rejected, changed


class Records(Leases):
    """Who may what, and the contracts of queues."""

    # ---- who may what -------------------------------------------------------------------------------------------

    async def principal(self, agent: AgentName, *, fresh: bool = False) -> Principal | None:
        return self._principals.get(agent)

    async def principals(self) -> tuple[Principal, ...]:
        return tuple(self._principals[agent] for agent in sorted(self._principals.keys() - {EVERYONE}))

    async def agent_by_bearer(self, bearer_hash: str) -> AgentName | None:
        return next((one.agent for one in self._principals.values() if bearer_hash in one.bearers), None)

    async def put_principal(self, by: Caller, principal: Principal) -> Principal:
        """The record, then the gate. Between the two somebody may die: `changing` says what is left to be done."""
        now = self._principals.get(principal.agent)
        try:
            self._pass(by, "operating")
            if principal.rev != (now.rev if now else "0"):
                raise Stale
        except Stale:  # as it is said to who asks again what was written, too
            if now is None or now.rev == principal.rev or changed(now, rev=principal.rev) != principal:
                raise
            with half_done():
                return await self._open(by, now)
        others = any(one.governs for one in self._principals.values() if one.agent != principal.agent)
        if now and now.governs and not principal.governs and not others:
            raise NotAllowed(agent=by.agent, doing=f"end the authority of '{now.agent}', the last admin")
        written = changed(principal, rev=self._risen(principal.rev, self._gate.get(principal.agent, (0, ""))[0]))
        self._principals[principal.agent] = written
        self._changing[written.agent] = written.rev
        self._write("put_principal", by, agent=written.agent, rev=written.rev)
        with half_done():
            return await self._open(by, written)

    async def _open(self, by: Caller, principal: Principal) -> Principal:
        told = await self.gate(by, principal.agent, principal.rev, principal.standing, principal.reason)
        if told == "behind":
            return await self.put_principal(THE_CLOCK, principal)
        if self._changing.get(principal.agent) == principal.rev:
            del self._changing[principal.agent]
        return principal

    async def gate(self, by: Caller, agent: AgentName, rev: str, standing: str, reason: str = "") -> Gated:
        """Only ever a higher revision, and none older than the record.

        A thaw notes when: what is held then has one whole term.
        """
        self._pass(by, "operating")
        record, (known_rev, known) = self._principals.get(agent), self._gate.get(agent, (-1, ""))
        if (known_rev, known) == (int(rev), standing) or (record and int(record.rev) > int(rev)):
            return "known"
        if known_rev >= int(rev):
            return "behind"
        self._gate[agent] = (int(rev), standing)
        if standing == "active" and known != "active" and (known or self._held_by(agent)):
            self._resumed_ms[agent] = self._now
        self._write("gate", by, agent=agent, rev=rev, standing=standing, reason=reason)
        return "changed"

    async def enforce(self, agent: AgentName) -> Principal | None:
        principal = self._principals.get(agent)
        return principal and await self._open(THE_CLOCK, principal)

    async def changing(self) -> tuple[AgentName, ...]:
        return tuple(sorted(self._changing))

    async def standing(self, agent: AgentName) -> str:
        return "{} {}".format(*self._gate[agent]) if agent in self._gate else ""

    # ---- queues -------------------------------------------------------------------------------------------------

    async def queues(self, *, fresh: bool = False) -> dict[QueueName, Queue]:
        return {name: self._queues[name] for name in sorted(self._queues)}

    async def put_queue(self, by: Caller, queue: Queue) -> Queue:
        self._pass(by, "operating")
        there = self._queues.get(queue.name)
        rev = there.rev if there else "0"
        if queue.rev != rev:
            if there and changed(queue, rev=rev) == there:
                return there
            if there and queue.rev == "0":
                raise QueueExists(queue=queue.name, differs=_differences(there, changed(queue, rev=rev)))
            raise Stale
        written = self._queues[queue.name] = changed(queue, rev=self._risen(queue.rev))
        self._write(
            "put_queue",
            by,
            queue=queue.name,
            schema=queue.schema_hash,
            rev=written.rev,
            standing=queue.state,
            reason=queue.reason,
        )
        return written

    async def remove_queue(self, by: Caller, queue: Queue) -> bool:
        self._pass(by, "operating")
        there = self._queues.get(queue.name)
        if there is None:
            return False
        if there.rev != queue.rev:
            raise Stale
        left = len(self._here(queue.name))
        if left:
            raise QueueNotEmpty(queue=queue.name, left=left)
        del self._queues[queue.name]
        self.rejected.pop(queue.name, None)
        self._pickers = {place: seen_ms for place, seen_ms in self._pickers.items() if place[0] != queue.name}
        self._write("remove_queue", by, queue=queue.name, rev=there.rev)
        return True

    async def count_rejections(self, queue: QueueName, schema: str, counts: Mapping[Fault, int], request: str) -> None:
        """So many places of a version, the rest together; and of so many versions, those that rejected last."""
        if queue not in self._queues:
            return
        rejected = self.rejected.setdefault(queue, Rejected())
        if request in rejected.heard:
            return
        rejected.heard.add(request)
        for fault, count in sorted(counts.items()):
            places = sum(of == schema for of, _ in rejected.counts)
            known = (schema, fault) in rejected.counts or places < limits.REJECTED_PLACES_MAX
            place = (schema, fault if known else MORE)
            rejected.counts[place] = (rejected.counts.get(place, (0, 0))[0] + count, self._now)
        last = {of: 0 for of, _ in rejected.counts}
        for (of, _), (_, last_ms) in rejected.counts.items():
            last[of] = max(last[of], last_ms)
        kept = sorted(last, key=lambda of: (of == schema, last[of], of))[-limits.REJECTED_SCHEMAS_KEPT :]
        rejected.counts = {place: how for place, how in rejected.counts.items() if place[0] in kept}

    async def rejections(self, queue: QueueName) -> tuple[Rejection, ...]:
        return in_order(
            Rejection(schema=of, what=fault.what, place=fault.place, count=count, last_ms=last_ms)
            for (of, fault), (count, last_ms) in self.rejected.get(queue, Rejected()).counts.items()
        )

    def _risen(self, rev: str, above: int = 0) -> Revision:
        return Revision(str(max(int(rev) + 1, above + 1, self._now)))

    # ---- schemas ------------------------------------------------------------------------------------------------

    async def schema(self, hash: str) -> StoredSchema | None:
        return next((schema for schema in self._schemas.values() if schema.hash == hash), None)

    async def schemas(self) -> dict[str, str]:
        return {ref: self._schemas[ref].hash for ref in sorted(self._schemas)}

    async def put_schema(self, by: Caller, name: str, hash: str, content: bytes) -> tuple[StoredSchema, bool]:
        self._pass(by, "operating")
        versions = [schema for ref, schema in self._schemas.items() if ref.rpartition("@")[0] == name]
        known = next((schema for schema in versions if schema.hash == hash), None)
        if known:
            return known, False
        new = StoredSchema(ref=f"{name}@{len(versions) + 1}", hash=hash, content=content)
        self._schemas[new.ref] = new
        self._write("put_schema", by, schema=hash, reason=new.ref)
        return new, True

    # ---- mending ------------------------------------------------------------------------------------------------

    async def turn_to_mend(self, for_ms: int) -> bool:
        first, self._mending = not self._mending, True
        return first

    async def mend(self) -> Mended:
        """Nothing is lost here: only what was half done is finished."""
        mended = 0
        for agent, record in sorted(self._principals.items()):
            mended += self._gate.get(agent) != (int(record.rev), record.standing)
            await self.enforce(agent)
            for lease in self._held_by(agent) if self._stands(agent, "revoked") else ():
                self._free(self.kept[lease.handoff_id], "recall", THE_CLOCK, "the holder is revoked")
        return Mended(looked_at=len(self.kept), mended=mended)


def _differences(one: Queue, other: Queue) -> tuple[str, ...]:
    return tuple(name for name in one.__struct_fields__ if getattr(one, name) != getattr(other, name))
