"""What callers hear: the broker's answers as JSON, the same through every door.

Absent rather than null; times in ISO 8601 UTC to the second; `payload` last, so that ids survive where a client cuts
long text. The sender is named as it was proved (`from_agent`).
"""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from dropoff.broker import Description, Found, NothingToPickUp
from dropoff.contracts.gate import example
from dropoff.core.answers import Completed, DroppedOff, Extended, HandedBack, PickedUp, Withdrawn
from dropoff.core.handoff import Handoff, queue_of
from dropoff.core.ledger import Receipt
from dropoff.core.lifecycle import FINAL, HELD, LEASED, SCHEDULED
from dropoff.core.requests import HandBack
from dropoff.errors import DropoffError

Content = dict[str, Any]

REFUSED: Final = "refused"


class Answer(msgspec.Struct, frozen=True):
    """What a verb answers: its content, and the receipt of the step where there was one."""

    content: Content
    receipt: Receipt | None = None
    taken: tuple[PickedUp, ...] = ()  # the work that it brings; it goes back if nobody is there to hear this

    @property
    def with_receipt(self) -> Content:
        """The content, and the receipt beside it."""
        return self.content | ({"receipt": self.receipt} if self.receipt else {})


def refused(error: DropoffError) -> Content:
    """A refusal where an answer would stand."""
    return {"status": REFUSED, "error": msgspec.to_builtins(error.record())}


def iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def dropped_off(done: DroppedOff) -> Answer:
    queue = queue_of(done.receipt.handoff_id)
    content: Content = {
        "status": "held" if done.state == HELD else "dropped_off",
        "handoff_id": done.receipt.handoff_id,
        "queue": queue,
        "ahead_of_it": done.ahead_of_it,
        "pickers": done.pickers,
    }
    if done.state == HELD:
        content["hint"] = "A person must approve it before anybody gets it; check_handoff tells. Do not send it again."
    elif done.state == SCHEDULED:
        content["scheduled"] = True
    elif not done.pickers:
        content["warning"] = f"Nobody has picked up from '{queue}' in the last 5 minutes. It waits all the same."
    return Answer(content, done.receipt)


def picked_up(picked: PickedUp | NothingToPickUp) -> Answer:
    if isinstance(picked, NothingToPickUp):
        why = "An operator has paused this work." if picked.paused else "No work now."
        hint = f"{why} End your turn unless you were told to keep waiting."
        return Answer({"status": "nothing_to_pick_up", "hint": hint} | ({"paused": True} if picked.paused else {}))
    handoff = picked.handoff
    content: Content = {
        "status": "picked_up",
        "lease_id": picked.lease.id,
        "handoff_id": handoff.id,
        "queue": handoff.queue,
        "schema": handoff.schema,
        "from_agent": handoff.sender,
        "dropped_off_at": iso(handoff.dropped_ms),
        "attempt": handoff.attempt,
        "max_attempts": handoff.attempts_max,
        "lease_ends_at": iso(handoff.lease_ends_ms),
        "note": handoff.note,
        "waiting": picked.waiting,
        "previous_attempts": _attempts(handoff),
        "checkpoint": _json(handoff.checkpoint),
        "payload": _json(handoff.payload),
    }
    return Answer(_present(content), picked.receipt, (picked,))


def picked_up_several(found: Found) -> Answer:
    """Each as if it had been picked up alone."""
    if isinstance(found, NothingToPickUp):
        return Answer(picked_up(found).content | {"handoffs": []})
    return Answer({"status": "picked_up", "handoffs": [picked_up(one).with_receipt for one in found]}, None, found)


def completed(done: Completed) -> Answer:
    content = {"status": "completed", "handoff_id": done.receipt.handoff_id, "next_handoff_id": done.next_id}
    return Answer(_present(content), done.receipt)


def handed_back(done: HandedBack, request: HandBack) -> Answer:
    content = {
        "status": "handed_back",
        "handoff_id": done.receipt.handoff_id,
        "outcome": request.outcome,
        "state": done.state,
        "attempts_left": 0 if done.state in FINAL else done.attempts_left,
    }
    return Answer(content, done.receipt)


def extended(done: Extended) -> Answer:
    content = {
        "status": "extended",
        "handoff_id": done.receipt.handoff_id,
        "lease_ends_at": iso(done.lease_ends_ms),
        "withdrawal_asked": done.withdrawal_asked,
    }
    if done.withdrawal_asked:
        content["hint"] = "The sender wants this back. Stop, and call hand_back with outcome not_for_me."
    return Answer(content, done.receipt)


def found(handoff: Handoff) -> Answer:
    """A handoff as its sender sees it: how it stands, and its outcome."""
    content: Content = {
        "status": "found",
        "handoff_id": handoff.id,
        "queue": handoff.queue,
        "state": handoff.state,
        "attempt": handoff.attempt,
        "max_attempts": handoff.attempts_max,
        "dropped_off_at": iso(handoff.dropped_ms),
        "held_by": handoff.holder if handoff.state == LEASED else "",
        "lease_ends_at": iso(handoff.lease_ends_ms) if handoff.state == LEASED else "",
        "due_at": iso(handoff.due_ms) if handoff.state == SCHEDULED else "",
        "ended_at": iso(handoff.ended_ms) if handoff.ended_ms else "",
        "progress": handoff.progress if handoff.state == LEASED else "",
        "reason": handoff.reason,
        "previous_attempts": _attempts(handoff),
        "result": _json(handoff.result),
    }
    return Answer(_present(content))


def withdrawn(done: Withdrawn) -> Answer:
    content: Content = {"status": "withdrawn", "handoff_id": done.receipt.handoff_id}
    if done.state == LEASED:
        content["status"] = "withdrawal_asked"
        content["hint"] = "Somebody holds it. The holder learns of it at its next extend_lease; check_handoff tells."
    return Answer(content, done.receipt)


def described(queues: list[Description]) -> Answer:
    shown = [_description(one) for one in queues]
    hint = "" if shown else "You have no queue. Tell your operator which one you need."
    return Answer(_present({"status": "described", "hint": hint, "count": len(shown), "queues": shown}))


def _description(one: Description) -> Content:
    schema, result_schema = one.schema, one.result_schema
    return _present(
        {
            "queue": one.queue.name,
            "you_may": list(one.may),
            "purpose": one.queue.purpose,
            "schema_name": one.queue.schema,
            "lease_seconds": one.queue.lease_ms // 1_000,
            "max_attempts": one.queue.attempts_max,
            "max_bytes": one.queue.payload_bytes_max,
            "example": example(schema) if schema else None,
            "schema": schema.as_object() if schema else None,
            "result_schema_name": one.queue.result_schema,
            "result_schema": result_schema.as_object() if result_schema else None,
            "hint": _lost(one),
        }
    )


def _lost(one: Description) -> str:
    """Which of its schemas the store has lost: nothing can be dropped off by it, or completed, until it is back."""
    pinned = ((one.queue.schema, one.schema), (one.queue.result_schema, one.result_schema))
    lost = " and ".join(f"'{ref}'" for ref, schema in pinned if ref and schema is None)
    return (
        f"The store has lost the content of schema {lost}. Tell your operator, who can push it again." if lost else ""
    )


def _attempts(handoff: Handoff) -> list[Content]:
    return [
        _present({"agent": one.agent, "outcome": one.outcome, "reason": one.reason, "at": iso(int(one.at_ms))})
        for one in handoff.attempts
    ]


def _json(raw: bytes) -> Any:
    return msgspec.json.decode(raw) if raw else None


def _present(content: Content) -> Content:
    """Without what there is nothing to say about. Zero and false are something; an empty object may be a result."""
    return {name: value for name, value in content.items() if value is not None and value not in ("", [])}
