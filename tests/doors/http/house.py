"""The whole house as it is served: all doors of one broker, on a real server at a free port, over a real store."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import redis
import uvicorn

from dropoff.broker import Broker
from dropoff.contracts.gate import Gates
from dropoff.core import credential
from dropoff.doors.app import House, make_app
from dropoff.identity.callers import Callers
from dropoff.inspector import Inspector
from dropoff.operations import Operations
from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from tests.servers import Server
from tests.world import until, within

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


class Running(uvicorn.Server):
    """A server inside of a test; the signals stay pytest's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def serves(self) -> bool:
        return self.started

    async def main_loop(self) -> None:
        await self.ends.wait()  # uvicorn looks ten times a second; a test need not wait for that

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ends = asyncio.Event()


def house_on(store: RedisStore, **parts: Any) -> House:
    return House(
        **{
            "broker": Broker(store, Gates(), secrets.token_bytes),
            "inspector": Inspector(store),
            "operations": Operations(store, secrets.token_bytes),
            "callers": Callers(store),
            "store": store,
            "version": "0.0.0",
            "allowed_hosts": ("127.0.0.1:*", "broker:8787"),
            "allowed_origins": ("https://friend.example",),
        }
        | parts
    )


def listener(port: int = 0) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made


@contextlib.asynccontextmanager
async def serving(app: Any, port: int = 0) -> AsyncIterator[str]:
    """Where it serves."""
    with listener(port) as sock:
        config = uvicorn.Config(
            app, http="httptools", ws="none", lifespan="on", log_config=None, timeout_graceful_shutdown=2
        )
        server = Running(config)
        running = asyncio.create_task(server.serve(sockets=[sock]))
        try:
            await until("the server to serve", server.serves)
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.ends.set()
            await within("the server to end", running)


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

    def stored(self) -> dict[bytes, bytes]:
        """Every key of this test and its value. Two of these are equal when nothing changed in between."""
        with redis.Redis(unix_socket_path=self._server.socket) as client:
            return {key: client.dump(key) for key in client.scan_iter(f"{self._prefix}*")}  # pyright: ignore[reportReturnType]

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
