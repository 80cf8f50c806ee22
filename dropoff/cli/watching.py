"""`queue ls --watch`: the same look again and again, until Ctrl-C, which is its orderly end (exit code 0).

On a terminal one table is drawn over the last; elsewhere each look is one line of JSON with its time, so that a script
reads snapshots as they come and never half of one.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from dropoff.cli.remote import Answer
from dropoff.cli.session import Session
from dropoff.cli.shown import Column

EVERY_S: Final = 2.0


class Look(NamedTuple):
    """What was seen at one moment."""

    queues: list[Answer]
    frozen: str  # a sentence if everything is


def watch(
    session: Session,
    look: Callable[[], Look],
    columns: Sequence[Column],
    cells: Callable[[Answer], list[str]],
    empty: str,
) -> None:
    """Look every two seconds and show it."""
    try:
        if session.shown.for_people:
            _on_a_table(session, look, columns, cells, empty)
        else:
            _in_lines(session, look)
    except KeyboardInterrupt:
        pass  # the orderly end of watching


def _on_a_table(
    session: Session,
    look: Callable[[], Look],
    columns: Sequence[Column],
    cells: Callable[[Answer], list[str]],
    empty: str,
) -> None:
    with session.shown.live() as show:
        while True:
            seen = look()
            at = datetime.now(UTC).astimezone().strftime("%H:%M:%S")
            words = [f"{at}   every {EVERY_S:.0f} s, Ctrl-C ends", f"! {seen.frozen}" if seen.frozen else ""]
            if not seen.queues:
                words.append(empty)
            show(columns if seen.queues else (), map(cells, seen.queues), [word for word in words if word])
            time.sleep(EVERY_S)


def _in_lines(session: Session, look: Callable[[], Look]) -> None:
    while True:
        seen = look()
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        session.shown.line({"at": at, "frozen": bool(seen.frozen), "queues": seen.queues})
        time.sleep(EVERY_S)
