"""The root of all commands, and what an error becomes: a sentence on stderr and an exit code.

The codes are those of `dropoff.errors`, the same table as for every other door: 0 ok · 1 unexpected, or a question
answered with no · 2 usage · 3 not found · 4 not allowed · 5 conflict · 6 payload rejected · 7 nothing to pick up ·
8 broker or store unreachable · 9 degraded, or not compatible · 10 try later. Ctrl-C ends with 130, as shells do, for
that is not an answer of ours.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import click

import dropoff
from dropoff.cli import (
    agents,
    apply,
    config,
    doctor,
    first,
    freezing,
    handoffs,
    ledger,
    queues,
    schemas,
    serving,
    starter,
    work,
)
from dropoff.cli.session import Group, Session
from dropoff.cli.shown import harmless
from dropoff.errors import DropoffError

UNEXPECTED: Final = 1
INTERRUPTED: Final = 130

EPILOG: Final = """\b
Data goes to stdout, words to stderr. Exit codes: 0 ok, 1 unexpected or answered with no,
2 usage, 3 not found, 4 not allowed, 5 conflict, 6 payload rejected, 7 nothing to pick up,
8 unreachable, 9 degraded or not compatible, 10 try later, 130 interrupted.

\b
Shell completion:  bash  eval "$(_DROPOFF_COMPLETE=bash_source dropoff)"
                   zsh   eval "$(_DROPOFF_COMPLETE=zsh_source dropoff)"
                   fish  _DROPOFF_COMPLETE=fish_source dropoff | source
"""


class Root(Group):
    """Turns whatever a command raises into what a person reads and a script branches on."""

    def main(  # click's own signature
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        extra |= {"complete_var": complete_var, "windows_expand_args": windows_expand_args, "standalone_mode": False}
        sys.exit(self._code_of(args, prog_name, extra))

    def _code_of(self, args: Sequence[str] | None, prog_name: str | None, extra: dict[str, Any]) -> int:
        stdout = sys.stdout
        try:
            code = super().main(args, prog_name, **extra)
            sys.stdout.flush()  # here, where a closed pipe is still ours to hear of
            return code if isinstance(code, int) else 0
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except DropoffError as error:
            click.echo(f"Error: {harmless(error.sentence())}", err=True)
            return error.exit_code
        except (click.Abort, KeyboardInterrupt):
            click.echo("Interrupted.", err=True)
            return INTERRUPTED
        except SystemExit:
            if sys.stdout is not stdout:
                return 0  # click has put it aside: whoever read us has read enough, which is no failure
            raise
        except BrokenPipeError:
            # The same, found out at the last flush. Python would complain once more when it closes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except Exception as error:  # noqa: BLE001  # the last place where anything can be said about it
            return _unexpected(error, args)


def _unexpected(error: Exception, args: Sequence[str] | None) -> int:
    words = set(sys.argv[1:] if args is None else args)
    if words & {"-v", "--verbose"}:
        import traceback

        click.echo(harmless(traceback.format_exc()), err=True)
        return UNEXPECTED
    click.echo(f"Error: {type(error).__name__}: {harmless(str(error))}. With -v you see where.", err=True)
    return UNEXPECTED


@click.group(cls=Root, invoke_without_command=True, epilog=EPILOG)
@click.version_option(dropoff.__version__, message="dropoff %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """A hand-off broker for AI agents: drop off work in one process, pick it up in another."""
    session = ctx.ensure_object(Session)
    ctx.call_on_close(session.close)
    if ctx.invoked_subcommand is None:
        first.show(session)


for command in (
    serving.up,
    serving.demo,
    starter.init,
    apply.apply,
    work.drop,
    work.pick,
    work.complete,
    work.back,
    queues.queue,
    schemas.schema,
    agents.agent,
    handoffs.handoff,
    ledger.ledger,
    freezing.freeze,
    freezing.thaw,
    config.config,
    doctor.doctor,
):
    cli.add_command(command)
