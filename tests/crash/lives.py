"""The load's processes: the droppers in one, each worker in one of its own, and the files that they leave.

Every life of a process has a file of its own, so that a line that was torn by its death stands last in it, and is no
line. What they say when they fail goes to one log.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

WAIT_S: Final = 60.0  # a broker starts in one second; on a machine that does other things too, in many
PROGRAM: Final = Path(__file__).resolve().parent / "load.py"
DROPPERS: Final = "droppers"
TOLD_BYTES: Final = 10_000  # some forty answers
END_S: Final = 40.0  # a call that is asked again and again ends when the broker is back


class Load:
    """Agents at work: all droppers together, and each worker for itself."""

    def __init__(self, folder: Path, setup: dict[str, Any]) -> None:
        self.setup, self._setup = setup, folder / "setup.json"
        self._files, self._log = folder / "load", folder / "load.log"
        self._files.mkdir()
        self._setup.write_text(json.dumps(setup))
        names = list(setup["agents"])
        self.workers = [name for name in names if name.startswith("worker")]
        self._agents = {DROPPERS: [name for name in names if name.startswith("dropper")]}
        self._agents |= {name: [name] for name in self.workers}
        self._living: dict[str, asyncio.subprocess.Process] = {}
        self._lives: dict[str, int] = {}

    async def start(self) -> None:
        for name in self._agents:
            await self._born(name)

    async def kill(self, worker: str) -> None:
        """kill -9, and the same identity begins anew, with no memory of what it held."""
        self._living[worker].kill()
        await self._living[worker].wait()
        await self._born(worker)

    def is_at_work(self, worker: str) -> bool:
        """Whether it has had a receipt in its present life."""
        return any("entry" in event for event in _lines(self.file_of(worker)))

    async def goes_on(self) -> None:
        """Return when its agents have been told some more, whatever it was."""
        before = self._size()

        async def is_more() -> bool:
            return self._size() > before + TOLD_BYTES

        await until("the load to go on", is_more)

    def require_alive(self) -> None:
        ended = [name for name, process in self._living.items() if process.returncode is not None]
        assert not ended, f"{ended} ended by themselves:\n{self._log.read_text()[-3000:]}"

    async def settle(self, is_settled: Callable[[], Awaitable[object]]) -> None:
        """The droppers stop; when everything has its outcome, the workers do."""
        await self._finish(DROPPERS)
        await is_settled()
        for worker in self.workers:
            await self._finish(worker)

    def events(self) -> list[dict[str, Any]]:
        """What all of them were told, in all their lives."""
        return [event for file in sorted(self._files.iterdir()) for event in _lines(file)]

    async def end(self) -> None:
        """Whatever happened before, leave no process."""
        for process in self._living.values():
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def _born(self, name: str) -> None:
        self._lives[name] = self._lives.get(name, 0) + 1
        command = (str(PROGRAM), str(self._setup), str(self.file_of(name)), *self._agents[name])
        with self._log.open("ab") as log:
            self._living[name] = await asyncio.create_subprocess_exec(
                sys.executable, *command, stdin=asyncio.subprocess.PIPE, stderr=log
            )

    async def _finish(self, name: str) -> None:
        process = self._living.pop(name)
        await asyncio.wait_for(process.communicate(b""), END_S)
        assert process.returncode == 0, f"{name} ended with {process.returncode}:\n{self._log.read_text()[-3000:]}"

    def file_of(self, name: str) -> Path:
        """What its present life writes; anybody may add a file of its own."""
        return self._files / f"{name}.{self._lives.get(name, 0):04}.jsonl"

    def _size(self) -> int:
        return sum(file.stat().st_size for file in self._files.iterdir())


async def until(what: str, holds: Callable[[], Awaitable[Any]], limit_s: float = WAIT_S) -> None:
    """Return as soon as it holds; fail after a bounded time, saying what was waited for."""
    try:
        async with asyncio.timeout(limit_s):
            while not await holds():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited {limit_s:.0f} s for {what}") from None


def _lines(file: Path) -> list[dict[str, Any]]:
    """The lines that were written whole."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
