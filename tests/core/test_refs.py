"""People write `research@3`, or `research` for its newest version; what is registered has both parts."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropoff.core.handoff import NAME
from dropoff.core.refs import meant, name_of, newest, split_ref, version_of
from dropoff.core.requests import PickUp

KNOWN = ("drafts@12", "research@2", "research@10")


@given(st.from_regex(NAME, fullmatch=True), st.integers(1, 999_999))
def test_a_reference_is_read_as_it_was_written(name: str, version: int):
    ref = f"{name}@{version}"

    assert split_ref(ref) == (name_of(ref), version_of(ref)) == (name, version)
    assert split_ref(name) == (name, None)


@pytest.mark.parametrize("ref", ["", "@", "@1", "a@", "a@0", "a@01", "a@-1", "a@1@2", "a@x", "a@1\n"])
def test_what_is_no_reference_is_not_read_and_means_nothing(ref: str):
    assert split_ref(ref) is None
    assert meant(ref, (*KNOWN, "a@1")) is None


def test_a_name_alone_means_its_newest_version():
    """By number and not by spelling, and of that name only."""
    assert newest("research", KNOWN) == 10
    assert meant("research", KNOWN) == "research@10"
    assert meant("research@2", KNOWN) == "research@2"


@pytest.mark.parametrize("ref", ["research@3", "search", "research@1"])
def test_a_version_that_is_not_known_is_not_meant(ref: str):
    assert meant(ref, KNOWN) is None


def test_a_name_without_versions_has_no_newest():
    assert newest("search", KNOWN) == 0
    assert meant("search", ()) is None


@pytest.mark.parametrize(
    "ref",
    [
        *("research@3", "a@1", "re.search_x-1@12", "research@999999999"),
        *("research", "research@", "research@0", "@3", "Research@3", "-a@1", "a-@1"),
        *("research@03", "research@1234567890", "a" * 64 + "@1", "a" * 65 + "@1"),
    ],
)
def test_what_a_program_may_say_it_accepts_is_what_can_be_registered(ref: str):
    """The rule stands in the shape of the argument, too, where clients in other languages read it."""
    name, _, version = ref.partition("@")
    split = split_ref(ref)
    registered = bool(version and split and split[1] and NAME.match(name))

    try:
        msgspec.convert({"accepts": [ref]}, PickUp)
        assert registered
    except msgspec.ValidationError:
        assert not registered
