"""A real broker, and every door through which a text of somebody else's comes in.

It goes in raw, as no JSON library would write it. A `place` is where it goes: the payload of a drop_off, the result of
a complete, or its next. A door knows how to ask, and what it was told is a `Heard`.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import httpx2

from tests.contracts.test_gate import doubled
from tests.crash.conductor import Broker, broker_in_a_folder, calling, operating
from tests.doors.mcp.wire import ERAS, Wire
from tests.doors.mcp.wire import Agent as McpAgent
from tests.world import within

OPEN: Final = "open"
STRICT: Final = "strict"
STRICT_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "$defs": doubled("allOf", 8)["$defs"],
    "properties": {
        "pattern": {"pattern": "^(a+)+$"},
        "unique": {"uniqueItems": True},
        "doubled": {"$ref": "#/$defs/d8"},
    },
}
PLACES: Final = {
    "payload": '{"queue":"strict","payload":HERE}',
    "result": '{"lease_id":"LEASE","result":HERE}',
    "next": '{"lease_id":"LEASE","next":{"queue":"strict","payload":HERE}}',
}
VERBS: Final = {"payload": "drop_off", "result": "complete", "next": "complete"}
TOOLS: Final = {"payload": "drop_off", "result": "complete_handoff", "next": "complete_handoff"}
DOORS: Final = ("http", "batch", *ERAS)


class Heard(NamedTuple):
    """What was answered: not at all a call, a refusal with its code, or done."""

    status: int
    code: str
    text: str

    @property
    def refused(self) -> bool:
        return self.code != ""


class House:
    """The broker, an agent that may do everything on the two queues, an operator. Results must fit STRICT in both."""

    def __init__(self, broker: Broker, bearer: str, operator: httpx2.AsyncClient, agent: httpx2.AsyncClient) -> None:
        self.broker = broker
        self.bearer = bearer
        self.operator = operator
        self.agent = agent
        self._lease = ""

    async def done(self, path: str, body: Any, *, by: httpx2.AsyncClient | None = None, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await (by or self.agent).post(path, json=body, headers=named)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def lease(self) -> str:
        """One that is held: the last, or a new one if that has ended."""
        if not self._lease:
            await self.done("/v1/drop_off", {"queue": OPEN, "payload": {}})
            self._lease = (await self.done("/v1/pick_up", {"queue": OPEN}))["lease_id"]
        return self._lease

    async def push(self, name: str, schema: str) -> Heard:
        return _plain(await self.operator.post(f"/v1/schemas/{name}", content=schema.encode(errors="surrogatepass")))

    async def throw(self, door: str, place: str, text: str) -> Heard:
        """This text at that place, through that door. Who succeeds in completing needs a new lease."""
        lease = "" if place == "payload" else await self.lease()
        arguments = PLACES[place].replace("LEASE", lease).replace("HERE", text)
        heard = await self._ask(door, place, arguments)
        if lease and not heard.refused:
            self._lease = ""
        return heard

    async def _ask(self, door: str, place: str, arguments: str) -> Heard:
        if door in ERAS:
            return await self.call(door, TOOLS[place], arguments)
        return await self.plainly(door, VERBS[place], arguments)

    async def plainly(self, door: str, verb: str, arguments: str, key: str = "") -> Heard:
        """A verb under /v1, or as the one call of a batch."""
        if door == "batch":
            calls = f'{{"calls":[{{"verb":"{verb}","key":{json.dumps(key)},"arguments":{arguments}}}]}}'
            return _batch(await self.agent.post("/v1/batch", content=calls.encode()))
        headers = {"idempotency-key": key} if key else {}
        return _plain(await self.agent.post(f"/v1/{verb}", content=arguments.encode(), headers=headers))

    async def call(self, era: str, tool: str, arguments: str, meta: Any = None) -> Heard:
        """A tool, with arguments as they stand."""
        line = Wire(f"{self.broker.url}/mcp", McpAgent("", self.bearer), era)
        text = json.dumps(line.body("tools/call", {"name": tool, "arguments": {"HERE": 0}}, meta))
        try:
            return _told(await line.post("tools/call", {"name": tool}, content=text.replace('{"HERE": 0}', arguments)))
        finally:
            await line.client.aclose()


def _plain(answer: httpx2.Response) -> Heard:
    return Heard(answer.status_code, "" if answer.is_success else answer.json()["code"], answer.text)


def _batch(answer: httpx2.Response) -> Heard:
    if not answer.is_success:
        return _plain(answer)
    [one] = answer.json()["answers"]
    return Heard(200, one["error"]["code"] if one["status"] == "refused" else "", answer.text)


def _told(answer: httpx2.Response) -> Heard:
    """A tool's result, or what the SDK said before it was a call."""
    if not answer.is_success or "result" not in (body := answer.json()):
        return Heard(answer.status_code, "no_call", answer.text)
    result = body["result"]
    code = result["structuredContent"]["error"]["code"] if result.get("isError") else ""
    return Heard(answer.status_code, code, answer.text)


@asynccontextmanager
async def house(*flags: str) -> AsyncIterator[House]:
    async with broker_in_a_folder(*flags) as broker, operating(broker) as operator:

        async def act(path: str, body: Any) -> Any:
            answer = await operator.post(path, json=body)
            assert answer.is_success, answer.text
            return answer.json()

        for name, schema in ((OPEN, {"type": "object"}), (STRICT, STRICT_SCHEMA)):
            await act(f"/v1/schemas/{name}", schema)
        for name in (OPEN, STRICT):
            await act("/v1/queues", {"name": name, "schema": name, "result_schema": STRICT})
        grants = [f"{what}:{queue}" for what in ("drop", "pick") for queue in (OPEN, STRICT)]
        bearer = (await act("/v1/agents", {"name": "ann", "grants": grants}))["bearer"]
        async with calling(broker, bearer) as agent:
            yield House(broker, bearer, operator, agent)


@asynccontextmanager
async def bystander(of: House) -> AsyncIterator[list[float]]:
    """Asks all the time; when it is over, the list holds how long each answer took, in milliseconds."""
    command = (sys.executable, "-m", "tests.doors.bystander", str(of.broker.port), of.bearer)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    took_ms: list[float] = []
    assert process.stdout is not None
    try:
        assert await within("the bystander's first answer", process.stdout.readline()) == b"asking\n"
        yield took_ms
        said, _ = await within("the bystander to end", process.communicate(b""))
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode == 0
    took_ms += json.loads(said)
