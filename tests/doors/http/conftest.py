"""A broker that is served whole, and the agents of most tests."""

from collections.abc import AsyncIterator

import pytest

from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from tests.doors.http.house import Agent, Desk, opened
from tests.servers import Server, source_of


@pytest.fixture
def server(valkey_server: Server) -> Server:
    """One product is enough here: the store's own tests hold the two against each other."""
    return valkey_server


@pytest.fixture
async def desk(empty_store: RedisStore, server: Server, keys: Keys) -> AsyncIterator[Desk]:
    async with opened(empty_store, server, keys) as desk:
        yield desk


@pytest.fixture
async def elsewhere(server: Server, keys: Keys, desk: Desk) -> AsyncIterator[Desk]:
    """Another broker on the same store: what it changes, the first one has not heard of."""
    store = RedisStore(source_of(server), keys)
    await store.start()
    async with opened(store, server, keys) as other:
        yield other
    await store.close()


@pytest.fixture
async def scout(desk: Desk) -> Agent:
    return await desk.agent("scout", "drop:research")


@pytest.fixture
async def writer(desk: Desk) -> Agent:
    return await desk.agent("writer", "pick:research")
