"""What a refusal says to an operator: the fact, what is true of the broker, and the command that comes next.

The sentences of `dropoff/errors.py` are written for a model, which can call a tool again or stop. An operator has a
command line, and is the one whom that model tells. So refusals that both may meet have a second sentence here, of the
same facts under the same code; one that is not in the table says the same to both.

Whoever only looked had nothing to store or to change, and is told of neither: `kept` is empty then.
"""

from collections.abc import Callable
from typing import Any, Final

from dropoff import errors
from dropoff.core.handoff import queue_of
from dropoff.core.refs import name_of
from dropoff.errors import DropoffError, clock, listed, named

Telling = Callable[[Any, str], str]


def to_operator(error: DropoffError, *, reads: bool) -> str:
    """The sentence for who operates; `reads` says that the call could not have changed anything."""
    tell = TOLD.get(type(error))
    return tell(error, "" if reads else "Nothing was changed. ") if tell else error.sentence()


def _handoff_unknown(error: errors.HandoffUnknown, kept: str) -> str:
    queue = queue_of(error.handoff_id)
    where = f"dropoff handoff ls --queue {queue}" if queue else "dropoff handoff ls"
    ids = "" if queue else "Ids look like research-8F3K2Q9T1MXK7A4B. "
    yours = "dropped off or may operate" if kept else "may inspect"
    return f"There is no handoff '{error.handoff_id[:80]}' that you {yours}. {kept}{ids}What there is: {where}"


def _handoff_settled(error: errors.HandoffSettled, kept: str) -> str:
    return (
        f"Handoff {error.handoff_id} is {error.state} since {clock(error.at_ms)}; final is final. {kept}"
        f"What became of it: dropoff handoff show {error.handoff_id}"
    )


def _lease_unknown(error: errors.LeaseUnknown, kept: str) -> str:
    return (
        f"There is no lease '{error.lease_id[:80]}'. {kept}"
        "Name the handoff instead, and its lease is found: dropoff handoff ls --state leased"
    )


def _queue_unknown(error: errors.QueueUnknown, kept: str) -> str:
    only = f", only: {named(error.allowed)}" if error.allowed else ", and none else"
    meant = f" Did you mean '{error.meant}'?" if error.meant else ""
    return (
        f"There is no queue '{error.queue[:80]}' that you may {error.doing}{only}.{meant} "
        f"{kept}What there is: dropoff queue ls"
    )


def _queue_draining(error: errors.QueueDraining, kept: str) -> str:
    why = f' ("{error.reason[:80]}")' if error.reason else ""
    again = f"dropoff queue resume {error.queue}"
    return f"Queue '{error.queue}' is draining{why} and takes nothing in. {kept}It does again after: {again}"


def _queue_full(error: errors.QueueFull, kept: str) -> str:
    return (
        f"Queue '{error.queue}' holds {error.waiting_max:,} handoffs, its limit. {kept}"
        f"Raise it: dropoff queue edit {error.queue} --max-waiting N, or try again when some are picked up."
    )


def _not_allowed(error: errors.NotAllowed, kept: str) -> str:
    only = f", only {' and '.join(error.only)}" if error.only else ""
    may_not = f"'{error.agent}' may not {error.doing}{only}. {kept}"
    if not error.needs:
        return f"{may_not}Give that authority to somebody else first: dropoff agent add NAME --grant admin"
    return f"{may_not}It needs a grant, which an admin gives: dropoff agent grant {error.agent} {error.needs}"


def _frozen(error: errors.Frozen, kept: str) -> str:
    ends = f"dropoff agent thaw {error.agent}" if error.agent else "dropoff thaw"
    return f"{error.what} is frozen by an operator. {kept}An admin who is not lets it go on: {ends}"


def _unauthenticated(_: errors.Unauthenticated, kept: str) -> str:
    return (
        "The broker does not know who is calling: the credential is missing, unknown or no longer valid. "
        f"{kept}Say who you are by --credential-file or DROPOFF_CREDENTIAL_FILE; dropoff doctor says what was used."
    )


def _arguments_invalid(error: errors.ArgumentsInvalid, kept: str) -> str:
    count = len(error.problems)
    counted, mend = ("1 problem", "this") if count == 1 else (f"{count} problems", "these")
    state = f"{counted}. {kept}".rstrip()
    command = error.verb.removeprefix("dropoff ")
    return f"{command}: {state}\n{listed(error.problems)}\nMend {mend} and say it again. See: dropoff {command} --help"


def _schema_unknown(error: errors.SchemaUnknown, kept: str) -> str:
    if error.is_lost:
        name = name_of(error.schema)
        return (
            f"The store has lost the content of schema '{error.schema}'. {kept}"
            f"Put it back by pushing the same content again: dropoff schema push {name} FILE"
        )
    return (
        f"There is no schema '{error.schema[:80]}'. Known: {named(error.known)}. {kept}"
        "Register it with: dropoff schema push NAME FILE"
    )


def _agent_unknown(error: errors.AgentUnknown, kept: str) -> str:
    return f"There is no agent '{error.agent[:80]}'. {kept}Who there is: dropoff agent ls"


def _broker_unavailable(error: errors.BrokerUnavailable, kept: str) -> str:
    if kept and error.stored == "unknown":
        return error.sentence()
    why = error.why if error.stored == "nothing" else "The broker lost its storage in the middle of this call."
    return f"{why} {kept}{error.again} What is wrong: dropoff doctor"


def _storage_full(error: errors.StorageFull, kept: str) -> str:
    return (
        f"The broker's storage is nearly full ({error.why}). {kept}What waits can still be picked up and finished, "
        "which makes room. Where more can be had: dropoff doctor"
    )


def _changing_now(_: errors.ChangingNow, kept: str) -> str:
    return f"Somebody else is changing the same at this very moment. {kept}Say it again in a few seconds."


def _internal_error(error: errors.InternalError, kept: str) -> str:
    known = "It is not known whether anything was changed: look before you say it again. " if kept else ""
    return f"The broker failed inside. {known}Its log says more under the id {error.id}."


TOLD: Final[dict[type[DropoffError], Telling]] = {
    errors.HandoffUnknown: _handoff_unknown,
    errors.HandoffSettled: _handoff_settled,
    errors.LeaseUnknown: _lease_unknown,
    errors.QueueUnknown: _queue_unknown,
    errors.QueueDraining: _queue_draining,
    errors.QueueFull: _queue_full,
    errors.NotAllowed: _not_allowed,
    errors.Frozen: _frozen,
    errors.Unauthenticated: _unauthenticated,
    errors.ArgumentsInvalid: _arguments_invalid,
    errors.SchemaUnknown: _schema_unknown,
    errors.AgentUnknown: _agent_unknown,
    errors.BrokerUnavailable: _broker_unavailable,
    errors.StorageFull: _storage_full,
    errors.ChangingNow: _changing_now,
    errors.InternalError: _internal_error,
}
