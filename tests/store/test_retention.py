"""Retention: what ended is kept for as long as its queue says; then all that anybody wrote into it is gone."""

import asyncio
import json

import msgspec
import pytest

from dropoff.core import limits
from dropoff.core.answers import DroppedOff
from dropoff.core.handoff import HandoffId, digest_of
from dropoff.core.lifecycle import COMPLETED, DEAD, EXPIRED, REJECTED, WITHDRAWN
from dropoff.core.queue import Queue
from dropoff.errors import HandoffUnknown
from dropoff.storage.store import RedisStore
from dropoff.upkeep.rounds import go_round
from tests.look import Look
from tests.world import (
    ANN,
    BOB,
    OPS,
    UPKEEP,
    Clock,
    a_queue,
    complete,
    drop_off,
    extend,
    hand_back,
    live,
    pick_up,
    unknown_id,
    withdraw,
    work,
)

KEPT_MS = limits.RETENTION_MS_MIN
ENDS = (COMPLETED, REJECTED, DEAD, EXPIRED, WITHDRAWN)

# What agents wrote, each found nowhere else: into the payload, the note, the progress, a checkpoint, the result.
WORDS = (
    "owls-in-the-payload",
    "hush-in-the-note",
    "half-in-the-progress",
    "page-in-the-checkpoint",
    "found-in-the-result",
)
PAYLOAD, NOTE, PROGRESS, CHECKPOINT, RESULT = WORDS
SALT = "5a17" * 8


@pytest.fixture
async def forgetful(store: RedisStore) -> Queue:
    """It keeps what ended for a minute, and lets nothing wait for longer than that."""
    settings = {"retention_ms": KEPT_MS, "expires_ms": KEPT_MS, "attempts_max": 1}
    return await store.put_queue(UPKEEP, a_queue("forgetful", **settings))


async def ended(store: RedisStore, queue: Queue, clock: Clock, end: str) -> HandoffId:
    """A handoff that has just come to this end, with all that can be written into it."""
    payload = json.dumps({"topic": PAYLOAD}).encode()
    new = work(queue=queue, payload=payload, note=NOTE)
    new = msgspec.structs.replace(new, salt=SALT, digest=digest_of(SALT, payload))
    id = (await store.drop_off(ANN, queue, new)).receipt.handoff_id
    if end == EXPIRED:
        await live(store, clock, KEPT_MS)
        assert await store.expire(id)
        return id
    picked = await pick_up(store, queue=queue)
    await extend(store, picked.lease, progress=PROGRESS, checkpoint=json.dumps(CHECKPOINT).encode())
    match end:
        case "completed":
            await complete(store, picked.lease, result=json.dumps(RESULT).encode())
        case "rejected":
            await hand_back(store, picked.lease, "reject", reason="no")
        case "dead":
            await hand_back(store, picked.lease, "retry", reason="no")
        case _:
            await withdraw(store, id)
            await hand_back(store, picked.lease, "release")
    assert (await store.check(ANN, id, may_inspect=False)).state == end
    return id


any_end = pytest.mark.parametrize("end", ENDS)


@any_end
async def test_what_ended_long_ago_is_gone_with_all_that_was_written_into_it(
    store: RedisStore, forgetful: Queue, look: Look, clock: Clock, end: str
):
    """Record, payload, salt, result, checkpoint: no key of the store holds any of it, and no index names it."""
    id = await ended(store, forgetful, clock, end)
    record = (await look.everything())[f"q:{forgetful.name}:h:{id}"]
    secrets = [word for word in (*WORDS, SALT) if word in str(record)]
    assert len(secrets) == {COMPLETED: 6, EXPIRED: 3}.get(end, 5), "so that there is something to forget"
    await live(store, clock, KEPT_MS)

    assert await store.erase(id)

    left = await look.everything()
    of_queue = {name for name in left if name.startswith(f"q:{forgetful.name}:") and "minute" not in name}
    assert of_queue <= {
        f"q:{forgetful.name}:{kind}" for kind in ("config", "pickers", "versions", f"ready:{forgetful.version}")
    }
    assert not left.get(f"q:{forgetful.name}:ready:{forgetful.version}")
    told = str({name: content for name, content in left.items() if name != "ledger"})
    assert [word for word in [*secrets, record["digest"]] if word in told] == []
    assert [word for word in secrets if word in str(left["ledger"])] == []


@any_end
async def test_the_ledger_goes_on_saying_what_happened_and_that_it_was_forgotten(
    store: RedisStore, forgetful: Queue, clock: Clock, end: str
):
    """Nothing before is changed, and the last entry names the one before it."""
    id = await ended(store, forgetful, clock, end)
    chain = await store.entries(handoff_id=id)
    await live(store, clock, KEPT_MS)

    receipt = await store.erase(id)

    assert receipt is not None
    of_it = [entry for entry in await store.entries(at_most=1_000) if entry.handoff == id]
    assert tuple(of_it[:-1]) == chain
    erased = of_it[-1]
    assert (erased.id, erased.step, erased.from_, erased.to) == (receipt.entry, "erased", end, "")
    assert (erased.actor, erased.prev, int(erased.n)) == (UPKEEP.agent, chain[-1].id, len(chain) + 1)
    assert erased.digest == chain[0].digest


@any_end
async def test_nothing_is_forgotten_before_its_time(
    store: RedisStore, forgetful: Queue, look: Look, clock: Clock, end: str
):
    """Whoever asks for it: the step looks at the clock itself."""
    id = await ended(store, forgetful, clock, end)
    await live(store, clock, KEPT_MS - 1)

    async with look.nothing_changes():
        assert await store.erase(id) is None
        assert await store.erase(id, OPS) is None
        assert await go_round(store) == []


@any_end
async def test_a_round_forgets_what_ended_long_ago_and_nothing_else(
    store: RedisStore, forgetful: Queue, look: Look, clock: Clock, end: str
):
    id = await ended(store, forgetful, clock, end)
    await live(store, clock, KEPT_MS)
    await drop_off(store, queue=forgetful)
    later = await pick_up(store, queue=forgetful)
    await complete(store, later.lease)

    assert [receipt.handoff_id for receipt in await go_round(store)] == [id]

    async with look.nothing_changes():
        assert await go_round(store) == []
        assert await store.erase(id) is None
    assert (await store.check(ANN, later.handoff.id, may_inspect=False)).state == COMPLETED


async def test_brokers_that_forget_at_the_same_moment_forget_once(store: RedisStore, forgetful: Queue, clock: Clock):
    id = await ended(store, forgetful, clock, COMPLETED)
    await live(store, clock, KEPT_MS)

    erased = await asyncio.gather(*(store.erase(id) for _ in range(5)))

    assert len([receipt for receipt in erased if receipt]) == 1


@pytest.mark.parametrize("where", ["waiting", "scheduled", "held", "leased"])
async def test_what_goes_on_is_never_forgotten(store: RedisStore, look: Look, clock: Clock, where: str):
    """However long it takes: retention counts from the end."""
    queue = await store.put_queue(UPKEEP, a_queue("long", retention_ms=0, approval=where == "held"))
    dropped = await drop_off(store, queue=queue, delay_ms=10_000_000 if where == "scheduled" else 0)
    if where == "leased":
        await pick_up(store, queue=queue)
    clock.advance(limits.EXPIRES_MS_MAX)

    async with look.nothing_changes():
        assert await store.erase(dropped.receipt.handoff_id) is None
        assert await store.erase(dropped.receipt.handoff_id, OPS) is None
        assert await store.erase(unknown_id()) is None


async def test_what_is_forgotten_is_unknown(store: RedisStore, forgetful: Queue, look: Look, clock: Clock):
    """To its sender, its holder and operators alike."""
    id = await ended(store, forgetful, clock, COMPLETED)
    await live(store, clock, KEPT_MS)
    await store.erase(id)

    async with look.nothing_changes():
        for by in (ANN, BOB, OPS):
            with pytest.raises(HandoffUnknown):
                await store.check(by, id, may_inspect=True)
        with pytest.raises(HandoffUnknown):
            await withdraw(store, id)


async def test_a_queue_keeps_what_ended_for_thirty_days_unless_told(
    store: RedisStore, waiting_handoff: DroppedOff, look: Look, clock: Clock
):
    picked = await pick_up(store)
    await complete(store, picked.lease)
    clock.advance(limits.RETENTION_MS_DEFAULT - 1)
    async with look.nothing_changes():
        assert await store.erase(picked.handoff.id) is None
    clock.advance(1)

    assert await store.erase(picked.handoff.id)
