"""Every kind of problem that is told to a sender, as a case: `lessons.txt` is printed from the code by

    python -m tests.contracts.lessons --write

so that what models read is read by people in review, whole. A case is a schema and a value that does not fit it. Most
are payloads; a result and what comes next are told by the same teacher in their own sentences, and so are the
arguments of tools.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from dropoff.contracts.gate import Gate
from dropoff.contracts.schema import Schema
from dropoff.core import payload
from dropoff.doors import verbs
from dropoff.errors import (
    ArgumentsInvalid,
    DropoffError,
    HandoffUnknown,
    LeaseUnknown,
    NextInvalid,
    PayloadInvalid,
    Problem,
    ResultInvalid,
)  # fmt: skip

FILE: Final = Path(__file__).with_name("lessons.txt")
COMMAND: Final = "python -m tests.contracts.lessons --write"
HEAD: Final = f"What senders are told. Printed by {COMMAND}; a change here is a change of what models read."
SHOWN: Final = 160  # characters of a schema or a value

Json = dict[str, Any]

STRING: Final[Json] = {"type": "string"}
WEB: Final[Json] = {
    "type": "object",
    "properties": {"kind": {"const": "web"}, "url": STRING},
    "required": ["kind", "url"],
}
BOOK: Final[Json] = {
    "type": "object",
    "properties": {"kind": {"const": "book"}, "isbn": STRING, "page": {"type": "integer"}},
    "required": ["kind", "isbn", "page"],
}


def field(schema: Any) -> Json:
    return {"type": "object", "properties": {"a": schema}}


def deep(levels: int, schema: Json) -> Json:
    """The same, said by a part of a part of a part …"""
    return {"then": deep(levels - 1, schema)} if levels else schema


class Wrong(NamedTuple):
    schema: Json
    value: Any


def of(schema: Any, value: Any) -> Wrong:
    """The field `a` of a payload."""
    return Wrong(field(schema), {"a": value})


PAYLOADS: Final = {
    # fields
    "missing": Wrong(
        {"type": "object", "required": ["audience", "topic", "any"], "properties": {
            "audience": {"enum": ["exec", "public"]}, "topic": {"type": ["string", "null"]}}}, {}),
    "missing, and it can be one value only": Wrong({"required": ["v"], "properties": {"v": {"const": 2}}}, {}),
    "missing beside another": Wrong({"dependentRequired": {"by": ["from", "to"]}}, {"by": "rail", "to": "Rome"}),
    "unknown, did you mean": Wrong(
        {"properties": {"audience": True, "topic": True}, "additionalProperties": False}, {"audiance": "exec"}),
    "unknown, like nothing": Wrong(
        {"properties": {"audience": True, "topic": True}, "additionalProperties": False}, {"zzz": 1, "topic": 2}),
    "unknown, where nothing is known": Wrong({"additionalProperties": False}, {"a": 1, "b": 2}),
    "unknown, behind a reference": Wrong(
        {"properties": {"a": {"$ref": "#/$defs/page"}}, "$defs": {
            "page": {"properties": {"url": STRING}, "additionalProperties": False}}}, {"a": {"ulr": "x"}}),
    "unknown, though a pattern of names is": Wrong(
        {"patternProperties": {"^x-": True}, "additionalProperties": False}, {"y-1": 1}),
    "unevaluated": Wrong(
        {"allOf": [{"properties": {"topic": True}}], "properties": {"audience": True}, "unevaluatedProperties": False},
        {"audiance": 1, "topic": 2}),
    "unevaluated, and known by all kinds of parts": Wrong(
        {"unevaluatedProperties": False, "$ref": "#/$defs/circle", "allOf": [True, {"properties": {"b": True}}],
            "anyOf": [{"properties": {"c": True}}, True], "oneOf": [{"properties": {"d": True}}],
            "if": {"properties": {"e": True}}, "then": {"properties": {"f": True}},
            "else": {"properties": {"g": True}}, "dependentSchemas": {"h": {"properties": {"i": True}}},
            "$defs": {"circle": {"properties": {"a": True}, "anyOf": [True, {"$ref": "#/$defs/circle"}]}}}, {"z": 1}),
    "unevaluated, and known deep inside of what contains itself": Wrong(
        {"unevaluatedProperties": False, "$ref": "#/$defs/circle", "$defs": {"circle": {
            "then": deep(12, {"properties": {"a": True, "b": True}}), "properties": {"a": True},
            "anyOf": [True, *[{"$ref": "#/$defs/circle"}] * 3]}}}, {"z": 1}),
    "unknown, like one that is there": Wrong(
        {"properties": {"topic": True}, "additionalProperties": False}, {"topic": 1, "topics": 2}),
    "a name that is not allowed": of({"propertyNames": {"pattern": "^[a-z]+$"}}, {"Ab": 1}),
    "a name that is too long": of({"propertyNames": {"maxLength": 3}}, {"abcd": 1}),
    "no names are allowed": of({"propertyNames": False}, {"b": 1}),
    "too few fields": of({"minProperties": 2}, {"b": 1}),
    "too many fields": of({"maxProperties": 1}, {"b": 1, "c": 2}),
    # types
    "type": of({"type": "string"}, 1),
    "type, of several": of({"type": ["null", "object", "string"]}, [1]),
    "type, a number that is not whole": of({"type": "integer"}, 1.5),
    "type, a number in quotes": of({"type": "integer"}, "7"),
    "type, a whole number in quotes": of({"type": "number"}, "7"),
    "type, a boolean in quotes": of({"type": ["boolean", "null"]}, "true"),
    "type, null": of(STRING, None),
    "type, a string of JSON": of({"type": "object"}, '{"b": 1}'),
    "type, a string of a JSON array": of({"type": "array"}, " [1]"),
    "type, a string of JSON of another kind": of({"type": "object"}, "[1]"),
    "type, a string that only begins like JSON": of({"type": "integer"}, "[" * 5_000),
    "type, a payload that is none": Wrong({"type": "object"}, ["a"]),
    # choices
    "enum": of({"enum": ["exec", "engineer", "public"]}, "boss"),
    "enum, did you mean": of({"enum": ["exec", "engineer", "public"]}, "enginer"),
    "enum, other case": of({"enum": ["exec", "engineer", "public"]}, "EXEC"),
    "enum, of ten": of({"enum": [*"abcdefghij"]}, 1),
    "enum, of more than ten": of({"enum": [*"abcdefghijkl"]}, 1),
    "enum, of other types": of({"enum": ["x", 1, None, [1]]}, "q"),
    "const": of({"const": {"v": 1}}, {"v": 2}),
    # extent
    "too short": of({"minLength": 3}, "é"),
    "empty": of({"minLength": 1}, ""),
    "too long": of({"maxLength": 3}, "abcd"),
    "too few items": of({"minItems": 2}, [1]),
    "too many items": of({"maxItems": 1}, [1, 2]),
    "too small": of({"minimum": 1}, 0),
    "too large": of({"maximum": 1.5}, 2),
    "too small by nothing": of({"exclusiveMinimum": 0}, 0),
    "too large by nothing": of({"exclusiveMaximum": 1}, 1),
    "no multiple": of({"multipleOf": 5}, 7),
    # text
    "pattern": of({"pattern": "^[a-z]+$"}, "A1"),
    "format is a note, and the pattern decides": of(
        {"format": "date", "pattern": "^\\d{4}-\\d\\d-\\d\\d$"}, "tomorrow"),
    # items
    "items": of({"items": {"properties": {"url": STRING}}}, [{}, {"url": 1}]),
    "an item twice": of({"uniqueItems": True}, ["x", "y", "x"]),
    "no item of the kind": of({"contains": {"const": "x"}}, ["y"]),
    "no item of the kind, behind a reference": Wrong(
        {"properties": {"a": {"contains": {"$ref": "#/$defs/x"}}}, "$defs": {"x": {"const": "x"}}}, {"a": ["y"]}),
    "too few of the kind": of({"contains": STRING, "minContains": 2}, ["b", 1]),
    "too many of the kind": of({"contains": STRING, "maxContains": 1}, ["b", "c"]),
    "more items than are described": of({"prefixItems": [True], "items": False}, [1, 2]),
    "more items than any part describes": of({"prefixItems": [True], "unevaluatedItems": False}, [1, 2, 3]),
    # alternatives
    "anyOf, the branch that was meant": of({"anyOf": [WEB, BOOK, {"type": "null"}]}, {"kind": "book", "page": "7"}),
    "anyOf, no branch by its tag": of({"anyOf": [WEB, BOOK]}, {"kind": "bok", "isbn": "1", "page": 7}),
    "anyOf, no branch by its tag, nor like one": of({"oneOf": [WEB, BOOK, STRING]}, {"kind": "car"}),
    "anyOf, tags of different names": of(
        {"anyOf": [{"properties": {"kind": {"const": "web"}}}, {"properties": {"sort": {"const": "book"}}}]},
        {"kind": "x", "sort": "y"}),
    "anyOf, of other types": of({"anyOf": [{"type": "object"}, STRING, {"type": "null"}]}, 1),
    "oneOf, the branch that was meant": of({"oneOf": [WEB, BOOK]}, {"kind": "web"}),
    "oneOf, and several fit": of({"oneOf": [{"minimum": 1}, {"type": "integer"}]}, 2),
    "anyOf in the root": Wrong({"anyOf": [{"required": ["by"]}, {"required": ["on"]}]}, {}),
    # exclusions and conditions
    "not": of({"not": STRING}, "b"),
    "not, of a field": of({"not": {"required": ["b"]}}, {"b": 1}),
    "then": of({"if": {"required": ["by"]}, "then": {"required": ["from"]}}, {"by": "rail"}),
    "else": of({"if": {"required": ["by"]}, "else": {"properties": {"on": {"type": "string"}}}}, {"on": 1}),
    "a schema beside a field": of({"dependentSchemas": {"by": {"properties": {"to": STRING}}}}, {"by": 1, "to": 2}),
    "false": of(False, 1),
    # several, long, unexplained
    "several, the first to mend first": Wrong(
        {"required": ["f"], "additionalProperties": False, "properties": {
            "a": {"pattern": "^x"}, "b": {"minLength": 3}, "c": {"enum": [1]}, "d": STRING, "f": STRING,
            "g": {"uniqueItems": True}}},
        {"a": "b", "b": "b", "c": 2, "d": 3, "e": 4, "g": [1, 1]}),
    "more than eight": Wrong({"required": [f"field{number:02}" for number in range(12)]}, {}),
    "a long value, a long name": Wrong(
        {"properties": {"a": {"enum": ["x"]}}, "additionalProperties": False}, {"a": "v" * 500, "n" * 500: 1}),
    "long choices, a long pattern, a long const": Wrong(
        {"properties": {"a": {"enum": ["c" * 200, "d" * 200]}, "b": {"pattern": "p" * 200}, "c": {"const": "k" * 200}}},
        {"a": 1, "b": "x", "c": 1}),
    "a long exclusion, a long item of the kind, a long const that is missing": Wrong(
        {"properties": {"a": {"not": {"const": "k" * 200}}, "b": {"contains": {"const": "k" * 200}},
            "c": {"const": "k" * 200}}, "required": ["c"]}, {"a": "k" * 200, "b": []}),
    "a long name that is known": Wrong(
        {"properties": {"a" * 200: True}, "additionalProperties": False}, {"a" * 199: 1, "b": 2}),
    "a name that is no word": Wrong({"properties": {"a b.c": STRING}}, {"a b.c": 1}),
}  # fmt: skip

NOTE: Final[Json] = {"type": "object", "properties": {"text": STRING}, "required": ["text"]}
HELD: Final = "research-8F3K2Q9T1MXK7A4B.1"

ARGUMENTS: Final[dict[str, tuple[str, Json]]] = {
    "missing": ("drop_off", {}),
    "unknown, did you mean": ("drop_off", {"payload": {}, "queu": "research"}),
    "who calls is proven": ("drop_off", {"payload": {}, "from_agent": "boss"}),
    "the payload is a string of JSON": ("drop_off", {"payload": '{"topic": "owls"}'}),
    "the payload of next is a string of JSON": (
        "complete_handoff",
        {"lease_id": HELD, "next": {"payload": '{"t": 1}'}},
    ),
    "next is a string of JSON": ("complete_handoff", {"lease_id": HELD, "next": '{"payload": {}}'}),
    "next without a payload": ("complete_handoff", {"lease_id": HELD, "next": {"queue": "drafts"}}),
    "the result is no object": ("complete_handoff", {"lease_id": HELD, "result": ["done"]}),
    "the payload's fields stand beside it": ("drop_off", {"topic": "owls", "audience": "exec"}),
    "type": ("check_handoff", {"handoff_id": 7}),
    "choice": ("hand_back", {"lease_id": HELD, "outcome": "retry", "reason": "no network"}),
    "too long": ("drop_off", {"payload": {}, "note": "x" * 501}),
    "too large": ("pick_up", {"wait_seconds": 31}),
    "too small": ("drop_off", {"payload": {}, "delay_seconds": -1}),
    "a number that is not whole": ("pick_up", {"wait_seconds": 2.5}),
    "a number in quotes": ("pick_up", {"wait_seconds": "20"}),
    "several": ("hand_back", {"outcome": "failed", "raeson": "x", "delay_seconds": "soon"}),
    "what JSON cannot say": ("drop_off", {"payload": {}, "delay_seconds": float("nan")}),
}

REFUSALS: Final[dict[str, Callable[[], DropoffError]]] = {
    "a payload with two problems": lambda: refused(PayloadInvalid, NOTE | {"additionalProperties": False}, {"txt": 1}),
    "a payload that nothing explains": lambda: PayloadInvalid(schema="research@3", problems=unexplained()),
    "a payload that is too dear to explain": lambda: refused(PayloadInvalid, *dear()),
    "a result with a problem": lambda: refused(ResultInvalid, NOTE, {"text": 1}, "result"),
    "a result with two": lambda: refused(ResultInvalid, NOTE | {"required": ["text", "by"]}, {}, "result"),
    "what comes next": lambda: refused(NextInvalid, NOTE, {"txt": "owls"}, "next.payload"),
    "a handoff_id in the place of a lease_id": lambda: LeaseUnknown(lease_id=HELD[:-2], held=(HELD,)),
    "a lease_id that is nobody's": lambda: LeaseUnknown(lease_id="lease-1", held=(HELD,)),
    "a lease_id in the place of a handoff_id": lambda: HandoffUnknown(handoff_id=HELD),
    "a handoff_id that is nobody's": lambda: HandoffUnknown(handoff_id="handoff-1"),
}
LEASE_ENDS_MS: Final = 47_112_000


def judged(schema: Json, value: Any, root: str = "payload") -> tuple[Problem, ...]:
    return Gate(Schema.of("research", 3, schema)).judge(value, root)


def refused(kind: Any, schema: Json, value: Any, root: str = "payload") -> DropoffError:
    problems = judged(schema, value, root)
    more: Mapping[str, Any] = {
        PayloadInvalid: {"schema": "research@3"},
        ResultInvalid: {"lease_ends_ms": LEASE_ENDS_MS},
        NextInvalid: {"schema": "drafts@1", "lease_ends_ms": LEASE_ENDS_MS},
    }[kind]
    return kind(problems=problems, **more)


def unexplained() -> tuple[Problem, ...]:
    """As if the validator said no, and named no error."""
    gate = Gate(Schema.of("research", 3, NOTE))
    gate._validator = Mute()  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
    return gate.judge({})


class Mute:
    def is_valid(self, value: object) -> bool:
        return False

    def iter_errors(self, value: object) -> list[Any]:
        return []


def dear() -> tuple[Json, Json]:
    """Each of many errors would hold a copy of a large value."""
    needs = [f"k{number}" for number in range(400)]
    return {"properties": {"a": {"items": {"required": needs}}}}, {"a": [{"x": "y" * 20}] * 6_000}


def refusals() -> dict[str, tuple[str, DropoffError]]:
    """Every case, with what was sent, and the refusal that it gets."""
    cases: dict[str, tuple[str, DropoffError]] = {}
    for what, wrong in PAYLOADS.items():
        sent = f"schema {_short(wrong.schema)}\npayload {_short(wrong.value)}"
        cases[f"payload: {what}"] = sent, refused(PayloadInvalid, wrong.schema, wrong.value)
    for what, (tool, given) in ARGUMENTS.items():
        cases[f"arguments: {what}"] = f"{tool} {_short(given)}", _arguments_refused(tool, given)
    for what, make in REFUSALS.items():
        cases[f"refusal: {what}"] = "", make()
    return cases


def _arguments_refused(tool: str, given: Json) -> DropoffError:
    verb = verbs.by_tool(tool)
    assert verb is not None
    try:
        taken = verbs.arguments(verb, given, tool)
    except ArgumentsInvalid as error:
        return error
    raise AssertionError(f"these were taken: {taken}")


def written() -> str:
    """The whole table: what was sent, what is said, and each problem's fields beyond what is said of it."""
    return "\n\n".join([HEAD, *(_entry(what, *case) for what, case in refusals().items())]) + "\n"


def _entry(what: str, sent: str, error: DropoffError) -> str:
    said = [f"        {line}" for line in error.sentence().splitlines()]
    return "\n".join(
        [f"== {what}", *(f"    {line}" for line in sent.splitlines()), *said, *map(_facts, error.problems)]
    )


def _facts(problem: Problem) -> str:
    expected = f" · expected: {problem.expected}" if problem.expected else ""
    got = f" · got: {problem.got}" if problem.got else ""
    return f"    {problem.path}{expected}{got}"


def _short(value: object) -> str:
    return payload.clipped(json.dumps(value, ensure_ascii=False), SHOWN)


def main() -> None:
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"usage: {COMMAND}")
    FILE.write_text(written(), encoding="utf-8")
    print(f"wrote {FILE.name}")


if __name__ == "__main__":
    main()
