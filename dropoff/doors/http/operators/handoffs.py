"""Handoffs: listed, shown whole, judged, withdrawn, taken from a holder that hangs, put back as new ones."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request

from dropoff.core import lease as leases
from dropoff.core import limits
from dropoff.core.answers import Judged, Released
from dropoff.core.handoff import Handoff
from dropoff.core.lease import Lease
from dropoff.core.ledger import Entry, Receipt
from dropoff.core.lifecycle import FINAL, LEASED, SCHEDULED, State
from dropoff.core.requests import Withdraw
from dropoff.core.store import Judging
from dropoff.doors import answers
from dropoff.doors.answers import iso
from dropoff.doors.house import House
from dropoff.doors.http.agents_shapes import DropOffAnswer, WithdrawAnswer
from dropoff.doors.http.calls import Call
from dropoff.doors.http.operators.asked import Nothing, Why
from dropoff.doors.http.shapes import Answer, AttemptShape, Payload, Shape, Time
from dropoff.doors.http.table import Answering, Row
from dropoff.errors import ArgumentsInvalid, Problem

Reason = Annotated[str, Meta(max_length=limits.REASON_CHARS_MAX)]

# ---- shapes -----------------------------------------------------------------------------------------------------


class HandoffsQuery(Shape, frozen=True, kw_only=True):
    """Which handoffs; without a queue those of all that you may inspect, without a state the urgent ones first."""

    queue: str = ""
    state: Literal[
        "", "dead", "held", "leased", "waiting", "scheduled", "rejected", "expired", "withdrawn", "completed"
    ] = ""
    limit: Annotated[int, Meta(ge=1, le=500)] = 50


class Judgement(Shape, frozen=True, kw_only=True):
    """`digest`: of the payload that you have looked at, as `GET /v1/handoffs/{id}` shows it."""

    digest: str
    reason: Reason = ""


class Releasing(Shape, frozen=True, kw_only=True):
    """`lease_id`: the lease that you have looked at; a later one is not touched."""

    lease_id: str
    reason: Reason = ""


class HandoffAnswer(Shape, frozen=True, kw_only=True):
    """A handoff in a list."""

    handoff_id: str
    queue: str
    state: State
    from_agent: str
    dropped_off_at: Time
    attempt: int
    max_attempts: int
    deliveries: int
    schema: str
    held_by: str = ""
    lease_id: str = ""
    lease_ends_at: Time = ""
    due_at: Time = ""
    expires_at: Time = ""
    ended_at: Time = ""
    progress: str = ""
    reason: str = ""
    note: str = ""
    parent: str = ""
    next: str = ""
    resubmit_of: str = ""
    withdrawal_asked: bool = False


class HandoffsAnswer(Answer, frozen=True, kw_only=True):
    handoffs: list[HandoffAnswer]
    count: int


class WholeHandoff(HandoffAnswer, frozen=True, kw_only=True):
    """All that is known of one handoff: what came, what became of it, and every step of the way."""

    digest: str
    schema_hash: str
    entries: list[Entry]
    previous_attempts: list[AttemptShape] = []
    checkpoint: Payload = {}
    result: Payload | msgspec.UnsetType = msgspec.UNSET  # an empty result is one
    payload: Payload


class ChangedHandoff(Answer, frozen=True, kw_only=True):
    handoff_id: str
    state: State
    receipt: Receipt


# ---- acts and reads ---------------------------------------------------------------------------------------------


async def _every(house: House, call: Call, request: Request) -> HandoffsAnswer:
    wanted: HandoffsQuery = call.given
    found = await house.inspector.handoffs(call.caller, wanted.queue, wanted.state, wanted.limit)
    return HandoffsAnswer(handoffs=[HandoffAnswer(**_shown(handoff)) for handoff in found], count=len(found))


async def _one(house: House, call: Call, request: Request) -> WholeHandoff:
    handoff, entries = await house.inspector.handoff(call.caller, call.path["id"])
    return WholeHandoff(
        **_shown(handoff),
        digest=handoff.digest,
        schema_hash=handoff.schema_hash,
        entries=list(entries),
        previous_attempts=[
            AttemptShape(agent=one.agent, outcome=one.outcome, reason=one.reason, at=iso(int(one.at_ms)))
            for one in handoff.attempts
        ],
        checkpoint=msgspec.json.decode(handoff.checkpoint or b"{}"),
        result=msgspec.json.decode(handoff.result) if handoff.result else msgspec.UNSET,
        payload=msgspec.json.decode(handoff.payload),
    )


def _judge(verb: Judging) -> Answering:
    async def answer(house: House, call: Call, request: Request) -> ChangedHandoff:
        wanted: Judgement = call.given
        done = await house.operations.judge(call.caller, call.path["id"], verb, wanted.digest, wanted.reason)
        return _changed(done)

    return answer


async def _release(house: House, call: Call, request: Request) -> ChangedHandoff:
    handoff_id, wanted = call.path["id"], call.given
    lease = leases.parse(wanted.lease_id)
    if lease is not None and lease.handoff_id != handoff_id:
        other = Problem(path="lease_id", problem="names another handoff than the address", expected=f"{handoff_id}.…")
        raise ArgumentsInvalid(verb="handoff release", problems=(other,))
    return _changed(await house.operations.release(call.caller, wanted.lease_id, wanted.reason))


async def _withdraw(house: House, call: Call, request: Request) -> dict[str, Any]:
    asked = Withdraw(handoff_id=call.path["id"], reason=call.given.reason)
    return answers.withdrawn(await house.broker.withdraw(call.caller, asked)).with_receipt


async def _resubmit(house: House, call: Call, request: Request) -> dict[str, Any]:
    done = await house.broker.resubmit(call.caller, call.path["id"])
    answer = answers.dropped_off(done)
    return answer.content | {"receipt": answer.receipt}


def _changed(done: Judged | Released) -> ChangedHandoff:
    return ChangedHandoff(handoff_id=done.receipt.handoff_id, state=done.state, receipt=done.receipt)


def _shown(handoff: Handoff) -> dict[str, Any]:
    leased, over = handoff.state == LEASED, handoff.state in FINAL
    return {
        "handoff_id": handoff.id,
        "queue": handoff.queue,
        "state": handoff.state,
        "from_agent": handoff.sender,
        "dropped_off_at": iso(handoff.dropped_ms),
        "attempt": handoff.attempt,
        "max_attempts": handoff.attempts_max,
        "deliveries": handoff.deliveries,
        "schema": handoff.schema,
        "held_by": handoff.holder if leased else "",
        "lease_id": Lease(handoff.id, handoff.fence).id if leased else "",
        "lease_ends_at": iso(handoff.lease_ends_ms) if leased else "",
        "due_at": iso(handoff.due_ms) if handoff.state == SCHEDULED else "",
        "expires_at": iso(handoff.expires_ms) if handoff.expires_ms and not over else "",
        "ended_at": iso(handoff.ended_ms) if handoff.ended_ms else "",
        "progress": handoff.progress,
        "reason": handoff.reason,
        "note": handoff.note,
        "parent": handoff.parent,
        "next": handoff.next,
        "resubmit_of": handoff.resubmit_of,
        "withdrawal_asked": handoff.withdrawal_asked,
    }


# ---- the rows ---------------------------------------------------------------------------------------------------

_NO_HANDOFF: Final = ("handoff_unknown",)
_JUDGING: Final = (*_NO_HANDOFF, "handoff_moved", "digest_differs", "approval_needs_another")

ROWS: Final = (
    Row("GET", "/v1/handoffs", "handoff ls", "Handoffs by queue and state, the urgent ones first.",
        HandoffsQuery, HandoffsAnswer, ("queue_unknown",), _every),
    Row("GET", "/v1/handoffs/{id}", "handoff show", "All that is known of one handoff, with its ledger entries.",
        Nothing, WholeHandoff, _NO_HANDOFF, _one),
    Row("POST", "/v1/handoffs/{id}/approve", "handoff approve", "Let a held handoff go on, for the payload that you "
        "have looked at. Who dropped it off cannot.",
        Judgement, ChangedHandoff, _JUDGING, _judge("approve")),
    Row("POST", "/v1/handoffs/{id}/deny", "handoff deny", "End a held handoff as rejected.",
        Judgement, ChangedHandoff, _JUDGING, _judge("deny")),
    Row("POST", "/v1/handoffs/{id}/release", "handoff release", "Take work from a holder that hangs; it counts as "
        "nobody's failure.",
        Releasing, ChangedHandoff, (*_NO_HANDOFF, "handoff_moved", "lease_unknown"), _release),
    Row("POST", "/v1/handoffs/{id}/withdraw", "handoff withdraw", "Take a handoff back; while somebody holds it, its "
        "holder is asked.",
        Why, WithdrawAnswer, (*_NO_HANDOFF, "handoff_settled", "frozen"), _withdraw),
    Row("POST", "/v1/handoffs/{id}/resubmit", "handoff resubmit", "Put what has ended back as a new handoff that names "
        "the old. Said again: the same new one.",
        Nothing, DropOffAnswer,
        (*_NO_HANDOFF, "handoff_moved", "payload_invalid", "queue_draining", "queue_full"), _resubmit),
)  # fmt: skip
