"""Which tests take the branch of which guard: a plugin for pytest, and the Lua that tells it.

A guard that tells writes its name into the server's log when its branch is taken: that works in every step, those that
write nothing among them, and changes nothing that a test could see.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.scripts.guards import Guard, with_condition
from tests.servers import Server

TOLD_IN: Final = "DROPOFF_TAKEN"  # the environment names the file
MARK: Final = "guard taken: "
TELLING: Final = f"""
local function taken(name, value)
  if value then redis.log(redis.LOG_WARNING, '{MARK}' .. name .. ';') end
  return value
end
"""


def told(texts: dict[str, str], guards: list[Guard]) -> dict[str, str]:
    """The files with guards that tell."""
    changed = dict(texts)
    for guard in guards:
        name = guard.name.replace("'", "\\'")
        changed[guard.file] = with_condition(guard, changed[guard.file], f"taken('{name}', ({{}}))")
    changed["_prelude.lua"] = TELLING + changed["_prelude.lua"]
    return changed


class Taken:
    """Reads the logs of all servers that tests start, after each test."""

    def __init__(self) -> None:
        self._read: dict[Path, int] = {}
        self._now: set[str] = set()
        self._by: dict[str, list[tuple[bool, float, str]]] = {}
        self._took_s = 0.0

    def pytest_sessionstart(self) -> None:
        start, stop, taken = Server.start, Server.stop, self

        def started(self: Server) -> Server:
            taken._read.setdefault(self.folder / "log", 0)
            return start(self)

        def stopped(self: Server) -> None:
            taken._look()
            stop(self)

        Server.start, Server.stop = started, stopped

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._took_s += report.duration

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._now, self._took_s = set(), 0.0
        result = yield
        self._look()
        for guard in self._now:
            # Both servers run the same Lua: the second is asked last.
            self._by.setdefault(guard, []).append(("redis" in item.nodeid, self._took_s, item.nodeid))
        return result

    def pytest_sessionfinish(self) -> None:
        found = {guard: [test for _, _, test in sorted(tests)] for guard, tests in self._by.items()}
        Path(os.environ[TOLD_IN]).write_text(json.dumps(found))

    def _look(self) -> None:
        for log, read in self._read.items():
            if log.exists():
                with log.open(errors="replace") as lines:
                    lines.seek(read)
                    self._now |= set(re.findall(f"{MARK}(.*);", lines.read()))
                    self._read[log] = lines.tell()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Taken(), "guards taken")
