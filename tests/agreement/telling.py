"""Tells a story to a store and to its model: whatever a call is, both must answer it alike and be alike afterwards."""

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from dropoff.storage.keys import Keys
from tests import world
from tests.agreement.both import QUEUES
from tests.agreement.gives import Heard
from tests.agreement.invent import Call
from tests.agreement.of_agents import OfAgents
from tests.agreement.of_authority import OfAuthority
from tests.agreement.of_clock import OfClock
from tests.agreement.of_operators import OfOperators
from tests.look import Look, unexplained
from tests.model import Model
from tests.servers import Server, source_of
from tests.world import Clock


class Telling(OfAgents, OfClock, OfOperators, OfAuthority):
    """All verbs of all stories."""

    async def tell(self, story: Iterable[Call]) -> None:
        for call in story:
            await getattr(self, call.verb)(**call.args)
            await self.thaw_in_time()
            await self.compare()

    async def take_and_give_back(self, queue: str, verb: str, rounds: int) -> None:
        for _ in range(rounds):
            await self.pick_up("bob", False, queue, False, "", ())
            if verb == "freed":
                await self.release("ops", False, 0, False, "")
            elif verb == "recalled":
                await self.client_vanishes(0, False)
            else:
                await self.hand_back("bob", False, 0, False, verb, "", 0, b"", "")  # pyright: ignore[reportArgumentType]
            if verb == "retry":
                await self.due(0, "scheduled")


@asynccontextmanager
async def telling_on(server: Server, answers: "Counter[str]") -> AsyncIterator[Telling]:
    """A furnished store under a prefix of its own, and its model. Afterwards its keys must be explained, and go."""
    clock, keys = Clock(), Keys(prefix=f"t-{secrets.token_hex(6)}")
    real, model, look = Heard(source_of(server), keys, clock), Model(clock), Look(server.socket, keys)
    real.answers = answers
    try:
        await real.start()
        for store in (real, model):
            await world.furnish(store, *QUEUES.values())
        telling = Telling(real, model, clock, look)
        await telling.read_entries()
        yield telling
    finally:
        await real.close()
        await look.client.aclose()
    with server.client as client:
        assert unexplained(client, keys) == []
        client.delete(*client.scan_iter(match=f"{keys.base.partition(':')[0]}:*", count=1_000))
