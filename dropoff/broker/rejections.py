"""What agents get wrong, counted by queue and by place in its schema, for those who write schemas.

A payload counts once for each of its faults. Who was rejected waits for none of this: counts are gathered here, and a
second after the first they are written together, each queue's by one step. What a broker that is killed has not written
yet, the last second's counts, is lost; one that ends in order writes it. While the store is away or full, counts stay
here, and grow with the places of the schemas, not with the payloads.

A write carries a request key, and what may have been written is written again under the same one, so that nothing is
counted twice. What is counted for a queue that is gone goes nowhere.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from dropoff.core import limits
from dropoff.core.handoff import QueueName
from dropoff.core.rejections import MORE, OUT_OF_BOUNDS, TOO_LARGE, Fault
from dropoff.core.store import Store
from dropoff.errors import DropoffError, NextInvalid, PayloadInvalid, PayloadTooLarge

log = logging.getLogger("dropoff.broker")

GATHERED_S: Final = 1.0
AT_THE_END_S: Final = 2.0  # what a store that is away may keep a broker from ending

Of = tuple[QueueName, str]  # a queue, and the version of the schema that rejected


class Noted:
    """For which queue one call brought what was judged last, and what was wrong with it; no queue, nothing was judged.

    Until its contract has spoken, what is rejected is out of bounds.
    """

    of: Of | None = None
    faults: Iterable[Fault] = ()

    def begins(self, queue: QueueName, schema: str) -> None:
        self.of, self.faults = (queue, schema), (OUT_OF_BOUNDS,)


class Write(NamedTuple):
    """Counts that are on their way; sent again they are the same."""

    request: str
    counts: Counter[Fault]


class Rejections:
    """Gathers what was rejected, and writes it."""

    def __init__(self, store: Store, unique: Callable[[int], bytes]) -> None:
        self._store = store
        self._unique = unique
        self._gathered: dict[Of, Counter[Fault]] = {}
        self._on_their_way: dict[Of, Write] = {}
        self._some = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None

    @contextmanager
    def counted(self) -> Generator[Noted]:
        """What is judged in here is counted if the call is refused for just that in the end."""
        noted = Noted()
        try:
            yield noted
        except (PayloadInvalid, NextInvalid, PayloadTooLarge) as error:
            if noted.of:
                self._count(noted.of, (TOO_LARGE,) if isinstance(error, PayloadTooLarge) else noted.faults)
            raise

    def _count(self, of: Of, faults: Iterable[Fault]) -> None:
        counts = self._gathered.setdefault(of, Counter())
        new = [fault for fault in faults if fault not in counts]
        room = max(limits.REJECTED_PLACES_MAX - len(counts) - 1, 0)  # one is for all others
        beyond = new[room:]
        counts.update({*faults}.difference(beyond))
        counts.update((MORE,) if beyond else ())
        self._some.set()

    # ---- writing ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._writing = asyncio.create_task(self._write_now_and_then(), name="dropoff rejections")

    async def close(self) -> None:
        """Write what is there, if the store answers soon; twice is harmless."""
        writing, self._writing = self._writing, None
        if writing:
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing
        with suppress(TimeoutError):
            async with asyncio.timeout(AT_THE_END_S):
                await self.write()  # what was on its way first, under its key
                await self.write()

    async def _write_now_and_then(self) -> None:
        while True:
            await self._some.wait()
            await asyncio.sleep(GATHERED_S)
            await self.write()

    async def write(self) -> None:
        """Everything that waits to be written, but what comes behind an earlier write whose fate is not known."""
        for of in self._gathered.keys() - self._on_their_way.keys():
            self._on_their_way[of] = Write(self._unique(16).hex(), self._gathered.pop(of))
        await asyncio.gather(*(self._write(of, write) for of, write in tuple(self._on_their_way.items())))
        if not self._gathered and not self._on_their_way:
            self._some.clear()

    async def _write(self, of: Of, write: Write) -> None:
        try:
            await self._store.count_rejections(*of, write.counts, write.request)
        except DropoffError:  # the store is away or full, and tells of that itself
            return
        except Exception:  # a damaged key: of this queue nothing is counted, and nothing else suffers
            log.exception("what queue %s rejected cannot be counted", of[0])
        del self._on_their_way[of]
