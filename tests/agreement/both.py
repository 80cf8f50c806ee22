"""A store and its model, side by side: both are asked the same, and must answer the same and be the same afterwards."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final
from unittest.mock import patch

import msgspec

from dropoff.core.caller import EVERYONE, Revision
from dropoff.core.handoff import AgentName, Handoff, HandoffId, QueueName
from dropoff.core.lease import Lease
from dropoff.core.ledger import Entry, Receipt, leaf
from dropoff.core.lifecycle import FINAL
from dropoff.core.store import Paused, Stale, Store
from dropoff.errors import BrokerUnavailable, DropoffError
from dropoff.storage.replies import handoff_of
from tests import world
from tests.agreement.gives import Heard
from tests.look import Look, check_authority, check_indexes
from tests.model import Model
from tests.world import Clock

_new = msgspec.structs.replace

# One queue like most; one so small that it is often full and its handoffs soon used up; one that a person must approve.
SMALL: Final = _new(
    world.QUEUE,
    name=QueueName("small"),
    waiting_max=2,
    attempts_max=1,
    lease_ms=20_000,
    expires_ms=90_000,
    retention_ms=60_000,
    result_schema="research@1",
    result_schema_hash=world.SCHEMA_HASH,
)
CHECKED: Final = _new(
    world.QUEUE,
    name=QueueName("checked"),
    approval=True,
    attempts_max=2,
    expires_ms=300_000,
    retention_ms=60_000,
)
QUEUES: Final = {queue.name: queue for queue in (world.QUEUE, SMALL, CHECKED)}
AGENTS: Final = (*(person.agent for person in world.PEOPLE), EVERYONE)
OLDER: Final = Revision("1")

Asking = Callable[[Store], Awaitable[Any]]


class Both:
    """Asks both, compares, and remembers what a story can speak of."""

    def __init__(self, real: Heard, model: Model, clock: Clock, look: Look) -> None:
        self.real, self.model, self.clock, self.look = real, model, clock, look
        self.now = {one.agent: _new(one, credential=f"of-{one.agent}", trace="t-1") for one in world.PEOPLE}
        self.before = dict(self.now)
        self.settings = dict(QUEUES)
        self.settings_before = {name: _new(queue, rev=OLDER) for name, queue in QUEUES.items()}
        self.handoffs: list[HandoffId] = []
        self.leases: list[tuple[Lease, str]] = []
        self.completed: dict[Lease, str] = {}
        self.asked: list[Asking] = []
        self.ended: dict[HandoffId, Handoff] = {}
        self.places: dict[str, str] = {"": ""}  # the id of an entry → its place in the ledger
        self.leaves: dict[str, str] = {}
        self.entries: list[Entry] = []
        self.answered = self.refused = 0

    async def ask(self, asking: Asking) -> Any:
        """Ask both; return what they answer, or the refusal, if it is the same."""
        self.asked.append(asking)
        expected, actual = await _answer(asking, self.model), await _answer(asking, self.real)
        await self.read_entries()
        same("the answer", self._plain(actual), self._plain(expected))
        if isinstance(actual, Exception):
            self.refused += 1
        else:
            self.answered += 1
        await self._follow()
        return actual

    def _plain(self, answer: Any) -> Any:
        """The answer without what rightly differs: entries become their places; a leaf is checked on the way."""
        if isinstance(answer, Exception):
            return type(answer), vars(answer)
        if isinstance(answer, Receipt):
            assert answer.leaf == self.leaves.get(answer.entry, "")
            return answer.handoff_id, answer.log, self._place(answer.entry)
        if isinstance(answer, Entry):
            return _new(answer, id=self._place(answer.id), prev=self._place(answer.prev))
        if isinstance(answer, Handoff):
            return _new(answer, attempts=tuple(_new(one, entry=self._place(one.entry)) for one in answer.attempts))
        if isinstance(answer, tuple):
            return tuple(self._plain(one) for one in answer)
        if isinstance(answer, msgspec.Struct):
            return type(answer), {name: self._plain(getattr(answer, name)) for name in answer.__struct_fields__}
        return answer

    def _place(self, entry: str) -> str:
        return self.places.get(entry, entry)

    async def read_entries(self) -> None:
        """What the real ledger has got since the last look, with places instead of ids."""
        last = list(self.places)[-1]
        for entry in await self.real.entries(after=last or "0-0", at_most=1_000):
            self.places[entry.id] = str(len(self.entries))
            self.leaves[entry.id] = leaf(entry)
            self.entries.append(self._plain(entry))

    async def _follow(self) -> None:
        """A broker decides by what the gate and the settings are now, or by what it remembers from before."""
        for agent, caller in self.now.items():
            rev = (await self.model.standing(agent)).partition(" ")[0]
            if rev != caller.rev:
                self.before[agent], self.now[agent] = caller, _new(caller, rev=Revision(rev))
        for name, queue in (await self.model.queues()).items():
            if queue != self.settings[name]:
                self.settings_before[name], self.settings[name] = self.settings[name], queue

    # ---- what must be the same after every call -----------------------------------------------------------------

    async def compare(self) -> None:
        same("the ledger", self.entries, self.model.ledger)
        found = await self.look.everything()
        self._compare_records([record for name, record in found.items() if ":h:" in name])
        check_authority(found)
        for queue in QUEUES:
            check_indexes(found, queue)
        for of_store, of_model in zip(await _said(self.real), await _said(self.model), strict=True):
            same("what it says", of_store, of_model)

    def _compare_records(self, found: Iterable[dict[str, str]]) -> None:
        facts = ({name: value.encode() for name, value in record.items()} for record in found)
        records = [self._plain(handoff_of(one)) for one in facts]
        same(
            "the records", {one.id: one for one in records}, {id: kept.handoff for id, kept in self.model.kept.items()}
        )
        now = {one.id: one for one in records if one.state in FINAL}
        again = {entry.handoff for entry in self.entries if entry.step == "erased"}  # may be dropped off anew
        for id, ended in self.ended.items():
            assert id in again or now.get(id) == ended, f"final is final: {ended} became {now.get(id)}"
        self.ended = now


def same(what: str, of_store: Any, of_model: Any) -> None:
    assert of_store == of_model, f"{what} of the store: {of_store}\n{what} of the model: {of_model}"


async def _said(store: Store) -> list[Any]:
    """What a store says of itself."""
    return await asyncio.gather(
        store.queues(fresh=True),
        _changing(store),
        _figures(store),
        *(store.overdue(queue, 100) for queue in QUEUES),
        *(store.rejections(queue) for queue in QUEUES),
        *(store.leases_of(agent) for agent in AGENTS),
        *(store.standing(agent) for agent in AGENTS),
    )


async def _changing(store: Store) -> list[AgentName]:
    return sorted(await store.changing())


async def _figures(store: Store) -> list[Any]:
    """How long the oldest waits is told by the stream's own clock, which a test cannot move."""
    figures = await store.figures(list(QUEUES))
    return [(queue, _new(one, oldest_ms=0)) for queue, one in figures.items()]


async def _answer(asking: Asking, store: Store) -> Any:
    try:
        return await asking(store)
    except (DropoffError, Stale, Paused) as refusal:
        return refusal


async def cut_before_the_gate(store: Store, asking: Asking) -> Any:
    """Asks a broker that dies between an agent's record and the gate."""

    async def dies(*arguments: object) -> bool:
        raise BrokerUnavailable(stored="unknown")

    with patch.object(store, "gate", dies):
        return await asking(store)
