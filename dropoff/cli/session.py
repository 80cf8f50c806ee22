"""One run of the command line: what was said for all commands, anywhere on the line.

`dropoff -o json queue ls`, `dropoff queue -o json ls` and `dropoff queue ls -o json` are the same. So every command has
the global options among its own; their values go into the session, not to the command.
"""

import os
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from dropoff.cli import later
from dropoff.cli.remote import Remote
from dropoff.cli.shown import Format, Shown
from dropoff.core import places
from dropoff.process import serving_here


class Session:
    """What the commands of one line share."""

    def __init__(self) -> None:
        self.output: Format | None = None
        self.data: str | None = None
        self.url: str | None = None
        self.credential_file: str | None = None
        self.no_color = False
        self.quiet = False
        self.verbose = False

    @cached_property
    def shown(self) -> Shown:
        color = not self.no_color and not os.environ.get("NO_COLOR")
        return Shown(self.output, quiet=self.quiet, verbose=self.verbose, color=color)

    @cached_property
    def broker(self) -> Remote:
        """The broker of this line; reached when it is first asked something."""
        return Remote(self.asked_url, self.credential_file, self.data_folder, self.shown.tell)

    @cached_property
    def asked_url(self) -> str:
        """The broker that is named, on the line or by DROPOFF_URL; else the data folder's; "" for the usual one."""
        return self.url or os.environ.get("DROPOFF_URL", "") or serving_here.to_ask(self.data_folder)

    @property
    def data_folder(self) -> Path:
        found = self.data or places.data_folder(os.environ, str(Path.home()), sys.platform)
        return Path(found).expanduser().absolute()

    def close(self) -> None:
        if "broker" in self.__dict__:
            self.broker.close()


pass_session = click.make_pass_decorator(Session, ensure=True)


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """What was said later on the line wins; what was not said changes nothing."""
    if value not in (None, False):
        session = ctx.find_root().ensure_object(Session)
        setattr(session, param.name, value)


def _global_options() -> list[click.Parameter]:
    """Made anew for each command, since click writes into what it is given."""
    common: dict[str, Any] = {"expose_value": False, "callback": _keep}
    return [
        click.Option(
            ["-o", "--output"],
            type=click.Choice(["table", "json", "jsonl"]),
            help="How data is shown: a table on a terminal, JSON elsewhere.",
            **common,
        ),
        click.Option(
            ["--data"],
            type=click.Path(file_okay=False),
            help="The data folder (or DROPOFF_DATA).",
            metavar="DIR",
            **common,
        ),
        click.Option(
            ["--url"],
            help=f"The broker (or DROPOFF_URL; else that of the data folder, or http://127.0.0.1:{places.PORT}).",
            **common,
        ),
        click.Option(
            ["--credential-file"],
            type=click.Path(dir_okay=False),
            metavar="FILE",
            help="Who is calling (or DROPOFF_CREDENTIAL_FILE; else the operator of the data folder).",
            **common,
        ),
        click.Option(["--no-color"], is_flag=True, help="No colors (or NO_COLOR).", **common),
        click.Option(["-q", "--quiet"], is_flag=True, help="Only data and errors.", **common),
        click.Option(["-v", "--verbose"], is_flag=True, help="Each request as well.", **common),
    ]


_GLOBAL_NAMES = {option.name for option in _global_options()}


def path_of(ctx: click.Context) -> str:
    """`queue add`, for `dropoff queue add`."""
    return ctx.command_path.partition(" ")[2]


class Command(click.Command):
    """A command that takes the global options too, and refuses by name what comes later."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_global_options())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        later.refuse_options(path_of(ctx), args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_options(self, ctx, formatter)


class Group(click.Group):
    """A group whose commands are the above; those in the table of what comes later are there, and refuse."""

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_global_options())

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which somebody needs them, not by the alphabet."""
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        return found or later.command(f"{path_of(ctx)} {cmd_name}".strip())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        later.refuse_options("", args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)


def write_options(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """The command's own options; those that stand anywhere on the line in full only where they are at home."""
    own, everywhere = _records(command, ctx, False), _records(command, ctx, True)
    if own:
        with formatter.section("Options"):
            formatter.write_dl(own)
    if ctx.parent is None:
        with formatter.section("Anywhere on the line"):
            formatter.write_dl(everywhere)
    else:
        with formatter.section("Anywhere on the line"):
            formatter.write_text("-o table|json|jsonl  --data  --url  --credential-file  --no-color  -q  -v")


def _records(command: click.Command, ctx: click.Context, are_global: bool) -> Sequence[tuple[str, str]]:
    options = [param for param in command.get_params(ctx) if isinstance(param, click.Option)]
    params = [option for option in options if (option.name in _GLOBAL_NAMES) is are_global]
    return [record for param in params if (record := param.get_help_record(ctx)) is not None]
