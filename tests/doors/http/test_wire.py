"""The files in schemas/wire say what the code does."""

import pytest

from tests import wire


def test_every_file_is_known_and_none_is_missing():
    assert {path.name for path in wire.FOLDER.iterdir()} == set(wire.files())


@pytest.mark.parametrize("name", wire.files())
def test_the_file_is_what_the_code_prints(name: str):
    """If the change on the wire is wanted, say so in the changelog and print the files anew."""
    there = (wire.FOLDER / name).read_text(encoding="utf-8")
    assert there == wire.files()[name], f"schemas/wire/{name} and the code differ. If that is right: {wire.COMMAND}"
