"""What a new version means for those who know the old one: a table of cases, and what it may cost."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from dropoff.contracts import drafts
from dropoff.contracts.compare import CHANGES_MAX, compare
from dropoff.contracts.gate import compile_schema
from dropoff.contracts.places import Contract
from dropoff.core.limits import PAYLOAD_VALUES_MAX

Json = dict[str, Any]


def field(schema: Any, **beside: Any) -> Json:
    """A contract whose field `a` must fit."""
    return {"type": "object", "properties": {"a": schema}} | beside


STRING, NUMBER = {"type": "string"}, {"type": "number"}
CAT = {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}}, "required": ["kind"]}
DOG = {"type": "object", "properties": {"kind": {"const": "dog"}, "name": STRING}, "required": ["kind"]}
TREE = {"type": "object", "properties": {"leaves": {"type": "array", "items": {"$ref": "#"}}}}

COMPATIBLE = {
    "the same": (field(STRING), field(STRING)),
    "said in other words": (field(STRING), {"$defs": {"text": STRING}} | field({"$ref": "#/$defs/text"})),
    "an optional field more": (field(STRING, additionalProperties=False), field(STRING, additionalProperties=False) | {
        "properties": {"a": STRING, "b": NUMBER}}),
    "a demand less": (field(STRING, required=["a"]), field(STRING)),
    "one more choice": (field({"enum": ["x", "y"]}), field({"enum": ["x", "y", "z"]})),
    "a choice becomes any string": (field({"enum": ["x", "y"]}), field(STRING)),
    "another type too": (field(STRING), field({"type": ["string", "null"]})),
    "another type too, as alternatives": (
        field({"type": ["string", "null"]}), field({"anyOf": [{"type": "null"}, STRING]})),
    "whole numbers are numbers": (field({"type": "integer"}), field(NUMBER)),
    "wider bounds": (field({"type": "integer", "minimum": 1}), field({"type": "integer", "exclusiveMinimum": 0})),
    "a finer step": (field({"type": "integer", "multipleOf": 6}), field({"type": "integer", "multipleOf": 3})),
    "longer strings": (field({"type": "string", "maxLength": 10}), field({"type": "string", "maxLength": 20})),
    "open items become any": (field({"type": "array", "items": STRING}), field({"type": "array"})),
    "an alternative more": (field({"oneOf": [CAT]}), field({"oneOf": [CAT, DOG]})),
    "a schema that contains itself": (TREE | {"maxProperties": 1}, TREE),
    "the pattern stays": (field({"type": "string", "pattern": "^a"}), field({"pattern": "^a"})),
    "what could not be there": (field(STRING, additionalProperties=False), field(STRING) | {
        "properties": {"a": STRING, "b": False}}),
}  # fmt: skip

INCOMPATIBLE = {
    "a field is required": (field(STRING), field(STRING, required=["a"]), "payload.a", "is required now"),
    "a field is gone": (
        field(STRING),
        {"type": "object", "additionalProperties": False},
        "payload.a",
        "is not allowed any more",
    ),
    "closed": (
        field(STRING),
        field(STRING, additionalProperties=False),
        "payload.another_field",
        "is not allowed any more",
    ),
    "a choice less": (field({"enum": ["x", "y"]}), field({"enum": ["x"]}), "payload.a", 'no longer allows "y"'),
    "any string becomes a choice": (field(STRING), field({"enum": ["x", "y"]}), "payload.a", 'must be "x", "y" now'),
    "a type less": (field({"type": ["string", "null"]}), field(STRING), "payload.a", "no longer allows null"),
    "another type": (field(STRING), field(NUMBER), "payload.a", "may not be string any more"),
    "whole numbers only": (field(NUMBER), field({"type": "integer"}), "payload.a", "may not be number any more"),
    "longer": (
        field({"type": "string", "minLength": 3}),
        field({"type": "string", "minLength": 4}),
        "payload.a",
        "minLength is 4 now, and was 3",
    ),
    "shorter": (
        field(STRING), field({"type": "string", "maxLength": 9}), "payload.a", "maxLength is 9 now, and had no limit"),
    "fewer items": (
        field({"type": "array", "maxItems": 3}),
        field({"type": "array", "maxItems": 2}),
        "payload.a",
        "maxItems is 2 now, and was 3",
    ),
    "smaller": (field({"type": "integer", "maximum": 9}), field({"type": "integer", "maximum": 8}), "payload.a",
        "maximum is 8 now"),
    "larger": (
        field(NUMBER), field({"type": "number", "exclusiveMinimum": 0}), "payload.a", "exclusiveMinimum is 0 now"),
    "a step": (field(NUMBER), field({"type": "number", "multipleOf": 2}), "payload.a", "must be a multiple of 2 now"),
    "an item deep inside": (
        field({"type": "array", "items": field(STRING)}),
        field({"type": "array", "items": field({"type": "string", "maxLength": 5})}),
        "payload.a[0].a",
        "maxLength is 5 now, and had no limit",
    ),
    "each item once": (field({"type": "array"}), field({"type": "array", "uniqueItems": True}), "payload.a",
        "may not have the same item twice any more"),
    "an alternative less": (
        field({"oneOf": [CAT, DOG]}),
        field({"oneOf": [CAT]}),
        "payload.a",
        "may fit none of the alternatives any more",
    ),
    "beside another": (
        field(STRING), field(STRING, dependentRequired={"a": ["b"]}), "payload.b", "is required now beside 'a'"),
    "names of a kind": (field(STRING), field(STRING, propertyNames={"maxLength": 1}), "payload",
        "not every field name is allowed any more"),
    "more fields": (field(STRING), field(STRING, minProperties=2), "payload", "minProperties is 2 now, and was 0"),
}  # fmt: skip


@pytest.mark.parametrize("what", COMPATIBLE)
def test_what_only_gives_more_room_is_compatible(what: str):
    old, new = COMPATIBLE[what]
    assert compare(old, new).verdict == "compatible", compare(old, new)


@pytest.mark.parametrize("what", INCOMPATIBLE)
def test_what_takes_room_away_is_named_and_shown_by_a_witness(what: str):
    old, new, path, says = INCOMPATIBLE[what]
    found = compare(old, new)
    assert found.verdict == "incompatible", found
    assert (found.changes[0].path, found.changes[0].says) == (path, says)
    assert compile_schema(old).is_valid(found.witness)
    assert not compile_schema(new).is_valid(found.witness)


def test_what_nobody_reasons_about_is_unknown_and_says_what_it_is():
    """The pattern may mean the same. A rule that guessed would be wrong one day."""
    found = compare(field({"type": "string", "pattern": "^[ab]$"}), field({"type": "string", "pattern": "^(a|b)$"}))
    assert (found.verdict, found.witness) == ("unknown", None)
    assert found.changes[0].says == "'pattern' has changed, and nobody reasons about it"


def test_of_many_changes_the_first_are_named_and_the_others_counted():
    names = [f"f{number}" for number in range(CHANGES_MAX + 5)]
    found = compare({"type": "object"}, {"type": "object", "required": names})
    assert len(found.changes) == CHANGES_MAX
    assert found.more == 5


def test_schemas_that_contain_each_other_in_many_ways_are_given_up_in_time():
    """Each of 12 schemas may contain any other, in both versions: more pairs than anybody needs to see."""
    names = [f"d{number}" for number in range(12)]
    anything = [{"$ref": f"#/$defs/{name}"} for name in names]

    def tangled(maximum: int) -> Json:
        inner = {
            "type": "object",
            "properties": {name: {"anyOf": anything} for name in names},
            "maxProperties": maximum,
        }
        return field({"$ref": "#/$defs/d0"}) | {"$defs": dict.fromkeys(names, inner)}

    assert compare(tangled(5), tangled(5)).verdict == "compatible"
    assert compare(tangled(5), tangled(4)).verdict != "compatible"


# ---- what it costs ------------------------------------------------------------------------------------------------


def lists(count: int, deep: int) -> Json:
    """Lists of lists, each with as many items."""
    schema = STRING
    for _ in range(deep):
        schema = {"type": "array", "minItems": count, "items": schema}
    return schema


def guessed(schema: Json) -> list[Any]:
    return list(drafts.candidates(Contract(field(schema)).root.field("a")))


@pytest.mark.parametrize(
    ("schema", "most"),
    [
        (lambda most: {"type": "string", "minLength": most}, drafts.CHARS_MAX),
        (lambda most: lists(most, 1), drafts.HELD_MAX),
        (lambda most: {"type": "object", "minProperties": most, "required": ["x0"]}, drafts.HELD_MAX),
    ],
)
def test_a_guess_holds_much_and_no_more(schema: Callable[[int], Json], most: int):
    assert max(map(len, guessed(schema(most)))) in (most, most + 1)
    assert max(map(len, guessed(schema(most + 1))), default=0) <= 1


def test_demands_that_multiply_are_not_followed():
    """A list of 1,999 lists of 1,999 is quickly made, for they are all the same one, and long to look at."""
    assert guessed(lists(200, 2))
    assert guessed(lists(1_999, 2)) == []


def test_what_is_too_large_is_looked_at_no_longer_than_it_takes_to_see_that():
    assert drafts.size([["a", {"b": None}]]) == 5
    assert drafts.size([[0] * 2_000] * 2_000) <= PAYLOAD_VALUES_MAX + 2_001


@pytest.mark.parametrize("schema", [lists(200, 2), {"type": "string", "minLength": 100_000}])
def test_all_guesses_about_one_contract_are_bounded_together(schema: Json):
    fields = {f"f{n}": schema | {"title": str(n)} for n in range(40)}
    contract = Contract({"type": "object", "properties": fields})
    cost = sum(drafts.size(guess) for name in fields for guess in drafts.candidates(contract.root.field(name)))

    assert cost <= drafts.WORK_MAX + PAYLOAD_VALUES_MAX
    assert drafts.size("x" * 100_000) > 1_000


def test_a_witness_is_no_larger_than_a_payload_can_be():
    """Either field by itself may be; they cannot meet."""
    old = {"type": "object", "properties": {"a": lists(170, 2), "b": lists(170, 2)}, "required": ["a"]}
    assert compare(old, old | {"properties": {"a": lists(171, 2), "b": True}}).verdict == "incompatible"
    assert compare(old, old | {"properties": {"a": True, "b": lists(171, 2)}}).verdict == "unknown"


@pytest.mark.parametrize("deep", [1, 2, 10])
@pytest.mark.parametrize("count", [40, 2_000, PAYLOAD_VALUES_MAX])
def test_whatever_is_demanded_is_compared_in_time(count: int, deep: int):
    """In 50 ms, measured; unbounded, such a one was not compared within 20 s and 3 GB."""
    began = time.process_time()
    found = compare(field(lists(count, deep)), field(lists(count - 1, deep) | {"minItems": count + 1}))

    assert found.verdict != "compatible"
    assert time.process_time() - began < 1
