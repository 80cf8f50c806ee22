"""Which broker serves a data folder: its process and its address, for whoever starts a second one there.

A second one is allowed, for brokers share a store. But who starts it has mostly forgotten the first, and must hear of
it. That the first is alive is known by the lock on the file and never by the process id in it, which may be somebody
else's by now (see `storage/embedded.py`); so nothing has to be tidied up after a kill.

It is said for convenience only: a file that cannot be used (another user's, a folder, on a full disk) says nothing, and
keeps no broker from serving. No link is followed, for what it leads to would be overwritten.
"""

import os
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from dropoff.core import places
from dropoff.storage.lock import Lock

WORDS_BYTES_MAX: Final = 1_000
LOOPBACK_URL: Final = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\]):[0-9]{1,5}")


class Serving(NamedTuple):
    pid: int
    url: str


def serving(data: Path) -> Serving | None:
    """The broker that serves this folder, or the first of several; None if none does."""
    path = data / places.BROKER_FILE
    if not path.exists() or (lock := _lock(path)) is None:
        return None
    try:
        if lock.take(shared=True):
            return None
        pid, _, url = os.pread(lock.descriptor, WORDS_BYTES_MAX, 0).decode(errors="replace").partition(" ")
        return Serving(int(pid), url) if pid.isdecimal() and url else None  # it has the lock and is just about to write
    finally:
        lock.forget()


def to_ask(data: Path) -> str:
    """Where the broker that serves this folder is asked from this machine; "" if none does, or not on loopback.

    Whoever asks there may send a credential, so only this machine will do, whatever the file says.
    """
    other = serving(data)
    url = from_here(other.url) if other else ""
    return url if LOOPBACK_URL.fullmatch(url) else ""


def from_here(url: str) -> str:
    """For this machine: where all addresses are listened on, the loopback one is among them."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


@contextmanager
def said(data: Path, url: str) -> Generator[None]:
    """Say, for as long as this lasts, that this process serves the folder; beside another, nothing is said."""
    if (lock := _lock(data / places.BROKER_FILE)) is None:
        yield
        return
    try:
        with suppress(OSError):
            if lock.take():
                os.ftruncate(lock.descriptor, 0)
                os.pwrite(lock.descriptor, f"{os.getpid()} {url}".encode(), 0)
        yield
    finally:
        lock.release()


def _lock(path: Path) -> Lock | None:
    if sys.platform == "win32" or path.is_symlink():
        return None
    try:
        return Lock(path)
    except OSError:
        return None
