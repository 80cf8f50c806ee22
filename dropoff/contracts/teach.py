"""From a validator's errors to problems that a model can mend.

A model that is told "not valid under any of the given schemas" guesses; told "unknown field; did you mean 'audience'?"
it mends. So each kind of error has its sentence, which stands alone, for `expected` and `got` are often not shown:

- what is missing comes first, then unknown fields and wrong types, then wrong choices, lengths and ranges, patterns,
  the rest: mending the first ones often mends the later ones;
- `anyOf` and `oneOf` speak as the branch that fits best, for the sender meant one of them;
- names and choices that may be meant are named, but of what was sent never more than 80 characters are repeated;
- the typical slip of models, an object sent as a *string* of JSON, is said as such.

The errors come with the path into the value and the path into the schema; the second leads to the names that would have
been right. Nothing is judged here: no problem is added, and none left out but what says the same at the same place.

What is told to the sender is made for the sender, and repeats what was sent. What may be kept is the fault beside it
(`faults.py`): its place in the schema, and its rank.
"""

import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, cast

import msgspec
from jsonschema_rs import ValidationError
from jsonschema_rs import ValidationErrorKind as Kind

from dropoff.contracts import subschemas
from dropoff.contracts.faults import fault
from dropoff.core.payload import SHOWN_CHARS_MAX, Step, clipped, path_of
from dropoff.core.rejections import Fault, What
from dropoff.errors import NAMES_SHOWN, Problem, named

PROBLEMS_MAX: Final = 100  # nobody mends more at once
MEANT_WORK_MAX: Final = 4_000  # letters of one misspelt name by those it is compared with: 0.5 ms, and 100 may be told
PARTS_MAX: Final = 10_000  # that are looked through for names: 16 kB of schema hold fewer
BRANCHES_DEEP_MAX: Final = 8  # `anyOf` in `anyOf` in …, by recursive schemas

# The ranks: what to mend first.
MISSING, UNKNOWN, TYPE, CHOICE, EXTENT, PATTERN, REST = range(7)
WORDS: Final[tuple[What, ...]] = ("missing", "unknown", "type", "choice", "extent", "pattern", "other")

Json = dict[str, Any]


class Lesson(NamedTuple):
    """A problem on its way: its rank, its place in the value and that in the schema, and what to say."""

    rank: int
    steps: tuple[Step, ...]
    at: tuple[Step, ...]
    problem: str
    expected: str = ""
    got: str = ""


class Taught(NamedTuple):
    """What the sender is told, and what of it may be kept."""

    problems: tuple[Problem, ...] = ()
    faults: frozenset[Fault] = frozenset()


def taught(errors: Sequence[ValidationError], schema: Json, root: str) -> Taught:
    """All problems, the first to mend first; paths begin with `root`."""
    ranked = sorted(errors, key=_rank)
    every = (lesson for error in ranked for lesson in _lessons(error, schema, BRANCHES_DEEP_MAX))
    lessons = list(islice(every, PROBLEMS_MAX + 1))  # one error may name 20,000 unknown fields: made one by one
    said = dict.fromkeys(
        _as_problem(lesson, root) for lesson in sorted(lessons[:PROBLEMS_MAX], key=lambda lesson: lesson.rank)
    )
    more = Problem(path=path_of(root, ()), problem="has more problems than these")
    problems = (*said, more) if len(lessons) > PROBLEMS_MAX else tuple(said)
    return Taught(problems, frozenset(fault(schema, WORDS[lesson.rank], lesson.at) for lesson in lessons))


def _as_problem(lesson: Lesson, root: str) -> Problem:
    return Problem(path=path_of(root, lesson.steps), problem=lesson.problem, expected=lesson.expected, got=lesson.got)


def _rank(error: ValidationError) -> int:
    match error.kind:
        case Kind.Required():
            return MISSING
        case Kind.AdditionalProperties() | Kind.UnevaluatedProperties() | Kind.PropertyNames() | Kind.FalseSchema():
            return UNKNOWN
        case Kind.Type():
            return TYPE
        case Kind.Enum() | Kind.Constant() | Kind.AnyOf() | Kind.OneOfNotValid():
            return CHOICE
        case Kind.MinLength() | Kind.MaxLength() | Kind.MinItems() | Kind.MaxItems():
            return EXTENT
        case Kind.MinProperties() | Kind.MaxProperties() | Kind.Minimum() | Kind.Maximum():
            return EXTENT
        case Kind.ExclusiveMinimum() | Kind.ExclusiveMaximum() | Kind.MultipleOf():
            return EXTENT
        case Kind.Pattern() | Kind.Format():
            return PATTERN
        case _:
            return REST


def _lessons(error: ValidationError, schema: Json, deep: int) -> Iterable[Lesson]:
    """The rows of the table: one error may teach several things."""
    match error.kind:
        case Kind.Required(property=name):
            return _missing(error, schema, name)
        case Kind.AdditionalProperties(unexpected=names) | Kind.UnevaluatedProperties(unexpected=names):
            return _unknown(error, schema, names)
        case Kind.AnyOf(context=branches) | Kind.OneOfNotValid(context=branches):
            return _best_branch(error, schema, branches, deep)
        case Kind.Type(types=types):
            return _wrong_type(error, types)
        case Kind.Enum(options=options):
            return _wrong_choice(error, options)
        case Kind.FalseSchema() if _is_closed_and_empty(error):
            where = tuple(error.instance_path), tuple(error.schema_path[:-1])
            return (Lesson(UNKNOWN, *where, "takes no fields at all", "an empty object"),)
        case _:
            return (_at(error, *_sentence(error, schema)),)


def _at(error: ValidationError, problem: str, expected: str = "") -> Lesson:
    said_by = error.schema_path if isinstance(error.kind, Kind.FalseSchema) else error.schema_path[:-1]
    where = tuple(error.instance_path), tuple(said_by)
    return Lesson(_rank(error), *where, problem, expected, shown(error.instance))


# ---- fields -------------------------------------------------------------------------------------------------------


def _missing(error: ValidationError, schema: Json, name: str) -> Iterator[Lesson]:
    around = subschemas.at(schema, error.schema_path[:-1])
    problem = "missing (required)"
    if error.schema_path[-1:] == ["dependentRequired"]:
        present = cast("Json", error.instance)
        because = [each for each, needs in around["dependentRequired"].items() if each in present and name in needs]
        problem = f"missing (required with '{named(because)}')"
    declared = name in subschemas.at(around, ["properties"])
    said_by = (*error.schema_path[:-1], "properties", name) if declared else tuple(error.schema_path)
    expected = _hint(subschemas.at(around, ["properties", name]))
    yield Lesson(MISSING, (*error.instance_path, name), said_by, problem, expected)


def _unknown(error: ValidationError, schema: Json, names: Sequence[str]) -> Iterator[Lesson]:
    around = subschemas.at(schema, error.schema_path[:-1])
    known = list(around.get("properties", ()))
    if isinstance(error.kind, Kind.UnevaluatedProperties):
        known = list(dict.fromkeys(_names_of_all_parts(around, subschemas.Targets(schema))))
    shown_names = named([clipped(name) for name in known])
    present = cast("Json", error.instance)
    free = [name for name in known if name not in present]
    said_by = (*error.schema_path[:-1], "properties")  # the unknown name is the sender's
    for name in names:
        meant = _meant(name, free) or (f" (known: {shown_names})" if known else "")
        problem = f"unknown field{meant}"
        expected = f"one of: {shown_names}" if known else ""
        yield Lesson(UNKNOWN, (*error.instance_path, name), said_by, problem, expected)


def _names_of_all_parts(around: Json, targets: subschemas.Targets) -> Iterator[str]:
    """Those of the fields that are known here or in any part that speaks of the same object, each part once."""
    todo: list[object] = [around]
    seen: set[int] = set()
    for _ in range(PARTS_MAX):
        if not todo:
            return
        each = todo.pop(0)
        if not isinstance(each, dict) or id(cast("Json", each)) in seen:
            continue
        part = cast("Json", each)
        seen.add(id(part))
        yield from part.get("properties", ())
        todo += [one for keyword in ("allOf", "anyOf", "oneOf") for one in part.get(keyword, ())]
        todo += [part.get(keyword) for keyword in ("if", "then", "else")]
        target = targets.of(subschemas.Subschema((), part))
        todo += [*part.get("dependentSchemas", {}).values(), target and target.content]


def _is_closed_and_empty(error: ValidationError) -> bool:
    """`additionalProperties: false` and no `properties`: the validator then names neither field nor object. So with
    `propertyNames: false`.
    """
    closing = error.schema_path[-1:] in (["additionalProperties"], ["propertyNames"])
    return closing and error.schema_path[-2:-1] != ["properties"]


def _hint(schema: Json) -> str:
    """What a field's schema asks for, in a word or two."""
    if "enum" in schema:
        return f"one of: {_choices(schema['enum'])}"
    if "const" in schema:
        return clipped(_compact(schema["const"]))
    types = schema.get("type", "")
    return _either([types] if isinstance(types, str) else types) if types else ""


def _meant(name: str, candidates: Sequence[str]) -> str:
    """Looked for among those of about its length; a name that is too long to be shown is nobody's slip."""
    if len(name) > SHOWN_CHARS_MAX:
        return ""
    near, room = list[str](), MEANT_WORK_MAX // max(len(name), 1)
    for each in sorted(candidates, key=lambda each: abs(len(each) - len(name))):
        room -= len(each)
        if room < 0:
            break
        near.append(each)
    by_letters = {each.casefold(): each for each in reversed(near)}
    close = difflib.get_close_matches(name.casefold(), by_letters, n=1)
    return f"; did you mean '{clipped(by_letters[close[0]])}'?" if close else ""


# ---- types and choices --------------------------------------------------------------------------------------------


def _wrong_type(error: ValidationError, types: Sequence[str]) -> Iterator[Lesson]:
    value = error.instance
    if isinstance(value, str) and value.lstrip()[:1] in _STARTS and _STARTS[value.lstrip()[0]] in types:
        problem = f"is a string of JSON; pass the {_STARTS[value.lstrip()[0]]} itself"
    elif value is None:
        problem = f"is null, not {_either(types)}; leave it out if it is not needed"
    else:
        in_quotes = isinstance(value, str) and _type_in_quotes(value) in _with_integers(types)
        hint = "; write it without quotes" if in_quotes else ""
        problem = f"is {_article(_type_of(value))}, not {_either(types)}{hint}"
    yield _at(error, problem, _either(types))


def _type_in_quotes(text: str) -> str:
    """`integer` of "7", `boolean` of "true"."""
    try:
        return _type_of(json.loads(text[:SHOWN_CHARS_MAX]))
    except ValueError:
        return "string"


def _with_integers(types: Sequence[str]) -> set[str]:
    return {*types, "integer"} if "number" in types else set(types)


_STARTS: Final = {"{": "object", "[": "array"}


def _wrong_choice(error: ValidationError, options: Sequence[object]) -> Iterator[Lesson]:
    value = error.instance
    meant = _meant(value, [each for each in options if isinstance(each, str)]) if isinstance(value, str) else ""
    # A close match is a hint, not the list: the sender may have meant another.
    yield _at(error, f"not an allowed value{meant} (allowed: {_choices(options)})", f"one of: {_choices(options)}")


def _choices(options: Sequence[object]) -> str:
    names = [clipped(each if isinstance(each, str) else _compact(each)) for each in options[:NAMES_SHOWN]]
    rest = len(options) - NAMES_SHOWN
    return ", ".join(names) + (f" and {rest} more" if rest > 0 else "")


def _type_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "number"


def _article(name: str) -> str:
    return name if name == "null" else f"an {name}" if name[0] in "aio" else f"a {name}"


def _either(types: Iterable[str]) -> str:
    return " or ".join(_article(name) for name in sorted(set(types), key=lambda name: (name == "null", name)))


# ---- alternatives -------------------------------------------------------------------------------------------------


def _best_branch(
    error: ValidationError, schema: Json, branches: Sequence[Sequence[ValidationError]], deep: int
) -> Iterable[Lesson]:
    """What the branch says that fits best. Where each asks for another type, all are asked for together."""
    types = [_type_asked_here(branch, error) for branch in branches]
    if all(types):
        return _wrong_type(error, [name for names in types for name in names])
    if deep == 0:
        return (_at(error, "fits none of the alternatives"),)
    tags = [_tag(branch) for branch, other_type in zip(branches, types, strict=True) if not other_type]
    if tags and tags[0] and all(tag and tag.instance_path == tags[0].instance_path for tag in tags):
        return _wrong_choice(tags[0], [choice for tag in tags if tag for choice in _choices_of(tag)])
    best = min(branches, key=lambda branch: _distance(branch, error))
    return (lesson for each in best for lesson in _lessons(each, schema, deep - 1))


def _tag(branch: Sequence[ValidationError]) -> ValidationError | None:
    """The error by which this branch says that another kind of thing was meant."""
    return next((each for each in branch if isinstance(each.kind, Kind.Constant | Kind.Enum)), None)


def _choices_of(tag: ValidationError) -> Sequence[object]:
    match tag.kind:
        case Kind.Constant(expected_value=expected):
            return (expected,)
        case Kind.Enum(options=options):
            return options
        case _:
            return ()


def _type_asked_here(branch: Sequence[ValidationError], error: ValidationError) -> Sequence[str]:
    for each in branch:
        if isinstance(each.kind, Kind.Type) and each.instance_path == error.instance_path:
            return each.kind.types
    return ()


def _distance(branch: Sequence[ValidationError], error: ValidationError) -> tuple[bool, int, int, int]:
    """How far the value is from this branch: another type, another kind of thing by its tag, names, then the count."""
    ranks = [_rank(each) for each in branch]
    tags = sum(isinstance(each.kind, Kind.Constant | Kind.Enum) for each in branch)
    names = sum(rank in (MISSING, UNKNOWN) for rank in ranks)
    return bool(_type_asked_here(branch, error)), tags, names, len(branch)


# ---- one value, one sentence --------------------------------------------------------------------------------------


def _sentence(error: ValidationError, schema: Json) -> tuple[str, str]:
    """The problem and what is expected, of an error that concerns one value by itself."""
    value: Any = error.instance
    match error.kind:
        case Kind.Constant(expected_value=expected):
            return f"must be {clipped(_compact(expected))}", clipped(_compact(expected))
        case Kind.MinLength(limit=limit):
            return f"too short ({len(value)} < {limit} characters)", f"at least {_counted(limit, 'character')}"
        case Kind.MaxLength(limit=limit):
            return f"too long ({len(value)} > {limit} characters)", f"at most {_counted(limit, 'character')}"
        case Kind.MinItems(limit=limit):
            return f"too few items ({len(value)} < {limit})", f"at least {_counted(limit, 'item')}"
        case Kind.MaxItems(limit=limit):
            return f"too many items ({len(value)} > {limit})", f"at most {_counted(limit, 'item')}"
        case Kind.MinProperties(limit=limit):
            return f"too few fields ({len(value)} < {limit})", f"at least {_counted(limit, 'field')}"
        case Kind.MaxProperties(limit=limit):
            return f"too many fields ({len(value)} > {limit})", f"at most {_counted(limit, 'field')}"
        case Kind.Minimum(limit=limit):
            return f"too small ({shown(value)} < {limit})", f"at least {limit}"
        case Kind.Maximum(limit=limit):
            return f"too large ({shown(value)} > {limit})", f"at most {limit}"
        case Kind.ExclusiveMinimum(limit=limit):
            return f"too small ({shown(value)}; must be more than {limit})", f"more than {limit}"
        case Kind.ExclusiveMaximum(limit=limit):
            return f"too large ({shown(value)}; must be less than {limit})", f"less than {limit}"
        case Kind.MultipleOf(multiple_of=step):
            return f"not a multiple of {step}", f"a multiple of {step}"
        case Kind.Pattern(pattern=pattern):
            return f"does not match the pattern {clipped(pattern)}", f"pattern {clipped(pattern)}"
        case Kind.UniqueItems():
            return "has the same item twice", "each item once"
        case Kind.Contains():
            wanted = clipped(_compact(_wanted(error, schema)))
            return _contains(error, wanted), f"items that fit {wanted}"
        case Kind.FalseSchema():
            return "is not allowed here", "nothing"
        case Kind.UnevaluatedItems(unexpected=extra):
            return f"has {_counted(len(extra), 'item')} too many", "fewer items"
        case Kind.PropertyNames(error=inner):
            return f"has a field name {shown(inner.instance)} that is not allowed: {_sentence(inner, schema)[0]}", ""
        case Kind.Not(schema=excluded):
            return f"must not fit {clipped(_compact(excluded))}", ""
        case Kind.OneOfMultipleValid():
            return "fits more than one of the alternatives, and must fit exactly one", ""
        case _:
            # A kind that a newer validator has: its keyword, but not its message, which may repeat the whole value.
            return f"does not fit '{error.kind.name}'", ""


def _wanted(error: ValidationError, schema: Json) -> object:
    """What `contains` asks for; where that is a reference, what it means."""
    around = subschemas.at(schema, error.schema_path[:-1])
    wanted = subschemas.Subschema((), subschemas.at(around, ["contains"]))
    target = subschemas.Targets(schema).of(wanted)
    return target.content if target else around.get("contains")


def _contains(error: ValidationError, wanted: str) -> str:
    match error.schema_path[-1:]:
        case ["maxContains"]:
            return f"has too many items that fit {wanted}"
        case ["minContains"]:
            return f"has too few items that fit {wanted}"
        case _:
            return f"has no item that fits {wanted}"


# ---- what is repeated of a value ----------------------------------------------------------------------------------


def shown(value: object) -> str:
    """A value in at most 80 characters; of objects and arrays only how many they hold."""
    if isinstance(value, str):
        return clipped(json.dumps(clipped(value), ensure_ascii=False))
    if isinstance(value, dict):
        return f"an object with {_counted(len(cast('Json', value)), 'field')}"
    if isinstance(value, list):
        return f"an array of {_counted(len(cast('list[object]', value)), 'item')}"
    return clipped(_compact(value))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _compact(value: object) -> str:
    return msgspec.json.encode(value).decode()
