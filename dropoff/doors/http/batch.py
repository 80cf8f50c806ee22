"""Many calls in one request: each with its own answer and its own request key.

    settle and look     complete, hand_back, extend, withdraw, check, describe
    then drop off
    then pick up

What ends work comes first, so that one request settles what a worker holds and brings it the next. The calls of one
wave run side by side: the store gets them in one pipeline, and one fsync serves them all. The answers stand in the
order of the calls. What one call is refused is its own answer, `{"status":"refused","error":…}`, and touches no other.

The request as a whole is refused for what concerns it as a whole: who calls, what is no JSON, more than 8 MB or 50,000
values, more than 100 calls, more than 100 handoffs to be picked up. 8 MB are thirty payloads of the largest kind, or a
hundred of 80 kB; they are cut before any parser sees them.

A pick_up of a batch may say `at_most`: it waits for the first handoff, takes with it what else is there by then, and
answers with all of them as `handoffs`, each as if it had been picked up alone.
"""

import asyncio
import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple, cast

from msgspec import Meta
from starlette.requests import Request

from dropoff.broker import Broker
from dropoff.core import limits
from dropoff.core.caller import Caller
from dropoff.core.payload import clipped
from dropoff.core.requests import PickUp
from dropoff.doors import answers, beside, verbs
from dropoff.doors.answers import Answer, Content
from dropoff.doors.forms import form_of
from dropoff.doors.house import House
from dropoff.doors.http import problems
from dropoff.doors.http.calls import Call
from dropoff.doors.http.shapes import Answer as AnswerShape
from dropoff.doors.http.shapes import Payload, Shape
from dropoff.doors.http.table import Row
from dropoff.doors.leaving import CallerLeftError, require_here, while_here
from dropoff.doors.verbs import AgentVerb
from dropoff.errors import ArgumentsInvalid, DropoffError, Problem, Unauthenticated

NAME: Final = "batch"
BATCH_BYTES_MAX: Final = 8 * 2**20
LATER: Final = ("drop_off", "pick_up")  # each a wave of its own, in this order, after all others

# ---- shapes -----------------------------------------------------------------------------------------------------


class BatchCall(Shape, frozen=True, kw_only=True):
    """One call: the verb as it stands in its address, its arguments, its request key."""

    verb: str
    arguments: Payload = {}
    key: str = ""


class Batch(Shape, frozen=True, kw_only=True):
    calls: Annotated[list[BatchCall], Meta(max_length=limits.BATCH_CALLS_MAX)]


class BatchAnswer(AnswerShape, frozen=True, kw_only=True):
    """In the order of the calls: what each verb answers, or `refused` with its error."""

    answers: list[Content]


class _Outline(Shape, frozen=True, kw_only=True):
    calls: Annotated[list[Any], Meta(max_length=limits.BATCH_CALLS_MAX)]


class PickUpSeveral(PickUp, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `pick_up` that takes what else is there, up to so many."""

    at_most: Annotated[int, Meta(ge=1, le=limits.PICKED_AT_ONCE_MAX)]


async def _pick_up_several(broker: Broker, caller: Caller, request: PickUpSeveral, key: str) -> Answer:
    wanted = PickUp(queue=request.queue, wait_seconds=request.wait_seconds, accepts=request.accepts)
    return answers.picked_up_several(await broker.pick_up_several(caller, wanted, request.at_most, key))


# ---- what is asked ----------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """One call, understood."""

    verb: AgentVerb
    request: Any
    key: str


Understood = Asked | DropoffError


def _understood(given: Mapping[str, Any]) -> list[Understood]:
    """Every call, or why it is none. Raises `ArgumentsInvalid` for what is wrong with all of them together."""
    calls = given.get("calls")
    outline = dict(given) | ({"calls": [0] * len(cast("list[Any]", calls))} if isinstance(calls, list) else {})
    form_of(_Outline).read(outline, NAME)
    asked = [_one(call) for call in cast("list[Any]", calls)]
    picks = sum(
        getattr(one.request, "at_most", 1) for one in asked if isinstance(one, Asked) and one.verb.path == "pick_up"
    )
    if picks > limits.PICKED_AT_ONCE_MAX:
        raise _invalid("calls", f"pick up {picks} handoffs in all (more than {limits.PICKED_AT_ONCE_MAX})")
    return asked


def _one(given: object) -> Understood:
    try:
        if not isinstance(given, dict):
            raise _invalid("call", "not an object", "a JSON object")
        call: BatchCall = form_of(BatchCall).read(cast("dict[str, Any]", given), NAME)
        verb = verbs.by_path(call.verb)
        if verb is None:
            raise _no_verb(call.verb)
        if verb.path == "pick_up" and call.arguments.get("at_most") is not None:
            verb = verb._replace(request=PickUpSeveral, call=_pick_up_several)
        return Asked(verb, verbs.arguments(verb, call.arguments, call.verb), beside.request_key(call.key, NAME, "key"))
    except DropoffError as error:
        return error


def _no_verb(name: str) -> ArgumentsInvalid:
    known = [verb.path for verb in verbs.VERBS]
    meant = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean '{meant[0]}'?" if meant else ""
    return _invalid("verb", f"there is no '{clipped(name)}'{hint}", ", ".join(known))


def _invalid(path: str, problem: str, expected: str = "") -> ArgumentsInvalid:
    return ArgumentsInvalid(verb=NAME, problems=(Problem(path=path, problem=problem, expected=expected),))


def _wave(asked: Asked) -> int:
    return LATER.index(asked.verb.path) + 1 if asked.verb.path in LATER else 0


# ---- what is done -----------------------------------------------------------------------------------------------


async def _batch(house: House, call: Call, request: Request) -> BatchAnswer:
    asked = _understood(call.given)
    told: list[Answer | DropoffError | None] = [one if isinstance(one, DropoffError) else None for one in asked]
    for wave in range(len(LATER) + 1):
        places = [place for place, one in enumerate(asked) if isinstance(one, Asked) and _wave(one) == wave]
        wanted = [cast(Asked, asked[place]) for place in places]
        done = await asyncio.gather(*(_done(house, call.caller, one, request) for one in wanted))
        for place, answer in zip(places, done, strict=True):
            told[place] = answer
        if None in done:  # who left while one call waited, left all of them
            await house.broker.take_back(_taken(told))
            raise CallerLeftError
    if told and all(isinstance(one, Unauthenticated) for one in told):  # revoked meanwhile, before anything was done
        raise Unauthenticated
    await require_here(request.receive, house.broker, _taken(told))
    return BatchAnswer(answers=[_content(one) for one in told])


async def _done(house: House, caller: Caller, asked: Asked, request: Request) -> Answer | DropoffError | None:
    """The answer or the refusal of one call; None where its client left while it waited."""
    work = asked.verb.call(house.broker, caller, asked.request, asked.key)
    try:
        waits = asked.verb.waits and asked.request.wait_seconds
        return await (while_here(request.receive, work) if waits else work)
    except DropoffError as error:
        return error
    except CallerLeftError:
        return None
    except Exception as error:  # noqa: BLE001  # whatever it is, it is this call's alone
        return problems.fault(error)


def _taken(told: Sequence[Answer | DropoffError | None]) -> list[Any]:
    return [picked for one in told if isinstance(one, Answer) for picked in one.taken]


def _content(told: Answer | DropoffError | None) -> Content:
    assert told is not None
    return answers.refused(told) if isinstance(told, DropoffError) else told.with_receipt


ROW: Final = Row(
    method="POST",
    path="/v1/batch",
    name=NAME,
    summary="Many calls at once: what settles first, then what is dropped off, then what is picked up; each with its "
    "own answer and its own request key. A pick_up may say `at_most`, and answers with `handoffs`.",
    takes=Batch,
    gives=BatchAnswer,
    errors=(),
    answer=_batch,
    loose=True,
    bytes_max=BATCH_BYTES_MAX,
)
