"""Where the bearers of new agents are put: one file each, readable by its owner alone, never overwritten.

The broker shows a bearer once and keeps only its hash. So the file is opened before the agent is made: a folder that
cannot be written to must not be found out when the bearer is there and has nowhere to go.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import click

from dropoff.core import places
from dropoff.core.handoff import NAME


class Keep(Protocol):
    """Write the bearer down, durably."""

    def __call__(self, bearer: str) -> None: ...


class FileThere(click.ClickException):
    """A credential would be overwritten."""

    exit_code = 5

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} exists, and a credential is never overwritten. Nothing was changed. "
            "Move it away, or name another data folder with --data."
        )


def path_for(data: Path, agent: str) -> Path:
    """Inside the data folder, whatever somebody calls an agent."""
    if not NAME.match(agent):
        raise click.UsageError(
            f"'{agent[:80]}' is no name. A name is made of a-z 0-9 . _ - (at most 64), "
            "and begins and ends with a letter or digit."
        )
    return data / places.AGENTS_FOLDER / f"{agent}.bearer"


def require_free(data: Path, agent: str) -> None:
    if path_for(data, agent).exists():
        raise FileThere(path_for(data, agent))


@contextmanager
def kept(data: Path, agent: str) -> Generator[Keep]:
    """Give the function that keeps the agent's bearer. A file that nothing was written into is removed again."""
    path = path_for(data, agent)
    handle = _opened(path)
    written = False

    def keep(bearer: str) -> None:
        nonlocal written
        os.write(handle, f"{bearer}\n".encode())
        os.fsync(handle)
        written = True

    try:
        yield keep
    finally:
        os.close(handle)
        if not written:
            path.unlink(missing_ok=True)


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise FileThere(path) from None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}. Nothing was changed.") from error
