"""MCP by hand: what a client of each era puts on the wire, and nothing that the SDK would mend.

Every answer to a call is held against the schema that the tool advertises, whatever the test is about: clients do so
too, and throw away what does not fit.
"""

import itertools
import json
from typing import Any, Final, NamedTuple

import httpx2
import jsonschema

HANDSHAKE: Final = "2025-11-25"
MODERN: Final = "2026-07-28"
ERAS: Final = (HANDSHAKE, MODERN)

Json = dict[str, Any]


class Agent(NamedTuple):
    name: str
    bearer: str


class Told(NamedTuple):
    """What a call brought back."""

    content: Json
    text: str
    is_error: bool
    meta: Json

    @property
    def error(self) -> Json:
        assert self.is_error, f"this was no refusal: {self.text}"
        return self.content["error"]


class Wire:
    """One agent's client."""

    def __init__(self, url: str, agent: Agent, era: str) -> None:
        self.agent = agent
        self.era = era
        self.client = httpx2.AsyncClient(trust_env=False, verify=False, timeout=40)
        self.url = url
        self._ids = itertools.count(1)
        self._tools: dict[str, Json] = {}

    def headers(self, method: str, params: Json) -> dict[str, str]:
        headers = {
            "authorization": f"Bearer {self.agent.bearer}",
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
            "mcp-protocol-version": self.era,
        }
        if self.era == MODERN:
            headers["mcp-method"] = method
            if "name" in params:
                headers["mcp-name"] = params["name"]
        return headers

    def body(self, method: str, params: Json, meta: Json | None = None) -> Json:
        envelope: Json = {}
        if self.era == MODERN:
            envelope = {
                "io.modelcontextprotocol/protocolVersion": self.era,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": {"name": "by hand", "version": "0"},
            }
        envelope |= meta or {}
        params = params | ({"_meta": envelope} if envelope else {})
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}

    async def post(
        self, method: str, params: Json, meta: Json | None = None, *, headers: Any = None, content: str = ""
    ) -> httpx2.Response:
        """One POST; `headers` and `content` instead of the right ones."""
        return await self.client.post(
            self.url,
            headers=headers if headers is not None else self.headers(method, params),
            content=content or json.dumps(self.body(method, params, meta)),
        )

    async def ask(self, method: str, params: Json | None = None, meta: Json | None = None) -> Json:
        """The result; a JSON-RPC error fails the test."""
        response = await self.post(method, params or {}, meta)
        assert response.status_code == 200, f"{response.status_code}: {response.text}"
        reply = response.json()
        assert "result" in reply, reply
        return reply["result"]

    async def greet(self) -> Json:
        """Begin as a client of this era begins; what the server says of itself."""
        if self.era == MODERN:
            return await self.ask("server/discover")
        said = await self.ask(
            "initialize",
            {"protocolVersion": self.era, "capabilities": {}, "clientInfo": {"name": "by hand", "version": "0"}},
        )
        assert said["protocolVersion"] == self.era
        note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        response = await self.post("notifications/initialized", {}, content=json.dumps(note))
        assert response.status_code == 202
        return said

    async def tools(self) -> dict[str, Json]:
        self._tools = {tool["name"]: tool for tool in (await self.ask("tools/list"))["tools"]}
        return self._tools

    async def call(self, tool: str, meta: Json | None = None, /, **arguments: Any) -> Told:
        return await self.told(tool, await self.ask("tools/call", {"name": tool, "arguments": arguments}, meta))

    async def call_raw(self, tool: str, arguments: str) -> Told | None:
        """With arguments as no JSON library would write them; None where the SDK's own parser would not read them."""
        text = json.dumps(self.body("tools/call", {"name": tool, "arguments": {"HERE": 0}}))
        response = await self.post("tools/call", {"name": tool}, content=text.replace('{"HERE": 0}', arguments))
        if response.status_code == 400 and self.era == HANDSHAKE:
            assert response.json()["error"]["code"] == -32700
            return None
        assert response.status_code == 200, response.text
        return await self.told(tool, response.json()["result"])

    async def told(self, tool: str, result: Json) -> Told:
        tools = self._tools or await self.tools()
        advertised = tools.get(tool, tools["describe_queues"])  # one that is not listed can only refuse
        jsonschema.validate(result["structuredContent"], advertised["outputSchema"])
        [said] = result["content"]
        assert said["type"] == "text"
        told = Told(result["structuredContent"], said["text"], result.get("isError", False), result.get("_meta", {}))
        if told.is_error:
            assert told.content["status"] == "refused"
            assert told.text == told.error["message"]
        else:
            assert told.text == json.dumps(told.content, separators=(",", ":"), ensure_ascii=False)
        return told

    # ---- the usual beginnings -----------------------------------------------------------------------------------

    async def drop(self, **more: Any) -> str:
        """Drop off a brief; its handoff_id."""
        told = await self.call("drop_off", payload={"topic": "heat pumps", "audience": "exec"}, **more)
        assert told.content["status"] == "dropped_off", told.text
        return told.content["handoff_id"]

    async def pick(self) -> str:
        """Pick up what must be there; its lease_id."""
        told = await self.call("pick_up", wait_seconds=0)
        assert told.content["status"] == "picked_up", told.text
        return told.content["lease_id"]
