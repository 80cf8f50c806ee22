"""What a client hears or finds out by itself, each with the exit code of a command that ends with it.

`RemoteError` is a refusal of the broker's own; its code, sentence and problems are what the broker said. The other two
never cross the network, so they are not in the table of `dropoff/errors.py`.
"""

# Inside the broker a code belongs to a class; here it comes with each answer.
# pyright: reportIncompatibleVariableOverride=false

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import msgspec

from dropoff import errors
from dropoff.errors import DropoffError, Problem, Retry

UNEXPECTED: Final = 1


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a `problem+json` that matter here. Others may come with newer brokers, and do no harm."""

    code: str
    detail: str
    status: int
    retry: Retry = "never"
    problems: tuple[Problem, ...] = ()


class RemoteError(DropoffError):
    """The broker's refusal, as it was said."""

    code: str
    retry: Retry
    http_status: int
    exit_code: int

    def __init__(self, said: Said) -> None:
        super().__init__(said.detail)
        self.code = said.code
        self.retry = said.retry
        self.http_status = said.status
        self.exit_code = exit_codes().get(said.code, UNEXPECTED)  # unknown: a broker newer than this client
        self.problems = said.problems
        self.said: Final = said

    def sentence(self) -> str:
        return self.said.detail


@cache
def exit_codes() -> dict[str, int]:
    return {row["code"]: row["exit_code"] for row in errors.table()}


def said(content: bytes) -> Said | None:
    """What a `problem+json` says; None if it is none."""
    try:
        return msgspec.json.decode(content, type=Said)
    except msgspec.DecodeError:
        return None


@dataclass(eq=False, kw_only=True)
class BrokerUnreachable(DropoffError):
    """Nobody answers, or somebody who is no broker."""

    code = "broker_unreachable"
    retry = "later"
    http_status = 503
    exit_code = 8

    url: str
    why: str
    sent: bool = False  # whether a call may have arrived
    read: bool = False  # it could not have changed anything

    def sentence(self) -> str:
        what = f"No broker answers at {self.url} ({self.why})."
        if self.sent and self.read:
            return f"{what} See that the broker runs (dropoff up), then ask again."
        if self.sent:
            return (
                f"{what} The call may have arrived: it is not known whether anything was stored. See that the broker "
                "runs (dropoff up), then repeat the call."
            )
        return f"{what} Nothing was sent. Start one with: dropoff up, or say where it is by --url or DROPOFF_URL."


@dataclass(eq=False)
class CredentialUnusable(DropoffError):
    """There is no credential, or none that may be used like this."""

    code = "credential_unusable"
    retry = "after_mending"
    http_status = 401
    exit_code = 4

    reason: str

    def sentence(self) -> str:
        return self.reason


def as_object(content: bytes) -> dict[str, Any] | None:
    """An answer's fields; None if it is not what a broker answers."""
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.DecodeError:
        return None
