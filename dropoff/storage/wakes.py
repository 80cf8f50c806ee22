"""Who waits, and how they are woken.

A step that makes a handoff waiting publishes the queue's name and the schema that the handoff is pinned to; one that
ends a handoff publishes its id. A broker has one subscriber, and wakes at most as many local waiters as there is news:
one for each handoff that became waiting, in the order in which they came, past those that cannot read it; everybody who
waits for one outcome. A waiter is a coroutine and costs no connection.

A wake can be lost: the subscriber reconnects, a waiter that was woken leaves before it has asked. So once a second the
queues that somebody waits for are counted, and as many waiters are woken as there is work. A waiter takes its place
*before* it asks the store, so that nothing can slip in between.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, cast

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from dropoff.core.handoff import QueueName
from dropoff.errors import BrokerUnavailable, StoreRefused
from dropoff.storage.connection import Source

log = logging.getLogger("dropoff.storage")

COUNT_EVERY_S: Final = 1.0
RECONNECT_S: Final = 0.25


class Waiter:
    """One who waits, for any of some topics (names of queues, or the id of a handoff), and what it can read."""

    def __init__(self, accepts: Sequence[str] = ()) -> None:
        self._accepts = frozenset(accepts)
        self._event = asyncio.Event()
        self._over = False
        self.woken_for = ""  # work by this schema; whatever it may be

    @property
    def woken(self) -> bool:
        return self._event.is_set()

    def reads(self, schema: str) -> bool:
        return not schema or not self._accepts or schema in self._accepts

    def wake(self, schema: str = "") -> None:
        self.woken_for = schema
        self._event.set()

    def end(self) -> None:
        """The broker stops: nobody needs to wait on."""
        self._over = True
        self._event.set()

    async def news(self, timeout_s: float) -> bool:
        """True as soon as there may be something new, False when the time is up. Then it may wait again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        woken = self._event.is_set() and not self._over
        if not self._over:
            self._event.clear()
        return woken


class Wakes:
    """The waiters of one broker, and the one subscription they share."""

    def __init__(
        self, source: Source, channel: str, count: Callable[[Sequence[QueueName]], Awaitable[dict[str, dict[str, int]]]]
    ) -> None:
        self._source, self._channel, self._count = source, channel, count
        self._waiters: dict[str, OrderedDict[Waiter, None]] = {}
        self._queues: dict[str, int] = {}  # which topics are queues, and for how many waiters
        self._tasks: list[asyncio.Task[None]] = []
        self._over = False

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._listen(), name="dropoff wakes"),
            asyncio.create_task(self._count_regularly(), name="dropoff wakes, counted"),
        ]

    def end_waits(self) -> None:
        """Let everybody who waits go, now and from now on: each gets the empty answer it would have got in the end."""
        self._over = True
        for line in self._waiters.values():
            for waiter in line:
                waiter.end()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    @asynccontextmanager
    async def place(
        self, topics: Sequence[str], *, queues: bool, accepts: Sequence[str] = ()
    ) -> AsyncGenerator[Waiter]:
        """A place in the line. Who leaves it with a wake unused hands the wake on."""
        waiter = Waiter(accepts)
        if self._over:
            waiter.end()
        for topic in topics:
            self._waiters.setdefault(topic, OrderedDict())[waiter] = None
            if queues:
                self._queues[topic] = self._queues.get(topic, 0) + 1
        try:
            yield waiter
        finally:
            for topic in topics:
                self._leave(topic, waiter)
                if queues:
                    self._queues[topic] -= 1
                    if not self._queues[topic]:
                        del self._queues[topic]
                    if waiter.woken:
                        self.wake(topic, waiter.woken_for)

    def waiting_for(self, topic: str) -> int:
        """How many wait here for this."""
        return len(self._waiters.get(topic, ()))

    def wake(self, topic: str, schema: str = "", at_most: int = 1) -> None:
        """Wake the first of those who wait for this, can read it, and are still asleep; for an outcome, all of them."""
        everyone = topic not in self._queues
        for waiter in list(self._waiters.get(topic, ())):
            if not everyone and at_most <= 0:
                return
            if not waiter.woken and waiter.reads(schema):
                waiter.wake(schema)
                at_most -= 1

    def _leave(self, topic: str, waiter: Waiter) -> None:
        line = self._waiters[topic]
        del line[waiter]
        if not line:
            del self._waiters[topic]

    async def _listen(self) -> None:
        while True:
            connection: AbstractConnection | None = None
            try:
                connection = await self._source.connect()
                await connection.send_command("SUBSCRIBE", self._channel)
                while True:
                    self._heard(cast("list[Any]", await connection.read_response()))
            except (RedisError, OSError, StoreRefused) as error:
                log.info("the subscription was lost, and is taken up again: %s", error)
            except Exception:  # it must outlive whatever it hears
                log.exception("the subscription failed, and is taken up again")
            finally:
                if connection is not None:
                    with suppress(RedisError, OSError):
                        await connection.disconnect()
            await asyncio.sleep(RECONNECT_S)

    def _heard(self, reply: list[Any]) -> None:
        kind, _, content = reply
        if kind == b"message":
            topic, _, schema = content.decode().partition(" ")
            self.wake(topic, schema)

    async def _count_regularly(self) -> None:
        while True:
            await asyncio.sleep(COUNT_EVERY_S)
            try:
                await self._count_once()
            except BrokerUnavailable:
                pass  # nothing to be had for anybody; the next second may be better
            except Exception:  # it must outlive any one count
                log.exception("counting what waits failed")

    async def _count_once(self) -> None:
        """What the subscription may have missed: wakes for as much work as there is, and for all outcomes."""
        for topic in [topic for topic in self._waiters if topic not in self._queues]:
            self.wake(topic)
        queues = [QueueName(queue) for queue in self._queues]
        for queue, waiting in (await self._count(queues) if queues else {}).items():
            for schema, handoffs in waiting.items():
                self.wake(queue, schema, handoffs)
