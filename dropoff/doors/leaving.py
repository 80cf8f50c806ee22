"""Who leaves while waiting, waits no more.

A server runs a handler on after its client has hung up: good for a step that has begun, whose outcome is there when the
call is repeated; bad for a wait, which would take work for somebody who is no longer there to do it. So a call that may
wait watches the connection, and ends with it.

Nothing is cut in half by that. A step is one script of the store: not sent yet, it is never sent; sent, it happens as a
whole and only its answer is lost.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Receive

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
