"""What payloads were rejected for: added up by whoever counts, bounded, and gone with the queue."""

from collections.abc import AsyncIterator

import pytest

from dropoff.core import limits
from dropoff.core.handoff import QueueName
from dropoff.core.rejections import MORE, Fault, Rejection
from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from tests.look import Look
from tests.servers import Server, source_of
from tests.world import OPS, QUEUE, START_MS, Clock, key_or_new

AUDIENCE = Fault("missing", "/properties/audience")
UNKNOWN = Fault("unknown", "/properties")


@pytest.fixture
async def elsewhere(server: Server, keys: Keys, clock: Clock) -> AsyncIterator[RedisStore]:
    """Another broker's store, on the same keys."""
    store = RedisStore(source_of(server), keys, clock)
    await store.start()
    yield store
    await store.close()


async def count(store: RedisStore, counts: dict[Fault, int], schema: str = QUEUE.schema, request: str = "") -> None:
    await store.count_rejections(QUEUE.name, schema, counts, key_or_new(request))


async def counted(store: RedisStore) -> list[tuple[str, Fault, int]]:
    return [(one.schema, Fault(one.what, one.place), one.count) for one in await store.rejections(QUEUE.name)]


async def schemas(store: RedisStore) -> list[str]:
    return list(dict.fromkeys(schema for schema, _, _ in await counted(store)))


async def test_two_brokers_add_up(store: RedisStore, elsewhere: RedisStore, clock: Clock):
    """Each place by itself, with when it was last; what is wrong most often stands first."""
    await count(store, {AUDIENCE: 40, UNKNOWN: 17})
    clock.advance(5_000)
    await count(elsewhere, {AUDIENCE: 1})

    assert await store.rejections(QUEUE.name) == (
        Rejection(schema="research@1", what="missing", place=AUDIENCE.place, count=41, last_ms=START_MS + 5_000),
        Rejection(schema="research@1", what="unknown", place=UNKNOWN.place, count=17, last_ms=START_MS),
    )


async def test_a_count_that_is_heard_again_counts_nothing(store: RedisStore, elsewhere: RedisStore, look: Look):
    """Also when other brokers have counted in between."""
    await count(store, {AUDIENCE: 1}, request="first")
    await count(elsewhere, {AUDIENCE: 1})

    async with look.nothing_changes():
        await count(store, {AUDIENCE: 1}, request="first")


async def test_what_is_remembered_of_requests_is_bounded(store: RedisStore, look: Look):
    for _ in range(40):
        await count(store, {AUDIENCE: 1})

    remembered = await look.client.hget(look.keys.of("rejected", queue=QUEUE.name), "@")
    assert remembered is not None
    assert len(remembered) <= 16 * 33
    assert await counted(store) == [("research@1", AUDIENCE, 40)]


async def test_nothing_is_counted_for_a_queue_that_is_gone(store: RedisStore, look: Look):
    """A broker may be late: a key that nobody would remove must not come of it."""
    await store.remove_queue(OPS, QUEUE)

    async with look.nothing_changes():
        await count(store, {AUDIENCE: 1})
    assert await counted(store) == []


async def test_the_counts_go_with_the_queue(store: RedisStore, look: Look):
    await count(store, {AUDIENCE: 1})

    await store.remove_queue(OPS, QUEUE)

    assert not [name for name in await look.everything() if name.startswith(f"q:{QUEUE.name}:")]


async def test_places_beyond_the_bound_are_counted_together(store: RedisStore):
    """Those that are counted apart go on to be; and a version has its own bound."""
    places = [Fault("type", f"/properties/{number:03}") for number in range(limits.REJECTED_PLACES_MAX + 5)]
    await count(store, dict.fromkeys(places, 2))
    await count(store, {places[0]: 1, places[-1]: 1})
    await count(store, {places[-1]: 1}, schema="research@2")

    found = await counted(store)

    assert found[0] == ("research@2", places[-1], 1)
    of_first = {fault: count for schema, fault, count in found if schema == "research@1"}
    assert of_first == dict.fromkeys(places[:-5], 2) | {places[0]: 3, MORE: 5 * 2 + 1}


async def test_the_versions_stay_in_which_something_was_wrong_last(store: RedisStore, clock: Clock):
    """A fourth takes the place of the one that was quiet for longest, and all of its counts go."""
    for version in (1, 2, 3, 1, 4):
        clock.advance(1_000)
        await count(store, {AUDIENCE: 1, UNKNOWN: 1}, schema=f"research@{version}")

    assert await schemas(store) == ["research@4", "research@3", "research@1"]
    clock.advance(1_000)
    await count(store, {AUDIENCE: 1}, schema="other@2")
    assert await schemas(store) == ["research@4", "other@2", "research@1"]


async def test_a_version_that_counts_stays_however_the_clock_goes(store: RedisStore, clock: Clock):
    """It is never taken out in favour of those that were counted by a clock that was ahead."""
    clock.advance(60_000)
    for version in range(limits.REJECTED_SCHEMAS_KEPT):
        await count(store, {AUDIENCE: 1}, schema=f"research@{version + 2}")
    clock.advance(-60_000)
    await count(store, {AUDIENCE: 1})

    assert "research@1" in await schemas(store)
    assert len(await schemas(store)) == limits.REJECTED_SCHEMAS_KEPT


async def test_a_queue_that_nobody_knows_has_rejected_nothing(store: RedisStore):
    assert await store.rejections(QueueName("nobody-s")) == ()
