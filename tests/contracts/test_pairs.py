"""Of generated pairs of schemas: "compatible" is never contradicted by a payload, and every witness is one.

pytest tests/contracts/test_pairs.py                        a tenth of the pairs
pytest -m campaign tests/contracts/test_pairs.py            10,000 pairs, and each rule silenced once
pytest -m campaign tests/contracts/test_pairs.py -k silent  is a rule that says nothing found among the tenth?
"""

from collections import Counter
from itertools import islice
from random import Random
from typing import Any

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from dropoff.contracts import compare as comparing
from dropoff.contracts import lint
from dropoff.contracts.compare import compare
from dropoff.contracts.gate import compile_schema
from dropoff.contracts.rules import ROWS
from tests.contracts.edges import changed, payloads
from tests.contracts.edits import TYPE_OF, edited
from tests.contracts.pairs import SLOW, pairs

PAIRS = 1_000
PAIRS_OF_CAMPAIGN = 10_000
PAYLOADS_A_PAIR = 40
CHANGES_A_PAIR = 40
QUICKLY_FOUND = ("maximum", "multipleOf", "maxLength", "minItems")

KEYWORDS = list(TYPE_OF)

Json = dict[str, Any]


class Contradicted(Exception):
    """A sure answer is wrong."""


def hold(number: int, of_seed: int) -> "Counter[str]":
    """Make pairs of schemas, and hold the answers against payloads: first those with one edit, each keyword in turn."""
    verdicts: Counter[str] = Counter()
    drawn = number // 4
    for turn in range(number - drawn):
        random = Random(f"{of_seed} {turn}")
        held(*edited(KEYWORDS[turn % len(KEYWORDS)], random), random, verdicts)

    @seed(of_seed)
    @settings(max_examples=drawn, database=None, deadline=None, suppress_health_check=SLOW)
    @given(pairs(), st.randoms(use_true_random=True))
    def holds(pair: tuple[Json, Json], random: Random) -> None:
        held(*pair, random, verdicts)

    holds()
    return verdicts


def held(old: Json, new: Json, random: Random, verdicts: "Counter[str]") -> None:
    if lint.judge("old", old) or lint.judge("new", new):
        return
    found = compare(old, new)
    verdicts[found.verdict] += 1
    before, now = compile_schema(old), compile_schema(new)
    if found.verdict == "compatible":
        for value in fitting(old, new, random):
            verdicts["payloads"] += 1
            if not now.is_valid(value):
                raise Contradicted(f"{value} fits {old}, and not {new}")
    if found.witness is not None and (not before.is_valid(found.witness) or now.is_valid(found.witness)):
        raise Contradicted(f"{found.witness} is no witness of {old} and {new}")


def fitting(old: Json, new: Json, random: Random) -> list[Json]:
    """Payloads at the edges of both that fit the old one, and some that are like these."""
    fits = compile_schema(old).is_valid
    found = [value for value in islice(payloads([old, new], random), PAYLOADS_A_PAIR) if fits(value)]
    for _ in range(CHANGES_A_PAIR if found else 0):
        value = changed(random.choice(found), [old, new], random)
        if fits(value):
            found.append(value)
    return found


def assert_all_answers(verdicts: "Counter[str]", number: int) -> None:
    """The claim is empty where an answer hardly occurs."""
    assert verdicts["compatible"] > number / 4
    assert verdicts["incompatible"] > number / 4
    assert verdicts["payloads"] > number * 10


def test_compatible_is_never_contradicted_and_every_witness_is_one(fresh_seed: int):
    assert_all_answers(hold(PAIRS, fresh_seed), PAIRS)


@pytest.mark.campaign
def test_ten_thousand_pairs(fresh_seed: int):
    verdicts = hold(PAIRS_OF_CAMPAIGN, fresh_seed)
    print(f"seed {fresh_seed}: {dict(verdicts)}")
    assert_all_answers(verdicts, PAIRS_OF_CAMPAIGN)


# ---- would a wrong rule be found? -----------------------------------------------------------------------------------


def silence(keyword: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule for this keyword finds that everything is implied."""
    rows = [row._replace(rule=lambda _: iter(())) if keyword in row.keywords else row for row in ROWS]
    monkeypatch.setattr(comparing, "ROWS", rows)


def test_every_keyword_of_every_rule_is_drawn():
    drawn = set(TYPE_OF) | {"minContains", "maxContains", "then", "else"}
    assert {keyword for row in ROWS for keyword in row.keywords} <= drawn


@pytest.mark.parametrize("keyword", QUICKLY_FOUND)
def test_a_silent_rule_is_found(keyword: str, fresh_seed: int, monkeypatch: pytest.MonkeyPatch):
    silence(keyword, monkeypatch)
    with pytest.raises(Contradicted):
        hold(PAIRS, fresh_seed)


@pytest.mark.campaign
@pytest.mark.parametrize("keyword", [row.keywords[0] for row in ROWS])
def test_each_silent_rule_is_found(keyword: str, fresh_seed: int, monkeypatch: pytest.MonkeyPatch):
    silence(keyword, monkeypatch)
    with pytest.raises(Contradicted):
        hold(PAIRS, fresh_seed)
