"""A schema is its content: the same content is the same schema, and a handoff is pinned to it."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropoff.contracts import lint
from dropoff.contracts.gate import Gates
from dropoff.contracts.schema import Schema, hash_of, split_ref
from dropoff.core.handoff import NAME

PAYLOADS = Path(__file__).parents[2] / "schemas" / "payloads"


def test_a_schema_is_named_by_the_hash_of_its_canonical_encoding():
    schema = Schema.of("research", 3, {"type": "object", "$comment": "é"})

    assert schema.ref == "research@3"
    assert schema.content == '{"$comment":"é","type":"object"}'.encode()
    assert schema.hash == hashlib.sha256(schema.content).hexdigest() == hash_of(schema.content)
    assert schema.as_object() == {"type": "object", "$comment": "é"}


def test_white_space_and_order_make_no_new_schema():
    one = Schema.of("research", 1, json.loads('{"type": "object", "required": ["a"]}'))
    other = Schema.of("drafts", 7, json.loads('{"required":["a"],"type":"object"}'))
    third = Schema.of("research", 1, json.loads('{"required":["b"],"type":"object"}'))

    assert one.hash == other.hash != third.hash


@given(st.from_regex(NAME, fullmatch=True), st.integers(1, 999_999))
def test_a_reference_is_read_as_it_was_written(name: str, version: int):
    assert split_ref(Schema.of(name, version, {}).ref) == (name, version)
    assert split_ref(name) == (name, None)


@pytest.mark.parametrize("ref", ["", "@", "@1", "a@", "a@0", "a@01", "a@-1", "a@1@2", "a@x", "a@1\n"])
def test_what_is_no_reference_is_not_read(ref: str):
    assert split_ref(ref) is None


@pytest.mark.parametrize("file", sorted(PAYLOADS.glob("*.json")), ids=lambda file: file.stem)
def test_the_contracts_we_ship_are_contracts_and_their_examples_fit(file: Path):
    reference = split_ref(file.stem)
    assert reference is not None
    name, version = reference
    content = json.loads(file.read_text())

    lint.require(name, content)
    gate = Gates().of(Schema.of(name, version or 0, content))
    assert content["examples"]
    for example in content["examples"]:
        assert gate.judge(example) == ()
    assert gate.judge({**content["examples"][0], "surprise": 1})
