"""Each example checks itself; here they are run as their readers run them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
DROPOFF = str(Path(sys.executable).with_name("dropoff"))
LIMIT_S = 120


def run(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=os.environ | environ, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A broker as a reader starts one: where it is, and the operator's bearer, as the environment of an example."""
    data = tmp_path_factory.mktemp("data")
    up = subprocess.Popen(
        [DROPOFF, "up", "--port", "0", "--data", str(data), "-o", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert up.stdout is not None
        line = up.stdout.readline()
        url = line.partition('"url":"')[2].partition('"')[0]
        assert url, f"the broker does not serve: {line!r}"
        yield {"DROPOFF_URL": url, "DROPOFF_BEARER": (data / "operator.bearer").read_text().strip()}
    finally:
        up.terminate()
        up.communicate(timeout=LIMIT_S)


def test_two_processes_hand_off_and_the_ledger_names_both():
    """examples/two_processes does what its README says."""
    done = run(sys.executable, str(EXAMPLES / "two_processes" / "check.py"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "drop_off by researcher → pick_up by writer → complete by writer" in done.stdout


def test_the_round_by_curl_works_again_and_again(broker: dict[str, str]):
    """examples/curl ends with 0, also where it has been run before."""
    for _ in range(2):
        done = run("sh", str(EXAMPLES / "curl" / "round.sh"), **broker)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_round_by_curl_fails_at_the_first_wrong_answer(broker: dict[str, str]):
    """It is no check if it cannot fail: with another credential it ends with 1 and says where."""
    done = run("sh", str(EXAMPLES / "curl" / "round.sh"), **broker | {"DROPOFF_BEARER": "dropoff_bearer_wrong"})
    assert done.returncode == 1
    assert "✗ a schema is registered" in done.stderr
    assert "unauthenticated" in done.stderr


def test_the_round_by_curl_fails_without_a_broker():
    """Nobody listens on port 9 of this machine."""
    done = run("sh", str(EXAMPLES / "curl" / "round.sh"), DROPOFF_URL="http://127.0.0.1:9", DROPOFF_BEARER="x")
    assert done.returncode != 0
    assert "✓" not in done.stdout
