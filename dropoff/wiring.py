"""The only file that knows every concrete thing: it builds the house, runs it, and takes it down in order.

Up: the port is taken first, for nothing should start that cannot be reached; then the store, the operator's
credential, the doors. Down, the other way round: waits end with their empty answer, calls that have begun are finished,
and the last user of the embedded store stops it. Killed instead, nothing of that happens and nothing needs to: the
store lives on by itself, and the next start adopts it.

`serve` does all that in one process. Several share it (`workers.py`): one has the port and the store and calls
`opened`, the others get the port handed down and call `serve_on`.
"""

import secrets
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import msgspec

import dropoff
from dropoff.broker import Broker
from dropoff.contracts.gate import Gates
from dropoff.core import places
from dropoff.core.answers import StoreFacts
from dropoff.core.ledger import Durability
from dropoff.doctor import Doctor
from dropoff.doctor.checks import CHECKS, Facts, judged
from dropoff.doctor.findings import Finding
from dropoff.doors.app import House, make_app
from dropoff.doors.house import nothing_stands_in_the_way, room_for_all
from dropoff.doors.http.hosts import RefusedHosts
from dropoff.identity.callers import Callers
from dropoff.inspector import Inspector
from dropoff.operations import Operations
from dropoff.process.data_folder import operator_credential, private_folder
from dropoff.process.facts import facts, likely_in_vain
from dropoff.process.listening import listening
from dropoff.process.server import answering
from dropoff.settings import Settings, in_url
from dropoff.storage.connection import Source, check_url, without_secret
from dropoff.storage.embedded import EmbeddedStore, refuse_unfit
from dropoff.storage.room import Room
from dropoff.storage.store import RedisStore
from dropoff.upkeep.rounds import Rounds


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

        async with answering(make_app(house), listener, stopping) as serving:
            await started(await told(settings, listener, opening))
            await serving


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
    broker = Broker(store, Gates(), secrets.token_bytes)
    rounds.start()
    broker.start()
    try:
        house = House(
            broker=broker,
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
        await broker.close()
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
    private_folder(settings.data)
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
        found = await store.facts()
        return facts(settings, where, found, (before_ms, now_ms()), (*refused_hosts, *likely_in_vain(settings)))

    return look


async def examine(settings: Settings) -> list[Finding]:
    """What can be seen of these settings' store while no broker runs. Starts nothing, and leaves nothing."""
    if not settings.store:
        refuse_unfit(settings.data)
        return judged(facts(settings, "embedded", StoreFacts()), ("versions", "disk"))
    async with _place(settings, stops_store=True) as place:
        before_ms = clock_ms()
        found = await RedisStore(place.source).looked_at()
        checks = [name for name in CHECKS if name != "host"]  # nobody was there to refuse anybody
        return judged(facts(settings, place.name, found, (before_ms, clock_ms())), checks)


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
