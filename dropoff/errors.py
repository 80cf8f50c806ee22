"""Every refusal: one name, one sentence, one code.

An error is divided by who can mend it: the caller (`after_mending`), time (`later`), or nobody (`never`). Its facts are
fields, its sentence is made from them, and the doors only translate: a tool result in MCP, `application/problem+json`
in HTTP, an exit code on the command line. A code never changes once it has been released.

Each sentence says what is wrong, what state the broker is in, and the next call to make, or to stop. It is written for
a model that reads nothing else; what operators read instead stands in `doors/http/operators/told.py`. "Nothing was
stored" is said only where that is certain. A refusal that comes before anybody has looked whether the same call was
heard before speaks "of this call" alone: it must not deny the first one. No sentence repeats more than 80 characters of
anybody's payload.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import msgspec

Retry = Literal["never", "after_mending", "later"]

PROBLEMS_SHOWN = 8  # a model mends eight problems at once well; a longer list hides the first
NAMES_SHOWN = 10


_LEASE_ID = re.compile(r"(?P<handoff_id>[a-z0-9._-]{1,64}-[0-9A-HJKMNP-TV-Z]{16})\.[0-9A-HJKMNP-TV-Z]{1,13}\Z")


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that is wrong with data from outside, and what would have been right."""

    path: str
    problem: str
    expected: str = ""
    got: str = ""


class ErrorRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as it crosses a process boundary."""

    code: str
    message: str
    retry: Retry
    problems: tuple[Problem, ...] = ()


class DropoffError(Exception):
    """What all refusals have in common."""

    code: ClassVar[str]
    retry: ClassVar[Retry]
    http_status: ClassVar[int]
    exit_code: ClassVar[int]

    problems: tuple[Problem, ...] = ()

    def sentence(self) -> str:
        raise NotImplementedError

    def __str__(self) -> str:
        return self.sentence()

    def record(self) -> ErrorRecord:
        return ErrorRecord(code=self.code, message=self.sentence(), retry=self.retry, problems=self.problems)


def named(names: Sequence[str], shown: int = NAMES_SHOWN) -> str:
    """The names in one breath: at most ten, then a count; "none" when there are none."""
    if not names:
        return "none"
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")


def size(amount: int) -> str:
    """To the byte: who is one byte over the limit must be able to see it."""
    return f"{amount:,} bytes"


def clock(time_ms: int) -> str:
    """The time of day in UTC to the second. Division only, for the core has no clock and needs none here."""
    seconds = time_ms // 1_000 % 86_400
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}Z"


def length(seconds: int) -> str:
    """A setting as somebody would write it, and exact: `5m`, `90s`, `7d`."""
    units = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
    unit = next(unit for unit in units if seconds % units[unit] == 0)
    return f"{seconds // units[unit]}{unit}"


def listed(problems: Sequence[Problem]) -> str:
    """A line each: at most eight, then a count."""
    lines = [f"- {problem.path}: {problem.problem}" for problem in problems[:PROBLEMS_SHOWN]]
    rest = len(problems) - PROBLEMS_SHOWN
    return "\n".join([*lines, f"- and {rest} more"] if rest > 0 else lines)


def _counted(problems: Sequence[Problem]) -> str:
    return "1 problem" if len(problems) == 1 else f"{len(problems)} problems"


def _kept(*, of_next: bool) -> str:
    """Where `next` was refused nothing happened at all: the holder must not think that its work is completed."""
    return "Nothing was stored; the lease is still yours." if of_next else "Nothing was stored."


# ---- what the caller sent ---------------------------------------------------------------------------------------


@dataclass(eq=False, kw_only=True)
class PayloadInvalid(DropoffError):
    """The payload does not fit the queue's schema."""

    code = "payload_invalid"
    retry = "after_mending"
    http_status = 422
    exit_code = 6

    schema: str
    problems: tuple[Problem, ...]
    again: str = "call drop_off again"

    def sentence(self) -> str:
        return (
            f"Payload rejected by schema {self.schema}: {_counted(self.problems)}. Nothing was stored.\n"
            f"{listed(self.problems)}\nFix {'this' if len(self.problems) == 1 else 'these'} and {self.again}."
        )


@dataclass(eq=False, kw_only=True)
class ResultInvalid(DropoffError):
    """The result does not fit the queue's result schema, or is not one that can be kept; the lease goes on."""

    code = "result_invalid"
    retry = "after_mending"
    http_status = 422
    exit_code = 6

    problems: tuple[Problem, ...]
    schema: str = ""  # none: it is beyond what any result may be
    lease_ends_ms: int = 0

    def sentence(self) -> str:
        by = f" by schema {self.schema}" if self.schema else ""
        return (
            f"Result rejected{by}: {_counted(self.problems)}. It was not stored. "
            f"The lease is still yours until {clock(self.lease_ends_ms)}.\n{listed(self.problems)}\n"
            f"Fix {'this' if len(self.problems) == 1 else 'these'} and call complete_handoff again."
        )


@dataclass(eq=False, kw_only=True)
class NextInvalid(DropoffError):
    """What was to come next does not fit its queue's schema; the lease goes on."""

    code = "next_invalid"
    retry = "after_mending"
    http_status = 422
    exit_code = 6

    schema: str
    problems: tuple[Problem, ...]
    lease_ends_ms: int = 0

    def sentence(self) -> str:
        return (
            f"Next rejected by schema {self.schema}: {_counted(self.problems)}. Nothing was stored. "
            f"The lease is still yours until {clock(self.lease_ends_ms)}.\n{listed(self.problems)}\n"
            f"Fix {'this' if len(self.problems) == 1 else 'these'} and call complete_handoff again."
        )


@dataclass(eq=False, kw_only=True)
class ArgumentsInvalid(DropoffError):
    """The verb's own arguments do not fit what it advertises."""

    code = "arguments_invalid"
    retry = "after_mending"
    http_status = 422
    exit_code = 6

    verb: str
    problems: tuple[Problem, ...]

    def sentence(self) -> str:
        return (
            f"Arguments of {self.verb} rejected: {_counted(self.problems)}. Nothing was stored.\n"
            f"{listed(self.problems)}\nFix {'this' if len(self.problems) == 1 else 'these'} "
            f"and call {self.verb} again."
        )


@dataclass(eq=False, kw_only=True)
class PayloadTooLarge(DropoffError):
    """More bytes than the queue takes."""

    code = "payload_too_large"
    retry = "after_mending"
    http_status = 413
    exit_code = 6

    what: str
    bytes: int
    bytes_max: int
    queue: str = ""
    lease_ends_ms: int = 0  # of a result and of what comes next: the lease goes on

    def sentence(self) -> str:
        whose = f"of '{self.queue}' " if self.queue else ""
        lease = f" The lease is still yours until {clock(self.lease_ends_ms)}." if self.lease_ends_ms else ""
        return (
            f"{self.what} is {size(self.bytes)}; the limit {whose}is {size(self.bytes_max)}. Nothing was stored.{lease}"
            " Store the large part elsewhere and pass a reference."
        )


@dataclass(eq=False, kw_only=True)
class RequestConflict(DropoffError):
    """A request key came back with other content."""

    code = "request_conflict"
    retry = "after_mending"
    http_status = 409
    exit_code = 5

    handoff_id: str

    def sentence(self) -> str:
        return (
            f"This request key was already used for {self.handoff_id} with other content. Nothing was stored. "
            "Use a new key for new work."
        )


# ---- what the caller may do -------------------------------------------------------------------------------------


@dataclass(eq=False, kw_only=True)
class QueueUnknown(DropoffError):
    """No such queue for this caller: missing and forbidden look alike without any grant."""

    code = "queue_unknown"
    retry = "after_mending"
    http_status = 404
    exit_code = 3

    queue: str
    doing: str
    allowed: tuple[str, ...] = ()
    meant: str = ""

    def sentence(self) -> str:
        meant = f" Did you mean '{self.meant}'?" if self.meant else ""
        return (
            f"There is no queue '{self.queue[:80]}' for you. "
            f"You may {self.doing}: {named(self.allowed)}.{meant} Nothing was stored."
        )


@dataclass(eq=False, kw_only=True)
class QueueNeeded(DropoffError):
    """The caller may use several queues, or none, and named none."""

    code = "arguments_invalid"
    retry = "after_mending"
    http_status = 422
    exit_code = 6

    verb: str
    doing: str
    allowed: tuple[str, ...]

    def sentence(self) -> str:
        return f"Say which queue. You may {self.doing}: {named(self.allowed)}. Nothing was stored."


@dataclass(eq=False, kw_only=True)
class NotAllowed(DropoffError):
    """The caller is known, and may not do this."""

    code = "not_allowed"
    retry = "never"
    http_status = 403
    exit_code = 4

    agent: str
    doing: str
    only: tuple[str, ...] = ()
    needs: str = ""  # the grant that would allow it; "" where none would

    def sentence(self) -> str:
        only = f", only {' and '.join(self.only)}" if self.only else ""
        return f"Agent '{self.agent}' may not {self.doing}{only}. Nothing was stored. Do not retry; tell your operator."


@dataclass(eq=False, kw_only=True)
class Frozen(DropoffError):
    """An operator has stopped this agent, or everything, for now."""

    code = "frozen"
    retry = "never"
    http_status = 403
    exit_code = 4

    agent: str = ""  # "" where it is everything

    @property
    def what(self) -> str:
        return f"Agent '{self.agent}'" if self.agent else "Everything"

    def sentence(self) -> str:
        return (
            f"{self.what} is frozen by an operator. Nothing of this call was stored. "
            "Do not retry in this run; report it."
        )


@dataclass(eq=False, kw_only=True)
class QueueDraining(DropoffError):
    """The queue takes no new work, by an operator's word."""

    code = "queue_draining"
    retry = "never"
    http_status = 403
    exit_code = 4

    queue: str
    reason: str = ""
    of_next: bool = False

    def sentence(self) -> str:
        why = f' ("{self.reason[:80]}")' if self.reason else ""
        return (
            f"Queue '{self.queue}' takes no new work{why}. {_kept(of_next=self.of_next)} "
            "Do not retry in this run; report it."
        )


@dataclass(eq=False, kw_only=True)
class QueueFull(DropoffError):
    """The queue holds as many handoffs as it may."""

    code = "queue_full"
    retry = "later"
    http_status = 429
    exit_code = 10

    queue: str
    waiting_max: int
    of_next: bool = False

    def sentence(self) -> str:
        return (
            f"Queue '{self.queue}' holds {self.waiting_max:,} handoffs, its limit. {_kept(of_next=self.of_next)} "
            "Try again in about 60 s."
        )


class Unauthenticated(DropoffError):
    """The broker does not know who is calling."""

    # One text for every cause, so that a stranger learns nothing from it.
    code = "unauthenticated"
    retry = "never"
    http_status = 401
    exit_code = 4

    def sentence(self) -> str:
        return (
            "The broker does not know who is calling: the credential is missing, unknown or no longer valid. "
            "Nothing of this call was stored. Do not retry; tell your operator."
        )


# ---- leases and handoffs ----------------------------------------------------------------------------------------


@dataclass(eq=False, kw_only=True)
class LeaseLost(DropoffError):
    """Your lease has ended and the handoff has moved on; stop, and do not complete it."""

    code = "lease_lost"
    retry = "never"
    http_status = 409
    exit_code = 5

    ended_ago_ms: int
    now: str  # what became of the handoff, in words
    fence_now: int
    handed_back: bool = False  # by the caller itself: perhaps by this very call, whose answer it has lost

    def sentence(self) -> str:
        ago = f"{self.ended_ago_ms // 1_000} s ago"
        if self.handed_back:
            return (
                f"You handed this back {ago} and the handoff {self.now}. Nothing more was changed. "
                "Stop working on it; call pick_up for new work."
            )
        return (
            f"Your lease ended {ago} and the handoff {self.now}. "
            "Nothing of this call was stored. Stop working on it; call pick_up for new work."
        )


@dataclass(eq=False, kw_only=True)
class LeaseUnknown(DropoffError):
    """The lease named is not one of the caller's."""

    code = "lease_unknown"
    retry = "after_mending"
    http_status = 404
    exit_code = 3

    lease_id: str
    held: tuple[str, ...]

    def sentence(self) -> str:
        if self.lease_id in {held.rpartition(".")[0] for held in self.held}:
            return (
                f"'{self.lease_id}' is a handoff_id. Nothing was stored. "
                f"Use the lease_id that pick_up gave you; you hold: {named(self.held)}."
            )
        return f"No lease '{self.lease_id[:80]}' is yours. Nothing was stored. You hold: {named(self.held)}."


@dataclass(eq=False, kw_only=True)
class AlreadySettled(DropoffError):
    """The caller's lease came to its end by another outcome."""

    code = "already_settled"
    retry = "never"
    http_status = 409
    exit_code = 5

    handoff_id: str
    state: str
    at_ms: int

    def sentence(self) -> str:
        at = clock(self.at_ms)
        how = {
            "completed": f"was already completed by you at {at} with a different result",
            "rejected": f"was already handed back by you at {at} as impossible",
        }.get(self.state, f"is {self.state} since {at}, when your lease ended")
        return f"Handoff {self.handoff_id} {how}. Nothing was changed. Stop working on it; call pick_up for new work."


@dataclass(eq=False, kw_only=True)
class HandoffSettled(DropoffError):
    """The handoff has its outcome; it cannot be changed any more."""

    code = "handoff_settled"
    retry = "never"
    http_status = 409
    exit_code = 5

    handoff_id: str
    state: str
    at_ms: int

    def sentence(self) -> str:
        return (
            f"Handoff {self.handoff_id} is {self.state} since {clock(self.at_ms)}; final is final. "
            "Nothing was changed. Call check_handoff to read its outcome."
        )


@dataclass(eq=False, kw_only=True)
class HandoffUnknown(DropoffError):
    """No such handoff for this caller."""

    code = "handoff_unknown"
    retry = "after_mending"
    http_status = 404
    exit_code = 3

    handoff_id: str

    def sentence(self) -> str:
        if mixed_up := _LEASE_ID.match(self.handoff_id):
            return (
                f"'{self.handoff_id[:80]}' is a lease_id. Nothing was changed. "
                f"Use its handoff_id: {mixed_up['handoff_id']}."
            )
        return (
            f"There is no handoff '{self.handoff_id[:80]}' that you dropped off or picked up. Nothing was changed. "
            "Ids look like research-8F3K2Q9T1MXK7A4B."
        )


# ---- what operators do ------------------------------------------------------------------------------------------


@dataclass(eq=False, kw_only=True)
class SchemaUnknown(DropoffError):
    """No schema of that name and version is registered."""

    code = "schema_unknown"
    retry = "after_mending"
    http_status = 404
    exit_code = 3

    schema: str
    known: tuple[str, ...] = ()

    @property
    def is_lost(self) -> bool:
        """It is registered, and what it says is gone from the store."""
        return self.schema in self.known

    def sentence(self) -> str:
        if self.is_lost:
            return (
                f"The store has lost the content of schema '{self.schema}', so nothing can be judged by it. "
                "Nothing was stored. Tell your operator, who can put it back."
            )
        return (
            f"There is no schema '{self.schema[:80]}'. Known: {named(self.known)}. Nothing was stored. "
            "Register it with: dropoff schema push NAME FILE"
        )


@dataclass(eq=False, kw_only=True)
class SchemaRefused(DropoffError):
    """The schema itself cannot be a contract."""

    code = "schema_refused"
    retry = "after_mending"
    http_status = 422
    exit_code = 6

    name: str
    problems: tuple[Problem, ...]

    def sentence(self) -> str:
        return (
            f"Schema '{self.name[:80]}' refused: {_counted(self.problems)}. Nothing was stored.\n"
            f"{listed(self.problems)}\nMend the schema and push it again."
        )


@dataclass(eq=False, kw_only=True)
class SchemaIncompatible(DropoffError):
    """Not all that senders know to fit would fit the version that a queue is to have."""

    code = "schema_incompatible"
    retry = "after_mending"
    http_status = 409
    exit_code = 5

    queue: str
    has: str
    wanted: str
    certain: bool  # else nobody can tell, which is treated the same
    problems: tuple[Problem, ...]
    witness: str = ""  # what shows it, as JSON, if it is short

    def sentence(self) -> str:
        verdict = "is incompatible with" if self.certain else "may be incompatible with"
        witness = f"This fits {self.has} and not {self.wanted}: {self.witness}\n" if self.witness else ""
        return (
            f"{self.wanted} {verdict} {self.has}, the version that queue '{self.queue}' has. Nothing was changed.\n"
            f"{listed(self.problems)}\n{witness}"
            f"See what it would mean: dropoff queue edit {self.queue} --schema {self.wanted} --dry-run\n"
            "To move it all the same, add --incompatible."
        )


@dataclass(eq=False, kw_only=True)
class HandoffMoved(DropoffError):
    """The handoff has moved on since it was looked at."""

    code = "handoff_moved"
    retry = "after_mending"
    http_status = 409
    exit_code = 5

    handoff_id: str
    state: str
    was: str  # what it would have to be

    def sentence(self) -> str:
        seen = "no longer held under the lease that was named" if self.was == "leased" else f"not {self.was}"
        return (
            f"Handoff {self.handoff_id} is {self.state}, {seen}. Nothing was changed. "
            f"Look at it again: dropoff handoff show {self.handoff_id}"
        )


@dataclass(eq=False, kw_only=True)
class ApprovalNeedsAnother(DropoffError):
    """Who dropped a handoff off cannot approve it."""

    code = "approval_needs_another"
    retry = "never"
    http_status = 403
    exit_code = 4

    handoff_id: str

    def sentence(self) -> str:
        queue = self.handoff_id.rpartition("-")[0]
        return (
            f"You dropped off {self.handoff_id} yourself; somebody else must approve or deny it. Nothing was changed. "
            "If there is nobody else yet, make a second operator, and let whoever that is look at it and judge:\n"
            f"  dropoff agent add NAME --grant inspect:{queue} --grant operate:{queue}\n"
            f"  dropoff handoff approve {self.handoff_id} --credential-file FILE      (the FILE that agent add names)"
        )


@dataclass(eq=False, kw_only=True)
class DigestDiffers(DropoffError):
    """The payload that was looked at is not the one that is held."""

    code = "digest_differs"
    retry = "after_mending"
    http_status = 409
    exit_code = 5

    handoff_id: str
    digest: str

    def sentence(self) -> str:
        return (
            f"The payload of {self.handoff_id} has another digest, {self.digest[:16]}…. Nothing was changed. "
            f"Look at what is held, and judge that: dropoff handoff show {self.handoff_id}"
        )


@dataclass(eq=False, kw_only=True)
class QueueNotEmpty(DropoffError):
    """The queue still holds handoffs."""

    code = "queue_not_empty"
    retry = "after_mending"
    http_status = 409
    exit_code = 5

    queue: str
    left: int
    states: tuple[tuple[str, int], ...] = ()  # how many in which; () where only the sum is known

    def sentence(self) -> str:
        many = "1 handoff" if self.left == 1 else f"{self.left:,} handoffs"
        each = ", ".join(f"{count:,} {state}" for state, count in self.states if count)
        return (
            f"Queue '{self.queue}' still holds {many}{f' ({each})' if each else ''}. It was not removed. Let it run "
            f"empty (dropoff queue drain {self.queue}), or withdraw what is left, and remove it then. "
            f"What it is: dropoff handoff ls --queue {self.queue}"
        )


@dataclass(eq=False, kw_only=True)
class QueueExists(DropoffError):
    """A queue of that name is there, with other settings."""

    code = "queue_exists"
    retry = "never"
    http_status = 409
    exit_code = 5

    queue: str
    differs: tuple[str, ...] = ()  # each setting, as a flag with its value and the other

    def sentence(self) -> str:
        differs = f" It has {'; '.join(self.differs)}." if self.differs else ""
        return (
            f"Queue '{self.queue}' exists with other settings.{differs} Nothing was changed. "
            f"Change its settings with: dropoff queue edit {self.queue} …, or use another name."
        )


@dataclass(eq=False, kw_only=True)
class AgentExists(DropoffError):
    """An agent of that name is there."""

    code = "agent_exists"
    retry = "never"
    http_status = 409
    exit_code = 5

    agent: str

    def sentence(self) -> str:
        return (
            f"Agent '{self.agent}' exists. Nothing was changed. Change its grants with: "
            f"dropoff agent grant {self.agent} GRANT, or choose another name. If you made it just now, and the answer "
            "with its bearer was lost: revoke it, and choose another name."
        )


@dataclass(eq=False, kw_only=True)
class AgentRevoked(DropoffError):
    """The agent is revoked, and stays so."""

    code = "agent_revoked"
    retry = "never"
    http_status = 409
    exit_code = 5

    agent: str

    def sentence(self) -> str:
        return (
            f"Agent '{self.agent}' is revoked, which is final: its name stays taken, for the ledger tells of it. "
            "Nothing was changed. Make an agent under another name: dropoff agent add NAME --grant GRANT"
        )


@dataclass(eq=False, kw_only=True)
class AgentUnknown(DropoffError):
    """No agent of that name."""

    code = "agent_unknown"
    retry = "after_mending"
    http_status = 404
    exit_code = 3

    agent: str

    def sentence(self) -> str:
        return f"There is no agent '{self.agent[:80]}'. Nothing was changed. See: dropoff agent ls"


# ---- how the broker was reached ---------------------------------------------------------------------------------


@dataclass(eq=False, kw_only=True)
class RouteUnknown(DropoffError):
    """The broker has nothing at this address."""

    code = "route_unknown"
    retry = "never"
    http_status = 404
    exit_code = (
        1  # not 3: what is missing is no handoff or queue, but the call itself (an older broker, a typing error)
    )

    path: str
    meant: str = ""

    def sentence(self) -> str:
        meant = f" Did you mean '{self.meant}'?" if self.meant else ""
        return (
            f"There is nothing at '{self.path[:80]}'.{meant} Nothing was done. See /v1/openapi.json for all there is."
        )


@dataclass(eq=False, kw_only=True)
class MethodNotAllowed(DropoffError):
    """The address is right and the method is not."""

    code = "method_not_allowed"
    retry = "never"
    http_status = 405
    exit_code = 1

    method: str
    path: str
    allowed: tuple[str, ...]

    def sentence(self) -> str:
        return f"{self.path[:80]} knows no {self.method[:80]}, only {named(self.allowed)}. Nothing was done."


@dataclass(eq=False, kw_only=True)
class HostRefused(DropoffError):
    """The broker was called by a name that is not one of its own."""

    code = "host_refused"
    retry = "never"
    http_status = 421
    exit_code = 4

    host: str

    def sentence(self) -> str:
        name = self.host[:80] or "(none)"
        return (
            f"This broker does not answer to the name '{name}' (the Host header). Nothing was done. "
            f"If that is its name, start it with DROPOFF_ALLOWED_HOSTS={name}"
        )


@dataclass(eq=False, kw_only=True)
class OriginRefused(DropoffError):
    """A page of another site tried to call the broker from a browser."""

    code = "origin_refused"
    retry = "never"
    http_status = 403
    exit_code = 4

    origin: str

    def sentence(self) -> str:
        return (
            f"Pages from '{self.origin[:80]}' (the Origin header) may not call this broker. Nothing was done. "
            "Call it from a program, or from a page of its own."
        )


# ---- the broker itself ------------------------------------------------------------------------------------------


@dataclass(eq=False)
class StoreRefused(DropoffError):
    """The store is not one that a promise can be built on; the broker does not start."""

    code = "store_refused"
    retry = "after_mending"
    http_status = 503
    exit_code = 8

    reason: str

    def sentence(self) -> str:
        return self.reason


@dataclass(eq=False, kw_only=True)
class BrokerUnavailable(DropoffError):
    """The store is out of reach, or a change stopped the call halfway. What is certain of it is said by `stored`."""

    code = "broker_unavailable"
    retry = "later"
    http_status = 503
    exit_code = 8

    stored: Literal["nothing", "unknown"]
    keyed: bool = True  # whether the call brought a request key, so that repeating it is safe
    why: str = "The broker cannot reach its storage."
    again: str = "Try again in a few seconds."
    halfway: str = "The broker lost its storage in the middle of this call."  # what stopped it, if `stored` is unknown

    def sentence(self) -> str:
        if self.stored == "nothing":
            return f"{self.why} Nothing of this call was stored. {self.again}"
        lost = f"{self.halfway} It is not known whether this was stored"
        if self.keyed:
            return f"{lost}. Repeat the same call; it will not happen twice."
        return f"{lost}, and without a request key a repeated call may do it twice. Repeat it only if that is harmless."


@dataclass(eq=False, kw_only=True)
class StorageFull(DropoffError):
    """The storage has no room for new work; what is there can be picked up and finished."""

    code = "storage_full"
    retry = "later"
    http_status = 507
    exit_code = 10

    why: str  # "180 MB left; it keeps 256 MB free"

    def sentence(self) -> str:
        return (
            f"The broker's storage is nearly full ({self.why}). Nothing of this call was stored. Work that waits can "
            "still be picked up and finished. Try again later, in a minute or more; tell your operator."
        )


@dataclass(eq=False, kw_only=True)
class InternalError(DropoffError):
    """A fault of ours; the log has the rest under the same id."""

    code = "internal_error"
    retry = "later"
    http_status = 500
    exit_code = 1

    id: str

    def sentence(self) -> str:
        return (
            f"The broker failed inside (id {self.id}; its log says more). It is not known whether this was stored. "
            "Tell your operator."
        )


@dataclass(eq=False, kw_only=True)
class ChangingNow(DropoffError):
    """The caller's record or the queue changed again and again while this was decided."""

    code = "broker_unavailable"
    retry = "later"
    http_status = 503
    exit_code = 8

    def sentence(self) -> str:
        return (
            "Your grants or the queue's settings are being changed at this very moment. Nothing of this call was "
            "stored. Try again in a few seconds."
        )


def every_error() -> list[type[DropoffError]]:
    """All kinds, in the order of this file: for the exported table and the tests."""
    return [kind for kind in DropoffError.__subclasses__() if kind.__module__ == __name__]  # not others' own


def table() -> list[dict[str, Any]]:
    """What `schemas/wire/errors.json` holds: one row a code."""
    rows = {
        kind.code: {
            "code": kind.code,
            "meaning": (kind.__doc__ or "").strip(),
            "retry": kind.retry,
            "http_status": kind.http_status,
            "exit_code": kind.exit_code,
        }
        for kind in reversed(every_error())
    }
    return list(reversed(rows.values()))
