"""`dropoff up` and `dropoff demo`: the only two commands that run a broker.

The start-up screen is words, so it goes to stderr. Where data is JSON, one line of it with the address goes to stdout
as soon as requests are answered: a script need not read a screen, not even for the port that `--port 0` took.
"""

import asyncio
import errno
import os
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click

from dropoff.cli.session import Command, Session, pass_session
from dropoff.core import places
from dropoff.errors import StoreRefused
from dropoff.process import serving_here

if TYPE_CHECKING:
    from rich.console import Console

    from dropoff.settings import Settings
    from dropoff.wiring import Started

DURABLE: Final = {
    "fsynced": "fsync before every receipt",
    "memory": "receipts say 'memory': what it has not written to disk is lost when it dies",
}


BESIDE: Final = (
    "{other} serves this data folder already. Both serve the same store now, which is harmless; if you did not mean "
    "that, end one of them. For more processes at one address: dropoff up --workers N"
)
ASK_IT: Final = "Nothing has to be started. To start anew, end it first; else ask it: dropoff queue ls --url {url}"


class PortTaken(click.ClickException):
    """What the broker wants to listen on is not to be had."""

    exit_code = 5


@click.command(cls=Command)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=places.PORT, show_default=True, help="0 takes any free one."
)
@click.option("--store", metavar="URL", default=None, help="redis://HOST:PORT instead of the embedded store.")
@click.option(
    "--workers", metavar="N", default=None, help="Processes that serve, for more than one core's worth.  [default: 1]"
)
@click.option("--demo", "with_demo", is_flag=True, help="Show the demo on it, and stay up.")
@pass_session
def up(session: Session, host: str, port: int, store: str | None, workers: str | None, with_demo: bool) -> int:
    """Run a broker. Ctrl-C stops it; what was dropped off stays, in the data folder.

    The store is embedded: nothing else has to be installed or started. A store of your own is said with --store, or
    with DROPOFF_STORE where its URL holds a password. A port that is taken ends it with exit code 5; where that is
    by the broker of the same data folder, it is named.
    """
    if session.url:
        raise click.UsageError("--url says where a broker is. Where this one listens is said by --host and --port.")
    if store and urlsplit(store).password:
        raise click.UsageError("Others on this machine can read a command line. Give the URL by DROPOFF_STORE instead.")
    _serve(session, {"host": host, "port": port, "store": store, "workers": workers}, with_demo=with_demo)
    return 0


@click.command(cls=Command)
@pass_session
def demo(session: Session) -> int:
    """See a researcher and a writer hand off work.

    Two processes, two identities, no network, no key.
    """
    from dropoff.demo import run

    if session.url or session.data:
        raise click.UsageError("The demo brings a broker and a folder of its own. On one that stays: dropoff up --demo")
    return asyncio.run(run(_page(session, stderr=False)))


def _serve(session: Session, flags: dict[str, Any], *, with_demo: bool) -> None:
    import logging

    from dropoff import settings
    from dropoff.process.listening import PortTakenError
    from dropoff.process.server import LOG_FORMAT, run

    logging.basicConfig(level=logging.INFO if session.verbose else logging.WARNING, format=LOG_FORMAT)
    told = settings.settings({"data": session.data_folder, **flags})
    if told.workers > 1 and sys.platform == "win32":
        raise click.UsageError("On Windows one process serves. Leave out --workers, and DROPOFF_WORKERS.")
    if told.host not in settings.LOOPBACK:
        _warn_of(session, told.host)
    try:
        run(_served(session, told, with_demo))
    except PortTakenError as error:
        raise PortTaken(_taken(error, told)) from error
    except StoreRefused as refused:
        if told.came_from.get("store") != "flag":
            raise
        raise StoreRefused(refused.reason.replace(settings.STORE.variable, settings.STORE.flag)) from refused
    session.shown.say("Stopped. What was dropped off stays; dropoff up goes on with it.")


async def _served(session: Session, told: "Settings", with_demo: bool) -> None:
    """Serve until somebody stops it; the demo, if it is shown, beside it, and no longer."""
    from dropoff import wiring, workers

    telling: list[asyncio.Task[int]] = []
    here = ExitStack()

    async def started(broker: "Started") -> None:
        if other := serving_here.serving(told.data):
            session.shown.warn(BESIDE.format(other=_who(other)))
        here.enter_context(serving_here.said(told.data, broker.url))
        _screen(session, broker, told.workers)
        if with_demo:
            telling.append(asyncio.create_task(_tell(session, broker), name="dropoff demo"))

    try:
        await (workers.serve if told.workers > 1 else wiring.serve)(told, started)
    finally:
        for task in telling:
            task.cancel()
        await asyncio.gather(*telling, return_exceptions=True)
        here.close()


async def _tell(session: Session, broker: "Started") -> int:
    """The demo's story on this broker, as words: on stdout scripts look for the address."""
    from dropoff.demo import tell

    url = serving_here.from_here(broker.url)
    return await tell(url, _bearer_in(broker.credential_file), _page(session, stderr=True))


def _bearer_in(file: Path) -> str:
    return file.read_text(encoding="ascii").strip()


def _page(session: Session, *, stderr: bool) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, quiet=session.shown.quiet, no_color=not session.shown.color)


def _warn_of(session: Session, host: str) -> None:
    session.shown.warn(
        f"{host} can be reached from other machines, and bearers travel as they are. Put TLS in front of it, and name "
        "what clients will call it by: DROPOFF_ALLOWED_HOSTS=broker.example.org"
    )


def _taken(error: Exception, told: "Settings") -> str:
    host, port, cause = told.host, told.port, error.__cause__
    if isinstance(cause, OSError) and cause.errno != errno.EADDRINUSE:
        return f"Nothing can listen on {host}:{port}: {cause.strerror}. Name another --host or --port."
    other = serving_here.serving(told.data)
    if other and urlsplit(other.url).port == port:
        return f"{_who(other)} serves {told.data} already. {ASK_IT.format(url=other.url)}"
    return f"Port {port} of {host} is taken, perhaps by a broker that runs already. Any free one: dropoff up --port 0"


def _who(other: serving_here.Serving) -> str:
    return f"A broker (pid {other.pid}, {other.url})"


# ---- the first screen -------------------------------------------------------------------------------------------


def _screen(session: Session, broker: "Started", workers: int) -> None:
    shown = session.shown
    say = shown.say
    say(f"  Store      {broker.store}, {DURABLE[broker.durability]}, data in {at_home(broker.data)}")
    say(f"  MCP        {broker.url}/mcp")
    if workers > 1:
        say(f"  Workers    {workers} processes; one that ends is started again")
    if broker.queues:
        say(f"  Queues     {_named(broker.queues)}")
        say("  Next       dropoff queue ls      Ctrl-C stops; handoffs stay")
    else:
        say("  Queues     none yet                                      dropoff init, or dropoff queue add …")
        say("  Next       dropoff demo      Ctrl-C stops; handoffs stay")
    elsewhere = _elsewhere(broker)
    if elsewhere:
        say(f"  Elsewhere  export {elsewhere}")
    if not shown.for_people:
        shown.line(
            {
                "url": broker.url,
                "mcp": f"{broker.url}/mcp",
                "store": broker.store,
                "durability": broker.durability,
                "workers": workers,
                "data": str(broker.data),
                "credential_file": str(broker.credential_file),
            }
        )
    sys.stdout.flush()


def _elsewhere(broker: "Started") -> str:
    """What commands in another terminal have to be told, where it is not what they would assume."""
    told = {"DROPOFF_URL": broker.url} if broker.url != f"http://127.0.0.1:{places.PORT}" else {}
    untold = {name: value for name, value in os.environ.items() if name != "DROPOFF_DATA"}  # theirs may not have it
    if str(broker.data) != places.data_folder(untold, str(Path.home()), sys.platform):
        told["DROPOFF_DATA"] = str(broker.data)
    return " ".join(f"{name}={shlex.quote(value)}" for name, value in told.items())


def _named(queues: tuple[str, ...], shown: int = 5) -> str:
    rest = len(queues) - shown
    return ", ".join(sorted(queues)[:shown]) + (f" and {rest} more" if rest > 0 else "")


def at_home(path: Path) -> str:
    """`~/.local/share/dropoff`, as people write it."""
    home = str(Path.home())
    return f"~{str(path)[len(home) :]}" if str(path).startswith(f"{home}/") else str(path)
