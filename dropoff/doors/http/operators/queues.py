"""Queues: in numbers, made, edited, paused, drained, opened, removed; and whether everything is frozen.

Who may operate a queue may see what came of it, so an act answers with the queue in numbers without another grant.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request

from dropoff.core.caller import EVERYONE, Principal, Standing
from dropoff.core.queue import QueueState
from dropoff.core.rejections import Rejection, What
from dropoff.doors.answers import iso
from dropoff.doors.house import House
from dropoff.doors.http.calls import Call
from dropoff.doors.http.operators.asked import Nothing, Why
from dropoff.doors.http.operators.schemas import SchemaMeaning, meaning_of
from dropoff.doors.http.shapes import Answer, Shape, Time
from dropoff.doors.http.table import Answering, Row
from dropoff.inspector import QueueView
from dropoff.operations import NewQueue

# ---- shapes -----------------------------------------------------------------------------------------------------


class QueueChanges(Shape, frozen=True, kw_only=True):
    """Settings of a queue as they shall be; what is absent stays.

    `schema` can be another version of the one it has. A version that does not take all that the present one takes is
    refused unless `incompatible` is true. An empty `result_schema`: from now on any object is a result. With `dry_run`
    nothing is changed.
    """

    schema: str | msgspec.UnsetType = msgspec.UNSET
    result_schema: str | msgspec.UnsetType = msgspec.UNSET
    incompatible: bool = False
    dry_run: bool = False
    purpose: str | msgspec.UnsetType = msgspec.UNSET
    lease_seconds: int | msgspec.UnsetType = msgspec.UNSET
    max_attempts: int | msgspec.UnsetType = msgspec.UNSET
    max_bytes: int | msgspec.UnsetType = msgspec.UNSET
    max_waiting: int | msgspec.UnsetType = msgspec.UNSET
    approval: bool | msgspec.UnsetType = msgspec.UNSET
    expires_seconds: int | msgspec.UnsetType = msgspec.UNSET
    retention_seconds: int | msgspec.UnsetType = msgspec.UNSET


class QueueAnswer(Answer, frozen=True, kw_only=True):
    """A queue in numbers, and its settings. `waiting_of`: how many wait of each version of its schema."""

    name: str
    waiting: int
    waiting_of: dict[str, int]
    leased: int
    scheduled: int
    held: int
    dead: int
    ended: int
    pickers: int
    oldest_seconds: int
    in_per_minute: float
    out_per_minute: float
    schema: str
    result_schema: str
    state: QueueState
    reason: str
    purpose: str
    lease_seconds: int
    max_attempts: int
    max_bytes: int
    max_waiting: int
    approval: bool
    expires_seconds: int
    retention_seconds: int


class EditedQueue(QueueAnswer, frozen=True, kw_only=True):
    """The queue as it is now; with `dry_run` as it would be, and what another version of its schema means."""

    dry_run: bool | msgspec.UnsetType = msgspec.UNSET
    means: SchemaMeaning | msgspec.UnsetType = msgspec.UNSET


class QueuesAnswer(Answer, frozen=True, kw_only=True):
    """With `frozen` nobody can take a step, whatever the queues say."""

    queues: list[QueueAnswer]
    frozen: bool
    frozen_reason: str


class RejectionShape(Answer, frozen=True, kw_only=True):
    """One fault: how many of the payloads that this schema rejected had it, and when last."""

    schema: str
    place: Annotated[str, Meta(description="Where the schema says it, as a JSON pointer; empty is its root.")]
    what: What
    count: int
    last: Time


class RejectionsAnswer(Answer, frozen=True, kw_only=True):
    """The newest version of the schema first, and of each what is wrong most often."""

    queue: str
    rejections: list[RejectionShape]


class RemovedQueue(Answer, frozen=True, kw_only=True):
    """`erased`: how many handoffs that had ended are forgotten with it."""

    queue: str
    erased: int


class FreezeAnswer(Answer, frozen=True, kw_only=True):
    """How it stands with everybody at once."""

    standing: Standing
    reason: str
    in_force: Literal["everywhere"] = "everywhere"


# ---- acts and reads ---------------------------------------------------------------------------------------------


async def _queues(house: House, call: Call, request: Request) -> QueuesAnswer:
    views = await house.inspector.queues(call.caller)
    everyone = await house.inspector.everyone(call.caller)
    return QueuesAnswer(
        queues=[_queue(view) for view in views],
        frozen=everyone.standing == "frozen",
        frozen_reason=everyone.reason,
    )


async def _one_queue(house: House, call: Call, request: Request) -> QueueAnswer:
    return _queue(await house.inspector.queue(call.caller, call.path["name"]))


async def _rejections(house: House, call: Call, request: Request) -> RejectionsAnswer:
    name = call.path["name"]
    found = await house.inspector.rejections(call.caller, name)
    return RejectionsAnswer(queue=name, rejections=[_rejection(one) for one in found])


async def _add_queue(house: House, call: Call, request: Request) -> QueueAnswer:
    return _queue(await house.inspector.in_numbers(await house.operations.add_queue(call.caller, call.given)))


async def _edit_queue(house: House, call: Call, request: Request) -> EditedQueue:
    name, wanted = call.path["name"], msgspec.structs.asdict(call.given)
    incompatible, dry_run = wanted.pop("incompatible"), wanted.pop("dry_run")
    changes = {setting: value for setting, value in wanted.items() if value is not msgspec.UNSET}
    means = None
    if dry_run:
        edited, means = await house.operations.try_edit(call.caller, name, changes)
    else:
        edited = await house.operations.edit_queue(call.caller, name, changes, incompatible=incompatible)
    queue = _queue(await house.inspector.in_numbers(edited))
    return EditedQueue(
        **msgspec.structs.asdict(queue),
        dry_run=dry_run or msgspec.UNSET,
        means=meaning_of(*means) if means else msgspec.UNSET,
    )


def _set_queue(state: QueueState) -> Answering:
    async def answer(house: House, call: Call, request: Request) -> QueueAnswer:
        reason = getattr(call.given, "reason", "")
        changed = await house.operations.set_queue(call.caller, call.path["name"], state, reason)
        return _queue(await house.inspector.in_numbers(changed))

    return answer


async def _remove_queue(house: House, call: Call, request: Request) -> RemovedQueue:
    name = call.path["name"]
    return RemovedQueue(queue=name, erased=await house.operations.remove_queue(call.caller, name))


async def _everyone(house: House, call: Call, request: Request) -> FreezeAnswer:
    return _frozen(await house.inspector.everyone(call.caller))


async def _freeze(house: House, call: Call, request: Request) -> FreezeAnswer:
    return _frozen(await house.operations.freeze(call.caller, EVERYONE, call.given.reason))


async def _thaw(house: House, call: Call, request: Request) -> FreezeAnswer:
    return _frozen(await house.operations.thaw(call.caller, EVERYONE, call.given.reason))


def _queue(view: QueueView) -> QueueAnswer:
    queue, figures = view.queue, view.figures
    return QueueAnswer(
        name=queue.name,
        waiting=figures.waiting,
        waiting_of=figures.waiting_of,
        leased=figures.leased,
        scheduled=figures.scheduled,
        held=figures.held,
        dead=figures.dead,
        ended=figures.ended,
        pickers=figures.pickers,
        oldest_seconds=figures.oldest_ms // 1_000,
        in_per_minute=figures.in_per_minute,
        out_per_minute=figures.out_per_minute,
        schema=queue.schema,
        result_schema=queue.result_schema,
        state=queue.state,
        reason=queue.reason,
        purpose=queue.purpose,
        lease_seconds=queue.lease_ms // 1_000,
        max_attempts=queue.attempts_max,
        max_bytes=queue.payload_bytes_max,
        max_waiting=queue.waiting_max,
        approval=queue.approval,
        expires_seconds=queue.expires_ms // 1_000,
        retention_seconds=queue.retention_ms // 1_000,
    )


def _rejection(one: Rejection) -> RejectionShape:
    return RejectionShape(schema=one.schema, place=one.place, what=one.what, count=one.count, last=iso(one.last_ms))


def _frozen(everyone: Principal) -> FreezeAnswer:
    return FreezeAnswer(standing=everyone.standing, reason=everyone.reason)


# ---- the rows ---------------------------------------------------------------------------------------------------

_NO_QUEUE: Final = ("queue_unknown",)

ROWS: Final = (
    Row("GET", "/v1/queues", "queue ls", "The queues that you may inspect, in numbers.",
        Nothing, QueuesAnswer, (), _queues),
    Row("POST", "/v1/queues", "queue add", "Make a queue. The same again is the same queue.",
        NewQueue, QueueAnswer, ("schema_unknown", "queue_exists"), _add_queue),
    Row("GET", "/v1/queues/{name}", "queue show", "One queue in numbers.",
        Nothing, QueueAnswer, _NO_QUEUE, _one_queue),
    Row("GET", "/v1/queues/{name}/rejections", "queue rejections", "What agents get wrong: the faults of payloads that "
        "were rejected, by place in the schema. Nothing of the payloads themselves is kept.",
        Nothing, RejectionsAnswer, _NO_QUEUE, _rejections),
    Row("POST", "/v1/queues/{name}/edit", "queue edit", "Change settings of a queue, in force on return; or say what "
        "that would mean.",
        QueueChanges, EditedQueue, (*_NO_QUEUE, "schema_unknown", "schema_incompatible"), _edit_queue),
    Row("POST", "/v1/queues/{name}/pause", "queue pause", "Work comes in, and none goes out.",
        Why, QueueAnswer, _NO_QUEUE, _set_queue("paused")),
    Row("POST", "/v1/queues/{name}/drain", "queue drain", "Work goes out, and none comes in.",
        Why, QueueAnswer, _NO_QUEUE, _set_queue("draining")),
    Row("POST", "/v1/queues/{name}/resume", "queue resume", "Open a queue that was paused or draining.",
        Nothing, QueueAnswer, _NO_QUEUE, _set_queue("open")),
    Row("POST", "/v1/queues/{name}/remove", "queue rm", "Remove a queue in which nothing goes on; what ended in it is "
        "forgotten at once.",
        Nothing, RemovedQueue, (*_NO_QUEUE, "queue_not_empty"), _remove_queue),
    Row("GET", "/v1/freeze", "freeze show", "Whether everything is frozen.",
        Nothing, FreezeAnswer, (), _everyone),
    Row("POST", "/v1/freeze", "freeze", "Stop everybody until thawed, in force on return. Operators can go on.",
        Why, FreezeAnswer, (), _freeze),
    Row("POST", "/v1/thaw", "thaw", "Let everybody go on; what is held has one whole lease time from now.",
        Why, FreezeAnswer, (), _thaw),
)  # fmt: skip
