"""What agents do in a story."""

from dropoff.core.answers import PickedUp
from dropoff.core.handoff import content_of
from dropoff.core.store import Settling
from tests import world
from tests.agreement.subjects import Subjects


class OfAgents(Subjects):
    """Each verb of a story is a method."""

    async def drop_off(
        self,
        who: str,
        outdated: bool,
        queue: str,
        old_settings: bool,
        key: str,
        payload: bytes,
        note: str,
        delay_ms: int,
    ) -> None:
        caller, to = self._caller(who, outdated), self._queue(queue, old_settings)
        new = world.work(caller, queue=to, payload=payload, note=note, delay_ms=delay_ms, key=key)
        await self._drop(caller, to, new)

    async def dropped_before(
        self, who: str, outdated: bool, handoff: int, same: bool, put_back: bool, may_operate: bool
    ) -> None:
        """Somebody asks for what was dropped off, or put back, by itself or by another."""
        caller, id = self._caller(who, outdated), self._handoff(handoff)
        content = self.model.kept[id].content if same and id in self.model.kept else "of other work"
        await self.ask(
            lambda store: store.dropped_before(
                caller, id, content, resubmit_of=id if put_back else "", may_operate=may_operate
            )
        )

    async def pick_up(
        self, who: str, outdated: bool, queue: str, old_settings: bool, key: str, accepts: tuple[str, ...]
    ) -> None:
        caller, key = self._caller(who, outdated), world.key_or_new(key)
        of = self._queue(queue or await self._with_work(), old_settings)
        picked = await self.ask(lambda store: store.pick_up(caller, of, key, accepts))
        if isinstance(picked, PickedUp):
            self.leases.append((picked.lease, who))

    async def picked_before(self, who: str, outdated: bool, key: str) -> None:
        caller = self._caller(who, outdated)
        await self.ask(lambda store: store.picked_before(caller, caller.agent, key))

    async def extend(
        self, who: str, outdated: bool, lease: int, goes_on: bool, progress: str, checkpoint: bytes, key: str
    ) -> None:
        held, caller = self._lease(lease, goes_on, who, outdated)
        key = world.key_or_new(key)
        await self.ask(
            lambda store: world.extend(store, held, caller, progress=progress, checkpoint=checkpoint, key=key)
        )

    async def lease_ends(self, who: str, outdated: bool, lease: int, goes_on: bool) -> None:
        held, caller = self._lease(lease, goes_on, who, outdated)
        await self.ask(lambda store: store.lease_ends(caller, held))

    async def completed_before(self, who: str, outdated: bool, lease: int, goes_on: bool, same: bool) -> None:
        held, caller = self._lease(lease, goes_on, who, outdated)
        content = self.completed.get(held, "") if same else "of another outcome"
        await self.ask(lambda store: store.completed_before(caller, held, content))

    async def complete(
        self, who: str, outdated: bool, lease: int, goes_on: bool, result: bytes, judged_before: bool
    ) -> None:
        held, caller = self._lease(lease, goes_on, who, outdated)
        by = self._judged_by(held, judged_before)
        completed = await self.ask(lambda store: store.complete(caller, held, result, by))
        if not isinstance(completed, Exception):
            self.completed[held] = content_of(result)

    async def forward(
        self,
        who: str,
        outdated: bool,
        lease: int,
        goes_on: bool,
        result: bytes,
        judged_before: bool,
        queue: str,
        old_settings: bool,
        payload: bytes,
    ) -> None:
        held, caller = self._lease(lease, goes_on, who, outdated)
        by, to = self._judged_by(held, judged_before), self._queue(queue, old_settings)
        new = world.onward(caller, held, to, payload)
        completed = await self.ask(lambda store: store.forward(caller, held, result, to, new, by))
        if not isinstance(completed, Exception):
            self.handoffs.append(new.id)
            self.completed[held] = content_of(result, new.content)

    async def hand_back(
        self,
        who: str,
        outdated: bool,
        lease: int,
        goes_on: bool,
        verb: Settling,
        reason: str,
        delay_ms: int | None,
        checkpoint: bytes,
        key: str,
    ) -> None:
        held, caller = self._lease(lease, goes_on, who, outdated)
        key = world.key_or_new(key)
        await self.ask(
            lambda store: world.hand_back(
                store, held, verb, caller, reason=reason, delay_ms=delay_ms, checkpoint=checkpoint, key=key
            )
        )

    async def withdraw(self, who: str, outdated: bool, handoff: int, reason: str, may_operate: bool) -> None:
        caller, id = self._caller(who, outdated), self._handoff(handoff)
        await self.ask(lambda store: store.withdraw(caller, id, reason=reason, may_operate=may_operate))

    async def check(self, who: str, outdated: bool, handoff: int, may_inspect: bool) -> None:
        caller, id = self._caller(who, outdated), self._handoff(handoff)
        await self.ask(lambda store: store.check(caller, id, may_inspect=may_inspect))

    async def again(self, call: int) -> None:
        if self.asked:
            await self.ask(self.asked[-1 - call % len(self.asked)])

    async def client_vanishes(self, lease: int, goes_on: bool) -> None:
        held, _ = self._lease(lease, goes_on)
        await self.ask(lambda store: store.recall(held, "the client left"))
