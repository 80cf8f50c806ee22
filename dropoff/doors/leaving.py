"""A client that leaves: it waits no more, and no work stays with it.

A server runs a handler on after its client has hung up: good for a step that has begun, whose outcome is there when the
call is repeated; bad for a wait, which would take work for somebody who is no longer there to do it. So a call that may
wait watches the connection, and ends with it. And before an answer is written that brings work, the connection is
looked at once more: if nobody is there to read it, the work goes back at once and that counts as nothing.

Nothing is cut in half by that. A step is one script of the store: not sent yet, it is never sent; sent, it happens as a
whole and only its answer is lost.

What has been written to the connection counts as heard. Whether the client read it before it died nobody knows; then
the lease runs out, or the same call under the same request key gets the same lease again.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any, TypeVar, cast

from starlette.types import Message, Receive

from dropoff.broker import Broker
from dropoff.core.answers import PickedUp

T = TypeVar("T")


class CallerLeftError(Exception):
    """The client hung up while its call was waiting. There is nobody to tell."""


async def while_here(receive: Receive, call: Awaitable[T]) -> T:
    """What the call answers. The body of the request has been read by now, so all that can come is its end.

    Raises what the call raises, and `CallerLeftError` as soon as the client hangs up; the call has ended then.
    """
    calling = asyncio.ensure_future(call)
    leaving = asyncio.create_task(_left(receive), name="dropoff caller, watched")
    try:
        await asyncio.wait((calling, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not calling.done():
            raise CallerLeftError
        return calling.result()
    finally:
        leaving.cancel()
        calling.cancel()
        await asyncio.gather(leaving, calling, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def require_here(receive: Receive, broker: Broker, taken: Iterable[PickedUp]) -> None:
    """To be asked right before an answer is written, without a pause in between. `taken` is the work that it brings.

    Raises `CallerLeftError` if nobody is there to read it; then the work has gone back.
    """
    taken = tuple(taken)
    if taken and await _has_left(receive):
        await broker.take_back(taken)
        raise CallerLeftError


async def _has_left(receive: Receive) -> bool:
    """Whether the client's end has come by now.

    An event loop works off what became due, then what it finds on its sockets, then its timers. A timer of this very
    moment therefore ends after every socket that was found closed has been closed here as well, and what is written
    straight after that goes out to a connection that was open. The end is looked for without waiting for it: a
    `receive` that can be answered at once is answered before it is ever suspended.
    """
    loop = asyncio.get_running_loop()
    turn = asyncio.Event()
    loop.call_later(0, turn.set)
    await turn.wait()
    coming = cast("Coroutine[Any, Any, Message]", receive())
    try:
        coming.send(None)
    except StopIteration as found:
        return found.value["type"] == "http.disconnect"
    coming.close()
    return False
