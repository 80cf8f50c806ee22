"""`dropoff schema`: the contracts that payloads must fit."""

from typing import Any, cast
from urllib.parse import quote

import click

from dropoff.cli import schema_diff, schema_files, schema_meaning
from dropoff.cli.given import json_of
from dropoff.cli.session import Group, Session, pass_session
from dropoff.cli.shown import Column, as_json
from dropoff.errors import ArgumentsInvalid, Problem

NONE_YET = "No schemas yet. dropoff schema push NAME FILE, or dropoff init for two to begin from."


@click.group(cls=Group)
def schema() -> None:
    """Schemas: the contracts that payloads must fit."""


@schema.command()
@click.argument("name")
@click.argument("file", metavar="FILE|-")
@click.option("--dry-run", is_flag=True, help="Say what it would mean, and register nothing.")
@pass_session
def push(session: Session, name: str, file: str, dry_run: bool) -> None:
    """Register FILE as the next version of NAME, and say what that means. The same content again is the version it has.

    Said are: whether all that fits the version before fits this one (see `schema diff`), and for each queue with a
    version of NAME how much of what waits, is scheduled or held would not fit, and who picked up within the last hour
    under which version. Nothing moves by it, whatever is said: a queue keeps its version until it is edited.
    """
    content = json_of("-" if file == "-" else f"@{file}", root="schema", verb="schema push")
    if not isinstance(content, dict):
        raise ArgumentsInvalid(verb="dropoff schema push", problems=(Problem(path="schema", problem="is no object"),))
    address = f"/v1/schemas/{quote(name, safe='')}" + ("/compare" if dry_run else "")
    pushed = session.broker.post(address, cast("dict[str, Any]", content), answer_s=schema_meaning.ANSWER_S)
    if not session.shown.for_people:
        session.shown.data(pushed)
    schema_meaning.say_pushed(session, pushed, "FILE" if file == "-" else file, dry_run=dry_run)


@schema.command()
@pass_session
def ls(session: Session) -> None:
    """All schemas and their versions."""
    found = session.broker.get("/v1/schemas")["schemas"]
    cells = [(one["schema"], one["hash"][:16]) for one in found]
    session.shown.many(found, [Column("SCHEMA"), Column("HASH")], cells, NONE_YET)


@schema.command()
@click.argument("ref", metavar="NAME[@V]")
@pass_session
def show(session: Session, ref: str) -> None:
    """One schema's content; without a version the newest."""
    found: dict[str, Any] = session.broker.get(f"/v1/schemas/{quote(ref, safe='')}")
    if not session.shown.for_people:
        session.shown.data(found)
        return
    session.shown.say(f"{found['schema']}  {found['hash']}")
    session.shown.text(as_json(found["content"]))


for act in (schema_files.check, schema_diff.diff, schema_files.from_example):
    schema.add_command(act)
