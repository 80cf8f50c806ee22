"""What a caller may do: deny by default, by its grants alone.

With no grant at all on a queue it does not exist for the caller (`queue_unknown`); with another grant on it, the
refusal names what the caller may do there (`not_allowed`). So a stranger cannot learn the names of queues by asking.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Final

from dropoff.core.caller import Caller
from dropoff.core.grant import Act
from dropoff.core.handoff import AgentName, QueueName
from dropoff.errors import NotAllowed, QueueNeeded, QueueUnknown

DOING: Final[dict[Act, str]] = {
    "drop": "drop off into",
    "pick": "pick up from",
    "inspect": "inspect",
    "operate": "operate",
    "admin": "administer",
}


def may(caller: Caller, act: Act, queue: str) -> bool:
    return any(grant.covers(act, queue) for grant in caller.grants)


def allowed(caller: Caller, act: Act, queues: Iterable[QueueName]) -> tuple[QueueName, ...]:
    """Those of `queues` on which the caller may do this, in order of their names."""
    return tuple(sorted(queue for queue in queues if may(caller, act, queue)))


def require(caller: Caller, act: Act, queue: str, queues: Sequence[QueueName]) -> QueueName:
    """The queue, if it exists and the caller may do this there; `queues` are all there are."""
    if queue in queues and may(caller, act, queue):
        return QueueName(queue)
    others: list[Act] = [other for other in ("drop", "pick", "inspect", "operate") if may(caller, other, queue)]
    if queue in queues and others:
        doing = f"{DOING[act]} '{queue}'"
        raise NotAllowed(
            agent=caller.agent, doing=doing, only=tuple(_short(other) for other in others), needs=f"{act}:{queue}"
        )
    mine = allowed(caller, act, queues)
    meant = difflib.get_close_matches(queue, mine, n=1)
    raise QueueUnknown(queue=queue, doing=DOING[act], allowed=mine, meant=meant[0] if meant else "")


def only_one(caller: Caller, act: Act, verb: str, queues: Sequence[QueueName]) -> QueueName:
    """The one queue on which the caller may do this, when it named none."""
    mine = allowed(caller, act, queues)
    if len(mine) == 1:
        return mine[0]
    if not mine:
        raise NotAllowed(agent=caller.agent, doing=f"{DOING[act]} any queue", needs=f"{act}:QUEUE")
    raise QueueNeeded(verb=verb, doing=DOING[act], allowed=mine)


def require_admin(caller: Caller, doing: str) -> AgentName:
    if not any(grant.act == "admin" for grant in caller.grants):
        raise NotAllowed(agent=caller.agent, doing=doing, needs="admin")
    return caller.agent


def _short(act: Act) -> str:
    return {"drop": "drop off", "pick": "pick up"}.get(act, act)
