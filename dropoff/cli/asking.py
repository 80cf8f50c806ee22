"""Questions before what cannot be undone. They are put only where somebody sits who can answer.

In a script nobody does: what would be asked has to be said on the line, or the command is refused as usage, with the
flag that says it. A question is shown on stderr, also with -q, for who answers must have read it.
"""

import sys

import click

from dropoff.cli.session import Session


class Declined(click.ClickException):
    """Somebody has said no: not what the command is for, so no success."""

    exit_code = 1

    def __init__(self) -> None:
        super().__init__("Nothing was changed.")


def require_person(in_a_script: str) -> None:
    """Refuse where nobody can answer, and say what a script says instead."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(in_a_script)


def require_yes(session: Session, about: str, question: str) -> None:
    """Show what it is about, ask, and go on only with a yes."""
    session.shown.show_beside(about)
    if not click.confirm(question, err=True):
        raise Declined
