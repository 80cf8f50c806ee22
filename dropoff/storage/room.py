"""Whether the embedded store's disk has room for new work.

The store ends when its disk is full: it must write before it answers, and cannot. Long before that the broker takes no
new work, so that what is left is there for the steps that end work and free room. It is the rule by which a store at
its memory limit refuses (see the shebangs of the steps), a little earlier.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

LOOK_EVERY_S: Final = 1.0  # at full speed some 10 MB are written in between
MB: Final = 1 << 20


class Room:
    """Says why there is no room for new work, or "". Looks at most once a second; that takes a microsecond."""

    def __init__(self, folder: Path, free_min: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._free_min, self._clock = folder, free_min, clock
        self._good_until = 0.0
        self._why = ""

    def __call__(self) -> str:
        now = self._clock()
        if now >= self._good_until:
            self._why, self._good_until = self._look(), now + LOOK_EVERY_S
        return self._why

    def _look(self) -> str:
        try:
            disk = os.statvfs(self._folder)
        except OSError as error:  # whether there is room is not known
            return f"its disk does not say what is left: {error.strerror}"
        free = disk.f_bavail * disk.f_frsize
        return "" if free >= self._free_min else f"{_mb(free)} MB left; it keeps {_mb(self._free_min)} MB free"


def _mb(count: int) -> str:
    """Cut, not rounded: what is below the floor must not look like the floor."""
    return f"{count * 10 // MB / 10:g}"
