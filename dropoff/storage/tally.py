"""Counts what a mend looks at and puts right, and what it cannot.

A key of another type, or a record that cannot be read, holds up nothing but what hangs on it: the log says which and
why, and the rest goes on. A store that is away is no fault of any one thing, and ends the mend.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Awaitable, Generator
from contextlib import contextmanager
from typing import Final

from dropoff.core.answers import Mended
from dropoff.errors import BrokerUnavailable

log = logging.getLogger("dropoff.storage")

TOLD_MAX: Final = 100  # of each kind: one broken index of a long queue must not fill the log's disk


class Tally:
    """What was looked at so far."""

    def __init__(self) -> None:
        self._looked_at = self._mended = 0
        self._failed: Counter[str] = Counter()
        self._told: defaultdict[str, set[str]] = defaultdict(set)

    async def look(self, kind: str, name: str, mend: Awaitable[object]) -> None:
        """One thing; `mend` answers whether something was put right."""
        self._looked_at += 1
        with self.alone(kind, name):
            mended = bool(await mend)  # first, for others count meanwhile
            self._mended += mended

    @contextmanager
    def alone(self, kind: str, name: str) -> Generator[None]:
        """What is done in here fails alone."""
        try:
            yield
        except BrokerUnavailable:
            raise
        except Exception as error:  # noqa: BLE001  (whatever is in a store that somebody has damaged)
            self._note(kind, name, error)

    def _note(self, kind: str, name: str, error: Exception) -> None:
        """Once of each, though a record and several indexes name it; beyond those that are told, each time."""
        told = self._told[kind]
        if name in told:
            return
        self._failed[kind] += 1
        if len(told) < TOLD_MAX:
            told.add(name)
            log.error("%s %s could not be put right: %s", kind, name, error)

    def result(self) -> Mended:
        for kind, count in self._failed.items():
            if more := count - len(self._told[kind]):
                log.error("%d more of kind %s could not be put right", more, kind)
        return Mended(looked_at=self._looked_at, mended=self._mended, failed=self._failed.total())
