"""How an act is done: in the operator's name, by the gate's word of now, as a step that is written into the ledger.

An act that would change nothing succeeds and changes nothing, so that a set-up can be applied again and again. What
takes long to find out is found out in a process of its own (`apart`), within a bound of time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, TypeVarTuple

from dropoff.apart import LONGEST_S, apart
from dropoff.core import policy
from dropoff.core.caller import Caller
from dropoff.core.deciding import decided, unfrozen
from dropoff.core.handoff import NAME, QueueName
from dropoff.core.queue import Queue
from dropoff.core.store import Store
from dropoff.errors import ArgumentsInvalid, Problem, QueueUnknown

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

NAME_RULE: Final = "a-z 0-9 . _ - (at most 64), beginning and ending with a letter or digit"


class Acting:
    """What all acts are built on."""

    def __init__(self, store: Store, unique: Callable[[int], bytes]) -> None:
        self.store = store
        self._unique = unique
        self.longest_s = LONGEST_S  # for one computation
        self._computing = asyncio.Lock()

    async def _done(self, caller: Caller, doing: str, act: Callable[[Caller], Awaitable[T]]) -> T:
        """The act in the operator's name, who must be an admin by the gate's word of now: an act that finds nothing to
        change takes no step, and would tell a revoked operator what is there.
        """

        async def decide(caller: Caller) -> T:
            policy.require_admin(caller, doing)
            return await act(caller)

        return await decided(self.store, await unfrozen(self.store, caller), decide)

    async def _apart(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """What takes long, beside the loop and one at a time: ten at once would leave the others little of the machine.

        Comes after the question who is asking. Raises `NotComputedError`.
        """
        async with self._computing:
            return await apart(function, *args, longest_s=self.longest_s)

    async def _known_queue(self, name: str) -> Queue:
        queues = await self.store.queues(fresh=True)
        if name not in queues:
            raise QueueUnknown(queue=name, doing=policy.DOING["operate"], allowed=tuple(queues))
        return queues[QueueName(name)]

    async def _operated_queue(self, caller: Caller, name: str) -> Queue:
        queues = await self.store.queues(fresh=True)
        return queues[policy.require(caller, "operate", name, tuple(queues))]


def require_name(path: str, name: str, verb: str) -> None:
    if not NAME.match(name):
        raise invalid(
            verb,
            path,
            f"'{name[:80]}' is no name ({NAME_RULE})",
            expected=NAME_RULE,
        )


def invalid(verb: str, path: str, problem: str, expected: str) -> ArgumentsInvalid:
    return ArgumentsInvalid(verb=verb, problems=(Problem(path=path, problem=problem, expected=expected),))
