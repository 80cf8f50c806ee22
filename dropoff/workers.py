"""Several processes that serve one address on one store: `dropoff up --workers N`.

The parent takes the port and opens the store, and then serves nobody: it starts the workers, and starts again those
that end, with growing pauses. A worker is a whole broker but for the port, which it is handed. Workers keep no state
and know nothing of each other.

Each has a listener of its own on the one address (`process/listening.py`). The parent has all of them open too, so a
connection that waits at a worker which dies is served by the next in its place.

It has a floor of its own, above `wiring`: each worker is one whole house, so who starts several stands outside of all.

Parent and worker are held together by one pipe, the worker's standard input. Its first line is the order: the settings,
which may hold a password and so stand on no command line. After that nothing is ever written; it closes when the parent
lets go, or dies, be it by `kill -9`, and then the worker stops in order: waits end, what has begun is finished. So
whatever happens to the parent, no worker outlives it by more than `LEAVE_S`. On its standard output a worker says one
line, when it serves.

Only the parent stops the embedded store, last of all; a worker just leaves it. So the store outlives a killed parent,
as it does with one process, and the next start adopts it.

Workers are in sessions of their own: Ctrl-C in the terminal is for the parent. One that is told to stop by somebody
else stops in order, and is started again.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import msgspec

from dropoff import wiring
from dropoff.core.backoff import OF_USE_S, Backoff
from dropoff.errors import DropoffError, StoreRefused
from dropoff.process.listening import handed_down, listening, one_each
from dropoff.process.server import FINISH_S, LOG_FORMAT, STOPPING, run
from dropoff.settings import Settings
from dropoff.wiring import Started

log = logging.getLogger("dropoff.workers")

LEAVE_S: Final = FINISH_S + 5  # a worker that hangs is given up by itself
STOP_S: Final = LEAVE_S + 1  # and by the parent, should even that fail


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is told."""

    settings: Settings
    log_level: int


# ---- the parent -------------------------------------------------------------------------------------------------


async def serve(settings: Settings, started: Callable[[Started], Awaitable[None]]) -> None:
    """`wiring.serve` by `settings.workers` processes; `started` is called when all of them serve."""
    with listening(settings) as listener:
        async with wiring.opened(settings) as opening:
            stop = _told_to_stop()
            workers = Workers(settings, one_each(listener, settings.workers))
            try:
                if await workers.serve(until=stop):
                    await started(await wiring.told(settings, listener, opening))
                    await workers.keep(until=stop)
            finally:
                await workers.close()


def _told_to_stop() -> asyncio.Event:
    stop = asyncio.Event()
    for name in STOPPING:
        asyncio.get_running_loop().add_signal_handler(getattr(signal, name), stop.set)
    return stop


class Workers:
    """The workers of one parent, from `serve` to `close`."""

    def __init__(self, settings: Settings, listeners: list[socket.socket]) -> None:
        self._order = msgspec.json.encode(Order(settings=settings, log_level=logging.getLogger().level), enc_hook=str)
        self._listeners = listeners
        self._alive: set[Process] = set()
        self._closing = asyncio.Event()
        self._all_serve = asyncio.Event()
        self._keepers: list[asyncio.Task[None]] = []
        self._serving = 0

    async def serve(self, until: asyncio.Event) -> bool:
        """Start all, and return when all serve (True) or it is time to stop. Raises if one ends before that."""
        self._keepers = [
            asyncio.create_task(self._keep(listener), name="dropoff worker") for listener in self._listeners
        ]
        await self._first_of(self._all_serve, until)
        return not until.is_set()

    async def keep(self, until: asyncio.Event) -> None:
        """Keep them all running until it is time to stop."""
        await self._first_of(until)

    async def close(self) -> None:
        """Let all go, and return when they are gone; who does not leave in time is killed."""
        self._closing.set()
        for process in self._alive:
            _let_go(process)
        if self._keepers:
            await asyncio.wait(self._keepers, timeout=STOP_S)
        for process in self._alive:
            with suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for listener in self._listeners:
            listener.close()

    async def _first_of(self, *events: asyncio.Event) -> None:
        waits = [asyncio.create_task(event.wait()) for event in events]
        done, _ = await asyncio.wait([*waits, *self._keepers], return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        for task in done:
            task.result()  # a keeper does not end before `close`; if one has, this says why

    async def _keep(self, listener: socket.socket) -> None:
        """One place among the workers: whoever fills it, until all are let go."""
        backoff = Backoff()
        while not self._closing.is_set():
            began = time.monotonic()
            ended = await self._live(listener)
            if self._closing.is_set():
                return
            if not self._all_serve.is_set():
                raise StoreRefused(f"A worker {ended} before it served; what it said of it stands above.")
            log.warning("a worker %s, and is started again", ended)
            if time.monotonic() - began > OF_USE_S:
                backoff.succeeded()
            else:
                await self._pause(backoff.failed())

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    async def _live(self, listener: socket.socket) -> str:
        """The life of one worker. Returns how it ended, in words."""
        try:
            process = await self._start(listener.fileno())
        except OSError as error:  # no process to be had, for now
            return f"could not be started ({error.strerror})"
        self._alive.add(process)
        try:
            if self._closing.is_set():
                _let_go(process)
            assert process.stdout is not None
            if await process.stdout.readline():
                self._serving += 1
                if self._serving == len(self._listeners):
                    self._all_serve.set()
            return f"ended with {await process.wait()}"
        finally:
            self._alive.discard(process)
            _let_go(process)

    async def _start(self, descriptor: int) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # what lies in the folder we were started in must not hide a module …
            "-m",
            "dropoff.workers",
            str(descriptor),
            stdin=PIPE,
            stdout=PIPE,
            pass_fds=(descriptor,),
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},  # … and what we have found is found again
        )
        assert process.stdin is not None
        process.stdin.write(self._order + b"\n")
        return process


def _let_go(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.close()


# ---- a worker ---------------------------------------------------------------------------------------------------


def main() -> None:
    line = sys.stdin.buffer.readline()
    if not line:
        return  # the parent is gone already
    order = msgspec.json.decode(line, type=Order, dec_hook=_from_text)
    threading.Thread(target=_leave_with_parent, name="dropoff parent", daemon=True).start()
    logging.basicConfig(level=order.log_level, format=LOG_FORMAT)
    try:
        run(_work(order.settings, int(sys.argv[1])))
    except DropoffError as refused:
        log.error("a worker cannot serve: %s", refused)
        raise SystemExit(refused.exit_code) from None


def _from_text(kind: type, text: Any) -> Any:
    return kind(text)


async def _work(settings: Settings, descriptor: int) -> None:
    async def serves(_: Started) -> None:
        sys.stdout.write("serves\n")
        sys.stdout.flush()

    with handed_down(settings, descriptor) as listener:
        async with wiring.opened(settings, stops_store=False) as opening:
            await wiring.serve_on(listener, settings, opening, serves)


def _leave_with_parent() -> None:
    """Wait in a thread until the parent lets go or is gone, and stop by the signal that stops any broker."""
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LEAVE_S)
    os._exit(1)


if __name__ == "__main__":
    main()
