"""One connection's commands, in the order in which they were asked, and what is known of each of them.

What arrives while batches are on their way is gathered, and goes as the next. A batch is a pipeline, no transaction:
each step is atomic by itself. Two batches are on their way at once, so that the node has the next one when it has
answered the last; answers come in the order of the commands, so the oldest unanswered command owns the next answer.

A command is in one of three places, and its place is what is known of it:

    waiting      nothing of it has left us                  refused, it says "nothing was stored", and that is certain
    under way    handed to the connection, unanswered       it may have run and it may not
    lost         under way when its connection broke        each is asked again, once and alone

It goes from waiting to under way in the same breath in which its bytes are handed over, with no `await` between. So one
whose caller leaves while it waits is never sent; and when a connection breaks, what waits simply goes on waiting.

Asking again is safe because every step carries a request key or is harmless when repeated: one that did run answers
what it answered then, or finds nothing left to do. It is done alone, because one of the lost may be what broke the
connection: such a one fails, and the next gets a connection of its own. Nothing else is sent meanwhile, so the order
stays. It ends after `ANSWER_S` altogether, and with the first of them for which there is no connection, or no answer in
that time: then the node is gone for all. Of unknown fate is said to be what was lost twice; what was lost and cannot be
asked again; and what the second time the server cannot run, or the step refuses (`Again`), for the first may have run.

A batch ends at 64 kB, not at the megabyte that fewer and longer writes would suggest: see `BATCH_BYTES_MAX`.
"""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import Any, Final, Literal, cast

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import NoScriptError, RedisError, ResponseError

from dropoff.errors import BrokerUnavailable, StoreRefused
from dropoff.storage.connection import send
from dropoff.storage.link import UNREACHABLE, Link

log = logging.getLogger("dropoff.storage")

BATCHES_MAX: Final = 2
STEPS_PER_BATCH_MAX: Final = 128
# A server reads 16 kB of a connection at a time, and then its fsync is due: a longer batch wins nothing, and is longer
# of unknown fate. A single command may be larger, and is a batch of its own.
BATCH_BYTES_MAX: Final = 65_536
ANSWER_S: Final = 10.0  # a node that answers nothing for so long is treated as gone

# What may wait in one lane. 16,384 steps are four seconds of work at 4,000 a second, the least that we promise: who
# came later would be answered after its client has given up (5 s); and 10,000 agents that ask in one moment fit. Of the
# size of a usual step, 2 kB, that many are 32 MB; and so are 120 of the largest payloads. More is refused at once: a
# caller that waits outside this queue would hold the same bytes.
WAITING_STEPS_MAX: Final = 16_384
WAITING_BYTES_MAX: Final = 32 * 2**20
TELL_EVERY_S: Final = 10.0  # how often the log says that it is full

# What a server answers that did not run the command and may do so later.
BROKEN: Final = ("OOM", "MISCONF", "READONLY", "LOADING", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "BUSY")

Stored = Literal["nothing", "unknown"]


class Again(list[Any]):
    """The answer of a step that was lost before. If it is a refusal, the first one may have run all the same."""


class NoScriptAgainError(NoScriptError):
    """The script of a step that was lost before is not there. This one did not run; the first one may have."""


class Asked:
    """A command as it is sent, and who waits for its answer."""

    __slots__ = ("answer", "packed")

    def __init__(self, packed: bytes) -> None:
        self.packed = packed
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class Lane:
    """Carries commands over one connection."""

    def __init__(self, name: str, link: Link) -> None:
        self._name, self._link = name, link
        self._waiting: deque[Asked] = deque()
        self._waiting_bytes = 0
        self._under_way: deque[deque[Asked]] = deque()  # batches, oldest first, each without what is answered
        self._lost: deque[Asked] = deque()
        self._news = asyncio.Event()  # something waits, or a batch is answered, or the connection is gone
        self._patience = asyncio.timeout(None)
        self._carrier: asyncio.Task[None] | None = None
        self._told_s = -TELL_EVERY_S

    def start(self) -> None:
        self._carrier = asyncio.create_task(self._carry(), name=f"dropoff commit, {self._name}")

    async def close(self) -> None:
        """Stop. What has not been sent is refused; twice is harmless."""
        carrier, self._carrier = self._carrier, None
        if carrier:
            carrier.cancel()
            with suppress(asyncio.CancelledError):
                await carrier
        await self._link.close()
        _fail(self._lost, BrokerUnavailable(stored="unknown"))
        self._refuse_waiting(BrokerUnavailable(stored="nothing"))

    def ask(self, packed: bytes) -> "asyncio.Future[Any]":
        """The answer to a command, which is now the last in the line."""
        if self._carrier is None:
            raise BrokerUnavailable(stored="nothing")
        if len(self._waiting) >= WAITING_STEPS_MAX or self._waiting_bytes + len(packed) > WAITING_BYTES_MAX:
            self._tell_that_it_is_full()
            raise BrokerUnavailable(stored="nothing", why="The broker's storage does not keep up with what is asked.")
        asked = Asked(packed)
        self._waiting.append(asked)
        self._waiting_bytes += len(packed)
        self._news.set()
        return asked.answer

    # ---- one connection after the other -------------------------------------------------------------------------

    async def _carry(self) -> None:
        while self._carrier is not None:  # looked at, because a task group may swallow the cancellation by `close`
            try:
                await self._ask_again()
                await self._news.wait()
                self._news.clear()
                if self._waiting and (connection := await self._connected()):
                    await self._use(connection)
                    self._news.set()  # what waits goes on
            except Exception as error:  # the lane must outlive whatever befalls it
                log.exception("the lane for %s commands failed", self._name)
                self._refuse_waiting(error)

    async def _connected(self) -> AbstractConnection | None:
        """The connection. Without one everybody is refused who waits for it."""
        try:
            return await self._link.connected()
        except UNREACHABLE as error:
            log.warning("the store is out of reach, %d commands are not sent: %s", len(self._waiting), error)
            # A broker that is just starting can say what to mend.
            can_mend = isinstance(error, StoreRefused) and self._link.starting
            self._refuse_waiting(error if can_mend else BrokerUnavailable(stored="nothing"))
            return None

    async def _use(self, connection: AbstractConnection) -> None:
        """Write and read until the connection is gone."""
        self._patience = asyncio.timeout(None)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._read(connection), name=f"dropoff answers, {self._name}")
                both.create_task(self._write(connection), name=f"dropoff batches, {self._name}")
        except* (RedisError, OSError) as errors:
            unanswered = sum(map(len, self._under_way))
            log.warning("lost the store with %d commands unanswered: %s", unanswered, errors.exceptions[0])
        finally:
            self._lose()
            await self._link.drop(in_order=self._carrier is None)

    async def _write(self, connection: AbstractConnection) -> None:
        """Send what waits, a batch at a time, while fewer than two are under way."""
        while True:
            while self._waiting and len(self._under_way) < BATCHES_MAX:
                if batch := self._gather():
                    self._under_way.append(batch)
                    if len(self._under_way) == 1:
                        self._be_patient()
                    await send(connection, [asked.packed for asked in batch])
            self._news.clear()
            await self._news.wait()

    def _gather(self) -> deque[Asked]:
        """The next batch; who has left meanwhile is left out, for nothing of his was sent."""
        batch: deque[Asked] = deque()
        size = 0
        while self._waiting and len(batch) < STEPS_PER_BATCH_MAX:
            size += len(self._waiting[0].packed)
            if batch and size > BATCH_BYTES_MAX:
                break
            asked = self._waiting.popleft()
            self._waiting_bytes -= len(asked.packed)
            if asked.answer.done():
                size -= len(asked.packed)
            else:
                batch.append(asked)
        return batch

    async def _read(self, connection: AbstractConnection) -> None:
        """Hand out the answers. It listens also when nothing is asked: so a lost connection is known before its use."""
        async with self._patience:
            while True:
                answer = await _answer(connection)
                if not self._under_way:
                    raise NotConnected(f"the store spoke without being asked: {answer!r:.80}")
                batch = self._under_way[0]
                _settle(batch.popleft(), answer, "nothing")
                if not batch:
                    self._under_way.popleft()
                    self._be_patient()
                    self._news.set()

    def _be_patient(self) -> None:
        """The oldest batch has so long from now; with none under way there is nothing to be waited for."""
        ends = asyncio.get_running_loop().time() + ANSWER_S
        self._patience.reschedule(ends if self._under_way else None)

    # ---- asked again --------------------------------------------------------------------------------------------

    def _lose(self) -> None:
        for batch in self._under_way:
            self._lost.extend(batch)
        self._under_way.clear()

    async def _ask_again(self) -> None:
        """The lost, each alone and once. After that its caller is told that nobody knows."""
        if not self._lost:
            return
        try:
            async with asyncio.timeout(ANSWER_S):
                while self._lost:
                    if not self._lost[0].answer.done():  # nobody needs the answer of one whose caller has left
                        await self._ask_alone(self._lost[0])
                    self._lost.popleft()
        except UNREACHABLE as error:
            log.warning("%d commands cannot be asked again: %s", len(self._lost), error)
        finally:
            _fail(self._lost, BrokerUnavailable(stored="unknown"))

    async def _ask_alone(self, asked: Asked) -> None:
        connection = await self._link.connected()
        try:
            await send(connection, asked.packed)
            answer = await _answer(connection)
            _settle(asked, _said_again(answer), "unknown")
        except (RedisError, OSError) as error:
            log.warning("lost the store again, with one command that was asked alone: %s", error)
            await self._link.drop()
            _settle(asked, BrokerUnavailable(stored="unknown"), "unknown")
        except BaseException:
            await self._link.drop()  # its answer may still come, and would be taken for another's
            raise

    # ---- refused ------------------------------------------------------------------------------------------------

    def _refuse_waiting(self, error: Exception) -> None:
        _fail(self._waiting, error)
        self._waiting_bytes = 0

    def _tell_that_it_is_full(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            log.warning(
                "the store does not keep up: %d %s commands (%d bytes) wait for it, and more are refused",
                *(len(self._waiting), self._name, self._waiting_bytes),
            )


async def _answer(connection: AbstractConnection) -> Any:
    """One answer; an error of this one command is its answer, and no fault of the connection's.

    `disconnect_on_error` off: else redis-py would close the connection and quietly make another one for the next batch.
    """
    try:
        return cast("Any", await connection.read_response(disconnect_on_error=False))
    except ResponseError as error:
        return error
    except NotConnected as error:
        if _code_of(error) in BROKEN:  # redis-py has LOADING among the lost connections
            return error
        raise


def _said_again(answer: Any) -> Any:
    """The answer, with word of the first try wherever a caller could take it for the only one."""
    if isinstance(answer, NoScriptError):
        return NoScriptAgainError(str(answer))
    return Again(cast("list[Any]", answer)) if isinstance(answer, list) else answer


def _settle(asked: Asked, answer: Any, stored: Stored) -> None:
    """`stored` is what is known of a command that is answered by "I cannot now": it did not run, this time."""
    if asked.answer.done():  # its caller has left
        return
    if isinstance(answer, RedisError) and _code_of(answer) in BROKEN:
        away = BrokerUnavailable(stored=stored)
        away.__cause__ = answer
        asked.answer.set_exception(away)
    elif isinstance(answer, Exception):
        asked.answer.set_exception(answer)
    else:
        asked.answer.set_result(answer)


def _fail(commands: deque[Asked], error: Exception) -> None:
    while commands:
        asked = commands.popleft()
        if not asked.answer.done():
            asked.answer.set_exception(error)


def _code_of(error: RedisError) -> str:
    """The server's word for an error. redis-py cuts it off the text of those that it has a class for."""
    return str(getattr(error, "status_code", "") or str(error).partition(" ")[0])
