"""The parts of a broker that its doors open onto, as one value. `wiring` puts it together; a door only asks."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from starlette.types import Receive, Scope, Send

from dropoff.broker import Broker
from dropoff.core.store import Store
from dropoff.doctor import Doctor
from dropoff.doors.http.hosts import RefusedHosts
from dropoff.identity.callers import Callers
from dropoff.inspector import Inspector
from dropoff.operations import Operations


class AgentsDoor(Protocol):
    """What answers at exactly /mcp, and runs as long as the app does."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    def run(self) -> AbstractAsyncContextManager[object]: ...


async def nothing_stands_in_the_way() -> str:
    return ""


def room_for_all() -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class House:
    """Everything the doors need."""

    broker: Broker
    inspector: Inspector
    operations: Operations
    doctor: Doctor
    callers: Callers
    store: Store  # whether it answers, for /readyz; and whose tool lists the doctor measures
    version: str
    allowed_hosts: tuple[str, ...]  # "127.0.0.1:*", "broker:8787": the names this broker answers to
    allowed_origins: tuple[str, ...] = ()  # other sites whose pages may call it
    refused_hosts: RefusedHosts = field(default_factory=RefusedHosts)
    ready: Callable[[], Awaitable[str]] = field(default=nothing_stands_in_the_way)  # else why not, in a sentence
    room: Callable[[], str] = field(default=room_for_all)  # else why no new work is taken; all other calls are answered
