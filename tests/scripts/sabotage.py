"""Removes the guards of `lua/` one by one and expects the tests to notice each.

    python -m tests.scripts.sabotage [--seed N] [--share 0.1] [--write] [GUARD …]

To remove a guard is to make its condition `false`: its branch is never taken. This happens in a copy of the project,
never in the checkout; nothing of the checkout is imported by the tests that run there. Rules that read the Lua as text
are left out: they must not notice a change of letters, but tests a change of what happens.

A guard is noticed when a test fails that passes while the guard is there. Which test noticed it last time stands in
`noticed.json` and is asked first: the table makes it faster and can make nothing wrong; `--write` writes it anew. Where
that test does not notice, all others are asked in turns. Before each turn they run once with guards that tell when
their branch is taken (taken.py): who never took a branch cannot miss it, and is not asked.
"""

import argparse
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from threading import Lock
from typing import Final
from xml.etree import ElementTree

from dropoff.storage.scripts import _COMMENT_LINES, every_script
from tests.scripts import taken
from tests.scripts.guards import Guard, guards, with_condition
from tests.scripts.rules import read_files
from tests.servers import Server

ROOT: Final = Path(__file__).parents[2]
TABLE: Final = Path(__file__).with_name("noticed.json")
COPIED: Final = ("dropoff", "tests", "schemas", "examples", "pyproject.toml", "README.md", "compose.yaml")

Noted = Callable[[Guard, str], None]
Turns = Sequence[Sequence[str]]

# They are asked in turns, who is quick first. Of tests/scripts only what looks at what happens.
ASKED: Final[Turns] = (
    ("tests/scripts/test_guards_*.py",),
    ("tests/store/*.py", "tests/upkeep/*.py", "tests/scripts/test_nth_call.py"),
    ("tests/faults/*.py", "tests/fundamentals/*.py", "tests/agreement/*.py", "tests/doors/http/*.py"),
)
ABOUT_SERVERS: Final = ("test_embedded.py", "test_connection_loss.py", "test_refused_stores.py")

WRITING: Final = Lock()

AT_ONCE: Final = 2
ONE_TEST_S: Final = 60.0
ALL_TESTS_S: Final = 300.0
ASKED_AT_ONCE: Final = 25


def without(guard: Guard, text: str) -> str:
    """The file with this guard's condition made `false`."""
    return with_condition(guard, text, "false")


def refuse_what_does_not_compile(before: str, after: str, server: Server) -> None:
    """Or every test would notice, and that would say nothing."""
    old, new = (_COMMENT_LINES.sub("", text.removeprefix(text.partition("\n")[0])) for text in (before, after))
    changed = [text.replace(old, new) for step in every_script() if old in (text := step.text.decode())]
    assert old != new, "nothing was removed"
    assert changed, "no step is made of this file"
    with server.client as client:
        for text in changed:
            client.script_load(text)


# ---- the copy ---------------------------------------------------------------------------------------------------


class Copy:
    """The project once more, to be spoiled."""

    def __init__(self, folder: Path, texts: dict[str, str], seed: int) -> None:
        self.folder = folder
        # Random agents tell the same stories with a guard and without.
        self.environment = {"PYTHONPATH": str(folder), "TMPDIR": str(folder / "t"), "DROPOFF_SEED": str(seed)}
        (folder / "t").mkdir(parents=True)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
            elif source.exists():
                shutil.copy(source, folder / name)
        self.write(texts)
        where = self._run([sys.executable, "-c", "import dropoff; print(dropoff.__file__)"], ONE_TEST_S)
        assert str(where).strip() == str(folder / "dropoff" / "__init__.py"), where

    def write(self, texts: dict[str, str]) -> None:
        """These files of `lua/`."""
        for file, text in texts.items():
            (self.folder / "dropoff" / "storage" / "lua" / file).write_text(text, encoding="utf-8")

    def failing(self, tests: Sequence[str], limit_s: float, *options: str) -> list[str]:
        """Those of these tests that fail here, in the order in which they failed."""
        if not tests:
            return []
        report = self.folder / "report.xml"
        report.unlink(missing_ok=True)
        base = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider"]
        output = self._run([*base, f"--junitxml={report}", "-o", "junit_family=xunit1", *options, *tests], limit_s)
        if output is None:
            return []
        assert report.exists(), output
        cases = ElementTree.parse(report).iter("testcase")
        failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
        assert all(case.get("file") for case in failed), f"tests that could not be read:\n{output[-3000:]}"
        return list(dict.fromkeys(f"{case.get('file')}::{case.get('name')}" for case in failed))

    def _run(self, command: Sequence[str], limit_s: float) -> str | None:
        """What it printed; None if it took too long."""
        environment = os.environ | self.environment
        environment.pop("PYTEST_ADDOPTS", None)
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that it can be ended with the servers that it started
        )
        try:
            return process.communicate(timeout=limit_s)[0]
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()


# ---- the campaign -----------------------------------------------------------------------------------------------


class Sabotage:
    """Guards to remove, tests to ask, copies to spoil."""

    def __init__(
        self, folder: Path, seed: int, server: Server, noted: Noted, asked: Sequence[Sequence[str]] = ASKED
    ) -> None:
        self._texts = read_files()
        self._copies: Queue[Copy] = Queue()
        for place in range(AT_ONCE):
            self._copies.put(Copy(folder / str(place), self._texts, seed))
        self._table = read_table()
        self._broken: set[str] = set()
        self._took: dict[str, list[str]] = {}
        self._server = server
        self.noted, self._asked = noted, asked

    def run(self, chosen: Sequence[Guard]) -> dict[Guard, str]:
        """For each guard the test that missed it, or ""."""
        known = [test for guard in chosen if (test := self._table.get(guard.name)) and self._exists(test)]
        self._broken |= set(self._intact(sorted(set(known)), ALL_TESTS_S))
        noticed = self._all(chosen, self._by_table)
        for asked in self._asked:
            left = [guard for guard, test in noticed.items() if not test]
            if left:
                self._look_at(asked)
                noticed |= self._all(left, self._by_search)
        return noticed

    def _all(self, chosen: Sequence[Guard], ask: Callable[[Copy, Guard], str]) -> dict[Guard, str]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return dict(zip(chosen, pool.map(lambda guard: self._without(guard, ask), chosen), strict=True))

    def _without(self, guard: Guard, ask: Callable[[Copy, Guard], str]) -> str:
        began, before = time.monotonic(), self._texts[guard.file]
        after = without(guard, before)
        copy = self._copies.get()
        copy.write({guard.file: after})
        try:
            refuse_what_does_not_compile(before, after, self._server)
            test = ask(copy, guard)
        finally:
            copy.write({guard.file: before})
            self._copies.put(copy)
        if test:
            self.noted(guard, test)
            print(f"{guard.file}: {guard.name}: {test} ({time.monotonic() - began:.1f} s)", flush=True)
        return test

    def _by_table(self, copy: Copy, guard: Guard) -> str:
        known = self._table.get(guard.name, "")
        if not known or known in self._broken or not self._exists(known):
            return ""
        return next(iter(copy.failing([known], ONE_TEST_S)), "")

    def _by_search(self, copy: Copy, guard: Guard) -> str:
        """Ask all who took the branch."""
        left = [test for test in self._took.get(guard.name, []) if test not in self._broken]
        while left:
            some, left = left[:ASKED_AT_ONCE], left[ASKED_AT_ONCE:]
            for test in copy.failing(some, ALL_TESTS_S, "-x"):
                return test
        return ""

    def _look_at(self, asked: Sequence[str]) -> None:
        """Who takes which branch; and who fails though nothing is removed, and so can notice nothing."""
        copy = self._copies.get()
        told = copy.folder / "taken.json"
        copy.write(taken.told(self._texts, guards(self._texts)))
        copy.environment[taken.TOLD_IN] = str(told)
        try:
            files = [str(file) for file in asked_files(copy.folder, asked)]
            self._broken |= set(copy.failing(files, ALL_TESTS_S * 2, "-p", taken.__name__))
            self._took = json.loads(told.read_text())
        finally:
            copy.write(self._texts)
            self._copies.put(copy)

    def _intact(self, tests: Sequence[str], limit_s: float) -> list[str]:
        copy = self._copies.get()
        try:
            return copy.failing(tests, limit_s)
        finally:
            self._copies.put(copy)

    def _exists(self, test: str) -> bool:
        file, _, name = test.partition("::")
        path = ROOT / file
        return path.exists() and f"def {name.partition('[')[0]}(" in path.read_text(encoding="utf-8")


def asked_files(root: Path, asked: Sequence[str]) -> list[Path]:
    found = [file.relative_to(root) for pattern in asked for file in sorted(root.glob(pattern))]
    return [file for file in found if file.name.startswith("test_") and file.name not in ABOUT_SERVERS]


def some(all_of_them: Sequence[Guard], share: float, seed: int) -> list[Guard]:
    return random.Random(seed).sample(all_of_them, max(round(len(all_of_them) * share), 1))


def campaign(chosen: Sequence[Guard], seed: int, noted: Noted = lambda guard, test: None) -> dict[Guard, str]:
    server = Server("valkey")
    with tempfile.TemporaryDirectory(prefix="dropoff-") as folder:
        try:
            return Sabotage(Path(folder), seed, server.start(), noted).run(chosen)
        finally:
            server.stop()


def write_down(guard: Guard, test: str) -> None:
    """At once: a campaign that is cut short has not been for nothing."""
    names = {one.name for one in guards(read_files())}
    with WRITING:
        table = {**read_table(), guard.name: test}
        kept = {name: table[name] for name in sorted(table) if name in names}
        TABLE.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_table() -> dict[str, str]:
    return json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.scripts.sabotage", description=str(__doc__).partition("\n")[0]
    )
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--share", type=float, default=1.0, help="of all guards, chosen by the seed")
    parser.add_argument("--write", action="store_true", help="write down who noticed, to be asked first next time")
    parser.add_argument("guards", nargs="*", metavar="GUARD")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers are stopped and copies removed
    known = guards(read_files())
    unknown = set(given.guards) - {guard.name for guard in known}
    if unknown:
        parser.error(f"no such guard: {', '.join(sorted(unknown))}")
    chosen = [guard for guard in known if guard.name in given.guards] or some(known, given.share, given.seed)
    print(f"{len(chosen)} of {len(known)} guards, seed {given.seed}", flush=True)
    noticed = campaign(chosen, given.seed, write_down) if given.write else campaign(chosen, given.seed)
    missed_by_nobody = [guard for guard, test in noticed.items() if not test]
    for guard in missed_by_nobody:
        print(f"nobody missed: {guard.file}:{guard.line}: {guard.name}")
    print(f"{len(chosen) - len(missed_by_nobody)} of {len(chosen)} guards were missed; seed {given.seed}")
    return 1 if missed_by_nobody else 0


if __name__ == "__main__":
    sys.exit(main())
