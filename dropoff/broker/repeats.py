"""What was heard before is answered as it was then, whatever was changed in between.

A step looks first whether it was heard before. But a call may be refused before it comes to its step: the grant was
taken, the contract was changed, the disk is full. Such a refusal says that nothing was stored, and of a call that is
made again that may be false. So before it stands the store is asked, by a step that only reads and so runs also where
there is no room for more. It costs the good path nothing.
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from dropoff.errors import (
    AlreadySettled,
    BrokerUnavailable,
    ChangingNow,
    DropoffError,
    LeaseLost,
    LeaseUnknown,
    QueueDraining,
    QueueFull,
    RequestConflict,
    Unauthenticated,
)

T = TypeVar("T")

# Who says one of these has looked, or cannot be asked. A refusal that is added tomorrow is doubted.
LOOKED_BEFORE: Final = (
    *(RequestConflict, QueueFull, QueueDraining, LeaseLost, LeaseUnknown, AlreadySettled),
    *(BrokerUnavailable, Unauthenticated),
)


async def unless_heard(doing: Awaitable[T], heard: Callable[[], Awaitable[T | None]]) -> T:
    """What `doing` answers; where it is refused, the first answer to the same call, if there was one.

    The refusal stands only where it is certain that there was none: if nobody can say, it is `BrokerUnavailable`.
    """
    try:
        return await doing
    except LOOKED_BEFORE:
        raise
    except DropoffError:
        try:
            first = await heard()
        except BrokerUnavailable as error:
            raise BrokerUnavailable(stored="unknown") from error
        except ChangingNow as error:
            halfway = "Too much changed at this moment to see whether this call was heard before."
            raise BrokerUnavailable(stored="unknown", halfway=halfway) from error
        if first is None:
            raise
        return first
