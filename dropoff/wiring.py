"""The only file that knows every concrete thing: it builds the house, runs it, and takes it down in order.

Up: the port is taken first, for nothing should start that cannot be reached; then the store, the operator's
credential, the doors. Down, the other way round: waits end with their empty answer, calls that have begun are finished,
and the last user of the embedded store stops it. Killed instead, nothing of that happens and nothing needs to: the
store lives on by itself, and the next start adopts it.

`serve` does all that in one process. Several share it (`workers.py`): one has the port and the store and calls
`opened`, the others get the port handed down and call `serve_on`.
"""

import asyncio
import os
import platform
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec
import uvicorn

import dropoff
from dropoff.broker import Broker
from dropoff.contracts.gate import Gates
from dropoff.core import credential, places
from dropoff.core.ledger import Durability
from dropoff.core.store import StoreFacts
from dropoff.doctor import CHECKS, Doctor, Facts, Finding, judged
from dropoff.doors.app import House, make_app
from dropoff.doors.house import RefusedHosts, nothing_stands_in_the_way, room_for_all
from dropoff.errors import StoreRefused
from dropoff.identity.callers import Callers
from dropoff.inspector import Inspector
from dropoff.operations import Operations
from dropoff.settings import EVERYWHERE, Settings, in_url
from dropoff.storage.connection import Source, check_url, without_secret
from dropoff.storage.embedded import EmbeddedStore, refuse_unfit
from dropoff.storage.room import Room
from dropoff.storage.store import RedisStore
from dropoff.upkeep.rounds import Rounds

STOPPING: Final = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, an orderly stop, a closed terminal (none on Windows)
FINISH_S: Final = 10  # what has begun gets this long; a step takes milliseconds, so this is for large answers

BACKLOG: Final = 1024  # connections that wait to be accepted; the system may allow fewer
LOG_FORMAT: Final = "%(levelname)s %(message)s"


def clock_ms() -> int:
    return time.time_ns() // 1_000_000


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A broker that serves, as its first screen tells of it."""

    url: str
    store: str  # "embedded Valkey 9.1.2"
    durability: Durability
    data: Path
    credential_file: Path
    queues: tuple[str, ...]


def run(serving: Coroutine[Any, Any, None]) -> None:
    """On uvloop, which is installed wherever it exists."""
    new_loop = None
    if sys.platform != "win32":
        import uvloop

        new_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(serving)


class PortTakenError(Exception):
    """Somebody else listens there."""


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


async def serve(settings: Settings, started: Callable[[Started], Awaitable[None]]) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP. Raises `PortTakenError` or `StoreRefused` before anything is served.

    `started` is called once requests are answered; when it raises, the broker is taken down and the error is raised on.
    """
    with listening(settings) as listener:
        async with opened(settings) as opening:
            await serve_on(listener, settings, opening, started)


async def serve_on(
    listener: socket.socket, settings: Settings, opening: "Opened", started: Callable[[Started], Awaitable[None]]
) -> None:
    """The same, on a port and a store that somebody has opened."""
    async with _furnished(settings, opening) as (house, rounds):

        def stopping() -> None:
            rounds.stop()
            opening.store.end_waits()

        server = Server(_config(house), stopping)
        _leave_signals_to(server)
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="dropoff doors")
        try:
            await _serves(server, serving)
            await started(await told(settings, listener, opening))
            await serving
        finally:
            server.should_exit = True
            await asyncio.wait([serving])
        serving.result()


@asynccontextmanager
async def building(
    settings: Settings, now_ms: Callable[[], int] = clock_ms
) -> AsyncGenerator[tuple[House, RedisStore, Durability]]:
    """The whole house with its store, without a listener. `now_ms` is this machine's clock; only people read it."""
    async with opened(settings) as opening, _furnished(settings, opening, now_ms) as (house, _):
        yield house, opening.store, opening.durability


@asynccontextmanager
async def _furnished(
    settings: Settings, opening: "Opened", now_ms: Callable[[], int] = clock_ms
) -> AsyncGenerator[tuple[House, Rounds]]:
    store, place = opening.store, opening.place
    rounds = Rounds(store)
    refused_hosts = RefusedHosts()
    rounds.start()
    try:
        house = House(
            broker=Broker(store, Gates(), secrets.token_bytes),
            inspector=Inspector(store),
            operations=Operations(store, secrets.token_bytes),
            doctor=Doctor(store, _looking(settings, store, place.name, refused_hosts, now_ms), now_ms),
            callers=Callers(store),
            store=store,
            allowed_hosts=settings.hosts,
            allowed_origins=settings.allowed_origins,
            refused_hosts=refused_hosts,
            version=dropoff.__version__,
            ready=place.ready,
            room=place.room,
        )
        yield house, rounds
    finally:
        await rounds.close()


class Place(NamedTuple):
    """Where the store is, and what is known of it from outside."""

    name: str
    source: Source
    ready: Callable[[], Awaitable[str]]  # why there is no store, or ""
    room: Callable[[], str]  # why it takes no new work, or ""


class Opened(NamedTuple):
    """A store that answers, in which the operator of this installation is known."""

    store: RedisStore
    place: Place
    product: str
    durability: Durability


@asynccontextmanager
async def opened(settings: Settings, *, stops_store: bool = True) -> AsyncGenerator[Opened]:
    """The store, in use for as long as this lasts. Afterwards the last user stops the embedded one, if it is to."""
    _private_folder(settings.data)
    bearer = operator_credential(settings.data)
    async with _place(settings, stops_store=stops_store) as place:
        store = RedisStore(place.source)
        store.room = place.room
        found = await store.start()
        try:
            await Operations(store, secrets.token_bytes).ensure_operator(bearer)
            yield Opened(store, place, found.product, found.durability)
        finally:
            await store.close()


@asynccontextmanager
async def _place(settings: Settings, *, stops_store: bool) -> AsyncGenerator[Place]:
    """Where the store is. The embedded one is started when it is first wanted, and again should it die."""
    if settings.store:
        url = check_url(settings.store)

        async def given() -> str:
            return url

        yield Place(without_secret(url), Source(given), nothing_stands_in_the_way, room_for_all)
        return
    embedded = EmbeddedStore(settings.data)

    async def ensured() -> str:
        return "unix://" + quote(await embedded.ensure())

    async def trouble() -> str:
        return embedded.trouble

    try:
        yield Place("embedded", Source(ensured), trouble, Room(embedded.folder, settings.disk_free_min))
    finally:
        if stops_store:
            await embedded.close()
        else:
            embedded.leave()


# ---- what the doctor looks at -----------------------------------------------------------------------------------


def _looking(
    settings: Settings, store: RedisStore, where: str, refused_hosts: RefusedHosts, now_ms: Callable[[], int]
) -> Callable[[], Awaitable[Facts]]:
    async def look() -> Facts:
        before_ms = now_ms()
        facts = await store.facts()
        return _facts(settings, where, facts, (before_ms, now_ms()), (*refused_hosts, *_likely(settings)))

    return look


async def examine(settings: Settings) -> list[Finding]:
    """What can be seen of these settings' store while no broker runs. Starts nothing, and leaves nothing."""
    if not settings.store:
        refuse_unfit(settings.data)
        return judged(_facts(settings, "embedded", StoreFacts()), ("versions", "disk"))
    async with _place(settings, stops_store=True) as place:
        before_ms = clock_ms()
        facts = await RedisStore(place.source).looked_at()
        checks = [name for name in CHECKS if name != "host"]  # nobody was there to refuse anybody
        return judged(_facts(settings, place.name, facts, (before_ms, clock_ms())), checks)


def _facts(
    settings: Settings,
    where: str,
    store: StoreFacts,
    between_ms: tuple[int, int] = (0, 0),
    refused_hosts: tuple[str, ...] = (),
) -> Facts:
    there = next(place for place in (settings.data, *settings.data.parents) if place.exists())
    return Facts(
        versions=f"dropoff {dropoff.__version__}, Python {platform.python_version()}",
        where=where,
        store=store,
        between_ms=between_ms,
        disk_free=None if settings.store else shutil.disk_usage(there).free,
        disk_free_min=settings.disk_free_min,
        allowed_hosts=settings.allowed_hosts,
        refused_hosts=refused_hosts,
    )


def _likely(settings: Settings) -> tuple[str, ...]:
    """The name of this machine, where others are let in and were given no name: none of theirs would be answered."""
    if settings.host in EVERYWHERE and not settings.allowed_hosts:
        return (socket.gethostname().lower(),)
    return ()


# ---- the operator's credential ----------------------------------------------------------------------------------


def operator_credential(data: Path) -> str:
    """The bearer of this installation's operator: found in the data folder, or made, for its owner's eyes only.

    Written under another name and then linked, so that it is there whole or not at all, and of two brokers that start
    together one wins and the other finds.
    """
    path = data / places.OPERATOR_FILE
    try:
        return _operator_credential(path)
    except OSError as error:
        raise StoreRefused(f"The operator's credential {path} cannot be kept: {error.strerror}.") from error


def _operator_credential(path: Path) -> str:
    if not path.exists():
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(credential.bearer(secrets.token_bytes(credential.BEARER_BYTES)) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)
        except FileExistsError:
            pass  # the other one was first
        finally:
            draft.unlink()
    bearer = path.read_text(encoding="ascii", errors="replace").strip()
    if not bearer.startswith(credential.PREFIX):
        raise StoreRefused(f"{path} holds no operator's credential. Move it away; the next start makes a new one.")
    return bearer


def _private_folder(data: Path) -> None:
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreRefused(
            f"The data folder {data} cannot be made: {error.strerror}. Name another with --data or DROPOFF_DATA."
        ) from error
    if not os.access(data, os.W_OK | os.X_OK):
        raise StoreRefused(f"The data folder {data} cannot be written to. Name another with --data or DROPOFF_DATA.")


def listening(settings: Settings) -> socket.socket:
    listener = _tcp_socket(settings)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise PortTakenError(f"{settings.host}:{settings.port}: {error.strerror}") from error
    return listener


def handed_down(settings: Settings, descriptor: int) -> socket.socket:
    """A listener that another process has opened with these settings."""
    return _tcp_socket(settings, descriptor)


def _tcp_socket(settings: Settings, descriptor: int | None = None) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio turns Nagle's delay off only where a socket says that it is TCP; else each answer after the first of a
    # connection waits 40 ms for the client's acknowledgement.
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, descriptor)


def _config(house: House) -> uvicorn.Config:
    return uvicorn.Config(
        make_app(house),
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


async def told(settings: Settings, listener: socket.socket, opening: Opened) -> Started:
    """What the first screen says."""
    port = listener.getsockname()[1]
    return Started(
        url=f"http://{in_url(settings.host)}:{port}",
        store=f"{opening.place.name} {opening.product}",
        durability=opening.durability,
        data=settings.data,
        credential_file=settings.data / places.OPERATOR_FILE,
        queues=tuple(await opening.store.queues()),
    )
