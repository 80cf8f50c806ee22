"""When what has ended is started again: at once if it had been of use, and else after a pause that doubles.

A store that cannot start (a damaged folder), or that ends at its first write (a full disk), would otherwise be started
by every caller that wants a connection, as fast as the machine can. Of use was one that wrote something since it began
to serve, or lived for a while; so a store that is killed under load is back at once, however often that happens. A
single useless life proves nothing (an idle store was killed); it takes two in a row, or one failed start.
"""

import time
from collections.abc import Callable

from dropoff.core.backoff import OF_USE_S, Backoff
from dropoff.errors import StoreRefused


class Restarts:
    """What this process knows of the lives of one store, whoever started it. `written` grows as the store writes."""

    def __init__(self, written: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._written, self._clock = written, clock
        self._backoff = Backoff()
        self._not_before = 0.0
        self._why = ""
        self._suspect = False  # the last life was of no use
        self._life: tuple[float, int] | None = None  # since when the store serves, and what was written then

    def serves(self) -> None:
        """There is a store; said as often as one likes."""
        if self._life is None:
            self._life = (self._clock(), self._written())

    def left(self) -> None:
        """How the store ends from here on is no affair of ours."""
        self._life = None

    def ended(self, why: Callable[[], str]) -> bool:
        """There is none. What it leaves is judged once, and then it is news (True); `why` says how it ended."""
        life, self._life = self._life, None
        if life is None:
            return False
        began, written = life
        if self._written() > written or self._clock() - began > OF_USE_S:
            self._backoff.succeeded()
            self._suspect = False
        elif self._suspect:
            self.failed(why())
        else:
            self._suspect = True
        return True

    def failed(self, why: str) -> None:
        self._why, self._suspect = why, True
        self._not_before = self._clock() + self._backoff.failed()

    def refuse_too_early(self) -> None:
        """Raise why the last one ended, if it is not yet time for the next."""
        if self._clock() < self._not_before:
            raise StoreRefused(self._why)
