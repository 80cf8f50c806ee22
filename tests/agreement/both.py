"""Tells a story to the store and to its model, and wants to hear the same from both."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from dropoff.core.caller import EVERYONE, Caller, Revision
from dropoff.core.handoff import AgentName, HandoffId, QueueName
from dropoff.core.lease import Lease
from dropoff.core.ledger import Entry, Receipt, leaf
from dropoff.core.store import PickedUp, Settling, Stale, Store
from dropoff.errors import DropoffError
from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from tests import world
from tests.agreement.invent import Call
from tests.look import Look, check_indexes, unexplained
from tests.model import Model
from tests.servers import Server, source_of
from tests.world import OPS, UPKEEP, Clock

# One queue like most, and one so small that it is often full and its handoffs soon used up.
SMALL: Final = msgspec.structs.replace(
    world.QUEUE, name=QueueName("small"), waiting_max=2, attempts_max=1, lease_ms=1_000
)
QUEUES: Final = {queue.name: queue for queue in (world.QUEUE, SMALL)}
FROZEN_CALLS: Final = 2  # so that a run does not spend its time before a shut gate

Asking = Callable[[Store], Awaitable[Any]]


class Both:
    """A store and its model, side by side. Each verb of a story is a method here."""

    def __init__(self, real: RedisStore, model: Model, clock: Clock, look: Look) -> None:
        self.real, self.model, self.clock, self.look = real, model, clock, look
        self.now: dict[str, Caller] = {person.agent: person for person in world.PEOPLE}
        self.before = dict(self.now)
        self.handoffs: list[HandoffId] = []
        self.leases: list[tuple[Lease, str]] = []
        self.asked: list[Asking] = []
        self.freezes = self.frozen_calls = 0
        self.places: dict[str, str] = {"": ""}  # the id of an entry → its place in the ledger
        self.leaves: dict[str, str] = {}
        self.entries: list[Entry] = []
        self.answered = self.refused = 0

    async def tell(self, story: Iterable[Call]) -> None:
        for call in story:
            await getattr(self, call.verb)(**call.args)
            if self.frozen_calls:
                self.frozen_calls -= 1
                if not self.frozen_calls:
                    await self._let_gate_know("active")
            await self._compare()

    # ---- what agents do -----------------------------------------------------------------------------------------

    async def drop_off(
        self, who: str, outdated: bool, queue: QueueName, key: str, payload: bytes, note: str, delay_ms: int
    ) -> None:
        caller, to = self._caller(who, outdated), QUEUES[queue]
        new = world.work(caller, queue=to, payload=payload, note=note, delay_ms=delay_ms, key=key)
        self.handoffs.append(new.id)
        await self._ask(lambda store: store.drop_off(caller, to, new))

    async def drop_off_by_old_settings(self, who: str, outdated: bool, queue: QueueName) -> None:
        caller, older = self._caller(who, outdated), msgspec.structs.replace(QUEUES[queue], rev=Revision("1"))
        new = world.work(caller, queue=older)
        await self._ask(lambda store: store.drop_off(caller, older, new))

    async def pick_up(self, who: str, outdated: bool, queue: QueueName, key: str) -> None:
        caller, key = self._caller(who, outdated), world.key_or_new(key)
        picked = await self._ask(lambda store: store.pick_up(caller, QUEUES[queue], key))
        if isinstance(picked, PickedUp):
            self.leases.append((picked.lease, who))

    async def extend(self, who: str, outdated: bool, lease: int, progress: str, checkpoint: bytes, key: str) -> None:
        if not self.leases:
            return
        held, caller, key = *self._lease(lease, who, outdated), world.key_or_new(key)
        await self._ask(
            lambda store: world.extend(store, held, caller, progress=progress, checkpoint=checkpoint, key=key)
        )

    async def complete(self, who: str, outdated: bool, lease: int, result: bytes) -> None:
        if not self.leases:
            return
        held, caller = self._lease(lease, who, outdated)
        await self._ask(lambda store: store.complete(caller, held, result))

    async def hand_back(
        self,
        who: str,
        outdated: bool,
        lease: int,
        verb: Settling,
        reason: str,
        delay_ms: int | None,
        checkpoint: bytes,
        key: str,
    ) -> None:
        if not self.leases:
            return
        held, caller, key = *self._lease(lease, who, outdated), world.key_or_new(key)
        await self._ask(
            lambda store: world.hand_back(
                store, held, verb, caller, reason=reason, delay_ms=delay_ms, checkpoint=checkpoint, key=key
            )
        )

    async def withdraw(self, who: str, outdated: bool, handoff: int, reason: str, may_operate: bool) -> None:
        caller, id = self._caller(who, outdated), self._handoff(handoff)
        await self._ask(lambda store: store.withdraw(caller, id, reason=reason, may_operate=may_operate))

    async def check(self, who: str, outdated: bool, handoff: int, may_inspect: bool) -> None:
        caller, id = self._caller(who, outdated), self._handoff(handoff)
        await self._ask(lambda store: store.check(caller, id, may_inspect=may_inspect))

    async def again(self, call: int) -> None:
        if self.asked:
            await self._ask(self.asked[-1 - call % len(self.asked)])

    async def take_and_give_back(self, queue: QueueName, verb: Settling, rounds: int) -> None:
        for _ in range(rounds):
            await self.pick_up("bob", False, queue, "")
            await self.hand_back("bob", False, 0, verb, "", 0, b"", "")

    # ---- what the clock does ------------------------------------------------------------------------------------

    async def time_passes(self, ms: int) -> None:
        self.clock.advance(ms)

    async def lapse(self, handoff: int) -> None:
        """Also where nothing is overdue: the step has to look for itself."""
        id = self._handoff(handoff)
        await self._ask(lambda store: store.lapse(id))

    async def due(self, handoff: int) -> None:
        id = self._handoff(handoff)
        await self._ask(lambda store: store.due(id))

    async def upkeep_goes_its_round(self, queue: QueueName, ms: int) -> None:
        self.clock.advance(ms)
        late = await self._ask(lambda store: store.overdue(queue, 3))
        for id in late.leases:
            await self._ask(lambda store, id=id: store.lapse(id))
        for id in late.timers:
            await self._ask(lambda store, id=id: store.due(id))

    # ---- what operators do --------------------------------------------------------------------------------------

    async def change(self, agent: AgentName, standing: str, outdated: bool) -> None:
        """An operator changes an agent's standing; or does so over a record that is no longer current."""
        known = await self.model.principal(agent)
        assert known is not None
        over = self.before[agent].rev if outdated else known.rev
        wanted = msgspec.structs.replace(known, standing=standing, rev=over)
        put = await self._ask(lambda store: store.put_principal(OPS, wanted))
        if not isinstance(put, Exception) and put.rev != self.now[agent].rev:
            self.before[agent] = self.now[agent]
            self.now[agent] = msgspec.structs.replace(self.now[agent], rev=put.rev)

    async def freeze_everything(self) -> None:
        if not self.frozen_calls:
            await self._let_gate_know("frozen")
            self.frozen_calls = FROZEN_CALLS + 1  # this one is the first

    async def _let_gate_know(self, standing: str) -> None:
        self.freezes += 1
        rev = str(self.freezes)
        assert await self._ask(lambda store: store.gate(UPKEEP, EVERYONE, rev, standing)) is True
        del self.asked[-1]  # a freeze that is heard again would do nothing

    async def gate_with_an_old_revision(self, agent: AgentName, older: int, standing: str) -> None:
        rev = str(int(self.now[agent].rev) - older)
        assert await self._ask(lambda store: store.gate(OPS, agent, rev, standing)) is not True

    # ---- how both are asked -------------------------------------------------------------------------------------

    def _caller(self, who: str, outdated: bool) -> Caller:
        return (self.before if outdated else self.now)[who]

    def _lease(self, back: int, who: str, outdated: bool) -> tuple[Lease, Caller]:
        lease, holder = self.leases[-1 - back % len(self.leases)]
        return lease, self._caller(who or holder, outdated)

    def _handoff(self, back: int) -> HandoffId:
        return self.handoffs[-1 - back % len(self.handoffs)] if self.handoffs else world.unknown_id()

    async def _ask(self, asking: Asking) -> Any:
        """Ask both; return what they answer, or the refusal, if it is the same."""
        self.asked.append(asking)
        expected, actual = await _answer(asking, self.model), await _answer(asking, self.real)
        await self._read_entries()
        same("the answer", self._plain(actual), self._plain(expected))
        if isinstance(actual, Exception):
            self.refused += 1
        else:
            self.answered += 1
        return actual

    def _plain(self, answer: Any) -> Any:
        """The answer without what rightly differs: entries become their places; a leaf is checked on the way."""
        if isinstance(answer, Exception):
            return type(answer), vars(answer)
        if isinstance(answer, Receipt):
            assert answer.leaf == self.leaves.get(answer.entry, "")
            return answer.handoff_id, answer.log, self.places.get(answer.entry, answer.entry)
        if isinstance(answer, msgspec.Struct) and hasattr(answer, "receipt"):
            fields = {name: getattr(answer, name) for name in answer.__struct_fields__}
            return type(answer), fields | {"receipt": self._plain(fields["receipt"])}
        return answer

    # ---- what must be the same after every call -------------------------------------------------------------------

    async def _compare(self) -> None:
        same("the ledger", self.entries, self.model.ledger)
        found = await self.look.everything()
        for queue in QUEUES:
            check_indexes(found, queue)
        handoffs = await asyncio.gather(*(self.real.check(UPKEEP, id, may_inspect=True) for id in self.model.kept))
        same("the records", handoffs, [kept.handoff for kept in self.model.kept.values()])
        for queue in QUEUES:
            same("what is overdue", await self.real.overdue(queue, 100), await self.model.overdue(queue, 100))
        for person in world.PEOPLE:
            held = await self.real.leases_of(person.agent)
            same(f"what {person.agent} holds", held, await self.model.leases_of(person.agent))
        # How long the oldest waits is told by the stream's own clock, which a test cannot move.
        figures = await self.real.figures(list(QUEUES))
        figures = {queue: msgspec.structs.replace(one, oldest_ms=0) for queue, one in figures.items()}
        same("the figures", figures, await self.model.figures(list(QUEUES)))

    async def _read_entries(self) -> None:
        """What the real ledger has got since the last look, with places instead of ids."""
        last = list(self.places)[-1]
        for entry in await self.real.entries(after=last or "0-0", at_most=1_000):
            self.places[entry.id] = str(len(self.entries))
            self.leaves[entry.id] = leaf(entry)
            self.entries.append(msgspec.structs.replace(entry, id=self.places[entry.id], prev=self.places[entry.prev]))


def same(what: str, of_store: Any, of_model: Any) -> None:
    assert of_store == of_model, f"{what} of the store: {of_store}\n{what} of the model: {of_model}"


async def _answer(asking: Asking, store: Store) -> Any:
    try:
        return await asking(store)
    except (DropoffError, Stale) as refusal:
        return refusal


@asynccontextmanager
async def both_on(server: Server) -> AsyncIterator[Both]:
    """A furnished store under a prefix of its own, and its model. Afterwards its keys must be explained."""
    clock, keys = Clock(), Keys(prefix=f"t-{secrets.token_hex(6)}")
    real, model, look = RedisStore(source_of(server), keys, clock), Model(clock), Look(server.socket, keys)
    try:
        await real.start()
        for store in (real, model):
            await world.furnish(store, *QUEUES.values())
        both = Both(real, model, clock, look)
        await both._read_entries()
        yield both
    finally:
        await real.close()
        await look.client.aclose()
    with server.client as client:
        assert unexplained(client, keys) == []
