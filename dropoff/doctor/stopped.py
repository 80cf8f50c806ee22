"""What an operator has stopped: whoever wonders why nothing moves may not know of it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from dropoff.core.caller import Principal
from dropoff.core.queue import Queue
from dropoff.doctor.findings import Finding
from dropoff.errors import NAMES_SHOWN

MEANS: Final = {"paused": "is paused: nothing goes out", "draining": "is draining: nothing comes in"}


def stopped(everyone: Principal | None, agents: Iterable[Principal], queues: Iterable[Queue]) -> Iterator[Finding]:
    """A freeze, frozen agents, queues that are not open; each with what ends it."""
    if everyone is not None and everyone.standing == "frozen":
        yield _note("freeze", f"Freeze: nobody drops off, picks up or finishes{_why(everyone.reason)}", "dropoff thaw")
    yield from _few(
        "frozen agent",
        [(f"Agent '{one.agent}' is frozen{_why(one.reason)}", f"dropoff agent thaw {one.agent}")
         for one in agents if one.standing == "frozen"],
        "dropoff agent ls",
    )  # fmt: skip
    yield from _few(
        "queue state",
        [(f"Queue '{one.name}' {MEANS[one.state]}{_why(one.reason)}", f"dropoff queue resume {one.name}")
         for one in queues if one.state != "open"],
        "dropoff queue ls",
    )  # fmt: skip


def _few(check: str, stopped: Sequence[tuple[str, str]], rest: str) -> Iterator[Finding]:
    """One finding each, and of very many no more than a person reads."""
    for says, ends in stopped[:NAMES_SHOWN]:
        yield _note(check, says, ends)
    if len(stopped) > NAMES_SHOWN:
        yield _note(check, f"and {len(stopped) - NAMES_SHOWN} more like this", rest)


def _why(reason: str) -> str:
    return f' ("{reason[:80]}")' if reason else ""


def _note(check: str, says: str, ends: str) -> Finding:
    return Finding(check=check, verdict="note", says=f"{says}.", fix=ends)
