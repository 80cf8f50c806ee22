"""What a server says of itself, and whether it may be trusted with a promise.

`examine` looks once, at start: a version that has what the steps need, a single node, an eviction policy that never
deletes what has a receipt. A store that fails is refused with what to do about it. (That its user has the right to do
all that steps do is proved by a step, in `steps.py`.) `durability` is looked at again as long as the broker runs, and
`facts` whenever the doctor asks.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from redis.exceptions import ResponseError

from dropoff.core.answers import StoreFacts
from dropoff.core.ledger import Durability
from dropoff.errors import StoreRefused
from dropoff.storage.connection import lacks_rights
from dropoff.storage.replies import texts_of

Ask = Callable[..., Awaitable[Any]]

# What makes a write durable before it is answered, also while the server rewrites its file.
FSYNCED: Final = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
READ_AT_START: Final = ("maxmemory-policy", *FSYNCED)


class Examined(NamedTuple):
    """What was found at start."""

    product: str  # "Valkey 9.1"
    durability: Durability


async def examine(ask: Ask) -> Examined:
    """What the store is, and how durable; `StoreRefused` if it cannot keep what is promised."""
    info = _pairs(await _allowed(ask, "INFO", "server"))
    check_version(info)
    check_single(_pairs(await _allowed(ask, "INFO", "cluster")))
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
        check_version(info)
        check_single(info)
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
    return texts_of(reply)


def check_version(info: dict[str, str]) -> None:
    name, least = ("valkey_version", 8) if "valkey_version" in info else ("redis_version", 7)
    version = info.get(name, "0")
    if int(version.partition(".")[0]) < least:
        raise StoreRefused(
            f"The store is {'Valkey' if least == 8 else 'Redis'} {version}; "
            "dropoff needs Redis 7.0 or Valkey 8, or newer. Upgrade it, or use the embedded one, without DROPOFF_STORE."
        )


def check_single(info: dict[str, str]) -> None:
    if info.get("cluster_enabled") == "1":
        raise StoreRefused("The store runs in cluster mode, which this release does not speak. Use a single node.")


async def _allowed(ask: Ask, *command: str) -> Any:
    try:
        return await ask(*command)
    except ResponseError as error:
        raise lacks_rights(command[0], error) from error


def _pairs(info: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in info.decode().splitlines() if ":" in line)
    return {name: value for name, _, value in lines}
