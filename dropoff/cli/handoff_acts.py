"""What operators do to one handoff: withdraw, release, approve, deny, resubmit.

Each is bound to what its operator has seen: `release` to one lease, so that a newer holder is left alone, `approve` and
`deny` to the digest of one payload. On a terminal the command shows it, and sends the digest of just that; in a script
the digest stands on the line, since there nobody has looked.
"""

from typing import Final
from urllib.parse import quote

import click

from dropoff.cli import asking
from dropoff.cli.given import WORDS
from dropoff.cli.remote import Answer
from dropoff.cli.session import Command, Session, pass_session
from dropoff.cli.shown import Column, Row, as_json, in_one_line
from dropoff.cli.times import iso
from dropoff.core import lease as leases
from dropoff.core.lifecycle import HELD, LEASED
from dropoff.errors import DigestDiffers, DropoffError

HOW_IT_STANDS: Final = {
    "waiting": "It waits, and may be picked up.",
    "scheduled": "It waits for its time, and may be picked up then.",
    "dead": "It was handed out too often, and is dead.",
    "withdrawn": "Its withdrawal had been asked; it is withdrawn.",
    "rejected": "It is rejected, which is final; its sender reads the reason.",
}

NO_DIGEST: Final = "none"

RESUBMITTED: Final = [Column("OLD", whole=True), Column("NEW", whole=True), Column("STATUS")]


class Elsewhere(click.ClickException):
    """The handoff is not where this act would find it."""

    exit_code = 5


@click.command(cls=Command)
@click.argument("handoff_id", metavar="ID")
@click.option("--reason", type=WORDS, default="", help="Why; it stands in the ledger.")
@pass_session
def withdraw(session: Session, handoff_id: str, reason: str) -> None:
    """Take a handoff back. While somebody holds it, its holder is asked."""
    answer = session.broker.post(f"{_at(handoff_id)}/withdraw", {"reason": reason})
    if not session.shown.for_people:
        session.shown.data(answer)
    if answer["status"] == "withdrawn":
        session.shown.say(f"Withdrawn {handoff_id}.")
    else:
        session.shown.say(f"Somebody holds {handoff_id}, and reads at the next extend_lease that it is withdrawn.")
        session.shown.say(f"Next  dropoff handoff release {handoff_id}      ends it without waiting for the holder")


@click.command(cls=Command)
@click.argument("which", metavar="ID|LEASE")
@click.option("--reason", type=WORDS, default="", help="Why; the next holder reads it.")
@pass_session
def release(session: Session, which: str, reason: str) -> None:
    """Take work from a holder that hangs. It counts as nobody's failure.

    Just the lease that is named, or that was there when the ID was looked at: who holds the handoff under a newer one
    is not disturbed.
    """
    lease = leases.parse(which)
    handoff_id, lease_id = (lease.handoff_id, which) if lease else (which, _lease_of(session, which))
    answer = session.broker.post(f"{_at(handoff_id)}/release", {"lease_id": lease_id, "reason": reason})
    _done(session, answer, f"Released {lease_id}.")


def _lease_of(session: Session, handoff_id: str) -> str:
    """The lease that is seen now, said with its holder."""
    found = session.broker.get(_at(handoff_id))
    if found["state"] != LEASED:
        raise Elsewhere(f"Handoff {handoff_id} is {found['state']}: nobody holds it. Nothing was changed.")
    session.shown.say(
        f"Held by '{found['held_by']}' since {_since(found)}, under a lease until {found['lease_ends_at']}."
    )
    return found["lease_id"]


def _since(found: Answer) -> str:
    """When its holder has picked it up, by the ledger."""
    picked: list[Answer] = [entry for entry in found["entries"] if entry["step"] == "pick_up"]
    return iso(picked[-1]["at"]) if picked else "an unknown time"


@click.command(cls=Command)
@click.argument("handoff_id", metavar="ID")
@click.option(
    "--digest", default="", help="Of the payload that was looked at. Without it you are shown the payload, and asked."
)
@click.option("--reason", type=WORDS, default="", help="Why; it stands in the ledger.")
@pass_session
def approve(session: Session, handoff_id: str, digest: str, reason: str) -> None:
    """Let a held handoff go to those who pick up. Its own sender cannot do that: it takes somebody else."""
    _judge(session, handoff_id, "approve", digest, reason)


@click.command(cls=Command)
@click.argument("handoff_id", metavar="ID")
@click.option(
    "--digest", default="", help="Of the payload that was looked at. Without it you are shown the payload, and asked."
)
@click.option("--reason", type=WORDS, required=True, help="Why; its sender reads it.")
@pass_session
def deny(session: Session, handoff_id: str, digest: str, reason: str) -> None:
    """Refuse a held handoff, for good. Its own sender cannot: it may withdraw it."""
    _judge(session, handoff_id, "deny", digest, reason)


def _judge(session: Session, handoff_id: str, verb: str, digest: str, reason: str) -> None:
    if not digest:
        _require_another(session, handoff_id, verb)
        asking.require_person(
            f"Say the digest of the payload that you {verb}: --digest D. "
            f"It stands in: dropoff handoff show {handoff_id} -o json"
        )
        digest = _looked_at(session, handoff_id, verb)
    answer = session.broker.post(f"{_at(handoff_id)}/{verb}", {"digest": digest, "reason": reason})
    _done(session, answer, f"{'Approved' if verb == 'approve' else 'Denied'} {handoff_id}.")


def _require_another(session: Session, handoff_id: str, verb: str) -> None:
    """Refuse whoever dropped it off before anything is shown or asked. The broker says who that is: it judges the
    sender before the digest, and no payload has the one that is sent here.
    """
    try:
        session.broker.post(f"{_at(handoff_id)}/{verb}", {"digest": NO_DIGEST})
    except DropoffError as refused:
        if refused.code != DigestDiffers.code:
            raise


def _looked_at(session: Session, handoff_id: str, verb: str) -> str:
    """The digest of the payload that somebody has just been shown, and has said yes to."""
    found = session.broker.get(_at(handoff_id))
    if found["state"] != HELD:
        raise Elsewhere(f"Handoff {handoff_id} is {found['state']}, not held. Nothing was changed.")
    note = f"note     {in_one_line(found['note'])}\n" if found.get("note") else ""
    about = f"queue    {found['queue']}\nfrom     {found['from_agent']}, at {found['dropped_off_at']}\n{note}"
    asking.require_yes(session, f"{about}payload  {as_json(found['payload'])}", f"{verb.title()} it?")
    return found["digest"]


@click.command(cls=Command)
@click.argument("handoff_ids", nargs=-1, required=True, metavar="ID…")
@pass_session
def resubmit(session: Session, handoff_ids: tuple[str, ...]) -> None:
    """Put what has ended back. Each is a new handoff that names the old.

    Said again it is the same new handoff, so after a refusal in the middle all of them can be said again.
    """
    rows: list[Row] = []
    try:
        for handoff_id in handoff_ids:
            answer = session.broker.post(f"{_at(handoff_id)}/resubmit", {})
            rows.append({"resubmit_of": handoff_id, **answer})
    finally:
        # Said even when one was refused in the middle, for then it matters most what has been done.
        cells = [(row["resubmit_of"], row["handoff_id"], row["status"]) for row in rows]
        session.shown.many(rows, RESUBMITTED, cells, "")


def _done(session: Session, answer: Answer, words: str) -> None:
    if not session.shown.for_people:
        session.shown.data(answer)
    session.shown.say(f"{words} {HOW_IT_STANDS.get(answer['state'], '')}".rstrip())


def _at(handoff_id: str) -> str:
    return f"/v1/handoffs/{quote(handoff_id, safe='')}"
