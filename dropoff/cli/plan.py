"""What has to be done so that a broker is as the file says; pure, and made before anything is done.

Conflicts are collected, not met on the way: a queue with another schema, a version for which senders may have to
change, a version that names other content, a name that was revoked. With one of them nothing is done at all. The order
of the changes is that in which they need each other: schemas, queues, agents. Settings of a queue are edited to what
the file says, its schema to another version of it only if all that fits the one it has fits that.

Without `prune` nothing is ever taken away. With it the grants that the file does not name are taken, of agents that it
does not name all of them, but for who is `admin`: a set-up must not lock its operators out. Agents are not revoked, for
that is final and their name would never come back; an agent without grants can do nothing, and gets them back by
standing in the file again. Queues and schemas stay.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from dropoff.cli import queue_settings
from dropoff.cli.setup_file import AgentWanted, QueueWanted, SchemaWanted, SetUp
from dropoff.contracts.compare import compare
from dropoff.core.refs import name_of, newest
from dropoff.operations import OPERATOR

Kind = Literal["schema", "queue", "agent"]
Doing = Literal["make", "edit", "resume", "pause", "drain", "grant", "ungrant", "nothing"]

TO_STATE: Final[dict[str, Doing]] = {"open": "resume", "paused": "pause", "draining": "drain"}
REASON: Final = "by dropoff apply"

Found = Mapping[str, Any]


class Change(NamedTuple):
    """One line of the plan. `body` is what the broker is sent."""

    doing: Doing
    kind: Kind
    name: str
    detail: str = ""
    body: Any = None


class Plan(NamedTuple):
    changes: tuple[Change, ...]
    conflicts: tuple[str, ...]
    missing: tuple[str, ...]  # schemas that a queue wants and nobody has


class There(NamedTuple):
    """What the broker has."""

    schemas: Mapping[str, str]  # brief@1 → hash
    queues: Sequence[Found]
    agents: Sequence[Found]
    content: Callable[[str], Any]  # of a schema


def make(wanted: SetUp, there: There, *, prune: bool) -> Plan:
    conflicts: list[str] = []
    missing: list[str] = []
    refs = dict(there.schemas)
    changes = [_schema(schema, refs, conflicts) for schema in wanted.schemas]
    new = {change.name: change.body for change in changes if change.doing == "make"}
    for queue in wanted.queues:
        changes.extend(_queue(queue, refs, there.queues, conflicts, missing))
        conflicts.extend(_of_version(queue, refs, there, new))
    for agent in wanted.agents:
        changes.extend(_agent(agent, there.agents, conflicts, prune))
    changes.extend(_not_in_the_file(wanted, there, prune))
    return Plan(tuple(changes), tuple(conflicts), tuple(missing))


def _schema(wanted: SchemaWanted, refs: dict[str, str], conflicts: list[str]) -> Change:
    """Also puts the version that it will have into `refs`, so that queues find it."""
    registered = next((ref for ref, hash in refs.items() if hash == wanted.hash and name_of(ref) == wanted.name), None)
    ref = registered or f"{wanted.name}@{newest(wanted.name, refs) + 1}"
    if wanted.version and ref != f"{wanted.name}@{wanted.version}":
        conflicts.append(_version_conflict(wanted, ref, registered is not None, refs))
    if registered:
        return Change("nothing", "schema", ref)
    refs[ref] = wanted.hash
    return Change("make", "schema", ref, body=wanted.content)


def _version_conflict(wanted: SchemaWanted, ref: str, is_registered: bool, refs: Mapping[str, str]) -> str:
    named = f"{wanted.name}@{wanted.version}"
    if is_registered:
        return f"schema {named}: the content of {wanted.path.name} is registered as {ref}; name the file {ref}.json"
    if named in refs:
        return (
            f"schema {named}: is registered with other content, and a version never changes; name the file {ref}.json "
            f"and leave {named}.json as it was"
        )
    return (
        f"schema {named}: would become {ref}, the next free version; list the versions before it as well "
        f'({wanted.name} = [..., "{wanted.path.name}"]), or name the file {ref}.json'
    )


def _queue(
    wanted: QueueWanted, refs: Mapping[str, str], there: Sequence[Found], conflicts: list[str], missing: list[str]
) -> Iterator[Change]:
    ref, result_ref = _versioned(wanted.schema, refs), _versioned(wanted.result_schema, refs)
    meant_by = {wanted.schema: ref, wanted.result_schema: result_ref}
    lacks = [said for said, meant in meant_by.items() if meant and meant not in refs]
    if lacks:
        nowhere = "neither in the file nor registered"
        missing.extend(f"queue {wanted.name}: there is no schema '{said}', {nowhere}" for said in lacks)
        return
    settings = {**wanted._asdict(), "schema": ref, "result_schema": result_ref}
    state = settings.pop("state")
    found = next((queue for queue in there if queue["name"] == wanted.name), None)
    if found is None:
        lease = queue_settings.shown("lease_seconds", settings)
        results = f", results {result_ref}" if result_ref else ""
        yield Change("make", "queue", wanted.name, f"{ref}{results}, lease {lease}", body=settings)
        yield from _to_state(wanted.name, "open", state)
        return
    if name_of(found["schema"]) != name_of(ref):
        conflicts.append(f"queue {wanted.name}: schema is {found['schema']}, the file says {ref}; use another name")
    changes = [*_edited(wanted.name, found, settings), *_to_state(wanted.name, found["state"], state)]
    yield from changes or [Change("nothing", "queue", wanted.name)]


def _of_version(wanted: QueueWanted, refs: Mapping[str, str], there: There, new: Mapping[str, Any]) -> Iterator[str]:
    """Why the queue that is there may not have the version that the file says."""
    ref = _versioned(wanted.schema, refs)
    has = next((queue["schema"] for queue in there.queues if queue["name"] == wanted.name), ref)
    if has == ref or name_of(has) != name_of(ref) or ref not in refs:
        return
    found = compare(there.content(has), new[ref] if ref in new else there.content(ref))
    if found.verdict != "compatible":
        verdict = "is incompatible with" if found.verdict == "incompatible" else "may be incompatible with"
        why = f"{found.changes[0].path} {found.changes[0].says}"
        yield (
            f"queue {wanted.name}: {ref} {verdict} {has}, which it has ({why}); let senders change first, then "
            f"dropoff queue edit {wanted.name} --schema {ref} --incompatible"
        )


def _edited(name: str, found: Found, settings: Mapping[str, Any]) -> Iterator[Change]:
    differs = {key: settings[key] for key in queue_settings.SHOWN if found[key] != settings[key]}
    if differs:
        yield Change("edit", "queue", name, ", ".join(queue_settings.differences(found, differs)), body=differs)


def _to_state(name: str, now: str, wanted: str | None) -> Iterator[Change]:
    if wanted is not None and wanted != now:
        body = {} if wanted == "open" else {"reason": REASON}
        yield Change(TO_STATE[wanted], "queue", name, f"{now} → {wanted}", body=body)


def _agent(wanted: AgentWanted, there: Sequence[Found], conflicts: list[str], prune: bool) -> Iterator[Change]:
    found = next((agent for agent in there if agent["agent"] == wanted.name), None)
    if found is None:
        body = {"name": wanted.name, "grants": wanted.grants}
        yield Change("make", "agent", wanted.name, ", ".join(wanted.grants), body=body)
        return
    if found["standing"] == "revoked":
        conflicts.append(f"agent {wanted.name}: is revoked, which is final; choose another name")
    added = [grant for grant in wanted.grants if grant not in found["grants"]]
    others = [grant for grant in found["grants"] if grant not in wanted.grants]
    if added:
        yield Change("grant", "agent", wanted.name, ", ".join(added), body={"grants": added})
    if others and prune:
        yield Change("ungrant", "agent", wanted.name, ", ".join(others), body={"grants": others})
    elif others and not added:
        yield Change("nothing", "agent", wanted.name, f"has {', '.join(others)} as well; --prune takes that")
    elif not added:
        yield Change("nothing", "agent", wanted.name)


def _not_in_the_file(wanted: SetUp, there: There, prune: bool) -> Iterator[Change]:
    named = {queue.name for queue in wanted.queues}
    for queue in there.queues:
        if queue["name"] not in named:
            yield Change("nothing", "queue", queue["name"], "not in the file")
    named = {agent.name for agent in wanted.agents} | {OPERATOR}
    for agent in there.agents:
        grants = agent["grants"]
        if agent["agent"] in named or agent["standing"] == "revoked" or not grants:
            continue
        if "admin" in grants or not prune:
            hint = "not in the file" + (", and admin" if "admin" in grants else "; --prune takes its grants")
            yield Change("nothing", "agent", agent["agent"], hint)
        else:
            yield Change("ungrant", "agent", agent["agent"], ", ".join(grants), body={"grants": grants})


def _versioned(ref: str, refs: Mapping[str, str]) -> str:
    """With the version that it means; none stays none."""
    return f"{ref}@{newest(ref, refs)}" if ref and "@" not in ref else ref
