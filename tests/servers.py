"""Real servers for tests: the embedded store's Valkey and Redis 7.0, each a process of ours on a socket of its own.

A server is stopped by the handle of the child that we started, however the test ended. Waits are bounded and say what
they wait for.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.retry import Retry

from dropoff.storage.connection import Source
from dropoff.storage.server import binary_of_wheel

WAIT_S: Final = 15.0
PRODUCTS: Final = ("valkey", "redis")


def binary_of(product: str) -> str:
    """The server's program. A missing one is a skip on a laptop, and a failure where CI is set."""
    if product == "valkey":
        return str(binary_of_wheel())
    found = shutil.which("redis-server")
    if found is None:
        reason = "there is no redis-server here: install Redis 7.0 (on Debian: apt-get install redis-server)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def until(what: str, holds: Callable[[], bool]) -> None:
    """Return as soon as it holds; fail after a bounded time, saying what was waited for."""
    ends = time.monotonic() + WAIT_S
    while not holds():
        if time.monotonic() > ends:
            pytest.fail(f"waited {WAIT_S:.0f} s for {what}")
        time.sleep(0.005)


class Server:
    """One server process with its folder; it can be killed and started again on what it had written."""

    def __init__(self, product: str, **settings: str) -> None:
        self.product = product
        self._binary = binary_of(product)
        # Short, because the kernel takes no socket path over 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="dropoff-test-"))
        self.socket = str(self.folder / "socket")
        self.url = f"unix://{self.socket}"
        self._settings = {
            "port": "0",
            "unixsocket": self.socket,
            "dir": str(self.folder),
            "logfile": str(self.folder / "log"),
            "save": "",
            "appendonly": "yes",
            # The fsync costs most of a step, and most tests are not about power cuts; those that are say "always".
            "appendfsync": "everysec",
        } | {name.replace("_", "-"): value for name, value in settings.items()}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def client(self) -> redis.Redis:
        """A plain client, for looking from outside."""
        return redis.Redis(unix_socket_path=self.socket, decode_responses=True, retry=Retry(NoBackoff(), 0))

    def start(self) -> "Server":
        words = [word for name, value in self._settings.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen([self._binary, *words], stdin=subprocess.DEVNULL)
        until(f"{self.product} to serve", self._serves)
        return self

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the process if it runs, and remove its folder; twice is harmless."""
        self._end(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(WAIT_S)
            self._process = None

    def _serves(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            pytest.fail(f"{self.product} ended while it started:\n{(self.folder / 'log').read_text()[-2000:]}")
        try:
            with self.client as client:
                return bool(client.ping())
        except AuthenticationError:
            return True  # it serves, though not us
        except RedisError:
            return False


def source_of(server: Server) -> Source:
    """The server as a store asks for it."""

    async def url() -> str:
        return server.url

    return Source(url)
