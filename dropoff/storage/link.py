"""A connection to the node that is always ready to be used: let in, with all steps loaded, made anew when it is lost.

Who asks for it waits a bounded time; connecting goes on meanwhile, for those who come later. It must not be given up: a
store that reads a long file at its start would be stopped and begin anew each time. Only the broker's own start waits
for as long as it takes, and hears why a store refuses us: nobody is served yet.
"""

import asyncio
from contextlib import suppress
from typing import Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from dropoff.errors import StoreRefused
from dropoff.storage.connection import Source, lacks_rights, not_let_in, send
from dropoff.storage.scripts import every_script

LOADED_S: Final = 10.0  # a node that does not take the steps in this time is treated as gone
AGAIN_S: Final = 0.05  # before another try, so that a node that restarts has a moment
TRIES_TO_CONNECT: Final = 3
CONNECT_S: Final = 5.0  # a caller waits so long for a connection; a store that was killed is back within 0.3 s

# What there may be instead of a connection.
UNREACHABLE: Final = (RedisError, OSError, TimeoutError, StoreRefused)


class Link:
    """One connection at a time, to one node."""

    def __init__(self, source: Source, *, starting: bool = False) -> None:
        self.starting = starting  # the broker has not spoken to its store yet, and this is how it begins
        self._source = source
        self._connection: AbstractConnection | None = None
        self._connecting: asyncio.Task[AbstractConnection] | None = None

    async def connected(self) -> AbstractConnection:
        """The connection; raises one of `UNREACHABLE` if there is none to be had now."""
        if self._connection is not None:
            return self._connection
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect(), name="dropoff connecting")
        done, _ = await asyncio.wait([self._connecting], timeout=None if self.starting else CONNECT_S)
        if not done:
            raise TimeoutError(f"no connection within {CONNECT_S:.0f} s")
        connecting, self._connecting = self._connecting, None
        self._connection = connecting.result()
        self.starting = False
        return self._connection

    async def drop(self, *, in_order: bool = False) -> None:
        """Let the connection go. Only the end in order waits until it is closed: a broken one may never be."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(RedisError, OSError):
                await connection.disconnect(nowait=not in_order)

    async def close(self) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
            with suppress(asyncio.CancelledError, *UNREACHABLE):
                connection = await connecting  # it may have been there already, and nobody came for it
                await connection.disconnect()
        await self.drop(in_order=True)

    async def _connect(self) -> AbstractConnection:
        """A connection with all steps loaded. Only here is connecting tried again."""
        for _ in range(TRIES_TO_CONNECT - 1):
            with suppress(*UNREACHABLE):
                return await _loaded(await self._source.connect())
            await asyncio.sleep(AGAIN_S)
        return await _loaded(await self._source.connect())


async def _loaded(connection: AbstractConnection) -> AbstractConnection:
    commands = [("SCRIPT", "LOAD", script.text) for script in every_script()]
    try:
        async with asyncio.timeout(LOADED_S):
            await send(connection, connection.pack_commands(commands))
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
