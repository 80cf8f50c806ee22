"""A desk for agents: the door, served by a real server over a real store, and agents that prove who they are."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from dropoff.broker import Broker
from dropoff.contracts.gate import Gates
from dropoff.core import credential
from dropoff.core.caller import Caller
from dropoff.doors.mcp.door import McpDoor
from dropoff.identity.callers import Callers
from dropoff.operations import NewQueue, Operations
from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from tests.doors import served
from tests.doors.mcp.wire import ERAS, Agent, Wire
from tests.servers import Server, source_of
from tests.world import Clock

BRIEF: dict[str, Any] = {
    "type": "object",
    "description": "A question for the research agent.",
    "properties": {
        "topic": {"type": "string", "minLength": 3, "maxLength": 200},
        "audience": {"enum": ["exec", "engineer", "public"]},
    },
    "required": ["topic", "audience"],
    "additionalProperties": False,
    "examples": [{"topic": "heat pumps", "audience": "exec"}],
}
NOTES: dict[str, Any] = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


class Desk:
    """The door, and all that stands behind it."""

    def __init__(self, store: RedisStore) -> None:
        self.store = store
        self.broker = Broker(store, Gates(), secrets.token_bytes)
        self.operations = Operations(store, secrets.token_bytes)
        self.callers = Callers(store)
        self.operator: Caller
        self.url = ""
        self.port = 0
        self.server: served.Server

    async def furnish(self) -> None:
        """An operator, and one queue."""
        bearer = credential.bearer(secrets.token_bytes(credential.BEARER_BYTES))
        await self.operations.ensure_operator(bearer)
        self.operator = await self.callers.of(f"Bearer {bearer}")
        await self.queue("research", BRIEF)

    async def queue(self, name: str, schema: dict[str, Any], **settings: Any) -> None:
        await self.operations.push_schema(self.operator, name, schema)
        await self.operations.add_queue(self.operator, NewQueue(name=name, schema=name, **settings))

    async def agent(self, name: str, *grants: str) -> Agent:
        made = await self.operations.add_agent(self.operator, name, grants)
        return Agent(name, made.bearer)

    @contextlib.asynccontextmanager
    async def serving(self, **door: Any) -> AsyncIterator[None]:
        with served.listener() as sock:
            self.port = sock.getsockname()[1]
            self.url = f"http://127.0.0.1:{self.port}/mcp"
            settings = {"allowed_hosts": [f"127.0.0.1:{self.port}"], "allowed_origins": ["http://friend.example"]}
            app = McpDoor(self.broker, self.callers, version="0", **(settings | door))
            routed = Starlette(routes=[Route("/mcp", app)], lifespan=lambda _: app.run())
            async with served.serving_at(sock, routed) as self.server:
                yield


@pytest.fixture
def server(valkey_server: Server) -> Server:
    """One product is enough here: the store's own tests hold the two against each other."""
    return valkey_server


@pytest.fixture
async def desk(empty_store: RedisStore) -> AsyncIterator[Desk]:
    desk = Desk(empty_store)
    await desk.furnish()
    async with desk.serving():
        yield desk


@pytest.fixture
async def elsewhere(server: Server, keys: Keys, clock: Clock, desk: Desk) -> AsyncIterator[Desk]:
    """Another broker on the same store: what it changes, this one has not heard of."""
    store = RedisStore(source_of(server), keys, clock)
    await store.start()
    other = Desk(store)
    other.operator = desk.operator
    yield other
    await store.close()


@pytest.fixture
async def scout(desk: Desk) -> Agent:
    return await desk.agent("scout", "drop:research")


@pytest.fixture
async def writer(desk: Desk) -> Agent:
    return await desk.agent("writer", "pick:research")


@pytest.fixture(params=ERAS)
async def wire(request: pytest.FixtureRequest, desk: Desk) -> AsyncIterator[Callable[[Agent], Wire]]:
    """A plain JSON-RPC client for an agent, of either era of the protocol in turn."""
    async with contextlib.AsyncExitStack() as stack:

        def open_wire(agent: Agent) -> Wire:
            made = Wire(desk.url, agent, request.param)
            stack.push_async_callback(made.client.aclose)
            return made

        yield open_wire
