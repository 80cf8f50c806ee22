"""The store: `core.store.Store` on one node of Redis or Valkey.

Its parts are files of their own: `handoffs.py` the steps on handoffs, `records.py` what decisions are made from,
`reading.py` and `reviewing.py` what operators look at, `mending.py` what puts back lost keys; all stand on `steps.py`.
Here is what they share with the broker's life: start, waiting, close.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from dropoff.core.answers import StoreFacts
from dropoff.core.handoff import HandoffId, QueueName
from dropoff.errors import BrokerUnavailable, StoreRefused
from dropoff.storage.connection import Source
from dropoff.storage.examining import Examined, durability, examine, facts
from dropoff.storage.keys import Keys
from dropoff.storage.mending import Mending
from dropoff.storage.wakes import Waiter, Wakes


class RedisStore(Mending):
    """One store, from `start` to `close`."""

    def __init__(self, source: Source, keys: Keys | None = None, clock_ms: Callable[[], int] | None = None) -> None:
        super().__init__(source, keys or Keys(), clock_ms)
        self._wakes = Wakes(source, self.keys.wake, self._waiting_in)

    async def start(self) -> Examined:
        """Connect, and refuse a store that cannot keep what is promised."""
        self._commit.start()
        try:
            found = await examine(self._commit.ask)
            await self._prove_rights()
            await self.beat()
        except BrokerUnavailable as error:
            await self.close()
            raise StoreRefused("The store cannot be reached. Is it running, and is DROPOFF_STORE right?") from error
        except BaseException:
            await self.close()
            raise
        self._durability = found.durability
        self._wakes.start()
        return found

    async def facts(self) -> StoreFacts:
        """What the store says of itself, and whether a whole step runs on it. Leaves nothing."""
        found = await facts(self._commit.ask)
        if found.unfit:  # a step means nothing there
            return found
        try:
            await self._prove_rights()
        except StoreRefused as refusal:
            return msgspec.structs.replace(found, lacking=refusal.reason)
        return found

    async def looked_at(self) -> StoreFacts:
        """The same, of a store on which nobody has started. `StoreRefused` if there is none to connect to."""
        self._commit.start()
        try:
            return await self.facts()
        except BrokerUnavailable as error:
            raise StoreRefused("The store cannot be reached. Start it, or correct DROPOFF_STORE.") from error
        finally:
            await self.close()

    async def close(self) -> None:
        await self._wakes.close()
        await self._commit.close()

    def end_waits(self) -> None:
        """The broker is about to stop: whoever waits gets its empty answer."""
        self._wakes.end_waits()

    async def ping(self) -> None:
        await self._commit.ask("PING")

    async def refresh(self) -> None:
        self._durability = await durability(self._commit.ask)

    # ---- who waits ----------------------------------------------------------------------------------------------

    def waiting_for_work(
        self, queues: Sequence[QueueName], accepts: Sequence[str] = ()
    ) -> AbstractAsyncContextManager[Waiter]:
        return self._wakes.place(queues, queues=True, accepts=accepts)

    def waiting_for_outcome(self, handoff_id: HandoffId) -> AbstractAsyncContextManager[Waiter]:
        return self._wakes.place([handoff_id], queues=False)

    def waiting_here(self, topic: QueueName | HandoffId) -> int:
        """How many wait in this broker for work in a queue, or for the outcome of a handoff."""
        return self._wakes.waiting_for(topic)

    async def _waiting_in(self, queues: Sequence[QueueName]) -> dict[str, dict[str, int]]:
        known = await self.queues()
        open_ones = [known[name] for name in queues if name in known and known[name].state != "paused"]
        waiting = await asyncio.gather(*map(self._waiting, open_ones))
        return {queue.name: found for queue, found in zip(open_ones, waiting, strict=True)}
