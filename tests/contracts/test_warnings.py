"""What models stumble over is said, each kind at its place; and of a good contract nothing is said."""

import json
from pathlib import Path
from typing import Any

import pytest

from dropoff.contracts import lint
from dropoff.contracts.warnings import RULES, Rule, warnings
from tests.contracts.test_compare import TREE

PAYLOADS = Path(__file__).parents[2] / "schemas" / "payloads"

Json = dict[str, Any]

TEXT = {"type": "string", "description": "Some text."}


def good(schema: Any = None, /, **beside: Any) -> Json:
    """A contract without a warning, whose field `a` is this."""
    return {
        "type": "object",
        "description": "What this is for.",
        "properties": {"a": TEXT if schema is None else schema},
        "additionalProperties": False,
        "examples": [{}],
    } | beside


def said(content: Json) -> list[tuple[str, str]]:
    lint.require("research", content)
    return [(one.path, one.problem) for one in warnings(content)]


def one_kind(kind: str, **fields: Any) -> Json:
    return {"type": "object", "properties": {"kind": {"const": kind}} | fields, "additionalProperties": False}


OPEN = "takes any field: a misspelt one is not noticed"
UNTOLD = "no field tells its alternatives apart, so what is wrong with a payload can only be guessed"

CASES = {
    "no description at the root": (good(description=""), [("payload", "has no description")]),
    "nor on a field": (good({"type": "string"}), [("payload.a", "has no description")]),
    "nor further inside": (
        good({"description": "Some.", "type": "array", "items": one_kind("x", b={"type": "string"})}),
        [("payload.a[0].b", "has no description")],
    ),
    "an open object": (good(additionalProperties=True), [("payload", OPEN)]),
    "an open object in a field": (good({"type": "object", "description": "Anything."}), [("payload.a", OPEN)]),
    "an open object that does not say it is one": (
        good({"description": "Some.", "properties": {"b": TEXT}}),
        [("payload.a", OPEN)],
    ),
    "one in a field of any name": (
        good({"description": "By word.", "type": "object", "additionalProperties": {"type": "object"}}),
        [("payload.a.another_field", OPEN)],
    ),
    "one in a field whose name fits a pattern": (
        good(patternProperties={"^x-": {"type": "object"}}),
        [('payload["^x-"]', OPEN)],
    ),
    "a format": (
        good(TEXT | {"format": "email"}),
        [("payload.a", "format email is a note to the reader: nobody checks it")],
    ),
    "no examples": (good(examples=[]), [("payload", "has no examples")]),
    "an example that does not fit": (
        good(examples=[{}, {"b": 1}]),
        [("payload", "examples[1] does not fit the schema it stands in")],
    ),
    "an example of a field": (
        good(TEXT | {"examples": [7]}),
        [("payload.a", "examples[0] does not fit the schema it stands in")],
    ),
    "an example of an alternative": (
        good({"description": "One of two.", "anyOf": [TEXT | {"examples": [7]}, {"type": "number"}]}),
        [("payload.a", "examples[0] does not fit the schema it stands in")],
    ),
    "a default": (good(TEXT | {"default": 7}), [("payload.a", "default does not fit the schema it stands in")]),
    "alternatives that nobody can tell apart": (
        good({"description": "One of two.", "anyOf": [one_kind("x", b=TEXT), one_kind("y", c=TEXT)]}),
        [("payload.a", UNTOLD)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_models_stumble_over_is_said_at_its_place(case: str):
    content, expected = CASES[case]
    assert said(content) == expected


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_needed_by_a_case(rule: Rule, monkeypatch: pytest.MonkeyPatch):
    """Without it, one of them would pass unnoticed."""
    monkeypatch.setattr("dropoff.contracts.warnings.RULES", tuple(each for each in RULES if each is not rule))
    assert [case for case, (content, expected) in CASES.items() if said(content) != expected]


@pytest.mark.parametrize(
    "content",
    [
        good(),
        good(TEXT | {"format": "email", "pattern": "@"}),  # who wrote a pattern knows
        good({"const": "x"}),  # says what it is
        good({"description": "Anything at all."}),
        good(TEXT | {"properties": {}}),  # demands something of objects only, and is none
        good(False),  # may not be there
        good({"description": "One of two, each closed.", "type": "object", "oneOf": [
            one_kind("x") | {"required": ["kind"]}, one_kind("y") | {"required": ["kind"]}]}),
        good({"anyOf": [TEXT, {"type": "null"}]}),  # described where it may be something
        good({"type": "object", "description": "Counts by word.", "additionalProperties": {"type": "integer"}}),
        good({"$ref": "#/$defs/text"}, **{"$defs": {"text": TEXT}}),  # described where it is defined
        good({"description": "Some.", "allOf": [{"$ref": "#/$defs/base"}], "unevaluatedProperties": False}, **{
            "$defs": {"base": {"type": "object", "properties": {"b": TEXT}}}}),
        good({"description": "A word or a number.", "anyOf": [{"type": "string"}, {"type": "number"}]}),
        good(anyOf=[{"required": ["a"]}, {"maxProperties": 0}]),  # demands, and no objects of their own
        good({"description": "One of two.", "oneOf": [
            one_kind("x", b=TEXT) | {"required": ["kind"]}, one_kind("y", c=TEXT) | {"required": ["kind"]}]}),
        good(additionalProperties=False, patternProperties={"^x-": TEXT}),
    ],
)  # fmt: skip
def test_of_a_good_contract_nothing_is_said(content: Json):
    assert said(content) == []


@pytest.mark.parametrize("file", sorted(PAYLOADS.iterdir()), ids=lambda file: file.name)
def test_our_own_contracts_have_no_warnings(file: Path):
    assert said(json.loads(file.read_text(encoding="utf-8"))) == []


def test_why_an_example_does_not_fit_is_told():
    assert [one.got for one in warnings(good(examples=[{"a": 7}]))] == ["it.a: is an integer, not a string"]


def test_a_schema_that_contains_itself_is_looked_at_once():
    assert said(TREE | {"description": "A tree.", "examples": [{}]}) == [
        ("payload", OPEN), ("payload.leaves", "has no description"),
    ]  # fmt: skip


def test_a_schema_with_very_many_places_is_looked_at_as_far_as_the_bound(monkeypatch: pytest.MonkeyPatch):
    """Alternatives of alternatives: each of 8⁸ ways through them would be a place of its own."""
    ways = [{"anyOf": [{"properties": {f"{group}{n}": {"type": "string"}}} for n in range(8)]} for group in "abcdefgh"]
    monkeypatch.setattr("dropoff.contracts.warnings.PLACES_MAX", 100)
    assert 0 < len(said({"type": "object", "allOf": ways})) < 100
