"""Which broker serves a data folder: its process and its address, for whoever starts a second one there.

A second one is allowed, for brokers share a store. But who starts it has mostly forgotten the first, and must hear of
it. That the first is alive is known by the lock on the file and never by the process id in it, which may be somebody
else's by now (see `storage/embedded.py`); so nothing has to be tidied up after a kill.
"""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from dropoff.storage.lock import Lock

FILE: Final = "broker.lock"
WORDS_BYTES_MAX: Final = 1_000


class Serving(NamedTuple):
    pid: int
    url: str


def serving(data: Path) -> Serving | None:
    """The broker that serves this folder, or the first of several; None if none does."""
    path = data / FILE
    if sys.platform == "win32" or not path.exists():
        return None
    lock = Lock(path)
    try:
        if lock.take(shared=True):
            return None
        pid, _, url = os.pread(lock.descriptor, WORDS_BYTES_MAX, 0).decode().partition(" ")
        return Serving(int(pid), url) if pid.isdecimal() else None  # it has the lock and is just about to write
    finally:
        lock.forget()


@contextmanager
def said(data: Path, url: str) -> Generator[None]:
    """Say, for as long as this lasts, that this process serves the folder; beside another, nothing is said."""
    if sys.platform == "win32":
        yield
        return
    lock = Lock(data / FILE)
    try:
        if lock.take():
            os.ftruncate(lock.descriptor, 0)
            os.pwrite(lock.descriptor, f"{os.getpid()} {url}".encode(), 0)
        yield
    finally:
        lock.release()
