"""The broker of one command line, asked one thing after another.

Commands are plain functions: nothing of theirs runs beside anything else, so the event loop stays in here. One
connection serves all that a command asks, and is made when it first asks.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dropoff.cli.retold import retold
from dropoff.errors import DropoffError

if TYPE_CHECKING:
    from dropoff.client.connection import Connection

Answer = dict[str, Any]

PATIENCE_S: Final = 2.0  # a restarting broker is mostly back by then, and who forgot to start one hears it soon


class Remote:
    """One broker, by its URL; `close` leaves it."""

    def __init__(self, url: str | None, credential_file: str | None, data: Path, tell: Callable[[str], None]) -> None:
        self._url = url or ""
        self._credential_file = credential_file or ""
        self._data = data
        self._tell = tell
        self._runner = asyncio.Runner()
        self._connection: Connection | None = None

    @property
    def url(self) -> str:
        return self._open().url

    def get(self, path: str, **query: str | int | None) -> Answer:
        """A read."""
        return self._ask(f"GET {path}", lambda broker: broker.get(path, **query))

    def post(self, path: str, body: Mapping[str, Any], answer_s: float | None = None) -> Answer:
        """An operator's act; `answer_s` for one that takes longer than most."""
        longer = {} if answer_s is None else {"answer_s": answer_s}
        return self._ask(f"POST {path}", lambda broker: broker.post(path, body, **longer))

    def call(self, verb: str, arguments: Mapping[str, Any]) -> Answer:
        """An agent's verb."""
        return self._ask(f"POST /v1/{verb}", lambda broker: broker.call(verb, arguments))

    def close(self) -> None:
        if self._connection is not None:
            self._runner.run(self._connection.close())
        self._runner.close()

    def _ask(self, what: str, asking: "Callable[[Connection], Coroutine[Any, Any, Answer]]") -> Answer:
        broker = self._open()
        self._tell(f"{what} at {broker.url}")
        try:
            return self._runner.run(asking(broker))
        except DropoffError as error:
            from dropoff.client import RemoteError

            if isinstance(error, RemoteError):
                raise retold(error, broker.url) from error
            raise

    def _open(self) -> "Connection":
        if self._connection is None:
            from dropoff.client.connection import connection

            self._connection = connection(
                self._url, credential_file=self._credential_file, data=self._data, patience_s=PATIENCE_S
            )
        return self._connection
