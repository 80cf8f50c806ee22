"""The operator's credential in the data folder, made at the first start."""

import threading
from pathlib import Path

import pytest

from dropoff.errors import StoreRefused
from dropoff.process.data_folder import operator_credential


def test_it_is_made_once_for_its_owner_only(tmp_path: Path):
    made = operator_credential(tmp_path)
    file = tmp_path / "operator.bearer"
    assert file.stat().st_mode & 0o777 == 0o600
    assert operator_credential(tmp_path) == made
    assert [path.name for path in tmp_path.iterdir()] == ["operator.bearer"]


def test_two_first_starts_at_once_agree(tmp_path: Path):
    """One makes it, the other finds it; nobody reads half a file."""
    made: list[str] = []
    together = threading.Barrier(8)

    def start() -> None:
        together.wait(timeout=10)
        made.append(operator_credential(tmp_path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert len(made) == 8
    assert len(set(made)) == 1


def test_a_file_that_holds_something_else_is_not_replaced(tmp_path: Path):
    (tmp_path / "operator.bearer").write_text("my notes")
    with pytest.raises(StoreRefused, match="Move it away"):
        operator_credential(tmp_path)
    assert (tmp_path / "operator.bearer").read_text() == "my notes"
