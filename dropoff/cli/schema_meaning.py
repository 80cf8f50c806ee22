"""What a version of a schema means, as `schema push` and `queue edit --dry-run` tell it: to senders, to the queues that
have one of its name; after a push also what comes next. For people on stdout; beside JSON only the words on stderr.
"""

from collections.abc import Iterator
from typing import Any, Final

from dropoff.cli.schema_diff import show_difference
from dropoff.cli.session import Session
from dropoff.cli.shown import Column, counted
from dropoff.cli.times import age
from dropoff.core.refs import name_of

Json = dict[str, Any]

ANSWER_S: Final = 90.0  # judging and comparing take seconds, looking at what waits 13, and a store that hangs 20


def say_pushed(session: Session, pushed: Json, file: str, *, dry_run: bool) -> None:
    """The answer to a push, or to a try at one; `file` as the next command has to name it."""
    ref, name = pushed["schema"], name_of(pushed["schema"])
    session.shown.say(f"Schema {ref} {_became(pushed['new'], dry_run=dry_run)}.")
    if pushed["untold"]:
        session.shown.warn(f"What it means could not be found out ({pushed['untold']}).")
        session.shown.say(f"Next  dropoff schema push {name} {file} --dry-run")
        return
    if session.shown.for_people:
        show_meaning(session, pushed)
    for line in _next(pushed, file, dry_run=dry_run):
        session.shown.say(line)


def _became(new: bool, *, dry_run: bool) -> str:
    if not new:
        return "is there already"
    return "would be the next; nothing was registered" if dry_run else "is registered"


def show_meaning(session: Session, means: Json) -> None:
    """To senders, and to each queue."""
    if means["verdict"]:
        show_difference(session, means["compared_with"], means["schema"], means, means["more_changes"])
    queues = means["queues"]
    if queues:
        _show_effects(session, queues, means["schema"])
    if means["more_queues"]:
        session.shown.text(f"and {counted(means['more_queues'], 'queue')} more, for which there was no time")


def _show_effects(session: Session, queues: list[Json], schema: str) -> None:
    """What it means for each queue: in numbers, by examples, and by who picked up lately."""
    counts = [Column("WAITING", right=True), Column("WOULD NOT FIT", right=True), Column("OF")]
    session.shown.table([Column("QUEUE"), Column("HAS"), *counts], [_numbers(queue) for queue in queues])
    session.shown.text("WAITING counts all that is waiting, scheduled or held.")
    examples = [one for queue in queues for one in queue["examples"]]
    if examples:
        columns = [Column("HANDOFF", whole=True), Column("PATH"), Column(f"PROBLEM WITH {schema}")]
        session.shown.table(columns, [(one["handoff_id"], one["path"], one["problem"]) for one in examples])
    pickers = [(queue["queue"], one) for queue in queues for one in queue["picked_up"]]
    if pickers:
        columns = [Column("QUEUE"), Column("PICKED UP BY"), Column("UNDER"), Column("AGO", right=True)]
        rows = [(queue, one["agent"], one["schema"], age(one["seconds_ago"])) for queue, one in pickers]
        session.shown.table(columns, rows)
    else:
        session.shown.text("Nobody picked up within the last hour.")


def _numbers(queue: Json) -> tuple[str, ...]:
    waiting, looked_at = queue["waiting"], queue["looked_at"]
    of = f"the first {looked_at:,}" if looked_at < waiting else "all"
    return queue["queue"], queue["pinned_now"], f"{waiting:,}", f"{queue['would_not_fit']:,}", of


def _next(pushed: Json, file: str, *, dry_run: bool) -> Iterator[str]:
    ref, name = pushed["schema"], name_of(pushed["schema"])
    behind = [queue["queue"] for queue in pushed["queues"] if queue["pinned_now"] != ref]
    if dry_run and pushed["new"]:
        yield f"Next  dropoff schema push {name} {file}"
    elif behind:
        yield f"Next  dropoff queue edit {behind[0]} --schema {ref} --dry-run"
        yield "      and without --dry-run; until then every queue keeps the version it has"
    elif not pushed["queues"]:
        yield f"Next  dropoff queue add NAME --schema {ref}"
