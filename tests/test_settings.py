"""What a broker is told before it starts."""

from pathlib import Path

from dropoff.settings import settings


def test_a_flag_wins_over_the_variable_and_the_variable_over_the_default():
    environ = {"DROPOFF_DATA": "/from/variable", "DROPOFF_STORE": "redis://variable"}
    assert settings({}, {"HOME": "/home/ann"}).port == 8787
    assert settings({}, environ).data == Path("/from/variable")
    assert settings({"data": Path("/from/flag"), "store": None}, environ).data == Path("/from/flag")
    assert settings({"store": None}, environ).store == "redis://variable"


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
