"""What the whole surface has and this release has not yet: refused by name, never misunderstood.

Somebody who reads about a flag and types it must not see it ignored, and "no such option" would send them looking for
their own mistake. One table for commands, flags and keys of dropoff.toml; each row says what to do until then. What is
in the table is left out of `--help`, and a row is deleted by whoever builds the thing.
"""

from collections.abc import Iterable
from typing import Any, Final

import click

_BEARER: Final = "until then an agent proves itself by a bearer: dropoff agent add NAME --grant …"
_HANDOFF: Final = "until then see: dropoff handoff show ID"
_LEDGER: Final = "until then read the entries with: dropoff ledger tail"
_ACCESS: Final = "until then an operator grants by: dropoff agent grant NAME GRANT"

COMMANDS: Final[dict[str, str]] = {
    "access": _ACCESS,
    "agent keygen": _BEARER,
    "agent rotate": "until then make an agent with another name, and revoke this one",
    "bench": "until then time `dropoff drop` and `dropoff pick` yourself",
    "handoff trace": _HANDOFF,
    "ledger export": _LEDGER,
    "ledger head": _LEDGER,
    "ledger prove": _LEDGER,
    "ledger verify": _LEDGER,
    "mcp": "until then clients connect to /mcp over HTTP: dropoff agent add NAME prints how",
}

OPTIONS: Final[dict[str, dict[str, str]]] = {
    "": {"--profile": "until then say where the broker is with --url or DROPOFF_URL"},
    "agent add": {
        "--public-key": _BEARER,
        "--key-file": _BEARER,
        "--secret": _BEARER,
        "--ttl": "until then a bearer is good until its agent is revoked",
    },
    "handoff ls": {"--by": "until then list by queue and state: dropoff handoff ls --queue Q --state dead"},
    "queue add": {"--accepts": "until then a queue has one schema"},
}

TOML: Final[dict[str, dict[str, str]]] = {
    "": {
        "access": _ACCESS,
        "limits": "until then no agent has limits of its own",
        "rules": _ACCESS,
    },
    "queues": {
        "accepts": "until then a queue has one schema",
        "durability": "until then each receipt says how durable it is",
        "limits": "until then a queue has one limit: max_waiting",
        "on_dead": "until then dead handoffs stay where they are",
        "partition": "until then every queue is in the one partition",
    },
    "agents": {
        "issuer": _BEARER,
        "limits": "until then a grant has no limits",
        "may_ask": _ACCESS,
        "proof": _BEARER,
        "public_key": _BEARER,
        "subject": _BEARER,
        "until": "until then a grant ends by: dropoff agent ungrant NAME GRANT",
    },
}


class Later(click.ClickException):
    """Something that comes with a later release was asked for."""

    exit_code = 2

    def __init__(self, what: str, until: str) -> None:
        super().__init__(f"{what} comes with a later release; {until}.")


def command(path: str) -> click.Command | None:
    """A command that refuses whatever is asked of it, help too; None if the path is not in the table."""
    until = COMMANDS.get(path)
    if until is None:
        return None

    def refuse(**_: Any) -> None:
        raise Later(f"dropoff {path}", until)

    return click.Command(
        path.rpartition(" ")[2],
        callback=refuse,
        params=[click.Argument(["rest"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True},
        add_help_option=False,
        hidden=True,
    )


def refuse_options(path: str, args: Iterable[str]) -> None:
    """Raise `Later` if one of the flags on the line is in the table."""
    known = OPTIONS[""] | OPTIONS.get(path, {})
    for word in args:
        if word == "--":
            return
        name = word.partition("=")[0]
        if name in known:
            raise Later(f"dropoff {path} {name}" if path and name not in OPTIONS[""] else name, known[name])
