"""The HTTP server of one process, uvicorn. Told to stop, it finishes what has begun, and begins nothing more."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

STOPPING: Final = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, an orderly stop, a closed terminal (none on Windows)
FINISH_S: Final = 10  # what has begun gets this long; a step takes milliseconds, so this is for large answers
LOG_FORMAT: Final = "%(levelname)s %(message)s"


def run(serving: Coroutine[Any, Any, None]) -> None:
    """On uvloop, which is installed wherever it exists."""
    new_loop = None
    if sys.platform != "win32":
        import uvloop

        new_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(serving)


class Server(uvicorn.Server):
    """Says when it serves, and lets those who wait go before it waits for them.

    Upkeep ends at that moment too: from then on nobody can call to extend a lease, so none may lapse by our hand.
    """

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self.serves = asyncio.Event()
        self._stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.serves.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()
        await super().shutdown(sockets)


@asynccontextmanager
async def answering(
    app: ASGIApp, listener: socket.socket, stopping: Callable[[], None]
) -> AsyncGenerator["asyncio.Task[None]"]:
    """The application on this listener. The task that is given ends when somebody has stopped it; leaving stops it.

    `stopping` is called when nothing more is accepted, before what has begun is waited for.
    """
    server = Server(_config(app), stopping)
    _leave_signals_to(server)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="dropoff doors")
    try:
        await _serves(server, serving)
        yield serving
    finally:
        server.should_exit = True
        await asyncio.wait([serving])
    serving.result()


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who is calling is proven by a credential, never by an address
        timeout_graceful_shutdown=FINISH_S,
    )


def _leave_signals_to(server: Server) -> None:
    """uvicorn catches the signals itself, and raises them again when it has stopped: by then they have done their work.

    So something must stand behind its handlers that does nothing, or the process would end before the store is left.
    """

    def stop(signum: int, frame: FrameType | None) -> None:
        server.should_exit = True

    for name in STOPPING:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stop)


async def _serves(server: Server, serving: "asyncio.Task[None]") -> None:
    """Return once requests are answered; raise what kept them from being so."""
    up = asyncio.create_task(server.serves.wait())
    await asyncio.wait([up, serving], return_when=asyncio.FIRST_COMPLETED)
    up.cancel()
    if serving.done():
        serving.result()
