"""The data folder, and the operator's credential in it: whoever may read that file operates this installation."""

import os
import secrets
from pathlib import Path

from dropoff.core import credential, places
from dropoff.errors import StoreRefused


def private_folder(data: Path) -> None:
    """Make the data folder if it is not there; raise `StoreRefused` if it cannot be made or written to."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreRefused(
            f"The data folder {data} cannot be made: {error.strerror}. Name another with --data or DROPOFF_DATA."
        ) from error
    if not os.access(data, os.W_OK | os.X_OK):
        raise StoreRefused(f"The data folder {data} cannot be written to. Name another with --data or DROPOFF_DATA.")


def operator_credential(data: Path) -> str:
    """The bearer of this installation's operator: found in the data folder, or made, for its owner's eyes only."""
    path = data / places.OPERATOR_FILE
    try:
        if not path.exists():
            _make(path)
        bearer = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise StoreRefused(f"The operator's credential {path} cannot be kept: {error.strerror}.") from error
    if not bearer.startswith(credential.PREFIX):
        raise StoreRefused(f"{path} holds no operator's credential. Move it away; the next start makes a new one.")
    return bearer


def _make(path: Path) -> None:
    """Written under another name and then linked, so that it is there whole or not at all.

    Of two brokers that start together one wins, and the other finds.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(credential.bearer(secrets.token_bytes(credential.BEARER_BYTES)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass  # the other one was first
    finally:
        draft.unlink()
