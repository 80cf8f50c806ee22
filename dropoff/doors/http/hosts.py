"""The first thing asked of a request: by which name did it come, and from whose page.

A web page can make its own name resolve to 127.0.0.1 and then talk to a broker on its visitor's machine (DNS
rebinding). Its requests carry its own name in `Host`, so a broker that answers only to names it was told of is out of
its reach. `Origin` is sent by browsers alone; one that is neither this host nor on the list belongs to a foreign page.

Entries are `name:port`, or `name:*` for every port and none. Programs send no `Origin`, and lose nothing here.

Probes are let through by whatever name they come: an orchestrator calls each process by its address, which nobody could
have listed, and what it is told is no secret.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from dropoff.doors.http import problems
from dropoff.errors import DropoffError, HostRefused, OriginRefused

PROBES: Final = frozenset({"/livez", "/readyz"})  # served in `routes.py`
REFUSED_HOSTS_MAX: Final = 5
HOST: Final = re.compile(r"[A-Za-z0-9._\[\]:-]{1,80}")


class RefusedHosts:
    """The last few names by which clients came in vain, for the doctor; whoever calls may fill it with rubbish."""

    def __init__(self) -> None:
        self._names: deque[str] = deque(maxlen=REFUSED_HOSTS_MAX)

    def add(self, host: str) -> None:
        if host not in self._names and HOST.fullmatch(host):
            self._names.append(host)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)


class HostGuard:
    """ASGI middleware around all doors."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str], origins: Sequence[str], refused: RefusedHosts) -> None:
        self._app = app
        self._refused = refused
        self._hosts = tuple(host.lower() for host in hosts)
        self._origins = tuple(origin.lower() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        guarded = scope["type"] == "http" and scope["path"] not in PROBES
        refusal = self._refusal(scope) if guarded else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await problems.respond(refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> DropoffError | None:
        hosts = _values(scope, b"host")
        if len(hosts) != 1 or not _listed(hosts[0], self._hosts):
            self._refused.add(", ".join(hosts))
            return HostRefused(host=", ".join(hosts))
        for origin in _values(scope, b"origin"):
            if origin.partition("://")[2] != hosts[0] and not _listed(origin, self._origins):
                return OriginRefused(origin=origin)
        return None


def _values(scope: Scope, header: bytes) -> list[str]:
    return [value.decode("latin-1").lower() for name, value in scope["headers"] if name == header]


def _listed(given: str, entries: Sequence[str]) -> bool:
    return given in entries or any(
        entry.endswith(":*") and given.startswith(entry[:-2]) and _is_port(given[len(entry) - 2 :]) for entry in entries
    )


def _is_port(rest: str) -> bool:
    """What stands behind the name: nothing, or a colon and digits."""
    return not rest or (rest[0] == ":" and rest[1:].isdecimal())
