"""The scripted models read what the broker says; they do not know it beforehand."""

import pytest

from dropoff.core import payload
from dropoff.demo.researcher import mended
from dropoff.demo.story import Checks, UntrueError
from dropoff.errors import PayloadInvalid, Problem

DRAFT = {"title": "Heat pumps", "audiance": "exec"}


def refusal(*problems: str) -> str:
    """A refusal in the words that the broker has for it."""
    listed = tuple(Problem(path=payload.path_of("payload", ("audiance",)), problem=one) for one in problems)
    return PayloadInvalid(schema="draft@1", problems=listed).sentence()


def test_the_field_is_mended_as_the_sentence_says():
    """Whatever it proposes, and the order stays."""
    assert list(mended(DRAFT, refusal("unknown field; did you mean 'reader'?"))) == ["title", "reader"]


@pytest.mark.parametrize(
    "sentence",
    [
        refusal("unknown field"),
        refusal("is wrong somehow; did you mean 'audience'?"),
        "There is no queue 'drafts' for you. You may drop off into: none. Nothing was stored.",
        '{"status":"dropped_off","handoff_id":"drafts-8F3K2Q9T1MXK7A4B"}',
    ],
)
def test_a_sentence_that_helps_nobody_stops_the_researcher(sentence: str):
    """If the words change, the demo fails and does not pretend."""
    with pytest.raises(RuntimeError):
        mended(DRAFT, sentence)


def test_a_check_that_does_not_hold_ends_the_story():
    """And only those that hold are counted."""
    checks = Checks()
    checks.hold(True, "the sun rises")
    with pytest.raises(UntrueError, match="pigs fly"):
        checks.hold([], "pigs fly")
    assert checks.held == 1
