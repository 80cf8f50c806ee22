"""`dropoff config`: what a broker started here, and a command run here, would be told, and by whom.

It looks at this line and this environment, and for a broker of the data folder, which commands would ask. A broker that
runs already was told by its own; what has to do with both is said by `dropoff doctor`.
"""

import os
from typing import TYPE_CHECKING, Any, Final

import click

from dropoff.cli.session import Group, Session, pass_session
from dropoff.cli.shown import Column

if TYPE_CHECKING:
    from dropoff.settings import Found, Setting

COLUMNS: Final = (
    Column("SETTING", whole=True),
    Column("VARIABLE", whole=True),
    Column("VALUE"),
    Column("FROM", whole=True),
)


@click.group(cls=Group)
def config() -> None:
    """What brokers and commands are told here."""


@config.command()
@pass_session
def show(session: Session) -> None:
    """Each value, and where it came from. Passwords are left out."""
    from dropoff.settings import FOR_CLIENTS, SETTINGS, URL, Found, find, settings

    said = {"data": session.data, "credential_file": session.credential_file}
    broker = settings(said, os.environ)
    found = [(row, Found(getattr(broker, row.name), broker.came_from[row.name])) for row in SETTINGS]
    found += [
        (row, url_asked(session) if row is URL else find(row, said.get(row.name), os.environ)) for row in FOR_CLIENTS
    ]
    items = [_item(*one) for one in found]
    session.shown.many(items, COLUMNS, (_cells(*one) for one in found), empty="")


def url_asked(session: Session) -> "Found":
    """The broker that is asked here, and what said it. Raises `SettingInvalid` where that is no URL."""
    from dropoff.settings import URL, Found, find

    found = find(URL, session.url, os.environ)
    here = session.asked_url if found.came_from == "default" else ""
    return Found(here, "data folder") if here else found


def _item(row: "Setting", found: "Found") -> dict[str, Any]:
    return {
        "setting": row.name,
        "value": row.plain(found.value),
        "from": found.came_from,
        "variable": row.variable,
        "flag": row.flag,
    }


def _cells(row: "Setting", found: "Found") -> tuple[str, str, str, str]:
    came_from = row.flag if found.came_from == "flag" else found.came_from
    return row.name, row.variable, row.shown(found.value), came_from
