"""`dropoff config show`: each value and where it came from, never a secret."""

import json
from pathlib import Path
from typing import Any

from dropoff.settings import FOR_CLIENTS, SETTINGS
from tests.cli.brokers import Heard, run


def shown(*flags: str, env: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
    heard = run("config", "show", *flags, env=env)
    assert heard.code == 0, heard.err
    return {item["setting"]: item for item in json.loads(heard.out)}


def test_every_setting_is_shown_with_its_value_and_its_source(tmp_path: Path):
    """Without a broker, and without making anything."""
    env = {"DROPOFF_DISK_FREE_MIN": "1GB", "DROPOFF_ALLOWED_HOSTS": "broker:*", "DROPOFF_URL": "http://broker:8787"}
    found = shown("--data", str(tmp_path / "new"), env=env)

    assert list(found) == [row.name for row in (*SETTINGS, *FOR_CLIENTS)]
    assert found["data"] == {
        "setting": "data",
        "value": str(tmp_path / "new"),
        "from": "flag",
        "variable": "DROPOFF_DATA",
        "flag": "--data",
    }
    assert (found["disk_free_min"]["value"], found["disk_free_min"]["from"]) == (1 << 30, "environment")
    assert (found["allowed_hosts"]["value"], found["allowed_hosts"]["from"]) == (["broker:*"], "environment")
    assert (found["url"]["value"], found["url"]["from"]) == ("http://broker:8787", "environment")
    assert (found["port"]["value"], found["port"]["from"]) == (8787, "default")
    assert not (tmp_path / "new").exists()


def test_a_person_reads_what_said_it_and_what_an_empty_value_means(tmp_path: Path):
    heard = run("-o", "table", "config", "show", "--data", str(tmp_path), env={"DROPOFF_WORKERS": "2"})

    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in heard.out.splitlines()}
    assert lines["data"].split() == ["DROPOFF_DATA", str(tmp_path), "--data"]
    assert lines["workers"].split() == ["DROPOFF_WORKERS", "2", "environment"]
    assert lines["port"].split() == ["8787", "default"], "a flag alone says it"
    assert lines["disk_free_min"].split() == ["DROPOFF_DISK_FREE_MIN", "256MB", "default"]
    assert lines["store"].split(maxsplit=1)[1].startswith("the embedded Valkey ")
    assert lines["insecure"].split() == ["DROPOFF_INSECURE", "no", "default"]


def test_a_password_is_never_shown():
    env = {"DROPOFF_STORE": "redis://ann:hunter2@store:6379/0", "DROPOFF_URL": "https://ann:hunter2@broker"}
    assert shown(env=env)["store"]["value"] == "redis://store:6379/0"
    for form in ("json", "table"):
        heard = run("-o", form, "config", "show", env=env)
        assert "redis://store:6379/0" in heard.out
        assert "hunter2" not in heard.out + heard.err


def test_a_value_that_cannot_be_is_said_with_what_it_should_be():
    heard = run("config", "show", env={"DROPOFF_DISK_FREE_MIN": "a lot"})
    assert heard == Heard(
        2,
        "",
        "Error: DROPOFF_DISK_FREE_MIN is 'a lot'. Expected: bytes, or a size such as 256MB or 1GB.\n",
    )
