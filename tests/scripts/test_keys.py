"""The table of keys: each key is explained as what it was made as, and all of a partition lie on one node."""

import pytest

from dropoff.storage.keys import KINDS, Keys

HOLES = ("queue", "version", "id", "minute", "agent", "request", "hash", "type")


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_explained_as_what_it_was_made_as(kind: str):
    """Also with the queerest names that are allowed."""
    keys = Keys(prefix="t")

    assert keys.explain(keys.of(kind, **dict.fromkeys(HOLES, "a.b-c_d"))) == KINDS[kind]


@pytest.mark.parametrize("key", ["t:{p0}:", "t:{p0}:other", "t:{p1}:gate", "s:{p0}:gate", "t:{p0}:q:a:other", "gate"])
def test_a_key_of_nobody_is_not_explained(key: str):
    assert Keys(prefix="t").explain(key) is None


def test_all_keys_of_a_partition_share_its_tag():
    """So they lie on one node of a cluster, and a step is atomic there."""
    keys = Keys()

    made = {keys.of(kind, **dict.fromkeys(HOLES, "x")) for kind in KINDS}

    assert {key.partition("}")[0] for key in made} == {"dropoff:{p0"}
