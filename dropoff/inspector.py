"""What operators may read. Looking changes nothing.

Lists are answered from records after one look at the gate, so that who was revoked stops reading at once.
"""

from typing import Final, Literal

import msgspec

from dropoff.core import policy
from dropoff.core.answers import StoredSchema
from dropoff.core.caller import EVERYONE, Caller, Principal
from dropoff.core.deciding import decided, unfrozen
from dropoff.core.handoff import AgentName, Handoff, HandoffId, queue_of
from dropoff.core.lease import Lease
from dropoff.core.ledger import Entry
from dropoff.core.lifecycle import (
    COMPLETED,
    DEAD,
    EXPIRED,
    HELD,
    LEASED,
    REJECTED,
    SCHEDULED,
    WAITING,
    WITHDRAWN,
    State,
)
from dropoff.core.queue import Queue, QueueFigures
from dropoff.core.refs import meant
from dropoff.core.rejections import Rejection
from dropoff.core.store import Store
from dropoff.errors import AgentUnknown, HandoffUnknown, SchemaUnknown

# What needs a person first, then what goes on, then what is over.
URGENCY: Final[tuple[State, ...]] = (
    DEAD,
    HELD,
    LEASED,
    WAITING,
    SCHEDULED,
    REJECTED,
    EXPIRED,
    WITHDRAWN,
    COMPLETED,
)


class QueueView(msgspec.Struct, frozen=True, kw_only=True):
    queue: Queue
    figures: QueueFigures


class Inspector:
    """Reads for operators; nothing here writes."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def queues(self, caller: Caller) -> list[QueueView]:
        """The queues that the caller may inspect, in numbers."""
        caller = await unfrozen(self.store, caller)
        queues = await self.store.queues(fresh=True)
        names = policy.allowed(caller, "inspect", queues)
        figures = await self.store.figures(names)
        return [QueueView(queue=queues[name], figures=figures[name]) for name in names if name in figures]

    async def queue(self, caller: Caller, name: str) -> QueueView:
        caller = await unfrozen(self.store, caller)
        queues = await self.store.queues(fresh=True)
        found = policy.require(caller, "inspect", name, tuple(queues))
        return QueueView(queue=queues[found], figures=(await self.store.figures([found]))[found])

    async def rejections(self, caller: Caller, name: str) -> tuple[Rejection, ...]:
        """What agents got wrong of late who brought payloads for the queue, as places in its schema."""
        caller = await unfrozen(self.store, caller)
        found = policy.require(caller, "inspect", name, tuple(await self.store.queues(fresh=True)))
        return await self.store.rejections(found)

    async def in_numbers(self, queue: Queue) -> QueueView:
        """A queue that an act of the caller's own has just brought; who may change it may see what came of that."""
        return QueueView(queue=queue, figures=(await self.store.figures([queue.name]))[queue.name])

    async def everyone(self, caller: Caller) -> Principal:
        """How it stands with everybody at once. It is told to every caller: a freeze stops every one of them."""
        await unfrozen(self.store, caller)
        return await self.store.principal(EVERYONE, fresh=True) or Principal(agent=EVERYONE)

    async def handoffs(
        self, caller: Caller, queue: str, state: State | Literal[""], at_most: int
    ) -> tuple[Handoff, ...]:
        """Of one queue or of all that the caller may inspect; in one state or in all, the most urgent first."""
        caller = await unfrozen(self.store, caller)
        queues = tuple(await self.store.queues(fresh=True))
        one = (policy.require(caller, "inspect", queue, queues),) if queue else ()
        found: dict[HandoffId, Handoff] = {}  # by id, for one may move on while we look
        for each in (state,) if state else URGENCY:
            for name in one or policy.allowed(caller, "inspect", queues):
                if len(found) < at_most:
                    more = await self.store.handoffs(name, each, at_most - len(found))
                    found |= {handoff.id: handoff for handoff in more}
        return tuple(found.values())

    async def handoff(self, caller: Caller, handoff_id: str) -> tuple[Handoff, tuple[Entry, ...]]:
        """One handoff and all that the ledger says of it."""
        caller = await unfrozen(self.store, caller)
        queue = queue_of(handoff_id)
        if queue is None or not policy.may(caller, "inspect", queue):
            raise HandoffUnknown(handoff_id=handoff_id)
        wanted = HandoffId(handoff_id)
        handoff = await decided(self.store, caller, lambda caller: self.store.check(caller, wanted, may_inspect=True))
        return handoff, await self.store.entries(handoff_id=handoff_id, at_most=1_000)

    async def agents(self, caller: Caller) -> tuple[Principal, ...]:
        policy.require_admin(await unfrozen(self.store, caller), "list agents")
        return await self.store.principals()

    async def agent(self, caller: Caller, name: str) -> Principal:
        policy.require_admin(await unfrozen(self.store, caller), "look at agents")
        principal = await self.store.principal(AgentName(name), fresh=True)
        if principal is None:
            raise AgentUnknown(agent=name)
        return principal

    async def holds(self, caller: Caller, name: str) -> tuple[Lease, ...]:
        """What an agent holds now."""
        policy.require_admin(await unfrozen(self.store, caller), "look at agents")
        return await self.store.leases_of(AgentName(name))

    async def schemas(self, caller: Caller) -> dict[str, str]:
        policy.require_admin(await unfrozen(self.store, caller), "list schemas")
        return await self.store.schemas()

    async def schema(self, caller: Caller, ref: str) -> StoredSchema:
        """By `name@version`, or the newest of that name. Raises `SchemaUnknown`, also where what it says is lost."""
        policy.require_admin(await unfrozen(self.store, caller), "look at schemas")
        known = await self.store.schemas()
        wanted = meant(ref, known)
        found = await self.store.schema(known[wanted]) if wanted else None
        if found is None:
            raise SchemaUnknown(schema=wanted or ref, known=tuple(known))
        return msgspec.structs.replace(found, ref=wanted)

    async def entries(self, caller: Caller, after: str, at_most: int) -> tuple[Entry, ...]:
        policy.require_admin(await unfrozen(self.store, caller), "read the ledger")
        return await self.store.entries(after=after, at_most=at_most)
