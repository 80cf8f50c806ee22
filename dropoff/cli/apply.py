"""`dropoff apply`: make a broker what dropoff.toml says. Again and again: what is already so stays as it is."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click

from dropoff.cli import bearers
from dropoff.cli.session import Command, Session, pass_session
from dropoff.cli.shown import Column, Row

if TYPE_CHECKING:
    from dropoff.cli.plan import Change, Plan, There

DONE: Final = {
    "make": "made",
    "edit": "edited",
    "resume": "resumed",
    "pause": "paused",
    "drain": "draining",
    "grant": "granted",
    "ungrant": "taken",
    "nothing": "unchanged",
}
WOULD: Final = {
    "make": "would make",
    "edit": "would edit",
    "resume": "would resume",
    "pause": "would pause",
    "drain": "would drain",
    "grant": "would grant",
    "ungrant": "would take",
    "nothing": "unchanged",
}

COLUMNS: Final = [Column("CHANGE"), Column("WHAT"), Column("NAME"), Column("")]


class Conflict(click.ClickException):
    """What is there and what the file says cannot both be."""

    exit_code = 5


class Missing(click.ClickException):
    """The file builds on what is not there."""

    exit_code = 3


@click.command(cls=Command)
@click.argument("file", default="dropoff.toml", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--prune", is_flag=True, help="Take grants that the file does not name. Agents and queues stay.")
@pass_session
def apply(session: Session, file: Path, dry_run: bool, prune: bool) -> None:
    """Make schemas, queues and agents as FILE says.

    FILE is dropoff.toml if nothing is said. What is already so stays as it is, so it can be applied again and again;
    settings of a queue are edited to what FILE says. Everything is checked first: a queue with another schema, or with
    a version that the new one is not compatible with, is a conflict (exit code 5), and then nothing is done. The
    bearers of new agents are put into files in the data folder, for your eyes only.
    """
    from dropoff.cli import plan, setup_file

    wanted = setup_file.read(file)
    made = plan.make(wanted, _there(session), prune=prune)
    _require_possible(session, made, file)
    rows: list[Row] = []
    try:
        rows.extend(_row(change, WOULD) if dry_run else _do(session, change) for change in made.changes)
    finally:
        # Said even when a change was refused in the middle, for then it matters most what has been done.
        cells = [(row["change"], row["kind"], row["name"], row.get("detail", "")) for row in rows]
        session.shown.many(rows, COLUMNS, cells, "")
    if not rows:
        session.shown.say(f"{file} asks for nothing. dropoff init writes one to begin from.")
    if dry_run:
        session.shown.say("Nothing was done: this was a dry run.")


def _there(session: Session) -> "There":
    from dropoff.cli.plan import There

    def content(ref: str) -> Any:
        return session.broker.get(f"/v1/schemas/{quote(ref, safe='')}")["content"]

    schemas = session.broker.get("/v1/schemas")["schemas"]
    return There(
        schemas={one["schema"]: one["hash"] for one in schemas},
        queues=session.broker.get("/v1/queues")["queues"],
        agents=session.broker.get("/v1/agents")["agents"],
        content=content,
    )


def _require_possible(session: Session, made: "Plan", file: Path) -> None:
    if made.missing:
        raise Missing(_listed(f"{file} cannot be applied. Nothing was changed.", made.missing))
    if made.conflicts:
        raise Conflict(_listed(f"{file} and what is there cannot both be. Nothing was changed.", made.conflicts))
    for change in made.changes:
        if (change.doing, change.kind) == ("make", "agent"):
            bearers.require_free(session.data_folder, change.name)


def _listed(words: str, lines: tuple[str, ...]) -> str:
    return "\n".join([words, *(f"- {line}" for line in lines)])


def _do(session: Session, change: "Change") -> Row:
    if (change.doing, change.kind) == ("make", "agent"):
        return _make_agent(session, change)
    if change.doing != "nothing":
        session.broker.post(_path(change), change.body)
    return _row(change, DONE)


def _path(change: "Change") -> str:
    if change.doing == "make":
        schema = f"/v1/schemas/{quote(change.name.rpartition('@')[0], safe='')}"
        return schema if change.kind == "schema" else "/v1/queues"
    return f"/v1/{change.kind}s/{quote(change.name, safe='')}/{change.doing}"


def _make_agent(session: Session, change: "Change") -> Row:
    with bearers.kept(session.data_folder, change.name) as keep:
        keep(session.broker.post("/v1/agents", change.body)["bearer"])
    file = bearers.path_for(session.data_folder, change.name)
    session.shown.say(f"The bearer of '{change.name}' is in {file}")
    return {**_row(change, DONE), "credential_file": str(file)}


def _row(change: "Change", words: dict[str, str]) -> Row:
    row = {"change": words[change.doing], "kind": change.kind, "name": change.name}
    return row | ({"detail": change.detail} if change.detail else {})
