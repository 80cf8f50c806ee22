"""`dropoff agent`: who may call, and what they may do.

A new agent's bearer goes to exactly one place. That is a file in the data folder, for what was on a screen is in a
scrollback, and what was in a pipe often in a log; shown is where it is, and on a terminal how to begin. Only
who writes `-o json` gets the bearer itself, and no file: whoever asks for it has a place for it.
"""

import shlex
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from dropoff.cli import bearers
from dropoff.cli.freezing import say_goes_on, say_stands_still
from dropoff.cli.given import WORDS
from dropoff.cli.remote import Answer
from dropoff.cli.session import Group, Session, pass_session
from dropoff.cli.shown import Column
from dropoff.errors import AgentUnknown, DropoffError

NONE_YET = "No agents yet. dropoff agent add NAME --grant drop:QUEUE --grant pick:QUEUE"

SNIPPET = """\
MCP     {mcp}
Header  Authorization: Bearer $(cat {file})

from pathlib import Path
from agents import Agent
from agents.mcp import MCPServerStreamableHttp

bearer = Path("{file}").read_text().strip()
async with MCPServerStreamableHttp(
    params={{"url": "{mcp}", "headers": {{"Authorization": f"Bearer {{bearer}}"}}, "timeout": 40}},
    client_session_timeout_seconds=40,  # longer than pick_up may wait
) as tools:
    agent = Agent(name="{agent}", mcp_servers=[tools])
"""


@click.group(cls=Group)
def agent() -> None:
    """Agents: who may call, and what they may do."""


@agent.command()
@click.argument("name")
@click.option(
    "--grant",
    "grants",
    multiple=True,
    metavar="GRANT",
    help="What it may do: drop:research, pick:drafts.*, inspect:*, …",
)
@click.option("--bearer", is_flag=True, help="With a long bearer, which is the only kind for now.")
@pass_session
def add(session: Session, name: str, grants: tuple[str, ...], bearer: bool) -> None:
    """Make an agent. Its bearer is put into a file in the data folder, or is part of the data with -o json.

    What it may do is said by --grant, as often as needed; dropoff agent grant --help lists them. A name is taken once
    and for all, also that of an agent that is revoked.
    """
    body = {"name": name, "grants": grants}
    if session.output in ("json", "jsonl"):
        made = session.broker.post("/v1/agents", body)
        session.shown.data({key: made[key] for key in ("agent", "grants", "bearer")})
        session.shown.say(f"Agent '{name}' is made. Its bearer is not shown again.")
        return
    made, file = _with_file(session, body)
    session.shown.say(f"Agent '{name}' is made and may: {', '.join(made['grants']) or 'nothing yet'}.")
    session.shown.say(f"Its bearer is in {file}, for your eyes only.")
    if session.shown.for_people:
        _say_how_to_begin(session, name, made["grants"], file)
    else:
        session.shown.data({"agent": name, "grants": made["grants"], "credential_file": str(file)})


def _say_how_to_begin(session: Session, name: str, grants: list[str], file: Path) -> None:
    """Who drops off and picks up does so by MCP, from a program; who looks on and operates, by commands."""
    if any(grant.startswith(("drop:", "pick:")) for grant in grants):
        session.shown.text("\n" + SNIPPET.format(mcp=f"{session.broker.url}/mcp", file=file, agent=name).rstrip())
    elif grants:
        session.shown.say(f"Next  dropoff queue ls --credential-file {shlex.quote(str(file))}")
    else:
        session.shown.say(f"Next  dropoff agent grant {name} GRANT      dropoff agent grant --help lists them")


def _with_file(session: Session, body: Answer) -> tuple[Answer, Path]:
    """Make the agent, and leave its bearer in a file and nowhere else."""
    name = body["name"]
    _let_the_broker_refuse(session, body)
    with bearers.kept(session.data_folder, name) as keep:
        made = session.broker.post("/v1/agents", body)
        keep(made["bearer"])
    return made, bearers.path_for(session.data_folder, name)


def _let_the_broker_refuse(session: Session, body: Answer) -> None:
    """Where the file is there the agent mostly is too: then that is said, and not that the file is in the way."""
    if not bearers.path_for(session.data_folder, body["name"]).exists():
        return
    try:
        session.broker.get(_of(body["name"]))
    except DropoffError as unknown:
        if unknown.code == AgentUnknown.code:
            return
        raise
    session.broker.post("/v1/agents", body)  # refused: a name is taken once and for all


@agent.command()
@pass_session
def ls(session: Session) -> None:
    """All agents and their grants."""
    found = session.broker.get("/v1/agents")["agents"]
    cells = [(one["agent"], one["standing"], ", ".join(one["grants"])) for one in found]
    session.shown.many(found, [Column("AGENT"), Column("STANDING"), Column("GRANTS")], cells, NONE_YET)


@agent.command()
@click.argument("name")
@pass_session
def show(session: Session, name: str) -> None:
    """One agent: its grants, what it holds now."""
    found = session.broker.get(_of(name))
    session.shown.one(found, _facts(found))


@agent.command()
@click.argument("name")
@click.argument("grants", nargs=-1, required=True, metavar="GRANT…")
@pass_session
def grant(session: Session, name: str, grants: tuple[str, ...]) -> None:
    """Let an agent do more, from its very next call on.

    \b
    drop:QUEUE     drop off into it; see what became of that, and withdraw it
    pick:QUEUE     pick up from it, and finish or hand back what was picked up
    inspect:QUEUE  see it in numbers, and its handoffs with their payloads
    operate:QUEUE  pause, drain and resume it; approve, deny, release, withdraw
                   and resubmit its handoffs
    admin          all of this, and queues, schemas, agents, freezes, the ledger

    QUEUE may end in *, as in pick:drafts.* or inspect:*.
    """  # noqa: D301  # click wants the character itself
    _changed(session, name, session.broker.post(f"{_of(name)}/grant", {"grants": grants}))


@agent.command()
@click.argument("name")
@click.argument("grants", nargs=-1, required=True, metavar="GRANT…")
@pass_session
def ungrant(session: Session, name: str, grants: tuple[str, ...]) -> None:
    """Let an agent do less, from its very next call on."""
    _changed(session, name, session.broker.post(f"{_of(name)}/ungrant", {"grants": grants}))


@agent.command()
@click.argument("name")
@click.option("--reason", type=WORDS, default="", help="Why; it stands in the ledger.")
@pass_session
def revoke(session: Session, name: str, reason: str) -> None:
    """End an agent's authority, from its very next call on. This is final: the name stays taken.

    What it holds waits again for others, and no attempt is counted.
    """
    held = len(session.broker.get(_of(name))["holds"])
    changed = session.broker.post(f"{_of(name)}/revoke", {"reason": reason} if reason else {})
    if not session.shown.for_people:
        session.shown.data(changed)
    session.shown.say(f"Agent '{name}' is revoked. In force now, for its very next call.")
    _say_taken_back(session, held)


@agent.command()
@click.argument("name")
@click.option("--reason", type=WORDS, default="", help="Why; agent show and the ledger show it.")
@pass_session
def freeze(session: Session, name: str, reason: str) -> None:
    """Stop an agent, from its very next call on, until it is thawed. What it holds, it keeps."""
    changed = session.broker.post(f"{_of(name)}/freeze", {"reason": reason})
    if not session.shown.for_people:
        session.shown.data(changed)
    session.shown.say(f"Agent '{name}' is frozen: it drops off, picks up and finishes nothing. In force now.")
    say_stands_still(session, len(session.broker.get(_of(name))["holds"]))
    session.shown.say(f"Next  dropoff agent thaw {name}")


@agent.command()
@click.argument("name")
@click.option("--reason", type=WORDS, default="", help="Why; it stands in the ledger.")
@pass_session
def thaw(session: Session, name: str, reason: str) -> None:
    """Let a frozen agent go on. What it holds, it has for one whole lease time from now."""
    changed = session.broker.post(f"{_of(name)}/thaw", {"reason": reason})
    if not session.shown.for_people:
        session.shown.data(changed)
    session.shown.say(f"Agent '{name}' may go on. In force now.")
    say_goes_on(session, len(session.broker.get(_of(name))["holds"]))


def _say_taken_back(session: Session, leases: int) -> None:
    """By upkeep, in its next round; so it is not said that it has happened."""
    if leases:
        they = "1 lease, which goes" if leases == 1 else f"{leases:,} leases, which go"
        session.shown.say(f"It held {they} back within seconds; the work waits again, and no attempt is counted.")
    else:
        session.shown.say("It held no lease.")


def _of(name: str) -> str:
    return f"/v1/agents/{quote(name, safe='')}"


def _changed(session: Session, name: str, changed: Answer) -> None:
    if not session.shown.for_people:
        session.shown.data(changed)
    session.shown.say(f"Agent '{name}' may: {', '.join(changed['grants']) or 'nothing'}. In force now.")


def _facts(found: Answer) -> dict[str, str]:
    holds: list[Any] = found.get("holds", [])
    return {
        "agent": found["agent"],
        "standing": found["standing"],
        "reason": found.get("reason", ""),
        "grants": ", ".join(found["grants"]) or "none",
        "credentials": ", ".join(map(str, found.get("credentials", []))),
        "holds": ", ".join(map(str, holds)) or "nothing",
    }
