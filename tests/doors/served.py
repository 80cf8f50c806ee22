"""An application on a real server inside of a test: uvicorn, at a free port, and gone as soon as the test lets go."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn

from tests.world import until, within


class Server(uvicorn.Server):
    """Ends when it is told to; uvicorn's own looks ten times a second whether it should, which is long for a test."""

    def __init__(self, app: Any) -> None:
        super().__init__(uvicorn.Config(app, http="httptools", ws="none", lifespan="on", log_level="warning"))
        self.ends = asyncio.Event()

    async def main_loop(self) -> None:
        await self.ends.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await until("all calls to end", self.is_idle)
        await self.lifespan.shutdown()

    async def is_idle(self) -> bool:
        return not self.server_state.tasks and await self.is_alone()

    async def is_alone(self) -> bool:
        return not self.server_state.connections

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are pytest's

    async def serves(self) -> bool:
        return self.started


def listener(port: int = 0) -> socket.socket:
    """A socket that says it is TCP: for one that does not, asyncio leaves Nagle's delay on, 40 ms in each answer."""
    made = socket.socket(proto=socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made


@contextlib.asynccontextmanager
async def serving_at(listener: socket.socket, app: Any) -> AsyncIterator[Server]:
    server = Server(app)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await until("the server to serve", server.serves)
        yield server
    finally:
        server.ends.set()
        await within("the server to end", running)


@contextlib.asynccontextmanager
async def serving(app: Any, port: int = 0) -> AsyncIterator[str]:
    """Where it serves."""
    with listener(port) as sock:
        async with serving_at(sock, app):
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
