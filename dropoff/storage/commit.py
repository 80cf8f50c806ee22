"""The one way to the node: steps that arrive together are sent together.

While one batch is on its way, what arrives is gathered, and goes as the next. With an fsync before every answer that is
worth a factor of four, and two hundred waiting agents need one connection. A batch is a pipeline, no transaction: each
step is atomic by itself, and one that fails fails alone.

What is known when a connection breaks:

    never written           nothing was stored; the caller may be told so
    written, no answer      nobody knows

In the second case each command is asked again once, alone, on a new connection. That is safe because every step carries
a request key or is harmless when repeated; a step that did run answers what it answered then. Only after that the
caller hears `broker_unavailable`, with the one of its two sentences that is true.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, Literal, cast

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from dropoff.errors import BrokerUnavailable, StoreRefused
from dropoff.storage.connection import Command, Source, lacks_rights, not_let_in
from dropoff.storage.scripts import every_script

log = logging.getLogger("dropoff.storage")

STEPS_PER_BATCH_MAX: Final = 128
ANSWER_S: Final = 10.0  # a node that answers nothing for so long is treated as gone
AGAIN_S: Final = 0.05  # before asking again, so that a node that restarts has a moment
TRIES_TO_CONNECT: Final = 3
CONNECT_S: Final = 5.0  # a caller waits so long for a connection; a store that was killed is back within 0.3 s

# What a server answers that did not run the command and may do so later.
BROKEN: Final = ("OOM", "MISCONF", "READONLY", "LOADING", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "BUSY")

UNREACHABLE: Final = (RedisError, OSError, TimeoutError, StoreRefused)

Stored = Literal["nothing", "unknown"]
Asked = tuple[Command, "asyncio.Future[Any]"]


class Commit:
    """Carries commands to one node, over one connection."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._asked: deque[Asked] = deque()
        self._news = asyncio.Event()
        self._connection: AbstractConnection | None = None
        self._connecting: asyncio.Task[AbstractConnection] | None = None
        self._carrier: asyncio.Task[None] | None = None
        self._ever_connected = False

    def start(self) -> None:
        self._carrier = asyncio.create_task(self._carry(), name="dropoff commit")

    async def close(self) -> None:
        """Stop. What has not been sent is refused; twice is harmless."""
        if self._carrier:
            self._carrier.cancel()
            with suppress(asyncio.CancelledError):
                await self._carrier
        self._carrier = None
        await self._stop_connecting()
        await self._disconnect(in_order=True)
        self._refuse(self._asked)
        self._asked.clear()

    async def ask(self, *command: str | bytes) -> Any:
        """The node's answer. Raises its `ResponseError`, or `BrokerUnavailable` if there is none to be had."""
        if self._carrier is None:
            raise BrokerUnavailable(stored="nothing")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked.append((command, answer))
        self._news.set()
        return await answer

    async def _carry(self) -> None:
        while True:
            await self._news.wait()
            batch = self._gather()
            if not batch:
                self._news.clear()
                continue
            try:
                await self._send(batch)
            except asyncio.CancelledError:
                self._refuse(batch, stored="unknown")
                raise
            except Exception as error:  # the carrier must outlive any one batch
                log.exception("a batch failed")
                self._fail(batch, error)

    def _gather(self) -> list[Asked]:
        """The next batch; who has left meanwhile is left out, for nothing of his was sent."""
        batch: list[Asked] = []
        while self._asked and len(batch) < STEPS_PER_BATCH_MAX:
            command, answer = self._asked.popleft()
            if not answer.done():
                batch.append((command, answer))
        return batch

    async def _send(self, batch: Sequence[Asked]) -> None:
        try:
            connection = await self._connected()
        except UNREACHABLE as error:
            log.warning("the store is out of reach: %s", error)
            if isinstance(error, StoreRefused) and not self._ever_connected:
                self._fail(batch, error)  # the broker is just starting: it can say what to mend
            else:
                self._refuse(batch)
            return
        unanswered = await self._exchange(connection, batch)
        if unanswered:
            await self._ask_again(unanswered)

    async def _ask_again(self, batch: Sequence[Asked]) -> None:
        """Commands of unknown fate, each alone and once. After that its caller is told that nobody knows."""
        await asyncio.sleep(AGAIN_S)
        for place, one in enumerate(batch):
            try:
                connection = await self._connected()
            except UNREACHABLE:
                self._refuse(batch[place:], stored="unknown")
                return
            self._refuse(await self._exchange(connection, [one], stored="unknown"), stored="unknown")

    async def _exchange(
        self, connection: AbstractConnection, batch: Sequence[Asked], stored: Stored = "nothing"
    ) -> Sequence[Asked]:
        """Writes the batch and hands out the answers; returns those that got none, and then the connection is gone.

        `stored` is what is known of a command that is answered by "I cannot now": it did not run, this time.
        """
        answered = 0
        try:
            async with asyncio.timeout(ANSWER_S):
                packed = connection.pack_commands([command for command, _ in batch])
                await connection.send_packed_command(packed, check_health=False)
                for _, answer in batch:
                    _settle(answer, await _read(connection, stored))
                    answered += 1
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("lost the store with %d commands unanswered: %s", len(batch) - answered, error)
            await self._disconnect()
        except BaseException:
            await self._disconnect()
            raise
        return batch[answered:]

    async def _connected(self) -> AbstractConnection:
        """The connection. Who asks for it waits a bounded time; connecting goes on meanwhile, for those who come later.

        It must not be given up: a store that reads a long file at its start would be stopped and begin anew each time.
        The broker's own start waits for as long as it takes; nobody is served yet.
        """
        if self._connection is not None:
            return self._connection
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect(), name="dropoff connecting")
        done, _ = await asyncio.wait([self._connecting], timeout=CONNECT_S if self._ever_connected else None)
        if not done:
            raise TimeoutError(f"no connection within {CONNECT_S:.0f} s")
        connecting, self._connecting = self._connecting, None
        self._connection = connecting.result()
        self._ever_connected = True
        return self._connection

    async def _connect(self) -> AbstractConnection:
        """A connection with all steps loaded. Only here is connecting tried again."""
        for _ in range(TRIES_TO_CONNECT - 1):
            with suppress(*UNREACHABLE):
                return await self._loaded(await self._source.connect())
            await asyncio.sleep(AGAIN_S)
        return await self._loaded(await self._source.connect())

    async def _loaded(self, connection: AbstractConnection) -> AbstractConnection:
        commands = [("SCRIPT", "LOAD", script.text) for script in every_script()]
        try:
            async with asyncio.timeout(ANSWER_S):
                await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
                for _ in commands:
                    await connection.read_response()
        except BaseException as error:
            with suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)
            if isinstance(error, NoPermissionError):
                raise lacks_rights("SCRIPT LOAD", error) from error
            if isinstance(error, AuthenticationError):
                raise not_let_in(error) from error
            raise
        return connection

    async def _stop_connecting(self) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is None:
            return
        connecting.cancel()
        with suppress(asyncio.CancelledError, *UNREACHABLE):
            connection = await connecting  # it may have been there already, and nobody came for it
            await connection.disconnect()

    async def _disconnect(self, *, in_order: bool = False) -> None:
        """Let the connection go. Only the end in order waits until it is closed: a broken one may never be."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(RedisError, OSError):
                await connection.disconnect(nowait=not in_order)

    def _refuse(self, batch: Sequence[Asked] | deque[Asked], stored: Stored = "nothing") -> None:
        self._fail(batch, BrokerUnavailable(stored=stored))

    def _fail(self, batch: Sequence[Asked] | deque[Asked], error: BaseException) -> None:
        for _, answer in batch:
            _settle(answer, error)


async def _read(connection: AbstractConnection, stored: Stored) -> Any:
    """One answer; an error of this one command is its answer, and no fault of the connection's."""
    try:
        return cast("Any", await connection.read_response())
    except ResponseError as error:
        return _away(error, stored) if _code_of(error) in BROKEN else error


def _away(error: ResponseError, stored: Stored) -> BrokerUnavailable:
    away = BrokerUnavailable(stored=stored)
    away.__cause__ = error
    return away


def _settle(answer: "asyncio.Future[Any]", value: Any) -> None:
    if answer.done():  # its caller has left
        return
    if isinstance(value, BaseException):
        answer.set_exception(value)
    else:
        answer.set_result(value)


def _code_of(error: ResponseError) -> str:
    """The server's word for an error. redis-py cuts it off the text of those that it has a class for."""
    return str(getattr(error, "status_code", "") or str(error).partition(" ")[0])
