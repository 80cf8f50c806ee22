"""`dropoff init`: a starter that is really run: two agents, two identities, the Agents SDK, a real broker."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.brokers import WAIT_S, Up, clean_environment, run

FILES = ["dropoff.toml", "researcher.py", "schemas/brief@1.json", "schemas/draft@1.json", "writer.py"]
SCREEN_LINES = 80


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_it_writes_a_starter_and_never_over_anything(tmp_path: Path):
    (tmp_path / "writer.py").write_text("mine")
    first = run("init", cwd=tmp_path)
    assert first.code == 0
    assert written(tmp_path) == FILES
    assert (tmp_path / "writer.py").read_text() == "mine"
    assert {row["file"]: row["change"] for row in first.json}["writer.py"] == "there already, left as it is"
    before = {name: (tmp_path / name).read_text() for name in FILES}
    assert run("init", cwd=tmp_path).code == 0
    assert {name: (tmp_path / name).read_text() for name in FILES} == before


def test_its_contracts_are_those_of_the_repository(tmp_path: Path):
    run("init", cwd=tmp_path)
    payloads = Path(__file__).parents[2] / "schemas" / "payloads"
    for name in ("brief@1.json", "draft@1.json"):
        assert (tmp_path / "schemas" / name).read_text() == (payloads / name).read_text()


def test_its_code_is_a_screen_long_and_clean(tmp_path: Path):
    run("init", cwd=tmp_path)
    for name in ("researcher.py", "writer.py"):
        assert len((tmp_path / name).read_text().splitlines()) <= SCREEN_LINES
    ruff = Path(sys.executable).with_name("ruff")
    for check in (["check"], ["format", "--check"]):
        command = [str(ruff), *check, "--isolated", "--line-length", "120", str(tmp_path)]
        checked = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
        assert checked.returncode == 0, checked.stdout


def test_its_two_agents_hand_off_work(ups: Callable[..., Up], tmp_path: Path):
    """Without a key, by the stand-ins: the same calls that a model would make."""
    up = ups()
    folder = tmp_path / "starter"
    folder.mkdir()
    told = {"DROPOFF_URL": up.url, "DROPOFF_DATA": str(up.data)}
    assert run("init", cwd=folder, env=told).code == 0
    assert run("apply", cwd=folder, env=told).code == 0
    assert run("drop", "research", '{"topic": "heat pumps", "audience": "exec"}', env=told).code == 0

    assert "Research completed: research-" in agent(folder, "researcher.py", up.url)
    assert "Text completed: drafts-" in agent(folder, "writer.py", up.url)

    draft = up.ask("handoff", "ls", "--queue", "drafts").json[0]["handoff_id"]
    whole = up.ask("handoff", "show", draft).json
    assert whole["result"] == {"text": "A stand-in has looked into heat pumps."}
    assert [entry["actor"] for entry in whole["entries"]] == ["researcher", "writer", "writer"]


def agent(folder: Path, script: str, url: str) -> str:
    """Run as its reader would; where the bearers are was written into it by `init`."""
    if os.environ.get("CI") is None:
        pytest.importorskip("agents")
    ended = subprocess.run(
        [sys.executable, script],
        cwd=folder,
        env=clean_environment() | {"DROPOFF_URL": url},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
