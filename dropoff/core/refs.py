"""References to schemas: `research@3`, or `research` for the newest version of that name.

What is registered, and what queues and handoffs are pinned to, is always the first; people may write the second.
"""

import re
from collections.abc import Collection, Iterable
from typing import Final

_REF: Final = re.compile(r"(?P<name>[^@]+)(?:@(?P<version>[1-9][0-9]{0,8}))?\Z")


def split_ref(ref: str) -> tuple[str, int | None] | None:
    """`research@3` → ("research", 3); `research` → ("research", None), meaning the newest; None if it is neither."""
    match = _REF.match(ref)
    if not match:
        return None
    return match["name"], int(match["version"]) if match["version"] else None


def name_of(ref: str) -> str:
    """`research` of research@3."""
    return ref.rpartition("@")[0]


def version_of(ref: str) -> int:
    """3 of research@3."""
    return int(ref.rpartition("@")[2])


def newest(name: str, known: Iterable[str]) -> int:
    """The newest version of this name; 0 where there is none."""
    return max((version_of(ref) for ref in known if name_of(ref) == name), default=0)


def meant(ref: str, known: Collection[str]) -> str | None:
    """The one of the known versions that a reference means, if there is one."""
    split = split_ref(ref)
    if split is None:
        return None
    name, version = split
    found = f"{name}@{version or newest(name, known)}"
    return found if found in known else None
