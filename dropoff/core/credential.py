"""Long bearers: the credential of clients that can only send a header.

256 random bits, so that nobody can guess one and a plain SHA-256 is enough to keep; a slow hash is for passwords, which
people choose. Only the hash is stored. The first characters of the hash name the credential in the ledger.
"""

import base64
import hashlib
from typing import Final

PREFIX: Final = "dropoff_bearer_"  # so that a person, and a scanner for leaked secrets, knows what this is
BEARER_BYTES: Final = 32
ID_CHARS: Final = 16


def bearer(random: bytes) -> str:
    assert len(random) == BEARER_BYTES
    return PREFIX + base64.urlsafe_b64encode(random).rstrip(b"=").decode()


def hash_of(bearer: str) -> str:
    return hashlib.sha256(bearer.encode()).hexdigest()


def id_of(bearer_hash: str) -> str:
    """The credential's name, safe to write down."""
    return bearer_hash[:ID_CHARS]
