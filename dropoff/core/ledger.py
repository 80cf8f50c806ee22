"""The ledger: what a step writes down about itself, and the receipt that its caller gets.

One entry a step, appended by the same atomic script that makes the change: neither can be without the other. An entry
tells step, actor and credential, the revisions presented, the handoff with its own counter and previous entry, fence,
lease end, time, the payload's salted digest, the schema's hash, a reason. It never holds a payload.

The ledger is hashed outside the store, later. What is fixed now is the line that will be hashed, `line()`: the entry as
canonical JSON, its id first among its fields by name. `leaf()` is the RFC 9162 leaf of that line, so a receipt handed
out today names the very leaf that the tree will hold.
"""

import hashlib
from typing import Literal

import msgspec

from dropoff.core.handoff import HandoffId

Durability = Literal["memory", "fsynced"]


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"from_": "from"}):
    """One step, as written down. All values are text: Lua would print large numbers wrongly."""

    id: str
    step: str = ""  # only an entry that the store has lost lacks these three
    at: str = ""
    actor: str = ""
    credential: str = ""
    revs: str = ""  # "scout=1763648400123": each principal presented, at which revision
    handoff: str = ""
    queue: str = ""
    from_: str = ""
    to: str = ""
    n: str = ""  # the handoff's own counter: 1 for its first entry
    prev: str = ""  # the handoff's previous entry
    fence: str = ""
    lease_ends: str = ""
    digest: str = ""
    schema: str = ""
    parent: str = ""  # drop_off: the handoff whose completion dropped this one off
    resubmit_of: str = ""  # drop_off: the handoff that ended, and is put back
    failures: str = ""
    reason: str = ""
    trace: str = ""
    agent: str = ""  # gate: whose standing changed
    rev: str = ""
    standing: str = ""  # gate: active, frozen or revoked; put_queue: open, paused or draining


class Receipt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What proves a step to its caller: where the entry stands, and how safely."""

    handoff_id: HandoffId
    log: str
    entry: str
    leaf: str
    durability: Durability


def line(entry: Entry) -> bytes:
    """The bytes that are hashed, archived and verified: canonical JSON, no line end."""
    return msgspec.json.encode(entry, order="sorted")


def leaf(entry: Entry) -> str:
    """The leaf of the entry's line (RFC 9162: a zero byte stands before a leaf, a one before a node)."""
    return hashlib.sha256(b"\0" + line(entry)).hexdigest()
