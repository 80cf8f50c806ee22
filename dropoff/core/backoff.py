"""The pauses before what has ended is started again, the same for a store and for a worker."""

from typing import Final

PAUSE_S: Final = 0.1
PAUSE_S_MAX: Final = 5.0  # a person who has made room waits no longer than this for the service to be back
OF_USE_S: Final = 10.0  # what lived for so long was of use, and its end is no failure


class Backoff:
    """The pauses between failures: 0.1 s, 0.2 s … 5 s, and from the beginning again after a success."""

    def __init__(self) -> None:
        self._next_s = PAUSE_S

    def failed(self) -> float:
        """How long to wait now."""
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, PAUSE_S_MAX)
        return pause_s

    def succeeded(self) -> None:
        self._next_s = PAUSE_S
