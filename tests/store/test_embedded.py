"""The embedded store: who starts it, who finds it, who stops it, and what a kill in between leaves behind.

Everything here is real: server processes, processes that use them, and kill -9. Afterwards no server may be left.
"""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from dropoff.errors import StoreRefused
from dropoff.storage import embedded, folder, server
from dropoff.storage.embedded import EmbeddedStore
from dropoff.storage.folder import mount_of
from dropoff.storage.lock import Lock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no embedded store on Windows")

T = TypeVar("T")
WAIT_S = 30.0

USER = """
import asyncio, sys
from pathlib import Path
from dropoff.storage.embedded import EmbeddedStore

async def main():
    store = EmbeddedStore(Path(sys.argv[1]))
    print("here", flush=True)
    for line in sys.stdin:
        match line.strip():
            case "ensure":
                print(await store.ensure(), flush=True)
            case "close":
                await store.close()
                print("closed", flush=True)

asyncio.run(main())
"""


class OtherUser:
    """A user of the store in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, data: Path) -> "OtherUser":
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", USER, str(data), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        other = cls(process)
        assert await other.heard("the other process to be there") == "here"
        return other

    async def heard(self, what: str) -> str:
        assert self.process.stdout is not None
        return (await within(what, self.process.stdout.readline())).decode().strip()

    async def ask(self, word: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n".encode())
        return await self.heard(f"the other process to {word}")

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        # communicate, not wait: it returns when the pipes are closed, too
        await within("the other process to be gone", self.process.communicate())


async def within(what: str, awaitable: Awaitable[T]) -> T:
    try:
        return await asyncio.wait_for(awaitable, WAIT_S)
    except TimeoutError:
        pytest.fail(f"waited {WAIT_S:.0f} s for {what}")


async def until(what: str, holds: Callable[[], bool]) -> None:
    async def poll() -> None:
        while not holds():
            await asyncio.sleep(0.005)

    await within(what, poll())


def lives(data: Path) -> bool:
    """Whether a server holds the lock of this folder, asked as anybody may: by the lock alone."""
    lock = Lock(data / "store" / "store.lock")
    try:
        return not lock.take()
    finally:
        lock.forget()


def client(socket: str) -> redis.asyncio.Redis:
    return redis.asyncio.Redis(unix_socket_path=socket, retry=Retry(NoBackoff(), 0), decode_responses=True)


async def fact(socket: str, name: str) -> str:
    async with client(socket) as connection:
        return str((await connection.info("server"))[name])


async def kill_server(data: Path, socket: str) -> None:
    os.kill(int(await fact(socket, "process_id")), signal.SIGKILL)
    await until("the killed server to let go of its lock", lambda: not lives(data))


def starts(data: Path) -> list[str]:
    """The lines of the log that tell of a start."""
    return [line for line in (data / "store" / "store.log").read_text().splitlines() if "Server initialized" in line]


@pytest.fixture
async def data(tmp_path: Path) -> AsyncIterator[Path]:
    """A data folder that does not exist yet; when the test is over, no server may live in it."""
    folder = tmp_path / "data"
    yield folder
    left = [lock.parent for lock in tmp_path.rglob("store.lock") if lives(lock.parent.parent)]
    for store in left:
        async with client(str(store / "socket")) as connection:
            await connection.shutdown(nosave=True)
    assert not left, "a server was left behind"


@pytest.fixture
async def user(data: Path) -> AsyncIterator[Callable[[], EmbeddedStore]]:
    """Makes users of the data folder in this process; those who are still there at the end leave."""
    users: list[EmbeddedStore] = []

    def make() -> EmbeddedStore:
        users.append(EmbeddedStore(data))
        return users[-1]

    yield make
    for one in users:
        await one.close()


@pytest.fixture
async def other(data: Path) -> AsyncIterator[Callable[[], Awaitable[OtherUser]]]:
    """Starts users of the data folder in processes of their own; those who are still there at the end are killed."""
    others: list[OtherUser] = []

    async def start() -> OtherUser:
        others.append(await OtherUser.start(data))
        return others[-1]

    yield start
    for one in others:
        await one.kill()


User = Callable[[], EmbeddedStore]
Other = Callable[[], Awaitable[OtherUser]]


# ── starting, sharing, stopping ──────────────────────────────────────────────────────────────────────────────────────


async def test_the_first_user_starts_a_store_that_writes_to_the_disk_before_it_answers(user: User, data: Path):
    """Durable, private, on no port, never evicting, and out of reach of the terminal's Ctrl-C."""
    store = user()
    socket = await store.ensure()

    async with client(socket) as connection:
        settings = await connection.config_get("append*", "maxmemory-policy", "save", "port", "dir")
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "always"
    assert settings["maxmemory-policy"] == "noeviction"
    assert (settings["save"], settings["port"]) == ("", "0")
    assert settings["dir"] == str(data / "store")
    assert (data / "store").stat().st_mode & 0o777 == 0o700
    server = int(await fact(socket, "process_id"))
    assert os.getsid(server) == server


async def test_a_second_process_adopts_the_store(user: User, other: Other):
    """Two users of one folder speak to one server."""
    socket = await user().ensure()
    server = await fact(socket, "run_id")

    second = await other()

    assert await second.ask("ensure") == socket
    assert await fact(socket, "run_id") == server


async def test_the_last_user_stops_the_store_and_only_the_last(user: User, other: Other, data: Path):
    """A store is there as long as anybody uses it, whoever started it."""
    starter, second = user(), await other()
    socket = await starter.ensure()
    await second.ask("ensure")

    await starter.close()
    assert await fact(socket, "run_id")

    assert await second.ask("close") == "closed"
    assert not lives(data)
    assert not Path(socket).exists()


async def test_to_ensure_or_to_close_twice_changes_nothing(user: User, data: Path):
    """A broker may ask again at any time; a user who asks twice still counts once."""
    store = user()
    await store.close()
    socket = await store.ensure()
    server = await fact(socket, "run_id")

    assert await store.ensure() == socket
    assert await fact(socket, "run_id") == server

    await store.close()
    await store.close()
    assert not lives(data)


async def test_processes_that_start_at_the_same_moment_end_with_one_server(other: Other, data: Path):
    """However a start is raced, there is one server, and all are its users."""
    others = await asyncio.gather(*(other() for _ in range(4)))

    sockets = await asyncio.gather(*(one.ask("ensure") for one in others))

    assert len(set(sockets)) == 1
    assert len(starts(data)) == 1
    for one in others:
        assert lives(data)
        await one.ask("close")
    assert not lives(data)


async def test_a_store_is_never_stopped_under_the_hands_of_a_newcomer(user: User, data: Path):
    """Between ensure() and close() the store answers, while others come and go as fast as they can."""

    async def come_and_go() -> None:
        for _ in range(8):
            store = user()
            socket = await store.ensure()
            async with client(socket) as connection:
                await connection.incr("visits")
            await store.close()

    await within("all visits", asyncio.gather(*(come_and_go() for _ in range(5))))

    assert not lives(data)
    async with client(await user().ensure()) as connection:
        assert await connection.get("visits") == "40"


async def test_a_newcomer_waits_for_the_store_that_is_being_stopped(
    user: User, data: Path, monkeypatch: pytest.MonkeyPatch
):
    """The last user's "am I alone?" and its stop are one step; whoever comes in between starts a new store."""
    leaving, stop = user(), EmbeddedStore._stop
    old = await fact(await leaving.ensure(), "run_id")
    stopping, go_on = asyncio.Event(), asyncio.Event()

    async def held_up(store: EmbeddedStore) -> None:
        stopping.set()
        await go_on.wait()
        await stop(store)

    monkeypatch.setattr(EmbeddedStore, "_stop", held_up)
    left = asyncio.create_task(leaving.close())
    await within("the last user to be about to stop the store", stopping.wait())
    coming = asyncio.create_task(user().ensure())
    done, _ = await asyncio.wait([coming], timeout=0.1)
    assert not done
    go_on.set()

    await within("the last user to have left", left)
    assert await fact(await within("the newcomer's store", coming), "run_id") != old


async def test_who_leaves_while_another_has_the_turn_leaves_the_store_alone(
    user: User, data: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whoever has the turn is joining, so nobody who leaves meanwhile is the last; it does not wait for long either."""
    monkeypatch.setattr(embedded, "LEAVE_LIMIT_S", 0.05)
    store = user()
    socket = await store.ensure()
    turn = Lock(data / "store" / "turn.lock")
    assert turn.take()

    await store.close()

    turn.release()
    assert await fact(socket, "run_id")
    await user().ensure()


# ── killed ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_store_outlives_its_killed_user_and_is_adopted(user: User, other: Other):
    """kill -9 of a broker costs nothing: the next one finds the same server with everything in it."""
    killed = await other()
    socket = await killed.ask("ensure")
    server = await fact(socket, "run_id")
    async with client(socket) as connection:
        await connection.set("handoff", "kept")

    await killed.kill()

    assert await user().ensure() == socket
    assert await fact(socket, "run_id") == server
    async with client(socket) as connection:
        assert await connection.get("handoff") == "kept"


async def test_a_store_that_is_started_again_is_told_once_with_its_last_line(
    user: User, data: Path, caplog: pytest.LogCaptureFixture
):
    """Whoever wonders about a pause finds it in the broker's log; a first start, and one found alive, are no news."""
    store = user()
    socket = await store.ensure()
    await store.ensure()
    assert caplog.messages == []
    await kill_server(data, socket)
    last = (data / "store" / "store.log").read_text().splitlines()[-1]
    await store.ensure()
    await store.ensure()
    assert caplog.messages == [f"the store has ended, and is started again; the last line of its log: {last.strip()}"]


async def test_a_killed_store_is_started_again_with_its_data(user: User, other: Other, data: Path):
    """kill -9 of the store: what it had answered is there, the users are users still, and they share the new one."""
    first, second = user(), await other()
    socket = await first.ensure()
    await second.ask("ensure")
    async with client(socket) as connection:
        await connection.set("handoff", "kept")
    await kill_server(data, socket)

    assert await first.ensure() == socket
    server = await fact(socket, "run_id")
    await second.ask("ensure")

    assert await fact(socket, "run_id") == server
    async with client(socket) as connection:
        assert await connection.get("handoff") == "kept"
    await first.close()
    assert lives(data)
    await second.ask("close")


async def test_nobody_is_lost_when_user_and_store_are_killed_together(user: User, other: Other, data: Path):
    """After a power cut only the files are left: stale socket, free locks, the data."""
    killed = await other()
    socket = await killed.ask("ensure")
    async with client(socket) as connection:
        await connection.set("handoff", "kept")
    await killed.kill()
    await kill_server(data, socket)
    assert Path(socket).exists()

    async with client(await user().ensure()) as connection:
        assert await connection.get("handoff") == "kept"


async def test_a_cancelled_start_leaves_no_server(user: User, data: Path, monkeypatch: pytest.MonkeyPatch):
    """A start that is given up ends the server that nobody else can know yet."""

    async def never_ready(connection: object) -> str:
        return server.LOADS

    with monkeypatch.context() as patch:
        patch.setattr(server, "condition", never_ready)
        start = asyncio.create_task(user().ensure())
        await until("the server to be on its way", lambda: (data / "store" / "appendonlydir").exists())
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start

    await until("the server of the cancelled start to end", lambda: not lives(data))
    assert await user().ensure()


async def test_a_store_that_reads_a_long_file_is_waited_for(user: User, monkeypatch: pytest.MonkeyPatch):
    """LOADING is no failure: ensure() returns when all of it is there."""
    store = user()
    async with client(await store.ensure()) as connection:
        await connection.eval("for i = 1, 200000 do redis.call('SET', 'k' .. i, i) end", 0)
    await store.close()
    seen: set[str] = set()
    condition = server.condition

    async def watched(connection: redis.asyncio.Redis) -> str:
        seen.add(await condition(connection))
        return await condition(connection)

    monkeypatch.setattr(server, "condition", watched)
    async with client(await store.ensure()) as connection:
        assert await connection.dbsize() == 200_000
    assert server.LOADS in seen


# ── refused ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_store_that_ends_while_it_starts_is_refused_with_its_last_words(user: User, data: Path):
    """Whoever has to mend it reads the server's own reason, without looking for a log."""
    store = user()
    await store.ensure()
    await store.close()
    (data / "store" / "appendonlydir" / "appendonly.aof.manifest").write_text("this is no manifest\n")

    with pytest.raises(StoreRefused) as refusal:
        await store.ensure()

    assert "ended while it started" in str(refusal.value)
    assert "manifest" in str(refusal.value)
    assert not lives(data)


async def test_a_server_of_another_folder_behind_the_socket_is_refused(user: User, data: Path, tmp_path: Path):
    """A copied or linked socket leads to somebody else's data; it is not used, and nothing changes there."""
    theirs = EmbeddedStore(tmp_path / "theirs")
    their_socket = await theirs.ensure()
    (data / "store").mkdir(parents=True)
    (data / "store" / "socket").symlink_to(their_socket)
    held = Lock(data / "store" / "store.lock")
    assert held.take()

    ours = user()
    with pytest.raises(StoreRefused, match="keeps its data in"):
        await ours.ensure()
    assert await fact(their_socket, "run_id")

    held.release()  # no store of ours lives, so what stands where its socket belongs is stale
    assert await fact(await ours.ensure(), "run_id") != await fact(their_socket, "run_id")
    await theirs.close()


async def test_a_store_that_hangs_is_refused_in_time_and_used_when_it_wakes(
    user: User, data: Path, monkeypatch: pytest.MonkeyPatch
):
    """A bounded wait, a sentence that says for what, and no second server beside the first."""
    first = user()
    socket = await first.ensure()
    pid = int(await fact(socket, "process_id"))
    os.kill(pid, signal.SIGSTOP)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(embedded, "ANSWER_LIMIT_S", 0.1)
            patch.setattr(server, "COMMAND_LIMIT_S", 0.1)
            with pytest.raises(StoreRefused, match="does not answer"):
                await user().ensure()
    finally:
        os.kill(pid, signal.SIGCONT)

    assert await user().ensure() == socket
    assert len(starts(data)) == 1


async def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path):
    """The sentence names the folder and what to do."""
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StoreRefused, match="cannot be used: Not a directory"):
        await EmbeddedStore(tmp_path / "file" / "data").ensure()


async def test_a_network_file_system_is_refused(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Locks and fsync are the promise, and there they may not hold; nothing is written first."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nhost:/export {tmp_path} nfs4 rw 0 0\n")
    monkeypatch.setattr(folder, "MOUNTS", mounts)

    with pytest.raises(StoreRefused, match=r"network file system \(nfs4, mounted at"):
        await EmbeddedStore(data).ensure()

    assert not data.exists()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/ann", "ext4"),
        ("/mnt", "ext4"),
        ("/mnt/a b/data", "cifs"),
        ("/mnt/a bc", "ext4"),
        ("/over/data", "tmpfs"),
    ],
)
def test_the_innermost_mount_decides_what_a_file_system_is(path: str, kind: str):
    """The longest place wins; on the same place the last mounted; spaces are written in octal."""
    mounts = "/dev/vda / ext4 rw 0 0\n//nas/x /mnt/a\\040b cifs rw 0 0\nn:/e /over nfs rw 0 0\nt /over tmpfs rw 0 0\n"
    assert mount_of(Path(path), mounts)[1] == kind


async def test_windows_is_refused_with_the_way_to_go(data: Path, monkeypatch: pytest.MonkeyPatch):
    """There is no server binary for Windows; the sentence says what works there."""
    store = EmbeddedStore(data)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        with pytest.raises(StoreRefused, match="DROPOFF_STORE=redis://"):
            await store.ensure()


# ── long paths ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def long_data(data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder that is too deep for a socket, and a short temporary folder that only this test uses."""
    temporary = Path(tempfile.mkdtemp(prefix="d", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield data / ("deep" * 15) / ("deeper" * 15)
    shutil.rmtree(temporary)


async def test_a_socket_path_over_the_limit_is_linked_short(long_data: Path):
    """The kernel takes 107 bytes; a deeper folder is reached through a link whose name stays the same."""
    first, second = EmbeddedStore(long_data), EmbeddedStore(long_data)

    socket = await first.ensure()
    assert len(socket) <= folder.SOCKET_PATH_BYTES_MAX
    assert await second.ensure() == socket
    assert Path(socket).resolve() == long_data / "store" / "socket"
    assert Path(socket).parent.parent.stat().st_mode & 0o777 == 0o700

    await first.close()
    await second.close()
    assert not lives(long_data)


async def test_a_link_folder_that_others_may_write_is_refused(long_data: Path):
    """In /tmp anybody can be first; a folder that is not ours alone could lead us anywhere."""
    planted = Path(tempfile.gettempdir()) / f"dropoff-{os.geteuid()}"
    planted.mkdir()
    planted.chmod(0o777)

    with pytest.raises(StoreRefused, match="not a private folder"):
        await EmbeddedStore(long_data).ensure()

    assert not lives(long_data)
