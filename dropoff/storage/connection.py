"""How the broker reaches its store, and whether it may be trusted with a promise.

`Source` knows where the store is: at a URL, or the embedded one, which is started (again) when a connection is wanted
and nobody serves. Client retries are off everywhere: redis-py would send a step three times for two cut connections,
and say nothing. What is asked again, and when, is decided by `commit.py` alone.

`examine` looks once at start: a version that has what the steps need, an eviction policy that never deletes what was
acknowledged, the right to do all that steps do. A store that fails is refused with what to do about it.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from dropoff.core.ledger import Durability
from dropoff.errors import StoreRefused

CONNECT_S: Final = 5.0

Command = tuple[str | bytes, ...]
Ask = Callable[..., Awaitable[Any]]

SCHEMES: Final = ("redis", "rediss", "unix")


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
            await connection.connect()
        except RedisError as error:
            if isinstance(error.__cause__, AuthenticationError):  # redis-py wraps it
                raise not_let_in(error) from error
            raise
        return connection


def check_url(url: str) -> str:
    """The URL of a store, if it is one that this release can use."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise StoreRefused(
            f"DROPOFF_STORE is '{without_secret(url)}', which is no URL of a store. "
            "Use redis://HOST:PORT/DB, rediss://… for TLS, or unix:///PATH."
        )
    return url


def without_secret(url: str) -> str:
    return re.sub(r"//[^@/]*@", "//…@", url)[:200]


async def examine(ask: Ask) -> Examined:
    """Refuses a store that cannot keep what is promised; says what it is and how durable."""
    info = _pairs(await _allowed(ask, "INFO", "server"))
    _check_version(info)
    cluster = _pairs(await _allowed(ask, "INFO", "cluster"))
    if cluster.get("cluster_enabled") == "1":
        raise StoreRefused("The store runs in cluster mode, which this release does not speak. Use a single node.")
    policy = (await _config(ask)).get("maxmemory-policy", "noeviction")
    if policy != "noeviction":
        raise StoreRefused(
            f"maxmemory-policy is {policy}: the store may silently delete handoffs. "
            "Fix: redis-cli config set maxmemory-policy noeviction (and in its configuration file)."
        )
    valkey = info.get("valkey_version")
    product = f"Valkey {valkey}" if valkey else f"Redis {info.get('redis_version', '?')}"
    return Examined(product, await durability(ask))


async def durability(ask: Ask) -> Durability:
    """How safe a write is when it is answered; what cannot be read counts as the least."""
    config = await _config(ask)
    safe = config.get("appendonly") == "yes" and config.get("appendfsync") == "always"
    return "fsynced" if safe else "memory"


async def _config(ask: Ask) -> dict[str, str]:
    """The settings that matter. Managed services forbid CONFIG: then nothing is known, and nothing is claimed."""
    try:
        reply: list[bytes] = await ask("CONFIG", "GET", "maxmemory-policy", "appendonly", "appendfsync")
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


async def _allowed(ask: Ask, *command: str) -> bytes:
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
