"""A broker for a whole module of these tests, and the files that they apply."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.brokers import Up

BRIEF = Path(__file__).parents[2] / "schemas" / "payloads" / "brief@1.json"


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No broker of these tests restarts behind a command's back, so nobody needs to wait for one."""
    monkeypatch.setattr("dropoff.cli.remote.PATIENCE_S", 0.1)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running broker with the schema brief@1 and the queue `research`."""
    up = Up(tmp_path_factory.mktemp("data"))
    try:
        assert up.ask("schema", "push", "brief", str(BRIEF)).code == 0
        assert up.ask("queue", "add", "research", "--schema", "brief").code == 0
        yield up
        assert up.end(signal.SIGTERM).code == 0
    finally:
        up.process.kill()
        up.forget()


@pytest.fixture
def ups(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Starts brokers for this test alone, all on one data folder."""
    started: list[Up] = []

    def start(*flags: str) -> Up:
        started.append(Up(tmp_path / "data", *flags))
        return started[-1]

    yield start
    for up in started:
        if up.process.poll() is None:
            up.end(signal.SIGTERM)
        up.forget()
    if any(up.left_alive() for up in started):  # a test that failed after a kill: the next end stops the store
        last = Up(tmp_path / "data")
        last.end(signal.SIGTERM)
        last.forget()
