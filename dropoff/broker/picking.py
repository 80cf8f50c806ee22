"""Who picks up: what there is for it now or soon, and what becomes of that if nobody is there to hear it.

A lease that nobody hears of would lapse, and count against its handoff. Where nobody knows whether a call has brought
one, it can be asked for again under its request key. For a call that brought none, the broker looks itself as soon as
the store answers, under the key that it made up, and gives back what is there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, Final

import msgspec

from dropoff.broker.asking import Asking, repeatable
from dropoff.broker.repeats import unless_heard
from dropoff.contracts.gate import Gates
from dropoff.core import policy
from dropoff.core.answers import PickedUp
from dropoff.core.caller import Caller, caller_upkeep
from dropoff.core.handoff import AgentName, QueueName, content_of
from dropoff.core.requests import PickUp
from dropoff.core.store import Paused, Store
from dropoff.errors import BrokerUnavailable, DropoffError

GIVING_BACK_TRIES: Final = 300  # a second apart: as long as most leases last
GIVING_BACK_PAUSE_S: Final = 1.0


class NothingToPickUp(msgspec.Struct, frozen=True, kw_only=True):
    """No work now; `paused` where that is an operator's word and not for want of work."""

    paused: bool = False


Found = tuple[PickedUp, ...] | NothingToPickUp


class Picking(Asking):
    """The verb of who wants work."""

    def __init__(self, store: Store, gates: Gates, unique: Callable[[int], bytes]) -> None:
        super().__init__(store, gates, unique)
        self._giving_back: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Stop giving back; what is still leased then lapses."""
        giving = tuple(self._giving_back)
        for one in giving:
            one.cancel()
        await asyncio.gather(*giving, return_exceptions=True)

    async def pick_up(self, caller: Caller, request: PickUp, key: str = "") -> PickedUp | NothingToPickUp:
        """Lease the oldest waiting handoff to the caller, if there is one now or within the time it waits.

        Called again with the same key while the lease goes on: the same lease. Cancelled, it leaves nobody a lease.
        """
        found = await self.pick_up_several(caller, request, 1, key)
        return found if isinstance(found, NothingToPickUp) else found[0]

    async def pick_up_several(self, caller: Caller, request: PickUp, at_most: int, key: str = "") -> Found:
        """As `pick_up` does; as soon as there is one, with what else is there, up to `at_most`."""

        async def heard() -> Found | None:
            return await self._picked_before(caller, request.queue, at_most, key) if key else None

        with repeatable(key):
            return await unless_heard(self._picked_up(caller, request, at_most, key), heard)

    async def _picked_before(self, caller: Caller, name: str, at_most: int, key: str) -> Found | None:
        """What an earlier call of this key brought and its caller still holds, though it may not ask for it now."""

        async def look(request: str) -> PickedUp | None:
            return await self._decided(caller, lambda caller: self.store.picked_before(caller, caller.agent, request))

        found = await asyncio.gather(*(look(request) for request in _requests(name, key, at_most)))
        return tuple(picked for picked in found if picked) or None

    async def take_back(self, taken: Iterable[PickedUp]) -> None:
        """Their picker left before it had the answer: the work goes to the next, and that counts as nothing.

        But not what an earlier call of the same key had brought already.
        """
        for picked in taken:
            if not picked.repeated:
                with suppress(DropoffError):  # nobody is left to be told; at worst the lease runs out
                    await self.store.recall(picked.lease, "the client left before it had the answer", unheard=True)

    # ---- waiting, and a client that leaves --------------------------------------------------------------------------

    async def _picked_up(self, caller: Caller, request: PickUp, at_most: int, key: str) -> Found:
        names = await self._decided(caller, lambda caller: self._pickable(caller, request.queue))
        requests = _requests(request.queue, key or self._unique(16).hex(), at_most)
        loop = asyncio.get_running_loop()
        ends = loop.time() + request.wait_seconds
        # A place before the first look, or a drop could slip between.
        async with self.store.waiting_for_work(names, request.accepts) as place:
            while True:
                found = await self._tried(self._known_or_given_back(caller, request, requests, keyed=bool(key)))
                left = ends - loop.time()
                if not isinstance(found, NothingToPickUp) or left <= 0 or not await place.news(left):
                    return found

    async def _tried(self, taking: Coroutine[Any, Any, Found]) -> Found:
        """One try, seen to its end: of a step that is under way nobody can say that it will not bring a lease."""
        trying = asyncio.ensure_future(taking)
        try:
            return await asyncio.shield(trying)
        except asyncio.CancelledError:
            giving_back = asyncio.ensure_future(self._given_back(trying))
            while not giving_back.done():
                with suppress(asyncio.CancelledError):  # said once more, it changes nothing
                    await asyncio.shield(giving_back)
            raise

    async def _given_back(self, trying: Awaitable[Found]) -> None:
        with suppress(DropoffError):  # nobody is left to be told
            found = await trying
            await self.take_back(() if isinstance(found, NothingToPickUp) else found)

    async def _known_or_given_back(self, caller: Caller, asked: PickUp, requests: list[str], *, keyed: bool) -> Found:
        try:
            return await self._first_few(caller, asked, requests)
        except BrokerUnavailable as error:
            if error.stored == "unknown" and not keyed:
                giving = asyncio.create_task(self._give_back(caller.agent, requests), name="dropoff picks, given back")
                self._giving_back.add(giving)
                giving.add_done_callback(self._giving_back.discard)
            raise

    async def _give_back(self, agent: AgentName, requests: list[str]) -> None:
        """What these requests have brought, as soon as the store answers: nobody can ask for it any more."""
        for _ in range(GIVING_BACK_TRIES):
            try:
                for request in requests:
                    if picked := await self.store.picked_before(caller_upkeep(), agent, request):
                        await self.store.recall(picked.lease, "its picker never had the answer")
                return
            except DropoffError:
                await asyncio.sleep(GIVING_BACK_PAUSE_S)

    # ---- one look ---------------------------------------------------------------------------------------------------

    async def _pickable(self, caller: Caller, name: str) -> tuple[QueueName, ...]:
        if name:
            return ((await self._queue(caller, "pick", "pick_up", name)).name,)
        names = policy.allowed(caller, "pick", await self.store.queues())
        return names or (policy.only_one(caller, "pick", "pick_up", ()),)

    async def _first_few(self, caller: Caller, asked: PickUp, requests: list[str]) -> Found:
        """The first decides whether there is anything; a refusal of a later one takes nothing of what is had.

        But what may have been leased, and nobody knows, is said, once all have their end: under the same key all of
        them come back.
        """
        request, *others = requests
        first = await self._decided(caller, lambda caller: self._first(caller, asked, request))
        if isinstance(first, NothingToPickUp):
            return first

        async def another(request: str) -> PickedUp | NothingToPickUp:
            try:
                return await self._decided(caller, lambda caller: self._first(caller, asked, request))
            except DropoffError as error:
                if isinstance(error, BrokerUnavailable) and error.stored == "unknown":
                    raise
                return NothingToPickUp()

        more = await asyncio.gather(*map(another, others), return_exceptions=True)
        for lost in more:
            if isinstance(lost, BaseException):
                raise lost
        return (first, *(picked for picked in more if isinstance(picked, PickedUp)))

    async def _first(self, caller: Caller, asked: PickUp, request: str) -> PickedUp | NothingToPickUp:
        """From the named queue, or from the first of the caller's that has work; where to begin is left to chance."""
        names = await self._pickable(caller, asked.queue)
        begin = self._unique(1)[0] % len(names)
        queues = await self.store.queues()
        paused = 0
        for queue in (*names[begin:], *names[:begin]):
            try:
                picked = await self.store.pick_up(caller, queues[queue], request, asked.accepts)
            except Paused:
                paused += 1
                continue
            if picked:
                return picked
        return NothingToPickUp(paused=paused == len(names))


def _requests(name: str, key: str, at_most: int) -> list[str]:
    """One for each handoff that a call may bring: the same, whichever of its queues it comes to first."""
    return [content_of(name, f"{key}\n{number}" if number else key) for number in range(at_most)]
