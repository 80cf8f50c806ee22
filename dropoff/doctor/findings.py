"""What a check says: a verdict, a sentence, and the fix.

broken   what was promised is not kept, or will not be; or work is refused
warning  something is less than it could be, or will be refused as soon as somebody tries
note     nothing is wrong, and work stands still: somebody has said so, and `fix` is what ends it
ok       said too: who asks wants to know what was looked at
"""

from typing import Literal, NamedTuple

import msgspec

Verdict = Literal["ok", "note", "warning", "broken"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check says. `fix` is what to do, a command where there is one; empty where all is well."""

    check: str
    verdict: Verdict
    says: str
    fix: str = ""


class Said(NamedTuple):
    verdict: Verdict
    says: str
    fix: str = ""


def found(check: str, said: Said) -> Finding:
    return Finding(check=check, verdict=said.verdict, says=said.says, fix=said.fix)


def refusal(reason: str) -> Said:
    """A refusal to start, whose last sentence says what to do about it."""
    says, _, fix = reason.rpartition(". ")
    return Said("broken", f"{says}." if says else fix, fix if says else "")
