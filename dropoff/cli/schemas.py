"""`dropoff schema`: the contracts that payloads must fit."""

from typing import Any
from urllib.parse import quote

import click

from dropoff.cli import schema_diff, schema_files
from dropoff.cli.given import json_of
from dropoff.cli.session import Group, Session, pass_session
from dropoff.cli.shown import Column, as_json

NONE_YET = "No schemas yet. dropoff schema push NAME FILE, or dropoff init for two to begin from."


@click.group(cls=Group)
def schema() -> None:
    """Schemas: the contracts that payloads must fit."""


@schema.command()
@click.argument("name")
@click.argument("file", metavar="FILE|-")
@pass_session
def push(session: Session, name: str, file: str) -> None:
    """Register FILE as the next version of NAME. The same content again is the version it has."""
    content = json_of("-" if file == "-" else f"@{file}", root="schema", verb="schema push")
    pushed = session.broker.post(f"/v1/schemas/{quote(name, safe='')}", content)
    if not session.shown.for_people:
        session.shown.data({"schema": pushed["schema"], "hash": pushed["hash"]})
    session.shown.say(f"Schema {pushed['schema']} is {'registered' if pushed.get('new', True) else 'there already'}.")
    session.shown.say(f"Next  dropoff queue add NAME --schema {pushed['schema']}")


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
