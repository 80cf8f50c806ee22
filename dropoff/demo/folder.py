"""The folder of the demo's own broker: made by the demo, removed by the broker when it ends."""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from dropoff.storage.lock import Lock

PREFIX: Final = "dropoff-demo-"


def new() -> Path:
    return Path(tempfile.mkdtemp(prefix=PREFIX))


def is_left(folder: Path) -> bool:
    return folder.exists()


def store_lives(folder: Path) -> bool:
    """Its store holds this lock exactly as long as it lives."""
    path = folder / "store" / "store.lock"
    if sys.platform == "win32" or not path.exists():
        return False
    lock = Lock(path)
    try:
        return not lock.take()
    finally:
        lock.release()


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def bearer_in(credential_file: str) -> str:
    return Path(credential_file).read_text(encoding="ascii").strip()
