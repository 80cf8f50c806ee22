"""`dropoff freeze` and `dropoff thaw`: everything at once, and what it means for those who hold work.

A freeze takes nothing from anybody. What is held stays with its holder and its lease stands still; a thaw gives each
lease one whole lease time, so nobody loses work by it. Operators go on: who freezes must be able to look, and to thaw.
"""

import click

from dropoff.cli.given import WORDS
from dropoff.cli.session import Command, Session, pass_session
from dropoff.cli.shown import counted, in_one_line


@click.command(cls=Command)
@click.option("--reason", type=WORDS, default="", help="Why; queue ls and the ledger show it.")
@pass_session
def freeze(session: Session, reason: str) -> None:
    """Stop every agent at once, until `dropoff thaw`. In force from its very next call on.

    Nothing that is held is lost. Operators go on, but for one that is frozen by name.
    """
    changed = session.broker.post("/v1/freeze", {"reason": reason})
    if not session.shown.for_people:
        session.shown.data(changed)
    session.shown.say("Everything is frozen: nobody drops off, picks up or finishes. In force now.")
    say_stands_still(session, _leased(session))
    session.shown.say("Next  dropoff thaw")


@click.command(cls=Command)
@click.option("--reason", type=WORDS, default="", help="Why; it stands in the ledger.")
@pass_session
def thaw(session: Session, reason: str) -> None:
    """Let everybody go on. Each lease has one whole lease time from now."""
    changed = session.broker.post("/v1/thaw", {"reason": reason})
    if not session.shown.for_people:
        session.shown.data(changed)
    session.shown.say("Everybody may go on who is not frozen by name. In force now.")
    say_goes_on(session, _leased(session))


def say_stands_still(session: Session, leases: int) -> None:
    """What a freeze does to what is held."""
    if leases:
        stand = "1 lease is held; it stands" if leases == 1 else f"{leases:,} leases are held; they stand"
        session.shown.say(f"{stand} still, and a thaw gives each a whole lease time.")
    else:
        session.shown.say("No leases are held.")


def say_goes_on(session: Session, leases: int) -> None:
    if leases:
        have = "has" if leases == 1 else "have"
        session.shown.say(f"{counted(leases, 'lease')} {have} a whole lease time from now.")


def sentence(reason: str) -> str:
    """What to say beside whatever is shown while everything is frozen."""
    why = f' ("{in_one_line(reason)}")' if reason else ""
    return f"Everything is frozen{why}. It goes on with: dropoff thaw"


def _leased(session: Session) -> int:
    return sum(queue["leased"] for queue in session.broker.get("/v1/queues")["queues"])
