"""What may be kept of a problem: where the schema says so, what kind it is, and no word of the payload."""

from typing import Any

import pytest

from dropoff.contracts.gate import Gate
from dropoff.contracts.schema import Schema
from dropoff.core import limits
from dropoff.core.rejections import Fault

SENT = "sent"  # stands in names and values of payloads, and nowhere in a schema

TREE: dict[str, Any] = {
    "type": "object",
    "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "n": {"type": "integer"}}}},
    "properties": {"tree": {"$ref": "#/$defs/node"}},
}


def faults(schema: dict[str, Any], value: object) -> set[Fault]:
    return set(Gate(Schema.of("draft", 1, {"type": "object"} | schema)).verdict(value).faults)


def field(schema: object) -> dict[str, Any]:
    return {"properties": {"a": schema}}


CASES: list[tuple[dict[str, Any], object, Fault]] = [
    (field({}) | {"required": ["a"]}, {}, Fault("missing", "/properties/a")),
    ({"required": ["a"]}, {}, Fault("missing", "/required")),
    ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, Fault("missing", "/dependentRequired")),
    (field({}) | {"additionalProperties": False}, {SENT: 1}, Fault("unknown", "/properties")),
    (field({}) | {"unevaluatedProperties": False}, {SENT: 1}, Fault("unknown", "/properties")),
    ({"additionalProperties": False}, {SENT: 1}, Fault("unknown", "")),
    (field(False), {"a": SENT}, Fault("unknown", "/properties/a")),
    ({"propertyNames": {"maxLength": 3}}, {SENT: 1}, Fault("unknown", "/propertyNames")),
    ({"additionalProperties": {"type": "null"}}, {SENT: 1}, Fault("type", "/additionalProperties")),
    ({"patternProperties": {"^s": {"type": "null"}}}, {SENT: 1}, Fault("type", "/patternProperties/^s")),
    (field({"type": "integer"}), {"a": SENT}, Fault("type", "/properties/a")),
    (field({"enum": ["x", "y"]}), {"a": SENT}, Fault("choice", "/properties/a")),
    (field({"const": "x"}), {"a": SENT}, Fault("choice", "/properties/a")),
    (field({"maxLength": 2}), {"a": SENT}, Fault("extent", "/properties/a")),
    (field({"maximum": 2}), {"a": 3}, Fault("extent", "/properties/a")),
    (field({"pattern": "^x"}), {"a": SENT}, Fault("pattern", "/properties/a")),
    (field({"uniqueItems": True}), {"a": [SENT, SENT]}, Fault("other", "/properties/a")),
    (field({"items": {"type": "null"}}), {"a": [None, SENT]}, Fault("type", "/properties/a/items")),
    (field({"prefixItems": [{}, {"type": "null"}]}), {"a": [1, SENT]}, Fault("type", "/properties/a/prefixItems/1")),
    (field({"anyOf": [{"type": "null"}, {"type": "array"}]}), {"a": SENT}, Fault("choice", "/properties/a")),
    (
        field({"oneOf": [{"required": ["x", "y", "z"]}, {"properties": {"b": {"type": "null"}}}], "type": "object"}),
        {"a": {"b": SENT}},
        Fault("type", "/properties/a/oneOf/1/properties/b"),
    ),
    ({"properties": {"a/b~c": {"type": "null"}}}, {"a/b~c": SENT}, Fault("type", "/properties/a~1b~0c")),
]


@pytest.mark.parametrize(("schema", "value", "fault"), CASES, ids=[str(case[2]) for case in CASES])
def test_a_fault_is_told_by_its_place_in_the_schema(schema: dict[str, Any], value: object, fault: Fault):
    """Whatever the payload calls its own, it is in none of them."""
    found = faults(schema, value)

    assert found == {fault}
    assert SENT not in str(found)


def test_what_fits_has_no_fault():
    assert faults(field({"type": "integer"}), {"a": 1}) == set()


def test_many_unknown_fields_are_one_fault():
    assert faults(field({}) | {"additionalProperties": False}, {f"{SENT}{n}": n for n in range(20_000)}) == {
        Fault("unknown", "/properties")
    }


def test_what_a_reference_leads_to_is_one_place_however_deep():
    """So a payload cannot make more places than the schema has."""
    deep: dict[str, Any] = {"n": SENT}
    for _ in range(20):
        deep = {"next": deep, "n": SENT}

    assert faults(TREE, {"tree": deep}) == {Fault("type", "/$defs/node/properties/n")}


def test_a_place_is_as_long_as_its_bound_allows():
    """What is further inside counts for what is around it."""
    long = "x" * limits.REJECTED_PLACE_CHARS_MAX

    assert faults(field({"properties": {long: {"type": "null"}}}), {"a": {long: SENT}}) == {
        Fault("type", "/properties/a/properties")
    }


def test_what_is_too_dear_to_explain_has_a_fault_all_the_same():
    schema = field({"anyOf": [{"type": "null"}, {"items": {"anyOf": [{"type": "null"}, {"type": "boolean"}]}}]})

    assert faults(schema, {"a": [SENT] * 40_000}) == {Fault("other", "")}
