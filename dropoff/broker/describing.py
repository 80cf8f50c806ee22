"""What the queues that an agent may use demand of it."""

from collections.abc import Awaitable

import msgspec

from dropoff.broker.asking import Asking
from dropoff.contracts.schema import Schema
from dropoff.core import policy
from dropoff.core.caller import Caller
from dropoff.core.deciding import current
from dropoff.core.handoff import QueueName
from dropoff.core.queue import Queue
from dropoff.core.requests import Describe
from dropoff.errors import SchemaUnknown


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """A queue as an agent needs to know it. A schema that it names and that is not here is lost."""

    queue: Queue
    may: tuple[str, ...]
    schema: Schema | None = None
    result_schema: Schema | None = None


class Describing(Asking):
    """The verb of who wants to know."""

    async def describe(self, caller: Caller, request: Describe) -> list[Description]:
        """The queues the caller may drop into or pick up from, with what each demands."""
        caller = await current(self.store, caller)
        queues = await self.store.queues(fresh=True)  # another broker may have made or changed one
        names = {act: policy.allowed(caller, act, queues) for act in ("drop", "pick")}
        wanted = sorted({name for act in names.values() for name in act})
        if request.queue:
            if request.queue not in wanted:
                policy.require(caller, "drop", request.queue, tuple(queues))
            wanted = [QueueName(request.queue)]
        return [
            Description(
                queue=queues[name],
                may=tuple(policy.DOING[act] for act in ("drop", "pick") if name in names[act]),
                schema=await _unless_lost(self._contracts.schema(queues[name])),
                result_schema=await _unless_lost(self._contracts.result_schema(queues[name])),
            )
            for name in wanted
        ]


async def _unless_lost(schema: Awaitable[Schema | None]) -> Schema | None:
    """One queue whose schema is lost must not hide all the others, and with them every tool."""
    try:
        return await schema
    except SchemaUnknown:
        return None
