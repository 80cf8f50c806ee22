"""The files in schemas/wire say what the code does, and all of it: what really crosses fits them, and what they define
really crosses.

A field, a code or a route that is new has to be met in the story below. The test names what nobody has met.
"""

import asyncio
import dataclasses
import json
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import redis.asyncio

from dropoff import errors, wiring
from dropoff.contracts.schema import hash_of
from dropoff.core import places
from dropoff.core.payload import canonical
from dropoff.doors.app import make_app
from dropoff.doors.http import calls, openapi, routes
from dropoff.doors.http.batch import BATCH_BYTES_MAX
from dropoff.settings import Settings
from dropoff.storage.keys import Keys
from tests import wire
from tests.cli.brokers import Heard, ask
from tests.doors.http.house import BRIEF, WORK, Agent
from tests.doors.mcp.wire import ERAS, HANDSHAKE, Wire
from tests.doors.mcp.wire import Agent as Named
from tests.doors.served import serving
from tests.readme import README
from tests.servers import Server
from tests.wire.held import PROBLEM, Crossing, File, Held, Recorder
from tests.world import until

Json = dict[str, Any]

ROOT: Final = README.parent
TRACE: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NOTES: Final = {
    "type": "object",
    "properties": {"text": {"$ref": "#/$defs/text"}},
    "$defs": {"text": {"type": "string"}},
}
LONG: Final = {"text": "x" * 25_000}

NOT_MET: Final = {
    "errors.json: store_refused": "said by a broker that does not start",
}


# ---- the files and the code -------------------------------------------------------------------------------------


def test_every_file_is_known_and_none_is_missing():
    assert {path.name for path in wire.FOLDER.iterdir()} == set(wire.files())


@pytest.mark.parametrize("name", wire.files())
def test_the_file_is_what_the_code_prints(name: str):
    """If the change on the wire is wanted, say so in the changelog and print the files anew."""
    there = (wire.FOLDER / name).read_text(encoding="utf-8")
    assert there == wire.files()[name], f"schemas/wire/{name} and the code differ. If that is right: {wire.COMMAND}"


@pytest.mark.parametrize("name", [name for name in wire.files() if name not in ("errors.json", "tools.json")])
def test_a_schema_is_one_and_says_what_it_is(name: str):
    schema = json.loads(wire.files()[name])
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:dropoff:wire:{name.removesuffix('.json')}"
    assert schema["title"]
    assert schema["description"]


# ---- a broker, and who calls it ---------------------------------------------------------------------------------


class Town:
    """A broker as `dropoff up` builds it, everybody who calls it, and what crosses meanwhile."""

    def __init__(self, url: str, data: Path, server: Server, recorder: Recorder, stack: AsyncExitStack) -> None:
        self.url = url
        self.data = data
        self.server = server
        self.recorder = recorder
        self.full = ""  # why the broker takes no new work
        self._stack = stack
        self.operator = self.known((data / places.OPERATOR_FILE).read_text().strip())

    def known(self, bearer: str) -> Agent:
        agent = Agent(self.url, bearer)
        self._stack.push_async_callback(agent.http.aclose)
        return agent

    def line(self, agent: Agent, era: str) -> Wire:
        line = Wire(f"{self.url}/mcp", Named("", agent.bearer), era)
        self._stack.push_async_callback(line.client.aclose)
        return line

    async def agent(self, name: str, *grants: str) -> Agent:
        made = await self.operator.done("/v1/agents", {"name": name, "grants": list(grants)})
        return self.known(made["bearer"])

    async def queue(self, name: str, schema: Json, **settings: Any) -> None:
        await self.operator.done(f"/v1/schemas/{name}", schema)
        await self.operator.done("/v1/queues", {"name": name, "schema": name, **settings})

    async def command(self, *words: str) -> Heard:
        """A command of ours, in a thread: the broker is served by this one."""
        heard = await asyncio.to_thread(ask, "--url", self.url, "--data", str(self.data), *words)
        assert heard.code == 0, heard.err
        return heard


@pytest.fixture
async def town(own_server: Callable[..., Server], tmp_path: Path) -> AsyncIterator[Town]:
    server = own_server("valkey", appendfsync="always")
    settings = Settings(data=tmp_path, store=f"unix://{server.socket}")
    town: Town
    async with wiring.building(settings) as (house, store, _), AsyncExitStack() as stack:
        store.room = lambda: town.full
        recorder = Recorder(make_app(dataclasses.replace(house, room=lambda: town.full)))
        url = await stack.enter_async_context(serving(recorder))
        town = Town(url, tmp_path, server, recorder, stack)
        yield town
        server.kill()  # what it kept bears no prefix of a test


# ---- the story --------------------------------------------------------------------------------------------------


async def the_readmes_commands(town: Town) -> tuple[Agent, Agent]:
    """The five of its walk-through, as they stand there. Its two agents, by the bearers that were put into files."""
    lines = README.read_text(encoding="utf-8").split("```\ndropoff schema push brief", 1)[1].split("```", 1)[0]
    commands = [shlex.split(line, comments=True) for line in f"dropoff schema push brief{lines}".splitlines()]
    assert len(commands) == 5
    for _, *words in commands:
        await town.command(*words)
    scout, writer = [(town.data / "agents" / f"{name}.bearer").read_text().strip() for name in ("scout", "writer")]
    return town.known(scout), town.known(writer)


async def every_verb(town: Town, scout: Agent, writer: Agent) -> None:
    """A round of plain HTTP: all that a verb may bring, at least once."""
    for verb in ("describe", "pick_up"):
        await writer.done(f"/v1/{verb}", {"queue": "research"})  # the first work, dropped off by the README
    nothing = await writer.done("/v1/pick_up", {"wait_seconds": 0})
    assert nothing["status"] == "nothing_to_pick_up"
    nobody = await town.agent("nobody")
    assert (await nobody.done("/v1/describe"))["count"] == 0

    sent = await scout.done("/v1/drop_off", {"payload": WORK, "note": "soon"}, traceparent=TRACE, idempotency_key="a")
    lease = (await writer.done("/v1/pick_up"))["lease_id"]
    await writer.done("/v1/extend", {"lease_id": lease, "progress": "half", "checkpoint": {"read": 3}})
    await scout.done("/v1/check", {"handoff_id": sent["handoff_id"]})
    for path in (f"/v1/handoffs/{sent['handoff_id']}", "/v1/handoffs?state=leased"):
        await town.operator.seen(path)
    again = {"lease_id": lease, "outcome": "try_again", "reason": "no answer", "delay_seconds": 0}
    await writer.done("/v1/hand_back", again | {"checkpoint": {"read": 4}})
    picked = await writer.done("/v1/pick_up", {"wait_seconds": 10, "accepts": ["brief@1"]})
    assert picked["previous_attempts"]
    await scout.done("/v1/withdraw", {"handoff_id": sent["handoff_id"], "reason": "too late"})
    assert (await writer.done("/v1/extend", {"lease_id": picked["lease_id"]}))["withdrawal_asked"]
    await town.operator.seen(f"/v1/handoffs/{sent['handoff_id']}")
    await writer.done("/v1/complete", {"lease_id": picked["lease_id"], "result": {"found": 3}})
    await scout.done("/v1/check", {"handoff_id": sent["handoff_id"], "wait_seconds": 1})

    gone = await scout.done("/v1/drop_off", {"queue": "research", "payload": WORK, "delay_seconds": 60})
    assert gone["scheduled"]
    await scout.done("/v1/check", {"handoff_id": gone["handoff_id"]})
    await town.operator.seen(f"/v1/handoffs/{gone['handoff_id']}")
    await town.operator.seen("/v1/handoffs?state=scheduled")
    await scout.done("/v1/withdraw", {"handoff_id": gone["handoff_id"], "reason": "not needed"})
    await scout.done("/v1/check", {"handoff_id": gone["handoff_id"]})


async def many_at_once(town: Town) -> None:
    """Each verb in a batch, several picked up, and refusals that are answers."""
    worker = await town.agent("worker", "drop:research", "pick:research")

    def call(verb: str, **arguments: Any) -> Json:
        return {"verb": verb, "key": f"{verb} 1", "arguments": arguments}

    drops = await worker.done("/v1/batch", {"calls": [call("drop_off", payload=WORK, note=str(n)) for n in range(4)]})
    assert {one["status"] for one in drops["answers"]} == {"dropped_off", "refused"}  # one key, other content
    for n in range(4):
        await worker.done("/v1/drop_off", {"payload": WORK, "note": str(n)})
    [several] = (
        await worker.done("/v1/batch", {"calls": [call("pick_up", queue="research", accepts=["brief@1"], at_most=3)]})
    )["answers"]
    first, second, third = [one["lease_id"] for one in several["handoffs"]]
    settling = [
        call("complete", lease_id=first, result={}),
        call("hand_back", lease_id=second, outcome="not_for_me"),
        call("extend", lease_id=third),
        call("check", handoff_id=third.rpartition(".")[0]),
        call("withdraw", handoff_id=third.rpartition(".")[0]),
        {"verb": "describe"},
        call("complete", lease_id=first, result={"other": 1}),
        {"verb": "drop_off", "arguments": {"payload": {"topic": "x", "audience": 1}}},
    ]
    await worker.done("/v1/batch", {"calls": settling})
    await worker.done("/v1/batch", {"calls": [call("pick_up", wait_seconds=0)]})
    await worker.done("/v1/batch", {"calls": [{"verb": "pick_up", "arguments": {"at_most": 9}}]})
    await town.operator.done("/v1/queues/research/pause", {"reason": "a look"})
    nothing = {"calls": [{"verb": "pick_up", "arguments": each | {"wait_seconds": 0}} for each in ({}, {"at_most": 2})]}
    assert all(one["paused"] for one in (await worker.done("/v1/batch", nothing))["answers"])
    await worker.done("/v1/pick_up", {"wait_seconds": 0})
    await town.operator.done("/v1/queues/research/resume")


async def every_act(town: Town) -> None:
    """What operators do and read, each at least once."""
    ops = town.operator
    await town.queue("drafts", BRIEF | {"examples": [WORK]}, purpose="For the writer.", expires_seconds=3_600)
    await town.queue("review", BRIEF, approval=True, max_waiting=9, lease_seconds=60, max_attempts=1, max_bytes=900,
                     retention_seconds=600, result_schema="")  # fmt: skip
    settings = {"purpose": "More.", "lease_seconds": 90, "max_attempts": 2, "max_bytes": 999, "max_waiting": 8}
    await ops.done("/v1/queues/review/edit", settings | {"expires_seconds": 0, "retention_seconds": 60})
    await ops.done("/v1/queues/review/edit", {"approval": True})
    await ops.done("/v1/queues/drafts/drain", {"reason": "a move"})
    await ops.done("/v1/queues/drafts/resume")
    await ops.done("/v1/agents/nobody/grant", {"grants": ["drop:drafts"]})
    await ops.done("/v1/agents/nobody/ungrant", {"grants": ["drop:drafts"]})
    await ops.done("/v1/agents/nobody/freeze", {"reason": "it loops"})
    await ops.done("/v1/agents/nobody/thaw")
    await ops.done("/v1/agents/nobody/revoke", {"reason": "left"})
    await ops.done("/v1/freeze", {"reason": "incident 7"})
    await ops.done("/v1/thaw", {"reason": "over"})

    both = await town.agent("both", "drop:review", "pick:review", "drop:drafts", "pick:drafts")
    held = [(await both.done("/v1/drop_off", {"queue": "review", "payload": WORK}))["handoff_id"] for _ in range(4)]
    await ops.seen("/v1/handoffs?queue=review&state=held&limit=5")
    for number, one in enumerate(held):
        digest = (await ops.seen(f"/v1/handoffs/{one}"))["digest"]
        await ops.done(f"/v1/handoffs/{one}/{'approve' if number else 'deny'}", {"digest": digest, "reason": "seen"})
    lease = (await both.done("/v1/pick_up", {"queue": "review"}))["lease_id"]
    await ops.done(f"/v1/handoffs/{held[1]}/release", {"lease_id": lease, "reason": "it hangs"})
    lease = (await both.done("/v1/pick_up", {"queue": "review"}))["lease_id"]
    onward = {"lease_id": lease, "result": {}, "next": {"queue": "drafts", "payload": WORK, "note": "for you"}}
    sent_on = (await both.done("/v1/complete", onward))["next_handoff_id"]
    await ops.seen(f"/v1/handoffs/{held[2]}")
    await ops.seen(f"/v1/handoffs/{sent_on}")
    await ops.seen("/v1/handoffs?queue=drafts")
    lease = (await both.done("/v1/pick_up", {"queue": "review"}))["lease_id"]
    await ops.done(f"/v1/handoffs/{held[3]}/withdraw", {"reason": "too late"})
    await both.done("/v1/hand_back", {"lease_id": lease, "outcome": "impossible", "reason": "no"})
    await both.done("/v1/check", {"handoff_id": held[3]})
    again = await ops.done(f"/v1/handoffs/{held[3]}/resubmit")
    for one in (again["handoff_id"], held[1], sent_on):
        await ops.done(f"/v1/handoffs/{one}/withdraw", {})
    await ops.seen(f"/v1/handoffs/{again['handoff_id']}")
    await ops.done("/v1/queues", {"name": "brief", "schema": "brief@1"})
    await ops.done("/v1/queues/brief/remove")
    for path in ("queues", "queues/review", "schemas", "schemas/brief@1", "agents", "agents/both", "freeze", "handoffs",
                 "doctor", "ledger", "ledger?after=0-0&limit=1000"):  # fmt: skip
        await ops.seen(f"/v1/{path}")
    await ops.done("/v1/doctor/mend")


async def a_move(town: Town) -> None:
    """A queue with work in it, a payload that was rejected, and a version of its schema that demands more."""
    ops, queue = town.operator, {"queue": "moved", "wait_seconds": 0}
    await town.queue("moved", BRIEF)
    await ops.done("/v1/queues/moved/edit", {"result_schema": "moved@1"})
    mover = await town.agent("mover", "drop:moved", "pick:moved")
    for work in (WORK, WORK | {"audience": "public"}, {"topic": "x"}):
        await mover.ask("/v1/drop_off", {"payload": work})
    lease = (await mover.done("/v1/pick_up", queue))["lease_id"]
    await mover.done("/v1/complete", {"lease_id": lease, "result": WORK})
    await mover.done("/v1/describe", {"queue": "moved"})

    async def is_told() -> bool:
        return bool((await ops.seen("/v1/queues/moved/rejections"))["rejections"])

    await until("the rejection is written", is_told)

    narrow = BRIEF | {"properties": BRIEF["properties"] | {"audience": {"enum": ["exec"]}}}
    await ops.done("/v1/schemas/moved/compare", narrow)
    await ops.done("/v1/schemas/moved", narrow)
    to_it = {"schema": "moved@2"}
    await ops.ask("/v1/queues/moved/edit", to_it)
    await ops.done("/v1/queues/moved/edit", to_it | {"dry_run": True})
    await ops.done("/v1/queues/moved/edit", to_it | {"incompatible": True})
    assert (await mover.done("/v1/pick_up", queue | {"accepts": ["moved@1"]}))["status"] == "picked_up"


async def a_loss(town: Town) -> None:
    """A queue whose schema the store has lost, before anybody has asked for it."""
    lost = {"type": "object", "description": "Soon lost."}
    await town.queue("lost", lost)
    agent = await town.agent("loser", "drop:lost")
    async with redis.asyncio.Redis(unix_socket_path=str(town.server.socket)) as store:
        assert await store.delete(Keys().of("schema", hash=hash_of(canonical(lost)))) == 1
    await agent.done("/v1/describe")
    for era in ERAS:
        await town.line(agent, era).call("describe_queues")


async def refusals(town: Town, scout: Agent, writer: Agent) -> None:
    """Codes of the table, each where it is usually met."""
    ops, nobody = town.operator, town.known("")
    queued = await scout.done("/v1/drop_off", {"payload": WORK}, idempotency_key="r")
    handoff = queued["handoff_id"]
    await scout.ask("/v1/drop_off", {"payload": {"topic": "x", "audiance": "exec"}})
    await scout.ask("/v1/drop_off", {"payload": WORK | {"topic": "owls"}}, idempotency_key="r")
    await scout.ask("/v1/drop_off", b"{")
    await scout.ask("/v1/drop_off", {"payload": WORK | {"topic": "x" * 300_000}})
    await scout.ask("/v1/batch", b" " * (BATCH_BYTES_MAX + 1))
    await scout.ask("/v1/drop_off", {"queue": "reserch", "payload": WORK})
    await scout.ask("/v1/pick_up", {"queue": "research"})
    await nobody.ask("/v1/describe")
    await scout.ask("/v1/dropoff")
    await scout.look("/v1/drop_off")
    await scout.look("/v1/handoffs?state=lost")
    await scout.http.get("/v1/queues", headers={"host": "evil.example"})
    await scout.http.get("/v1/queues", headers={"origin": "https://evil.example"})
    await scout.ask("/v1/check", {"handoff_id": "research-0000000000000000"})

    lease = await lease_of(handoff, writer)
    await writer.ask("/v1/complete", {"lease_id": lease, "next": {"payload": {}}})
    await writer.ask("/v1/complete", {"lease_id": "x"})
    await writer.ask("/v1/complete", {"lease_id": lease, "result": nested(65)})
    await ops.ask("/v1/queues/research/remove")
    await ops.ask(f"/v1/handoffs/{handoff}/resubmit")
    await ops.done(f"/v1/handoffs/{handoff}/release", {"lease_id": lease, "reason": "it hangs"})
    await writer.ask("/v1/complete", {"lease_id": lease})
    lease = await lease_of(handoff, writer)
    await writer.done("/v1/complete", {"lease_id": lease, "result": {"a": 1}})
    await writer.ask("/v1/complete", {"lease_id": lease, "result": {"a": 2}})
    await scout.ask("/v1/withdraw", {"handoff_id": handoff})

    both = await town.agent("judge", "drop:review", "operate:review", "pick:review", "drop:drafts", "drop:small")
    mine = (await both.done("/v1/drop_off", {"queue": "review", "payload": WORK}))["handoff_id"]
    digest = (await ops.seen(f"/v1/handoffs/{mine}"))["digest"]
    await both.ask(f"/v1/handoffs/{mine}/approve", {"digest": digest})
    await ops.ask(f"/v1/handoffs/{mine}/approve", {"digest": "0"})
    await ops.done(f"/v1/handoffs/{mine}/approve", {"digest": digest})
    lease = (await both.done("/v1/pick_up", {"queue": "review"}))["lease_id"]
    await both.ask("/v1/complete", {"lease_id": lease, "next": {"queue": "drafts", "payload": {"topic": "x"}}})
    await town.queue("small", {"type": "object"}, max_waiting=1)
    for _ in range(2):
        await both.ask("/v1/drop_off", {"queue": "small", "payload": {}})
    await ops.done("/v1/queues/small/drain", {"reason": "a move"})
    await both.ask("/v1/drop_off", {"queue": "small", "payload": {}})
    await ops.done("/v1/agents/judge/freeze", {})
    await both.ask("/v1/pick_up")

    await ops.ask("/v1/queues", {"name": "x", "schema": "none"})
    await ops.ask("/v1/queues", {"name": "research", "schema": "brief@1", "purpose": "Other."})
    await ops.ask("/v1/schemas/list", {"type": "array"})
    await ops.ask("/v1/agents", {"name": "both"})
    await ops.ask("/v1/agents", {"name": "nobody"})
    await ops.ask("/v1/agents/none/grant", {"grants": ["admin"]})


def nested(levels: int) -> Json:
    return {"a": nested(levels - 1)} if levels else {}


async def lease_of(handoff_id: str, picker: Agent) -> str:
    """Of this one, whatever waits before it."""
    while True:
        picked = await picker.done("/v1/pick_up", {"wait_seconds": 0})
        if picked["handoff_id"] == handoff_id:
            return picked["lease_id"]
        await picker.done("/v1/complete", {"lease_id": picked["lease_id"]})


async def by_mcp(town: Town, era: str) -> None:
    """The same verbs as tools, what clients of this era say before, and what is refused."""
    name = f"tooled-{era}"
    await town.queue(name, NOTES, approval=era == HANDSHAKE, purpose="Notes.")
    agent = await town.agent(name, f"drop:{name}", f"pick:{name}")
    line, alone = town.line(agent, era), town.line(await town.agent(f"picker-{era}", f"pick:{name}"), era)
    await line.greet()
    await line.post("ping", {})
    await line.tools()
    await alone.tools()
    await town.line(town.operator, era).tools()
    await line.call("describe_queues", queue="")
    await town.line(await town.agent(f"nobody-{era}"), era).call("describe_queues")
    key = {"dropoff/request": "k", "traceparent": TRACE}
    sent = (await line.call("drop_off", key, payload=LONG, note="soon")).content
    if sent["status"] == "held":
        digest = (await town.operator.seen(f"/v1/handoffs/{sent['handoff_id']}"))["digest"]
        await town.operator.done(f"/v1/handoffs/{sent['handoff_id']}/approve", {"digest": digest})
    lease = await line.pick()
    await line.call("extend_lease", lease_id=lease, progress="half", checkpoint={"read": 3})
    await line.call("check_handoff", handoff_id=sent["handoff_id"])
    await line.call("withdraw_handoff", handoff_id=sent["handoff_id"])
    await line.call("extend_lease", lease_id=lease)
    await line.call("complete_handoff", lease_id=lease, result=LONG)
    await line.call("check_handoff", handoff_id=sent["handoff_id"])
    await town.operator.done(
        f"/v1/queues/{name}/edit", {"approval": False, "expires_seconds": 60, "result_schema": name}
    )
    sent = (await line.call("drop_off", payload={}, delay_seconds=60)).content
    await line.call("check_handoff", handoff_id=sent["handoff_id"])
    await line.call("withdraw_handoff", handoff_id=sent["handoff_id"], reason="not needed")
    await line.call("check_handoff", handoff_id=sent["handoff_id"])
    await line.call("drop_off", payload={})
    lease = await line.pick()
    await line.call("hand_back", lease_id=lease, outcome="not_for_me", reason="not mine", checkpoint={"read": 4})
    lease = await line.pick()
    await line.call("check_handoff", handoff_id=lease.rpartition(".")[0])
    await line.call("complete_handoff", lease_id=lease, next={"payload": {}})
    await line.call("pick_up", wait_seconds=0)
    await line.call("pick_up", wait_seconds=0)
    await town.operator.done(f"/v1/queues/{name}/pause", {})
    await line.call("pick_up", wait_seconds=0)
    for long in ("long", "longer"):  # together
        await town.queue(f"{long}-{era}", {"type": "object", "examples": [{"text": "x" * 15_000}]})
        await town.operator.done(f"/v1/agents/{name}/grant", {"grants": [f"drop:{long}-{era}"]})
    await line.call("describe_queues")

    for tool in await line.tools():
        await line.call(tool, nonsense=1)
    await line.call("drop_off", queue=name, payload={"text": 1})
    await line.post("tools/call", {"name": "nope", "arguments": {}})
    await line.post("resources/list", {})
    await line.post("tools/list", {}, content="{")
    await line.post("tools/list", {}, headers={})
    await line.client.get(line.url, headers=line.headers("tools/list", {}))


async def what_fails(town: Town, scout: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours, a store without room, and at last no store at all."""

    def broken(*arguments: Any) -> str:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(calls, "key_of", broken)
        assert (await scout.ask("/v1/describe")).status_code == 500
    nobody = town.known("")
    await nobody.seen("/livez")
    await nobody.seen("/readyz")
    town.full = "1 MB left; it keeps 256 MB free"
    await nobody.seen("/readyz")
    assert (await scout.ask("/v1/drop_off", {"payload": WORK})).status_code == 507
    town.full = ""
    town.server.kill()
    for answer in (await nobody.look("/readyz"), await scout.ask("/v1/drop_off", {"payload": WORK})):
        assert answer.status_code == 503


async def test_what_crosses_fits_and_nothing_is_defined_that_does_not_cross(
    town: Town, monkeypatch: pytest.MonkeyPatch
):
    """The README's commands, every verb and act, refusals of every code, through all doors in both eras."""
    monkeypatch.chdir(ROOT)
    document = await town.known("").seen("/v1/openapi.json")
    made_of = openapi.document(routes.rows(), document["info"]["version"])
    assert document == json.loads(made_of), "the files are made of another one"
    scout, writer = await the_readmes_commands(town)
    await every_verb(town, scout, writer)
    await many_at_once(town)
    await every_act(town)
    await a_move(town)
    await a_loss(town)
    for era in ERAS:
        await by_mcp(town, era)
    await refusals(town, scout, writer)
    await what_fails(town, scout, monkeypatch)

    held = Held(document)
    for crossing in town.recorder.crossings:
        held.hold(crossing)
    assert sorted(held.unmet()) == sorted(NOT_MET), "meet it in the story above, or take it out of the wire"


# ---- what it would notice ---------------------------------------------------------------------------------------


def crossing(path: str, told: Any, *, status: int = 200, asked: Any = None, method: str = "POST") -> Crossing:
    media_type = "application/json" if status == 200 or path == "/mcp" else PROBLEM
    return Crossing(method, path, "", json.dumps(asked or {}).encode(), status, media_type, json.dumps(told).encode())


def refusal(**changes: Any) -> Crossing:
    """A right one, but for this."""
    row = next(row for row in errors.table() if row["code"] == "lease_lost")
    body = {
        "type": "urn:dropoff:error:lease_lost",
        "title": row["meaning"],
        "status": 409,
        "detail": "Stop.",
        "code": "lease_lost",
        "retry": "never",
    }
    return crossing("/v1/complete", body | changes, status=409)


@pytest.fixture
def held() -> Held:
    return Held(json.loads(openapi.document(routes.rows(), "")))


_THAWED: Final = {"standing": "active", "reason": "", "in_force": "everywhere"}
DRIFTS: Final = {
    "a field more": crossing("/livez", {"status": "alive", "more": 1}, method="GET"),
    "a field less": crossing("/v1/queues/x/remove", {"queue": "x"}),
    "another type": crossing("/v1/queues/x/remove", {"queue": "x", "erased": "1"}),
    "another status word": crossing("/livez", {"status": "fine"}, method="GET"),
    "an argument that is not announced": crossing("/v1/thaw", _THAWED, asked={"why": "x"}),
    "an address without a row": crossing("/v1/melt", _THAWED),
    "work without a lease": crossing("/v1/pick_up", {"status": "picked_up", "handoff_id": "x"}),
    "an empty body": Crossing("POST", "/v1/thaw", "", b"", 200, "application/json", b""),
    "another media type": Crossing("GET", "/livez", "", b"", 200, "text/html", b'{"status":"alive"}'),
    "a field more in a refusal": refusal(more=1),
    "a code of no table": refusal(code="lost_lease"),
    "a code under another status": refusal(status=410),
    "a code that may be tried again": refusal(retry="later"),
    "a title of another code": refusal(title="Something."),
    "a time of another make": crossing("/v1/extend", {"status": "extended", "handoff_id": "x", "withdrawal_asked": True,
        "lease_ends_at": "2026-11-21 03:00", "receipt": {"handoff_id": "x", "log": "p0", "entry": "1-0", "leaf": "0",
        "durability": "memory"}}),
}  # fmt: skip


def test_what_the_drifts_differ_from_is_right(held: Held):
    held.hold(refusal())
    held.hold(crossing("/v1/thaw", _THAWED))
    held.hold(crossing("/livez", {"status": "alive"}, method="GET"))


@pytest.mark.parametrize("name", DRIFTS)
def test_a_drift_is_noticed(name: str, held: Held):
    with pytest.raises((AssertionError, jsonschema.ValidationError, KeyError, ValueError)):
        held.hold(DRIFTS[name])


def test_what_an_alternative_has_met_that_did_not_fit_is_unmet():
    """A refused next, a tool's answer, a call of a batch: each is judged by several shapes."""
    file = File("answers.json")
    with pytest.raises(jsonschema.ValidationError):
        file.hold({"answers": [{"status": "completed", "handoff_id": "x"}]}, "#/properties/batch")
    assert "answers.json#/$defs/CompleteAnswer/properties/status" in file.unmet()
    nothing = {"status": "nothing_to_pick_up", "hint": "No work now."}
    file.hold({"answers": [nothing]}, "#/properties/batch")
    left = list(file.unmet())
    assert "answers.json#/$defs/NothingAnswer/properties/hint" not in left
    assert "answers.json#/$defs/NothingAnswer/properties/paused" in left
    assert "answers.json#/$defs/SeveralPickedUp/properties/hint" in left


# ---- the same at /mcp -------------------------------------------------------------------------------------------


def listing(**changes: Any) -> Crossing:
    """A list of one tool as everybody sees it, but for this."""
    [row] = [row for row in json.loads(wire.files()["tools.json"]) if row["name"] == "drop_off"]
    del row["path"]
    reply = {"jsonrpc": "2.0", "id": 1, "result": {"tools": [row | changes]}}
    return crossing("/mcp", reply, asked={"method": "tools/list"})


def called(*, told: Any = None, asked: Any = None, **changes: Any) -> Crossing:
    """A call of withdraw_handoff and its result, but for this."""
    content = {"status": "withdrawn", "handoff_id": "x"} if told is None else told
    text = [{"type": "text", "text": json.dumps(content)}]
    result = {"content": text, "structuredContent": content, "isError": "error" in content} | changes
    params = {"name": "withdraw_handoff", "arguments": {"handoff_id": "x"}} | (asked or {})
    reply = {"jsonrpc": "2.0", "id": 1, "result": result}
    return crossing("/mcp", reply, asked={"method": "tools/call", "params": params})


def refused(**changes: Any) -> Json:
    return {"status": "refused", "error": {"code": "lease_lost", "message": "Stop.", "retry": "never"} | changes}


MCP_DRIFTS: Final = {
    "a tool's other description": listing(description="Other."),
    "a tool's other annotations": listing(annotations=dict.fromkeys(
        ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"), True)),
    "a root combinator": listing(inputSchema={"type": "object", "properties": {}, "required": [],
        "additionalProperties": False, "anyOf": []}),
    "a field more in a result": called(more=1),
    "a field more in an answer": called(told={"status": "withdrawn", "handoff_id": "x", "more": 1}),
    "a receipt in an answer": called(told={"status": "withdrawn", "handoff_id": "x", "receipt": {}}),
    "a param more": called(asked={"more": 1}),
    "an argument more": called(asked={"arguments": {"handoff_id": "x", "more": 1}}),
    "a reply of another protocol": crossing("/mcp", {"jsonrpc": "1.0", "id": 1, "result": {}},
        asked={"method": "ping"}),
    "half a receipt": called(_meta={"dropoff/receipt": {"handoff_id": "x"}}),
    "an answer of another tool": called(told={"status": "found", "handoff_id": "x"}),
    "a refusal of another retry": called(told=refused(retry="later")),
    "a refusal of no table": called(told=refused(code="lost_lease")),
    "an error without its envelope": crossing("/mcp", {"error": {"code": -1, "message": "x"}}),
    "a method without a schema": crossing("/mcp", {"jsonrpc": "2.0", "id": 1, "result": {}},
        asked={"method": "resources/list"}),
}  # fmt: skip


def test_what_the_drifts_at_mcp_differ_from_is_right(held: Held):
    for right in (listing(), called(), called(told=refused())):
        held.hold(right)
    assert "drop_off" in held.tools_met
    assert "lease_lost" in held.codes_met


@pytest.mark.parametrize("name", MCP_DRIFTS)
def test_a_drift_at_mcp_is_noticed(name: str, held: Held):
    with pytest.raises((AssertionError, jsonschema.ValidationError, KeyError)):
        held.hold(MCP_DRIFTS[name])
