"""What is read before a queue's contract changes: what nobody holds yet, and who has been picking up."""

import msgspec
import pytest

from dropoff.core import limits
from dropoff.core.answers import Pick
from dropoff.core.handoff import HandoffId, QueueName
from dropoff.storage.store import RedisStore
from tests.look import Look
from tests.world import (
    ANN,
    BOB,
    CAROL,
    OPS,
    QUEUE,
    Clock,
    a_queue,
    complete,
    drop_off,
    hand_back,
    judge,
    live,
    pick_up,
    unknown_id,
    work,
)


async def dropped(store: RedisStore, **how: object) -> HandoffId:
    return (await drop_off(store, **how)).receipt.handoff_id  # pyright: ignore[reportArgumentType]  (a test's own words)


async def test_what_nobody_holds_comes_in_the_order_in_which_it_comes_out(store: RedisStore, look: Look):
    """Waiting, then scheduled, then held; leased and final ones are not among it. And looking changes nothing."""
    late, soon = await dropped(store, delay_ms=9_000), await dropped(store, delay_ms=5_000)
    leased = await dropped(store)
    done = await dropped(store)
    await pick_up(store)
    await complete(store, (await pick_up(store)).lease)
    first, second = await dropped(store), await dropped(store)
    queue = (await store.queues(fresh=True))[QUEUE.name]
    checked = await store.put_queue(OPS, msgspec.structs.replace(queue, approval=True))
    held = await dropped(store, queue=checked)

    async with look.nothing_changes():
        assert await store.unleased(QUEUE.name, 10) == (first, second, soon, late, held)
        assert await store.unleased(QUEUE.name, 3) == (first, second, soon)
        assert await store.unleased(QUEUE.name, 1) == (first,)
        assert await store.unleased(QueueName("elsewhere"), 10) == ()
    assert not {leased, done} & {*await store.unleased(QUEUE.name, 10)}


async def test_the_payload_is_told_of_what_nobody_holds_at_that_moment(store: RedisStore, look: Look):
    """What was taken, has ended or is unknown since its id was read, is left out."""
    leased = await dropped(store, payload=b'{"n":1}')
    waiting = await dropped(store, payload=b'{"n":2}')
    scheduled = await dropped(store, payload=b'{"n":3}', delay_ms=5_000)
    ids = (leased, waiting, scheduled, unknown_id())
    await pick_up(store)

    async with look.nothing_changes():
        assert await store.payloads(ids) == {waiting: b'{"n":2}', scheduled: b'{"n":3}'}


async def test_who_picked_up_lately_is_known_from_what_is_leased_or_has_ended(
    store: RedisStore, clock: Clock, look: Look
):
    """Of each agent and schema the newest pick, the newest of all first; who handed back is known as well."""
    for _ in range(4):
        await drop_off(store)
    await complete(store, (await pick_up(store, BOB)).lease)
    await live(store, clock, 10_000)
    await hand_back(store, (await pick_up(store, CAROL)).lease, "reject", CAROL, reason="no")
    await live(store, clock, 5_000)
    await pick_up(store, BOB)
    await live(store, clock, 2_000)

    async with look.nothing_changes():
        assert await store.picked_lately(QUEUE.name) == (
            Pick(agent=BOB.agent, schema="research@1", ago_ms=2_000),
            Pick(agent=CAROL.agent, schema="research@1", ago_ms=7_000),
        )
        assert await store.picked_lately(QueueName("elsewhere")) == ()


async def test_who_handed_back_is_told_beside_who_came_after(store: RedisStore, clock: Clock):
    await drop_off(store)
    await hand_back(store, (await pick_up(store, CAROL)).lease, "release", CAROL, reason="busy")
    await live(store, clock, 3_000)
    await complete(store, (await pick_up(store, BOB)).lease)

    picks = await store.picked_lately(QUEUE.name)

    assert [(pick.agent, pick.ago_ms) for pick in picks] == [(BOB.agent, 0), (CAROL.agent, 3_000)]


async def test_what_was_picked_up_under_another_version_is_told_apart(store: RedisStore, clock: Clock):
    """A handoff keeps the version that it was judged by, whatever its queue has since."""
    await drop_off(store)
    await pick_up(store, BOB)
    await live(store, clock, 1_000)
    other = await store.put_queue(OPS, a_queue("drafts", schema="draft@1"))
    await store.drop_off(ANN, other, work(queue=other))
    await pick_up(store, BOB, queue=other)

    assert [pick.schema for pick in await store.picked_lately(QUEUE.name)] == ["research@1"]
    assert [pick.schema for pick in await store.picked_lately(other.name)] == ["draft@1"]


async def test_a_pick_is_told_for_an_hour(store: RedisStore, clock: Clock):
    await drop_off(store)
    await complete(store, (await pick_up(store, BOB)).lease)
    await live(store, clock, limits.PICKED_LATELY_MS)
    assert [pick.agent for pick in await store.picked_lately(QUEUE.name)] == [BOB.agent]

    clock.advance(1)

    assert await store.picked_lately(QUEUE.name) == ()


async def test_only_the_newest_of_each_kind_are_looked_at(
    store: RedisStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    """However much a queue has been through."""
    for by in (CAROL, BOB):
        await drop_off(store)
        await complete(store, (await pick_up(store, by)).lease, by)
        await live(store, clock, 1_000)
    monkeypatch.setattr(limits, "PICKS_READ", 1)

    assert [pick.agent for pick in await store.picked_lately(QUEUE.name)] == [BOB.agent]


async def test_nobody_picked_up_what_an_operator_has_denied(store: RedisStore):
    queue = await store.put_queue(OPS, a_queue("checked", approval=True))
    held = (await store.drop_off(ANN, queue, work(queue=queue))).receipt.handoff_id
    await judge(store, held, "deny")

    assert await store.picked_lately(queue.name) == ()
