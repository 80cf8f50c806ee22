"""A result goes in by the result schema that its queue has at that moment, and by no other."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import pytest

from dropoff.core.answers import Completed, PickedUp
from dropoff.core.caller import Caller
from dropoff.core.lifecycle import COMPLETED, LEASED
from dropoff.core.queue import Queue
from dropoff.core.store import Stale, Store
from dropoff.errors import AlreadySettled, LeaseUnknown
from dropoff.storage.store import RedisStore
from tests.look import Look
from tests.world import (
    BOB,
    CAROL,
    OPS,
    QUEUE,
    SCHEMA_HASH,
    UPKEEP,
    a_queue,
    complete,
    drop_off,
    forward,
    pick_up,
    state,
)

OTHER: Final = "0" * 64


async def forward_it(store: Store, picked: PickedUp, judged_by: str, by: Caller = BOB) -> Completed:
    return await forward(store, picked.lease, by, queue=QUEUE, judged_by=judged_by)


async def complete_it(store: Store, picked: PickedUp, judged_by: str, by: Caller = BOB) -> Completed:
    return await complete(store, picked.lease, by, judged_by=judged_by)


Ending = Callable[..., Awaitable[Completed]]
both_endings: Final = pytest.mark.parametrize("end", [complete_it, forward_it])


async def judged(store: RedisStore) -> Queue:
    return await store.put_queue(UPKEEP, a_queue("judged", result_schema="research@1", result_schema_hash=SCHEMA_HASH))


async def held_in(store: RedisStore, queue: Queue) -> PickedUp:
    await drop_off(store, queue=queue)
    return await pick_up(store, queue=queue)


async def edited(store: RedisStore, queue: Queue, **settings: Any) -> Queue:
    return await store.put_queue(OPS, msgspec.structs.replace(queue, **settings))


@both_endings
async def test_a_result_that_was_judged_by_the_schema_of_now_is_recorded(store: RedisStore, end: Ending):
    picked = await held_in(store, await judged(store))

    await end(store, picked, SCHEMA_HASH)

    assert await state(store, picked.handoff.id) == COMPLETED


@both_endings
@pytest.mark.parametrize("judged_by", ["", OTHER], ids=["none", "another"])
async def test_judged_by_another_schema_or_by_none_nothing_is_recorded(
    store: RedisStore, look: Look, end: Ending, judged_by: str
):
    """The broker judges anew, and the lease goes on meanwhile."""
    picked = await held_in(store, await judged(store))

    async with look.nothing_changes():
        with pytest.raises(Stale):
            await end(store, picked, judged_by)

    assert await state(store, picked.handoff.id) == LEASED
    await end(store, picked, SCHEMA_HASH)


@both_endings
async def test_it_counts_what_the_queue_has_at_completion_and_not_what_it_had_at_pick_up(
    store: RedisStore, look: Look, end: Ending
):
    """Given, changed and taken away while it is held."""
    queue = await store.put_queue(UPKEEP, a_queue("judged"))
    picked = await held_in(store, queue)
    for hash, before in ((SCHEMA_HASH, ""), (OTHER, SCHEMA_HASH), ("", OTHER)):
        queue = await edited(store, queue, result_schema_hash=hash)
        async with look.nothing_changes():
            with pytest.raises(Stale):
                await end(store, picked, before)

    await end(store, picked, "")


@both_endings
async def test_other_settings_do_not_stop_a_result(store: RedisStore, end: Ending):
    """It is not the revision that counts: a queue that is edited all day long must not hold up who is finished."""
    queue = await judged(store)
    picked = await held_in(store, queue)
    await edited(store, queue, purpose="other", state="draining")

    await end(store, picked, SCHEMA_HASH)


@both_endings
@pytest.mark.parametrize("judged_by", [SCHEMA_HASH, OTHER, ""], ids=["of_before", "of_now", "none"])
async def test_the_same_completion_again_is_the_same_success_whatever_the_queue_has_by_now(
    store: RedisStore, look: Look, end: Ending, judged_by: str
):
    queue = await judged(store)
    picked = await held_in(store, queue)
    first = await end(store, picked, SCHEMA_HASH)
    await edited(store, queue, result_schema_hash=OTHER)

    async with look.nothing_changes():
        assert await end(store, picked, judged_by) == msgspec.structs.replace(first, repeated=True)


@both_endings
async def test_who_does_not_hold_it_hears_that_and_not_how_it_was_judged(store: RedisStore, look: Look, end: Ending):
    """`stale` would send a stranger's broker to judge for it again and again."""
    picked = await held_in(store, await judged(store))
    async with look.nothing_changes():
        with pytest.raises(LeaseUnknown):
            await end(store, picked, OTHER, CAROL)
    await complete(store, picked.lease, result=b"{}", judged_by=SCHEMA_HASH)

    async with look.nothing_changes():
        with pytest.raises(AlreadySettled):
            await end(store, picked, OTHER)


async def test_mending_puts_the_result_schema_back(store: RedisStore, look: Look):
    """Until then nothing goes in: settings that are lost must not let through what nobody has judged."""
    queue = await judged(store)
    picked = await held_in(store, queue)
    await look.client.delete(store.keys.of("config", queue=queue.name))
    async with look.nothing_changes():
        with pytest.raises(Stale):
            await complete(store, picked.lease, judged_by=SCHEMA_HASH)

    await store.mend()

    assert (await store.queues(fresh=True))[queue.name].result_schema == "research@1"
    async with look.nothing_changes():
        with pytest.raises(Stale):
            await complete(store, picked.lease, judged_by="")
    await complete(store, picked.lease, judged_by=SCHEMA_HASH)
