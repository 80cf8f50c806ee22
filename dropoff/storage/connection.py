"""How the broker reaches its store.

`Source` knows where the store is: at a URL, or the embedded one, which is started (again) when a connection is wanted
and nobody serves. Client retries are off everywhere: redis-py would send a step three times for two cut connections,
and say nothing. What is asked again, and when, is decided by `lane.py` alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.exceptions import ConnectionError as NotConnected

from dropoff.errors import StoreRefused

CONNECT_S: Final = 5.0

Command = tuple[str | bytes, ...]

SCHEMES: Final = ("redis", "rediss", "unix")
OPTIONS: Final = frozenset({"db", "ssl_ca_certs", "ssl_cert_reqs"})  # of a URL; others could change what is promised


class Source:
    """Where the store is; gives connections to it."""

    def __init__(self, url: Callable[[], Awaitable[str]]) -> None:
        self._url = url

    async def connect(self) -> AbstractConnection:
        """A new connection of its own, ready to use.

        Raises redis' or the system's error if there is none to be had, and `StoreRefused` if we are not let in.
        """
        pool = ConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]  # untyped options
            await self._url(),
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=CONNECT_S,
            health_check_interval=0,
            protocol=2,
        )
        connection = pool.make_connection()
        try:
            with _closed_is_lost():
                await connection.connect()
                await _heard(connection)
        except Exception as error:
            await connection.disconnect(nowait=True)  # left open where the answer was an error
            if isinstance(error.__cause__ or error, AuthenticationError):  # redis-py wraps it while it connects
                raise not_let_in(error) from error
            raise
        return connection


async def send(connection: AbstractConnection, packed: bytes | Iterable[bytes]) -> None:
    """Write commands. Raises redis' or the system's error if the connection is lost."""
    with _closed_is_lost():
        await connection.send_packed_command(packed, check_health=False)


@contextmanager
def _closed_is_lost() -> Generator[None]:
    """uvloop calls it a RuntimeError to write where the other side has just closed; asyncio's loop says nothing."""
    try:
        yield
    except RuntimeError as error:
        raise NotConnected(f"closed while it was written to: {error}") from error


async def _heard(connection: AbstractConnection) -> None:
    """A short word first: on a long one from who is not let in the server hangs up, and does not say why."""
    try:
        async with asyncio.timeout(CONNECT_S):
            await connection.send_command("PING", check_health=False)
            await connection.read_response()
    except NoPermissionError:
        return  # let in, and answered


def check_url(url: str) -> str:
    """The URL of a store, if this release can use it. A refusal never repeats it: it may hold a password."""
    try:
        parts = urlsplit(url)
        options = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        usable = parts.scheme in SCHEMES and (parts.port is None or parts.port > 0)
    except ValueError:
        usable, options = False, set[str]()
    if not usable:
        raise StoreRefused(
            "DROPOFF_STORE is no URL of a store. Use redis://USER:PASSWORD@HOST:PORT/DB, rediss://… for TLS, or "
            "unix:///PATH; write / : @ in a password as %2F %3A %40."
        )
    if options - OPTIONS:
        raise StoreRefused(
            f"DROPOFF_STORE has options that are not taken: {', '.join(sorted(options - OPTIONS))[:80]}. "
            f"Taken: {', '.join(sorted(OPTIONS))}. User and password stand before the host: redis://USER:PASSWORD@HOST."
        )
    return url


def without_secret(url: str) -> str:
    """Where a store is, and nothing else of its URL."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def not_let_in(why: object) -> StoreRefused:
    return StoreRefused(
        f"The store does not accept the user name or password of DROPOFF_STORE ({why}). "
        "Write them as redis://USER:PASSWORD@HOST:PORT."
    )


def lacks_rights(doing: str, why: object) -> StoreRefused:
    return StoreRefused(
        f"The store does not let this user run {doing} ({why}). "
        "The broker's user needs: ~dropoff:* &dropoff:* +@all -@dangerous +info +config|get"
    )
