"""What a caller may do: grants, deny by default.

A grant is a verb and a queue, or a prefix of queues: `drop:research`, `pick:drafts.*`, `inspect:*`, `operate:*`.
`admin` stands alone and may everything. No other pattern exists, so that a grant means what it seems to mean
to somebody who reads a list of them quickly.

With no grant at all on a queue it does not exist for the caller (`queue_unknown`); with another grant on it, the
refusal names what the caller may do there (`not_allowed`). So a stranger cannot learn the names of queues by asking.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from dropoff.core.handoff import NAME, AgentName, QueueName
from dropoff.errors import NotAllowed, Problem, QueueNeeded, QueueUnknown

if TYPE_CHECKING:
    from dropoff.core.caller import Caller

Act = Literal["drop", "pick", "inspect", "operate", "admin"]

DOING: Final[dict[Act, str]] = {
    "drop": "drop off into",
    "pick": "pick up from",
    "inspect": "inspect",
    "operate": "operate",
    "admin": "administer",
}


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that may be done, on one queue or on all whose names begin alike."""

    act: Act
    pattern: str = "*"

    def covers(self, act: Act, queue: str) -> bool:
        if self.act == "admin":
            return True
        if self.act != act:
            return False
        return queue.startswith(self.pattern[:-1]) if self.pattern.endswith("*") else queue == self.pattern

    def __str__(self) -> str:
        return "admin" if self.act == "admin" else f"{self.act}:{self.pattern}"


def parse(text: str) -> Grant | Problem:
    """The grant that `text` writes, or what is wrong with it."""
    if text == "admin":
        return Grant("admin")
    act, colon, pattern = text.partition(":")
    expected = "drop:QUEUE, pick:QUEUE, inspect:QUEUE, operate:QUEUE or admin; QUEUE may end in *"
    if not colon or act not in ("drop", "pick", "inspect", "operate"):
        meant = difflib.get_close_matches(act, ("drop", "pick", "inspect", "operate", "admin"), n=1)
        hint = f"; did you mean '{meant[0]}'?" if meant else ""
        return Problem(path="grant", problem=f"'{text[:80]}' is no grant{hint}", expected=expected, got=text[:80])
    stem = pattern.removesuffix("*")
    if pattern != "*" and not NAME.match(stem.rstrip("._-") or "?"):
        return Problem(path="grant", problem=f"'{pattern[:80]}' names no queue", expected=expected, got=text[:80])
    return Grant(act, pattern)


def may(caller: "Caller", act: Act, queue: str) -> bool:
    return any(grant.covers(act, queue) for grant in caller.grants)


def allowed(caller: "Caller", act: Act, queues: Iterable[QueueName]) -> tuple[QueueName, ...]:
    """Those of `queues` on which the caller may do this, in order of their names."""
    return tuple(sorted(queue for queue in queues if may(caller, act, queue)))


def require(caller: "Caller", act: Act, queue: str, queues: Sequence[QueueName]) -> QueueName:
    """The queue, if it exists and the caller may do this there; `queues` are all there are."""
    if queue in queues and may(caller, act, queue):
        return QueueName(queue)
    others: list[Act] = [other for other in ("drop", "pick", "inspect", "operate") if may(caller, other, queue)]
    if queue in queues and others:
        doing = f"{DOING[act]} '{queue}'"
        raise NotAllowed(agent=caller.agent, doing=doing, only=tuple(_short(other) for other in others))
    mine = allowed(caller, act, queues)
    meant = difflib.get_close_matches(queue, mine, n=1)
    raise QueueUnknown(queue=queue, doing=DOING[act], allowed=mine, meant=meant[0] if meant else "")


def only_one(caller: "Caller", act: Act, verb: str, queues: Sequence[QueueName]) -> QueueName:
    """The one queue on which the caller may do this, when it named none."""
    mine = allowed(caller, act, queues)
    if len(mine) == 1:
        return mine[0]
    raise QueueNeeded(verb=verb, doing=DOING[act], allowed=mine)


def require_admin(caller: "Caller", doing: str) -> AgentName:
    if not any(grant.act == "admin" for grant in caller.grants):
        raise NotAllowed(agent=caller.agent, doing=doing)
    return caller.agent


def _short(act: Act) -> str:
    return {"drop": "drop off", "pick": "pick up"}.get(act, act)
