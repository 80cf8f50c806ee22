"""Ids, digests and the record of a handoff."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropoff.core.handoff import (
    NAME,
    UNIQUE_BYTES,
    AgentName,
    QueueName,
    base32,
    content_of,
    derived_id,
    digest_of,
    from_base32,
    new_id,
    queue_of,
)

names = st.from_regex(NAME, fullmatch=True).map(QueueName)
unique = st.binary(min_size=UNIQUE_BYTES, max_size=UNIQUE_BYTES)
parts = st.lists(st.one_of(st.text(), st.binary(), st.integers()))


@given(names, unique)
def test_an_id_carries_its_queue(queue: QueueName, random: bytes):
    assert queue_of(new_id(queue, random)) == queue


@given(names, unique, unique)
def test_ids_differ_where_their_bits_differ(queue: QueueName, one: bytes, other: bytes):
    assert (new_id(queue, one) == new_id(queue, other)) == (one == other)


def test_an_id_looks_like_the_one_in_our_sentences():
    assert new_id(QueueName("research"), bytes(10)) == "research-0000000000000000"
    assert new_id(QueueName("research"), b"\xff" * 10) == "research-ZZZZZZZZZZZZZZZZ"


@pytest.mark.parametrize(
    "made_up",
    ["", "-", "research", "research-", "-8F3K2Q9T1MXK7A4B", "research-8F3K2Q9T1MXK7A4", "research-8F3K2Q9T1MXK7A4BB",
     "research-8f3k2q9t1mxk7a4b", "research-8F3K2Q9T1MXK7A4I", "Research-8F3K2Q9T1MXK7A4B", "a b-8F3K2Q9T1MXK7A4B",
     "research-8F3K2Q9T1MXK7A4B\n", "a:b-8F3K2Q9T1MXK7A4B", "re{p1}-8F3K2Q9T1MXK7A4B", "research-8F3K2Q9T1MXK7A4B.1"],
)  # fmt: skip
def test_what_is_no_id_names_no_queue(made_up: str):
    """Nothing that somebody made up becomes part of a key."""
    assert queue_of(made_up) is None


@given(names, names, st.text())
def test_a_request_key_stands_for_one_id(agent: str, queue: QueueName, key: str):
    assert derived_id(AgentName(agent), queue, key) == derived_id(AgentName(agent), queue, key)


@given(st.lists(st.tuples(names, names, st.text(max_size=5)), unique=True, min_size=2, max_size=5))
def test_another_agent_queue_or_key_is_another_id(calls: list[tuple[str, QueueName, str]]):
    assert len({derived_id(AgentName(agent), queue, key) for agent, queue, key in calls}) == len(calls)


@given(st.integers(min_value=0, max_value=2**80))
def test_base32_is_read_as_it_was_written(number: int):
    assert from_base32(base32(number)) == number


@given(st.integers(min_value=0), st.integers(min_value=0))
def test_base32_orders_as_numbers_do_where_lengths_agree(one: int, other: int):
    width = max(len(base32(one)), len(base32(other)))

    assert (base32(one).rjust(width, "0") < base32(other).rjust(width, "0")) == (one < other)


@pytest.mark.parametrize("text", ["", "00", "01", "I", "a", "1 ", "-1", "0x1", "U"])
def test_what_base32_would_not_have_written_is_refused(text: str):
    """One number has one spelling, so one lease has one id."""
    with pytest.raises(ValueError):  # noqa: PT011  (any of them; its text is for programmers)
        from_base32(text)


@given(parts, parts)
def test_other_parts_have_another_digest(one: list, other: list):
    """However the parts are cut: lengths stand between."""
    same = [part if isinstance(part, bytes) else str(part).encode() for part in one] == [
        part if isinstance(part, bytes) else str(part).encode() for part in other
    ]
    assert (content_of(*one) == content_of(*other)) == same


def test_parts_that_only_touch_differ():
    assert content_of("ab", "c") != content_of("a", "bc")
    assert content_of("a", "") != content_of("a")


@given(st.text(max_size=8), st.text(max_size=8), st.binary(max_size=8))
def test_a_salt_hides_what_the_payload_was(salt: str, other: str, payload: bytes):
    assert (digest_of(salt, payload) == digest_of(other, payload)) == (salt == other)
