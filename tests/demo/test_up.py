"""`dropoff up --demo`: the same story on a broker that stays, as often as it is wanted."""

import re
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.demo.running import started

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are looked up in /proc")

DROPOFF = str(Path(sys.executable).with_name("dropoff"))


async def test_it_is_told_on_a_broker_that_stays_also_after_one_that_was_interrupted(tmp_path: Path):
    """What an interrupted one has left disturbs nobody; the ledger, read by the test itself, names the new agents."""
    data, temporary = tmp_path / "data", tmp_path / "tmp"
    temporary.mkdir()
    up = (DROPOFF, "up", "--demo", "--port", "0", "--data", str(data))

    async with started(temporary, *up) as first:
        await first.says("4  A holder is killed")
        first.interrupt()
        assert await first.ends() == 0, first.text
        assert first.processes() == {}

    async with started(temporary, *up) as second:
        await second.says("The ledger names both")
        url = re.findall(r"MCP +(http://.*)/mcp", second.text)[0]
        assert f"The broker goes on at {url}." in second.text
        headers = {"authorization": f"Bearer {(data / 'operator.bearer').read_text().strip()}"}
        async with httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False) as operator:
            assert (await operator.get("/readyz")).status_code == 200
            agents = (await operator.get("/v1/agents")).json()["agents"]
            entries = (await operator.get("/v1/ledger", params={"limit": 1_000})).json()["entries"]
        second.interrupt()
        assert await second.ends() == 0
        assert second.processes() == {}
    assert list(temporary.iterdir()) == []

    parts = ("demo.researcher", "demo.writer", "demo.second-writer")
    standing = {agent["agent"]: agent["standing"] for agent in agents if agent["agent"].startswith("demo.")}
    assert standing.keys() == {part + suffix for part in parts for suffix in ("", "-2")}
    assert set(standing.values()) == {"revoked"}, "their bearers are in nobody's hands any more"
    assert killed_and_finished(entries) == [
        ("drop_off", "demo.researcher-2"),
        ("pick_up", "demo.writer-2"),
        ("extend", "demo.writer-2"),
        ("lapse", "upkeep"),
        ("pick_up", "demo.second-writer-2"),
        ("complete", "demo.second-writer-2"),
    ]


def killed_and_finished(entries: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The steps of the handoff that the second writer of the second story finished."""
    [handoff] = {one["handoff"] for one in entries if one["actor"] == "demo.second-writer-2"}
    return [(one["step"], one["actor"]) for one in entries if one.get("handoff") == handoff]
