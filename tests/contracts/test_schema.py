"""A schema is its content: the same content is the same schema, and a handoff is pinned to it."""

import hashlib
import json
from pathlib import Path

import pytest

from dropoff.contracts import lint
from dropoff.contracts.gate import Gates
from dropoff.contracts.schema import Schema, hash_of
from dropoff.core.refs import split_ref

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
