"""Bounds come before any validator, and one encoding goes on."""

import contextlib
import json
import time
import tracemalloc
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropoff.core import limits, payload
from dropoff.errors import ArgumentsInvalid, PayloadInvalid, PayloadTooLarge, Problem

REFUSAL = partial(PayloadInvalid, schema="research@3")

NUMBERS = st.integers(-limits.INTEGER_MAX, limits.INTEGER_MAX) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=25,
)


def decode(raw: bytes, **settings: Any) -> Any:
    return payload.decode(raw, refusal=REFUSAL, **settings)


def bound(value: object, **settings: Any) -> None:
    payload.bound(value, refusal=REFUSAL, **settings)


def refused(raw: bytes, **settings: Any) -> Problem:
    with pytest.raises(PayloadInvalid) as refusal:
        decode(raw, **settings)
    (problem,) = refusal.value.problems
    return problem


def object_refused(value: object) -> Problem:
    with pytest.raises(PayloadInvalid) as refusal:
        bound(value)
    (problem,) = refusal.value.problems
    return problem


# ---- what is within bounds passes ---------------------------------------------------------------------------------


@given(VALUES, st.sampled_from([None, 2]), st.booleans())
def test_what_is_within_bounds_is_read_as_any_json_reader_reads_it(value: Any, indent: int | None, ascii_only: bool):
    raw = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()

    assert decode(raw) == json.loads(raw) == value
    bound(value)


@given(VALUES)
def test_the_canonical_encoding_says_the_same_and_is_its_own_canonical_encoding(value: Any):
    encoded = payload.canonical(value)

    assert json.loads(encoded) == value
    assert payload.canonical(decode(encoded, bytes_max=10**7)) == encoded


@given(st.dictionaries(TEXTS, NUMBERS, max_size=6), st.randoms())
def test_the_order_in_which_members_were_sent_does_not_show(members: dict[str, Any], shuffle: Any):
    pairs = list(members.items())
    shuffle.shuffle(pairs)

    assert payload.canonical(dict(pairs)) == payload.canonical(members)


def test_text_that_looks_like_structure_is_only_text():
    value = {"a": "[" * 1_000 + "{" * 1_000 + "," * 60_000, 'b":': 'say "b": 1, "b": 2', "c": '\\"'}

    assert decode(json.dumps(value).encode()) == value


def test_an_envelope_may_be_given_a_few_levels_more():
    raw = b'{"payload":' + b"[" * 64 + b"]" * 64 + b"}"

    refused(raw)
    bound(decode(raw, depth_max=66)["payload"])


# ---- size, depth, number ------------------------------------------------------------------------------------------


def test_ten_megabytes_are_refused_by_their_length_alone():
    with pytest.raises(PayloadTooLarge) as refusal:
        decode(b"[" * 10_000_000, queue="research")

    assert refusal.value.bytes == 10_000_000
    assert refusal.value.bytes_max == limits.PAYLOAD_BYTES_MAX == 262_144
    assert "'research'" in str(refusal.value)


def test_the_last_byte_that_fits_is_taken_and_one_more_is_not():
    raw = b'"' + b"x" * 98 + b'"'

    assert decode(raw, bytes_max=100) == "x" * 98
    bound("x" * 98, bytes_max=100)
    with pytest.raises(PayloadTooLarge):
        decode(raw, bytes_max=99)
    with pytest.raises(PayloadTooLarge):
        bound("x" * 98, bytes_max=99)


def test_sixty_four_levels_are_taken_and_one_more_is_not():
    assert decode(b"[" * 64 + b"]" * 64) is not None
    bound(nested(64))

    assert refused(b"[" * 65 + b"]" * 65).problem == "nests too deep (more than 64 levels)"
    assert object_refused(nested(65)).problem == "nests too deep (more than 64 levels)"


@pytest.mark.parametrize("opener", [b"[", b'{"a":', b'[{"a":['])
def test_a_hundred_thousand_levels_never_reach_a_parser(opener: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(payload, "_parse", lambda _: pytest.fail("was parsed"))

    assert "nests too deep" in refused(opener * 100_000, bytes_max=10**7).problem


def test_an_object_of_a_hundred_thousand_levels_is_refused_without_recursion():
    assert "nests too deep" in object_refused(nested(100_000)).problem


def test_an_object_that_contains_itself_is_refused():
    circle: list[Any] = []
    circle.append(circle)
    fan: list[Any] = []
    fan += [fan] * 10

    assert "nests too deep" in object_refused(circle).problem
    assert "too many values" in object_refused(fan).problem


def test_fifty_thousand_values_are_taken_and_one_more_is_not(monkeypatch: pytest.MonkeyPatch):
    most = [0] * (limits.PAYLOAD_VALUES_MAX - 1)  # the array is a value too
    assert decode(json.dumps(most).encode()) == most
    bound(most)
    assert len(decode(b"[" + b"[]," * 49_998 + b"[]]")) == 49_999

    assert "too many values" in object_refused([*most, 0]).problem
    assert "too many values" in object_refused({str(each): each for each in range(50_000)}).problem
    monkeypatch.setattr(payload, "_parse", lambda _: pytest.fail("was parsed"))
    assert "too many values" in refused(json.dumps([*most, 0]).encode()).problem


@given(st.lists(VALUES, max_size=5))
def test_the_outline_of_a_text_has_as_many_values_as_its_object(value: list[Any]):
    raw = json.dumps(value, indent=1).encode()

    assert payload._follow_outline(raw, 64) == count(value)


@pytest.mark.parametrize(
    "bomb",
    [
        b'{"v":{' + b'"a":1,' * 1_300_000 + b'"b":1}}',
        b"[" + b'"",' * 2_600_000 + b'""]',
        b'{"v":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
        b'{"a":"' + b'\\"[,' * 2_000_000 + b'"}',
        b'{"a":"' + b"[," * 4_000_000,
    ],
)
def test_8_mb_are_refused_or_read_without_filling_the_memory(bomb: bytes):
    """A batch may have as many. The text is copied once or twice; to write its outline down took thirty times its size.

    Seconds of this process: what others take of the machine meanwhile is no matter.
    """
    tracemalloc.start()
    began = time.process_time()
    with contextlib.suppress(ArgumentsInvalid):
        payload.decode(bomb, refusal=partial(ArgumentsInvalid, verb="batch"), root="", bytes_max=1 << 23)
    took_s, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert took_s < 0.4
    assert peak < 3 * len(bomb) + 8_000_000


# ---- what JSON readers do not agree on ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"a" : 1,\n"b": {}, "a"\t: 2}',
        b'{"x":[{"y":{"a":1,"a":2}}]}',
        b'{"":1,"":2}',
        b'{"x":"\\":","a":1,"a":2}',
    ],
)
def test_a_key_that_stands_twice_is_refused(raw: bytes):
    assert "twice" in refused(raw).problem


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4), st.data())
def test_a_repeated_key_is_found_wherever_it_stands(members: dict[str, Any], data: st.DataObject):
    again = data.draw(st.sampled_from(sorted(members)))
    pairs = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in [*members.items(), (again, None)]]

    assert "twice" in refused(f'[[], {{"around": {{{", ".join(pairs)}}}}}]'.encode()).problem


@pytest.mark.parametrize("number", ["9007199254740992", "-9007199254740992", "9" * 17, "9" * 25, "9" * 5_000])
def test_an_integer_that_javascript_would_round_is_refused(number: str):
    problem = refused(f'{{"n":{number}}}'.encode()).problem

    assert "integer beyond" in problem or "number that JSON readers do not agree on" in problem


def test_the_largest_integers_are_taken():
    for number in (2**53 - 1, 1 - 2**53):
        assert decode(str(number).encode()) == number
        bound(number)


@pytest.mark.parametrize("raw", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b'[{"a":NaN}]'])
def test_what_is_no_finite_number_is_refused(raw: bytes):
    refused(raw)


@pytest.mark.parametrize(
    "raw",
    [b'"\\ud800"', b'"\\udc00"', b'"\\ud800\\u0041"', b'{"\\ud800":1}', b'"\xed\xa0\x80"', b'"\xff"', b'{"\xff":1}'],
)
def test_what_is_not_valid_utf_8_is_refused(raw: bytes):
    refused(raw)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[1,]", b"01", b"1 2", b"\xef\xbb\xbf{}", b"'a'", b"nul", b'"a\nb"', b"{}\0"]
)
def test_what_is_not_json_is_refused(raw: bytes):
    assert refused(raw).problem.startswith("is not JSON")


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_and_nothing_else_happens(raw: bytes):
    try:
        value = decode(raw)
    except PayloadInvalid:
        return
    assert json.loads(raw) == value


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, {"b": 2**53}]}, "payload.a[1].b"),
        ({"a": [float("nan")]}, "payload.a[0]"),
        ([float("inf"), float("-inf")], "payload[0]"),
        ({"a": "\ud800"}, "payload.a"),
        ({"a": {"\udfff": 1}}, "payload.a"),
        ({"a": {1: 2}}, "payload.a"),
        ({"a": (1, 2)}, "payload.a"),
        ({"two words": {1, 2}}, 'payload["two words"]'),
        ({"a": b"raw"}, "payload.a"),
        pytest.param(10**5_000, "payload", id="5,000 digits"),  # too long for Python to print
    ],
)
def test_an_object_that_is_not_json_is_refused_and_its_place_is_named(value: object, path: str):
    assert object_refused(value).path == path


# ---- how it is said -----------------------------------------------------------------------------------------------


def test_what_nobody_has_judged_has_its_one_encoding_or_none():
    """However large it is; and where no queue could take it, whatever its settings, it is no encoding of anything."""
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"in": deep}
    large = {"text": "x" * limits.PAYLOAD_BYTES_MAX}
    assert payload.encoded(large) == payload.canonical(large)
    assert [payload.encoded(one) for one in (deep, {"n": 2**60}, {"n": float("nan")}, {"text": "\ud800"})] == [b""] * 4
    while deep:  # in steps: at once it would be as deep a recursion
        deep = deep["in"]


def test_a_problem_can_always_be_sent_and_repeats_little_of_the_payload():
    half = "\ud800" + "k" * 5_000

    problem = object_refused({half: {half: 2**60}})

    assert len(problem.path) < 300
    assert msgspec.json.encode(problem)


def test_a_path_begins_with_the_callers_word_or_with_the_field():
    assert payload.path_of("result", ("a", 0, "b-c", "d.e", 'f"')) == 'result.a[0].b-c["d.e"]["f\\""]'
    assert payload.path_of("", ("queue", 1)) == "queue[1]"
    assert payload.path_of("", ()) == "arguments"


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def count(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(count(each) for each in inner)


def test_a_path_never_repeats_more_than_80_characters():
    """Names of fields are the sender's text, too, and a path may have sixty of them."""
    path = payload.path_of("payload", ["secret" * 5] * 60)
    assert len(path) <= payload.SHOWN_CHARS_MAX
    assert path.startswith("payload.")
