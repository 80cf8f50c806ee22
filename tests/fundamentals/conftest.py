"""A whole house without doors: the broker, its operators' side, and three agents with real credentials."""

import secrets
from dataclasses import dataclass

import pytest

from dropoff.broker import Broker
from dropoff.contracts.gate import Gates
from dropoff.core.answers import PickedUp
from dropoff.core.caller import Caller
from dropoff.core.requests import PickUp
from dropoff.identity.callers import Callers
from dropoff.inspector import Inspector
from dropoff.operations import NewQueue, Operations
from dropoff.storage.store import RedisStore
from dropoff.upkeep.rounds import go_round
from tests.world import Clock, live

BRIEF = {
    "type": "object",
    "properties": {
        "topic": {"type": "string", "minLength": 3},
        "audience": {"enum": ["exec", "engineer", "public"]},
    },
    "required": ["topic", "audience"],
    "additionalProperties": False,
}


@dataclass
class House:
    """What the tour walks through."""

    broker: Broker
    operations: Operations
    inspector: Inspector
    callers: Callers
    store: RedisStore
    clock: Clock
    operator: Caller
    scout: Caller  # may drop off into research
    writer: Caller  # may pick up from it
    rival: Caller  # may pick up from it too

    async def takes(self, agent: Caller, queue: str = "research") -> PickedUp | None:
        """What the agent gets when it picks up and does not wait."""
        picked = await self.broker.pick_up(agent, PickUp(queue=queue, wait_seconds=0))
        return picked if isinstance(picked, PickedUp) else None

    async def time_passes(self, seconds: int) -> None:
        """Let time pass, with a broker that is there, and let upkeep do what the clock starts."""
        await live(self.store, self.clock, seconds * 1_000)
        await go_round(self.store)


@pytest.fixture
async def house(empty_store: RedisStore, clock: Clock) -> House:
    operations = Operations(empty_store, secrets.token_bytes)
    callers = Callers(empty_store)
    bearer = "dropoff_bearer_" + "o" * 43
    await operations.ensure_operator(bearer)
    operator = await callers.of(f"Bearer {bearer}")
    await operations.push_schema(operator, "brief", BRIEF)
    await operations.add_queue(operator, NewQueue(name="research", schema="brief", lease_seconds=60, max_attempts=2))

    async def agent(name: str, grant: str) -> Caller:
        made = await operations.add_agent(operator, name, [grant])
        return await callers.of(f"Bearer {made.bearer}")

    return House(
        broker=Broker(empty_store, Gates(), secrets.token_bytes),
        operations=operations,
        inspector=Inspector(empty_store),
        callers=callers,
        store=empty_store,
        clock=clock,
        operator=operator,
        scout=await agent("scout", "drop:research"),
        writer=await agent("writer", "pick:research"),
        rival=await agent("rival", "pick:research"),
    )
