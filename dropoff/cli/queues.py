"""`dropoff queue`: where handoffs wait, each with its contract and its limits."""

from typing import Any
from urllib.parse import quote

import click

from dropoff.cli import freezing, queue_acts, queue_settings
from dropoff.cli.remote import Answer
from dropoff.cli.session import Group, Session, pass_session
from dropoff.cli.shown import Column
from dropoff.cli.times import age
from dropoff.cli.watching import Look, watch

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

FAULTS = [Column("SCHEMA"), Column("PLACE"), Column("WHAT"), Column("COUNT", right=True), Column("LAST")]
WHAT = {
    "missing": "missing",
    "unknown": "unknown field",
    "type": "wrong type",
    "choice": "not an allowed value",
    "extent": "length or range",
    "pattern": "pattern",
    "other": "another rule",
    "too_large": "too large",
    "bounds": "too deep, too many values, or not plain JSON",
    "more": "other faults",
}


@click.group(cls=Group)
def queue() -> None:
    """Queues: where handoffs wait."""


@queue.command()
@click.argument("name")
@click.option("--schema", required=True, metavar="NAME[@V]", help="What payloads must fit.")
@queue_settings.options
@pass_session
def add(session: Session, name: str, schema: str, **settings: Any) -> None:
    """Make a queue. The same again is the same queue; other settings are a conflict (exit code 5).

    What is not said: any object is a result, a lease of 5m, 5 attempts, payloads up to 256 kB, a million waiting, no
    approval, nothing expires, and what ended is kept for 30d.
    """
    made = session.broker.post("/v1/queues", {"name": name, "schema": schema, **queue_settings.said(settings)})
    if not session.shown.for_people:
        session.shown.data(made)
    session.shown.say(f"Queue '{name}' is {made['state']} for {made['schema']}.")
    session.shown.say(f"Next  dropoff agent add NAME --grant drop:{name}      dropoff drop {name} JSON")


@queue.command()
@click.option("--watch", "watched", is_flag=True, help="Look again every 2 s, until Ctrl-C.")
@pass_session
def ls(session: Session, watched: bool) -> None:
    """All queues in numbers."""
    if watched:
        watch(session, lambda: _look(session), COLUMNS, cells, NONE_YET)
        return
    seen = _look(session)
    session.shown.many(seen.queues, COLUMNS, map(cells, seen.queues), NONE_YET)
    if seen.frozen:
        session.shown.warn(seen.frozen)


def _look(session: Session) -> Look:
    found = session.broker.get("/v1/queues")
    return Look(found["queues"], freezing.sentence(found["frozen_reason"]) if found["frozen"] else "")


@queue.command()
@click.argument("name")
@pass_session
def show(session: Session, name: str) -> None:
    """One queue: settings and numbers."""
    found = session.broker.get(f"/v1/queues/{quote(name, safe='')}")
    everyone = session.broker.get("/v1/freeze")
    session.shown.one(found, _facts(found))
    if nobody(found):
        session.shown.say(f"! {nobody(found)}", fg="yellow")
    if session.broker.get(f"/v1/queues/{quote(name, safe='')}/rejections")["rejections"]:
        session.shown.say(f"Payloads were rejected. Why: dropoff queue rejections {name}")
    if found["held"]:
        session.shown.say(f"Next  dropoff handoff ls --queue {name} --state held      dropoff handoff approve ID")
    if everyone["standing"] == "frozen":
        session.shown.warn(freezing.sentence(everyone["reason"]))


@queue.command()
@click.argument("name")
@pass_session
def rejections(session: Session, name: str) -> None:
    """What agents get wrong: in how many rejected payloads, by place in the schema.

    A payload counts once for each thing that is wrong with it. What agents sent is not kept: a field that the schema
    does not know is counted without its name, where it would have had to be declared.
    """
    found = session.broker.get(f"/v1/queues/{quote(name, safe='')}/rejections")["rejections"]
    session.shown.many(found, FAULTS, map(_fault_cells, found), f"Nothing was rejected for queue '{name}'.")


def _fault_cells(one: Answer) -> list[str]:
    place = "elsewhere" if one["what"] == "more" else one["place"] or "(the whole)"
    return [one["schema"], place, WHAT.get(one["what"], one["what"]), f"{one['count']:,}", one["last"]]


def _facts(found: Answer) -> dict[str, str]:
    waiting = f"{found['waiting']:,}" + (f", the oldest for {age(found['oldest_seconds'])}" if found["waiting"] else "")
    if found["waiting_of"].keys() - {found["schema"]}:  # how far a queue that has moved has come
        waiting += f" ({', '.join(f'{count:,} of {ref}' for ref, count in found['waiting_of'].items())})"
    settings = {queue_settings.label(name): queue_settings.shown(name, found) for name in queue_settings.SHOWN}
    return {
        "queue": found["name"],
        "state": f"{found['state']} {quoted(found['reason'])}".rstrip(),
        **settings,
        "held": f"{found['held']:,}",
        "scheduled": f"{found['scheduled']:,}",
        "waiting": waiting,
        "leased": f"{found['leased']:,}",
        "dead": f"{found['dead']:,}",
        "ended": f"{found['ended']:,}",
        "pickers": f"{found['pickers']:,} in the last 5 minutes",
        "per minute": f"{found['in_per_minute']:.1f} in, {found['out_per_minute']:.1f} out",
    }


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
        queue["state"],
        _remarks(queue),
    ]


def _remarks(queue: Answer) -> str:
    """Why it is not open, and what needs a person."""
    held = f"{queue['held']:,} held for approval" if queue["held"] else ""
    urgent = [words for words in (held, nobody(queue)) if words]
    return ("! " if urgent else "") + "; ".join(filter(None, [*urgent, quoted(queue["reason"])]))


def quoted(reason: str) -> str:
    return f'"{reason}"' if reason else ""


def nobody(queue: Answer) -> str:
    """What a person should know first about a queue: work waits, and no one comes for it."""
    return "nobody is picking up" if queue["waiting"] and not queue["pickers"] else ""


for act in (queue_acts.edit, queue_acts.pause, queue_acts.resume, queue_acts.drain, queue_acts.rm):
    queue.add_command(act)
