"""A schema: a name, a version, and content that never changes again.

`research@3` is what people say; the hash is what a handoff is pinned to. The hash names the canonical encoding, so the
same schema written with other white space or in another order is the same schema.
"""

import hashlib
from typing import Any

import msgspec

from dropoff.core import payload
from dropoff.core.refs import name_of, version_of
from dropoff.core.store import Store
from dropoff.errors import SchemaUnknown


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


async def registered(store: Store, ref: str, hash: str) -> Schema:
    """The schema under this name and version, for its content may stand under others, too. Raises `SchemaUnknown`."""
    found = await store.schema(hash)
    if found is None:  # its key was lost; the same content pushed again puts it back
        raise SchemaUnknown(schema=ref, known=tuple(await store.schemas()))
    return Schema(name=name_of(ref), version=version_of(ref), hash=found.hash, content=found.content)
