"""Processes that cannot outlive the one that started them, and what they report on the way.

Here stand both halves, for they must agree. The parent keeps one end of a pipe, the child has the other as its standard
input. Nothing is ever written into it: it closes when the parent lets go, or dies, be it by `kill -9`; the child sees
that and leaves. No process ids are looked up and no signals are relied on, so there is nothing to race with.

A child is started in a session of its own: a Ctrl-C in the terminal is for the parent, which then lets go. It reports
in lines of JSON on its standard output; what it has to complain about goes to its standard error, and the last lines of
that are shown should it fail.
"""

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import msgspec

URL: Final = "DROPOFF_URL"  # the environment of an agent: where its broker is, and what proves who it is
BEARER: Final = "DROPOFF_BEARER"

LEAVE_LIMIT_S: Final = 0.5  # an agent leaves at once, unless it is still busy with its imports; nothing is lost then
COMPLAINT_LINES: Final = 25
REPORT_BYTES_MAX: Final = 1_000_000  # asyncio's own limit for a line is 64 kB

Report = dict[str, Any]


class ChildError(Exception):
    """A child ended, or fell silent, where it should have reported."""


# ---- in the child -----------------------------------------------------------------------------------------------


def report(event: str, **facts: Any) -> None:
    """Tell the parent what has just happened."""
    sys.stdout.write(msgspec.json.encode({"event": event, "pid": os.getpid(), **facts}).decode() + "\n")
    sys.stdout.flush()


def leave_with_parent(leave: Callable[[], None] = lambda: os._exit(0)) -> None:
    """From now on: when the parent lets go of us, or is gone, `leave`.

    By default at once, without a good-bye: what an agent holds is the broker's to give to another.
    """

    def watch() -> None:
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        leave()

    threading.Thread(target=watch, name="dropoff parent", daemon=True).start()


# ---- in the parent ----------------------------------------------------------------------------------------------


class Child:
    """A process that was started here."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, leave_limit_s: float) -> None:
        self.name = name
        self._process = process
        self._leave_limit_s = leave_limit_s
        self._complaints: deque[str] = deque(maxlen=COMPLAINT_LINES)
        self._listening = asyncio.create_task(self._listen(), name=f"complaints of {name}")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        return self._process.returncode

    async def reports(self, event: str, within_s: float) -> Report:
        """Its next report, which must be this one. Raises `ChildError` for another, for none in time, for its end."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(within_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise ChildError(self._said(f"did not report '{event}' within {within_s:.0f} s")) from None
        if not line:
            code = await self._process.wait()
            await self._listening
            raise ChildError(self._said(f"ended with {code} before it reported '{event}'"))
        heard: Report = msgspec.json.decode(line)
        if heard["event"] != event:
            raise ChildError(self._said(f"reported '{heard}' where '{event}' was expected"))
        return heard

    async def kill(self) -> int:
        """`kill -9`. Returns the exit status, which is -9 if that is what ended it."""
        with suppress(ProcessLookupError):
            self._process.kill()
        return await self._process.wait()

    async def let_go(self) -> int:
        """Let it leave, and return its exit status; killed if it does not."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(self._leave_limit_s):
                await self._process.wait()
        except TimeoutError:
            await self.kill()
        await self._listening
        assert self._process.returncode is not None
        return self._process.returncode

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self._complaints.append(line.decode(errors="replace").rstrip())

    def _said(self, what: str) -> str:
        return "\n".join([f"{self.name} (pid {self.pid}) {what}", *(f"  {line}" for line in self._complaints)])


@asynccontextmanager
async def child(
    name: str, module: str, *args: str, environ: Mapping[str, str], leave_limit_s: float = LEAVE_LIMIT_S
) -> AsyncGenerator[Child]:
    """A child for as long as the block runs; afterwards it is gone, however the block ended.

    Its arguments can be read by everybody on the machine: what is secret goes into `environ`.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # or a folder `agents` where the demo is started would hide the Agents SDK
        "-m",
        module,
        *args,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        limit=REPORT_BYTES_MAX,
        env=environ,
    )
    started = Child(name, process, leave_limit_s)
    try:
        yield started
    finally:
        await started.let_go()
