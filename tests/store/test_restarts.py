"""A store that cannot stay up: how often it is started, what is said meanwhile, and how it comes back."""

import asyncio
import itertools
import shutil
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from dropoff.core.backoff import OF_USE_S, PAUSE_S_MAX, Backoff
from dropoff.errors import StoreRefused
from dropoff.storage.embedded import EmbeddedStore
from dropoff.storage.folder import written
from dropoff.storage.restarts import Restarts
from tests.store.test_embedded import Other, User, client, data, fact, kill_server, other, user, within

__all__ = ["data", "other", "user"]  # fixtures

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no embedded store on Windows")


def manifest(data: Path) -> Path:
    return data / "store" / "appendonlydir" / "appendonly.aof.manifest"


def tried(data: Path) -> int:
    """How often a server was started, whether it came to serve or not."""
    return (data / "store" / "store.log").read_text().count("Valkey is starting")


async def write(socket: str) -> None:
    async with client(socket) as connection:
        await connection.set("written", "yes")


async def insist(ensure: Callable[[], Awaitable[str]]) -> str:
    while True:
        try:
            return await ensure()
        except StoreRefused:
            await asyncio.sleep(0.01)


async def test_a_store_that_cannot_start_is_tried_with_growing_pauses_and_the_reason_is_kept(
    user: User, data: Path, monkeypatch: pytest.MonkeyPatch
):
    """Who asks in between hears at once why there is none; when it can start, it comes by itself.

    Only the pauses are on the test's clock: how long a start takes is the machine's affair.
    """
    store, now = user(), 100.0
    monkeypatch.setattr(store, "_restarts", Restarts(partial(written, store.folder), lambda: now))
    socket = await store.ensure()
    await write(socket)
    whole = manifest(data).read_bytes()
    manifest(data).write_bytes(b"this is no manifest\n")
    await kill_server(data, socket)
    before, times = tried(data), [0.0, 0.01, 0.09, 0.11, 0.2, 0.29, 0.32, 0.5, 0.7, 0.73]
    tries: list[int] = []

    for time in times:
        now = 100 + time
        with pytest.raises(StoreRefused) as refusal:
            await store.ensure()
        tries.append(tried(data) - before)
        assert "manifest" in store.trouble
        assert refusal.value.reason == store.trouble

    assert tries == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4], "tried at 0, then after 0.1, 0.2 and 0.4 s"
    manifest(data).write_bytes(whole)
    now += PAUSE_S_MAX
    assert await within("the store to come back", insist(store.ensure)) == socket
    assert store.trouble == ""
    async with client(socket) as connection:
        assert await connection.get("written") == "yes"


async def test_a_store_that_was_of_use_is_started_again_at_once_however_often_it_is_killed(user: User, data: Path):
    """Kills under load are no reason to wait."""
    store = user()
    for _ in range(6):
        socket = await store.ensure()
        await write(socket)
        await kill_server(data, socket)
    await store.ensure()


async def test_one_useless_life_is_no_reason_to_wait_and_two_are(user: User, data: Path):
    """An idle store that is killed is back at once; one that dies again without having written is not trusted."""
    store = user()
    await kill_server(data, await store.ensure())
    await kill_server(data, await store.ensure())

    with pytest.raises(StoreRefused) as refusal:
        await store.ensure()

    assert "ended before it had written anything" in refusal.value.reason
    assert "Ready to accept connections" in refusal.value.reason, "the last lines of its log"
    await within("the store to come back", insist(store.ensure))


async def test_an_orderly_end_is_no_failure(user: User):
    """A user who leaves and comes again finds the store at once, though nothing was ever written."""
    store = user()
    for _ in range(4):
        await store.ensure()
        await store.close()


async def test_a_store_that_somebody_else_has_started_is_adopted_without_a_pause(user: User, other: Other, data: Path):
    """The pause is for starting; with several processes one may succeed where another waits."""
    store, second = user(), await other()
    await kill_server(data, await store.ensure())
    socket = await store.ensure()
    await kill_server(data, socket)
    assert await second.ask("ensure") == socket
    server = await fact(socket, "run_id")

    assert await store.ensure() == socket, "it would have been too early to start one"

    assert await fact(socket, "run_id") == server


async def test_what_a_killed_rewrite_has_left_is_removed_and_nothing_else(user: User, data: Path):
    """The server leaves such files for ever, and they can be all that fills a disk."""
    store = user()
    socket = await store.ensure()
    await write(socket)
    await kill_server(data, socket)
    left = [data / "store" / name for name in ("temp-rewriteaof-17.aof", "temp-rewriteaof-bg-17.aof", "temp-17.rdb")]
    for file in left:
        file.write_bytes(b"half")

    socket = await store.ensure()

    assert not [file for file in left if file.exists()]
    async with client(socket) as connection:
        assert await connection.get("written") == "yes"


async def test_a_folder_that_no_lock_can_be_made_in_is_refused_in_words(user: User, data: Path):
    """A file of ours that cannot be opened is the system's error; whoever asks hears which file, and no traceback."""
    (data / "store" / "turn.lock").mkdir(parents=True)
    store = user()

    with pytest.raises(StoreRefused, match="cannot be used: Is a directory") as refusal:
        await store.ensure()

    assert "turn.lock" in refusal.value.reason
    assert store.trouble == refusal.value.reason
    shutil.rmtree(data)
    assert EmbeddedStore(data).trouble == ""


# ---- the arithmetic, on a clock of its own ----------------------------------------------------------------------


def test_pauses_double_up_to_a_bound_and_begin_anew_after_a_success():
    backoff = Backoff()
    assert [backoff.failed() for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, PAUSE_S_MAX, PAUSE_S_MAX]
    backoff.succeeded()
    assert backoff.failed() == 0.1


def test_a_long_life_was_of_use_although_nothing_was_written():
    """An idle broker's store may die once a day; that it was idle is no fault of the store's."""
    now = 100.0
    restarts = Restarts(lambda: 0, lambda: now)
    for _ in itertools.repeat(None, 5):
        restarts.serves()
        now += OF_USE_S + 1
        restarts.ended(lambda: "never asked")
        restarts.refuse_too_early()
