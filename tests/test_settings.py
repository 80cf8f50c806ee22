"""What a broker is told before it starts."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from dropoff.settings import FOR_CLIENTS, SETTINGS, SettingInvalid, Settings, amount, as_amount, find, settings


def test_a_flag_wins_over_the_variable_and_the_variable_over_the_default():
    environ = {"DROPOFF_DATA": "/from/variable", "DROPOFF_STORE": "redis://variable"}
    assert settings({}, {"HOME": "/home/ann"}).port == 8787
    assert settings({}, environ).data == Path("/from/variable")
    assert settings({"data": Path("/from/flag"), "store": None}, environ).data == Path("/from/flag")
    assert settings({"store": None}, environ).store == "redis://variable"


def test_each_value_says_where_it_came_from():
    told = settings({"port": 0, "store": None}, {"DROPOFF_STORE": "redis://variable", "DROPOFF_WORKERS": ""})

    assert set(told.came_from) == {row.name for row in SETTINGS}
    said = {name: source for name, source in told.came_from.items() if source != "default"}
    assert said == {"port": "flag", "store": "environment"}, "a variable that is empty was not set"


def test_every_field_of_the_settings_is_a_row_of_the_table():
    """Both in the same order, so that what is built and what is shown cannot drift apart."""
    assert [field.name for field in msgspec.structs.fields(Settings)] == [*(row.name for row in SETTINGS), "came_from"]


def test_every_row_can_be_told_and_says_what_it_is():
    for row in (*SETTINGS, *FOR_CLIENTS):
        assert row.flag or row.variable, row.name
        assert row.expected, row.name
        assert row.says.endswith("."), row.name
        assert row.shown(row.default), row.name


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("DROPOFF_WORKERS", "4", "workers", 4),
        ("DROPOFF_DISK_FREE_MIN", "1GB", "disk_free_min", 1 << 30),
        ("DROPOFF_DISK_FREE_MIN", "64 mb", "disk_free_min", 64 << 20),
        ("DROPOFF_DISK_FREE_MIN", "1000", "disk_free_min", 1000),
        ("DROPOFF_DISK_FREE_MIN", "0", "disk_free_min", 0),
        ("DROPOFF_ALLOWED_HOSTS", "[2001:db8::7]:*", "allowed_hosts", ("[2001:db8::7]:*",)),
        ("DROPOFF_ALLOWED_ORIGINS", "https://a.example, http://b:8000", "allowed_origins",
         ("https://a.example", "http://b:8000")),
    ],
)  # fmt: skip
def test_text_becomes_a_value(variable: str, text: str, name: str, value: Any):
    assert getattr(settings({}, {variable: text}), name) == value


def test_a_folder_may_begin_at_home_and_is_known_in_full(monkeypatch: pytest.MonkeyPatch):
    """Whoever starts a broker elsewhere later means the same folder."""
    monkeypatch.setenv("HOME", "/home/ann")
    assert settings({}, {"DROPOFF_DATA": "~/work"}).data == Path("/home/ann/work")
    assert settings({"data": "here"}, {}).data == Path.cwd() / "here"


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("DROPOFF_WORKERS", "0", "a number from 1 to 64"),
        ("DROPOFF_WORKERS", "65", "a number from 1 to 64"),
        ("DROPOFF_WORKERS", "many", "a number from 1 to 64"),
        ("DROPOFF_WORKERS", "9" * 5_000, "a number from 1 to 64"),
        ("DROPOFF_DISK_FREE_MIN", "-1", "256MB or 1GB"),
        ("DROPOFF_DISK_FREE_MIN", "1.5GB", "256MB or 1GB"),
        ("DROPOFF_DISK_FREE_MIN", "5%", "256MB or 1GB"),
        ("DROPOFF_ALLOWED_HOSTS", "*", "broker:*, broker:8787 or broker"),
        ("DROPOFF_ALLOWED_HOSTS", "*.example.org", "broker:*, broker:8787 or broker"),
        ("DROPOFF_ALLOWED_HOSTS", "http://broker", "broker:*, broker:8787 or broker"),
        ("DROPOFF_ALLOWED_HOSTS", "broker:* other:*", "broker:*, broker:8787 or broker"),
        ("DROPOFF_ALLOWED_ORIGINS", "console.example.org", "https://console.example.org"),
        ("DROPOFF_ALLOWED_ORIGINS", "https://console.example.org/", "https://console.example.org"),
    ],
)
def test_what_cannot_be_a_value_is_refused_by_its_name_and_the_form_that_it_should_have(
    variable: str, text: str, expected: str
):
    with pytest.raises(SettingInvalid) as refusal:
        settings({}, {variable: text})

    assert refusal.value.sentence().startswith(f"{variable} is '{text[:80]}'. Expected: ")
    assert expected in refusal.value.sentence()
    assert len(refusal.value.sentence()) < 250
    assert refusal.value.exit_code == 2


def test_a_flag_that_is_text_is_read_like_the_variable_and_refused_by_its_own_name():
    with pytest.raises(SettingInvalid, match=r"^--workers is 'two'"):
        settings({"workers": "two"}, {})


@pytest.mark.parametrize("given", [{"store": "http://ann:secret@host"}, {}])
def test_a_store_that_is_no_url_is_refused_without_its_secret(given: dict[str, str]):
    with pytest.raises(SettingInvalid, match="redis://USER:PASSWORD@HOST") as refusal:
        settings(given, {"DROPOFF_STORE": "http://ann:secret@host"})

    assert "secret" not in refusal.value.sentence()
    assert refusal.value.sentence().startswith("--store is" if given else "DROPOFF_STORE is"), "as it was said"


@pytest.mark.parametrize(
    "text", ["ann:secret@broker", "ftp://ann:secret@broker", "http://ann:secret@broker:x", "http:"]
)
def test_an_address_that_is_none_is_refused_without_its_secret(text: str):
    [url] = [row for row in FOR_CLIENTS if row.name == "url"]
    with pytest.raises(SettingInvalid) as refusal:
        find(url, None, {"DROPOFF_URL": text})

    assert refusal.value.sentence() == "DROPOFF_URL cannot be used. Expected: http://HOST:PORT or https://HOST:PORT."


def test_no_form_of_a_store_shows_its_password():
    [store] = [row for row in SETTINGS if row.name == "store"]
    url = "redis://ann:secret@host:6379/0?ssl_cert_reqs=none"

    assert store.shown(url) == store.plain(url) == "redis://host:6379/0"


@pytest.mark.parametrize("count", [0, 1, 1023, 1 << 10, 3 << 20, (3 << 20) + 1, 5 << 40])
def test_an_amount_reads_back_as_it_was_written(count: int):
    assert amount(as_amount(count)) == count


def test_the_default_amount_is_said_as_people_say_it():
    assert as_amount(settings({}, {}).disk_free_min) == "256MB"


def test_by_default_only_loopback_names_are_answered():
    """A page that rebinds its own name to this machine brings that name, and is refused."""
    assert settings({}, {}).hosts == ("127.0.0.1:*", "localhost:*", "[::1]:*")


def test_a_bound_address_is_answered_under_its_name_but_all_addresses_are_no_name():
    assert "192.0.2.7:*" in settings({"host": "192.0.2.7"}, {}).hosts
    assert "[2001:db8::7]:*" in settings({"host": "2001:db8::7"}, {}).hosts
    assert settings({"host": "0.0.0.0"}, {}).hosts == settings({}, {}).hosts


def test_further_hosts_are_listed_by_commas():
    assert settings({}, {"DROPOFF_ALLOWED_HOSTS": "broker:*, dropoff.example:443"}).hosts[-2:] == (
        "broker:*",
        "dropoff.example:443",
    )
