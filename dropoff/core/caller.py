"""Who is calling, and as what: the principal's record, and the caller made from it for one request.

There is one kind of principal, agents and operators alike: credentials, grants, a state. A `Caller` is made here alone,
in three ways. `caller_of` is for `identity/`, and says what was proved: which principal, by which credential, at which
revision of its record. `caller_upkeep` is for what the clock starts, and `caller_shown` for a look at what a principal
is shown. The revision rides into every step, where the gate compares it: a decision made from an older record is never
carried out.
"""

from typing import Final, Literal, NewType

import msgspec

from dropoff.core import credential
from dropoff.core.grant import Grant
from dropoff.core.handoff import AgentName
from dropoff.errors import Unauthenticated

Revision = NewType("Revision", str)  # a number that rises; text, because Lua prints large numbers wrongly
Standing = Literal["active", "frozen", "revoked"]

EVERYONE: Final = AgentName("*")  # the gate's word for all callers at once; no agent can be named so
UPKEEP: Final = AgentName("upkeep")  # what the clock starts; reserved, and the gate lets it pass

RESERVED: Final = frozenset({UPKEEP, EVERYONE, AgentName("dropoff")})


class Principal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The record of an agent or operator."""

    agent: AgentName
    rev: Revision = Revision("0")
    standing: Standing = "active"
    grants: tuple[Grant, ...] = ()
    bearers: tuple[str, ...] = ()  # SHA-256 of each long bearer; the bearer itself is never kept
    reason: str = ""  # why it was revoked or frozen

    @property
    def governs(self) -> bool:
        """Whether it can act as an admin now. One always must: who would give the right back?"""
        return self.standing == "active" and any(grant.act == "admin" for grant in self.grants)


class Caller(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The principal that made *this* call."""

    agent: AgentName
    rev: Revision
    grants: tuple[Grant, ...] = ()
    credential: str = ""  # which credential proved it: an id that is safe to write down; "" where nobody calls
    trace: str = ""


def caller_upkeep() -> Caller:
    """The caller of what the clock starts. It has no grants: upkeep asks nobody, and nobody can ask as upkeep."""
    return Caller(agent=UPKEEP, rev=Revision("0"))


def caller_shown(principal: Principal) -> Caller:
    """What this principal would be as a caller. Nobody has proved it: for reading what it is shown, and for no verb."""
    return Caller(agent=principal.agent, rev=principal.rev, grants=principal.grants)


def caller_of(principal: Principal | None, bearer_hash_id: str, trace: str = "") -> Caller:
    """The caller that a proven credential stands for. One refusal for every cause: a stranger learns nothing."""
    if principal is None or principal.standing == "revoked":
        raise Unauthenticated
    if bearer_hash_id not in {credential.id_of(known) for known in principal.bearers}:
        raise Unauthenticated
    return Caller(
        agent=principal.agent, rev=principal.rev, grants=principal.grants, credential=bearer_hash_id, trace=trace
    )
