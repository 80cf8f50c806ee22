"""The store's format: an older release does not work on what a newer one has written."""

import asyncio

import pytest

from dropoff.errors import BrokerUnavailable, StoreRefused
from dropoff.storage import steps
from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from dropoff.upkeep.rounds import Rounds, go_round
from tests.look import Look
from tests.servers import Server, source_of
from tests.world import BOB, QUEUE, Clock, complete, drop_off, extend, pick_up, until

NEWER = str(steps.FORMAT + 1)


async def newer(look: Look) -> None:
    """A newer release has been at work here."""
    await look.client.set(look.keys.of("format"), NEWER)


async def test_an_empty_store_is_given_the_format_of_this_release(empty_store: RedisStore, look: Look):
    assert (await look.everything())["format"] == str(steps.FORMAT)


async def test_the_format_is_written_once(store: RedisStore, look: Look, clock: Clock, monkeypatch: pytest.MonkeyPatch):
    """A newer release that comes to an older store works on it as it is; raising it is a step of its own."""
    monkeypatch.setattr(steps, "FORMAT", steps.FORMAT + 1)
    clock.advance(1_000)

    await store.beat()

    assert (await look.everything())["format"] == str(steps.FORMAT - 1)
    await drop_off(store)


async def test_a_format_that_was_lost_is_written_at_the_next_beat(store: RedisStore, look: Look):
    """However soon after the last one it comes: without it an older release would not know."""
    await look.client.delete(look.keys.of("format"))

    await store.beat()

    assert (await look.everything())["format"] == str(steps.FORMAT)


async def test_a_store_of_a_newer_format_is_refused_at_start(
    store: RedisStore, server: Server, keys: Keys, clock: Clock, look: Look
):
    """Before anything is changed, and with what to do about it; no connection and no task is left."""
    await newer(look)
    older = RedisStore(source_of(server), keys, clock)
    before = len(await look.connections())

    async with look.nothing_changes():
        with pytest.raises(StoreRefused) as refusal:
            await older.start()

    said = str(refusal.value)
    assert f"format {NEWER}, of a newer release; this one knows {steps.FORMAT}" in said
    assert "Upgrade dropoff, or bring back the backup" in said
    with pytest.raises(BrokerUnavailable):
        await older.ping()

    async def alone() -> bool:
        return len(await look.connections()) == before

    await until("its connections to be closed", alone)


async def test_formats_are_compared_as_numbers(store: RedisStore, look: Look, monkeypatch: pytest.MonkeyPatch):
    """Not as text, where 9 comes after 10."""
    monkeypatch.setattr(steps, "FORMAT", 9)
    await look.client.set(look.keys.of("format"), "10")

    with pytest.raises(StoreRefused, match="format 10"):
        await store.beat()


async def test_a_running_broker_takes_no_step_once_a_newer_release_has_been_at_work(store: RedisStore, look: Look):
    """Found at its next beat; from then on each call is refused, truly: nothing was stored."""
    await drop_off(store)
    picked = await pick_up(store)
    await newer(look)
    with pytest.raises(StoreRefused):
        await store.beat()

    async with look.nothing_changes():
        for call in (drop_off(store), store.pick_up(BOB, QUEUE, "k"), extend(store, picked.lease), store.beat()):
            with pytest.raises(BrokerUnavailable) as refusal:
                await call
            assert refusal.value.stored == "nothing"
            assert isinstance(refusal.value.__cause__, StoreRefused), "and the log says why"
        with pytest.raises(BrokerUnavailable):
            await complete(store, picked.lease)
        with pytest.raises(BrokerUnavailable):
            await go_round(store)


async def test_a_running_broker_of_an_older_release_says_so(
    store: RedisStore, look: Look, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Upkeep finds it, in its log stands what to do, and it goes on trying nothing else."""
    monkeypatch.setattr("dropoff.upkeep.rounds.BEAT_S", 0.01)
    await newer(look)
    rounds = Rounds(store)
    rounds.start()
    try:

        async def said() -> bool:
            return "Upgrade dropoff" in caplog.text

        await until("the log to say what to do", said)
        async with look.nothing_changes():
            with pytest.raises(BrokerUnavailable):
                await drop_off(store)
    finally:
        await rounds.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "dropoff heartbeat"]
