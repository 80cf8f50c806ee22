"""The line itself: what is refused by name, what is understood anywhere, and what help costs."""

import subprocess
import sys
from pathlib import Path

import pytest

from dropoff.cli import later
from dropoff.cli.shown import as_json, harmless, in_one_line
from dropoff.cli.times import age, iso, length, seconds
from tests.cli.brokers import ask, clean_environment, run

NOWHERE = "http://127.0.0.1:9"  # the discard port; nobody listens there

HEAVY = {"agents", "fastapi", "httpx2", "jsonschema", "mcp", "redis", "rich", "uvicorn", "dropoff.wiring"}


@pytest.mark.parametrize("path", later.COMMANDS)
def test_a_command_of_a_later_release_is_refused_by_name(path: str):
    """Whatever stands behind it, and even when only its help is asked for."""
    for rest in ([], ["NAME", "--flag", "x"], ["--help"]):
        heard = ask(*path.split(), *rest)
        assert heard.code == 2
        assert heard.out == ""
        assert heard.err.startswith(f"Error: dropoff {path} comes with a later release; ")


@pytest.mark.parametrize(("path", "flag"), [(path, flag) for path, flags in later.OPTIONS.items() for flag in flags])
def test_a_flag_of_a_later_release_is_refused_by_name(path: str, flag: str):
    """With its value and without, and before the command is judged otherwise."""
    for given in ([flag], [flag, "x"], [f"{flag}=x"]):
        heard = ask(*(path or "queue ls").split(), *given)
        assert heard.code == 2
        assert f"{flag} comes with a later release; " in heard.err


def test_an_agents_file_stays_in_the_data_folder(tmp_path: Path):
    """Its name becomes a path, so it is judged before anything is opened."""
    heard = ask("agent", "add", "../../elsewhere", "--grant", "drop:x", "--url", NOWHERE, "--data", str(tmp_path / "d"))
    assert heard.code == 2
    assert "is no name" in heard.err
    assert list(tmp_path.iterdir()) == []


def test_more_workers_than_there_can_be_are_refused_by_the_flag_and_where_only_one_can_serve():
    heard = ask("up", "--workers", "0")
    assert heard.code == 2
    assert "--workers is '0'. Expected: a number from 1 to 64." in heard.err


def test_on_windows_one_process_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A listener cannot be handed down there; said before anything is started."""
    monkeypatch.setattr(sys, "platform", "win32")
    heard = ask("up", "--workers", "2", "--data", str(tmp_path / "data"))
    assert heard.code == 2
    assert "On Windows one process serves. Leave out --workers" in heard.err
    assert not (tmp_path / "data").exists()


def test_what_comes_later_is_not_in_the_help():
    """Help shows what can be done, and nothing else."""
    for path in ("", "queue", "agent", "handoff", "schema", "ledger"):
        shown = ask(*path.split(), "--help").out
        commands = {line.split()[0] for line in shown.partition("Commands:")[2].splitlines() if line.startswith("  ")}
        hidden = {row.removeprefix(path).strip() for row in later.COMMANDS if row.rpartition(" ")[0] == path}
        assert commands
        assert not commands & hidden
    for path, flags in later.OPTIONS.items():
        assert not [flag for flag in flags if flag in ask(*path.split(), "--help").out]


def test_help_names_what_scripts_depend_on():
    shown = ask("--help").out
    assert "_DROPOFF_COMPLETE=bash_source dropoff" in shown
    assert "7 nothing to pick up" in shown


def test_the_first_word_comes_without_heavy_imports():
    """`dropoff --help` and each press of Tab start a process: what it imports is what somebody waits for."""
    script = (
        "import sys\nfrom dropoff.cli.root import cli\n"
        "try: cli.main(['--help'], prog_name='dropoff')\nexcept SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert not HEAVY & set(ended.stderr.split())


def test_the_shell_completes_commands_and_hides_what_comes_later():
    env = {"_DROPOFF_COMPLETE": "bash_complete", "COMP_WORDS": "dropoff queue ", "COMP_CWORD": "2"}
    heard = run(env=env)
    assert heard.code == 0
    words = ["add", "ls", "show", "rejections", "edit", "pause", "resume", "drain", "rm"]
    assert heard.out.split() == [f"plain,{word}" for word in words]


@pytest.mark.parametrize(
    "line",
    [
        "-o jsonl --url {url} queue ls",
        "queue -o jsonl --url {url} ls",
        "queue ls --url {url} -o jsonl",
        "--url http://127.0.0.1:1 queue -o json ls --url {url} -o jsonl",
    ],
)
def test_global_options_stand_anywhere_and_the_last_word_wins(line: str, tmp_path: Path):
    heard = ask(*line.format(url=NOWHERE).split(), "--data", str(tmp_path))
    assert heard.code == 8
    assert NOWHERE in heard.err


def test_no_broker_is_said_with_the_next_step(tmp_path: Path):
    heard = ask("drop", "research", "{}", "--url", NOWHERE, "--data", str(tmp_path))
    assert heard.code == 8
    assert heard.out == ""
    assert "Nothing was sent. Start one with: dropoff up" in heard.err


def test_a_wrong_word_is_usage_and_the_right_one_is_offered():
    heard = ask("qeue", "ls")
    assert heard.code == 2
    assert "Did you mean 'queue'?" in heard.err
    assert ask("queue", "add", "research").code == 2  # --schema is missing
    assert ask("drop", "research", "{}", "--delay", "soon").code == 2
    assert ask("schema", "push", "brief", "no-such-file.json").code == 2


def test_a_secret_on_the_line_is_refused():
    """A command line can be read by everybody on the machine."""
    heard = ask("up", "--store", "redis://user:hunter2@store:6379")
    assert heard.code == 2
    assert "DROPOFF_STORE" in heard.err
    assert "hunter2" not in heard.err


def test_a_broker_is_not_served_where_another_one_is():
    """`--url` is for those who ask; said to who serves, it would be ignored."""
    assert ask("up", "--url", NOWHERE).code == 2
    assert ask("demo", "--url", NOWHERE).code == 2
    assert ask("demo", "--data", "somewhere").code == 2


def test_alone_it_says_where_things_stand_and_what_to_do_next():
    heard = ask("--url", NOWHERE)
    assert heard.code == 0
    assert f"No broker answers at {NOWHERE}" in heard.out
    assert "dropoff up" in heard.out


def test_what_is_not_json_is_rejected_here_already(tmp_path: Path):
    """Also what a careless parser would mend: a key that stands twice."""
    for wrong in ('{"topic": ', '{"a": 1, "a": 2}', "NaN", ""):
        heard = ask("drop", "research", "-", "--url", NOWHERE, stdin=wrong)
        assert heard.code == 6
        assert "Nothing was stored" in heard.err
    large = tmp_path / "large.json"
    large.write_text('"' + "x" * 300_000 + '"')
    heard = ask("drop", "research", f"@{large}", "--url", NOWHERE)
    assert heard.code == 6
    assert "the limit is 262,144 bytes" in heard.err


def test_an_unexpected_error_is_one_line_and_verbose_says_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from dropoff.cli.remote import Remote

    def broken(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(Remote, "get", broken)
    heard = ask("queue", "ls", "--data", str(tmp_path))
    assert heard.code == 1
    assert heard.err.startswith("Error: RuntimeError: a fault of ours")
    assert "Traceback" not in heard.err
    assert "Traceback" in ask("queue", "ls", "-v", "--data", str(tmp_path)).err


def test_nothing_that_others_wrote_moves_the_cursor():
    """In words and tables it is replaced, in JSON escaped, so that it can be read back."""
    import json

    hostile = "ok\x1b[2K\x9b1A\u202egnp\nstate  completed"
    assert harmless(hostile) == "ok�[2K�1A�gnp\nstate  completed"
    assert "\n" not in in_one_line(hostile)
    shown = as_json({"note": hostile})
    assert harmless(shown) == shown
    assert json.loads(shown) == {"note": hostile}


def test_durations_and_ages_are_written_as_people_write_them():
    assert [seconds(text) for text in ("300", "90s", "5m", "2h", "7d")] == [300, 90, 300, 7_200, 604_800]
    assert [seconds(text) for text in ("", "5 parsecs", "-1", "1.5h")] == [None] * 4
    assert [age(value) for value in (0, 41, 724, 11_220, 187_200)] == ["0s", "41s", "12m 04s", "3h 07m", "2d 04h"]
    assert [length(value) for value in (90, 300, 5_400, 86_400)] == ["90s", "5m", "90m", "1d"]
    assert iso("1763648400123") == "2025-11-20T14:20:00.123Z"


def test_a_broken_pipe_is_no_error():
    """`dropoff --help | head -1`: who has read enough hangs up, and nobody complains."""
    first = subprocess.Popen(
        [sys.executable, "-c", "from dropoff.cli import main; main()", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    assert first.stdout is not None
    first.stdout.close()
    assert first.stderr is not None
    assert first.stderr.read() == b""
    first.stderr.close()
    assert first.wait(30) == 0
