"""A lease's id is its handoff's id and its fence, and no secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropoff.core.handoff import UNIQUE_BYTES, HandoffId, QueueName, new_id
from dropoff.core.lease import Lease, parse
from dropoff.core.ledger import Entry, leaf, line

ids = st.binary(min_size=UNIQUE_BYTES, max_size=UNIQUE_BYTES).map(lambda bits: new_id(QueueName("re.search-2"), bits))
fences = st.integers(min_value=0, max_value=2**60)


@given(ids, fences)
def test_a_lease_id_is_read_as_it_was_written(handoff: HandoffId, fence: int):
    lease = Lease(handoff, fence)

    assert parse(lease.id) == lease
    assert lease.queue == "re.search-2"


@given(ids, fences, fences)
def test_another_fence_is_another_lease(handoff: HandoffId, one: int, other: int):
    assert (Lease(handoff, one).id == Lease(handoff, other).id) == (one == other)


@pytest.mark.parametrize(
    "made_up",
    ["", ".", "research-8F3K2Q9T1MXK7A4B", "research-8F3K2Q9T1MXK7A4B.", "research-8F3K2Q9T1MXK7A4B.01",
     "research-8F3K2Q9T1MXK7A4B.1l", "research-8F3K2Q9T1MXK7A4B.-1", "research.1", ".1", "research-8F3K2Q9T1MXK7A4B.1 ",
     "research-8F3K2Q9T1MXK7A4B.1.1"],
)  # fmt: skip
def test_what_is_no_lease_id_is_none(made_up: str):
    assert parse(made_up) is None


@given(st.text())
def test_no_text_whatever_breaks_the_reading(text: str):
    lease = parse(text)

    assert lease is None or lease.id == text


# ---- what a receipt names ---------------------------------------------------------------------------------------


def test_a_line_is_canonical_json_and_its_leaf_is_rfc_9162_s():
    """Worked out by hand once, so that nobody changes it unknowingly: archives and proofs rest on it."""
    entry = Entry(id="1-0", step="due", at="5", actor="upkeep", handoff="h", from_="scheduled", to="waiting")

    assert line(entry) == (
        b'{"actor":"upkeep","at":"5","from":"scheduled","handoff":"h","id":"1-0","step":"due","to":"waiting"}'
    )
    assert leaf(entry) == "0c860df247f4ad8c174fcba1070dadbb38c7bc7cf8068df254074bb6ccf2682e"


@given(st.text(), st.text())
def test_another_reason_is_another_leaf(one: str, other: str):
    entries = [Entry(id="1-0", step="s", at="1", actor="a", reason=reason) for reason in (one, other)]

    assert (leaf(entries[0]) == leaf(entries[1])) == (one == other)


def test_a_fence_longer_than_any_is_none():
    """Reading a number takes the square of its digits: a caller must not be able to ask for that."""
    assert parse(f"{new_id(QueueName('research'), bytes(UNIQUE_BYTES))}.{'1' * 13}") is not None
    assert parse(f"{new_id(QueueName('research'), bytes(UNIQUE_BYTES))}.{'1' * 14}") is None
