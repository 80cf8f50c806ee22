"""A schema that takes long to judge is judged beside the broker, and the broker does not take long over it."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from dropoff.contracts import lint
from dropoff.contracts.gate import pattern_bytes
from dropoff.contracts.schema import Schema
from dropoff.errors import SchemaRefused
from dropoff.operations.acting import Acting
from tests.fundamentals.conftest import House

MANY_PARTS: dict[str, Any] = {"type": "object", "properties": {f"f{n}": {"type": "string"} for n in range(500)}}
FEW_PATTERNS: dict[str, Any] = {
    "type": "object",
    "properties": {f"f{n}": {"pattern": rf"(?i)^\pL{{5}}{n:02}$"} for n in range(16)},
}


def cpu_of_judging(content: dict[str, Any]) -> float:
    """What this process takes for it, once it has all it needs: the least of three times."""
    took: list[float] = []
    for _ in range(3):
        pattern_bytes.cache_clear()
        began = time.process_time()
        assert lint.judge("dear", content) == ()
        took.append(time.process_time() - began)
    return min(took)


@pytest.mark.parametrize("content", [MANY_PARTS, FEW_PATTERNS])
async def test_what_takes_long_to_judge_is_judged_by_another_process(house: House, content: dict[str, Any]):
    """Threads would count as this process, too: they share its lock with the loop."""
    dear = cpu_of_judging(content)

    began = time.process_time()
    _, new = await house.operations.push_schema(house.operator, "dear", content)

    assert new
    assert time.process_time() - began < dear / 2


async def test_it_is_refused_with_every_problem_all_the_same(house: House):
    properties = MANY_PARTS["properties"] | {"a": {"type": "strin"}, "b": {"minLength": -1}}
    with pytest.raises(SchemaRefused) as refusal:
        await house.operations.push_schema(house.operator, "dear", MANY_PARTS | {"properties": properties})

    assert {problem.path for problem in refusal.value.problems} == {
        "schema.properties.a.type",
        "schema.properties.b.minLength",
    }
    assert await registered(house) == ["brief@1"]


async def test_what_is_not_judged_in_time_is_refused_and_nothing_is_registered(house: House):
    house.operations.longest_s = 0.001
    with pytest.raises(SchemaRefused) as refusal:
        await house.operations.push_schema(house.operator, "dear", MANY_PARTS)

    assert "Nothing was stored" in str(refusal.value)
    assert "schema: could not be judged: it takes longer than 0.001 s" in str(refusal.value)
    assert await registered(house) == ["brief@1"]

    house.operations.longest_s = 10
    await house.operations.push_schema(house.operator, "dear", MANY_PARTS)
    assert await registered(house) == ["brief@1", "dear@1"]


async def test_even_small_schemas_are_compared_by_another_process(house: House):
    """Of 64 values each, some pairs take 0.1 s: alternatives of alternatives."""
    old, new = (Schema.of("small", n, {"type": "object", "maxProperties": 3 - n}) for n in (1, 2))
    assert (await house.operations.compared(old, new)).verdict == "incompatible"

    house.operations.longest_s = 0.001
    found = await house.operations.compared(old, new)

    assert found.verdict == "unknown"
    assert [change.says for change in found.changes] == ["is not compared: it takes longer than 0.001 s"]


async def registered(house: House) -> list[str]:
    return sorted(await house.store.schemas())


class Computing(Acting):
    """Somebody who computes, and nothing else."""

    async def several(self, notes: Path) -> None:
        await asyncio.gather(*(self._apart(noted, str(notes)) for _ in range(3)))


def noted(notes: str) -> None:
    """Something that takes long, and notes when it begins and ends."""
    for word in ("begins", "ends"):
        with Path(notes).open("a") as file:
            file.write(f"{word}\n")
        lint.judge("dear", MANY_PARTS)


async def test_of_several_computations_one_goes_on_at_a_time(house: House, tmp_path: Path):
    """A machine has few processors, and those who call have the first right to them."""
    await Computing(house.store, bytes).several(tmp_path / "notes")

    assert (tmp_path / "notes").read_text().split() == ["begins", "ends"] * 3
