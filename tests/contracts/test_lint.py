"""What may become a contract, and what may not."""

import json
import re
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from dropoff.contracts import lint, prices
from dropoff.contracts.evaluations import evaluations
from dropoff.contracts.gate import CannotCompileError, compile_schema, pattern_bytes
from dropoff.core import limits
from dropoff.errors import SchemaRefused
from tests.loopback import Loopback

OBJECT = {"type": "object"}
SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"


def refused(content: object) -> dict[str, str]:
    """Each problem by its path."""
    with pytest.raises(SchemaRefused) as refusal:
        lint.require("research", content)
    return {problem.path: problem.problem for problem in refusal.value.problems}


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"$schema": lint.DIALECT, "properties": {"a": True, "b": False}},
        {"properties": {"a": {"$ref": "#/$defs/a%20b%25~1"}}, "$defs": {"a b%/": {"type": "string"}}},
        {"properties": {"a": {"$ref": "#there"}}, "$defs": {"x": {"$anchor": "there"}}},
        {"properties": {"child": {"$ref": "#"}}},
        {"properties": {"a": {"pattern": r"^\p{L}+$"}}},  # ECMA's and Rust's, though not Python's
        {"properties": {"$id": {}, "$ref": {"type": "string"}, "$dynamicRef": {}}},  # fields may be called so
        {"const": {"$ref": "https://example.org"}, "examples": [{"pattern": "(", "$id": "x"}], "x-note": {"$id": 1}},
    ],
)
def test_a_sound_schema_may_be_registered(content: dict[str, Any]):
    lint.require("research", OBJECT | content)


@pytest.mark.parametrize("content", [True, [], "object", None, 7])
def test_a_contract_is_an_object_schema(content: object):
    assert refused(content) == {"schema": "must be an object schema"}


@pytest.mark.parametrize("content", [{}, {"type": "array"}, {"type": ["object", "null"]}, {"anyOf": [OBJECT]}])
def test_the_root_of_a_payload_is_an_object(content: dict[str, Any]):
    assert refused(content) == {"schema.type": 'must be "object" at the root'}


def test_every_breach_of_the_specification_is_listed():
    problems = refused(OBJECT | {"required": "a", "properties": {"a": {"minLength": -1}, "b": {"type": "strin"}}})

    assert problems.keys() == {"schema.required", "schema.properties.a.minLength", "schema.properties.b.type"}


def test_every_breach_of_our_rules_is_listed():
    problems = refused(
        OBJECT
        | {
            "$id": "https://example.org/a",
            "$schema": "http://json-schema.org/draft-07/schema#",
            "properties": {
                "a": {"$dynamicRef": "#a", "$id": "a"},
                "b": {"$ref": "other.json"},
                "c": {"pattern": "^(?=a)b"},
            },
            "patternProperties": {r"(.)\1": {"$ref": "#/$defs/missing"}},
        }
    )

    assert problems.keys() == {
        "schema.properties.a[\"$id\"]",
        "schema.properties.a[\"$dynamicRef\"]",
        "schema[\"$schema\"]",
        "schema.properties.b[\"$ref\"]",
        'schema.patternProperties["(.)\\\\1"]["$ref"]',
        "schema.properties.c.pattern",
        'schema.patternProperties["(.)\\\\1"]',
    }  # fmt: skip


@pytest.mark.parametrize("keyword", sorted(lint.REFUSED_KEYWORDS))
@pytest.mark.parametrize("place", ["items", "not", "contains", "then"])
def test_a_refused_keyword_is_found_wherever_schemas_stand(keyword: str, place: str):
    value = {"$vocabulary": {}, "$recursiveAnchor": "a"}.get(keyword, "#")
    problems = refused(OBJECT | {"properties": {"a": {place: {keyword: value}}}})

    assert problems == {f'schema.properties.a.{place}["{keyword}"]': lint.REFUSED_KEYWORDS[keyword]}


@pytest.mark.parametrize("ref", ["#/examples/0", "#/$defs", "#/x-note", "#nowhere", "#/properties/a/const"])
def test_a_reference_points_at_a_schema_and_not_at_data(ref: str):
    content = {"examples": [{}], "x-note": {}, "properties": {"a": {"const": {}}, "b": {"$ref": ref}}, "$defs": {}}

    assert "points at no schema" in refused(OBJECT | content)['schema.properties.b["$ref"]']


@pytest.mark.parametrize("pattern", [r"^(?=a)b", r"(a)\1", r"(?<!a)b", "(a{1000}){1000}", "(", "[z-a]"])
def test_a_pattern_runs_in_linear_time_or_not_at_all(pattern: str):
    assert (
        "no linear-time pattern"
        in refused(OBJECT | {"properties": {"a": {"pattern": pattern}}})["schema.properties.a.pattern"]
    )


def test_a_schema_of_sixteen_kilobytes_is_taken_and_one_more_byte_is_not():
    room = lint.BYTES_MAX - len('{"$comment":"","type":"object"}')

    lint.require("research", OBJECT | {"$comment": "x" * room})
    assert refused(OBJECT | {"$comment": "x" * (room + 1)}) == {"schema": "too large (16,385 > 16,384 bytes)"}


def test_a_schema_is_bounded_like_any_data_from_outside():
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"not": deep}

    assert "nests too deep" in refused(OBJECT | {"not": deep})["schema"]
    assert "finite" in refused(OBJECT | {"maximum": float("nan")})["schema.maximum"]


def doubled(keyword: str, times: int) -> dict[str, Any]:
    """Each level refers twice to the one below: `times` levels are 2 ** times questions at the bottom."""
    levels: dict[str, Any] = {"d0": {"type": "integer"}}
    for each in range(times):
        below = {"$ref": f"#/$defs/d{each}"}
        levels[f"d{each + 1}"] = {keyword: {"a": below, "b": below} if keyword == "properties" else [below, below]}
    return OBJECT | {"$defs": levels, "properties": {"a": {"$ref": f"#/$defs/d{times}"}}}


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf", "properties"])
@pytest.mark.parametrize("times", [24, 200])
def test_a_schema_that_doubles_its_parts_is_refused(keyword: str, times: int):
    """Forty levels would keep the validator busy for hours with one integer."""
    problem = refused(doubled(keyword, times))["schema"]

    assert re.fullmatch(r"would have its parts checked [0-9,]+ times for one payload \(more than 2,000\)", problem)


def test_parts_may_be_used_again_and_contain_themselves():
    """What leads back into itself is asked once for each level of the payload; unnamed parts are not asked at all."""
    lint.require("research", doubled("allOf", 7))
    leaf = {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/tree"}]}
    tree = {"type": "object", "properties": {"left": leaf, "right": leaf, "all": {"items": {"$ref": "#"}}}}
    lint.require("research", OBJECT | {"$defs": {"tree": tree, **{f"d{n}": leaf for n in range(150)}}, **tree})
    assert evaluations(OBJECT | {"$defs": {"tree": tree}}) == 1


@pytest.mark.parametrize("times", [8, 16, 64])
def test_what_is_counted_once_is_asked_once(times: int):
    """A circle that refers twice to itself at each level of the payload takes no time that doubles with them."""
    twice = {"allOf": [{"$ref": "#/$defs/node"}, {"$ref": "#/$defs/node"}]}
    content = OBJECT | {"$defs": {"node": {"properties": {"c": twice}}}, "properties": {"c": twice}}
    lint.require("research", content)
    value: Any = 1
    for _ in range(times - 1):
        value = {"c": value}
    began = time.process_time()

    assert compile_schema(content).is_valid(value)
    assert time.process_time() - began < 0.5


def test_of_7000_mistakes_100_are_listed():
    assert len(lint.judge("research", OBJECT | {"allOf": [1] * 7_000})) == lint.PROBLEMS_MAX


@pytest.mark.parametrize("keyword", ["$id", "$ref"])
def test_an_address_that_is_none_is_a_problem_and_no_fault(keyword: str):
    assert lint.judge("research", OBJECT | {"$id": "https://example.org/a", "properties": {"a": {keyword: "//[x"}}})


def test_the_deepest_schema_is_judged_without_overflowing():
    deep: dict[str, Any] = {}
    for _ in range(62):
        deep = {"not": deep}

    lint.require("research", OBJECT | {"not": deep})


@pytest.mark.parametrize("name", ["", "Research", "a b", "a@1", "../a", "x" * 65, "a\n"])
def test_a_schema_has_a_name_that_fits_a_reference(name: str):
    with pytest.raises(SchemaRefused) as refusal:
        lint.require(name, OBJECT)

    assert [problem.path for problem in refusal.value.problems] == ["name"]


def test_the_gate_has_the_last_word(monkeypatch: pytest.MonkeyPatch):
    """What every rule lets pass and the validator cannot compile is refused."""
    monkeypatch.setattr(lint, "RULES", ())

    assert "schema.properties.a.pattern" in refused(OBJECT | {"properties": {"a": {"pattern": "^(?=a)b"}}})


# ---- nothing is fetched -------------------------------------------------------------------------------------------


def test_the_loopback_counts_who_asks(loopback: Loopback):
    """Or the tests that want nobody to ask would prove nothing."""
    with urllib.request.urlopen(loopback.address) as answer:
        assert answer.read() == b'{"type":"object"}'
    assert loopback.hits == 1


@pytest.mark.parametrize("keyword", ["$ref", "$schema", "$dynamicRef"])
def test_a_remote_reference_is_refused_and_never_reached(keyword: str, loopback: Loopback):
    for content in ({keyword: loopback.address}, {"properties": {"a": {keyword: loopback.address}}}):
        refused(OBJECT | content)

    assert loopback.hits == 0


@pytest.mark.parametrize(
    "ref", ["https://example.org/a#/$defs/b", "other.json", "file:///etc/hostname", "//example.org"]
)
def test_a_reference_that_would_have_to_be_fetched_is_told_so(ref: str):
    assert "nothing is fetched" in refused(OBJECT | {"properties": {"a": {"$ref": ref}}})['schema.properties.a["$ref"]']


def test_an_address_is_only_a_name_for_what_is_there(loopback: Loopback):
    """By it, or by a way from it, one schema in here may mean another; nobody goes and looks."""
    content = OBJECT | {
        "$id": loopback.address,
        "$defs": {"short": {"$id": "short.json", "$defs": {"word": {"maxLength": 3}}, "$ref": "#/$defs/word"}},
        "properties": {"a": {"$ref": "short.json"}, "b": {"$ref": f"{loopback.address}#/$defs/short"}},
    }
    assert lint.judge("research", content) == ()

    validator = compile_schema(content)
    assert validator.is_valid({"a": "abc", "b": "abc"})
    assert not validator.is_valid({"a": "abcd"})
    assert not validator.is_valid({"b": "abcd"})
    assert loopback.hits == 0


def test_the_gate_itself_fetches_nothing_even_if_no_rule_stood_before_it(loopback: Loopback, tmp_path: Path):
    (tmp_path / "schema.json").write_text("{}")

    for ref in (loopback.address, (tmp_path / "schema.json").as_uri(), "schema.json"):
        with pytest.raises(CannotCompileError):
            compile_schema({"$id": loopback.address, "properties": {"a": {"$ref": ref + "?"}}})
        with pytest.raises(CannotCompileError):
            compile_schema({"properties": {"a": {"$ref": ref}}})

    assert loopback.hits == 0


# ---- what it costs ----------------------------------------------------------------------------------------------


def test_patterns_that_are_small_each_and_large_together_are_no_contract():
    """The gate compiles them all at the schema's first use, and nobody is answered meanwhile."""
    patterns = {f"f{n}": {"pattern": f"^.{{900}}{n}$"} for n in range(4)}
    lint.require("research", OBJECT | {"properties": patterns})

    for keyword, more in (("properties", {"g": {"pattern": "^.{900}$"}}), ("patternProperties", {"^.{900}$": {}})):
        problems = refused(OBJECT | {"$defs": {"all": {"properties": patterns}}, keyword: more})
        assert problems == {"schema": "has patterns of more than 4,194,304 bytes together, compiled"}


@pytest.mark.parametrize(
    ("keyword", "most", "what"),
    [
        ("minLength", 262_144, "characters; no payload is longer than 262,144 bytes"),
        ("minItems", 50_000, "items; no payload has more than 50,000 values"),
        ("minContains", 50_000, "items; no payload has more than 50,000 values"),
        ("minProperties", 50_000, "fields; no payload has more than 50,000 values"),
    ],
)
def test_what_demands_more_than_a_payload_can_have_is_no_contract(keyword: str, most: int, what: str):
    """Nothing would ever fit it; and whoever looks for something that does would fill the memory."""
    lint.require("research", OBJECT | {"properties": {"a": {keyword: most}}})

    for demanded, shown in ((most + 1, f"{most + 1:,}"), (3e9, "3,000,000,000")):
        problems = refused(OBJECT | {"properties": {"a": {"not": {keyword: demanded}}}})
        assert problems == {f"schema.properties.a.not.{keyword}": f"demands {shown} {what}"}


@pytest.mark.parametrize(
    "content",
    [
        {"properties": {"a": {"pattern": "^.{900}$"}}},
        {"patternProperties": {"^.{900}$": {}}},
        {"properties": {f"f{n}": {} for n in range(lint.VALUES_QUICK)}},
        {"anyOf": [True] * lint.VALUES_QUICK},
    ],
)
def test_what_has_patterns_or_many_parts_is_not_judged_quickly(content: dict[str, Any]):
    assert not lint.is_quick(OBJECT | content)


def test_an_ordinary_contract_is_judged_quickly():
    assert lint.is_quick(json.loads((SCHEMAS / "payloads" / "brief@1.json").read_text()))


def field(content: dict[str, Any]) -> dict[str, Any]:
    return OBJECT | {"properties": {"a": content}}


def priced(content: dict[str, Any]) -> prices.Price:
    return prices.price(content, lambda pattern: pattern_bytes(pattern) or 0)


NUMBERS = [each + 0.5 for each in range(14)]
MANY = {"schema": "has too many options that are no strings for a value that may come 50,000 times"}
SLOW = "a[ab]{300}c"  # 1 µs for each byte of a long text
LONG = {"schema": "has patterns for the same text that would hold everybody up, were it as long as it may be"}


@pytest.mark.parametrize(
    "content",
    [
        field({"enum": NUMBERS}),
        field({"items": {"type": "integer", "enum": list(range(33))}}),
        field({"items": {"enum": [f"{each}" for each in range(1_000)]}}),
        field({"items": {"enum": [*"abcdefgh", 1, None, True]}}),
        field({"items": {"type": "number", "multipleOf": 0.01, "minimum": 0.5, "maximum": 9.5}}),
        field({"items": {"properties": {name: {"enum": [1, 2.5, 3]} for name in "abcdefgh"}}}),
    ],
)
def test_options_that_are_quickly_compared_or_seldom_are_taken(content: dict[str, Any]):
    lint.require("research", content)


@pytest.mark.parametrize(
    "content",
    [
        *(field({keyword: {"enum": NUMBERS}}) for keyword in prices.REPEATS if keyword != "patternProperties"),
        field({"patternProperties": {"^a": {"enum": NUMBERS}}}),
        field({"contains": {"enum": [[each] for each in range(1_000)]}}),
        field({"items": {"anyOf": [{"const": {"a": each}} for each in range(60)]}}),
        field({"items": {"enum": list(range(34)), "type": "integer"}}),
        field({"allOf": [{"items": {"const": each}} for each in range(6)]}),
        field({"items": {"allOf": [{"multipleOf": each / 100} for each in range(1, 7)]}}),
        field({"items": {"properties": {"a": {"$ref": "#/$defs/x"}}}}) | {"$defs": {"x": {"enum": NUMBERS}}},
        OBJECT | {"properties": {"a": {"enum": NUMBERS}, "more": {"$ref": "#"}}},
    ],
)
def test_options_that_many_values_are_compared_with_are_few(content: dict[str, Any]):
    """A list, or what contains itself, may bring 50,000 values, each to be compared with each option."""
    assert refused(content) == MANY


def test_the_dearest_options_keep_a_payload_within_its_second():
    """A value that fits nothing is compared with all of them, and no schema has it compared more often."""
    fits, one_more = ({"contains": {"enum": NUMBERS[:many]}} for many in (5, 6))

    lint.require("research", field(fits))
    assert refused(field(one_more)) == MANY
    assert priced(field(fits)).options_ns * limits.PAYLOAD_VALUES_MAX <= 1e9


@pytest.mark.parametrize(
    "content",
    [
        field({"pattern": SLOW}),
        field({"allOf": [{"pattern": SLOW, "maxLength": 100}] * 100}),
        OBJECT | {"properties": {f"p{each}": {"pattern": SLOW} for each in range(50)}},
        field({"prefixItems": [{"pattern": SLOW}] * 50}),
        field({"allOf": [{"pattern": "^[a-z]{3}-[0-9]+$"}] * 100}),
        field({"items": {"pattern": "^.{1,500}$"}}),
        field({"items": {"pattern": r"^[\w\s.,!?*|-]{1,200}$"}}),
        field({"items": {"allOf": [{"pattern": "(?i)^[a-z]{900}$"}] * 3}}),
    ],
)
def test_patterns_that_meet_no_long_text_together_are_taken(content: dict[str, Any]):
    lint.require("research", content)


@pytest.mark.parametrize(
    "content",
    [
        field({"allOf": [{"pattern": SLOW}] * 5}),
        field({"items": {"anyOf": [{"pattern": SLOW, "maxLength": 100}] * 5}}),
        field({"patternProperties": {f"{SLOW}{each}": {} for each in range(5)}}),
        field({"propertyNames": {"anyOf": [{"pattern": SLOW}] * 5}}),
        field({"pattern": "^[ab]*a[ab]{8000}c"}),
        field({"pattern": "^(a?){2000}b"}),
        field({"pattern": "^b|a[ab]{8000}c"}),
        field({"pattern": "(?m)^[ab]{8000}c$"}),
        field({"pattern": "^[ab]{1,4000}[ab]{4000}"}),
        field({"anyOf": [{"$ref": "#/$defs/x"}] * 5}) | {"$defs": {"x": {"pattern": SLOW}}},
        OBJECT | {"properties": {name: {"pattern": SLOW} for name in "abcde"} | {"more": {"$ref": "#"}}},
    ],
)
def test_patterns_that_are_slow_together_are_no_contract(content: dict[str, Any]):
    """A hundred of them in one place would take minutes for one text."""
    assert refused(content) == LONG


def test_what_a_pattern_is_compiled_to_bounds_what_a_text_may_cost():
    assert priced(field({"allOf": [{"pattern": SLOW}] * 3})).patterns_bytes == 3 * (pattern_bytes(SLOW) or 0)
    assert priced(field({"pattern": SLOW, "maxLength": 1_024})).patterns_bytes * 64 == pattern_bytes(SLOW)
