"""How a decision meets the store's newest word.

Decisions are made from records that may be old: that saves a round trip for every call. A step finds out (`Stale`)
when the caller or the queue has changed since. Then the records are read anew and the decision is made again. What is
refused by these records alone, for want of a grant or by a queue's contract, never comes to a step, so it asks the gate
and the index of queues before it stands; what is answered without a step asks the gate.

A gate that differs from an agent's record, because somebody died between the two or the record was lost and made anew,
is brought up to date on the way. It takes only higher revisions, so that does no harm however often and by whomever it
is done.
"""

from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Final, TypeVar

from dropoff.core.caller import EVERYONE, Caller, Principal, Standing, caller_of, caller_upkeep
from dropoff.core.store import Stale, Store
from dropoff.errors import (
    BrokerUnavailable,
    ChangingNow,
    DropoffError,
    Frozen,
    NextInvalid,
    NotAllowed,
    PayloadInvalid,
    PayloadTooLarge,
    QueueNeeded,
    QueueNotEmpty,
    QueueUnknown,
    ResultInvalid,
    SchemaUnknown,
    Unauthenticated,
)

T = TypeVar("T")

ROUNDS: Final = 5  # two are enough unless somebody changes the same record at the same time, again and again

BY_GRANTS: Final = (NotAllowed, QueueUnknown, QueueNeeded)
BY_CONTRACTS: Final = (PayloadInvalid, PayloadTooLarge, NextInvalid, ResultInvalid, SchemaUnknown)
# What a later step of an act may be refused with as it is, for it does not say that nothing was done. A refusal that is
# added tomorrow is doubted.
TRUE_AFTER_A_STEP: Final = (QueueNotEmpty,)


async def decided(store: Store, caller: Caller, decide: Callable[[Caller], Awaitable[T]]) -> T:
    """Decide and do. Raises what `decide` raises, and `ChangingNow` where records change faster than we read."""
    with ExitStack() as from_now_on:
        for _ in range(ROUNDS):
            known = await store.queues()
            try:
                return await decide(caller)
            except Stale as stale:
                if stale.half_done:
                    from_now_on.enter_context(half_done())
                caller = await renewed(store, caller)
            except (*BY_GRANTS, *BY_CONTRACTS):
                now = await unfrozen(store, caller)
                if now is caller and await store.queues(fresh=True) == known:
                    raise
                caller = now
        raise ChangingNow


@contextmanager
def half_done() -> Generator[None]:
    """What is done in here comes after a step that has stored something: no refusal may say that nothing was."""
    try:
        yield
    except Stale as stale:
        stale.half_done = True
        raise
    except BrokerUnavailable as error:
        if error.stored == "unknown":  # and it says by itself what stopped it
            raise
        raise BrokerUnavailable(stored="unknown") from error
    except TRUE_AFTER_A_STEP:
        raise
    except DropoffError as error:
        halfway = "This call was half done when something changed that stopped it."
        raise BrokerUnavailable(stored="unknown", halfway=halfway) from error


async def current(store: Store, caller: Caller) -> Caller:
    """The caller by the gate's word of now. Raises `Unauthenticated` if it is revoked."""
    if await store.standing(caller.agent) == f"{caller.rev} active":
        return caller
    return await renewed(store, caller)


async def unfrozen(store: Store, caller: Caller) -> Caller:
    """As `current`; and raises `Frozen` if the caller is, also where what it asks for takes no step."""
    caller = await current(store, caller)
    if (await store.standing(caller.agent)).endswith(" frozen"):
        raise Frozen(agent=caller.agent)
    return caller


async def renewed(store: Store, caller: Caller) -> Caller:
    """The caller by its record of now, which the gate knows on return; the queues are read anew as well."""
    await everyone(store)
    principal = await store.enforce(caller.agent)
    await store.queues(fresh=True)
    if principal is None:
        raise Unauthenticated
    return caller_of(principal, caller.credential, caller.trace)


async def everyone(store: Store) -> Principal:
    """The record of everybody at once, which the gate knows on return; no step passes without its word.

    Where the record was lost it is made again by what the gate knows: that must not end a freeze.
    """
    known = await store.enforce(EVERYONE)
    if known is not None:
        return known
    frozen = (await store.standing(EVERYONE)).endswith(" frozen")
    standing: Standing = "frozen" if frozen else "active"
    return await store.put_principal(caller_upkeep(), Principal(agent=EVERYONE, standing=standing))
