"""What all verbs are built on: the decision by the newest word, the queue that is meant, the handoff that is made."""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from dropoff.broker.judging import Contracts
from dropoff.broker.rejections import Rejections
from dropoff.contracts.gate import Gates
from dropoff.core import policy
from dropoff.core.caller import Caller
from dropoff.core.deciding import decided
from dropoff.core.handoff import HandoffId, NewHandoff, digest_of
from dropoff.core.queue import Queue
from dropoff.core.store import Store
from dropoff.errors import BrokerUnavailable

T = TypeVar("T")


class Asking:
    """What all verbs are built on."""

    def __init__(self, store: Store, gates: Gates, unique: Callable[[int], bytes]) -> None:
        self.store = store
        self._contracts = Contracts(store, gates)
        self._rejections = Rejections(store, unique)
        self._unique = unique  # randomness is given to us, as everything else from the world

    async def _decided(self, caller: Caller, decide: Callable[[Caller], Awaitable[T]]) -> T:
        return await decided(self.store, caller, decide)

    async def _queue(self, caller: Caller, act: policy.Act, verb: str, name: str) -> Queue:
        queues = await self.store.queues()
        if name not in queues and name:
            queues = await self.store.queues(fresh=True)
        names = tuple(queues)
        found = policy.require(caller, act, name, names) if name else policy.only_one(caller, act, verb, names)
        return queues[found]


def new_handoff(
    id: HandoffId,
    queue: Queue,
    content: bytes,
    salt: str,
    note: str,
    *,
    asked: str,
    delay_ms: int = 0,
    resubmit_of: str = "",
) -> NewHandoff:
    """A handoff of this judged payload; `asked` is the digest of all that its caller asked for."""
    return NewHandoff(
        id=id,
        queue=queue.name,
        payload=content,
        salt=salt,
        digest=digest_of(salt, content),
        content=asked,
        note=note,
        delay_ms=delay_ms,
        resubmit_of=resubmit_of,
    )


@contextmanager
def repeatable(key: str) -> Generator[None]:
    """New work whose fate is unknown may be asked for again only under a request key; who brought none is told so."""
    try:
        yield
    except BrokerUnavailable as error:
        if key or error.stored == "nothing":
            raise
        raise BrokerUnavailable(stored="unknown", keyed=False) from error
