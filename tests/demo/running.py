"""A demo as a process of its own, and every process that came of it.

All of them inherit the environment, so a mark in it finds them again, whoever their parent is by now. The store writes
its title over its environment; it is found by where it works, which is the demo's temporary folder.
"""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

LIMIT_S = 60  # what the issue allows a whole demo
GONE_LIMIT_S = 30
MARK = "A_DEMO_UNDER_TEST"


class Demo:
    """One run, its output as far as it has come, and its processes."""

    def __init__(self, mark: str, folder: Path, process: asyncio.subprocess.Process) -> None:
        self.mark = mark
        self.folder = folder
        self.process = process
        self.text = ""

    async def says(self, words: str) -> None:
        """Wait until it has said this."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(LIMIT_S):
                while words not in self.text:
                    line = await self.process.stdout.readline()
                    assert line, f"it ended and never said {words!r}:\n{self.text}"
                    self.text += line.decode()
        except TimeoutError:
            pytest.fail(f"waited {LIMIT_S} s for {words!r}:\n{self.text}")

    def interrupt(self) -> None:
        """Ctrl-C: the terminal sends it to all that it knows to belong to the demo."""
        os.killpg(self.process.pid, signal.SIGINT)

    async def ends(self) -> int:
        assert self.process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            self.text += (await self.process.stdout.read()).decode()
            return await self.process.wait()

    def processes(self) -> dict[int, str]:
        """What runs now because of this demo, itself included: pid → command line."""
        return running(f"{MARK}={self.mark}".encode(), self.folder)

    async def nothing_is_left(self) -> None:
        async with asyncio.timeout(GONE_LIMIT_S):
            while self.processes() or list(self.folder.iterdir()):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def started(folder: Path, *command: str) -> AsyncIterator[Demo]:
    """A demo whose temporary folder is this one. What it leaves behind is killed, so that one failing test is one."""
    mark = secrets.token_hex(8)
    environ = os.environ | {MARK: mark, "TMPDIR": str(folder)}
    process = await asyncio.create_subprocess_exec(
        *(command or (sys.executable, "-m", "dropoff.demo")),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environ,
        process_group=0,
    )
    demo = Demo(mark, folder, process)
    try:
        yield demo
    finally:
        for pid in demo.processes():
            os.kill(pid, signal.SIGKILL)
        await process.communicate()  # not wait: it returns when the pipes are closed, too


def running(mark: bytes, folder: Path) -> dict[int, str]:
    """The processes with this mark, or in this folder. A zombie has neither: it is dead, its parent has not looked."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and _belongs(entry, mark, folder):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue  # it has just ended, or is somebody else's
    return found


def _belongs(entry: Path, mark: bytes, folder: Path) -> bool:
    return mark in (entry / "environ").read_bytes().split(b"\0") or str((entry / "cwd").readlink()).startswith(
        f"{folder}/"
    )
