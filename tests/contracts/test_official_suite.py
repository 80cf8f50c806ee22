"""The official JSON-Schema-Test-Suite, draft 2020-12, its required cases: what it says, our gate says.

Each group of cases has one schema. The lint admits it or names the rule that it breaks, with the rule switched off that
a root must be an object. Then the gate's verdict on each case must be the suite's. The judge, `jsonschema`, which the
lint asks about schemas, is held beside it; where the two differ, it is said here why, and the gate's word stands.

The suite lies where the project is developed. Elsewhere this is skipped.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from jsonschema import Draft202012Validator

from dropoff.contracts import lint
from dropoff.contracts.gate import compile_schema

SUITE: Final = Path(__file__).parents[3] / "shared/data/json-schema-test-suite/tests/draft2020-12"
ADMITTED_MIN: Final = 0.93
AS_SUITE_MIN: Final = 0.995

# Why a schema of the suite is no contract here: the beginning of the first problem that the lint names, how many cases,
# and the reason.
NOT_ADMITTED: Final = {
    "points at no schema in here": (48, "it would have to be fetched"),
    "is not allowed: what it means depends on who refers to it": (33, "$dynamicRef: one text, several meanings"),
    "must be https://json-schema.org/draft/2020-12/schema": (5, "another dialect, or a vocabulary of its own"),
    "is an integer beyond": (4, "payloads have no such integers either: readers in other languages disagree"),
}
NOT_AS_SUITE: Final[dict[tuple[str, str], str]] = {}
JUDGE_DIFFERS: Final = {
    ("pattern.json", "pattern with Unicode property escape requires unicode mode"): "Python's patterns know no \\p{…}",
    ("patternProperties.json", "patternProperties with Unicode property escape"): "Python's patterns know no \\p{…}",
}

pytestmark = pytest.mark.skipif(not SUITE.is_dir(), reason=f"the official suite does not lie at {SUITE}")


class Case(NamedTuple):
    """One schema, one value, one verdict."""

    file: str
    group: str
    schema: Any
    value: Any
    valid: bool


def cases() -> Iterator[Case]:
    for path in sorted(SUITE.glob("*.json")):
        for group in json.loads(path.read_text()):
            for test in group["tests"]:
                yield Case(path.name, group["description"], group["schema"], test["data"], test["valid"])


def refusal(schema: Any) -> str:
    """The rule that this schema breaks first; empty if it is admitted."""
    problems = lint.judge("suite", schema, any_root=True)
    return problems[0].problem if problems else ""


def test_nearly_all_is_admitted_and_each_refusal_has_its_reason():
    refused = [why for case in cases() if (why := refusal(case.schema))]
    counted = {begin: sum(why.startswith(begin) for why in refused) for begin in NOT_ADMITTED}

    assert counted == {begin: number for begin, (number, _) in NOT_ADMITTED.items()}
    assert len(refused) == sum(counted.values()), "each is refused by a rule of the table"
    assert 1 - len(refused) / len(list(cases())) >= ADMITTED_MIN


def test_of_what_is_admitted_the_gate_says_what_the_suite_says():
    admitted = [case for case in cases() if not refusal(case.schema)]
    wrong = [case for case in admitted if compile_schema(case.schema).is_valid(case.value) is not case.valid]

    assert {(case.file, case.group) for case in wrong} == NOT_AS_SUITE.keys()
    assert 1 - len(wrong) / len(admitted) >= AS_SUITE_MIN


def test_the_judge_differs_from_the_gate_only_where_it_is_named():
    def judged(case: Case) -> bool | None:
        try:
            return Draft202012Validator(case.schema).is_valid(case.value)
        except Exception:  # noqa: BLE001  (whatever it cannot judge is a difference)
            return None

    admitted = [case for case in cases() if not refusal(case.schema)]
    differs = {
        (case.file, case.group)
        for case in admitted
        if judged(case) is not compile_schema(case.schema).is_valid(case.value)
    }
    assert differs == JUDGE_DIFFERS.keys()
