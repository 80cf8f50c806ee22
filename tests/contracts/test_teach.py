"""Problems are ranked, placed and short. The sentence of each kind stands in `lessons.txt`."""

import time
from typing import Any

import pytest

from dropoff.contracts.gate import Gate
from dropoff.contracts.schema import Schema
from dropoff.contracts.teach import PROBLEMS_MAX
from dropoff.errors import Problem


def taught(content: dict[str, Any], value: object, root: str = "payload") -> tuple[Problem, ...]:
    return Gate(Schema.of("research", 3, content)).judge(value, root)


def said(content: dict[str, Any], value: object) -> list[tuple[str, str]]:
    return [(problem.path, problem.problem) for problem in taught(content, value)]


def field(content: Any, value: object) -> tuple[str, str]:
    """The one problem of a field `a` with this schema and this value."""
    (problem,) = said({"type": "object", "properties": {"a": content}}, {"a": value})
    return problem


STRING = {"type": "string"}


def test_a_missing_field_is_named_with_what_it_should_be():
    content = {
        "required": ["a", "b", "c"],
        "properties": {"a": {"enum": ["x", "y"]}, "b": {"type": ["string", "null"]}},
    }

    assert taught(content, {}) == (
        Problem(path="payload.a", problem="missing (required)", expected="one of: x, y"),
        Problem(path="payload.b", problem="missing (required)", expected="a string or null"),
        Problem(path="payload.c", problem="missing (required)"),
    )


def test_a_field_that_another_one_demands_is_missing_because_of_it():
    assert said({"dependentRequired": {"a": ["b"], "c": ["b"]}}, {"a": 1}) == [
        ("payload.b", "missing (required with 'a')")
    ]


def test_an_unknown_field_is_compared_with_those_that_are_still_free():
    content = {"properties": {"audience": True, "audio": True}, "additionalProperties": False}

    assert said(content, {"audiance": 1}) == [("payload.audiance", "unknown field; did you mean 'audience'?")]
    taken = {"audience": 1, "audio": 2}
    assert said(content, {"audiance": 1} | taken) == [("payload.audiance", "unknown field (known: audience, audio)")]
    assert taught(content, {"zzz": 1})[0].expected == "one of: audience, audio"


def test_an_object_that_takes_no_fields_says_so():
    """The validator names only the first value then, and neither its field nor its object."""
    assert said({"additionalProperties": False}, {"a": 1, "b": 2}) == [("payload", "takes no fields at all")]


def test_unevaluated_fields_are_unknown_fields():
    content = {"properties": {"audience": True}, "unevaluatedProperties": False}

    assert said(content, {"audiance": 1}) == [("payload.audiance", "unknown field; did you mean 'audience'?")]


def test_what_is_mended_first_stands_first():
    content = {
        "required": ["f"],
        "properties": {
            "a": {"pattern": "^x"}, "b": {"minLength": 3}, "c": {"enum": [1]}, "d": STRING, "f": STRING,
            "g": {"uniqueItems": True},
        },
        "additionalProperties": False,
    }  # fmt: skip
    value = {"a": "b", "b": "b", "c": 2, "d": 3, "e": 4, "g": [1, 1]}

    assert [path.removeprefix("payload.") for path, _ in said(content, value)] == ["f", "e", "d", "c", "b", "a", "g"]


def test_a_place_is_named_through_arrays_and_references():
    content = {
        "properties": {"sources": {"type": "array", "items": {"$ref": "#/$defs/source"}}},
        "$defs": {"source": {"required": ["url"], "properties": {"url": STRING}, "additionalProperties": False}},
    }

    assert said(content, {"sources": [{"url": "a"}, {"url": 1}, {"ulr": "a"}]}) == [
        ("payload.sources[2].url", "missing (required)"),
        ("payload.sources[2].ulr", "unknown field; did you mean 'url'?"),
        ("payload.sources[1].url", "is an integer, not a string"),
    ]


@pytest.mark.parametrize("value", ['{"topic": "heat pumps"}', "  {}", "{broken"])
def test_a_payload_that_is_a_string_of_json_gets_that_one_problem(value: str):
    (problem,) = taught({"type": "object", "required": ["topic"]}, value)

    assert (problem.path, problem.problem) == ("payload", "is a string of JSON; pass the object itself")


def test_a_result_and_arguments_begin_with_their_own_word():
    content = {"type": "object", "required": ["a"]}

    assert taught(content, {}, "result")[0].path == "result.a"
    assert taught(content, {}, "")[0].path == "a"
    assert taught(content, [], "")[0].path == "arguments"


# ---- alternatives -------------------------------------------------------------------------------------------------

BY_TAG = [
    {"type": "object", "properties": {"kind": {"const": "web"}}, "required": ["kind", "url"]},
    {"type": "object", "properties": {"kind": {"const": "book"}}, "required": ["kind", "isbn", "page"]},
]


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
def test_alternatives_speak_as_the_branch_that_was_meant(keyword: str):
    content = {"properties": {"a": {keyword: [*BY_TAG, {"type": "null"}]}}}

    assert said(content, {"a": {"kind": "book", "url": "x"}}) == [
        ("payload.a.isbn", "missing (required)"),
        ("payload.a.page", "missing (required)"),
    ]
    assert said(content, {"a": {"kind": "web"}}) == [("payload.a.url", "missing (required)")]


def test_alternatives_of_other_types_are_named_together():
    assert field({"anyOf": [{"type": "object"}, STRING, {"type": "null"}]}, 1) == (
        "payload.a",
        "is an integer, not an object or a string or null",
    )


def test_alternatives_inside_alternatives_are_followed():
    inner = {"anyOf": [{"type": "integer"}, {"type": "object", "required": ["b"]}]}

    assert field({"oneOf": [STRING, {"allOf": [inner]}]}, {}) == ("payload.a.b", "missing (required)")


def test_alternatives_inside_hundreds_of_alternatives_are_given_up():
    links = {f"d{each}": {"anyOf": [{"$ref": f"#/$defs/d{each - 1}"}]} for each in range(1, 400)}
    content = {"$defs": {"d0": {"minimum": 3}, **links}, "properties": {"a": {"$ref": "#/$defs/d399"}}}

    assert said(content, {"a": 1}) == [("payload.a", "fits none of the alternatives")]


# ---- what is repeated ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        STRING,
        {"enum": ["a"]},
        {"maxLength": 1},
        {"pattern": "^b"},
        {"not": {}},
        {"const": 1},
        {"anyOf": [False, STRING]},
    ],
)
@pytest.mark.parametrize("value", ["secret " * 1_000, ["secret " * 1_000], {"k": "secret " * 1_000}, 10**15 + 0.123])
def test_of_a_value_no_more_than_eighty_characters_are_repeated(content: dict[str, Any], value: object):
    for problem in taught({"properties": {"a": content}}, {"a": value}):
        assert len(problem.got) <= 80
        assert len(problem.problem) <= 200
        assert (problem.path + problem.problem + problem.got).count("secret") <= 12


def test_of_a_name_no_more_than_eighty_characters_are_repeated():
    for content in ({"additionalProperties": False}, {"propertyNames": False}, {"additionalProperties": STRING}):
        (problem,) = taught(content, {"n" * 5_000: 1})
        assert "n" * 81 not in problem.path + problem.problem + problem.got


def test_a_text_of_a_hundred_thousand_brackets_is_only_a_string():
    assert field({"type": "integer"}, "[" * 100_000) == ("payload.a", "is a string, not an integer")


def test_a_hundred_problems_are_taught_and_the_rest_is_mentioned():
    problems = taught({"properties": {}, "additionalProperties": False}, {f"k{each}": 1 for each in range(500)})

    assert len(problems) == PROBLEMS_MAX + 1
    assert problems[-1] == Problem(path="payload", problem="has more problems than these")


LONG = "z" * 250_000
ALIKE = {f"{n:03}bacdefhgijklmonpqrstuvwxzy" * 3: 1 for n in range(100)}
KNOWN = {f"{n:03}abcdefghijklmnopqrstuvwxyz" * 3: {} for n in range(100)}


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ({"properties": {"a": {"allOf": [{"enum": ["yes", f"no{n}"]} for n in range(20)]}}}, {"a": LONG}),
        ({"properties": {"abc": {}}, "additionalProperties": False}, {f"{n}{LONG[:25_000]}": 1 for n in range(10)}),
        ({"properties": KNOWN, "additionalProperties": False}, ALIKE),
    ],
)
def test_what_was_meant_is_not_looked_for_at_length(content: dict[str, Any], value: object):
    """Nobody waits for a hint: 0.2 s is some ten times what it takes, and a tenth of what it would."""
    gate = Gate(Schema.of("research", 3, content))
    began = time.process_time()

    assert gate.judge(value)

    assert time.process_time() - began < 0.2


def test_the_nearest_in_length_are_looked_at_first():
    """There is no time for all of hundreds of names, and a slip is about as long as what was meant."""
    names = {f"{'long' * 10}{n}": {} for n in range(150)} | {"audience": {}}

    [(_, problem)] = said({"properties": names, "additionalProperties": False}, {"audiense": 1})

    assert problem == "unknown field; did you mean 'audience'?"


def test_what_is_mended_first_is_among_the_hundred():
    content = {"properties": {"a": {"items": {"minimum": 1}}, "b": {"required": ["z"]}}}

    assert said(content, {"a": [0] * 500, "b": {}})[0] == ("payload.b.z", "missing (required)")


def test_the_same_at_the_same_place_is_said_once():
    assert said({"allOf": [{"required": ["a"]}, {"required": ["a"]}]}, {}) == [("payload.a", "missing (required)")]
