"""What operators do in a story about handoffs and queues, and what they read."""

from typing import Any

import msgspec

from dropoff.core.caller import EVERYONE, Revision
from dropoff.core.handoff import NewHandoff, QueueName, content_of, derived_id, digest_of
from dropoff.core.lifecycle import FINAL, STATES
from dropoff.core.store import Judging
from tests import world
from tests.agreement.both import QUEUES
from tests.agreement.subjects import Subjects

_new = msgspec.structs.replace


class OfOperators(Subjects):
    """Each verb of a story is a method."""

    # ---- what operators do about handoffs -----------------------------------------------------------------------

    async def judge(
        self, who: str, outdated: bool, handoff: int, state: str, verb: Judging, seen: bool, reason: str
    ) -> None:
        caller, id = self._caller(who, outdated), self._handoff(handoff, state)
        digest = self.model.kept[id].handoff.digest if seen and id in self.model.kept else "of another payload"
        await self.ask(lambda store: store.judge(caller, id, verb, digest=digest, reason=reason))

    async def release(self, who: str, outdated: bool, lease: int, goes_on: bool, reason: str) -> None:
        caller, (seen, _) = self._caller(who, outdated), self._lease(lease, goes_on)
        await self.ask(lambda store: store.release(caller, seen, reason=reason))

    async def resubmit(self, who: str, outdated: bool, handoff: int, state: str) -> None:
        """Put what is over back, as a new handoff."""
        caller, old = self._caller(who, outdated), self.model.kept.get(self._handoff(handoff, state))
        if old is None or old.handoff.state not in FINAL:
            return
        to, payload = self.settings[old.handoff.queue], old.handoff.payload
        id = derived_id(EVERYONE, to.name, f"resubmit\n{old.handoff.id}")
        new = NewHandoff(
            id=id,
            queue=to.name,
            payload=payload,
            salt=str(id),
            digest=digest_of(id, payload),
            content=content_of(payload, old.handoff.id),
            resubmit_of=old.handoff.id,
        )
        await self._drop(caller, to, new)

    # ---- what operators do about queues -------------------------------------------------------------------------

    async def edit_queue(
        self, who: str, outdated: bool, queue: str, old_settings: bool, changes: dict[str, Any]
    ) -> None:
        caller, wanted = self._caller(who, outdated), _new(self._queue(queue, old_settings), **changes)
        await self.ask(lambda store: store.put_queue(caller, wanted))

    async def open_queues(self) -> None:
        for name, queue in (await self.model.queues()).items():
            if queue.state != "open":
                wanted = _new(self.settings[name], state="open", reason="")
                await self.ask(lambda store, wanted=wanted: store.put_queue(world.UPKEEP, wanted))

    async def add_queue(self, who: str, outdated: bool, queue: str, lease_ms: int) -> None:
        caller, wanted = (
            self._caller(who, outdated),
            _new(QUEUES[QueueName(queue)], rev=Revision("0"), lease_ms=lease_ms),
        )
        await self.ask(lambda store: store.put_queue(caller, wanted))

    async def remove_queue(self, who: str, outdated: bool, queue: str, old_settings: bool) -> None:
        caller, seen = self._caller(who, outdated), self._queue(queue, old_settings)
        await self.ask(lambda store: store.remove_queue(caller, seen))

    async def empty_and_remove_queue(self, queue: str, ends_first: bool) -> None:
        """As operators do it: nothing comes in, what has ended is forgotten, what is empty goes."""
        name, ops = QueueName(queue), world.UPKEEP
        closing = _new(self.settings[name], state="draining", retention_ms=0)
        await self.ask(lambda store: store.put_queue(ops, closing))
        if ends_first:
            for id in [id for id, kept in self.model.kept.items() if kept.handoff.queue == name]:
                await self.ask(lambda store, id=id: store.withdraw(ops, id, reason="", may_operate=True))
        late = await self.ask(lambda store: store.overdue(name, 100))
        for id in late.ended:
            await self.ask(lambda store, id=id: store.erase(id, ops))
        closed = self.settings[name]
        await self.ask(lambda store: store.remove_queue(ops, closed))

    async def put_schema(self, who: str, outdated: bool, content: bytes) -> None:
        caller, hash = self._caller(who, outdated), content_of(content)
        await self.ask(lambda store: store.put_schema(caller, "more", hash, content))

    # ---- what is read -------------------------------------------------------------------------------------------

    async def read(self, queue: QueueName, handoff: int) -> None:
        id = self._handoff(handoff)
        await self.ask(lambda store: store.entries(handoff_id=id))
        await self.ask(lambda store: store.schemas())
        await self.ask(lambda store: store.principals())
        for state in STATES:
            await self.ask(lambda store, state=state: store.handoffs(queue, state, 100))
        unleased = await self.ask(lambda store: store.unleased(queue, 100))
        await self.ask(lambda store: store.unleased(queue, 1))
        await self.ask(lambda store: store.payloads((*unleased, id)))
        await self.ask(lambda store: store.picked_lately(queue))
