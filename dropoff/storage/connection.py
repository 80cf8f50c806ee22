"""How the broker reaches its store, and whether it may be trusted with a promise.

`Source` knows where the store is: at a URL, or the embedded one, which is started (again) when a connection is wanted
and nobody serves. Client retries are off everywhere: redis-py would send a step three times for two cut connections,
and say nothing. What is asked again, and when, is decided by `lane.py` alone.

`examine` looks once at start: a version that has what the steps need, an eviction policy that never deletes what was
acknowledged, the right to do all that steps do. A store that fails is refused with what to do about it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.exceptions import ConnectionError as NotConnected

from dropoff.core.ledger import Durability
from dropoff.core.store import StoreFacts
from dropoff.errors import StoreRefused

CONNECT_S: Final = 5.0

Command = tuple[str | bytes, ...]
Ask = Callable[..., Awaitable[Any]]

SCHEMES: Final = ("redis", "rediss", "unix")
OPTIONS: Final = frozenset({"db", "ssl_ca_certs", "ssl_cert_reqs"})  # of a URL; others could change what is promised

# What makes a write durable before it is answered, also while the server rewrites its file.
FSYNCED: Final = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
READ_AT_START: Final = ("maxmemory-policy", *FSYNCED)


class Examined(NamedTuple):
    """What was found at start."""

    product: str  # "Valkey 9.1"
    durability: Durability


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
        except RedisError as error:
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
    except BaseException:
        await connection.disconnect(nowait=True)
        raise


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


async def examine(ask: Ask) -> Examined:
    """Refuses a store that cannot keep what is promised; says what it is and how durable."""
    info = _pairs(await _allowed(ask, "INFO", "server"))
    _check_version(info)
    _check_single(_pairs(await _allowed(ask, "INFO", "cluster")))
    policy = (await _config(ask)).get("maxmemory-policy", "noeviction")
    if policy != "noeviction":
        raise StoreRefused(
            f"maxmemory-policy is {policy}: the store may silently delete handoffs. "
            "Fix: redis-cli config set maxmemory-policy noeviction (and in its configuration file)."
        )
    return Examined(_product(info), await durability(ask))


async def facts(ask: Ask) -> StoreFacts:
    """What the store says of itself now, whether or not a broker would start on it."""
    settings = await _config(ask)
    try:
        info = _pairs(await _allowed(ask, "INFO"))
        seconds, micros = await _allowed(ask, "TIME")
    except StoreRefused as refusal:
        return StoreFacts(lacking=refusal.reason, settings=settings)
    told = {
        "maxmemory-policy": info.get("maxmemory_policy", ""),
        "appendonly": "yes" if info.get("aof_enabled") == "1" else "no",
    }
    return StoreFacts(
        product=_product(info),
        unfit=_unfit(info),
        settings=told | settings,
        used_bytes=int(info.get("used_memory", 0)),
        max_bytes=int(info.get("maxmemory", 0)),
        time_ms=int(seconds) * 1_000 + int(micros) // 1_000,
    )


def _unfit(info: dict[str, str]) -> str:
    try:
        _check_version(info)
        _check_single(info)
    except StoreRefused as refusal:
        return refusal.reason
    return ""


def _product(info: dict[str, str]) -> str:
    valkey = info.get("valkey_version")
    return f"Valkey {valkey}" if valkey else f"Redis {info.get('redis_version', '?')}"


async def durability(ask: Ask) -> Durability:
    """How safe a write is when it is answered; what cannot be read counts as the least."""
    config = await _config(ask)
    return "fsynced" if config.items() >= FSYNCED.items() else "memory"


async def _config(ask: Ask) -> dict[str, str]:
    """The settings that matter. Managed services forbid CONFIG: then nothing is known, and nothing is promised."""
    try:
        reply: list[bytes] = await ask("CONFIG", "GET", *READ_AT_START)
    except ResponseError:
        return {}
    return {reply[i].decode(): reply[i + 1].decode() for i in range(0, len(reply), 2)}


def _check_version(info: dict[str, str]) -> None:
    name, least = ("valkey_version", 8) if "valkey_version" in info else ("redis_version", 7)
    version = info.get(name, "0")
    if int(version.partition(".")[0]) < least:
        raise StoreRefused(
            f"The store is {'Valkey' if least == 8 else 'Redis'} {version}; "
            "dropoff needs Redis 7.0 or Valkey 8, or newer. Upgrade it, or unset DROPOFF_STORE for the embedded one."
        )


def _check_single(info: dict[str, str]) -> None:
    if info.get("cluster_enabled") == "1":
        raise StoreRefused("The store runs in cluster mode, which this release does not speak. Use a single node.")


async def _allowed(ask: Ask, *command: str) -> Any:
    try:
        return await ask(*command)
    except ResponseError as error:
        raise lacks_rights(command[0], error) from error


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


def _pairs(info: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in info.decode().splitlines() if ":" in line)
    return {name: value for name, _, value in lines}
