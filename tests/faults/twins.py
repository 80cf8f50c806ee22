"""Two worlds that are told the same, by one clock. In the one replies get lost; the other shows what should be there.

Everything in them that is not alike by itself is made alike here: ids of entries stand for what their entry says,
places in a stream for their order. So two worlds are equal exactly when the same has happened to each handoff, agent
and queue in them, the same number of times, and both ledgers tell it; only the order in which strangers to each other
came into the ledger is left out.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import msgspec

from dropoff.core import limits
from dropoff.core.answers import PickedUp, StoredSchema
from dropoff.core.caller import Caller, Principal
from dropoff.core.grant import Grant
from dropoff.core.handoff import AgentName
from dropoff.core.queue import Queue
from dropoff.core.store import Paused, Stale
from dropoff.errors import BrokerUnavailable, DropoffError
from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from tests import world
from tests.look import Found, Look
from tests.proxy import Proxy
from tests.servers import Server, source_of
from tests.world import CAROL, OPS, SCHEMA, SCHEMA_HASH, UPKEEP, Clock, until, within

Asking = Callable[[RedisStore], Awaitable[Any]]

LONG: Final = 10_000
_ID: Final = re.compile(r"\d{13}-\d+")

# How things stand at the moment of the answer, and that it is a repeated one.
OF_THE_MOMENT: Final = frozenset({"leaf", "repeated", "ahead_of_it", "pickers", "waiting"})


class Unknown:
    """The answer of a call that heard that nobody knows."""


class Nothing:
    """The answer of a call that heard that nothing was stored."""


class Twins:
    """The world in which replies are cut (`here`, and another broker on it), and the one that is `whole`."""

    def __init__(self, server: Server, keys: Keys, clock: Clock) -> None:
        self.clock, self.proxy = clock, Proxy(server)
        self._server, self._keys = server, keys
        self._whole_keys = Keys(prefix="t-" + "".join(reversed(keys.base.partition(":")[0][2:])))
        self.elsewhere = RedisStore(source_of(server), keys, clock)
        self.whole = RedisStore(source_of(server), self._whole_keys, clock)
        self.here: RedisStore
        self._looks = [Look(server.socket, keys), Look(server.socket, self._whole_keys)]
        self._number = 0
        self.busy: Queue

    async def start(self) -> None:
        self.here = RedisStore(await self.proxy.start(), self._keys, self.clock)
        for store in (self.here, self.elsewhere, self.whole):
            await store.start()
        for store in (self.here, self.whole):
            await world.furnish(store)
        self.busy = await self.queue()

    async def close(self) -> None:
        for store in (self.here, self.elsewhere, self.whole):
            await store.close()
        await self.proxy.close()
        for look in self._looks:
            await look.client.aclose()

    # ---- what is told to both -----------------------------------------------------------------------------------

    async def tell(self, asking: Asking) -> Any:
        """Both do it, and say the same."""
        here, whole = await asyncio.gather(asking(self.here), asking(self.whole))
        assert await self.plain_here(here) == await self.plain_whole(whole)
        return here

    def new(self, what: str) -> str:
        """A name or key that was never used."""
        self._number += 1
        return f"{what}{self._number}"

    async def queue(self, **settings: Any) -> Queue:
        queue = world.a_queue(self.new("queue"), **settings)
        return cast(Queue, await self.tell(lambda store: store.put_queue(UPKEEP, queue)))

    async def agent(self, *grants: Grant) -> Caller:
        name = AgentName(self.new("agent"))
        principal = Principal(agent=name, grants=grants)
        put = cast(Principal, await self.tell(lambda store: store.put_principal(UPKEEP, principal)))
        return Caller(agent=name, rev=put.rev, grants=grants)

    async def principal(self, agent: Caller) -> Principal:
        return cast(Principal, await self.tell(lambda store: store.principal(agent.agent, fresh=True)))

    async def time_passes(self, ms: int) -> None:
        """Brokers are there all the while."""
        end = self.clock.now_ms + ms
        while self.clock.now_ms < end:
            self.clock.advance(min(limits.OUTAGE_MS, end - self.clock.now_ms))
            await self.tell(lambda store: store.beat())

    async def damaged(self, damage: Callable[[Look], Awaitable[object]]) -> None:
        for look in self._looks:
            await damage(look)

    def others(self, but: str) -> list[Asking]:
        """Three strangers who do something else than this step, where nobody else does anything."""
        made = [self._registering if but == "drop_off" else self._dropping for _ in range(3)]
        return [one(self.new("other")) for one in made]

    def _dropping(self, key: str) -> Asking:
        new = world.work(CAROL, queue=self.busy, key=key)
        return lambda store: store.drop_off(CAROL, self.busy, new)

    def _registering(self, name: str) -> Asking:
        async def put(store: RedisStore) -> StoredSchema:
            return (await store.put_schema(OPS, name, SCHEMA_HASH, SCHEMA))[0]

        return put

    # ---- what there is ------------------------------------------------------------------------------------------

    async def found_here(self) -> Found:
        return plain(await self._looks[0].everything(), self._keys)

    async def found_whole(self) -> Found:
        return plain(await self._looks[1].everything(), self._whole_keys)

    async def plain_here(self, outcome: Any) -> Any:
        return _said(outcome, await self._ledger(0))

    async def plain_whole(self, outcome: Any) -> Any:
        return _said(outcome, await self._ledger(1))

    async def _ledger(self, of: int) -> dict[str, str]:
        look = self._looks[of]
        return _labels(await look.client.xrange(look.keys.of("ledger")) or [])


@asynccontextmanager
async def twins(server: Server, keys: Keys, clock: Clock) -> AsyncIterator[Twins]:
    made = Twins(server, keys, clock)
    await made.start()
    try:
        yield made
    finally:
        await made.close()


async def out_of_reach(store: RedisStore, proxy: Proxy) -> None:
    """The store is away, and the broker has noticed: what it is asked from now on is never sent."""
    proxy.away = True
    proxy.cut_all()

    async def noticed() -> bool:
        return proxy.connections == 0 and store._commit._small._link._connection is None  # pyright: ignore[reportPrivateUsage]

    await until("the broker to notice", noticed)


async def heard(calls: Iterable[Awaitable[Any]]) -> list[Any]:
    """What each is answered, refusals and verdicts among the answers."""
    outcomes = await within("all answers", asyncio.gather(*calls, return_exceptions=True))
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, DropoffError | Stale | Paused):
            raise outcome
    return [_verdict(outcome) for outcome in outcomes]


def _verdict(outcome: Any) -> Any:
    if isinstance(outcome, BrokerUnavailable):
        return Unknown if outcome.stored == "unknown" else Nothing
    return outcome


def is_refusal(outcome: Any) -> bool:
    return isinstance(outcome, Exception)


# ---- made alike ---------------------------------------------------------------------------------------------------


def plain(found: Found, keys: Keys) -> Found:
    """What was found, in words that are the same in another world where the same has happened."""
    ledger = found.pop("ledger", [])
    labels = _labels(ledger)
    places: dict[str, str] = {}
    for name in [name for name in found if ":ready:" in name]:
        places |= {f"{name.split(':')[1]} {id}": str(place) for place, (id, _) in enumerate(found[name])}
        found[name] = [fields["id"] for _, fields in found[name]]
    for name, content in found.items():
        if isinstance(content, dict) and "entry" in content:
            record = cast(dict[str, str], content)
            record["entry"] = places.get(f"{record['queue']} {record['entry']}", "out")
            record["pick"] = record.get("pick", "").removeprefix(keys.base)
        if name.startswith("picks:"):
            found[name] = cast(str, content).split()[:2]  # who was told changes by being asked
        if isinstance(content, set):
            found[name] = sorted(cast(set[str], content))
    chain = {labels[id]: labels.get(fields.get("prev", "")) for id, fields in ledger}
    assert len(chain) == len(ledger), "an entry stands twice in the ledger"
    return {name: _named(content, labels) for name, content in found.items() if content} | {"ledger": chain}


def _labels(ledger: Sequence[Any]) -> dict[str, str]:
    """Each entry's id, and what it says."""
    said: Counter[str] = Counter()
    labels: dict[str, str] = {}
    for id, fields in ledger:
        text = " ".join(f"{name}={value}" for name, value in sorted(fields.items()) if name != "prev")
        said[text] += 1
        labels[id] = f"<{text} #{said[text]}>"
    return labels


def _named(value: Any, labels: dict[str, str]) -> Any:
    match value:
        case str() if len(value) < LONG:  # ids stand in no payload
            return _ID.sub(lambda id: labels.get(id[0], "<no entry>"), value)
        case dict():
            return {name: _named(held, labels) for name, held in cast(dict[str, Any], value).items()}
        case list() | tuple():
            return [_named(held, labels) for held in cast(list[Any], value)]
        case _:
            return value


def _said(outcome: Any, labels: dict[str, str]) -> Any:
    if isinstance(outcome, Exception):
        return type(outcome).__name__, vars(outcome)
    if isinstance(outcome, PickedUp):
        assert outcome.lease.handoff_id == outcome.handoff.id == outcome.receipt.handoff_id
    return _without(_named(msgspec.to_builtins(outcome, builtin_types=(bytes,)), labels)) if outcome else outcome


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        named = cast(dict[str, Any], value)
        return {name: _without(held) for name, held in named.items() if name not in OF_THE_MOMENT}
    return value
