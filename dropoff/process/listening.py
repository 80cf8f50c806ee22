"""The port: taken before anything is started, by one listener or by several on the one address.

Several are for workers, one each: the kernel spreads connections over them (`SO_REUSEPORT`). From a shared one the
first worker that wakes up takes all that wait, and agents keep their connections. The first listener is taken without
that option, so a second broker on the port is refused. Where the kernel does not spread (macOS), all share it.
"""

import socket
import sys
from typing import Final

from dropoff.settings import Settings

BACKLOG: Final = 1024  # connections that wait to be accepted; the system may allow fewer


class PortTakenError(Exception):
    """Somebody else listens there."""


def listening(settings: Settings) -> socket.socket:
    """The listener that these settings ask for. Raises `PortTakenError`."""
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
    # connection waits 40 ms for the client's system to confirm the last.
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, descriptor)


def one_each(first: socket.socket, count: int) -> list[socket.socket]:
    """A listener for each of so many workers, all on the address of the first, which is one of them."""
    if sys.platform != "linux":
        return [first] * count
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return [first, *(_beside(first) for _ in range(count - 1))]


def _beside(first: socket.socket) -> socket.socket:
    listener = socket.socket(first.family, first.type, first.proto)
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        listener.setsockopt(socket.SOL_SOCKET, option, 1)
    listener.bind(first.getsockname())
    listener.listen(BACKLOG)
    return listener
