"""Looking at a store from outside, past the code under test: what keys there are, and whether anything changed."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import redis
import redis.asyncio

from dropoff.core.lifecycle import FINAL, LEASED, SCHEDULED, WAITING
from dropoff.storage.keys import Keys

Found = dict[str, Any]

# In which of a queue's indexes a handoff must stand, by its state. `holds` is the agents' side of `leases`.
INDEXES_OF: Final = {WAITING: {"ready"}, SCHEDULED: {"timers"}, "held": {"held"}, LEASED: {"leases", "holds"}}
INDEXES_OF_FINAL: Final = {state: {"dead"} if state == "dead" else {"final"} for state in FINAL}


class Look:
    """Reads everything under one prefix."""

    def __init__(self, socket: str, keys: Keys) -> None:
        self.client = redis.asyncio.Redis(unix_socket_path=socket, decode_responses=True)
        self.keys = keys

    async def everything(self) -> Found:
        """Every key of ours and what it holds."""
        found: Found = {}
        async with self.client.pipeline(transaction=False) as ask:
            names: list[str] = await self.client.keys(self.keys.base.replace("{", "?").replace("}", "?") + "*")  # pyright: ignore[reportAssignmentType]  (decoded)
            for name in names:
                ask.type(name)
            kinds = await ask.execute()
            for name, kind in zip(names, kinds, strict=True):
                match kind:
                    case "hash":
                        ask.hgetall(name)
                    case "zset":
                        ask.zrange(name, 0, -1, withscores=True)
                    case "set":
                        ask.smembers(name)
                    case "stream":
                        ask.xrange(name)
                    case _:
                        ask.get(name)
            for name, content in zip(names, await ask.execute(), strict=True):
                found[name.removeprefix(self.keys.base)] = content
        return found

    @asynccontextmanager
    async def nothing_changes(self) -> AsyncIterator[None]:
        """Whatever happens inside leaves the store as it was, to the last field."""
        before = await self.everything()
        yield
        assert await self.everything() == before, "something changed"

    async def connections(self) -> list[dict[str, str]]:
        """The connections of others than this look."""
        mine = str(await self.client.client_id())
        return [one for one in await self.client.client_list() if one["id"] != mine]


def indexes(found: Mapping[str, Any], queue: str) -> dict[str, set[str]]:
    """For every handoff that an index names: the indexes that name it. Naming it twice is a fault."""
    named: dict[str, set[str]] = {}

    def note(index: str, id: str) -> None:
        assert index not in named.setdefault(id, set()), f"{index} names {id} twice"
        named[id].add(index)

    for name, content in found.items():
        if name.startswith(f"q:{queue}:ready:"):
            for _, fields in content:
                note("ready", fields["id"])
        elif name.startswith("holds:"):
            for id, _ in content:
                if id.startswith(f"{queue}-"):
                    note("holds", id)
        elif name in {f"q:{queue}:{index}" for index in ("leases", "timers", "held", "final", "dead")}:
            for id, _ in content:
                note(name.rpartition(":")[2], id)
    return named


def check_indexes(found: Mapping[str, Any], queue: str) -> None:
    """Each record stands in exactly the indexes that its state demands, with the score that it demands."""
    records = {fields["id"]: fields for name, fields in found.items() if name.startswith(f"q:{queue}:h:")}
    demanded = {id: (INDEXES_OF | INDEXES_OF_FINAL)[record["state"]] for id, record in records.items()}
    assert indexes(found, queue) == demanded
    for id, record in records.items():
        if record["state"] == LEASED:
            assert dict(found[f"q:{queue}:leases"])[id] == int(record["lease_ends"])
            assert dict(found[f"holds:{record['holder']}"])[id] == int(record["fence"])
        if record["state"] == SCHEDULED:
            assert dict(found[f"q:{queue}:timers"])[id] == int(record["due"])


def unexplained(client: redis.Redis, keys: Keys) -> list[str]:
    """What is wrong with the keys under this prefix, by the table in `keys.py`: unknown, of another type, endless."""
    wrong: list[str] = []
    names = list(client.scan_iter(match=keys.base.replace("{", "?").replace("}", "?") + "*", count=1_000))
    with client.pipeline(transaction=False) as ask:
        for name in names:
            ask.type(name)
            ask.ttl(name)
        replies = ask.execute()
    for place, name in enumerate(names):
        kind, actual, ttl_s = keys.explain(name), replies[2 * place], replies[2 * place + 1]
        if actual == "none":  # it ended between the two looks
            continue
        if kind is None:
            wrong.append(f"{name}: no key that keys.py knows")
        elif kind.type != actual:
            wrong.append(f"{name}: a {actual}, and should be a {kind.type}")
        elif kind.ends.startswith(("after ", "with the lease")) and ttl_s < 0:
            wrong.append(f"{name}: should end {kind.ends}, and has no end")
    return wrong
