"""No guard is without a test: remove it, and somebody notices. And the tool that says so is not fooled."""

from pathlib import Path

import pytest

from tests.scripts import sabotage
from tests.scripts.guards import Guard, guards
from tests.scripts.rules import read_files
from tests.scripts.sabotage import Sabotage, campaign, read_table, some, without
from tests.servers import Server

GUARDS = guards(read_files())

STEP = """#!lua
-- guard: one
if not (a and (b or c)) then -- then what
  return 'then'
-- guard: two
elseif a
  or b then return end
"""


def test_a_removed_guard_s_branch_is_never_taken():
    """Whatever its condition is made of, and nothing else changes."""
    one, two = guards({"step.lua": STEP})

    assert (one, two) == (Guard("one", "step.lua", 3), Guard("two", "step.lua", 6))
    assert without(one, STEP) == STEP.replace("not (a and (b or c))", "false")
    assert without(two, STEP) == STEP.replace("a\n  or b then", "false then")


def test_every_if_of_every_step_can_be_removed():
    texts = read_files()

    assert len({without(guard, texts[guard.file]) for guard in GUARDS}) == len(GUARDS)


def test_the_same_seed_chooses_the_same_guards():
    assert some(GUARDS, 0.1, 7) == some(GUARDS, 0.1, 7) != some(GUARDS, 0.1, 8)
    assert len(some(GUARDS, 0.1, 7)) == round(len(GUARDS) / 10)


def test_the_table_names_guards_and_tests_that_there_are():
    """It is written by `python -m tests.scripts.sabotage --write GUARD …`."""
    root = sabotage.ROOT
    table = read_table()

    assert table.keys() <= {guard.name for guard in GUARDS}
    for test in table.values():
        file, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}(" in (root / file).read_text(encoding="utf-8"), test


@pytest.mark.parametrize(
    ("guard", "test"), [("only what is due", "becomes_due"), ("what there is none of", "")], ids=["missed", "dead"]
)
def test_a_guard_that_does_nothing_is_missed_by_nobody(
    guard: str, test: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """And one that does something by who speaks of it, with no table to ask."""
    real = read_files()
    dead = "-- guard: what there is none of\nif NOW < 0 then return answer('nothing') end\n-- guard: only what is due"
    texts = real | {"due.lua": real["due.lua"].replace("-- guard: only what is due", dead)}
    monkeypatch.setattr(sabotage, "read_files", lambda: texts)
    monkeypatch.setattr(sabotage, "read_table", dict)
    monkeypatch.setattr(sabotage, "refuse_what_does_not_compile", lambda *_: None)
    server = Server("valkey").start()
    try:
        spoiled = Sabotage(tmp_path, 1, server, lambda guard, test: None, [["tests/scripts/test_guards_upkeep.py"]])
        [noticed] = spoiled.run([one for one in guards(texts) if one.name == guard]).values()
    finally:
        server.stop()

    assert (test in noticed) if test else (noticed == "")


def test_a_tenth_of_the_guards_is_missed(fresh_seed: int):
    """Another tenth in every session; the seed is printed in the report's first line."""
    noticed = campaign(some(GUARDS, 0.1, fresh_seed), fresh_seed)

    assert [guard.name for guard, test in noticed.items() if not test] == []


@pytest.mark.campaign
def test_every_guard_is_missed(fresh_seed: int):
    """The same as `python -m tests.scripts.sabotage`."""
    noticed = campaign(GUARDS, fresh_seed)

    assert [guard.name for guard, test in noticed.items() if not test] == []
