"""One death at a time: what a broker does when its store dies under it, and what the next broker finds.

The random kills (`test_kills.py`) show that nothing breaks; here is what an agent sees meanwhile.
"""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dropoff.errors import BrokerUnavailable
from dropoff.storage import lane, link
from dropoff.storage.connection import Source
from dropoff.storage.embedded import EmbeddedStore
from dropoff.storage.store import RedisStore
from tests import world
from tests.crash.conductor import (
    QUEUE,
    Broker,
    broker_in_a_folder,
    calling,
    furnish,
    kill_store,
    store_client,
    store_pid,
    until,
)
from tests.world import Clock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no embedded store on Windows")

WORK = {"queue": QUEUE, "payload": {"topic": "owls", "audience": "exec"}}
NOTHING = "Nothing of this call was stored."
UNKNOWN = "It is not known whether this was stored."


class Agent:
    """An identity that asks once and takes what it hears."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def ask(self, verb: str, body: dict[str, Any], key: str = "") -> dict[str, Any]:
        """The answer; a refusal of the broker's to reach its store is one too, and must be one of its two sentences."""
        response = await self._client.post(f"/v1/{verb}", json=body, headers={"Idempotency-Key": key} if key else {})
        answer: dict[str, Any] = response.json()
        if not response.is_success:
            assert (response.status_code, answer["code"]) == (503, "broker_unavailable"), answer
            assert (NOTHING in answer["detail"]) != (UNKNOWN in answer["detail"]), answer
        return answer

    async def insist(self, verb: str, body: dict[str, Any], key: str) -> dict[str, Any]:
        """Ask under one key until the broker answers."""
        answers: list[dict[str, Any]] = []

        async def ask() -> bool:
            answers.append(await self.ask(verb, body, key))
            return "code" not in answers[-1]

        await until(f"{verb} to be answered", ask)
        return answers[-1]


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    async with broker_in_a_folder() as broker:
        yield broker


@pytest.fixture
async def agents(broker: Broker) -> AsyncIterator[tuple[Agent, Agent]]:
    """One who drops off, one who picks up."""
    bearers = await furnish(broker, lease_s=300)
    async with calling(broker, bearers["dropper-1"]) as first, calling(broker, bearers["worker-1"]) as second:
        yield Agent(first), Agent(second)


async def _health(broker: Broker, path: str) -> int:
    async with httpx2.AsyncClient(base_url=broker.url, trust_env=False) as client:
        return (await client.get(path)).status_code


async def test_a_killed_store_is_started_again_by_the_broker_that_uses_it(broker: Broker, agents: tuple[Agent, Agent]):
    """The very next calls are answered, or refused with a true sentence; nobody has to do anything."""
    dropper, worker = agents
    before = await dropper.ask("drop_off", WORK, key="before")
    await kill_store(broker.data)

    after = await dropper.insist("drop_off", WORK, key="after")
    picked = await worker.insist("pick_up", {"queue": QUEUE}, key="first")
    done = await worker.insist("complete", {"lease_id": picked["lease_id"], "result": {"found": 3}}, key="done")

    assert picked["handoff_id"] == before["handoff_id"], "what was acknowledged before is the oldest after"
    assert done["status"] == "completed"
    assert after["receipt"]["durability"] == "fsynced"
    assert broker.starts == 1
    assert await _health(broker, "/readyz") == 200


async def test_agents_who_wait_get_their_work_although_the_store_was_killed(
    broker: Broker, agents: tuple[Agent, Agent]
):
    """The broker takes its subscription up again; who waited goes on waiting, and is woken."""
    dropper, worker = agents
    waiting = asyncio.create_task(worker.ask("pick_up", {"queue": QUEUE, "wait_seconds": 20}))
    async with store_client(broker.data) as client:
        await until("the worker to have looked", partial(client.zscore, "dropoff:{p0}:q:research:pickers", "worker-1"))
    await kill_store(broker.data)
    dropped = await dropper.insist("drop_off", WORK, key="after")

    picked = await waiting  # 20 s at most, and then without a handoff

    assert picked["handoff_id"] == dropped["handoff_id"]


async def test_a_store_that_cannot_come_back_is_said_and_service_returns_when_it_can(
    broker: Broker, agents: tuple[Agent, Agent]
):
    """Fails closed and truthfully, stays alive to say so, and needs nobody to recover."""
    dropper, worker = agents
    before = await dropper.ask("drop_off", WORK, key="before")
    manifest = broker.data / "store" / "appendonlydir" / "appendonly.aof.manifest"
    whole = manifest.read_bytes()
    manifest.write_bytes(b"this is no manifest\n")
    await kill_store(broker.data)

    first = await dropper.ask("drop_off", WORK, key="after")
    second = await dropper.ask("drop_off", WORK, key="after")
    assert first["code"] == "broker_unavailable"
    assert NOTHING in second["detail"], "this one was never sent"
    assert await _health(broker, "/readyz") == 503
    assert await _health(broker, "/livez") == 200

    manifest.write_bytes(whole)
    after = await dropper.insist("drop_off", WORK, key="after")

    again = await dropper.ask("drop_off", WORK, key="after")
    assert again["receipt"] == after["receipt"], "the same key is the same handoff, however often it was asked"
    picked = [await worker.ask("pick_up", {"queue": QUEUE}) for _ in range(2)]
    assert [one["handoff_id"] for one in picked] == [before["handoff_id"], after["handoff_id"]]
    assert (await worker.ask("pick_up", {"queue": QUEUE, "wait_seconds": 0}))["status"] == "nothing_to_pick_up"
    await broker.ready()


async def test_the_next_broker_adopts_the_store_of_a_killed_one(broker: Broker, agents: tuple[Agent, Agent]):
    """kill -9 of the broker: its store lives on, the next one finds it, and a lost answer is asked for again."""
    dropper, worker = agents
    dropped = await dropper.ask("drop_off", WORK, key="work")
    picked = await worker.ask("pick_up", {"queue": QUEUE}, key="pick")
    store = await store_pid(broker.data)

    await broker.kill()
    assert await store_pid(broker.data) == store
    await broker.start()
    await broker.ready()

    assert await store_pid(broker.data) == store
    assert (await dropper.ask("drop_off", WORK, key="work"))["receipt"] == dropped["receipt"]
    assert (await worker.ask("pick_up", {"queue": QUEUE}, key="pick"))["lease_id"] == picked["lease_id"]
    done = await worker.ask("complete", {"lease_id": picked["lease_id"], "result": {}})
    assert done["status"] == "completed"


async def test_a_broker_that_is_stopped_takes_its_store_along(broker: Broker, agents: tuple[Agent, Agent]):
    """SIGTERM is an orderly end: exit code 0, and the last user stops the store, also one that was adopted."""
    dropper, _ = agents
    dropped = await dropper.ask("drop_off", WORK, key="work")
    await broker.kill()
    await broker.start()
    await broker.ready()

    assert await broker.stop() == 0
    assert await store_pid(broker.data) is None

    await broker.start()
    await broker.ready()
    assert (await dropper.ask("drop_off", WORK, key="work"))["receipt"] == dropped["receipt"]


async def test_a_store_that_hangs_keeps_nobody_waiting_for_long(monkeypatch: pytest.MonkeyPatch):
    """A process that stands still closes nothing. What was sent is unknown, what comes after it was never sent; both
    are said in a bounded time, which this test makes short, and service returns with the store.
    """
    monkeypatch.setattr(lane, "ANSWER_S", 0.3)
    monkeypatch.setattr(link, "CONNECT_S", 0.3)
    async with AsyncExitStack() as leaving:
        folder = Path(leaving.enter_context(tempfile.TemporaryDirectory(prefix="dropoff-crash-")))
        embedded = EmbeddedStore(folder)
        leaving.push_async_callback(embedded.close)

        async def url() -> str:
            return "unix://" + await embedded.ensure()

        store = RedisStore(Source(url), clock_ms=Clock())
        leaving.push_async_callback(store.close)
        await store.start()
        await world.furnish(store)
        pid = await store_pid(folder)
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(BrokerUnavailable) as sent:
                await world.within("the first refusal", world.drop_off(store, key="work"), 5)
            with pytest.raises(BrokerUnavailable) as not_sent:
                await world.within("the second refusal", world.drop_off(store, key="other"), 5)
        finally:
            os.kill(pid, signal.SIGCONT)

        assert (sent.value.stored, not_sent.value.stored) == ("unknown", "nothing")
        await until("the store to answer again", partial(_answers, store))
        assert await world.drop_off(store, key="work")
        assert len(await store.handoffs(world.QUEUE.name, "waiting", 10)) == 1


async def _answers(store: RedisStore) -> bool:
    try:
        await store.ping()
    except BrokerUnavailable:
        return False
    return True
