"""Any one key deleted under load: mended, nothing is stuck and nothing is done twice.

A real broker and a load at work; the keys are deleted behind the broker's back, one of each kind that `keys.py` knows,
one after the other, and each loss is followed by work that goes on, by a mend, and by more work. In the end everything
has its one outcome by the checker, and each record stands in just the indexes that its state demands.

What is lost for good is named: a handoff whose record was deleted is gone and no index names it; an agent whose record
was deleted is nobody; of a deleted ledger the entries that come later still agree with those that were there (which the
test has read in the moment of deleting them).
"""

import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, NamedTuple

import httpx2
import pytest

from dropoff.storage.keys import KINDS, Keys
from tests.crash.checker import Excused, History, broken, digest
from tests.crash.conductor import (
    AGENTS,
    LEASE_S,
    NEXT,
    QUEUE,
    SCHEMA,
    Broker,
    broker_in_a_folder,
    load_on,
    now_ms,
    operating,
    settle,
    store_client,
    until,
)
from tests.crash.lives import Load
from tests.crash.load import Agent, Book
from tests.look import Look, check_indexes

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no embedded store on Windows")

KEYS: Final = Keys()
WORKERS: Final = ("worker-1", "worker-2", "worker-slow")
LOST: Final = "worker-1"  # the agent whose record is deleted
QUEUES_APART: Final = ("review", "quick")  # nobody else uses them: for work that is held, can expire, has died
FIELDS: Final = {"payload": {"topic": "owls", "audience": "exec"}}

TRANSIENT: Final = {"changing", "recalls", "mending", "proof"}  # gone by themselves before we come, mostly
# What agents may hear, beside what they may always hear, from the loss until it is mended.
HEARD: Final[Mapping[str, set[str]]] = {
    "queues": {"queue_unknown", "not_allowed"},
    "bearers": {"unauthenticated"},
    "schema": {"schema_unknown"},
}
# Kinds whose content a mend puts back as it was.
AS_BEFORE: Final = {"held", "dead", "final", "expiries", "gate", "agents", "admins", "bearers", "schemas"}
READ: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "hash": lambda ask, key: ask.hgetall(key),
    "zset": lambda ask, key: ask.zrange(key, 0, -1, withscores=True),
    "set": lambda ask, key: ask.smembers(key),
    "stream": lambda ask, key: ask.xrange(key),
    "string": lambda ask, key: ask.get(key),
    "its own": lambda ask, key: ask.type(key),
}
OF_APART: Final = {"held": "review", "dead": "quick", "expiries": "quick", "rejected": "quick"}
ORDER: Final = (*(kind for kind in KINDS if kind not in {"ledger", "agent"}), "ledger", "agent")


class Lost(NamedTuple):
    """A key that was deleted, and what it held."""

    kind: str
    key: str
    content: Any
    at_ms: int


async def test_any_one_key_deleted_under_load_is_mended_and_nothing_is_stuck_or_doubled(fresh_seed: int):
    """One key of each kind, one after the other; after each mend work goes on, and all of it has its one outcome."""
    async with broker_in_a_folder() as broker, operating(broker) as operator:
        at_work = {name: grants for name, grants in AGENTS.items() if name.startswith("dropper") or name in WORKERS}
        async with load_on(broker, fresh_seed, at_work) as load, working_apart(broker, operator, load) as tester:
            seen = await Losses(broker, operator, load, tester).all()
    assert "\n".join(broken(seen)) == "", f"seed {fresh_seed}"


class Losses:
    """Loses one key after the other, and knows what that excuses."""

    def __init__(self, broker: Broker, operator: httpx2.AsyncClient, load: Load, tester: "Apart") -> None:
        self._broker, self._operator, self._load, self._tester = broker, operator, load, tester
        self._excused: list[Excused] = []
        self._gone: set[str] = set()
        self._archive: list[dict[str, str]] = []

    async def all(self) -> History:
        async with store_client(self._broker.data) as client:
            for kind in ORDER:
                await self._one(client, kind)
            await self._tester.ends_all()
            seen = await settle(self._broker, self._load)
            await _stands_right(self._broker)
            assert await self._broker.stop() == 0, self._broker.last_words()
            return seen._replace(
                entries=[*self._archive, *seen.entries],
                excused=self._excused,
                gone=frozenset(self._gone),
                unread=frozenset(entry["id"] for entry in self._archive),
            )

    async def _one(self, client: Any, kind: str) -> None:
        await self._tester.prepares(kind)
        lost = await self._lose(client, kind)
        self._note(lost)
        if kind in ("bearers", "schema"):  # a broker remembers both; the next one does not
            await self._broker.kill()
            await self._broker.start()
            await self._broker.ready()
        await self._load.goes_on()
        await self._mend(kind)
        if kind in HEARD:
            self._excused.append(Excused("", lost.at_ms, now_ms(), frozenset(HEARD[kind])))
        await until(f"work to be completed without the {kind}", partial(_completed_since, client, now_ms()))
        await self._require_back(client, lost)

    async def _lose(self, client: Any, kind: str) -> Lost:
        """Read and delete one key of this kind, in one transaction."""
        found: list[Lost] = []

        async def lose() -> bool:
            for key in await _keys_of(client, kind):
                async with client.pipeline(transaction=True) as ask:
                    READ[KINDS[kind].type](ask, key)
                    ask.delete(key)
                    content, deleted = await ask.execute()
                if deleted:
                    found.append(Lost(kind, key, content, now_ms()))
                    return True
            return kind in TRANSIENT

        await until(f"a key of the kind {kind}", lose)
        return found[0] if found else Lost(kind, "", None, now_ms())

    def _note(self, lost: Lost) -> None:
        if lost.kind == "handoff":
            self._gone.add(lost.content["id"])
        if lost.kind == "agent":
            self._excused.append(Excused(LOST, lost.at_ms, sys.maxsize, frozenset({"unauthenticated"})))
        if lost.kind == "ledger":
            self._archive += [{"id": id, **fields} for id, fields in lost.content]

    async def _mend(self, kind: str) -> None:
        if kind == "schema":  # its content is nowhere else
            pushed = await self._operator.post("/v1/schemas/brief", content=SCHEMA.read_bytes())
            assert pushed.json()["schema"] == "brief@1", pushed.text
        mended = await self._operator.post("/v1/doctor/mend", json={})
        assert mended.is_success, f"{kind}: {mended.text}"

    async def _require_back(self, client: Any, lost: Lost) -> None:
        kind = lost.kind
        if kind in AS_BEFORE:
            now = await _read(client, kind, lost.key)
            assert _members(lost.content) <= _members(now), f"{kind} is not as it was"
        if kind in ("config", "queues"):
            now = await _read(client, kind, lost.key)
            assert _but_rev(now) == _but_rev(lost.content)
        if kind == "agent":
            assert (await self._tester.standing_of(LOST)) == "revoked"
        if kind in ("beat", "format", "minute", "pickers"):
            await until(f"{kind} to be there again", partial(_is_there, client, kind))


class Apart:
    """Makes what the load does not make: work that is held, that can expire, that died, that is rejected; an agent that
    was revoked.
    """

    def __init__(self, operator: httpx2.AsyncClient, mine: Agent, leaver: Agent) -> None:
        self._operator, self._mine, self._leaver = operator, mine, leaver
        self._open: list[str] = []

    async def begins(self) -> None:
        for queue in ("review", "review", "quick", "quick", "quick"):
            dropped = await self._mine.call("drop_off", {"queue": queue, **FIELDS}, payload=digest(FIELDS["payload"]))
            self._open.append(dropped["handoff_id"])
        picked = await self._mine.call("pick_up", {"queue": "quick"})
        self._open.remove(picked["handoff_id"])
        back = {"lease_id": picked["lease_id"], "outcome": "try_again", "reason": "to see it die"}
        dead = await self._mine.call("hand_back", back, lease=picked["lease_id"])
        assert dead["state"] == "dead"

    async def prepares(self, kind: str) -> None:
        if kind == "rejected":
            await self._mine.call("drop_off", {"queue": "quick", "payload": {}}, ("payload_invalid",))
        if kind == "recalls":
            held = await self._leaver.call("pick_up", {"queue": "quick"})
            assert held["status"] == "picked_up"
            assert (await self._operator.post("/v1/agents/leaver/revoke", json={})).is_success
        if kind == "changing":
            granted = await self._operator.post("/v1/agents/worker-2/grant", json={"grants": ["inspect:review"]})
            assert granted.is_success

    async def standing_of(self, agent: str) -> str:
        """By the gate's word, which is what counts."""
        entries = (await self._operator.get("/v1/ledger", params={"limit": 200})).json()["entries"]
        return next(entry["standing"] for entry in reversed(entries) if entry.get("agent") == agent)

    async def ends_all(self) -> None:
        for id in self._open:
            await until(f"{id} to be withdrawn", partial(self._withdrawn, id))

    async def _withdrawn(self, id: str) -> bool:
        answer = await self._mine.call("withdraw", {"handoff_id": id, "reason": "enough"}, ("handoff_settled",))
        return answer.get("status") != "withdrawal_asked"


@asynccontextmanager
async def working_apart(broker: Broker, operator: httpx2.AsyncClient, load: Load) -> AsyncIterator[Apart]:
    for name in QUEUES_APART:
        settings = {
            "name": name,
            "schema": "brief",
            "max_attempts": 1,
            "expires_seconds": 3_600,
            "lease_seconds": LEASE_S,
        }
        made = await operator.post("/v1/queues", json=settings | {"approval": name == "review"})
        assert made.is_success, made.text
    grants = {"tester": [f"{act}:{name}" for act in ("drop", "pick") for name in QUEUES_APART]}
    grants["leaver"] = ["pick:quick"]
    made = {name: await operator.post("/v1/agents", json={"name": name, "grants": grants[name]}) for name in grants}
    setup = load.setup | {"agents": {name: answer.json()["bearer"] for name, answer in made.items()}}
    with load.file_of("tester").open("x") as file:
        book = Book(file)
        agents = [Agent(setup, name, book) for name in grants]
        try:
            tester = Apart(operator, *agents)
            await tester.begins()
            yield tester
        finally:
            for agent in agents:
                agent.close()


async def _stands_right(broker: Broker) -> None:
    """Every record in the indexes that its state demands, and nothing else in any of them."""
    look = Look(str(broker.data / "store" / "socket"), KEYS)
    found = await look.everything()
    await look.client.aclose()
    for queue in (QUEUE, NEXT, *QUEUES_APART):
        check_indexes(found, queue)
        assert f"q:{queue}:expiries" not in found


# ---- keys -------------------------------------------------------------------------------------------------------


async def _keys_of(client: Any, kind: str) -> list[str]:
    """Those that will do: of this kind, of the queue where there is such work, of the agent that may be lost."""
    if kind == "handoff":  # one that somebody works on
        held = await client.zrange(KEYS.of("leases", queue=QUEUE), 0, -1)
        return [KEYS.of("handoff", queue=QUEUE, id=id) for id in held]
    pattern = re.sub("<.*?>", "*", KINDS[kind].name)
    wanted = {"queue": OF_APART.get(kind, QUEUE), "agent": LOST if kind == "agent" else ""}
    names = [name async for name in client.scan_iter(match=f"dropoff:?p0?:{pattern}", count=5_000)]
    parsed = [(name, *KEYS.parse(name)) for name in names]
    return [
        name
        for name, its_kind, parts in parsed
        if its_kind == kind and all(value in (wanted.get(hole) or value) for hole, value in parts.items())
    ]


async def _read(client: Any, kind: str, key: str) -> Any:
    async with client.pipeline(transaction=False) as ask:
        READ[KINDS[kind].type](ask, key)
        return (await ask.execute())[0]


async def _is_there(client: Any, kind: str) -> bool:
    return bool(await _keys_of(client, kind))


async def _completed_since(client: Any, at_ms: int) -> bool:
    found = await client.xrange(KEYS.of("ledger"), min=str(at_ms))
    return any(fields["step"] == "complete" for _, fields in found)


def _members(content: Any) -> set[Any]:
    return set(content.items() if isinstance(content, dict) else content)


def _but_rev(content: dict[str, str]) -> dict[str, str]:
    """The settings of one queue, or of all of them, without the revisions that a mend has raised."""
    return {name: value.partition(" {")[2] or value for name, value in content.items() if name != "rev"}
