"""A broker that stops keeps nobody waiting: each waiter gets the answer that it would have got in the end."""

import asyncio

import pytest

from dropoff.core.handoff import QueueName
from dropoff.core.requests import Check, DropOff, PickUp
from tests.fundamentals.conftest import House
from tests.world import until, within


@pytest.mark.parametrize("who", ["picks up", "checks"])
async def test_who_waits_is_let_go_when_the_broker_stops(house: House, who: str):
    """For work, and for an outcome."""
    topic = QueueName("research")
    if who == "picks up":
        waiting = asyncio.create_task(house.broker.pick_up(house.writer, PickUp(queue="research", wait_seconds=30)))
    else:
        sent = await house.broker.drop_off(
            house.scout, DropOff(queue="research", payload={"topic": "heat pumps", "audience": "exec"})
        )
        topic = sent.receipt.handoff_id
        check = Check(handoff_id=sent.receipt.handoff_id, wait_seconds=30)
        waiting = asyncio.create_task(house.broker.check(house.scout, check))

    async def waits() -> bool:
        return house.store.waiting_here(topic) == 1

    await until("somebody waits", waits)
    house.store.end_waits()

    found = await within("the answer", waiting)
    assert getattr(found, "state", None) == (None if who == "picks up" else "waiting")
