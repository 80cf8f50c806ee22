"""A backup that is made as the README says, brought up elsewhere, has every handoff that was acknowledged before it."""

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from dropoff.client.connection import connection
from tests.cli.brokers import WAIT_S, Up, clean_environment, run, until
from tests.cli.conftest import BRIEF
from tests.readme import README

PAYLOAD = {"topic": "heat pumps", "audience": "exec"}
[RUNNING] = re.findall(r"^```sh\n(backup\(\).*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def up(ups: Callable[..., Up]) -> Up:
    """A broker with the queue `research`."""
    up = ups()
    assert up.ask("schema", "push", "brief", str(BRIEF)).code == 0
    assert up.ask("queue", "add", "research", "--schema", "brief").code == 0
    return up


class Load:
    """Somebody who drops off without a pause, and remembers each handoff only once it was acknowledged."""

    def __init__(self, up: Up) -> None:
        self.acknowledged: list[str] = []
        self.stopped = False
        self._up = up

    async def run(self) -> None:
        async with connection(self._up.url, data=self._up.data) as broker:
            while not self.stopped:
                sent = await broker.call("drop_off", {"queue": "research", "payload": PAYLOAD})
                self.acknowledged.append(sent["handoff_id"])


@contextmanager
def load_on(up: Up) -> Iterator[Load]:
    load = Load(up)
    with ThreadPoolExecutor(1) as beside:
        running = beside.submit(asyncio.run, load.run())
        try:
            until("handoffs to be acknowledged", lambda: running.done() or len(load.acknowledged) > 50)
            yield load
        finally:
            load.stopped = True
        running.result(WAIT_S)


def backup(up: Up, to: Path, path: str = "") -> "subprocess.CompletedProcess[str]":
    """What the README says for a broker that runs, word by word."""
    env = clean_environment() | ({"PATH": path} if path else {})
    command = ["sh", "-c", f'{RUNNING}\nbackup "$1" "$2"', "sh", str(up.data), str(to)]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False, env=env)


async def states(up: Up, handoffs: Sequence[str]) -> set[str]:
    """The states that these handoffs are in."""
    async with connection(up.url, data=up.data) as broker:
        found = await asyncio.gather(*(broker.get(f"/v1/handoffs/{id}") for id in handoffs))
    return {one["state"] for one in found}


@contextmanager
def restored(data: Path) -> Iterator[Up]:
    up = Up(data)
    try:
        yield up
    finally:
        up.end(signal.SIGTERM)


REWRITE = """
import redis, sys, time
server = redis.Redis(unix_socket_path=sys.argv[1])
facts = lambda: server.info("persistence")
before = facts()["aof_rewrites"]
server.bgrewriteaof()
ends = time.monotonic() + 30
while facts()["aof_rewrites"] == before or facts()["aof_rewrite_in_progress"]:
    assert time.monotonic() < ends, "waited 30 s for the rewrite"
server.close()
"""


def rewrite(up: Up) -> list[str]:
    """A command that makes the store write its files anew, and ends when it has."""
    return [sys.executable, "-c", REWRITE, str(up.data / "store" / "socket")]


def test_a_backup_under_load_has_everything_that_was_acknowledged_before_it(up: Up, tmp_path: Path):
    """Also after the store has exchanged its files once, and with the operator's credential as private as it was."""
    with load_on(up) as load:
        subprocess.run(rewrite(up), check=True, timeout=WAIT_S)
        before = tuple(load.acknowledged)
        made = backup(up, tmp_path / "copy")
    assert (made.returncode, made.stderr) == (0, "")
    up.end(signal.SIGKILL)

    with restored(tmp_path / "copy") as copy:
        assert len(before) > 50
        assert asyncio.run(states(copy, before)) == {"waiting"}
        assert copy.ask("pick", "research").json["handoff_id"] == before[0]
        assert copy.ask("queue", "show", "research").json["schema"] == "brief@1"
    credential = tmp_path / "copy" / "operator.bearer"
    assert stat.S_IMODE(credential.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o700


def test_a_copy_during_which_the_store_exchanged_its_files_is_no_backup(up: Up, tmp_path: Path):
    """In the worst order: the old files and the new manifest. It says so, no store starts on it, and again it works."""
    cp = shutil.which("cp")
    shim = tmp_path / "bin" / "cp"
    shim.parent.mkdir()
    words = " ".join(map(shlex.quote, rewrite(up)))
    manifest = "store/appendonlydir/appendonly.aof.manifest"
    shim.write_text(
        f'#!/bin/sh\n{cp} "$@" || exit 1\n'
        f"case $2 in *appendonlydir) {words} && {cp} {up.data}/{manifest} {tmp_path}/broken/{manifest};; esac\n"
    )
    shim.chmod(0o755)
    up.ask("drop", "research", json.dumps(PAYLOAD))

    made = backup(up, tmp_path / "broken", path=f"{shim.parent}:{os.environ['PATH']}")
    assert made.returncode == 1
    assert "broken is no backup" in made.stderr
    assert run("up", "--data", str(tmp_path / "broken"), "--port", "0").code == 8

    assert backup(up, tmp_path / "broken").returncode == 1, "what is there is not written over"
    assert backup(up, tmp_path / "copy").returncode == 0
    with restored(tmp_path / "copy") as copy:
        assert copy.ask("queue", "show", "research").json["waiting"] == 1


def test_the_folder_of_a_stopped_broker_is_a_backup(up: Up, tmp_path: Path):
    sent = up.ask("drop", "research", json.dumps(PAYLOAD)).json["handoff_id"]
    assert up.end(signal.SIGTERM).code == 0
    subprocess.run(["cp", "-pR", str(up.data), str(tmp_path / "copy")], check=True, timeout=WAIT_S)
    with restored(tmp_path / "copy") as copy:
        assert copy.ask("pick", "research").json["handoff_id"] == sent


def test_a_store_of_a_newer_release_is_refused(up: Up, ups: Callable[..., Up]):
    """And nothing of it is changed."""
    with redis.Redis(unix_socket_path=str(up.data / "store" / "socket")) as server:
        server.set("dropoff:{p0}:format", "2")
    assert up.end(signal.SIGTERM).code == 0
    refused = run("up", "--data", str(up.data), "--port", "0")
    assert refused.code == 8
    assert "of a newer release" in refused.err
