"""Where Node and the clients come from, and what happens without them."""

import json
import shutil
from pathlib import Path

import pytest

from tests.typescript import node


@pytest.fixture(params=["", "true"], ids=["laptop", "CI"])
def ends(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[BaseException]:
    """How a test ends where something is missing: skipped on a laptop, failed in CI."""
    monkeypatch.setenv("CI", request.param)
    return pytest.fail.Exception if request.param else pytest.skip.Exception


def test_node_may_be_missing_on_a_laptop_only(ends: type[BaseException], monkeypatch: pytest.MonkeyPatch):
    """Neither on the PATH nor in a wheel: the reason says what to install."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(node, "_in_wheel", lambda: None)
    with pytest.raises(ends, match=r"pip install -e '\.\[test,node\]'"):
        node.programs()


def test_a_node_that_is_too_old_is_none(monkeypatch: pytest.MonkeyPatch):
    """Distributions still ship Node 18, which the 2.x client does not run on; then the wheel's is taken."""
    wheel = node.Programs("the wheel's", ())
    monkeypatch.setattr(node, "_on_path", lambda: node.Programs("the distribution's", ()))
    monkeypatch.setattr(node, "_in_wheel", lambda: wheel)
    monkeypatch.setattr(node, "_major", lambda program: 24 if program == wheel.node else node.OLDEST - 1)
    assert node.programs() == wheel


def test_the_registry_may_be_out_of_reach_on_a_laptop_only(
    ends: type[BaseException], clients_installed: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Nobody listens on port 9 of this machine, and nothing lies in the cache."""
    folder = copied(tmp_path)
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    with pytest.raises(ends, match="npm cannot reach its registry"):
        node.install(folder)


def test_any_other_failure_of_npm_is_a_failure(
    clients_installed: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """A lock file that npm cannot use is our mistake, on whatever machine."""
    folder = copied(tmp_path)
    (folder / node.LOCK).write_text("{}")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(AssertionError, match="EUSAGE"):
        node.install(folder)


def test_what_is_installed_is_left_alone_until_the_lock_changes(
    clients_installed: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """npm is asked once for each lock file."""

    def asked() -> node.Programs:
        raise InterruptedError("npm is asked")

    monkeypatch.setattr(node, "programs", asked)
    node.install()
    with pytest.raises(InterruptedError):
        node.install(copied(tmp_path))


def test_the_lock_pins_both_clients_and_names_no_registry():
    """Exactly these versions, by their hashes, from whichever registry the reader uses."""
    wanted = json.loads((node.FOLDER / "package.json").read_text())["dependencies"]
    packages = json.loads((node.FOLDER / node.LOCK).read_text())["packages"]
    assert packages.pop("")["dependencies"] == wanted
    for name, version in wanted.items():
        assert packages[f"node_modules/{name}"]["version"] == version
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name


def copied(folder: Path) -> Path:
    for name in ("package.json", node.LOCK):
        shutil.copy(node.FOLDER / name, folder)
    return folder
