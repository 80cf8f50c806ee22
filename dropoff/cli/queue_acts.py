"""What operators do to a queue that is there: pause, resume, drain, edit, rm. Each says what it means for the work."""

from typing import Any, Final
from urllib.parse import quote

import click

from dropoff.cli import asking, queue_settings, schema_meaning
from dropoff.cli.given import WORDS
from dropoff.cli.remote import Answer
from dropoff.cli.session import Command, Session, pass_session
from dropoff.cli.shown import counted
from dropoff.core.queue import UNDER_WAY
from dropoff.errors import QueueNotEmpty

REMOVE_S: Final = 900.0  # each ended handoff is erased by a step of its own: a million take minutes

WITHOUT_YES: Final = "What has ended in the queue is forgotten with it. In a script say that you mean it: --yes"


@click.command(cls=Command)
@click.argument("name")
@click.option(
    "--reason",
    type=WORDS,
    default="",
    help="Why; queue ls and the ledger show it. Said again without one, the first stays.",
)
@pass_session
def pause(session: Session, name: str, reason: str) -> None:
    """Give nothing out. Work still comes in, and what is held may be finished."""
    queue = _set(session, name, "pause", {"reason": reason})
    session.shown.say(f"Queue '{name}' is paused: work comes in, none goes out. In force now.")
    _say_what_is_in(session, queue)
    session.shown.say(f"Next  dropoff queue resume {name}")


@click.command(cls=Command)
@click.argument("name")
@pass_session
def resume(session: Session, name: str) -> None:
    """Open a queue that is paused or draining."""
    queue = _set(session, name, "resume", {})
    session.shown.say(f"Queue '{name}' is open: work comes in and goes out. In force now.")
    _say_what_is_in(session, queue)


@click.command(cls=Command)
@click.argument("name")
@click.option("--reason", type=WORDS, default="", help="Why; agents that are refused read it.")
@pass_session
def drain(session: Session, name: str, reason: str) -> None:
    """Take nothing in. What is there still goes out, until the queue is empty."""
    queue = _set(session, name, "drain", {"reason": reason})
    session.shown.say(f"Queue '{name}' is draining: work goes out, none comes in. In force now.")
    _say_what_is_in(session, queue)
    session.shown.say(f"Next  dropoff queue resume {name}      dropoff queue rm {name}")


@click.command(cls=Command)
@click.argument("name")
@click.option("--schema", metavar="NAME[@V]", help="Another version of its schema; without @V the newest.")
@queue_settings.options
@click.option(
    "--incompatible", is_flag=True, help="Move to this version although senders may have to change what they send."
)
@click.option("--dry-run", is_flag=True, help="Say what it would mean, and change nothing.")
@pass_session
def edit(session: Session, name: str, incompatible: bool, dry_run: bool, **settings: Any) -> None:
    """Change settings of a queue. What you do not name stays as it is.

    With --schema the queue moves to another version of its schema: from then on new work must fit that version. Work
    that is already there keeps the version it was judged by and its place in the line, so until it is gone, workers
    have to read both versions, or say what they can read (pick --accepts). A version that does not take all that the
    present one takes is refused (exit code 5) unless you add --incompatible.
    """
    changes = queue_settings.said(settings)
    if not changes:
        raise click.UsageError("Say what to change, for instance: --lease 10m. See: dropoff queue edit --help")
    if incompatible and "schema" not in changes:
        raise click.UsageError("--incompatible goes with --schema NAME@V: say which version the queue shall have.")
    before = session.broker.get(_at(name))
    how = {"incompatible": incompatible, "dry_run": dry_run}
    after = session.broker.post(f"{_at(name)}/edit", {**changes, **how}, answer_s=schema_meaning.ANSWER_S)
    if not session.shown.for_people:
        session.shown.data(after)
    differences = ", ".join(queue_settings.differences(before, after))
    if not differences:
        session.shown.say(f"Queue '{name}' is as you say already. Nothing was changed.")
    elif dry_run:
        session.shown.say(f"Queue '{name}' would be changed: {differences}. Nothing was done: this was a dry run.")
        _say_what_it_means(session, after, incompatible=incompatible)
    else:
        session.shown.say(f"Queue '{name}' is changed: {differences}. In force now.")
        _say_what_stays(session, before, after)


def _say_what_it_means(session: Session, queue: Answer, *, incompatible: bool) -> None:
    means = queue.get("means")
    if means:
        if session.shown.for_people:
            schema_meaning.show_meaning(session, means)
        session.shown.say(
            f"New work would have to fit {queue['schema']}. "
            "What is there would keep its version and its place in the line."
        )
    must_be_meant = means and means["verdict"] != "compatible" and not incompatible
    more = ", and with --incompatible" if must_be_meant else ""
    session.shown.say(f"Next  the same command without --dry-run{more}")


def _say_what_stays(session: Session, before: Answer, after: Answer) -> None:
    there = sum(before[state] for state in UNDER_WAY)
    if before["schema"] != after["schema"] and there:
        session.shown.say(f"What was there ({counted(there, 'handoff')}) keeps its version and its place in the line.")


@click.command(cls=Command)
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def rm(session: Session, name: str, yes: bool) -> None:
    """Remove an empty queue. What has ended in it is forgotten; its entries in the ledger stay."""
    if not yes:
        asking.require_person(WITHOUT_YES)
        _ask(session, session.broker.get(_at(name)))
    removed = session.broker.post(f"{_at(name)}/remove", {}, answer_s=REMOVE_S)
    if not session.shown.for_people:
        session.shown.data(removed)
    session.shown.say(f"Queue '{name}' is removed; {_ended(removed['erased'])} forgotten.")


def _ask(session: Session, queue: Answer) -> None:
    """Only what the broker would do: what is left in the queue refuses it before anybody is asked."""
    states = tuple((state, queue[state]) for state in UNDER_WAY)
    if left := sum(count for _, count in states):
        raise QueueNotEmpty(queue=queue["name"], left=left, states=states)
    about = f"Queue '{queue['name']}' is empty; {_ended(queue['ended'])} forgotten with it, for good."
    asking.require_yes(session, about, "Remove it?")


def _ended(count: int) -> str:
    return f"{counted(count, 'ended handoff')} {'is' if count == 1 else 'are'}"


def _set(session: Session, name: str, act: str, body: Answer) -> Answer:
    queue = session.broker.post(f"{_at(name)}/{act}", body)
    if not session.shown.for_people:
        session.shown.data(queue)
    return queue


def _say_what_is_in(session: Session, queue: Answer) -> None:
    session.shown.say(f"{queue['waiting']:,} waiting, {queue['leased']:,} leased, {queue['held']:,} held for approval.")


def _at(name: str) -> str:
    return f"/v1/queues/{quote(name, safe='')}"
