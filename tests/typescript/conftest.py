"""One broker for all of these tests, a process for each kind of client, and for each test a queue and two agents."""

import itertools
import json
import selectors
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cli.brokers import WAIT_S, Up
from tests.doors.mcp.wire import HANDSHAKE, MODERN, Json, Told
from tests.typescript import node

BRIEF: Final = Path(__file__).parents[2] / "schemas" / "payloads" / "brief@1.json"

# What a client is called here: its adapter, with its argument, and the revision of the protocol that it then speaks.
CLIENTS: Final = {
    "sdk 1.x": (["sdk1.mjs"], HANDSHAKE),
    "client 2.x": (["client2.mjs", "legacy"], HANDSHAKE),
    "client 2.x, newest revision": (["client2.mjs", "auto"], MODERN),
}


class Client:
    """One of the clients, in a process that calls as whichever agent it is told."""

    def __init__(self, name: str) -> None:
        self.name = name
        (script, *mode), self.revision = CLIENTS[name]
        self._process = subprocess.Popen(
            [node.programs().node, str(node.FOLDER / script), *mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def ask(self, verb: str, agent: str, **asked: Any) -> Json:
        """What the client gave its user, as `gave`, or threw at it, as `threw`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"verb": verb, "as": agent} | asked), file=self._process.stdin, flush=True)
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._process.stdout, selectors.EVENT_READ)
            if not waiting.select(WAIT_S):
                pytest.fail(f"waited {WAIT_S:.0f} s for the client to {verb}")
        line = self._process.stdout.readline()
        assert line, "the client's process has ended"
        return json.loads(line)

    def end(self) -> None:
        """Nobody asks any more, so it ends by itself. One that does not is ended all the same, and is a failure."""
        try:
            self._process.communicate(timeout=WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        assert self._process.returncode == 0


class Agent:
    """An agent that lives in TypeScript."""

    def __init__(self, client: Client, name: str, url: str, bearer: str) -> None:
        self.name = name
        self._client = client
        self._at: Json = {"url": url, "bearer": bearer}

    def connect(self) -> Json:
        return self._client.ask("connect", self.name, **self._at)

    def tools(self) -> dict[str, Json]:
        """The list. From now on this agent's client knows what an answer has to look like."""
        return {tool["name"]: tool for tool in self._client.ask("list", self.name)["gave"]["tools"]}

    def seen(self, tool: str, meta: Json | None = None, /, *, spoil: bool = False, **arguments: Any) -> Json:
        """What came of a call, given or thrown; `spoil` puts something into its answer that is not advertised."""
        params: Json = {"name": tool, "arguments": arguments}
        return self._client.ask("call", self.name, params=params | ({"_meta": meta} if meta else {}), spoil=spoil)

    def call(self, tool: str, meta: Json | None = None, /, **arguments: Any) -> Told:
        """The result that the client gave."""
        seen = self.seen(tool, meta, **arguments)
        assert "gave" in seen, seen
        result = seen["gave"]
        [said] = result["content"]
        return Told(result["structuredContent"], said["text"], result.get("isError", False), result.get("_meta") or {})

    def done(self, tool: str, /, **arguments: Any) -> Json:
        """The answer; a refusal fails the test."""
        told = self.call(tool, **arguments)
        assert not told.is_error, told.text
        assert json.loads(told.text) == told.content
        return told.content


class Desk:
    """One queue of a real broker, and who works at it."""

    def __init__(self, up: Up, client: Client, number: int) -> None:
        self._up = up
        self._client = client
        self._number = number
        self.queue = f"research-{number}"
        self.operate("queue", "add", self.queue, "--schema", "brief")
        self.scout = self.agent("scout", f"drop:{self.queue}")
        self.writer = self.agent("writer", f"pick:{self.queue}")

    def operate(self, *command: str) -> Any:
        heard = self._up.ask(*command, "-o", "json")
        assert heard.code == 0, heard.err
        return heard.json

    def stranger(self, bearer: str) -> Agent:
        return Agent(self._client, f"stranger-{self._number}", self._up.told["mcp"], bearer)

    def agent(self, name: str, *grants: str) -> Agent:
        """A new agent; it is connected and has seen its tools."""
        name = f"{name}-{self._number}"
        made = self.operate("agent", "add", name, *(word for grant in grants for word in ("--grant", grant)))
        agent = Agent(self._client, name, self._up.told["mcp"], made["bearer"])
        greeted = agent.connect()["gave"]
        assert greeted["revision"] == self._client.revision
        assert greeted["instructions"].startswith("Agents in other processes leave work for each other here.")
        assert agent.tools()
        return agent

    def steps(self) -> list[str]:
        """What the ledger says was done at this queue."""
        entries = self.operate("ledger", "tail", "--lines", "1000")
        return [entry["step"] for entry in entries if entry.get("queue") == self.queue]


@pytest.fixture(scope="session")
def clients_installed() -> None:
    node.install()


@pytest.fixture(scope="module")
def broker(clients_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("data"))
    try:
        assert up.ask("schema", "push", "brief", str(BRIEF)).code == 0
        yield up
    finally:  # in order whatever happened, for a broker that is killed leaves its store running
        heard = up.end(signal.SIGTERM)
    assert heard.code == 0, heard.err


@pytest.fixture(scope="module", params=CLIENTS)
def client(request: pytest.FixtureRequest, clients_installed: None) -> Iterator[Client]:
    """Each of the clients in turn."""
    client = Client(request.param)
    yield client
    client.end()


@pytest.fixture
def desk(broker: Up, client: Client, numbers: Iterator[int]) -> Desk:
    return Desk(broker, client, next(numbers))


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    return itertools.count(1)
