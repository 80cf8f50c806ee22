"""A schema: a name, a version, and content that never changes again.

`research@3` is what people say; the hash is what a handoff is pinned to. The hash names the canonical encoding, so the
same schema written with other white space or in another order is the same schema.
"""

import hashlib
import re
from typing import Any, Final

import msgspec

from dropoff.core import payload

_REF: Final = re.compile(r"(?P<name>[^@]+)(?:@(?P<version>[1-9][0-9]{0,8}))?\Z")


class Schema(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version of one contract. To be registered, its content has passed `lint.require`."""

    name: str
    version: int
    hash: str  # SHA-256 of `content`, in hex
    content: bytes  # the canonical encoding

    @classmethod
    def of(cls, name: str, version: int, content: object) -> "Schema":
        encoded = payload.canonical(content)
        return cls(name=name, version=version, hash=hash_of(encoded), content=encoded)

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.version}"

    def as_object(self) -> dict[str, Any]:
        return msgspec.json.decode(self.content, type=dict[str, Any])


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def split_ref(ref: str) -> tuple[str, int | None] | None:
    """`research@3` → ("research", 3); `research` → ("research", None), meaning the newest; None if it is neither."""
    match = _REF.match(ref)
    if not match:
        return None
    return match["name"], int(match["version"]) if match["version"] else None
