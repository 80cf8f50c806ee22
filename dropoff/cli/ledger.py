"""`dropoff ledger`: what every step has written down about itself."""

import time
from typing import Final

import click

from dropoff.cli.handoffs import LEDGER_COLUMNS, entry_cells
from dropoff.cli.remote import Answer
from dropoff.cli.session import Group, Session, pass_session

NONE_YET = "No entries yet. The first one comes with the first step."

FOLLOW_S: Final = 0.5  # as good as at once for a person, and two small reads a second for the store
PAGE: Final = 200


@click.group(cls=Group)
def ledger() -> None:
    """The ledger: each step, in order, by whom."""


@ledger.command()
@click.option("--follow", "-f", is_flag=True, help="Go on with each new entry, until Ctrl-C.")
@click.option("--lines", "-n", type=click.IntRange(1, 1_000), default=20, show_default=True, help="How many at first.")
@pass_session
def tail(session: Session, follow: bool, lines: int) -> None:
    """The newest entries."""
    found = session.broker.get("/v1/ledger", limit=lines)["entries"]
    if not follow:
        session.shown.many(found, LEDGER_COLUMNS, map(entry_cells, found), NONE_YET)
        return
    try:
        _follow(session, found)
    except KeyboardInterrupt:
        pass  # the orderly end of following


def _follow(session: Session, found: list[Answer]) -> None:
    """One line an entry, written at once; a table could not know its widths, and an array would never end."""
    after = ""
    while True:
        for entry in found:
            after = entry["id"]
            if session.shown.for_people:
                session.shown.text("  ".join(cell for cell in entry_cells(entry) if cell))
            else:
                session.shown.line(entry)
        if len(found) < PAGE:
            time.sleep(FOLLOW_S)
        found = session.broker.get("/v1/ledger", after=after or None, limit=PAGE)["entries"]
