"""`dropoff handoff`: looking at what was dropped off. Looking changes nothing; what does stands in `handoff_acts`."""

from typing import Any, Final
from urllib.parse import quote

import click

from dropoff.cli import handoff_acts
from dropoff.cli.remote import Answer
from dropoff.cli.session import Group, Session, pass_session
from dropoff.cli.shown import Column, as_json
from dropoff.cli.times import iso
from dropoff.core.lifecycle import ABSENT, HELD, STATES

STATES_SHOWN: Final = [state for state in STATES if state != ABSENT]

COLUMNS = [
    Column("HANDOFF", whole=True),
    Column("STATE"),
    Column("FROM"),
    Column("HOLDER"),
    Column("ATTEMPT", right=True),
    Column("DROPPED OFF"),
    Column("NOTE"),
]


@click.group(cls=Group)
def handoff() -> None:
    """Handoffs: where they are, what became of them."""


@handoff.command()
@click.option("--queue", default=None, help="Only of this queue.")
@click.option("--state", type=click.Choice(STATES_SHOWN), default=None, help="Only in this state.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="How many at most.")
@pass_session
def ls(session: Session, queue: str | None, state: str | None, limit: int) -> None:
    """Handoffs by queue and state."""
    found = session.broker.get("/v1/handoffs", queue=queue, state=state, limit=limit)["handoffs"]
    where = " ".join(filter(None, [f"in '{queue}'" if queue else "", f"that are {state}" if state else ""]))
    others = "In any state: dropoff handoff ls" + (f" --queue {queue}" if queue else "")
    first = f"dropoff drop {queue or 'QUEUE'} JSON"
    empty = f"No handoffs {where}.".replace(" .", ".") + f" {others if state else first}"
    session.shown.many(found, COLUMNS, map(_cells, found), empty)


@handoff.command()
@click.argument("handoff_id", metavar="ID")
@pass_session
def show(session: Session, handoff_id: str) -> None:
    """One handoff, whole. How it stands, its payload, and what the ledger says of it."""
    found = session.broker.get(f"/v1/handoffs/{quote(handoff_id, safe='')}")
    shown = session.shown
    if not shown.for_people:
        shown.data(found)
        return
    shown.one(found, {name.replace("_", " "): str(value) for name, value in found.items() if _is_fact(value)})
    for name in ("previous_attempts", "checkpoint", "payload", "result"):
        if found.get(name):
            shown.text(f"\n{name.replace('_', ' ')}\n{as_json(found[name])}")
    entries: list[Any] = found.get("entries", [])
    if entries:
        shown.text("\nledger")
        shown.table(LEDGER_COLUMNS, map(entry_cells, entries))
    if found["state"] == HELD:
        shown.say(f"Next  dropoff handoff approve {handoff_id}      dropoff handoff deny {handoff_id} --reason …")


LEDGER_COLUMNS = [
    Column("AT", whole=True),
    Column("STEP"),
    Column("ACTOR"),
    Column("WHAT", whole=True),
    Column("FROM"),
    Column("TO"),
    Column("REASON"),
]


def entry_cells(entry: Answer) -> list[str]:
    """For people: what JSON says besides (the entry's id, whole hashes) would push off what one looks for."""
    about = entry.get("handoff") or entry.get("agent") or entry.get("queue") or entry.get("schema", "")[:12]
    change = (entry.get("from", ""), entry.get("to") or entry.get("standing", ""))
    return [iso(entry["at"]), entry["step"], entry["actor"], about, *change, entry.get("reason", "")]


def _is_fact(value: Any) -> bool:
    return isinstance(value, str | int | float) and value != ""


def _cells(one: Answer) -> list[str]:
    return [
        one["handoff_id"],
        one["state"],
        one.get("from_agent", ""),
        one.get("held_by", ""),
        f"{one.get('attempt', 1)} of {one.get('max_attempts', '?')}",
        one.get("dropped_off_at", ""),
        one.get("note", ""),
    ]


for act in (
    handoff_acts.withdraw,
    handoff_acts.release,
    handoff_acts.approve,
    handoff_acts.deny,
    handoff_acts.resubmit,
):
    handoff.add_command(act)
