"""A handoff: its id, what is dropped off, and the record of it.

An id carries its queue, so nothing needs an index: `research-8F3K2Q9T1MXK7A4B`, the queue and 80 bits in Crockford's
base32. With a request key the id is derived from agent, queue and key; so the record itself remembers the request, and
the same call made twice finds what the first one made. Without one the 80 bits are random: with a billion handoffs the
chance that any two meet is below one in a million.
"""

import hashlib
import re
from typing import Final, NewType

import msgspec

from dropoff.core.lifecycle import State

HandoffId = NewType("HandoffId", str)
QueueName = NewType("QueueName", str)
AgentName = NewType("AgentName", str)

NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?\Z")  # queues, agents, schemas
_BASE32: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford: no I, L, O, U
_ID: Final = re.compile(rf"(?P<queue>{NAME.pattern[:-2]})-(?P<unique>[{_BASE32}]{{16}})\Z")

UNIQUE_BYTES: Final = 10


def base32(number: int) -> str:
    """Crockford's base32, most significant digit first; `base32(0)` is "0"."""
    digits = ""
    while number:
        number, digit = divmod(number, 32)
        digits = _BASE32[digit] + digits
    return digits or "0"


def from_base32(text: str) -> int:
    """The number that `base32` wrote; ValueError for anything it would not have written."""
    number = 0
    for digit in text:
        number = number * 32 + _BASE32.index(digit)
    if base32(number) != text:
        raise ValueError(f"not base32: {text[:80]!r}")
    return number


def new_id(queue: QueueName, unique: bytes) -> HandoffId:
    assert len(unique) == UNIQUE_BYTES
    return HandoffId(f"{queue}-{base32(int.from_bytes(unique)).rjust(16, '0')}")


def derived_id(agent: AgentName, queue: QueueName, request_key: str) -> HandoffId:
    """The id that this agent's request key stands for in this queue. NUL cannot occur in names, so nothing overlaps."""
    digest = hashlib.sha256(f"{agent}\0{queue}\0{request_key}".encode()).digest()
    return new_id(queue, digest[:UNIQUE_BYTES])


def queue_of(handoff_id: str) -> QueueName | None:
    """The queue that an id names; None if it is no id at all."""
    match = _ID.match(handoff_id)
    return QueueName(match["queue"]) if match else None


class NewHandoff(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is dropped off, once it has been judged: everything the step needs that the queue does not know."""

    id: HandoffId
    queue: QueueName
    payload: bytes  # the canonical encoding, and no other
    salt: str
    digest: str  # SHA-256 of salt and payload: names the payload in the ledger, without telling what it is
    content: str  # SHA-256 of all that the caller asked for: the same request key must bring the same
    note: str = ""
    delay_ms: int = 0
    resubmit_of: str = ""  # the handoff that ended, and is put back as this new one


class Attempt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an earlier holder came to its end; the next one is told."""

    agent: AgentName
    outcome: str
    reason: str
    fence: str
    at_ms: str  # text, for it comes from Lua, which prints large numbers wrongly
    entry: str = ""
    request: str = ""  # of the holder's own call, so that it is answered again what it was answered
    content: str = ""


class Handoff(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A handoff as its record tells it."""

    id: HandoffId
    queue: QueueName
    state: State
    sender: AgentName
    dropped_ms: int
    payload: bytes
    digest: str
    schema: str
    schema_hash: str
    note: str = ""
    deliveries: int = 0
    failures: int = 0
    attempts_max: int = 0
    holder: AgentName = AgentName("")  # the last one; it holds only while the state is `leased`
    fence: int = 0
    lease_ends_ms: int = 0
    due_ms: int = 0
    ended_ms: int = 0
    reason: str = ""
    progress: str = ""
    checkpoint: bytes = b""
    result: bytes = b""
    withdrawal_asked: bool = False
    expires_ms: int = 0
    parent: str = ""  # the handoff whose completion dropped this one off
    next: str = ""  # the handoff that this one's completion dropped off
    resubmit_of: str = ""
    attempts: tuple[Attempt, ...] = ()

    @property
    def attempt(self) -> int:
        """Which attempt this is: failures count, deliveries do not."""
        return self.failures + 1


def digest_of(salt: str, payload: bytes) -> str:
    return hashlib.sha256(salt.encode() + payload).hexdigest()


def content_of(*parts: bytes | str | int) -> str:
    """One digest for all that a caller asked for; lengths stand between, so no two lists of parts agree by accident."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part if isinstance(part, bytes) else str(part).encode()
        digest.update(f"{len(raw)}:".encode())
        digest.update(raw)
    return digest.hexdigest()
