"""The settings of a queue as people say them and read them: one table for flags, `queue show`, and dropoff.toml.

The names are the broker's own (`operations.NewQueue`), so what a flag says is what is sent, and what is sent is what a
queue shows afterwards. A flag out of its range is refused here, by the name that was typed; the broker judges again.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from dropoff.cli.given import WORDS
from dropoff.cli.shown import in_one_line
from dropoff.cli.times import Duration, DurationOrNever
from dropoff.core import limits
from dropoff.errors import length


def _length_or_never(seconds: int) -> str:
    return length(seconds) if seconds else "never"


SHOWN: Final[dict[str, Callable[[Any], str]]] = {
    "schema": str,
    "result_schema": lambda ref: ref or "none",
    "purpose": lambda purpose: f"'{in_one_line(purpose)}'" if purpose else "none",
    "lease_seconds": length,
    "max_attempts": str,
    "max_bytes": "{:,}".format,
    "max_waiting": "{:,}".format,
    "approval": lambda approval: "by a person" if approval else "none",
    "expires_seconds": _length_or_never,
    "retention_seconds": length,
}

RANGES: Final = limits.QUEUE_SETTINGS


def _range(name: str) -> str:
    least, most = RANGES[name]
    return f"{length(least)} to {length(most)}"


def _a_schema(ctx: click.Context, param: click.Parameter, ref: str | None) -> str | None:
    """An empty one is a slip, of a script whose variable is not set: it must not take the contract away."""
    if ref == "":
        raise click.BadParameter("is empty. Name a schema, or say --no-result-schema.", ctx, param)
    return ref


OPTIONS: Final = (
    click.option(
        "--result-schema", metavar="NAME[@V]", default=None, callback=_a_schema, help="What results must fit."
    ),
    click.option("--no-result-schema", is_flag=True, default=None, help="Any object is a result."),
    click.option("--purpose", type=WORDS, default=None, help="What it is for, in a sentence that agents read."),
    click.option(
        "--lease",
        "lease_seconds",
        type=Duration(*RANGES["lease_seconds"]),
        default=None,
        help=f"How long a picker holds work before others get it: {_range('lease_seconds')}.",
    ),
    click.option(
        "--max-attempts",
        type=click.IntRange(*RANGES["max_attempts"]),
        default=None,
        help="Failures before a handoff is dead.",
    ),
    click.option("--max-bytes", type=click.IntRange(*RANGES["max_bytes"]), default=None, help="The largest payload."),
    click.option(
        "--max-waiting", type=click.IntRange(*RANGES["max_waiting"]), default=None, help="How many may wait at once."
    ),
    click.option(
        "--expires",
        "expires_seconds",
        type=DurationOrNever(*RANGES["expires_seconds"]),
        default=None,
        help="What nobody has taken in this time expires: 7d, up to 365d, or never.",
    ),
    click.option(
        "--retention",
        "retention_seconds",
        type=Duration(*RANGES["retention_seconds"]),
        default=None,
        help=f"What ended is forgotten after this time: {_range('retention_seconds')}.",
    ),
    click.option("--approval/--no-approval", default=None, help="Whether a person must approve each handoff first."),
)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """All settings as flags; one that is not said is None."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def said(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those that were said on the line, by the names that the broker gives them."""
    said = {name: value for name, value in settings.items() if value is not None}
    if said.pop("no_result_schema", False):
        if "result_schema" in said:
            raise click.UsageError("Say either --result-schema or --no-result-schema.")
        said["result_schema"] = ""
    return said


def label(name: str) -> str:
    return name.removesuffix("_seconds").replace("_", " ")


def shown(name: str, settings: Mapping[str, Any]) -> str:
    return SHOWN[name](settings[name])


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What is another value in `after`, each as `lease 90s → 5m`."""
    changed = [name for name in SHOWN if name in after and before[name] != after[name]]
    return [f"{label(name)} {shown(name, before)} → {shown(name, after)}" for name in changed]
