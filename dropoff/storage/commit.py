"""The one way to the node: commands that arrive together are sent together, small ones past large ones.

One connection and pipelines carry as much as a connection a caller does for 0.4 of the broker's CPU
(`python -m tests.benchmarks.commit`), and two hundred waiting agents need one. But what goes over one connection is in
each other's way: behind payloads of 256 kB every small step waits until they are through, 17 ms instead of 2 beside
eight agents that drop off nothing else. So there are two lanes, each with its connection, its order and its bounds, and
the size of a command decides. The second is connected when the first large command comes.

What is promised of the order: commands of one lane run in the order in which they were asked. Between lanes, and so
between any two commands that were asked without awaiting the first, nothing is promised; what a caller awaits before
its next call is done by then, whichever way it went. No caller needs more: a step is one atomic script.

What is known of a command when something breaks, and why it may be asked again, is written in `lane.py`.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from hiredis import pack_command  # pyright: ignore[reportUnknownVariableType]  # its types say too little

from dropoff.storage.connection import Command, Source
from dropoff.storage.lane import Lane
from dropoff.storage.link import Link

# A small command is no larger than a batch may be. All steps without a payload are far below it, and so are nearly all
# payloads; one of 64 kB is through a Unix socket in 0.1 ms, of 256 kB over a slow network in 20.
SMALL_BYTES_MAX: Final = 65_536

# In C, ten times as fast as redis-py: a step has thirty words, and packing them there was most of its way.
_packed = cast(Callable[[Command], bytes], pack_command)


class Commit:
    """Carries commands to one node."""

    def __init__(self, source: Source) -> None:
        self._small = Lane("small", Link(source, starting=True))
        self._large = Lane("large", Link(source))

    def start(self) -> None:
        self._small.start()
        self._large.start()

    async def close(self) -> None:
        """Stop. What has not been sent is refused; twice is harmless."""
        await asyncio.gather(self._small.close(), self._large.close())

    async def ask(self, *command: str | bytes) -> Any:
        """The node's answer. Raises its `ResponseError`, or `BrokerUnavailable` if there is none to be had.

        A command that cannot be sent at all raises here, before it can be in the way of another.
        """
        assert command, "no command: the server would not answer, and every later answer would be another's"
        packed = _packed(command)
        return await (self._small if len(packed) <= SMALL_BYTES_MAX else self._large).ask(packed)
