"""Contracts and pairs of them that Hypothesis draws, and payloads, in a vocabulary so small that they often meet."""

from copy import deepcopy
from typing import Any

from hypothesis import HealthCheck
from hypothesis import strategies as st

Json = dict[str, Any]

# What Hypothesis would complain of: schemas are large, and the lint refuses some.
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large, HealthCheck.large_base_example]

NAMES = st.sampled_from(["a", "b", "c"])
NUMBERS = st.sampled_from([-1, 0, 1, 2, 3, 0.5, 1.0, 2.5])
COUNTS = st.integers(0, 3)
WORDS = st.sampled_from(["", "a", "ab", "abc", "b"])
PATTERNS = st.sampled_from(["^a", "b", "^.{2}$"])
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS)
TYPES = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])

VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
PAYLOADS = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), VALUES, max_size=3)


def _keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """Any few keywords together, whether or not they make sense."""
    schemas = st.lists(inner, min_size=1, max_size=3)
    one_of_these = st.one_of(
        st.fixed_dictionaries({"type": st.one_of(TYPES, st.lists(TYPES, min_size=1, max_size=3, unique=True))}),
        st.fixed_dictionaries({"enum": st.lists(SCALARS, min_size=1, max_size=3, unique_by=repr)}),
        st.fixed_dictionaries({"const": VALUES}),
        *(
            st.fixed_dictionaries({each: NUMBERS})
            for each in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
        ),
        st.fixed_dictionaries({"multipleOf": st.sampled_from([1, 2, 3, 0.5])}),
        *(
            st.fixed_dictionaries({each: COUNTS})
            for each in ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
        ),
        st.fixed_dictionaries({"pattern": PATTERNS}),
        st.fixed_dictionaries({"uniqueItems": st.booleans()}),
        st.fixed_dictionaries({"items": inner}),
        st.fixed_dictionaries({"prefixItems": schemas}),
        st.fixed_dictionaries({"contains": inner}, optional={"minContains": COUNTS, "maxContains": COUNTS}),
        st.fixed_dictionaries({"properties": st.dictionaries(NAMES, inner, max_size=3)}),
        st.fixed_dictionaries({"patternProperties": st.dictionaries(PATTERNS, inner, max_size=2)}),
        st.fixed_dictionaries({"additionalProperties": inner}),
        st.fixed_dictionaries({"required": st.lists(NAMES, max_size=2, unique=True)}),
        st.fixed_dictionaries({"propertyNames": inner}),
        st.fixed_dictionaries(
            {"dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, max_size=2, unique=True), max_size=2)}
        ),
        st.fixed_dictionaries({"dependentSchemas": st.dictionaries(NAMES, inner, max_size=1)}),
        *(st.fixed_dictionaries({each: schemas}) for each in ("anyOf", "oneOf", "allOf")),
        st.fixed_dictionaries({"not": inner}),
        st.fixed_dictionaries({"if": inner}, optional={"then": inner, "else": inner}),
        st.fixed_dictionaries({"unevaluatedProperties": inner}),
        st.fixed_dictionaries({"unevaluatedItems": inner}),
        st.fixed_dictionaries({"$ref": st.sampled_from(["#", "#/$defs/one", "#/$defs/two"])}),
    )
    return st.lists(one_of_these, max_size=3).map(
        lambda some: {name: value for each in some for name, value in each.items()}
    )


SCHEMAS = st.recursive(st.one_of(st.booleans(), st.builds(dict)), _keywords, max_leaves=6)


@st.composite
def contracts(draw: st.DrawFn) -> Json:
    """A root that is an object, as the lint demands, and two schemas to refer to."""
    content = draw(_keywords(SCHEMAS)) | {"type": "object"}
    content.pop("$ref", None)
    return content | {"$defs": {"one": draw(SCHEMAS), "two": draw(SCHEMAS)}}


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Json, Json]:
    """An old and a new version: often the old one with a keyword gone, added or changed somewhere."""
    old = draw(contracts())
    if draw(st.integers(0, 4)) == 0:
        return old, draw(contracts())
    new = deepcopy(old)
    for _ in range(draw(st.integers(1, 2))):
        _change(draw, new)
    return (old, new) if draw(st.booleans()) else (new, old)


def _change(draw: st.DrawFn, content: Json) -> None:
    places = list(_objects(content))
    place = draw(st.sampled_from(places))
    if place and draw(st.booleans()):
        gone = draw(st.sampled_from(sorted(place)))
        if place is not content or gone not in ("type", "$defs"):
            del place[gone]
    else:
        added = draw(_keywords(SCHEMAS))
        place.update(
            {name: value for name, value in added.items() if place is not content or name not in ("type", "$ref")}
        )


def _objects(schema: Any) -> Any:
    if isinstance(schema, dict):
        yield schema
        for keyword in ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"):
            yield from _objects(schema.get(keyword))
        for keyword in ("properties", "patternProperties", "$defs", "dependentSchemas"):
            for each in schema.get(keyword, {}).values():
                yield from _objects(each)
        for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
            for each in schema.get(keyword, ()):
                yield from _objects(each)
