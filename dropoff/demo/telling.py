"""The two ways to tell the story: on a broker of the demo's own, which is gone afterwards, and on one that is there.

Whatever goes wrong is the last thing told, and makes the exit code; whatever was started is taken away before it.
"""

import asyncio
import os
import time
from collections.abc import Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from dropoff.client.failures import BrokerUnreachable, RemoteError
from dropoff.demo import folder
from dropoff.demo.children import Child, ChildError, child
from dropoff.demo.editor import RESEARCHER, SECOND_WRITER, WRITER, Editor, Ledger, editor
from dropoff.demo.page import Page
from dropoff.demo.story import START_S, Cast, Checks, Story, UntrueError

DISMISS_S: Final = 5.0
STOP_S: Final = 30.0  # our broker answers what it has begun, and stops its store


async def run(console: Console | None) -> int:
    page = Page(console)
    return await _code(page, _on_own_broker(page, Checks()))


async def tell(url: str, bearer: str, console: Console | None) -> int:
    page = Page(console)
    return await _code(page, _on_broker(page, Checks(), url, bearer))


async def _code(page: Page, telling: Coroutine[Any, Any, None]) -> int:
    """The exit code; what went wrong is the last thing told."""
    try:
        await telling
    except UntrueError as error:
        page.fail(f"The demo ends here, for this does not hold: {error}")
    except (ChildError, RemoteError, BrokerUnreachable, OSError) as error:
        page.fail(f"The demo failed. {error}")
    else:
        return 0
    return 1


async def _on_own_broker(page: Page, checks: Checks) -> None:
    began = time.monotonic()
    data = folder.new()
    try:
        async with _own_broker(data) as broker:
            serves = await broker.reports("serves", START_S)
            bearer = folder.bearer_in(serves["credential_file"])
            page.tell("broker", f"pid {broker.pid}, at {serves['url']}, {serves['store']}, {serves['durability']}")
            cast = await _told(page, checks, serves["url"], bearer)
            checks.hold(broker.pid not in cast.pids, "the broker is a process of its own")
        checks.hold(broker.exit_status == 0, f"the broker ended in order (it ended with {broker.exit_status})")
        checks.hold(not folder.is_left(data), f"the broker removed its folder {data}")
    finally:
        await _swept(data)
    page.conclude(f"{_summary(cast, checks, time.monotonic() - began)} Nothing is left running.")


async def _on_broker(page: Page, checks: Checks, url: str, bearer: str) -> None:
    began = time.monotonic()
    cast = await _told(page, checks, url, bearer)
    page.conclude(f"{_summary(cast, checks, time.monotonic() - began)} The broker goes on at {url}.")


def _own_broker(data: Path) -> AbstractAsyncContextManager[Child]:
    return child("broker", "dropoff.demo.broker", str(data), environ=os.environ, leave_limit_s=STOP_S)


async def _swept(data: Path) -> None:
    """If the broker was killed, its store still runs and its folder is still there. The next one takes both away."""
    if folder.is_left(data):
        with suppress(ChildError):
            async with _own_broker(data) as broker:
                await broker.reports("serves", START_S)


def _summary(cast: Cast, checks: Checks, seconds: float) -> str:
    return (
        f"{checks.held} checks held in {seconds:.1f} s. The ledger names both: {cast.names[RESEARCHER]} and "
        f"{cast.names[WRITER]}; {cast.names[SECOND_WRITER]} finished what {cast.names[WRITER]} was killed in."
    )


async def _told(page: Page, checks: Checks, url: str, bearer: str) -> Cast:
    async with editor(url, bearer) as operator:
        ledger = await Ledger.from_now_on(operator)
        named = await operator.set_up()
        try:
            story = Story(page, checks, operator, ledger, named, url)
            await story.told()
            return story.cast
        finally:
            await _dismissed(operator, [agent.name for agent in named.values()])


async def _dismissed(operator: Editor, names: Iterable[str]) -> None:
    """Now, if the broker is still there; else the next demo does it."""
    with suppress(RemoteError, BrokerUnreachable, TimeoutError):
        async with asyncio.timeout(DISMISS_S):
            await operator.dismiss(names)
