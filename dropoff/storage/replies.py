"""What comes back from the store, made into our records: a step's words, a hash's fields, an entry.

Everything from there is bytes, and numbers are text; here is the only place that knows it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import msgspec

from dropoff.core.caller import Revision
from dropoff.core.handoff import AgentName, Attempt, Handoff, HandoffId, QueueName
from dropoff.core.ledger import Entry
from dropoff.core.lifecycle import LEASED, State
from dropoff.core.queue import Queue
from dropoff.core.rejections import Rejection, What
from dropoff.errors import (
    AlreadySettled,
    ApprovalNeedsAnother,
    DigestDiffers,
    DropoffError,
    Frozen,
    HandoffMoved,
    HandoffSettled,
    HandoffUnknown,
    LeaseLost,
    NotAllowed,
    QueueDraining,
    QueueFull,
    QueueNotEmpty,
    RequestConflict,
    Unauthenticated,
)

Facts = dict[str, bytes]


class Reply(NamedTuple):
    """What a step answered."""

    word: str
    facts: Facts
    entry: Entry | None
    again: bool = False  # it was asked before, and its answer was lost


def facts_of(flat: Sequence[Any]) -> Facts:
    return {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}


def texts_of(flat: Sequence[Any]) -> dict[str, str]:
    return {name: value.decode() for name, value in facts_of(flat).items()}


def number(facts: Facts, name: str) -> int:
    return int(facts.get(name) or 0)


def made_entry(facts: Facts) -> Entry:
    """The entry; of one that the ledger has lost, its id and how the handoff stands now (`read_entry` in Lua)."""
    return msgspec.convert({name: value.decode() for name, value in facts.items()}, Entry)


def entry_of(id: bytes, fields: Sequence[bytes]) -> Entry:
    return made_entry({"id": id} | facts_of(fields))


def queue_of_record(rev: bytes, content: bytes) -> Queue:
    queue = msgspec.json.decode(content, type=Queue)
    return msgspec.structs.replace(queue, rev=Revision(rev.decode()))


def handoff_of(facts: Facts) -> Handoff:
    def text(name: str) -> str:
        return facts.get(name, b"").decode()

    return Handoff(
        id=HandoffId(text("id")),
        queue=QueueName(text("queue")),
        state=cast(State, text("state")),
        sender=AgentName(text("sender")),
        dropped_ms=number(facts, "dropped"),
        payload=facts.get("payload", b""),
        digest=text("digest"),
        schema=text("schema"),
        schema_hash=text("schema_hash"),
        note=text("note"),
        deliveries=number(facts, "deliveries"),
        failures=number(facts, "failures"),
        attempts_max=number(facts, "attempts_max"),
        holder=AgentName(text("holder")),
        fence=number(facts, "fence"),
        lease_ends_ms=number(facts, "lease_ends"),
        due_ms=number(facts, "due"),
        ended_ms=number(facts, "ended"),
        reason=text("reason"),
        progress=text("progress"),
        checkpoint=facts.get("checkpoint", b""),
        result=facts.get("result", b""),
        withdrawal_asked=bool(text("withdrawal_asked")),
        expires_ms=number(facts, "expires"),
        parent=text("parent"),
        next=text("next"),
        resubmit_of=text("resubmit_of"),
        attempts=msgspec.json.decode(facts["attempts"], type=tuple[Attempt, ...]) if facts.get("attempts") else (),
    )


def rejection_of(field: str, says: str) -> Rejection:
    """As `count_rejections` in Lua has written it."""
    schema, what, place = field.split(" ", 2)
    count, last = says.split(" ")
    return Rejection(schema=schema, what=cast(What, what), place=place, count=int(count), last_ms=int(last))


def refusal_of(facts: Facts, handoff_id: str) -> DropoffError:
    """The error that a step's refusal names. A code that is missing here is a fault of ours."""

    def text(name: str) -> str:
        return facts.get(name, b"").decode()

    match text("code"):
        case "frozen":
            return Frozen(agent=text("agent"))
        case "revoked":
            return Unauthenticated()
        case "last_admin":
            return NotAllowed(agent=text("by"), doing=f"end the authority of '{text('agent')}', the last admin")
        case "queue_full":
            return QueueFull(queue=text("queue"), waiting_max=number(facts, "waiting_max"), of_next="of" in facts)
        case "queue_draining":
            return QueueDraining(queue=text("queue"), reason=text("reason"), of_next="of" in facts)
        case "queue_not_empty":
            return QueueNotEmpty(queue=text("queue"), left=number(facts, "left"))
        case "handoff_moved":
            return HandoffMoved(handoff_id=handoff_id, state=text("state"), was=text("was"))
        case "approval_needs_another":
            return ApprovalNeedsAnother(handoff_id=handoff_id)
        case "digest_differs":
            return DigestDiffers(handoff_id=handoff_id, digest=text("digest"))
        case "request_conflict":
            return RequestConflict(handoff_id=text("handoff"))
        case "already_settled":
            return AlreadySettled(handoff_id=handoff_id, state=text("state"), at_ms=number(facts, "at"))
        case "lease_lost":
            ago_ms = max(number(facts, "now") - number(facts, "ended"), 0)
            whose = "by you under a newer lease" if text("again_by") == "you" else "by another agent"
            became = f"was picked up again {whose}" if text("state") == LEASED else f"is {text('state')}"
            return LeaseLost(
                ended_ago_ms=ago_ms,
                now=became,
                fence_now=number(facts, "fence"),
                handed_back=bool(text("by_mine")),
            )
        case "handoff_unknown":
            return HandoffUnknown(handoff_id=handoff_id)
        case "handoff_settled":
            return HandoffSettled(handoff_id=handoff_id, state=text("state"), at_ms=number(facts, "at"))
        case code:
            raise AssertionError(f"a step refused with '{code}', which has no error")
