"""The operator's side of the demo, by HTTP as any operator has it: the set-up, the question, and the ledger.

All that is made here is named `demo.…`, so it clashes with nothing of the user's. Schemas and queues are found again by
the next demo on the same store. Agents are not, because a bearer is shown only once: the next ones get a number, and
those of this demo lose their authority when it ends.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from dropoff.client.connection import Connection
from dropoff.demo import shipped

RESEARCH: Final = "demo.research"
DRAFTS: Final = "demo.drafts"
LEASE_S: Final = 5  # the shortest there is, for somebody waits for a dead writer's

RESEARCHER: Final = "demo.researcher"
WRITER: Final = "demo.writer"
SECOND_WRITER: Final = "demo.second-writer"
GRANTS: Final = {
    RESEARCHER: [f"pick:{RESEARCH}", f"drop:{DRAFTS}"],
    WRITER: [f"pick:{DRAFTS}"],
    SECOND_WRITER: [f"pick:{DRAFTS}"],
}
OURS: Final = re.compile(rf"(?:{'|'.join(map(re.escape, GRANTS))})(?:-[0-9]+)?\Z")

BRIEF: Final = {"topic": "Heat pumps in old houses", "audience": "exec"}

PATIENCE_S: Final = 1.0  # with a broker that does not answer: when it stops, so do we
POLL_S: Final = 0.05
PAGE: Final = 1_000

Answer = dict[str, Any]
Entry = dict[str, Any]


class Named(msgspec.Struct, frozen=True):
    """An agent of this demo."""

    name: str
    bearer: str


class Editor:
    """The operator on one broker."""

    def __init__(self, broker: Connection) -> None:
        self._broker = broker

    async def set_up(self) -> dict[str, Named]:
        """Schemas, queues, agents. Returns the agents by their part in the story."""
        brief = await self._push("demo.brief", "brief@1.json")
        draft = await self._push("demo.draft", "draft@1.json")
        await self._queue(RESEARCH, brief, "Questions for the demo's researcher.", lease_seconds=300)
        await self._queue(DRAFTS, draft, "Findings for the demo's writers.", lease_seconds=LEASE_S)
        for queue in (RESEARCH, DRAFTS):
            await self._sweep(queue)
        return await self._agents()

    async def ask(self) -> Answer:
        """Drop off the question."""
        return await self._broker.call("drop_off", {"queue": RESEARCH, "payload": BRIEF})

    async def look(self, handoff_id: str) -> Answer:
        return await self._broker.get(f"/v1/handoffs/{handoff_id}")

    async def entries(self, after: str | None, limit: int) -> Answer:
        return await self._broker.get("/v1/ledger", after=after, limit=limit)

    async def dismiss(self, names: Iterable[str]) -> None:
        """End the authority of agents whose bearers nobody has any more."""
        for name in names:
            await self._broker.post(f"/v1/agents/{name}/revoke", {"reason": "the demo has ended"})

    async def _push(self, name: str, file: str) -> str:
        schema = msgspec.json.decode(shipped.payload_schema(file))
        return (await self._broker.post(f"/v1/schemas/{name}", schema))["schema"]

    async def _queue(self, name: str, schema: str, purpose: str, lease_seconds: int) -> None:
        queue = {"name": name, "schema": schema, "purpose": purpose, "lease_seconds": lease_seconds}
        await self._broker.post("/v1/queues", queue)

    async def _sweep(self, queue: str) -> None:
        """What an interrupted demo has left is withdrawn, or this one would pick it up."""
        for state in ("waiting", "scheduled", "leased"):
            for left in (await self._broker.get("/v1/handoffs", queue=queue, state=state))["handoffs"]:
                what = {"handoff_id": left["handoff_id"], "reason": "left by an earlier demo"}
                await self._broker.call("withdraw", what)

    async def _agents(self) -> dict[str, Named]:
        known = (await self._broker.get("/v1/agents"))["agents"]
        await self.dismiss(one["agent"] for one in known if OURS.match(one["agent"]) and one["standing"] == "active")
        taken = {one["agent"] for one in known}
        suffixes = ("", *(f"-{number}" for number in range(2, len(taken) + 3)))  # more than can be taken
        suffix = next(suffix for suffix in suffixes if not taken & {part + suffix for part in GRANTS})
        made: dict[str, Named] = {}
        for part, grants in GRANTS.items():
            added = await self._broker.post("/v1/agents", {"name": part + suffix, "grants": grants})
            made[part] = Named(added["agent"], added["bearer"])
        return made


class Ledger:
    """The ledger from the demo's beginning on, read as it grows."""

    def __init__(self, editor: Editor, after: str) -> None:
        self._editor = editor
        self._after = after
        self.entries: list[Entry] = []

    @classmethod
    async def from_now_on(cls, editor: Editor) -> "Ledger":
        newest = (await editor.entries(None, limit=1))["next"]
        return cls(editor, newest or "0-0")

    async def read(self) -> None:
        """All that was written since the last time."""
        while True:
            page = await self._editor.entries(self._after, limit=PAGE)
            self.entries += page["entries"]
            self._after = page["next"]
            if len(page["entries"]) < PAGE:
                return

    def of(self, handoff_id: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.get("handoff") == handoff_id]

    async def until(self, holds: Callable[[Entry], bool], limit_s: float) -> Entry | None:
        """The first entry of which this holds, once it is there; None if it does not come in time."""
        clock = asyncio.get_running_loop().time
        ends = clock() + limit_s
        while True:
            await self.read()
            found = next((entry for entry in self.entries if holds(entry)), None)
            if found or clock() > ends:
                return found
            await asyncio.sleep(POLL_S)


@asynccontextmanager
async def editor(url: str, bearer: str) -> AsyncGenerator[Editor]:
    async with Connection(url, bearer, patience_s=PATIENCE_S) as broker:
        yield Editor(broker)
