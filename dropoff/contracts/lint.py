"""Whether a schema may become a contract.

Schemas come from operators, so this is no wall against an enemy; but a contract is kept for years and judges payloads
that strangers write, so what cannot be judged quickly, offline and the same everywhere is refused here, once. First
bounds, then the specification as `jsonschema` reads it, then our rules, then the gate itself: what it cannot compile is
no contract. Each rule is a row of `RULES`, a function from a schema to its problems, and all of these are listed.

Boolean subschemas (`true`, `false`) are fine everywhere but at the root. So are anchors and `$id`: they only name what
is there.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Final, cast

import msgspec
from jsonschema import Draft202012Validator

from dropoff.contracts import evaluations, gate, prices, subschemas
from dropoff.core import limits, payload
from dropoff.core.handoff import NAME
from dropoff.errors import PayloadTooLarge, Problem, SchemaRefused

BYTES_MAX: Final = 16_384  # a model reads the schema with every list of tools: this is 4,000 of its tokens
PROBLEMS_MAX: Final = 100  # of the specification's; 7,000 are 1 s
PATTERNS_BYTES_MAX: Final = 4 << 20  # of one schema: 25 ms to compile at its first use; 500 of `.{900}` would be 1.2 s
VALUES_QUICK: Final = 64  # at 200 µs: 13 ms, a tenth of what it takes to have it judged elsewhere
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

Rule = Callable[[dict[str, Any]], Iterator[Problem]]


def require(name: str, content: object) -> None:
    """Return only if this may be registered; SchemaRefused with every problem otherwise."""
    problems = judge(name, content)
    if problems:
        raise SchemaRefused(name=name, problems=problems)


def judge(name: str, content: object, *, any_root: bool = False) -> tuple[Problem, ...]:
    """What keeps this from being a contract. A later stage is asked only where the one before is content.

    With `any_root` it may be a schema for anything, not just for an object.
    """
    stages: tuple[Callable[[], Iterable[Problem]], ...] = (
        lambda: _bounds(name, content),
        lambda: () if any_root else _root(content),
        lambda: _cost(content),
        lambda: _specification(content),
        lambda: _rules(content),
        lambda: _price(content),
        lambda: _gate(content),
    )
    named = () if NAME.match(name) else (Problem(path="name", problem="is no name", expected="like research.facts"),)
    for stage in stages:
        problems = tuple(stage())
        if problems:
            return (*named, *problems)
    return named


def is_quick(content: object) -> bool:
    """Whether this is judged before others notice: not more than `VALUES_QUICK` values, and no pattern among them."""
    todo = [content]
    seen = 0
    while todo:
        item = todo.pop()
        seen += 1
        if isinstance(item, dict):
            members = cast("dict[object, object]", item)
            if "pattern" in members or "patternProperties" in members:
                return False
            todo += members.values()
        elif isinstance(item, list):
            todo += cast("list[object]", item)
        if seen + len(todo) > VALUES_QUICK:
            return False
    return True


# ---- the stages ---------------------------------------------------------------------------------------------------


def _bounds(name: str, content: object) -> tuple[Problem, ...]:
    try:
        payload.bound(
            content, refusal=partial(SchemaRefused, name=name), root="schema", what="Schema", bytes_max=BYTES_MAX
        )
    except PayloadTooLarge as error:
        return (_problem((), f"too large ({error.bytes:,} > {BYTES_MAX:,} bytes)"),)
    except SchemaRefused as error:
        return error.problems
    return ()


def _root(content: object) -> Iterator[Problem]:
    """A payload has named fields, so that it can grow one; models and MCP demand an object anyway."""
    if not isinstance(content, dict):
        yield _problem((), "must be an object schema")
    elif cast("dict[str, Any]", content).get("type") != "object":
        yield _problem(("type",), 'must be "object" at the root')


def _cost(content: object) -> Iterator[Problem]:
    """Before the specification, for `jsonschema` too asks each part, at 200 µs."""
    asked = evaluations.evaluations(cast("dict[str, Any]", content)) if isinstance(content, dict) else 0
    if asked > evaluations.EVALUATIONS_MAX:
        more = f"(more than {evaluations.EVALUATIONS_MAX:,})"
        problem = f"would have its parts checked {asked:,} times for one payload {more}"
        yield _problem((), problem, "fewer parts, or fewer $ref to the same part")


def _specification(content: object) -> Iterator[Problem]:
    # The meta-schema refers to nothing but its own parts, which the library carries, and the schema is only data to it,
    # so nothing is fetched. Formats are not asked: "regex" would be Python's idea of one, and the gate has its own.
    specification: Any = Draft202012Validator(Draft202012Validator.META_SCHEMA)
    for error in islice(specification.iter_errors(content), PROBLEMS_MAX):
        yield _problem(error.absolute_path, payload.clipped(error.message))


def _rules(content: object) -> Iterator[Problem]:
    if isinstance(content, dict):
        for rule in RULES:
            yield from rule(cast("dict[str, Any]", content))


def _price(content: object) -> Iterator[Problem]:
    """After the rules, by which every pattern compiles."""
    if not isinstance(content, dict):
        return
    price = prices.price(cast("dict[str, Any]", content), lambda pattern: gate.pattern_bytes(pattern) or 0)
    if price.options_ns > prices.OPTIONS_NS_MAX:
        yield _problem((), "has too many options that are no strings for a value that may come 50,000 times", OPTIONS)
    if price.patterns_bytes > prices.PATTERNS_BYTES_MAX:
        problem = "has patterns for the same text that would hold everybody up, were it as long as it may be"
        yield _problem((), problem, SHORTER)


def _gate(content: object) -> Iterator[Problem]:
    try:
        gate.compile_schema(msgspec.json.decode(payload.canonical(content)))
    except gate.CannotCompileError as error:
        yield _problem(error.steps, error.problem)


# ---- our rules ----------------------------------------------------------------------------------------------------

REFUSED_KEYWORDS: Final = {
    "$dynamicRef": "is not allowed: what it means depends on who refers to it; use $ref",
    "$recursiveRef": "is not allowed: it is not of 2020-12; use $ref",
    "$recursiveAnchor": "is not allowed: it is not of 2020-12; use $defs",
    "$vocabulary": "is not allowed: it belongs into meta-schemas",
}


def refused_keywords(content: dict[str, Any]) -> Iterator[Problem]:
    for schema in subschemas.walk(content):
        for keyword, reason in REFUSED_KEYWORDS.items():
            if keyword in schema.content:
                yield _problem((*schema.steps, keyword), reason)


def one_dialect(content: dict[str, Any]) -> Iterator[Problem]:
    for schema in subschemas.walk(content):
        dialect = schema.content.get("$schema", DIALECT)
        if str(dialect).rstrip("#") != DIALECT:
            yield _problem((*schema.steps, "$schema"), f"must be {DIALECT}, or left out")


def local_references(content: dict[str, Any]) -> Iterator[Problem]:
    targets = subschemas.Targets(content)
    for schema in subschemas.walk(content):
        ref = schema.content.get("$ref")
        if ref is not None and targets.of(schema) is None:
            problem = "points at no schema in here, and nothing is fetched"
            yield _problem((*schema.steps, "$ref"), f"{problem}: {payload.clipped(str(ref))}")


def own_addresses(content: dict[str, Any]) -> Iterator[Problem]:
    """Two schemas of one address, and a reference could mean either."""
    known: set[str] = set()
    for schema in subschemas.walk(content):
        if "$id" in schema.content:
            if schema.base in known:
                yield _problem((*schema.steps, "$id"), "is the address of another schema in here")
            known.add(schema.base)


def linear_patterns(content: dict[str, Any]) -> Iterator[Problem]:
    """The gate would refuse the first of these too; this lists them all, as far as it has looked: 500 can be 3 s."""
    together = 0
    for schema in subschemas.walk(content):
        patterns = [(("pattern",), schema.content["pattern"])] if "pattern" in schema.content else []
        patterns += [(("patternProperties", each), each) for each in schema.content.get("patternProperties", {})]
        for steps, pattern in patterns:
            size = gate.pattern_bytes(pattern)
            together += size or 0
            if size is None:
                yield _problem((*schema.steps, *steps), f"no linear-time pattern: {payload.clipped(pattern)}", LINEAR)
            if together > PATTERNS_BYTES_MAX:
                yield _problem((), f"has patterns of more than {PATTERNS_BYTES_MAX:,} bytes together, compiled", FEWER)
                return


def possible_demands(content: dict[str, Any]) -> Iterator[Problem]:
    """A contract that nothing fits, or nothing but what leaves this out."""
    for schema in subschemas.walk(content):
        for keyword, (most, what, bound) in DEMANDS_MAX.items():
            if schema.content.get(keyword, 0) > most:
                demanded = payload.clipped(f"{int(schema.content[keyword]):,}")
                yield _problem((*schema.steps, keyword), f"demands {demanded} {what}; no payload {bound}")


_LONGEST: Final = f"is longer than {limits.PAYLOAD_BYTES_MAX:,} bytes"
_WIDEST: Final = f"has more than {limits.PAYLOAD_VALUES_MAX:,} values"
DEMANDS_MAX: Final = {
    "minLength": (limits.PAYLOAD_BYTES_MAX, "characters", _LONGEST),
    "minItems": (limits.PAYLOAD_VALUES_MAX, "items", _WIDEST),
    "minContains": (limits.PAYLOAD_VALUES_MAX, "items", _WIDEST),
    "minProperties": (limits.PAYLOAD_VALUES_MAX, "fields", _WIDEST),
}

LINEAR: Final = "a regular expression without look-around and back-references, small once its repetitions are unrolled"
FEWER: Final = "fewer, or of smaller repetitions once they are unrolled: maxLength instead of .{1,500}"

OPTIONS: Final = 'strings, fewer, or "type": "integer" beside integers'
SHORTER: Final = "fewer, smaller once unrolled, or a maxLength beside each, which helps where the text comes but once"

RULES: Final[tuple[Rule, ...]] = (
    refused_keywords, one_dialect, own_addresses, local_references, possible_demands, linear_patterns,
)  # fmt: skip


def _problem(steps: Iterable[payload.Step], problem: str, expected: str = "") -> Problem:
    return Problem(path=payload.path_of("schema", steps), problem=problem, expected=expected)
