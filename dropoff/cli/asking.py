"""Questions before what cannot be undone. They are put only where somebody sits who can answer.

In a script nobody does: what would be asked has to be said on the line, or the command is refused as usage, with the
flag that says it. A question is shown on stderr, also with -q, for who answers must have read it.
"""

import sys
from typing import IO, Any

import click

from dropoff.cli.session import Session


class Declined(click.ClickException):
    """Somebody has said no. That is no error, and said calmly; but what the command is for was not done, so a chain of
    commands must not go on: 1, as after a no to apt or terraform.
    """

    exit_code = 1

    def __init__(self) -> None:
        super().__init__("Nothing was changed.")

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, err=True)


def require_person(in_a_script: str) -> None:
    """Refuse where nobody can answer, and say what a script says instead."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(in_a_script)


def require_yes(session: Session, about: str, question: str) -> None:
    """Show what it is about, ask, and go on only with a yes."""
    session.shown.show_beside(about)
    if not click.confirm(question, err=True):
        raise Declined
