"""The agents' rows: each verb of `doors/verbs.py` as a POST with the same arguments that the tool takes.

The answer is the tool's, with the receipt beside it. A call that waits is watched: when its client hangs up, it stops
waiting, so that no work is leased to somebody who has left.
"""

from typing import Any, Final

from starlette.requests import Request

from dropoff.doors import verbs
from dropoff.doors.house import House
from dropoff.doors.http import agents_shapes as shapes
from dropoff.doors.http.calls import Call
from dropoff.doors.http.table import Row
from dropoff.doors.leaving import require_here, while_here
from dropoff.doors.verbs import AgentVerb

ANSWERS: Final[dict[str, Any]] = {
    "drop_off": shapes.DropOffAnswer,
    "pick_up": shapes.PickUpAnswer,
    "complete": shapes.CompleteAnswer,
    "hand_back": shapes.HandBackAnswer,
    "extend": shapes.ExtendAnswer,
    "check": shapes.CheckAnswer,
    "withdraw": shapes.WithdrawAnswer,
    "describe": shapes.DescribeAnswer,
}

_LEASE: Final = ("lease_unknown", "lease_lost", "already_settled", "frozen", "request_conflict")
_DROP: Final = ("queue_unknown", "queue_full", "queue_draining")

ERRORS: Final[dict[str, tuple[str, ...]]] = {
    "drop_off": ("payload_invalid", *_DROP, "frozen", "request_conflict", "storage_full"),
    "pick_up": ("queue_unknown", "frozen"),
    "complete": ("result_invalid", "next_invalid", *_DROP, *_LEASE),
    "hand_back": _LEASE,
    "extend": _LEASE,
    "check": ("handoff_unknown", "frozen"),
    "withdraw": ("handoff_unknown", "handoff_settled", "frozen"),
    "describe": ("queue_unknown",),
}


def rows() -> list[Row]:
    return [_row(verb) for verb in verbs.VERBS]


def _row(verb: AgentVerb) -> Row:
    async def answer(house: House, call: Call, request: Request) -> dict[str, Any]:
        work = verb.call(house.broker, call.caller, call.given, call.key)
        waits = verb.waits and call.given.wait_seconds
        answered = await (while_here(request.receive, work) if waits else work)
        await require_here(request.receive, house.broker, answered.taken)
        return answered.with_receipt

    return Row(
        method="POST",
        path=f"/v1/{verb.path}",
        name=verb.path,
        summary=verb.description,
        takes=verb.request,
        gives=ANSWERS[verb.path],
        errors=ERRORS[verb.path],
        answer=answer,
        keyed=True,
    )
