"""Whether the process lives, and whether a call that came now would be answered."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from dropoff.doors.app import make_app
from dropoff.doors.http import routes
from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from tests.doors.http.house import WORK, Agent, Desk, house_on, opened, serving
from tests.doors.http.test_refusals import problem
from tests.servers import Server, source_of
from tests.world import until


@pytest.fixture
def server(own_server: Callable[..., Server]) -> Server:
    return own_server("valkey")  # to be killed


@pytest.fixture
async def desk(server: Server, keys: Keys) -> AsyncIterator[Desk]:
    store = RedisStore(source_of(server), keys)
    await store.start()
    async with opened(store, server, keys) as desk:
        yield desk
    await store.close()


async def ready(desk: Desk) -> bool:
    return (await desk.as_agent("").look("/readyz")).status_code == 200


async def test_it_lives_and_is_ready_without_a_credential(desk: Desk):
    nobody = desk.as_agent("")
    assert await nobody.seen("/livez") == {"status": "alive"}
    assert await nobody.seen("/readyz") == {"status": "ready"}
    assert (await nobody.http.head("/livez")).status_code == 200


async def test_a_probe_is_answered_by_whatever_name_it_comes(desk: Desk):
    """It calls each process by its address; what it is told is no secret from a foreign page either."""
    for path in ("/livez", "/readyz"):
        for headers in ({"host": "10.1.2.3:8787"}, {"host": ""}, {"origin": "https://evil.example"}):
            answer = await desk.as_agent("").http.get(path, headers=headers)
            assert answer.status_code == 200, (path, headers)
            assert not [name for name in answer.headers if name.startswith("access-control-")], "no page reads it"


async def test_without_its_store_it_lives_and_is_not_ready(desk: Desk, scout: Agent, server: Server):
    """Calls say what is certain; all is well again when the store is back."""
    nobody = desk.as_agent("")
    server.kill()
    assert (await nobody.look("/livez")).status_code == 200
    told = problem(await nobody.look("/readyz"), 503, "broker_unavailable")
    assert told["detail"] == "The store cannot be reached."
    answer = await scout.ask("/v1/drop_off", {"payload": WORK})
    assert problem(answer, 503, "broker_unavailable")["retry"] == "later"
    assert answer.headers["retry-after"] == "2"
    server.start()
    await until("the broker to be ready", lambda: ready(desk))
    await scout.done("/v1/drop_off", {"payload": WORK})


async def test_a_store_that_hangs_is_not_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(routes, "PING_S", 0.05)

    async def hang(self: RedisStore) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(RedisStore, "ping", hang)
    told = problem(await desk.as_agent("").look("/readyz"), 503, "broker_unavailable")
    assert "has not answered" in told["detail"]


async def test_what_else_stands_in_the_way_is_said(server: Server, keys: Keys):
    async def full() -> str:
        return "The disk is full."

    store = RedisStore(source_of(server), keys)
    await store.start()
    async with opened(store, server, keys, ready=full) as desk:
        told = problem(await desk.as_agent("").look("/readyz"), 503, "broker_unavailable")
    await store.close()
    assert told["detail"] == "The disk is full."


async def test_why_there_is_no_store_is_said_when_it_is_known(server: Server, keys: Keys):
    async def trouble() -> str:
        return "The store is not started: No space left on device."

    store = RedisStore(source_of(server), keys)
    await store.start()
    async with serving(make_app(house_on(store, ready=trouble))) as url:
        nobody = Agent(url, "")
        server.kill()
        told = problem(await nobody.look("/readyz"), 503, "broker_unavailable")
        await nobody.http.aclose()
    await store.close()
    assert told["detail"] == "The store is not started: No space left on device."


async def test_a_broker_that_takes_no_new_work_is_ready_and_says_so(server: Server, keys: Keys):
    """Out of a balancer nobody could finish the work whose end makes room."""
    store = RedisStore(source_of(server), keys)
    await store.start()
    async with opened(store, server, keys, room=lambda: "1 MB left; it keeps 256 MB free") as desk:
        told = await desk.as_agent("").seen("/readyz")
    await store.close()
    assert told == {"status": "ready", "says": "It takes no new work: 1 MB left; it keeps 256 MB free."}
