"""`dropoff demo`, as the process that a newcomer starts: what it tells is so, and nothing of it stays."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.demo.running import started

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are looked up in /proc")

DROPOFF = str(Path(sys.executable).with_name("dropoff"))


async def test_it_ends_well_within_a_minute_and_leaves_nothing(tmp_path: Path):
    """Two agents, different processes, different identities; the ledger names both."""
    began = time.monotonic()
    async with started(tmp_path, DROPOFF, "demo") as demo:
        assert await demo.ends() == 0, demo.text
        assert time.monotonic() - began < 60
        assert demo.processes() == {}
        assert list(tmp_path.iterdir()) == []

    pids = dict(re.findall(r"(demo\.[\w-]+) \(pid (\d+)\)", demo.text))
    assert pids.keys() == {"demo.researcher", "demo.writer", "demo.second-writer"}
    assert len({*pids.values(), str(demo.process.pid)}) == 4
    steps = re.findall(r"^  ledger  (\w+) +([\w.-]+) .*→", demo.text, re.MULTILINE)
    assert steps == [
        ("drop_off", "operator"),
        ("pick_up", "demo.researcher"),
        ("drop_off", "demo.researcher"),
        ("pick_up", "demo.writer"),
        ("complete", "demo.writer"),
        ("drop_off", "demo.researcher"),
        ("pick_up", "demo.writer"),
        ("extend", "demo.writer"),
        ("lapse", "upkeep"),
        ("pick_up", "demo.second-writer"),
        ("complete", "demo.second-writer"),
        ("complete", "demo.researcher"),
    ]
    assert "did you mean 'audience'?" in demo.text
    assert f"kill -9 {pids['demo.writer']}." in demo.text
    assert "The ledger names both" in demo.text.splitlines()[-1]


async def test_interrupted_it_leaves_nothing(tmp_path: Path):
    """Ctrl-C: when the demo has ended, everything has."""
    async with started(tmp_path) as demo:
        await demo.says("4  A holder is killed")
        demo.interrupt()
        assert await demo.ends() == 130
        assert demo.processes() == {}
        assert list(tmp_path.iterdir()) == []


async def test_killed_in_the_middle_it_leaves_nothing(tmp_path: Path):
    """Its children notice that it is gone, and its broker takes store and folder away."""
    async with started(tmp_path) as demo:
        await demo.says("4  A holder is killed")
        commands = list(demo.processes().values())
        assert len(commands) >= 5, "demo, broker, store, two agents"
        assert not [command for command in commands if "dropoff_bearer_" in command], "others can read arguments"
        demo.process.send_signal(signal.SIGKILL)
        await demo.ends()
        await demo.nothing_is_left()


async def test_killed_while_it_starts_it_leaves_nothing(tmp_path: Path):
    """Also what was being started when it died finds out."""
    async with started(tmp_path) as demo:
        await demo.says("broker  pid")
        demo.process.send_signal(signal.SIGKILL)
        await demo.ends()
        await demo.nothing_is_left()


async def test_a_demo_whose_broker_is_killed_fails_and_leaves_nothing(tmp_path: Path):
    """It says so, ends with 1, and takes away the store and the folder that the broker could not."""
    async with started(tmp_path) as demo:
        await demo.says("1  An editor asks")
        [broker] = [pid for pid, command in demo.processes().items() if "dropoff.demo.broker" in command]
        os.kill(broker, signal.SIGKILL)
        assert await demo.ends() == 1
        assert "The demo failed." in demo.text
        await demo.nothing_is_left()
