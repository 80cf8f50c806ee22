"""`dropoff doctor`: everything that a first run trips over, each finding with its fix.

What only the broker knows, the broker says (`GET /v1/doctor`, judged in `dropoff/doctor/`). Here is what it cannot
see: whether it is reached at all, by which name, with which credential, by a command of which version, and what the
clock says on this side. Where no broker answers, what it would run on is looked at from here, and nothing is started.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import click

import dropoff
from dropoff.cli import config
from dropoff.cli.remote import Answer
from dropoff.cli.session import Command, Session, pass_session
from dropoff.core import places
from dropoff.errors import DropoffError, StoreRefused

if TYPE_CHECKING:
    from dropoff.doctor.findings import Finding

DEGRADED: Final = 9
MARKS: Final = {"broken": "✗", "warning": "!", "note": "·", "ok": "✓"}  # the gravest first, and shown in this order
COLORS: Final = {"broken": "red", "warning": "yellow", "note": "cyan", "ok": "green"}
MEND_S: Final = 900.0  # a million handoffs take about a minute

WHERE_TO_ASK: Final = "dropoff up, or say where it is by --url or DROPOFF_URL"
SOMEBODY_ELSES: Final = (
    "on the broker's machine name its data folder (--data or DROPOFF_DATA); elsewhere ask its operator for a credential"
)
AS_AN_ADMIN: Final = "ask again as an admin: --credential-file, or without it on the broker's machine"


@click.command(cls=Command)
@click.option("--mend", is_flag=True, help="And put back what lost keys of the store took.")
@pass_session
def doctor(session: Session, mend: bool) -> int:
    """Look for what is wrong, and say how to mend it.

    Ends with 9 if anything was found or could not be put right, with 0 if all is well. What somebody has frozen, paused
    or drained is told with what ends it, and is nothing wrong. Looking changes nothing.
    """
    order = list(MARKS)
    findings = sorted(_examined(session, mend), key=lambda one: order.index(one.verdict))
    _show(session, findings)
    wrong = sum(one.verdict in ("broken", "warning") for one in findings)
    session.shown.say(f"{wrong} of {len(findings)} need a look." if wrong else "All is well.")
    return DEGRADED if wrong else 0


def _show(session: Session, findings: "list[Finding]") -> None:
    if not session.shown.for_people:
        for item in findings if session.shown.form == "jsonl" else [findings]:
            session.shown.data(item)
        return
    from dropoff.cli.shown import in_one_line

    for one in findings:
        mark = MARKS[one.verdict]
        colored = click.style(mark, fg=COLORS[one.verdict]) if session.shown.color else mark
        click.echo(f"{colored} {in_one_line(one.says)}")
        if one.fix:
            click.echo(f"    {'Ends by' if one.verdict == 'note' else 'Fix'}: {in_one_line(one.fix)}")


def _examined(session: Session, mend: bool) -> "list[Finding]":
    """What is found from here, and what the broker says, or why it does not. Mending is done by a broker that does."""
    from dropoff import settings

    try:
        url = config.url_asked(session).value.rstrip("/")
    except settings.SettingInvalid as error:
        return [_refused("settings", error)]
    before_ms = _now_ms()
    try:
        answer = session.broker.get("/v1/doctor")
    except DropoffError as error:
        if mend:
            session.shown.warn("Nothing was mended: a broker does that, for an admin.")
        return [*_file_rights(session), *_unanswered(session, error, url)]
    between_ms = (before_ms, _now_ms())
    return [
        _finding("broker", "ok", f"Broker: answers at {url}"),
        _finding("credential", "ok", f"Credential: accepted, of '{answer['you']}'"),
        *_file_rights(session),
        *_both_sides(answer, between_ms),
        *(_finding(**one) for one in answer["findings"]),
        *([_mended(session)] if mend else []),
    ]


def _mended(session: Session) -> "Finding":
    done = session.broker.post("/v1/doctor/mend", {}, MEND_S)
    says = f"Looked at {done['looked_at']:,}, put right {done['mended']:,}."
    if not done.get("failed"):  # an older broker does not say
        return _finding("mended", "ok", says)
    fix = "the log says of each why; rename a key of another type out of the way, and mend again"
    return _finding("mended", "broken", f"{says} {done['failed']:,} could not be put right: see the broker's log.", fix)


def _finding(check: str, verdict: str, says: str, fix: str = "") -> "Finding":
    import msgspec

    from dropoff.doctor.findings import Finding

    return msgspec.convert({"check": check, "verdict": verdict, "says": says, "fix": fix}, Finding)


def _refused(check: str, error: DropoffError) -> "Finding":
    from dropoff.doctor.findings import found, refusal

    return found(check, refusal(error.sentence()))


# ---- what only this side sees -----------------------------------------------------------------------------------


def _file_rights(session: Session) -> "list[Finding]":
    """0600: whoever reads a bearer is its agent."""
    path = _credential_file(session)
    try:
        mode = path.stat().st_mode & 0o777
    except OSError:
        return []  # said where it is missed
    if os.name == "nt" or not mode & 0o077:
        return [_finding("credential file", "ok", f"Credential file: {path} is its owner's only")]
    says = f"Credential file: others on this machine can read {path} (its mode is {mode:04o})."
    return [_finding("credential file", "warning", says, f"chmod 600 {path}")]


def _credential_file(session: Session) -> Path:
    named = session.credential_file or os.environ.get("DROPOFF_CREDENTIAL_FILE")
    return Path(named).expanduser() if named else session.data_folder / places.OPERATOR_FILE


def _both_sides(answer: Answer, between_ms: tuple[int, int]) -> "list[Finding]":
    from dropoff.doctor.checks import clocks
    from dropoff.doctor.findings import Said, found

    findings: list[Finding] = []
    theirs, ours = answer["version"], dropoff.__version__
    if theirs != ours:
        says = f"This command is dropoff {ours}, the broker {theirs}: what is new in one may be unknown to the other."
        findings.append(
            _finding("client version", "warning", says, f"pip install dropoff=={theirs}, or restart the broker")
        )
    apart = clocks("This machine's clock", between_ms, "the broker's", answer["time_ms"])
    agree = Said("ok", "Clock: this machine's and the broker's agree")
    return [*findings, found("client clock", apart or agree)]


# ---- what is said where there is no answer ----------------------------------------------------------------------


def _unanswered(session: Session, error: DropoffError, url: str) -> "list[Finding]":
    """What kept the broker from answering, by the code of the refusal."""
    says = error.sentence()
    match error.code:
        case "broker_unreachable":
            says, _, _ = says.partition(" Nothing was sent.")
            return [_finding("broker", "broken", says, WHERE_TO_ASK), *_without_broker(session, url)]
        case "broker_unavailable":
            says = "The broker answers, and cannot reach its store."
            fix = "see that the store runs; the broker goes on with it by itself"
            return [_finding("broker", "broken", says, fix), *_without_broker(session, url)]
        case "host_refused":
            return [_host_refused(url)]
        case "credential_unusable":
            return [_finding("credential", "broken", says, SOMEBODY_ELSES)]
        case "unauthenticated":
            says = f"The broker at {url} does not accept the credential in {_credential_file(session)}."
            return [_finding("credential", "broken", says, SOMEBODY_ELSES)]
        case "not_allowed":
            says = "Credential: accepted, but what the broker runs on is shown to admins only."
            return [_finding("credential", "warning", says, AS_AN_ADMIN)]
        case "route_unknown":
            fix = f"restart the broker with dropoff {dropoff.__version__}"
            return [_finding("client version", "warning", "The broker is older than this command.", fix)]
        case _:
            return [_finding("broker", "broken", says, "read the broker's log")]


def _host_refused(url: str) -> "Finding":
    from dropoff.settings import in_url

    name = in_url(urlsplit(url).hostname or "")
    says = f"Host header: the broker at {url} does not answer to the name '{name}'."
    return _finding("host", "broken", says, f"start it with DROPOFF_ALLOWED_HOSTS={name}:*")


def _without_broker(session: Session, url: str) -> "list[Finding]":
    """What a broker started here would run on. One that runs elsewhere has nothing to do with it."""
    from dropoff import settings, wiring
    from dropoff.client.credentials import is_loopback

    if not is_loopback(url):
        return []
    try:
        told = settings.settings({"data": session.data}, os.environ)
        return asyncio.run(wiring.examine(told))
    except settings.SettingInvalid as error:
        return [_refused("settings", error)]
    except StoreRefused as error:
        return [_refused("store", error)]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
