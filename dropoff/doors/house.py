"""The parts of a broker that its doors open onto, as one value. `wiring` puts it together; a door only asks."""

import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol

from starlette.types import Receive, Scope, Send

from dropoff.broker import Broker
from dropoff.core.store import Store
from dropoff.doctor import Doctor
from dropoff.identity.callers import Callers
from dropoff.inspector import Inspector
from dropoff.operations import Operations

REFUSED_HOSTS_MAX: Final = 5
HOST: Final = re.compile(r"[A-Za-z0-9._\[\]:-]{1,80}")


class AgentsDoor(Protocol):
    """What answers at exactly /mcp, and runs as long as the app does."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    def run(self) -> AbstractAsyncContextManager[object]: ...


async def nothing_stands_in_the_way() -> str:
    return ""


def room_for_all() -> str:
    return ""


class RefusedHosts:
    """The last few names by which clients came in vain, for the doctor; whoever calls may fill it with rubbish."""

    def __init__(self) -> None:
        self._names: deque[str] = deque(maxlen=REFUSED_HOSTS_MAX)

    def add(self, host: str) -> None:
        if host not in self._names and HOST.fullmatch(host):
            self._names.append(host)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)


@dataclass(frozen=True, kw_only=True)
class House:
    """Everything the doors need."""

    broker: Broker
    inspector: Inspector
    operations: Operations
    doctor: Doctor
    callers: Callers
    store: Store  # for /readyz only: whether it answers
    version: str
    allowed_hosts: tuple[str, ...]  # "127.0.0.1:*", "broker:8787": the names this broker answers to
    allowed_origins: tuple[str, ...] = ()  # other sites whose pages may call it
    refused_hosts: RefusedHosts = field(default_factory=RefusedHosts)
    ready: Callable[[], Awaitable[str]] = field(default=nothing_stands_in_the_way)  # else why not, in a sentence
    room: Callable[[], str] = field(default=room_for_all)  # else why no new work is taken; all other calls are answered
