"""A broker refuses by the contract of now, also where another broker has changed it since this one last looked.

What fits an old contract and not the new one a step finds out. What is refused comes to no step: it is refused only
once the broker has looked whether it remembers right.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest

from dropoff.broker import Broker, NothingToPickUp
from dropoff.contracts.gate import Gates
from dropoff.core.answers import PickedUp
from dropoff.core.caller import Caller
from dropoff.core.deciding import current
from dropoff.core.handoff import QueueName
from dropoff.core.requests import Complete, DropOff, Next, PickUp
from dropoff.errors import Frozen, NextInvalid, PayloadInvalid, PayloadTooLarge, Unauthenticated
from dropoff.storage.store import RedisStore
from tests.fundamentals.conftest import BRIEF, House
from tests.look import Look
from tests.servers import Server, source_of
from tests.world import until, within

OLD = {"topic": "heat pumps", "audience": "exec"}
NEW = {**OLD, "length": "a page"}
WIDER = {**BRIEF, "properties": {**BRIEF["properties"], "length": {"type": "string"}}}
LARGE = {**OLD, "topic": "heat pumps " * 20}


@pytest.fixture
async def elsewhere(house: House, server: Server) -> AsyncIterator[Broker]:
    """Another broker on the same store, which has seen how everything was."""
    store = RedisStore(source_of(server), house.store.keys, house.clock)
    await store.start()
    yield Broker(store, Gates(), secrets.token_bytes)
    await store.close()


@pytest.fixture
async def wider(house: House) -> None:
    await house.operations.push_schema(house.operator, "brief", WIDER)


async def moves(house: House, ref: str = "brief@2") -> None:
    await house.operations.edit_queue(house.operator, "research", {"schema": ref}, incompatible=True)


async def test_what_fits_the_new_version_is_taken_everywhere_at_once(house: House, elsewhere: Broker, wider: None):
    with pytest.raises(PayloadInvalid, match="brief@1"):
        await elsewhere.drop_off(house.scout, DropOff(payload=NEW))
    await moves(house)

    await elsewhere.drop_off(house.scout, DropOff(payload=NEW))

    picked = await house.takes(house.writer)
    assert picked
    assert picked.handoff.schema == "brief@2"


async def test_so_is_what_comes_next(house: House, elsewhere: Broker, wider: None):
    await house.operations.grant(house.operator, "writer", ["drop:research"])
    writer = await current(house.store, house.writer)
    await elsewhere.drop_off(house.scout, DropOff(payload=OLD))
    picked = await house.takes(writer)
    assert picked
    complete = Complete(lease_id=picked.lease.id, next=Next(queue="research", payload=NEW))
    with pytest.raises(NextInvalid):
        await elsewhere.complete(writer, complete)
    await moves(house)

    done = await elsewhere.complete(writer, complete)

    assert done.next_id


async def test_what_no_longer_fits_is_refused_everywhere_at_once(house: House, elsewhere: Broker, wider: None):
    await moves(house)
    await elsewhere.drop_off(house.scout, DropOff(payload=NEW))
    await moves(house, "brief@1")

    with pytest.raises(PayloadInvalid, match="brief@1"):
        await elsewhere.drop_off(house.scout, DropOff(payload=NEW))


async def test_a_larger_limit_holds_everywhere_at_once(house: House, elsewhere: Broker):
    await house.operations.edit_queue(house.operator, "research", {"max_bytes": 100})
    with pytest.raises(PayloadTooLarge):
        await elsewhere.drop_off(house.scout, DropOff(payload=LARGE))
    await house.operations.edit_queue(house.operator, "research", {"max_bytes": 1_000})

    await elsewhere.drop_off(house.scout, DropOff(payload=LARGE))


async def test_who_is_revoked_hears_nothing_of_a_contract(house: House, elsewhere: Broker):
    """Nor is what it brought counted among what agents get wrong."""
    await elsewhere.drop_off(house.scout, DropOff(payload=OLD))
    await house.operations.revoke(house.operator, "scout")

    with pytest.raises(Unauthenticated):
        await elsewhere.drop_off(house.scout, DropOff(payload={}))

    await elsewhere.close()
    assert await house.store.rejections(QueueName("research")) == ()


async def test_a_contract_that_is_lost_matters_to_nobody_who_has_moved_on(
    house: House, elsewhere: Broker, wider: None, look: Look
):
    old = (await elsewhere.store.queues())[QueueName("research")]
    await moves(house)
    await look.client.delete(house.store.keys.of("schema", hash=old.schema_hash))

    await elsewhere.drop_off(house.scout, DropOff(payload=NEW))


async def test_who_waits_is_not_kept_from_work_by_one_who_cannot_read_it(house: House, wider: None):
    """The old worker came first, and sleeps on."""
    await moves(house)

    def waits(agent: Caller, accepts: str, seconds: int) -> "asyncio.Task[PickedUp | NothingToPickUp]":
        request = PickUp(queue="research", wait_seconds=seconds, accepts=(accepts,))
        return asyncio.create_task(house.broker.pick_up(agent, request))

    old, new = waits(house.writer, "brief@1", 30), waits(house.rival, "brief@2", 5)

    async def both_wait() -> bool:
        return house.store.waiting_here(QueueName("research")) == 2

    await until("both to wait", both_wait)
    await house.broker.drop_off(house.scout, DropOff(payload=NEW))

    assert isinstance(await within("the new worker to have it", new), PickedUp)
    old.cancel()


async def test_a_frozen_agent_hears_that_it_is_frozen_whatever_it_brings(house: House, look: Look):
    """Not what is wrong with its payload or its result, and not that it should try again in a few seconds."""
    await house.operations.edit_queue(house.operator, "research", {"result_schema": "brief"})
    await house.broker.drop_off(house.scout, DropOff(payload=OLD))
    picked = await house.takes(house.writer)
    assert picked
    for who in ("scout", "writer"):
        await house.operations.freeze(house.operator, who)

    async with look.nothing_changes():
        with pytest.raises(Frozen):
            await house.broker.drop_off(house.scout, DropOff(payload=NEW))
        with pytest.raises(Frozen):
            await house.broker.drop_off(house.scout, DropOff(queue="nowhere", payload=OLD))
        with pytest.raises(Frozen):
            await house.broker.complete(house.writer, Complete(lease_id=picked.lease.id, result=NEW))
