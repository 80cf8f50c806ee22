"""What the clock does in a story, and what upkeep puts right."""

from collections import Counter

from dropoff.core import limits
from dropoff.core.handoff import QueueName, content_of
from dropoff.core.lease import Lease
from dropoff.core.rejections import Fault
from dropoff.core.store import Store
from tests import world
from tests.agreement.both import QUEUES
from tests.agreement.subjects import Subjects


class OfClock(Subjects):
    """Each verb of a story is a method."""

    async def time_passes(self, ms: int) -> None:
        """Without a heartbeat: an outage, if it lasts."""
        self.clock.advance(ms)

    async def lapse(self, handoff: int, state: str) -> None:
        id = self._handoff(handoff, state)
        await self.ask(lambda store: store.lapse(id))

    async def due(self, handoff: int, state: str) -> None:
        id = self._handoff(handoff, state)
        await self.ask(lambda store: store.due(id))

    async def expire(self, handoff: int, state: str) -> None:
        id = self._handoff(handoff, state)
        await self.ask(lambda store: store.expire(id))

    async def erase(self, who: str, outdated: bool, by_clock: bool, handoff: int, state: str) -> None:
        id, by = self._handoff(handoff, state), None if by_clock else self._caller(who, outdated)
        await self.ask(lambda store: store.erase(id, by))

    async def count_rejections(self, queue: str, version: int, places: list[int], key: str) -> None:
        counts = Counter(Fault("missing", f"/properties/{place}") for place in places)
        request = content_of(world.key_or_new(key))
        await self.ask(lambda store: store.count_rejections(QueueName(queue), f"research@{version}", counts, request))

    async def beat(self) -> None:
        await self.ask(lambda store: store.beat())

    async def upkeep_goes_its_round(self, ms: int, outage: bool, recalls: bool) -> None:
        """One round of a broker; one that dies before it recalls leaves that to a lapse."""
        if outage:
            self.clock.advance(ms)
            await self.beat()
        await self._live(0 if outage else ms)
        if recalls:
            await self._finish_what_is_half_done()
        for queue in QUEUES:
            await self._through(queue)

    async def _through(self, queue: QueueName) -> None:
        late = await self.ask(lambda store: store.overdue(queue, 3))
        for id in late.leases:
            await self.ask(lambda store, id=id: store.lapse(id))
        for id in late.expiries:
            await self.ask(lambda store, id=id: store.expire(id))
        for id in late.timers:
            await self.ask(lambda store, id=id: store.due(id))
        for id in late.ended:
            await self.ask(lambda store, id=id: store.erase(id))

    async def _live(self, ms: int) -> None:
        """Let time pass in which brokers are there."""
        ends_ms = self.clock.now_ms + ms
        while self.clock.now_ms < ends_ms:
            self.clock.advance(min(limits.OUTAGE_MS, ends_ms - self.clock.now_ms))
            await self.real.beat()
            await self.model.beat()

    async def _finish_what_is_half_done(self) -> None:
        """In an order of ours: the store has none here."""
        for agent in await self.model.changing():
            await self.ask(lambda store, agent=agent: store.enforce(agent))
        for lease in await self.ask(_revoked):
            await self.ask(lambda store, lease=lease: store.recall(lease, "the holder is revoked"))

    async def mend(self) -> None:
        """Where no key is lost it changes nothing but what is half done."""
        await self._finish_what_is_half_done()
        await self.ask(lambda store: store.turn_to_mend(60_000))
        assert await self.ask(_mended) == 0

    async def a_key_is_lost(self, index: str, queue: str, agent: str) -> None:
        """And is put back, so that the story goes on as if nothing had happened."""
        await self._finish_what_is_half_done()
        keys = self.real.keys
        lost = keys.of("holds", agent=agent) if index == "holds" else keys.of(index, queue=queue)
        was_there = await self.look.client.delete(lost)
        mended = await self.real.mend()
        assert bool(mended.mended) == bool(was_there)


async def _revoked(store: Store) -> tuple[Lease, ...]:
    """Among revoked agents there is no order."""
    return tuple(sorted(await store.revoked(100), key=lambda lease: lease.id))


async def _mended(store: Store) -> int:
    return (await store.mend()).mended
