"""What all tests share: two real servers, a store on each of them in turn, a clock that only the test moves.

Each test has its own key prefix. When it is over, each key that it left must be one that `storage/keys.py` explains;
when all are over, each server is searched once more as a whole.
"""

import os
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

import hypothesis
import pytest
import redis
from redis.exceptions import RedisError

from dropoff.core.answers import DroppedOff, PickedUp
from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from tests import world
from tests.look import Look, unexplained
from tests.loopback import Loopback, counting
from tests.proxy import Proxy
from tests.servers import PRODUCTS, Server, source_of
from tests.world import Clock

SEED = pytest.StashKey[int]()
STORIES = pytest.StashKey["Counter[str]"]()


# ---- seeds ------------------------------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    # A slow machine is no failure, and an example that failed once is found again by its seed, which is printed.
    hypothesis.settings.register_profile("dropoff", deadline=None, database=None)
    hypothesis.settings.load_profile("dropoff")
    config.stash[SEED] = int(os.environ.get("DROPOFF_SEED") or secrets.randbelow(2**32))
    config.stash[STORIES] = Counter()


def pytest_report_header(config: pytest.Config) -> str:
    return f"random agents: seed {config.stash[SEED]} (run the same again with DROPOFF_SEED={config.stash[SEED]})"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for what, count in sorted(config.stash[STORIES].items()):
        terminalreporter.write_line(f"random agents, seed {config.stash[SEED]}: {count:,} {what}")


@pytest.fixture(scope="session")
def fresh_seed(pytestconfig: pytest.Config) -> int:
    """A seed that is new in every session; it is printed, and DROPOFF_SEED gives it back."""
    return pytestconfig.stash[SEED]


@pytest.fixture(scope="session")
def stories(pytestconfig: pytest.Config) -> "Counter[str]":
    """How many runs and steps there were, for the last lines of the report."""
    return pytestconfig.stash[STORIES]


# ---- servers ----------------------------------------------------------------------------------------------------


def _serving(product: str) -> Iterator[Server]:
    server = Server(product)
    try:
        yield server.start()
        with server.client as client:
            assert _leaks(client) == [], f"keys that nobody explains are left on {product}"
    finally:
        server.stop()


def _leaks(client: redis.Redis) -> list[str]:
    """Every key on the server, whoever wrote it: under a test's prefix, and explained."""
    prefixes: set[str] = set()
    strangers: list[str] = []
    for name in client.scan_iter(count=1_000):
        test = re.match(r"t-[0-9a-f]{12}:\{p0\}:", name)
        if test:
            prefixes.add(name.partition(":")[0])
        else:
            strangers.append(f"{name}: not under the prefix of any test")
    return strangers + [wrong for prefix in sorted(prefixes) for wrong in unexplained(client, Keys(prefix=prefix))]


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Server]:
    yield from _serving("valkey")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    yield from _serving("redis")


@pytest.fixture(params=PRODUCTS)
def server(request: pytest.FixtureRequest) -> Server:
    """Either server in turn, shared by all tests: leave its settings alone."""
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture
def own_server() -> Iterator[Callable[..., Server]]:
    """Starts servers for this test alone, to be killed or set up as it likes: `own_server("redis", port="0")`."""
    servers: list[Server] = []

    def start(product: str, **settings: str) -> Server:
        servers.append(Server(product, **settings))
        return servers[-1].start()

    yield start
    left: list[str] = []
    for server in servers:
        try:
            with server.client as client:
                left += _leaks(client)
        except RedisError:  # the test has killed it, or closed it to us
            pass
        finally:
            server.stop()
    assert left == []


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    """Stands between that server and whoever comes by way of here; it listens from `start` on."""
    proxy = Proxy(server)
    yield proxy
    await proxy.close()


# ---- stores -----------------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    with counting() as server:
        yield server


@pytest.fixture
def keys() -> Keys:
    return Keys(prefix=f"t-{secrets.token_hex(6)}")


@pytest.fixture
async def empty_store(server: Server, keys: Keys, clock: Clock) -> AsyncIterator[RedisStore]:
    """A started store with nothing in it."""
    store = RedisStore(source_of(server), keys, clock)
    await store.start()
    yield store
    await store.close()
    with server.client as client:
        wrong = unexplained(client, keys)
        if wrong:  # told once, by this test; the search at the end is for what no test has seen
            client.delete(*client.scan_iter(match=f"{keys.base.partition(':')[0]}:*", count=1_000))
    assert wrong == []


@pytest.fixture
async def store(empty_store: RedisStore) -> RedisStore:
    """A started store that knows ANN, BOB, CAROL, OPS and QUEUE."""
    await world.furnish(empty_store)
    return empty_store


@pytest.fixture
async def look(server: Server, keys: Keys) -> AsyncIterator[Look]:
    """What is really in the store of this test."""
    look = Look(server.socket, keys)
    yield look
    await look.client.aclose()


@pytest.fixture
async def waiting_handoff(store: RedisStore) -> DroppedOff:
    """ANN has dropped it off, nobody has picked it up."""
    return await world.drop_off(store)


@pytest.fixture
async def picked(store: RedisStore, waiting_handoff: DroppedOff) -> PickedUp:
    """BOB holds what ANN dropped off."""
    return await world.pick_up(store, world.BOB)
