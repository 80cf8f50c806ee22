"""A store at its memory limit: it takes no new work, and lets go of what it has."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from redis.exceptions import OutOfMemoryError

from dropoff.broker import Broker
from dropoff.contracts.gate import Gates
from dropoff.core.answers import DroppedOff
from dropoff.core.requests import Complete, DropOff, Next, Withdraw
from dropoff.errors import BrokerUnavailable, StorageFull
from dropoff.storage.keys import Keys
from dropoff.storage.scripts import script
from dropoff.storage.store import RedisStore
from tests import world
from tests.look import Look
from tests.proxy import Proxy
from tests.servers import PRODUCTS, Server, source_of
from tests.world import ANN, CAROL, OPS, QUEUE, Clock

BIG = b'{"topic":"' + b"o" * 50_000 + b'"}'


@pytest.fixture(params=PRODUCTS)
def server(request: pytest.FixtureRequest, own_server: Callable[..., Server]) -> Server:
    return own_server(request.param)  # its limit is moved


@pytest.fixture
async def limited(server: Server, keys: Keys, clock: Clock) -> AsyncIterator[RedisStore]:
    """A furnished store with 2 MB more than it needs."""
    store = RedisStore(source_of(server), keys, clock)
    await store.start()
    await world.furnish(store)
    move_limit(server, 2 << 20)
    yield store
    await store.close()


def move_limit(server: Server, more: int) -> None:
    """Let the server have so much more than it uses now; less than nothing puts it far above its limit."""
    with server.client as client:
        used: Any = client.info("memory")
        client.config_set("maxmemory", used["used_memory"] + more)


async def fill(store: RedisStore) -> list[DroppedOff]:
    dropped: list[DroppedOff] = []
    for _ in range(1_000):
        try:
            dropped.append(await world.drop_off(store, payload=BIG))
        except StorageFull:
            return dropped
    pytest.fail("it was never full")


async def test_at_its_memory_limit_a_store_takes_no_new_work_and_drains(
    limited: RedisStore, server: Server, keys: Keys, look: Look
):
    """Every verb that ends or goes on with work passes until none is left; given room, it takes work again."""
    dropped = await fill(limited)
    assert len(dropped) > 10

    async with look.nothing_changes():
        with pytest.raises(StorageFull) as refusal:
            await world.drop_off(limited, key="later")
        assert "its memory limit is reached" in str(refusal.value)
        assert "Nothing of this call was stored." in str(refusal.value)
        with pytest.raises(StorageFull):
            await limited.put_schema(world.OPS, "more", world.SCHEMA_HASH, world.SCHEMA)

    move_limit(server, -(1 << 20))
    await world.withdraw(limited, dropped.pop().receipt.handoff_id)
    for turn in range(len(dropped) + 1):  # one comes back once
        picked = await world.pick_up(limited)
        await world.extend(limited, picked.lease, checkpoint=b'{"half":true}')
        match turn % 3:
            case 0 if turn == 0:
                await world.hand_back(limited, picked.lease, "release")
            case 1:
                await world.hand_back(limited, picked.lease, "reject", reason="no")
            case _:
                await world.complete(limited, picked.lease)
    states = {await world.state(limited, one.receipt.handoff_id) for one in dropped}
    assert states == {"completed", "rejected"}

    with pytest.raises(StorageFull):
        await world.drop_off(limited, key="later")
    move_limit(server, 2 << 20)
    after = await world.drop_off(limited, key="later")
    assert (await world.pick_up(limited)).lease.handoff_id == after.receipt.handoff_id


async def test_what_was_heard_before_the_memory_ran_full_is_answered_again(
    limited: RedisStore, server: Server, look: Look
):
    """By a step that only reads, which the server runs at its limit; what is new is refused as ever."""
    broker = Broker(limited, Gates(), secrets.token_bytes)
    work, onward = DropOff(queue=QUEUE.name, payload={}), Next(queue=QUEUE.name, payload={})
    first = await broker.drop_off(ANN, work, key="k")
    both: list[Complete] = []
    for _ in range(2):
        await broker.drop_off(ANN, work)
        both.append(Complete(lease_id=(await world.pick_up(limited, CAROL)).lease.id, next=onward))
    withdrawn = [(await broker.drop_off(ANN, work)).receipt.handoff_id for _ in range(2)]
    for id in withdrawn:
        await broker.withdraw(ANN, Withdraw(handoff_id=id))
    completed, put_back = await broker.complete(CAROL, both[0]), await broker.resubmit(OPS, withdrawn[0])
    move_limit(server, -(1 << 20))

    async with look.nothing_changes():
        assert (await broker.drop_off(ANN, work, key="k")).receipt == first.receipt
        assert await broker.complete(CAROL, both[0]) == msgspec.structs.replace(completed, repeated=True)
        assert (await broker.resubmit(OPS, withdrawn[0])).receipt == put_back.receipt
        for asked in (
            broker.drop_off(ANN, work, key="other"),
            broker.complete(CAROL, both[1]),
            broker.resubmit(OPS, withdrawn[1]),
        ):
            with pytest.raises(StorageFull):
                await asked


async def test_a_full_store_says_nothing_of_a_step_that_may_have_run_before(
    limited: RedisStore, monkeypatch: pytest.MonkeyPatch
):
    """Asked again after a lost answer, it did not run this time; the first time it may have."""

    async def lost_and_then_full(*_: object) -> None:
        raise BrokerUnavailable(stored="unknown") from OutOfMemoryError("command not allowed")

    monkeypatch.setattr(limited._commit, "ask", lost_and_then_full)
    with pytest.raises(BrokerUnavailable) as refusal:
        await world.drop_off(limited)
    assert refusal.value.stored == "unknown"


async def test_a_broker_starts_on_a_full_store_and_can_revoke(limited: RedisStore, server: Server, keys: Keys):
    """Its proof of rights adds nothing, and a revocation needs no room."""
    await fill(limited)
    move_limit(server, -(1 << 20))
    second = RedisStore(source_of(server), keys, Clock())
    await second.start()
    await world.change(second, ANN, "revoked")
    await world.complete(second, (await world.pick_up(second)).lease)
    await second.close()


async def test_a_step_that_has_run_is_not_denied_by_a_store_that_is_full_and_has_lost_its_scripts_since(
    limited: RedisStore, server: Server, keys: Keys, clock: Clock, look: Look
):
    """Its answer was lost, its second try found no script, and its third no room: that says nothing of the first."""
    proxy = Proxy(server)
    here = RedisStore(await proxy.start(), keys, clock)
    await here.start()
    try:
        proxy.cut("after", script("drop_off").sha)
        still = proxy.stall("before", script("drop_off").sha, skip=1)
        asked = asyncio.ensure_future(world.drop_off(here))
        await still.met()
        await look.client.script_flush()
        move_limit(server, -(1 << 20))
        proxy.go_on()
        with pytest.raises(BrokerUnavailable) as refusal:
            await world.within("the answer", asked)
    finally:
        await here.close()
        await proxy.close()

    assert refusal.value.stored == "unknown"
    assert [entry.step for entry in await limited.entries(at_most=1_000) if entry.handoff] == ["drop_off"]
