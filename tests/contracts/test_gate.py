"""The gate decides; nothing that does not fit passes, and no payload can hold it up."""

import resource
import sys
import time
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropoff.contracts import cost, teach
from dropoff.contracts.gate import Gate, Gates
from dropoff.contracts.schema import Schema
from dropoff.errors import ArgumentsInvalid, PayloadInvalid

BRIEF = {
    "type": "object",
    "properties": {"topic": {"type": "string", "minLength": 3}, "audience": {"enum": ["exec", "public"]}},
    "required": ["topic", "audience"],
    "additionalProperties": False,
}


def gate(content: dict[str, Any]) -> Gate:
    return Gate(Schema.of("research", 3, content))


def field(content: dict[str, Any]) -> Gate:
    """A gate whose field `a` must fit."""
    return gate({"type": "object", "properties": {"a": content}})


# ---- the verdict --------------------------------------------------------------------------------------------------


def test_what_fits_passes_and_what_does_not_is_refused_in_the_callers_words():
    gates = Gates()
    schema = Schema.of("research", 3, BRIEF)
    refusal = partial(PayloadInvalid, schema=schema.ref)

    gates.require(schema, {"topic": "heat pumps", "audience": "exec"}, refusal=refusal)
    with pytest.raises(PayloadInvalid) as refused:
        gates.require(schema, {"topic": "h", "audiance": "exec"}, refusal=refusal)

    assert str(refused.value) == (
        "Payload rejected by schema research@3: 3 problems. Nothing was stored.\n"
        "- payload.audience: missing (required)\n"
        "- payload.audiance: unknown field; did you mean 'audience'?\n"
        "- payload.topic: too short (1 < 3 characters)\n"
        "Fix these and call drop_off again."
    )


def test_a_tools_own_arguments_have_no_root_word():
    arguments = Schema.of("drop_off", 1, {"type": "object", "required": ["payload"]})

    with pytest.raises(ArgumentsInvalid) as refused:
        Gates().require(arguments, {}, refusal=partial(ArgumentsInvalid, verb="drop_off"), root="")

    assert [problem.path for problem in refused.value.problems] == ["payload"]


def test_it_fails_closed_when_the_explanation_finds_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(teach, "taught", lambda *_: teach.Taught())

    (problem,) = gate(BRIEF).judge({})

    assert (problem.path, problem.problem) == ("payload", "does not fit the schema")


def test_the_dialect_is_2020_12_whatever_the_schema_says():
    """In draft 7 `prefixItems` is unknown, and would let everything pass."""
    draft_7 = {"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"a": {"prefixItems": [False]}}}

    assert gate(draft_7).judge({"a": [1]})


def test_a_format_is_a_note_and_a_pattern_is_a_rule():
    assert field({"format": "email"}).judge({"a": "nobody"}) == ()
    assert field({"pattern": "@"}).judge({"a": "nobody"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text("ab{[", max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["topic", "audience", "a", "b"]), inner, max_size=4)
    ),
    max_leaves=8,
)
BRANCHED = {
    "type": "object",
    "properties": {
        "a": {"anyOf": [{"type": "integer", "minimum": 2}, {"type": "array", "items": {"$ref": "#"}}]},
        "b": {"oneOf": [{"required": ["a"]}, {"type": "string", "pattern": "^a"}, {"type": "null"}]},
        "topic": {"not": {"type": "array"}, "maxLength": 2},
    },
    "propertyNames": {"maxLength": 5},
    "maxProperties": 2,
}


@given(JSON, st.sampled_from([BRIEF, BRANCHED]))
def test_no_verdict_depends_on_the_explanation(value: Any, content: dict[str, Any]):
    """A problem is told exactly where the validator says no, and every one says what and where."""
    judge = gate(content)

    problems = judge.judge(value)

    assert bool(problems) is not judge._validator.is_valid(value)
    for problem in problems:
        assert problem.path.startswith("payload")
        assert problem.problem
        assert len(problem.got) <= 80


# ---- the shelf ----------------------------------------------------------------------------------------------------


def test_a_schema_is_compiled_once_for_all_its_names():
    gates = Gates()

    first = gates.of(Schema.of("research", 1, BRIEF))

    assert gates.of(Schema.of("drafts", 2, dict(reversed(BRIEF.items())))) is first


def test_the_gate_used_longest_ago_goes_first():
    gates = Gates(kept=2)
    one, two, three = (Schema.of("research", each, {"title": str(each)}) for each in range(3))
    kept = gates.of(one)
    gone = gates.of(two)
    gates.of(one)
    gates.of(three)

    assert len(gates) == 2
    assert gates.of(one) is kept
    assert gates.of(two) is not gone


# ---- bombs --------------------------------------------------------------------------------------------------------

TREE = {
    "type": "object",
    "$defs": {
        "node": {
            "anyOf": [
                {"type": "object", "properties": {"c": {"$ref": "#/$defs/node"}}, "required": ["x"]},
                {"type": "object", "properties": {"c": {"$ref": "#/$defs/node"}}, "required": ["y"]},
            ]
        }
    },
    "properties": {"a": {"$ref": "#/$defs/node"}},
}


def tower(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"c": value}
    return value


def doubled(keyword: str, times: int) -> dict[str, Any]:
    steps = {
        f"d{each}": {keyword: [{"$ref": f"#/$defs/d{each - 1}"}, {"$ref": f"#/$defs/d{each - 1}"}]}
        for each in range(1, times + 1)
    }
    defs = {"d0": {"type": "integer"}, **steps}
    return {"type": "object", "$defs": defs, "properties": {"a": {"$ref": f"#/$defs/d{times}"}}}


def items(content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": {"items": content}}}


WIDE = {f"k{each:05}": 1 for each in range(20_000)}
BROAD = dict(list(WIDE.items())[:3_000])
LIKE = {f"k{each:05}x": True for each in range(1_000)}
BOMBS = {
    "every name is wrong": ({"propertyNames": {"maxLength": 2}}, BROAD),
    "every one of very many names is wrong": ({"propertyNames": {"maxLength": 2}}, WIDE),
    "every name is unknown": ({"properties": LIKE, "additionalProperties": False}, BROAD),
    "500 names are missing": ({"required": [f"a{each}" for each in range(500)]}, BROAD),
    "45,000 items are wrong": (items({"type": "string"}), {"a": list(range(45_000))}),
    "3,000 wrong choices of 1,000": (items({"enum": [f"e{each}" for each in range(1_000)]}), {"a": [0] * 3_000}),
    "10,000 items fit no branch": (items({"anyOf": [{"type": "null"}, {"required": ["x"]}]}), {"a": [{}] * 10_000}),
    "a tree of branches": (TREE, {"a": tower(60)}),
    "a low tree of branches": (TREE, {"a": tower(18)}),
    "allOf, doubled 20 times": (doubled("allOf", 20), {"a": "s"}),
    "anyOf, doubled 20 times": (doubled("anyOf", 20), {"a": "s"}),
    "4,000 objects must be unique": (
        {"properties": {"a": {"uniqueItems": True}}},
        {"a": [{"i": each % 3_999} for each in range(4_000)]},
    ),
    "^(a+)+$": ({"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 100_000 + "!"}),
    "one long text is wrong in 200 ways": (
        {"properties": {"a": {"allOf": [{"maxLength": each} for each in range(200)]}}},
        {"a": "x" * 250_000},
    ),
    "300 patterns for one long text": (
        {"properties": {"a": {"allOf": [{"pattern": f"[x-z]y{n}"} for n in range(300)]}}},
        {"a": "x" * 250_000},
    ),
    "a name of 200,000 characters": ({"properties": {"b": True}, "additionalProperties": False}, {"a" * 200_000: 1}),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_payload_holds_the_gate_up_or_fills_the_memory(bomb: str):
    """The bounds are those of COPIES_MAX with room for a slow machine; unguarded it is seconds and gigabytes.

    Seconds of this process: what others take of the machine meanwhile is no matter.
    """
    content, value = BOMBS[bomb]
    judge = gate({"type": "object", **content})
    memory, began = peak_mb(), time.process_time()

    problems = judge.judge(value)

    assert time.process_time() - began < 0.5
    assert peak_mb() - memory < 60
    assert 1 <= len(problems) <= teach.PROBLEMS_MAX + 1
    assert sum(len(each.path) + len(each.problem) + len(each.got) for each in problems) < 30_000


def peak_mb() -> float:
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def test_what_is_too_dear_to_explain_is_told_its_first_problem_and_that_there_may_be_more():
    first, more = gate(items({"type": "string"})).judge({"a": list(range(45_000))})

    assert (first.path, first.problem) == ("payload.a[0]", "is an integer, not a string")
    assert "too many parts" in more.problem


@pytest.mark.parametrize("long", [{"a": "x" * 250_000}, {"x" * 250_000: 1}])
@pytest.mark.parametrize(
    "content",
    [
        {"allOf": [{"properties": {"a": {"maxLength": each}}} for each in range(200)]},
        {"properties": {"a": {"type": "integer"}}, "$defs": {f"d{n}": {"pattern": str(n)} for n in range(300)}},
        {"patternProperties": {f"a{n}": True for n in range(300)}},
    ],
)
def test_long_text_counts_as_many_values_and_once_for_every_pattern(content: dict[str, Any], long: dict[str, Any]):
    """Short text of the same shape is explained."""
    counted = cost.Cost({"type": "object", **content})

    assert counted.copies(long) > cost.COPIES_MAX
    assert counted.copies({name[:9]: value if value == 1 else "x" for name, value in long.items()}) < cost.COPIES_MAX


def test_an_ordinary_payload_is_never_too_dear():
    finding = {
        "type": "object",
        "required": ["claim", "source"],
        "properties": {"claim": {"type": "string"}, "source": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
    }
    value = {"a": [{"claim": "x" * 200, "source": each} for each in range(300)]}

    assert cost.Cost(items(finding)).copies(value) < cost.COPIES_MAX
    assert gate(items(finding)).judge(value)[0].path == "payload.a[0].source"


@pytest.mark.parametrize(
    ("content", "nested"),
    [
        ({}, 0),
        ({"anyOf": [True]}, 1),
        ({"properties": {"a": {"oneOf": [{"properties": {"b": {"allOf": [True]}}}]}}}, 2),
        (doubled("allOf", 7), 7),
        ({"properties": {"a": {"$ref": "#"}}}, None),
        (TREE, None),
        ({"properties": {"a": {"$ref": "#there"}}, "$defs": {"x": {"$anchor": "there", "anyOf": [True]}}}, 1),
    ],
)
def test_nested_branches_are_counted_through_references(content: dict[str, Any], nested: int | None):
    assert cost.nested_branches(content) == nested
