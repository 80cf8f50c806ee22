"""`dropoff queue`: where handoffs wait, each with its contract and its limits."""

from typing import Any
from urllib.parse import quote

import click

from dropoff.cli.remote import Answer
from dropoff.cli.session import Group, Session, pass_session
from dropoff.cli.shown import Column
from dropoff.cli.times import DURATION, age, length

NONE_YET = "No queues that you may inspect. dropoff queue add NAME --schema SCHEMA, or dropoff init for a starter."

COLUMNS = [
    Column("QUEUE"),
    Column("WAITING", right=True),
    Column("LEASED", right=True),
    Column("DEAD", right=True),
    Column("OLDEST", right=True),
    Column("IN/min", right=True),
    Column("OUT/min", right=True),
    Column("PICKERS", right=True),
    Column("SCHEMA"),
    Column("STATE"),
    Column(""),
]


@click.group(cls=Group)
def queue() -> None:
    """Queues: where handoffs wait."""


@queue.command()
@click.argument("name")
@click.option("--schema", required=True, metavar="NAME[@V]", help="What payloads must fit.")
@click.option("--purpose", default=None, help="What it is for, in a sentence that agents read.")
@click.option("--lease", type=DURATION, default=None, help="How long a picker holds work before others get it. [5m]")
@click.option("--max-attempts", type=int, default=None, help="Failures before a handoff is dead. [5]")
@click.option("--max-bytes", type=int, default=None, help="The largest payload. [262144]")
@pass_session
def add(session: Session, name: str, **settings: Any) -> None:
    """Make a queue. The same again is the same queue; other settings are a conflict (exit code 5)."""
    given = {key: value for key, value in settings.items() if value is not None}
    if "lease" in given:
        given["lease_seconds"] = given.pop("lease")
    made = session.broker.post("/v1/queues", {"name": name, **given})
    if not session.shown.for_people:
        session.shown.data(made)
    session.shown.say(f"Queue '{name}' is open for {made['schema']}.")
    session.shown.say(f"Next  dropoff agent add NAME --grant drop:{name}      dropoff drop {name} JSON")


@queue.command()
@pass_session
def ls(session: Session) -> None:
    """All queues in numbers."""
    found = session.broker.get("/v1/queues")["queues"]
    session.shown.many(found, COLUMNS, map(cells, found), NONE_YET)


@queue.command()
@click.argument("name")
@pass_session
def show(session: Session, name: str) -> None:
    """One queue: settings and numbers."""
    found = session.broker.get(f"/v1/queues/{quote(name, safe='')}")
    waiting = f"{found['waiting']:,}" + (f", the oldest for {age(found['oldest_seconds'])}" if found["waiting"] else "")
    session.shown.one(
        found,
        {
            "queue": found["name"],
            "purpose": found.get("purpose", ""),
            "state": found.get("state", "open"),
            "schema": found["schema"],
            "lease": length(found["lease_seconds"]),
            "max attempts": str(found["max_attempts"]),
            "max bytes": f"{found['max_bytes']:,}",
            "waiting": waiting,
            "scheduled": f"{found['scheduled']:,}",
            "leased": f"{found['leased']:,}",
            "dead": f"{found['dead']:,}",
            "ended": f"{found['ended']:,}",
            "pickers": f"{found['pickers']:,} in the last 5 minutes",
            "per minute": f"{found['in_per_minute']:.1f} in, {found['out_per_minute']:.1f} out",
        },
    )
    if nobody(found):
        session.shown.say(f"! {nobody(found)}", fg="yellow")


def cells(queue: Answer) -> list[str]:
    return [
        queue["name"],
        str(queue["waiting"]),
        str(queue["leased"]),
        str(queue["dead"]),
        age(queue["oldest_seconds"]) if queue["waiting"] else "",
        f"{queue['in_per_minute']:.1f}",
        f"{queue['out_per_minute']:.1f}",
        str(queue["pickers"]),
        queue["schema"],
        queue.get("state", "open"),
        f"! {nobody(queue)}" if nobody(queue) else "",
    ]


def nobody(queue: Answer) -> str:
    """What a person should know first about a queue: work waits, and no one comes for it."""
    return "nobody is picking up" if queue["waiting"] and not queue["pickers"] else ""
