"""A draft says what the examples have in common, may be registered as it is, and lets each of them pass."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropoff.contracts import lint
from dropoff.contracts.from_example import from_examples
from dropoff.contracts.gate import compile_schema
from dropoff.errors import SchemaRefused

SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=3)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner))
EXAMPLES = st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), min_size=1, max_size=4)


def field(*values: Any) -> Any:
    """The draft of the field `a`, from an example for each of these values."""
    return from_examples([{"a": value} for value in values])["properties"]["a"]


def test_a_draft_reads_like_a_contract():
    examples = [
        {"topic": "heat pumps", "sources": [{"url": "https://example.org", "page": 3}], "weight": 1},
        {"topic": "solar", "sources": [{"url": "https://example.com"}], "weight": 0.5, "urgent": True},
    ]
    assert from_examples(examples) == {
        "$schema": lint.DIALECT,
        "type": "object",
        "properties": {
            "topic": {"type": "string"},
            "sources": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"url": {"type": "string"}, "page": {"type": "integer"}},
                    "required": ["url"],
                    "additionalProperties": False,
                },
            },
            "weight": {"type": "number"},
            "urgent": {"type": "boolean"},
        },
        "required": ["topic", "sources", "weight"],
        "additionalProperties": False,
        "examples": [examples[0]],
    }


@pytest.mark.parametrize(
    ("values", "schema"),
    [
        (("exec", "exec"), {"type": "string"}),  # a choice is never guessed
        ((1, 2), {"type": "integer"}),
        ((1, 2.0), {"type": "number"}),
        ((None, "x"), {"type": ["string", "null"]}),
        ((True, 1), {"type": ["integer", "boolean"]}),
        (([], []), {"type": "array"}),
        (([1], ["x"]), {"type": "array", "items": {"type": ["string", "integer"]}}),
        (({}, {"b": 1}), {"type": "object", "properties": {"b": {"type": "integer"}}, "additionalProperties": False}),
        (
            ({"b": 1}, "x"),
            {
                "type": ["object", "string"],
                "properties": {"b": {"type": "integer"}},
                "required": ["b"],
                "additionalProperties": False,
            },
        ),
    ],
)
def test_what_was_seen_is_what_is_said(values: tuple[Any, ...], schema: Any):
    assert field(*values) == schema


@settings(max_examples=100)
@given(EXAMPLES)
def test_a_draft_may_be_registered_and_its_examples_fit(examples: list[dict[str, Any]]):
    content = from_examples(examples)
    lint.require("research", content)
    assert all(map(compile_schema(content).is_valid, examples))
    assert not compile_schema(content).is_valid({**examples[0], "never seen": 1})


def test_an_example_too_large_for_a_contract_is_left_out():
    content = from_examples([{"text": "x" * lint.BYTES_MAX}])
    assert "examples" not in content
    assert content["properties"] == {"text": {"type": "string"}}


def test_examples_with_more_fields_than_a_contract_can_name_are_refused():
    """Names that are data, such as ids or dates, are the usual cause."""
    with pytest.raises(SchemaRefused, match="too large"):
        from_examples([{f"customer-{number}": 1 for number in range(1_000)}])
