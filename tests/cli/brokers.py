"""Brokers for these tests, each `dropoff up` in a process of its own, and the command line as a script calls it."""

import json
import os
import pty
import select
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from dropoff.cli.root import cli

WAIT_S = 60.0  # on a machine that is busy with other tests an agent takes 20 s to import
DROPOFF = [sys.executable, "-c", "from dropoff.cli import main; main()"]
ON_ITS_TERMINAL = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from dropoff.cli import main
main()
"""


class Heard(NamedTuple):
    """What a command has answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Up:
    """One `dropoff up` on a free port.

    What it starts is known by a mark in the environment, and the store, which writes its title over that, by the folder
    that it works in.
    """

    def __init__(self, data: Path, *flags: str) -> None:
        self.data = data
        self.mark = f"DROPOFF_TEST_MARK={uuid4().hex}"
        name, _, value = self.mark.partition("=")
        self.process = subprocess.Popen(
            [*DROPOFF, "up", "--data", str(data), "--port", "0", *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment() | {name: value},
        )
        self.told: dict[str, Any] = json.loads(self._first_line())
        self.url: str = self.told["url"]

    def _first_line(self) -> str:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.process.stdout, selectors.EVENT_READ)
            if not waiting.select(WAIT_S):
                self.process.kill()
                pytest.fail(f"waited {WAIT_S:.0f} s for `dropoff up` to serve")
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(f"`dropoff up` ended while it started: {self.process.communicate()[1]}")
        return line

    def end(self, by: signal.Signals) -> Heard:
        """Send it this signal, and hear its last words."""
        self.process.send_signal(by)
        out, err = self.process.communicate(timeout=WAIT_S)
        return Heard(self.process.returncode, out, err)

    def forget(self) -> None:
        """Close our ends of its pipes."""
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def ask(self, *args: str, stdin: str = "", credential: str | Path = "") -> Heard:
        """A command in this process, asked of this broker."""
        return ask("--url", self.url, "--data", str(self.data), *args, stdin=stdin, credential=credential)

    def left_alive(self) -> list[str]:
        """The programs, in whatever process, that this `up` has started and that are alive."""
        alive: list[str] = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                marked = self.mark.encode() in (process / "environ").read_bytes().split(b"\0")
                if marked or os.readlink(process / "cwd") == str(self.data.resolve() / "store"):
                    alive.append(Path(os.readlink(process / "exe")).name)
            except OSError:
                continue  # it has ended meanwhile, or is somebody else's
        return sorted(alive)


class Terminal:
    """A command on a terminal of its own, and somebody who reads and types there."""

    def __init__(self, *args: str) -> None:
        self.shown = ""
        self._ours, theirs = pty.openpty()
        env = clean_environment() | {"TERM": "xterm-256color", "COLUMNS": "160", "LINES": "50"}
        # A session whose terminal this is, so that Ctrl-C typed there is what it is elsewhere.
        self.process = subprocess.Popen(
            [sys.executable, "-c", ON_ITS_TERMINAL, *args],
            stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)

    def read_until(self, text: str) -> str:
        """All that was shown since the last time, up to this text."""
        heard = b""
        while text.encode() not in heard:
            more = self._more(f"waited {WAIT_S:.0f} s for {text!r} on the terminal, and read {heard!r}")
            assert more, f"it ended before it showed {text!r}: {heard!r}"
            heard += more
        self.shown += heard.decode()
        return heard.decode()

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def end(self) -> int:
        """Read all that is still shown; its exit code."""
        heard = b""
        while more := self._more(f"waited {WAIT_S:.0f} s for its end, and read {heard!r}"):
            heard += more
        self.shown += heard.decode()
        return self.process.wait(WAIT_S)

    def close(self) -> None:
        os.close(self._ours)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(WAIT_S)

    def _more(self, waited: str) -> bytes:
        """What is shown next; nothing at the end."""
        if not select.select([self._ours], [], [], WAIT_S)[0]:
            pytest.fail(waited)
        try:
            return os.read(self._ours, 65_536)
        except OSError:  # how Linux says that the other side is closed
            return b""


def ask(*args: str, stdin: str = "", credential: str | Path = "") -> Heard:
    """A command in this process, without a terminal. A credential is given as a script would: by the environment."""
    from click.testing import CliRunner

    env: dict[str, str | None] = dict.fromkeys(("DROPOFF_URL", "DROPOFF_DATA", "DROPOFF_STORE", "NO_COLOR"))
    env["DROPOFF_CREDENTIAL_FILE"] = str(credential) or None
    answered = CliRunner().invoke(cli, list(args), input=stdin, env=env, prog_name="dropoff")
    return Heard(answered.exit_code, answered.stdout, answered.stderr)


def run(*args: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> Heard:
    """A command as a process of its own."""
    ended = subprocess.run(
        [*DROPOFF, *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
        cwd=cwd,
        env=clean_environment() | (env or {}),
    )
    return Heard(ended.returncode, ended.stdout, ended.stderr)


def line_of(process: "subprocess.Popen[str]") -> str:
    """The next line that a command writes while it goes on."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], WAIT_S)[0], f"waited {WAIT_S:.0f} s for a line"
    return process.stdout.readline()


def clean_environment() -> dict[str, str]:
    """Ours, without what would tell a broker or a command something."""
    told = ("DROPOFF_", "OPENAI_")
    return {name: value for name, value in os.environ.items() if not name.startswith(told)}


def until(what: str, holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + WAIT_S
    while not holds():
        if time.monotonic() > ends:
            pytest.fail(f"waited {WAIT_S:.0f} s for {what}")
        time.sleep(0.01)
