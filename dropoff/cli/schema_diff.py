"""`dropoff schema diff`: what another contract means for those who know the old one, before anybody meets it.

A broker is asked only for a schema that is named rather than given as a file.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import click

from dropoff.cli.schema_files import content_of, name_of
from dropoff.cli.session import Command, Session, pass_session
from dropoff.cli.shown import Column, as_json
from dropoff.core.handoff import NAME

Json = dict[str, Any]

DIFFERS: Final = 9  # 1 is a crash, too, and a build must not take one for an answer


class _Side(NamedTuple):
    """One of the two schemas, as it is called in the answer."""

    named: str
    content: Json


@click.command(cls=Command)
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@pass_session
def diff(session: Session, old: str, new: str) -> int:
    """Say what changing the contract from OLD to NEW means for those who know OLD.

    Each is a file, - for what is piped in, or a registered schema: research@2, or research for its newest version. A
    file that is there comes first.

    Ends with 0 if all that fits OLD fits NEW, so that every sender may go on; with 9 if not, or if nobody can tell. A
    payload that shows it is given where one was found. The other direction, whether a worker that knows OLD can read
    all that fits NEW, is told, and does not count.
    """
    import msgspec

    from dropoff.contracts.compare import compare

    if old == new == "-":
        raise click.UsageError("Only one of the two can be piped in.")
    before, after = _side(session, old), _side(session, new)
    senders: Json = msgspec.to_builtins(compare(before.content, after.content))
    readers: Json = msgspec.to_builtins(compare(after.content, before.content))
    if session.shown.for_people:
        show_difference(session, before.named, after.named, senders, senders["more"])
        seen = "" if readers["witness"] is None else f", such as {as_json(readers['witness'], 0)}"
        session.shown.text(FOR_READERS[readers["verdict"]].format(old=before.named, new=after.named) + seen)
    else:
        session.shown.data({"old": before.named, "new": after.named, **senders, "readers": readers})
    return 0 if senders["verdict"] == "compatible" else DIFFERS


def show_difference(session: Session, old: str, new: str, found: Json, more: int) -> None:
    """What changing from `old` to `new` means for senders: verdict, changes, and a witness where there is one."""
    session.shown.text(f"{found['verdict']}: {FOR_SENDERS[found['verdict']].format(old=old, new=new)}")
    if found["changes"]:
        changes = [(one["path"], one["says"]) for one in found["changes"]]
        session.shown.table([Column("PATH"), Column("CHANGE")], changes)
    if more:
        session.shown.text(f"and {more} more")
    if found["witness"] is not None:
        session.shown.text(f"This fits {old} and not {new}:")
        session.shown.text(as_json(found["witness"], 0))


FOR_SENDERS: Final = {
    "compatible": "all that fits {old} fits {new}",
    "incompatible": "not all that fits {old} fits {new}",
    "unknown": (
        "treat it as incompatible. Nobody can tell: that all that fits {old} fits {new} is not proved, "
        "and no payload was found that fits {old} alone"
    ),
}
FOR_READERS: Final = {
    "compatible": "A worker that knows {old} can read all that fits {new}",
    "incompatible": "A worker that knows {old} cannot read all that fits {new}",
    "unknown": "Whether a worker that knows {old} can read all that fits {new} is unknown",
}


def _side(session: Session, given: str) -> _Side:
    from dropoff.contracts import lint
    from dropoff.core.refs import split_ref

    path = Path(given)
    if given == "-" or path.is_file() or path.suffix == ".json" or len(path.parts) > 1:
        content = content_of(given, "diff")
        lint.require(name_of(given), content)
        return _Side("what is piped in" if given == "-" else given, content)
    ref = split_ref(given)
    if ref is None or not NAME.match(ref[0]):
        raise click.UsageError(f"'{given}' is no file that is there, and no schema; write brief@1, or brief.")
    found = session.broker.get(f"/v1/schemas/{quote(given, safe='')}")
    return _Side(found["schema"], found["content"])
