"""What agents may call: one table for every door.

A row gives a verb its name in MCP and under `/v1`, the sentence that a model reads, the shape of its arguments, and the
call on the broker. `arguments` makes the request of what came in, or says everything that is wrong with it; the queue's
contract for the payload is the broker's to judge, so that it is judged the same through every door.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from dropoff.broker import Broker
from dropoff.core.caller import Caller
from dropoff.core.grant import Act
from dropoff.core.requests import Check, Complete, Describe, DropOff, Extend, HandBack, PickUp, Withdraw
from dropoff.doors import answers
from dropoff.doors.answers import Answer
from dropoff.doors.forms import flat_schema, form_of

Call = Callable[[Broker, Caller, Any, str], Awaitable[Answer]]


class Effect(NamedTuple):
    """What a client may show a person before it calls (the four annotations of MCP)."""

    read_only: bool
    destructive: bool
    idempotent: bool
    open_world: bool = True  # others act on the same queues


class AgentVerb(NamedTuple):
    """One verb that agents may call."""

    tool: str  # its name in MCP
    path: str  # /v1/…
    listed_for: tuple[Act, ...]  # shown to who has one of these grants on any queue; empty: to everybody
    description: str
    request: type[Any]
    effect: Effect
    call: Call
    statuses: tuple[str, ...]  # what an answer may begin with, beside `refused`
    ids: tuple[str, ...] = ("handoff_id",)  # what it may name
    programs_only: tuple[str, ...] = ()  # arguments that the tool does not have: what only a program can know

    @property
    def waits(self) -> bool:
        """Whether a call may wait for something to happen; then it ends early if its caller leaves."""
        return "wait_seconds" in self.request.__struct_fields__


async def _drop_off(broker: Broker, caller: Caller, request: DropOff, key: str) -> Answer:
    return answers.dropped_off(await broker.drop_off(caller, request, key))


async def _pick_up(broker: Broker, caller: Caller, request: PickUp, key: str) -> Answer:
    return answers.picked_up(await broker.pick_up(caller, request, key))


async def _complete(broker: Broker, caller: Caller, request: Complete, key: str) -> Answer:
    return answers.completed(await broker.complete(caller, request))


async def _hand_back(broker: Broker, caller: Caller, request: HandBack, key: str) -> Answer:
    return answers.handed_back(await broker.hand_back(caller, request, key), request)


async def _extend(broker: Broker, caller: Caller, request: Extend, key: str) -> Answer:
    return answers.extended(await broker.extend(caller, request, key))


async def _check(broker: Broker, caller: Caller, request: Check, key: str) -> Answer:
    return answers.found(await broker.check(caller, request))


async def _withdraw(broker: Broker, caller: Caller, request: Withdraw, key: str) -> Answer:
    return answers.withdrawn(await broker.withdraw(caller, request))


async def _describe(broker: Broker, caller: Caller, request: Describe, key: str) -> Answer:
    return answers.described(await broker.describe(caller, request))


VERBS: Final = (
    AgentVerb(
        "drop_off",
        "drop_off",
        ("drop",),
        "Send one unit of work to another agent. Done only when a handoff_id comes back. "
        "The receiver sees payload and note, nothing else of this conversation: put in all it needs.",
        DropOff,
        Effect(read_only=False, destructive=False, idempotent=False),
        _drop_off,
        ("dropped_off", "held"),
    ),
    AgentVerb(
        "pick_up",
        "pick_up",
        ("pick",),
        "Take waiting work, the oldest of a queue first. You hold it until lease_ends_at; no one else can have it. "
        "Then call complete_handoff or hand_back with its lease_id.",
        PickUp,
        Effect(read_only=False, destructive=False, idempotent=False),
        _pick_up,
        ("picked_up", "nothing_to_pick_up"),
        ("handoff_id", "lease_id"),
        programs_only=("accepts",),
    ),
    AgentVerb(
        "complete_handoff",
        "complete",
        ("pick",),
        "Finish work you hold. Repeat safely with the same result. `next` sends on the outcome in the same step.",
        Complete,
        Effect(read_only=False, destructive=True, idempotent=True),
        _complete,
        ("completed",),
    ),
    AgentVerb(
        "hand_back",
        "hand_back",
        ("pick",),
        "Give back work you hold: somebody tries again, or it ends as impossible.",
        HandBack,
        Effect(read_only=False, destructive=True, idempotent=False),
        _hand_back,
        ("handed_back",),
    ),
    AgentVerb(
        "extend_lease",
        "extend",
        ("pick",),
        "Keep work you hold for another term, and save how far you are. "
        "The checkpoint goes to whoever holds it next. Stop if withdrawal_asked.",
        Extend,
        Effect(read_only=False, destructive=False, idempotent=True),
        _extend,
        ("extended",),
    ),
    AgentVerb(
        "check_handoff",
        "check",
        ("drop", "pick", "inspect"),
        "See how a handoff stands, and its result once it is completed.",
        Check,
        Effect(read_only=True, destructive=False, idempotent=True),
        _check,
        ("found",),
    ),
    AgentVerb(
        "withdraw_handoff",
        "withdraw",
        ("drop", "operate"),
        "Take back work you dropped off. While somebody holds it, they are asked to stop.",
        Withdraw,
        Effect(read_only=False, destructive=True, idempotent=True),
        _withdraw,
        ("withdrawn", "withdrawal_asked"),
    ),
    AgentVerb(
        "describe_queues",
        "describe",
        (),
        "Your queues: purpose, the schema that a payload must fit, one valid example, limits.",
        Describe,
        Effect(read_only=True, destructive=False, idempotent=True),
        _describe,
        ("described",),
        (),
    ),
)


def input_schema(verb: AgentVerb) -> dict[str, Any]:
    """The tool's arguments as JSON Schema, flat: the root an object, no references, `payload` and the like last."""
    return _terse(flat_schema(verb.request, without=verb.programs_only))


def _terse(schema: dict[str, Any]) -> dict[str, Any]:
    """Without its name, and without defaults that say no more than that a field is optional."""
    schema.pop("title", None)
    if schema.get("default", 0) in ("", {}, None):
        del schema["default"]
    for field in schema.get("properties", {}).values():
        _terse(field)
    return schema


def arguments(verb: AgentVerb, given: Mapping[str, Any], name: str) -> Any:
    """The request that these arguments make. Raises `ArgumentsInvalid` with every problem; `name` is the verb's name
    at this door, the tool's or the path's. Null and "" for an optional argument mean that it was not given.
    """
    return form_of(verb.request).read(given, name)


def tool_arguments(verb: AgentVerb, given: Mapping[str, Any]) -> Any:
    """The same of a call of the tool."""
    return form_of(verb.request, verb.programs_only).read(given, verb.tool)


def by_path(name: str) -> AgentVerb | None:
    return next((verb for verb in VERBS if verb.path == name), None)


def by_tool(name: str) -> AgentVerb | None:
    return next((verb for verb in VERBS if verb.tool == name), None)


def listed(caller: Caller) -> list[AgentVerb]:
    """The verbs that this caller may use at all, in a fixed order."""
    acts = {grant.act for grant in caller.grants}
    return [verb for verb in VERBS if not verb.listed_for or "admin" in acts or acts & set(verb.listed_for)]
