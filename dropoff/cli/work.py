"""What agents do, by hand: drop, pick, complete, back. For trying things out, and for agents that are shell scripts."""

import time
from typing import Any, Final

import click

from dropoff.cli.given import WORDS, json_of
from dropoff.cli.remote import Answer
from dropoff.cli.session import Command, Session, pass_session
from dropoff.cli.shown import as_json
from dropoff.cli.times import DELAY, DURATION
from dropoff.core import limits

NOTHING_TO_PICK_UP: Final = 7
SOON_S: Final = 0.5  # so little of the wait is none: brokers are told whole seconds
AGAIN_S: Final = 0.2  # a broker that answers too early must not be asked all the time


@click.command(cls=Command)
@click.argument("queue")
@click.argument("payload", required=False, metavar="[JSON|-|@FILE]")
@click.option("--note", type=WORDS, default="", help="A word to the receiver, beside the payload.")
@click.option("--delay", type=DELAY, default=0, help="Nobody gets it before this time has passed: 90s, 5m, 2h.")
@pass_session
def drop(session: Session, queue: str, payload: str | None, note: str, delay: int) -> None:
    """Drop off one unit of work into QUEUE.

    \b
    dropoff drop research '{"topic": "heat pumps", "audience": "exec"}'
    dropoff drop research @brief.json --note "for Monday"
    echo '{…}' | dropoff drop research
    """  # noqa: D301  # click wants the character itself
    work = json_of(payload, root="payload", verb="drop")
    arguments = {"queue": queue, "note": note, "delay_seconds": delay, "payload": work}
    answer = session.broker.call("drop_off", arguments)
    _say_dropped(session, answer)


@click.command(cls=Command)
@click.argument("queue")
@click.option(
    "--wait", type=DURATION, default=20, show_default=True, help="Seconds to wait when there is no work; or 5m, 2h."
)
@click.option(
    "--accepts",
    multiple=True,
    metavar="SCHEMA@V",
    help="Take only work of this version, for instance research@3. Say it once for each version that you can read; "
    "without it you get the oldest work of any version.",
)
@pass_session
def pick(session: Session, queue: str, wait: int, accepts: tuple[str, ...]) -> int:
    """Pick up the oldest waiting work of QUEUE.

    With exit code 7 there was none. You hold the work until its lease ends: finish it with `dropoff complete`, or give
    it back with `dropoff back`.
    """
    answer = _waited_for(session, {"queue": queue, "accepts": list(accepts)}, wait)
    if answer["status"] != "picked_up":
        paused = f" It is paused: dropoff queue resume {queue}" if answer.get("paused") else ""
        session.shown.say(f"Nothing to pick up from '{queue}'.{paused}")
        return NOTHING_TO_PICK_UP
    if session.shown.for_people:
        _say_picked(session, answer)
    else:
        session.shown.data(answer)
    return 0


@click.command(cls=Command)
@click.argument("lease")
@click.argument("result", required=False, metavar="[RESULT|-|@FILE]")
@pass_session
def complete(session: Session, lease: str, result: str | None) -> None:
    """Finish work you hold. Repeat it safely with the same RESULT, a JSON object; none is an empty one."""
    # Unlike a payload, a result is never waited for: `complete` in a script must not read the script's own stdin.
    outcome: Any = {} if result is None else json_of(result, root="result", verb="complete")
    answer = session.broker.call("complete", {"lease_id": lease, "result": outcome})
    _done(session, answer, f"Completed {answer['handoff_id']}.")


@click.command(cls=Command)
@click.argument("lease")
@click.option(
    "--outcome",
    type=click.Choice(["try_again", "not_for_me", "impossible"]),
    required=True,
    help="try_again counts as an attempt, not_for_me as nothing; impossible is final, and its sender is told.",
)
@click.option("--reason", type=WORDS, default="", help="Why; the next holder or the sender reads it.")
@click.option("--delay", type=DELAY, default=None, help="Only for try_again: not before this time has passed.")
@click.option("--checkpoint", default=None, metavar="JSON|-|@FILE", help="What you have so far, for the next holder.")
@pass_session
def back(session: Session, lease: str, outcome: str, reason: str, delay: int | None, checkpoint: str | None) -> None:
    """Hand back work you hold and will not finish."""
    arguments: dict[str, Any] = {"lease_id": lease, "outcome": outcome, "reason": reason}
    if delay is not None:
        arguments["delay_seconds"] = delay
    if checkpoint is not None:
        arguments["checkpoint"] = json_of(checkpoint, root="checkpoint", verb="back")
    answer = session.broker.call("hand_back", arguments)
    _done(session, answer, f"Handed back {answer['handoff_id']}: {answer.get('state', outcome)}.")


def _waited_for(session: Session, wanted: Answer, wait: int) -> Answer:
    """The work, or the last word that there is none; waits longer than one call may by asking again.

    A broker that is stopped lets go whoever waits, before the time is up. Who is asked again then has gone, or is back.
    """
    end = time.monotonic() + wait
    while True:
        asked = min(max(0, round(end - time.monotonic())), limits.WAIT_S_MAX)
        answer = session.broker.call("pick_up", {**wanted, "wait_seconds": asked})
        if answer["status"] == "picked_up" or end - time.monotonic() < SOON_S:
            return answer
        time.sleep(AGAIN_S)


def _say_dropped(session: Session, answer: Answer) -> None:
    shown = session.shown
    if shown.for_people:
        shown.text(answer["handoff_id"])
        shown.say(f"{_where(answer)} '{answer['queue']}'.")
        if answer["status"] == "held":
            shown.say(f"Next  somebody else says: dropoff handoff approve {answer['handoff_id']}")
    else:
        shown.data(answer)
    if "warning" in answer:
        shown.say(f"! {answer['warning']}", fg="yellow")


def _where(answer: Answer) -> str:
    if answer["status"] == "held":
        return "Held until somebody approves it for"
    return "Scheduled for" if answer.get("scheduled") else f"{answer.get('ahead_of_it', 0)} ahead of it in"


def _say_picked(session: Session, answer: Answer) -> None:
    shown = session.shown
    shown.one(
        answer,
        {
            "lease": answer["lease_id"],
            "from": answer["from_agent"],
            "note": answer.get("note", ""),
            "attempt": f"{answer['attempt']} of {answer['max_attempts']}",
            "lease ends": answer["lease_ends_at"],
        },
    )
    for name in ("previous_attempts", "checkpoint", "payload"):
        if answer.get(name):
            shown.text(f"{name.replace('_', ' ')}  {as_json(answer[name])}")
    shown.say()
    shown.say(f"Next  dropoff complete {answer['lease_id']} RESULT")
    shown.say(f"      dropoff back {answer['lease_id']} --outcome try_again --reason …")


def _done(session: Session, answer: Answer, words: str) -> None:
    if not session.shown.for_people:
        session.shown.data(answer)
    session.shown.say(words)
