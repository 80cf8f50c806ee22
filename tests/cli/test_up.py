"""`dropoff up` in real processes: what it says, how it stops, and what it leaves behind however it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dropoff.core import places
from dropoff.process import serving_here
from dropoff.storage.lock import Lock
from tests.cli.brokers import DROPOFF, WAIT_S, Up, clean_environment, run, until
from tests.cli.conftest import BRIEF

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")

Ups = Callable[..., Up]


def test_the_first_screen_says_what_runs_and_what_to_do_next(ups: Ups):
    """As words; the address as data too, so that a script can use `--port 0`."""
    up = ups()
    heard = up.end(signal.SIGTERM)
    assert heard.code == 0
    assert up.told["mcp"] == f"{up.url}/mcp"
    assert "Store      embedded Valkey" in heard.err
    assert f"fsync before every receipt, data in {up.data}" in heard.err
    assert f"MCP        {up.url}/mcp" in heard.err
    assert "Queues     none yet" in heard.err
    assert f"export DROPOFF_URL={up.url} DROPOFF_DATA={up.data}" in heard.err
    assert "Ctrl-C stops; handoffs stay" in heard.err


def test_after_an_orderly_end_nothing_runs_and_nothing_is_lost(ups: Ups):
    """By Ctrl-C, by SIGTERM, and when the terminal is closed."""
    up = ups()
    id = drop(up)
    assert up.left_alive() == ["python" + sys.version[:4], "valkey-server"]
    assert "research" not in ended_in_order(up, signal.SIGINT)
    again = ups()
    assert again.ask("handoff", "show", id).json["state"] == "waiting"
    assert "Queues     research" in ended_in_order(again, signal.SIGTERM)
    assert "Queues     research" in ended_in_order(ups(), signal.SIGHUP)


def ended_in_order(up: Up, by: signal.Signals) -> str:
    """What it has said on its screen."""
    heard = up.end(by)
    assert heard.code == 0
    assert heard.err.rstrip().endswith("Stopped. What was dropped off stays; dropoff up goes on with it.")
    assert up.left_alive() == []
    return heard.err


def test_after_a_kill_only_the_store_lives_and_the_next_start_adopts_it(ups: Ups):
    killed = ups()
    id = drop(killed)
    killed.end(signal.SIGKILL)
    assert killed.left_alive() == ["valkey-server"]
    again = ups()
    assert again.ask("handoff", "show", id).json["state"] == "waiting"
    assert again.left_alive() == ["python" + sys.version[:4], "valkey-server"], "it has started no second store"
    assert again.end(signal.SIGTERM).code == 0
    assert killed.left_alive() == []


def test_a_pick_that_waits_does_not_hold_up_the_end(ups: Ups):
    """Who waits is let go; else it would be cut off after `FINISH_S`. It asks again, and hears that nobody is there."""
    up = ups()
    assert up.ask("schema", "push", "brief", str(BRIEF)).code == 0
    assert up.ask("queue", "add", "research", "--schema", "brief").code == 0
    waiting = subprocess.Popen(
        [*DROPOFF, "pick", "research", "--wait", "28", "--url", up.url, "--data", str(up.data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
        text=True,
    )
    until("the waiting call to be there", lambda: up.ask("queue", "show", "research").json["pickers"] == 1)
    assert up.end(signal.SIGTERM).code == 0
    out, err = waiting.communicate(timeout=WAIT_S)
    assert (waiting.returncode, out) == (8, ""), "that there is no work is not known: the wait had 28 s to go"
    assert f"No broker answers at {up.url}" in err


def test_a_taken_port_is_said_with_the_offer_of_another(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        heard = run("up", "--data", str(tmp_path), "--port", port)
    assert heard.code == 5
    assert f"Port {port} of 127.0.0.1 is taken" in heard.err
    assert "dropoff up --port 0" in heard.err
    assert not (tmp_path / "store").exists(), "nothing is started that cannot be reached"


def test_a_refused_store_is_a_sentence_without_its_password_and_no_traceback(tmp_path: Path):
    env = {"DROPOFF_STORE": "ftp://user:hunter2@127.0.0.1:1/0"}
    heard = run("up", "--data", str(tmp_path), "--port", "0", env=env)
    assert heard.code == 2
    assert heard.err.startswith("Error: DROPOFF_STORE is no URL of a store.")
    assert "Traceback" not in heard.err
    assert "hunter2" not in heard.err + heard.out


def test_a_store_that_was_named_by_a_flag_is_refused_by_that_flag(tmp_path: Path):
    """Whether it is no URL, or nobody is there."""
    for store, code, words in (
        ("ftp://127.0.0.1:1", 2, "--store is no URL of a store."),
        ("redis://127.0.0.1:1", 8, "is --store right?"),
    ):
        heard = run("up", "--data", str(tmp_path), "--port", "0", "--store", store)
        assert heard.code == code
        assert words in heard.err
        assert "DROPOFF_STORE" not in heard.err
    by_variable = run("up", "--data", str(tmp_path), "--port", "0", env={"DROPOFF_STORE": "redis://127.0.0.1:1"})
    assert "is DROPOFF_STORE right?" in by_variable.err


def test_a_second_broker_on_a_folder_hears_of_the_first(ups: Ups, tmp_path: Path):
    """On the same port it does not start, and on another it serves beside it; each time the first one is named."""
    first = ups()
    assert (first.data / places.BROKER_FILE).stat().st_mode & 0o077 == 0
    who = f"A broker (pid {first.process.pid}, {first.url})"
    port = first.url.rpartition(":")[2]
    again = run("up", "--data", str(first.data), "--port", port)
    assert (again.code, again.out) == (5, "")
    assert f"{who} serves {first.data} already." in again.err
    assert f"dropoff queue ls --url {first.url}" in again.err
    elsewhere = run("up", "--data", str(tmp_path / "other"), "--port", port)
    assert elsewhere.code == 5
    assert "serves" not in elsewhere.err, "it is no broker of this folder"

    beside = ups()
    assert beside.ask("queue", "ls").code == 0
    assert f"{who} serves" in run("up", "--data", str(first.data), "--port", port).err, "the first one, still"
    heard = beside.end(signal.SIGTERM)
    assert f"! {who} serves this data folder already." in heard.err
    assert first.ask("queue", "ls").code == 0


def test_a_broker_that_is_just_about_to_say_who_it_is_is_not_named(tmp_path: Path):
    """It has the lock, and has written nothing yet."""
    lock = Lock(tmp_path / places.BROKER_FILE)
    assert lock.take()
    assert serving_here.serving(tmp_path) is None
    lock.release()


def test_a_broker_that_was_killed_serves_no_more(ups: Ups):
    killed = ups()
    killed.end(signal.SIGKILL)
    assert (killed.data / places.BROKER_FILE).read_text(), "what it said is still there"
    assert "already" not in ups().end(signal.SIGTERM).err


def test_what_stands_where_a_broker_says_that_it_serves_keeps_it_from_nothing(tmp_path: Path):
    """Whatever it is; and of a link nothing is overwritten that it leads to."""
    (tmp_path / "a folder" / places.BROKER_FILE).mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (tmp_path / "a link").mkdir()
    (tmp_path / "a link" / places.BROKER_FILE).symlink_to(precious)
    (tmp_path / "nonsense").mkdir()
    (tmp_path / "nonsense" / places.BROKER_FILE).write_bytes(b"\xff\xfe")
    for what in ("a folder", "a link", "nonsense"):
        with serving_here.said(tmp_path / what, "http://127.0.0.1:1"):
            there = serving_here.serving(tmp_path / what)
        assert (there is not None) == (what == "nonsense"), what
    assert precious.read_text() == "kept"

    other = Lock(tmp_path / "nonsense" / places.BROKER_FILE)
    assert other.take()
    os.pwrite(other.descriptor, b"\xff\xfe", 0)
    assert serving_here.serving(tmp_path / "nonsense") is None
    other.release()


def test_quiet_means_data_and_errors_only_but_a_warning_stays(ups: Ups):
    """An address that others can reach is said whatever is asked for."""
    [line] = ups("--host", "0.0.0.0", "-q").end(signal.SIGTERM).err.splitlines()
    assert line.startswith("! 0.0.0.0 can be reached from other machines")


def drop(up: Up) -> str:
    assert up.ask("schema", "push", "brief", str(BRIEF)).code == 0
    assert up.ask("queue", "add", "research", "--schema", "brief").code == 0
    payload = json.dumps({"topic": "heat pumps", "audience": "exec"})
    return up.ask("drop", "research", payload).json["handoff_id"]
