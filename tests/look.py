"""Looking at a store from outside, past the code under test: what keys there are, and whether anything changed."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import redis
import redis.asyncio

from dropoff.core.caller import Principal
from dropoff.core.lifecycle import DEAD, FINAL, HELD, LEASED, SCHEDULED, WAITING
from dropoff.storage.keys import Keys

Found = dict[str, Any]

# In which of a queue's indexes a handoff stands, by its state, and by which of its fields each is sorted. `holds` is
# the agents' side of `leases`; the final states but `dead` share one.
INDEXES_OF: Final = {
    HELD: {"held", "expiries"},
    SCHEDULED: {"timers", "expiries"},
    WAITING: {"ready", "expiries"},
    LEASED: {"leases", "holds"},
    DEAD: {"dead"},
} | {state: {"final"} for state in FINAL - {DEAD}}
SORTED_BY: Final = {
    "held": "dropped",
    "timers": "due",
    "expiries": "expires",
    "leases": "lease_ends",
    "dead": "ended",
    "final": "ended",
}


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

    @asynccontextmanager
    async def of_another_type(self, name: str) -> AsyncIterator[None]:
        """Meanwhile this key is what it should not be; then it is lost."""
        await self.client.delete(name)
        kind = self.keys.explain(name)
        if kind and kind.type == "string":
            await self.client.hset(name, "of another", "type")
        else:
            await self.client.set(name, "of another type")
        yield
        await self.client.delete(name)

    async def connections(self) -> list[dict[str, str]]:
        """The connections of others than this look."""
        mine = str(await self.client.client_id())
        return [one for one in await self.client.client_list() if one["id"] != mine]


def indexes(found: Mapping[str, Any], queue: str) -> dict[str, dict[str, Any]]:
    """For every handoff that an index names: the indexes that name it, and by what. Naming it twice is a fault."""
    named: dict[str, dict[str, Any]] = {}

    def note(index: str, id: str, by: Any) -> None:
        assert index not in named.setdefault(id, {}), f"{index} names {id} twice"
        named[id][index] = by

    for name, content in found.items():
        if name.startswith(f"q:{queue}:ready:"):
            for entry, fields in content:
                note("ready", fields["id"], (name, entry))
        elif name.startswith("holds:"):
            for id, fence in content:
                if id.rpartition("-")[0] == queue:
                    note("holds", id, (name, fence))
        elif name in {f"q:{queue}:{index}" for index in SORTED_BY}:
            for id, score in content:
                note(name.rpartition(":")[2], id, score)
    return named


def check_indexes(found: Mapping[str, Any], queue: str) -> None:
    """Each record stands in exactly the indexes that its state demands, by what it demands, and nothing else does."""
    records = {fields["id"]: fields for name, fields in found.items() if name.startswith(f"q:{queue}:h:")}
    assert indexes(found, queue) == {id: _demanded(record, queue) for id, record in records.items()}
    versions = {record["version"] for record in records.values() if record["state"] == WAITING}
    assert versions <= found.get(f"q:{queue}:versions", set()), "a version waits that its queue does not know of"


def _demanded(record: Mapping[str, str], queue: str) -> dict[str, Any]:
    by: dict[str, Any] = {index: float(record[field] or 0) for index, field in SORTED_BY.items() if field in record}
    by["ready"] = (f"q:{queue}:ready:{record['version']}", record.get("entry"))
    by["holds"] = (f"holds:{record.get('holder')}", float(record["fence"]))
    return {index: by[index] for index in INDEXES_OF[record["state"]] if index != "expiries" or record["expires"]}


def check_authority(found: Mapping[str, Any]) -> None:
    """What the gate does not know yet is in `changing`; what revoked agents hold is found by `recalls`.

    And `admins` are just those whose record governs.
    """
    gate = {agent: says.split() for agent, says in found["gate"].items()}
    revs = {name.partition(":")[2]: record["rev"] for name, record in found.items() if name.startswith("agent:")}
    behind = {agent: rev for agent, rev in revs.items() if gate.get(agent, [""])[0] != rev}
    changing = found.get("changing", {})
    assert behind.items() <= changing.items() <= revs.items()
    revoked = {agent for agent, (_, standing) in gate.items() if standing == "revoked"}
    assert {agent for agent in revoked if f"holds:{agent}" in found} <= found.get("recalls", set()) <= revoked
    records = {name.partition(":")[2]: record for name, record in found.items() if name.startswith("agent:")}
    governing = {agent for agent, one in records.items() if msgspec.json.decode(one["content"], type=Principal).governs}
    assert {agent for agent, one in records.items() if one["governs"]} == found.get("admins", set()) == governing


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
