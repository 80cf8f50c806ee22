"""The README says what the code does."""

from tests.readme import README, as_it_should_be


def test_the_state_table_is_the_one_the_code_obeys():
    """Made anew by `python -m tests.readme --write`."""
    text = README.read_text(encoding="utf-8")
    assert text == as_it_should_be(text)
