"""`dropoff init`: a starter that is really run: two agents, two identities, the Agents SDK, a real broker."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.brokers import WAIT_S, Up, ask, clean_environment

FILES = ["dropoff.toml", "researcher.py", "schemas/brief@1.json", "schemas/draft@1.json", "writer.py"]
SCREEN_LINES = 80


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, in which each test works."""
    folder = tmp_path / "starter"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_it_writes_a_starter_and_never_over_anything(folder: Path):
    (folder / "writer.py").write_text("mine")
    first = ask("init")
    assert first.code == 0
    assert written(folder) == FILES
    assert (folder / "writer.py").read_text() == "mine"
    assert {row["file"]: row["change"] for row in first.json}["writer.py"] == "there already, left as it is"
    before = {name: (folder / name).read_text() for name in FILES}
    assert ask("init").code == 0
    assert {name: (folder / name).read_text() for name in FILES} == before


def test_its_contracts_are_those_of_the_repository(folder: Path):
    ask("init")
    payloads = Path(__file__).parents[2] / "schemas" / "payloads"
    for name in ("brief@1.json", "draft@1.json"):
        assert (folder / "schemas" / name).read_text() == (payloads / name).read_text()


def test_its_code_is_a_screen_long_and_clean(folder: Path):
    ask("init")
    for name in ("researcher.py", "writer.py"):
        assert len((folder / name).read_text().splitlines()) <= SCREEN_LINES
    ruff = Path(sys.executable).with_name("ruff")
    for check in (["check"], ["format", "--check"]):
        command = [str(ruff), *check, "--isolated", "--line-length", "120", str(folder)]
        checked = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
        assert checked.returncode == 0, checked.stdout


def test_its_two_agents_hand_off_work(ups: Callable[..., Up], folder: Path):
    """Without a key, by the stand-ins: the same calls that a model would make."""
    up = ups()
    assert up.ask("init").code == 0
    assert up.ask("apply").code == 0
    assert up.ask("drop", "research", '{"topic": "heat pumps", "audience": "exec"}').code == 0

    with agent(folder, "researcher.py", up.url) as researcher, agent(folder, "writer.py", up.url) as writer:
        assert "Research completed: research-" in said(researcher)
        assert "Text completed: drafts-" in said(writer)

    draft = up.ask("handoff", "ls", "--queue", "drafts").json[0]["handoff_id"]
    whole = up.ask("handoff", "show", draft).json
    assert whole["result"] == {"text": "A stand-in has looked into heat pumps."}
    assert [entry["actor"] for entry in whole["entries"]] == ["researcher", "writer", "writer"]


def test_its_agents_say_in_a_sentence_what_keeps_them_from_working(ups: Callable[..., Up], folder: Path):
    """No bearer yet, no broker, a bearer that is not known, a call that is refused."""
    up = ups()
    assert up.ask("init").code == 0
    assert "dropoff apply dropoff.toml" in stopped(agent(folder, "writer.py", up.url))
    assert up.ask("apply").code == 0
    assert "Could not reach the server" in stopped(agent(folder, "writer.py", "http://127.0.0.1:1"))
    assert up.ask("drop", "research", '{"topic": "heat pumps", "audience": "exec"}').code == 0
    assert up.ask("queue", "drain", "drafts", "--reason", "a move").code == 0
    assert "Queue 'drafts' takes no new work (\"a move\")" in stopped(agent(folder, "researcher.py", up.url))
    assert up.ask("agent", "revoke", "writer").code == 0
    assert "The broker does not know who is calling" in stopped(agent(folder, "writer.py", up.url))


def agent(folder: Path, script: str, url: str) -> "subprocess.Popen[str]":
    """Run as its reader would; where the bearers are was written into it by `init`."""
    if os.environ.get("CI") is None:
        pytest.importorskip("agents")
    return subprocess.Popen(
        [sys.executable, script],
        cwd=folder,
        env=clean_environment() | {"DROPOFF_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stopped(agent: "subprocess.Popen[str]") -> str:
    """Its last words, which are no traceback."""
    try:
        _, err = agent.communicate(timeout=WAIT_S)
    finally:
        agent.kill()
    assert agent.returncode == 1
    assert "Traceback" not in err
    return err


def said(agent: "subprocess.Popen[str]") -> str:
    try:
        out, err = agent.communicate(timeout=WAIT_S)
    finally:
        agent.kill()
    assert agent.returncode == 0, err
    return out
