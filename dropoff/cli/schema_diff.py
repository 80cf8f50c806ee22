"""`dropoff schema diff`: what another contract means for those who know the old one, before anybody meets it.

A broker is asked only for a schema that is named rather than given as a file.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

import click

from dropoff.cli.schema_files import content_of, name_of
from dropoff.cli.session import Command, Session, pass_session
from dropoff.cli.shown import Column, as_json
from dropoff.core.handoff import NAME

if TYPE_CHECKING:
    from dropoff.contracts.compare import Comparison

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
    from dropoff.contracts.compare import compare

    if old == new == "-":
        raise click.UsageError("Only one of the two can be piped in.")
    before, after = _side(session, old), _side(session, new)
    senders, readers = compare(before.content, after.content), compare(after.content, before.content)
    if session.shown.for_people:
        _show_difference(session, before, after, senders, readers)
    else:
        import msgspec

        both = {"old": before.named, "new": after.named}
        session.shown.data({**both, **msgspec.to_builtins(senders), "readers": readers})
    return 0 if senders.verdict == "compatible" else DIFFERS


def _show_difference(
    session: Session, before: _Side, after: _Side, senders: "Comparison", readers: "Comparison"
) -> None:
    old, new = before.named, after.named
    session.shown.text(f"{senders.verdict}: {FOR_SENDERS[senders.verdict].format(old=old, new=new)}")
    if senders.changes:
        session.shown.table([Column("PATH"), Column("CHANGE")], [(one.path, one.says) for one in senders.changes])
    if senders.more:
        session.shown.text(f"and {senders.more} more")
    if senders.witness is not None:
        session.shown.text(f"This fits {old} and not {new}:")
        session.shown.text(as_json(senders.witness, 0))
    seen = "" if readers.witness is None else f", such as {as_json(readers.witness, 0)}"
    session.shown.text(FOR_READERS[readers.verdict].format(old=old, new=new) + seen)


FOR_SENDERS: Final = {
    "compatible": "all that fits {old} fits {new}",
    "incompatible": "not all that fits {old} fits {new}",
    "unknown": "treat it as incompatible. No rule says that all that fits {old} fits {new}, no payload shows that not",
}
FOR_READERS: Final = {
    "compatible": "A worker that knows {old} can read all that fits {new}",
    "incompatible": "A worker that knows {old} cannot read all that fits {new}",
    "unknown": "Whether a worker that knows {old} can read all that fits {new} is unknown",
}


def _side(session: Session, given: str) -> _Side:
    from dropoff.contracts import lint
    from dropoff.contracts.schema import split_ref

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
