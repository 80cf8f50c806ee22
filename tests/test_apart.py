"""What is computed in a process of its own, and what becomes of that process."""

import asyncio
import os
import re
import resource
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dropoff.apart import NICE, NotComputedError, apart
from dropoff.errors import BrokerUnavailable
from tests.world import until, within

NAN = float("nan")


def pid_and(value: object) -> tuple[int, object]:
    return os.getpid(), value


def hang(said: str) -> None:
    """Say who hangs, and hang."""
    unsaid = Path(said + ".unsaid")
    unsaid.write_text(str(os.getpid()))
    unsaid.rename(said)
    while True:
        time.monotonic()


def hang_and_let_nobody_in(said: str) -> None:
    """The same, in one call that keeps the interpreter's lock."""
    Path(said).write_text(str(os.getpid()))
    re.match(r"(a+)+$", "a" * 60 + "!")


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def fail() -> None:
    raise ValueError("made to fail")


async def hanging(said: Path) -> int:
    """The process that hangs, once it does."""

    async def is_said() -> bool:
        return said.exists()

    await until("the process to hang", is_said)
    return int(said.read_text())


def leave_a_child(said: str) -> None:
    """A child that holds the answer's pipe open after its parent, which hangs, too."""
    if os.fork():
        while True:
            signal.pause()
    hang(said)


async def gone(pid: int) -> None:
    async def is_gone() -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        return state == "Z"  # whose new parent has not looked yet

    await until(f"process {pid} to be gone", is_gone)


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="whether a process lives is read there")


async def test_an_answer_comes_from_another_process_and_is_the_very_value():
    """Also where JSON could not say it."""
    pid, value = await apart(pid_and, {"half a pair": "\ud800", "many": ["x" * 1_000] * 1_000, "none": (NAN,)})

    assert pid != os.getpid()
    assert str(value) == str({"half a pair": "\ud800", "many": ["x" * 1_000] * 1_000, "none": (NAN,)})


async def test_it_finds_what_we_have_found_and_nothing_of_the_folder_we_are_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "pickle.py").write_text("raise ImportError('not this one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)

    assert (await apart(pid_and, 1))[1] == 1


async def test_callers_come_first_and_the_terminal_is_ours():
    """It waits for processors that others want, and hears no Ctrl-C."""
    assert await apart(os.getpriority, os.PRIO_PROCESS, 0) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICE)
    assert await apart(os.getsid, 0) != os.getsid(0)


@needs_proc
@pytest.mark.parametrize("hang", [hang, hang_and_let_nobody_in])
async def test_what_takes_too_long_is_given_up_and_its_process_is_gone(hang: Callable[[str], None], tmp_path: Path):
    with pytest.raises(NotComputedError, match=r"^it takes longer than 5 s$"):
        await within("it to be given up", apart(hang, str(tmp_path / "said"), longest_s=5))

    await gone(await hanging(tmp_path / "said"))


@needs_proc
async def test_nobody_waits_for_a_process_that_does_not_end(tmp_path: Path):
    """It is killed, and its pipe stays open all the same."""
    with pytest.raises(NotComputedError, match=r"^it takes longer than 3 s$"):
        await within("it to be given up", apart(leave_a_child, str(tmp_path / "said"), longest_s=3))

    child = await hanging(tmp_path / "said")
    os.kill(child, signal.SIGKILL)
    await gone(child)


@needs_proc
async def test_whoever_is_cancelled_leaves_no_process(tmp_path: Path):
    computing = asyncio.create_task(apart(hang, str(tmp_path / "said")))
    pid = await hanging(tmp_path / "said")
    computing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await computing

    await gone(pid)


@needs_proc
async def test_a_killed_broker_leaves_no_process(tmp_path: Path):
    """`kill -9`: nobody is there who could end it."""
    said = tmp_path / "said"
    caller = (
        "import asyncio; from dropoff.apart import apart; from tests.test_apart import hang; "
        f"asyncio.run(apart(hang, {str(said)!r}))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    broker = await asyncio.create_subprocess_exec(sys.executable, "-c", caller, env=environment)
    try:
        pid = await hanging(said)
    finally:
        broker.kill()
        await broker.wait()

    await gone(pid)


async def test_what_crashes_takes_nobody_along():
    with pytest.raises(NotComputedError, match=r"^the process that did it ended with -11$"):
        await apart(crash)


async def test_what_cannot_even_be_heard_is_no_answer(monkeypatch: pytest.MonkeyPatch):
    """The process ends before it has read all of the call."""

    def known_here(_: bytes) -> None: ...

    known_here.__module__, known_here.__qualname__ = "nowhere_else", "known_here"
    module: Any = types.ModuleType("nowhere_else")
    module.known_here = known_here
    monkeypatch.setitem(sys.modules, "nowhere_else", module)
    with pytest.raises(NotComputedError, match=r"^the process that did it ended with 1$"):
        await apart(known_here, b"x" * 10_000_000)


def test_a_process_whose_caller_has_gone_before_it_asked_ends_without_a_word():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-m", "dropoff.apart"], env=environment, input=b"", capture_output=True)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


async def test_a_failure_is_no_answer_and_is_told_to_the_operator(capfd: pytest.CaptureFixture[str]):
    with pytest.raises(NotComputedError, match=r"^the process that did it ended with 1$"):
        await apart(fail)

    assert "ValueError: made to fail" in capfd.readouterr().err


async def test_where_no_process_is_to_be_had_it_is_said_that_nothing_was_stored():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # a process needs pipes, and no more files may be opened
    try:
        with pytest.raises(BrokerUnavailable, match=r"cannot start a process \(.*\)\. Nothing of this call was stored"):
            await apart(pid_and, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
