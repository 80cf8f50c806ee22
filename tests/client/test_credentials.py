"""Which credential the client sends, and where it never sends one."""

import logging
from pathlib import Path

import pytest

from dropoff.client import CredentialUnusable, connection
from dropoff.client.credentials import found, is_loopback
from tests.doors.http.house import Desk

HERE = "http://127.0.0.1:8787"
AWAY = "https://broker.example"
BEARER = "dropoff_bearer_abc"


def written(path: Path, content: str, mode: int = 0o600) -> Path:
    path.write_text(content, encoding="utf-8")
    path.chmod(mode)
    return path


def sent_to(url: str, *, bearer: str = "", file: str | Path = "", data: str | Path = "", **environ: str) -> str:
    return found(url, bearer=bearer, credential_file=file, data=data, environ=environ)[0]


def test_what_is_said_nearer_wins(tmp_path: Path):
    """An argument, a named file, the environment's file, the operator's of the data folder."""
    operator = tmp_path / "data"
    operator.mkdir()
    written(operator / "operator.bearer", "dropoff_bearer_operator\n")
    named = written(tmp_path / "named", "dropoff_bearer_named\n")
    other = written(tmp_path / "other", "dropoff_bearer_other\n")
    environ = {"DROPOFF_CREDENTIAL_FILE": str(other), "DROPOFF_DATA": str(operator)}
    assert sent_to(HERE, bearer=BEARER, file=named, **environ) == BEARER
    assert sent_to(HERE, file=named, **environ) == "dropoff_bearer_named"
    assert sent_to(HERE, **environ) == "dropoff_bearer_other"
    assert sent_to(HERE, DROPOFF_DATA=str(operator)) == "dropoff_bearer_operator"
    assert sent_to(HERE, data=operator) == "dropoff_bearer_operator"


def test_the_operators_credential_stays_on_its_machine(tmp_path: Path):
    written(tmp_path / "operator.bearer", BEARER)
    assert sent_to(HERE, data=tmp_path) == BEARER
    assert sent_to(AWAY, data=tmp_path) == ""


def test_no_credential_goes_to_another_machine_in_the_clear(tmp_path: Path):
    """Not by plain http, unless it is said that the network is private."""
    file = written(tmp_path / "file", BEARER)
    for url in (
        "http://broker:8787",
        "http://10.0.0.1",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
    ):
        with pytest.raises(CredentialUnusable, match="DROPOFF_INSECURE=1") as refusal:
            sent_to(url, file=file)
        assert "Nothing was sent" in refusal.value.sentence()
        assert sent_to(url, file=file, DROPOFF_INSECURE="1") == BEARER
        with pytest.raises(CredentialUnusable):
            sent_to(url, bearer=BEARER)
    assert sent_to(AWAY, file=file) == BEARER


@pytest.mark.parametrize("url", ["http://127.0.0.1", "http://127.8.9.1:1", "http://[::1]:8787", "http://localhost:1"])
def test_this_machine_is_known_by_its_addresses(url: str):
    assert is_loopback(url)


def test_a_key_is_refused_by_name(tmp_path: Path):
    file = written(tmp_path / "key.pem", "-----BEGIN PRIVATE KEY-----\nMIG\n-----END PRIVATE KEY-----\n")
    with pytest.raises(CredentialUnusable, match=r"PEM key.*later release") as refusal:
        sent_to(HERE, file=file)
    assert "MIG" not in refusal.value.sentence()


@pytest.mark.parametrize(
    "content", ["", "secret", "dropoff_bearer_a dropoff_bearer_b", "dropoff_bearer_a\nb", "dropoff_bearer_ключ"]
)
def test_what_is_no_credential_is_refused_and_not_shown(tmp_path: Path, content: str):
    with pytest.raises(CredentialUnusable, match="holds no credential") as refusal:
        sent_to(HERE, file=written(tmp_path / "file", content))
    assert not content or content not in refusal.value.sentence()


def test_a_named_file_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(CredentialUnusable, match="cannot be read: No such file"):
        sent_to(HERE, file=tmp_path / "none")


def test_a_file_that_others_can_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "dropoff.client"):
        sent_to(HERE, file=written(tmp_path / "tight", BEARER))
        assert caplog.messages == []
        sent_to(HERE, file=written(tmp_path / "loose", BEARER, 0o644))
    assert "chmod 600" in caplog.messages[0]
    assert BEARER not in caplog.text


async def test_without_any_the_broker_is_asked_and_the_places_are_told(desk: Desk, tmp_path: Path):
    """A broker that runs somewhere else than its data folder is looked for: say where we looked."""
    async with connection(desk.url, data=tmp_path, environ={}) as broker:
        with pytest.raises(CredentialUnusable, match="There is no credential") as refusal:
            await broker.get("/v1/queues")
    assert str(tmp_path / "operator.bearer") in refusal.value.sentence()
    assert refusal.value.exit_code == 4
