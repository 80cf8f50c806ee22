"""Stands between a store and its real server, and breaks what is between them exactly where a test says.

It reads commands and answers one by one, so a moment is a moment of one command and not of a packet, and which command
an answer belongs to is known. Rules say where something happens:

    proxy.cut("before", b"EVALSHA")              nothing of the command reaches the server
    proxy.cut("within", b"EVALSHA", at=100)      its first 100 bytes do, so it does not run
    proxy.cut("after", b"EVALSHA")               it has run and is answered; the answer stays here
    proxy.stall("before", b"EVALSHA")            the same moments, but the connection stays open and still

A command is told by any one of its words, whole: its name, a key, an argument; `b""` is any command.

`cut` closes both ends of that connection. Answers to earlier commands have been passed by then; of later commands of
the same pipeline none has reached the server at a cut before or within, and all may have run at a cut after. `stall`
holds one direction, nothing more is read from it, until `go_on()`; the other direction flows. A rule is for one
command; `times=3` for the next three, `skip=10` lets ten that match pass first. Rules are tried in the order in which
they were made. `rule.left` says for how many more it is, `await rule.met()` waits until that is 0, and
`rule.when_met` is called just when the moment has come.

    proxy.cut_all()      every connection, now            proxy.away = True      new connections are closed at once
    proxy.connections    how many are open                proxy.passed(b"…")    how many with this the server got

It listens on a Unix socket beside the server's, or with `tcp=True` on a port of the loopback address.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal

from dropoff.storage.connection import Source
from tests.servers import Server
from tests.world import until, within

Moment = Literal["before", "within", "after"]
MOMENTS: Final[tuple[Moment, ...]] = ("before", "within", "after")

_numbers: Final = itertools.count()


class Rule:
    """What happens to the next commands that match."""

    def __init__(self, moment: Moment, of: bytes, *, at: int, times: int, skip: int, stalls: bool) -> None:
        self.moment, self.of, self.at, self.left, self.skip = moment, of, at, times, skip
        self.go_on = asyncio.Event() if stalls else None
        self.when_met: Callable[[], object] = lambda: None

    def takes(self, command: bytes) -> bool:
        if not self.left or not _has(command, self.of):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.left -= 1
        self.when_met()
        return True

    async def met(self) -> None:
        async def none_left() -> bool:
            return not self.left

        await until(f"{self.of!r} to be stopped {self.moment}", none_left)


class _Cut(Exception):
    """The connection ends here, by a rule."""


class Proxy:
    """One place in front of one server, for any number of connections."""

    def __init__(self, server: Server, *, tcp: bool = False) -> None:
        self.away = False
        self._server, self._tcp = server, tcp
        self._rules: list[Rule] = []
        self._talks: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._listening: asyncio.Server | None = None
        self._passed: list[bytes] = []

    # ---- its life -----------------------------------------------------------------------------------------------

    async def start(self) -> Source:
        """Listen; gives the server as a store asks for it, by way of here."""
        if self._tcp:
            self._listening = await asyncio.start_server(self._talk, "127.0.0.1", 0)
            url = f"redis://127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"
        else:
            socket = str(self._server.folder / f"proxy-{next(_numbers)}")
            self._listening = await asyncio.start_unix_server(self._talk, socket)
            url = f"unix://{socket}"

        async def place() -> str:
            return url

        return Source(place)

    async def close(self) -> None:
        """End every connection, and wait until they have ended."""
        if self._listening is not None:
            self._listening.close()
        self.away = True
        self.go_on()
        self.cut_all()
        await within("all talks to end", asyncio.gather(*self._talks))

    async def __aenter__(self) -> Source:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # ---- what a test says ---------------------------------------------------------------------------------------

    def cut(self, moment: Moment, of: bytes, *, at: int = 1, times: int = 1, skip: int = 0) -> Rule:
        return self._rule(Rule(moment, of, at=at, times=times, skip=skip, stalls=False))

    def stall(self, moment: Moment, of: bytes, *, at: int = 1, times: int = 1, skip: int = 0) -> Rule:
        return self._rule(Rule(moment, of, at=at, times=times, skip=skip, stalls=True))

    def go_on(self) -> None:
        """Whatever stands still goes on, and all rules are forgotten."""
        for rule in self._rules:
            rule.left = 0
            if rule.go_on:
                rule.go_on.set()
        self._rules.clear()

    def cut_all(self) -> None:
        for ends in self._talks.values():
            for end in ends:
                end.close()

    @property
    def connections(self) -> int:
        return len(self._talks)

    def passed(self, of: bytes) -> int:
        """How many commands with this word have reached the server whole."""
        return sum(_has(command, of) for command in self._passed)

    def _rule(self, rule: Rule) -> Rule:
        self._rules.append(rule)
        return rule

    # ---- one connection -----------------------------------------------------------------------------------------

    async def _talk(self, ours: asyncio.StreamReader, to_us: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None
        self._talks[talk] = ends = [to_us]
        try:
            if not self.away:
                servers, to_server = await asyncio.open_unix_connection(self._server.socket)
                ends.append(to_server)
                await self._pass(ours, to_server, servers, to_us)
        except OSError:  # no server at the moment: then there is no connection here either
            pass
        finally:
            for end in ends:
                end.close()
            for end in ends:
                with suppress(OSError):
                    await end.wait_closed()
            del self._talks[talk]

    async def _pass(
        self,
        ours: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
        servers: asyncio.StreamReader,
        to_us: asyncio.StreamWriter,
    ) -> None:
        """Both directions, until one of them has ended."""
        unanswered: deque[bytes] = deque()
        directions = [
            asyncio.create_task(self._pass_commands(ours, to_server, unanswered)),
            asyncio.create_task(self._pass_answers(servers, to_us, unanswered)),
        ]
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        for direction in directions:
            direction.cancel()
        for outcome in await asyncio.gather(*directions, return_exceptions=True):
            if isinstance(outcome, Exception) and not isinstance(outcome, _Cut | OSError):
                raise outcome  # a fault of this file

    async def _pass_commands(
        self, ours: asyncio.StreamReader, to_server: asyncio.StreamWriter, unanswered: deque[bytes]
    ) -> None:
        while command := await _next(ours):
            passed = 0
            if rule := self._rule_for("before", command):
                await _stop(rule, unanswered)
            if rule := self._rule_for("within", command):
                await _hand_on(to_server, command[: rule.at])
                await _stop(rule, unanswered)
                passed = len(command[: rule.at])
            unanswered.append(command)
            self._passed.append(command)
            await _hand_on(to_server, command[passed:])

    async def _pass_answers(
        self, servers: asyncio.StreamReader, to_us: asyncio.StreamWriter, unanswered: deque[bytes]
    ) -> None:
        while answer := await _next(servers):
            command = unanswered[0] if unanswered else b""  # a subscription hears what it has not asked
            if rule := self._rule_for("after", command):
                await _stop(rule, deque())
            await _hand_on(to_us, answer)
            if unanswered:
                unanswered.popleft()

    def _rule_for(self, moment: Moment, command: bytes) -> Rule | None:
        return next((rule for rule in self._rules if rule.moment == moment and rule.takes(command)), None)


def _has(command: bytes, word: bytes) -> bool:
    """A word is between line ends, which no script has; the empty word is in every command."""
    return not word or b"\r\n" + word + b"\r\n" in command


async def _hand_on(end: asyncio.StreamWriter, some: bytes) -> None:
    if end.is_closing():  # to write there fails within asyncio, and not as a lost connection
        raise ConnectionResetError
    end.write(some)
    await end.drain()


async def _stop(rule: Rule, unanswered: deque[bytes]) -> None:
    if rule.go_on is not None:
        await rule.go_on.wait()
        return

    async def all_passed() -> bool:
        return not unanswered

    await until("earlier answers to be passed", all_passed)
    raise _Cut


async def _next(reader: asyncio.StreamReader) -> bytes:
    """The bytes of one command or answer, nothing at the end of the stream."""
    parts: list[bytes] = []
    try:
        await _read_value(reader, parts)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
    return b"".join(parts)


async def _read_value(reader: asyncio.StreamReader, parts: list[bytes]) -> None:
    head = await reader.readuntil(b"\r\n")
    parts.append(head)
    if head[:1] == b"$" and head != b"$-1\r\n":
        parts.append(await reader.readexactly(int(head[1:]) + 2))
    elif head[:1] == b"*":
        for _ in range(int(head[1:])):
            await _read_value(reader, parts)
