"""The whole house as it is served: all doors of one broker, on a real server at a free port, over a real store."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import redis

from dropoff.broker import Broker
from dropoff.contracts.gate import Gates
from dropoff.core import credential
from dropoff.doctor import Doctor
from dropoff.doctor.checks import Facts
from dropoff.doors.app import House, make_app
from dropoff.identity.callers import Callers
from dropoff.inspector import Inspector
from dropoff.operations import Operations
from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from tests.doors.served import listener as listener  # given on to tests/client
from tests.doors.served import serving
from tests.servers import Server
from tests.world import within

BRIEF: dict[str, Any] = {
    "type": "object",
    "properties": {
        "topic": {"type": "string", "minLength": 3, "maxLength": 200},
        "audience": {"enum": ["exec", "engineer", "public"]},
        "more": {"type": "object"},
    },
    "required": ["topic", "audience"],
    "additionalProperties": False,
}
WORK: dict[str, Any] = {"topic": "heat pumps", "audience": "exec"}


async def no_look() -> Facts:
    raise AssertionError("a house that has a doctor is built by wiring: tests/doors/http/test_doctor.py")


def house_on(store: RedisStore, **parts: Any) -> House:
    return House(
        **{
            "broker": Broker(store, Gates(), secrets.token_bytes),
            "inspector": Inspector(store),
            "operations": Operations(store, secrets.token_bytes),
            "doctor": Doctor(store, no_look, lambda: 0),
            "callers": Callers(store),
            "store": store,
            "version": "0.0.0",
            "allowed_hosts": ("127.0.0.1:*", "broker:8787"),
            "allowed_origins": ("https://friend.example",),
        }
        | parts
    )


class Agent:
    """Somebody who calls by plain HTTP."""

    def __init__(self, url: str, bearer: str) -> None:
        self.bearer = bearer
        self.http = httpx2.AsyncClient(
            base_url=url, headers={"authorization": f"Bearer {bearer}"} if bearer else {}, trust_env=False, timeout=15
        )

    async def ask(self, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        """POST a body: an object, or the very bytes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, bytes):
            return await self.http.post(path, content=body, headers=named)
        return await self.http.post(path, json={} if body is None else body, headers=named)

    async def done(self, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        """POST what must succeed."""
        answer = await self.ask(path, body, **headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def look(self, path: str) -> httpx2.Response:
        return await self.http.get(path)

    async def seen(self, path: str) -> dict[str, Any]:
        answer = await self.look(path)
        assert answer.status_code == 200, answer.text
        return answer.json()


class Desk:
    """A served broker with an operator and the queue `research`."""

    def __init__(self, url: str, operator: str, server: Server, keys: Keys) -> None:
        self.url = url
        self.port = int(url.rpartition(":")[2])
        self._agents: list[Agent] = []
        self._server = server
        self._prefix = keys.base.partition(":")[0]
        self.operator = self.as_agent(operator)

    def as_agent(self, bearer: str) -> Agent:
        self._agents.append(Agent(self.url, bearer))
        return self._agents[-1]

    async def agent(self, name: str, *grants: str) -> Agent:
        made = await self.operator.done("/v1/agents", {"name": name, "grants": list(grants)})
        return self.as_agent(made["bearer"])

    async def queue(self, name: str, schema: dict[str, Any], **settings: Any) -> dict[str, Any]:
        await self.operator.done(f"/v1/schemas/{name}", schema)
        return await self.operator.done("/v1/queues", {"name": name, "schema": name, **settings})

    def stored(self) -> dict[bytes, Any]:
        """Every key of this test and its value. Two of these are equal when nothing changed in between.

        Of a hash its fields, for a dump has them in the order of a table that the server rearranges while it is read.
        """
        with redis.Redis(unix_socket_path=self._server.socket) as client:
            return {
                key: client.hgetall(key) if client.type(key) == b"hash" else client.dump(key)
                for key in client.scan_iter(f"{self._prefix}*")
            }

    async def raw(self, *lines: str) -> str:
        """What is answered to these very lines, for requests that no library would send."""
        reader, stream = await asyncio.open_connection("127.0.0.1", self.port)
        stream.write("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        answer = await within("an answer", reader.read())
        stream.close()
        await stream.wait_closed()
        return answer.decode()

    async def close(self) -> None:
        for agent in self._agents:
            await agent.http.aclose()


@contextlib.asynccontextmanager
async def opened(store: RedisStore, server: Server, keys: Keys, **parts: Any) -> AsyncIterator[Desk]:
    bearer = credential.bearer(secrets.token_bytes(credential.BEARER_BYTES))
    house = house_on(store, **parts)
    await house.operations.ensure_operator(bearer)
    async with serving(make_app(house)) as url:
        desk = Desk(url, bearer, server, keys)
        await desk.queue("research", BRIEF)
        try:
            yield desk
        finally:
            await desk.close()
