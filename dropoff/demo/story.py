"""The story, chapter by chapter: what the agents report is held against the ledger, and told.

No line is told on trust. What an agent reports is compared with what another one got and with what the broker wrote
down; `Checks.hold` ends the demo with the first thing that is not so. Nothing waits for a time to pass: every wait is
for a report or an entry, and is bounded.
"""

import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from dropoff.demo.children import BEARER, URL, Child, Report, child
from dropoff.demo.editor import (
    BRIEF,
    DRAFTS,
    LEASE_S,
    RESEARCH,
    RESEARCHER,
    SECOND_WRITER,
    WRITER,
    Editor,
    Entry,
    Ledger,
    Named,
)
from dropoff.demo.page import Page, short

START_S: Final = 60.0  # `import agents` takes 2 s, on a busy machine many times that
STEP_S: Final = 30.0  # anything an agent does takes milliseconds
LAPSE_S: Final = LEASE_S + 30.0  # upkeep comes by every second

MODULES: Final = {RESEARCHER: "researcher", WRITER: "writer", SECOND_WRITER: "writer"}


class UntrueError(Exception):
    """Something that the story tells is not so."""


class Checks:
    """What the story tells, each thing held against the facts first."""

    def __init__(self) -> None:
        self.held = 0

    def hold(self, fact: object, what: str) -> None:
        if not fact:
            raise UntrueError(what)
        self.held += 1


class Cast:
    """Who took part: names as the broker knows them, and processes."""

    def __init__(self) -> None:
        self.pids = {os.getpid()}
        self.names: dict[str, str] = {}

    def add(self, part: str, who: Child) -> None:
        self.pids.add(who.pid)
        self.names[part] = f"{who.name} (pid {who.pid})"


class Story:
    """One telling."""

    def __init__(
        self, page: Page, checks: Checks, operator: Editor, ledger: Ledger, named: dict[str, Named], url: str
    ) -> None:
        self._page = page
        self._checks = checks
        self._operator = operator
        self._ledger = ledger
        self._named = named
        self._url = url
        self._seen: set[str] = set()  # ids of the entries that were told
        self.cast = Cast()

    async def told(self) -> None:
        async with self._agent(RESEARCHER) as researcher, self._agent(WRITER) as writer:
            brief = await self._an_editor_asks()
            first = await self._a_contract_is_kept(researcher, brief)
            await self._a_result_comes_back(researcher, writer, first)
            second = await self._a_holder_is_killed(researcher, writer)
            async with self._agent(SECOND_WRITER) as other:
                await self._another_one_finishes(researcher, writer, other, second)
            await self._the_editor_reads(researcher, brief)
        await self._the_ledger_says_the_same(brief, first["handoff_id"], second["handoff_id"])

    async def _an_editor_asks(self) -> str:
        self._page.chapter("1  An editor asks")
        await self._ledger.read()
        self._page.tell(
            "editor",
            f"has queues {RESEARCH} (schema demo.brief) and {DRAFTS} (schema demo.draft, leases of {LEASE_S} s)",
            [entry for entry in self._ledger.entries if self._is_set_up(entry)],
        )
        asked = await self._operator.ask()
        entry = await self._entry("drop_off", asked["handoff_id"])
        self._page.tell("editor", f"drops a question into {RESEARCH}: {BRIEF['topic']}?", [entry])
        return asked["handoff_id"]

    async def _a_contract_is_kept(self, researcher: Child, brief: str) -> Report:
        self._page.chapter("2  A contract is kept")
        await researcher.reports("ready", START_S)
        picked = await researcher.reports("picked_up", STEP_S)
        self._hold(picked["pid"] == researcher.pid, "the researcher is the process that was started")
        self._hold(picked["handoff_id"] == brief, "the researcher got the editor's question")
        self._hold(picked["payload"] == BRIEF, "the question arrived as it was sent")
        entry = await self._entry("pick_up", brief, researcher)
        self._tell(researcher, f"pid {researcher.pid}, picks it up", entry)

        refused = await researcher.reports("refused", STEP_S)
        self._hold("Nothing was stored." in refused["sentence"], "the refusal says that nothing was stored")
        self._tell(researcher, f"leaves a brief for the writer, and is refused:\n{_indented(refused['sentence'])}")

        dropped = await researcher.reports("dropped_off", STEP_S)
        renamed = {old: new for old, new in zip(refused["sent"], dropped["payload"], strict=True) if old != new}
        self._hold(renamed == {"audiance": "audience"}, f"the brief was mended as the refusal said, not by {renamed}")
        entry = await self._entry("drop_off", dropped["handoff_id"], researcher)
        self._tell(researcher, f"reads that, and mends it: {short(dropped['handoff_id'])}", entry)
        return dropped

    async def _a_result_comes_back(self, researcher: Child, writer: Child, dropped: Report) -> None:
        self._page.chapter("3  A result comes back")
        await writer.reports("ready", START_S)
        picked = await self._picked(writer, dropped, researcher)
        self._hold(picked["attempt"] == 1, "it is the first attempt")
        completed = await self._completed(writer, dropped)
        await self._seen_by(researcher, dropped, completed)

    async def _a_holder_is_killed(self, researcher: Child, writer: Child) -> Report:
        self._page.chapter("4  A holder is killed")
        dropped = await researcher.reports("dropped_off", STEP_S)
        entry = await self._entry("drop_off", dropped["handoff_id"], researcher)
        self._tell(researcher, f"leaves a longer one: {short(dropped['handoff_id'])}", entry)
        await self._picked(writer, dropped, researcher)
        saved = await writer.reports("saved", STEP_S)
        entry = await self._entry("extend", dropped["handoff_id"], writer)
        self._tell(writer, "writes a section, saves it as a checkpoint, and thinks", entry)

        status = await writer.kill()
        killed = status == -signal.SIGKILL if sys.platform != "win32" else status != 0
        self._hold(killed, f"kill -9 ended the writer (it ended with {status})")
        left = await self._operator.look(dropped["handoff_id"])
        self._hold((left["state"], left["held_by"]) == ("leased", writer.name), "the dead writer still has the lease")
        self._hold(left["checkpoint"] == saved["checkpoint"], "what it saved is kept")
        self._page.tell(
            "demo", f"kill -9 {writer.pid}. The lease of {writer.name} stands until {left['lease_ends_at']}"
        )
        return dropped | {"checkpoint": saved["checkpoint"]}

    async def _another_one_finishes(self, researcher: Child, writer: Child, other: Child, dropped: Report) -> None:
        self._page.chapter("5  Another one finishes")
        await other.reports("ready", START_S)
        lapse = await self._entry("lapse", dropped["handoff_id"], limit_s=LAPSE_S)
        self._hold(lapse["to"] == "waiting", "what was not finished waits again")
        self._page.tell("upkeep", "ends the lease of the dead: the handoff waits again", [lapse])
        picked = await self._picked(other, dropped, researcher)
        before = [(attempt["agent"], attempt["outcome"]) for attempt in picked["previous_attempts"]]
        self._hold(before == [(writer.name, "lapse")], f"the second writer is told who had it before, not {before}")
        self._hold(picked["attempt"] == 2, "it is the second attempt")
        self._hold(picked["checkpoint"] == dropped["checkpoint"], "the second writer has what the first one saved")
        self._tell(other, f"has the checkpoint of {writer.name}, and writes only what is missing")
        completed = await self._completed(other, dropped)
        sections = dropped["checkpoint"]["sections"]
        self._hold(all(section in completed["result"]["text"] for section in sections), "nothing written was lost")
        await self._seen_by(researcher, dropped, completed)

    async def _the_editor_reads(self, researcher: Child, brief: str) -> None:
        completed = await researcher.reports("completed", STEP_S)
        entry = await self._entry("complete", brief, researcher)
        self._tell(researcher, "answers the editor with both texts", entry)
        await researcher.reports("done", STEP_S)
        answer = await self._operator.look(brief)
        self._hold(answer["state"] == "completed", "the question is answered")
        self._hold(answer["result"] == completed["result"], "the editor reads what the researcher sent")

    async def _the_ledger_says_the_same(self, *handoff_ids: str) -> None:
        """As a whole, too: every step of these agents and of these handoffs was told, so what was refused left none."""
        await self._ledger.read()
        names = {named.name for named in self._named.values()}
        entries = [one for one in self._ledger.entries if one["actor"] in names or one.get("handoff") in handoff_ids]
        self._hold({entry["id"] for entry in entries} == self._seen, "the ledger has no step that was not told")
        for handoff_id in handoff_ids:
            ends = [entry["step"] for entry in self._ledger.of(handoff_id) if entry["to"] == "completed"]
            self._hold(ends == ["complete"], f"{handoff_id} has one outcome")
        proofs = {entry["actor"]: entry["credential"] for entry in entries if entry["actor"] in names}
        self._hold(proofs.keys() == names, "the ledger names all three agents")
        self._hold(len(set(proofs.values())) == len(proofs), "each of them proved itself by a credential of its own")
        self._hold(len(self.cast.pids) == 1 + len(proofs), "each of them was a process of its own")

    # ---- what happens more than once ----------------------------------------------------------------------------

    async def _picked(self, who: Child, dropped: Report, sender: Child) -> Report:
        picked = await who.reports("picked_up", STEP_S)
        self._hold(picked["pid"] == who.pid, f"{who.name} is the process that was started")
        self._hold(picked["handoff_id"] == dropped["handoff_id"], f"{who.name} got what was dropped off")
        self._hold(picked["payload"] == dropped["payload"], "it arrived as it was sent")
        self._hold(picked["from_agent"] == sender.name, f"{who.name} is told by whom it was sent")
        entry = await self._entry("pick_up", dropped["handoff_id"], who)
        fences = [int(one["fence"]) for one in self._ledger.of(dropped["handoff_id"]) if one["step"] == "pick_up"]
        self._hold(fences == sorted(set(fences)), "the fence rises with every lease")
        self._tell(who, f"pid {who.pid}, picks up {short(dropped['handoff_id'])} from {sender.name}", entry)
        return picked

    async def _completed(self, who: Child, dropped: Report) -> Report:
        completed = await who.reports("completed", STEP_S)
        entry = await self._entry("complete", dropped["handoff_id"], who)
        self._tell(who, "completes it with a text", entry)
        return completed

    async def _seen_by(self, sender: Child, dropped: Report, completed: Report) -> None:
        saw = await sender.reports("saw", STEP_S)
        self._hold(saw["handoff_id"] == dropped["handoff_id"], "the sender asked for the handoff it had dropped off")
        self._hold(saw["result"] == completed["result"], "the sender reads the result as it was given")
        self._tell(sender, f"reads it by check_handoff: {saw['result']['text'].splitlines()[0]!r}, …")

    async def _entry(self, step: str, handoff_id: str, who: Child | None = None, limit_s: float = STEP_S) -> Entry:
        """The ledger's entry of a step that is about to be told."""

        def is_it(entry: Entry) -> bool:
            by_whom = who is None or entry["actor"] == who.name
            return (
                entry["step"] == step
                and entry.get("handoff") == handoff_id
                and by_whom
                and entry["id"] not in self._seen
            )

        entry = await self._ledger.until(is_it, limit_s)
        by = f" by {who.name}" if who else ""
        self._hold(entry, f"the ledger has the {step} of {handoff_id}{by}")
        assert entry is not None
        self._seen.add(entry["id"])
        return entry

    def _tell(self, who: Child, what: str, *entries: Entry) -> None:
        self._page.tell(who.name, what, entries)

    def _hold(self, fact: object, what: str) -> None:
        self._checks.hold(fact, what)

    def _is_set_up(self, entry: Entry) -> bool:
        told_of = (entry.get("reason", ""), entry.get("queue", ""), entry.get("agent", ""))
        return entry["step"].startswith("put_") and any(name.startswith("demo.") for name in told_of)

    @asynccontextmanager
    async def _agent(self, part: str) -> AsyncGenerator[Child]:
        """The process of this part, with an identity of its own, and no other secret of ours."""
        named = self._named[part]
        own = {URL: self._url, BEARER: named.bearer, "NO_PROXY": urlsplit(self._url).hostname or ""}
        others = {name: value for name, value in os.environ.items() if not _is_secret(name)}
        async with child(named.name, f"dropoff.demo.{MODULES[part]}", environ=others | own) as started:
            self.cast.add(part, started)
            yield started


def _is_secret(name: str) -> bool:
    """Ours (an operator's credential may be among them), and the key that a real model would need."""
    return name.startswith(("DROPOFF_", "OPENAI_")) or name.lower() in ("no_proxy", "http_proxy", "all_proxy")


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
