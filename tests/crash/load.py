"""The load: agents over plain HTTP, who write down what they are told before they go on.

Each agent has its own credential and makes one call after the other. A call is asked until it is answered, under the
same key: when the connection breaks, when the broker says that it is out of reach. So every call has one answer, but
for the one that was under way when its process was killed; and the file says what the broker has promised.

A process is one life of its agents. Its file begins with a line that says so (`born`), and its request keys are its
own: a worker that is started again knows nothing of what it held, asked or was told before.

Droppers keep a bounded amount of work open, and look after the oldest. Workers have tempers: most of what they pick up
they complete, some of it with what comes `next` in another queue; now and then they ask twice, extend, hand back, or
walk away without a word, and one of them is slow, so that its leases run out and it comes too late. When standard input
is closed, all finish what they are at, and the process ends with 0.

    python load.py SETUP.json FILE NAME…        {"url", "queue", "next", "agents": {name: bearer}, "seed", "lease_s"}
"""

import asyncio
import json
import random
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, Final, TextIO

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, it finds its neighbour all the same

from tests.crash.checker import digest

Answer = dict[str, Any]

OPEN_MAX: Final = 100  # of each dropper, without an outcome: enough that every kill meets work in every state
AGAIN_S: Final = 0.03
ANSWER_S: Final = 30.0

# What a worker does with what it has picked up, in parts of a hundred. The rest is: complete it.
TEMPER: Final = {
    "forward": 10, "twice": 4, "otherwise": 2, "extend": 4, "retry": 3, "release": 3, "reject": 1, "leave": 0.6
}  # fmt: skip


class Book:
    """The file of one life, and whether it nears its end."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.stopping = False

    def write(self, **line: Any) -> None:
        """On return the line has left this process; no death can take it back."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


class Line:
    """One kept connection that speaks as much HTTP as is needed here.

    A full client costs ten times the CPU of this, and load, broker and store share what the machine has.
    """

    def __init__(self, url: str, bearer: str) -> None:
        self._host, self._port = url.removeprefix("http://").split(":")
        self._head = f"Host: {self._host}:{self._port}\r\nAuthorization: Bearer {bearer}\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: Answer, key: str) -> tuple[int, Answer]:
        """Status and answer. Raises OSError, EOFError or TimeoutError if there was none."""
        async with asyncio.timeout(ANSWER_S):
            if self._streams is None:
                self._streams = await asyncio.open_connection(self._host, int(self._port))
            reader, writer = self._streams
            raw = json.dumps(body).encode()
            head = f"POST {path} HTTP/1.1\r\n{self._head}Idempotency-Key: {key}\r\nContent-Length: {len(raw)}\r\n\r\n"
            writer.write(head.encode() + raw)
            status, *headers = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
            length = next(int(line.partition(":")[2]) for line in headers if line.lower().startswith("content-length"))
            return int(status.split()[1]), json.loads(await reader.readexactly(length))

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


class Agent:
    """One identity; one call after the other."""

    def __init__(self, setup: dict[str, Any], name: str, book: Book) -> None:
        self.name, self.queue, self.next, self.book = name, setup["queue"], setup["next"], book
        self.lease_s: float = setup["lease_s"]
        self._life, self._calls = now_ms(), 0
        self.random = random.Random(f"{setup['seed']} {name} {self._life}")
        book.write(what="born", agent=name, heard=self._life)
        self._line = Line(setup["url"], setup["agents"][name])

    async def call(self, verb: str, body: dict[str, Any], expects: tuple[str, ...] = (), **facts: Any) -> Answer:
        """The answer, which is written down; {} if it was refused. Asked again for as long as nobody answers."""
        self._calls += 1
        key = f"{self.name}-{self._life}-{self._calls}"
        while True:
            sent = now_ms()
            try:
                status, answer = await self._line.post(f"/v1/{verb}", body, key)
            except (OSError, EOFError, TimeoutError) as error:
                self._line.close()
                self._note("unanswered", key, sent, verb=verb, why=type(error).__name__)
                await asyncio.sleep(AGAIN_S)
                continue
            if status == 200:
                self._note(verb if "handoff_id" in answer else "nothing", key, sent, **facts, **told(answer))
                return answer
            refusal = {"verb": verb, "code": answer["code"], "sentence": answer["detail"], "expects": expects}
            lease = facts.get("lease", "")
            handoff = body.get("handoff_id") or lease.rpartition(".")[0]
            self._note("refused", key, sent, **refusal, lease=lease, handoff=handoff)
            await asyncio.sleep(AGAIN_S)
            if status != 503:
                return {}

    def _note(self, what: str, key: str, sent: int, **more: Any) -> None:
        self.book.write(what=what, agent=self.name, key=key, sent=sent, heard=now_ms(), **more)

    def close(self) -> None:
        self._line.close()


class Dropper(Agent):
    """Drops off, now and then with a delay, looks after its work, and sometimes wants a handoff back."""

    async def run(self) -> None:
        mine: deque[str] = deque()
        while not self.book.stopping:
            if len(mine) >= OPEN_MAX:
                await self._look_after(mine)
                continue
            work = payload(self.random)
            delay = 1 if self.random.random() < 0.02 else 0
            body = {"queue": self.queue, "payload": work, "delay_seconds": delay}
            dropped = await self.call("drop_off", body, payload=digest(work))
            if dropped:
                mine.append(dropped["handoff_id"])
                if self.random.random() < 0.01:
                    await self.call("withdraw", {"handoff_id": mine[-1], "reason": "no longer needed"})

    async def _look_after(self, mine: deque[str]) -> None:
        """Ask for the oldest; if it has no outcome yet, the others are looked after first."""
        found = await self.call("check", {"handoff_id": mine[0]})
        if found.get("ended_at"):
            mine.popleft()
        else:
            mine.rotate(-1)
            await asyncio.sleep(AGAIN_S)


class Worker(Agent):
    """Picks up, and does one thing or another with it."""

    async def run(self) -> None:
        while not self.book.stopping:
            picked = await self.call("pick_up", {"wait_seconds": 1})
            if picked.get("status") == "picked_up":
                await self._work(picked)

    async def _work(self, picked: Answer) -> None:
        lease = picked["lease_id"]
        result = {"by": self.name, "lease": lease, "luck": self.random.random()}
        match self._mood():
            case "leave":
                pass
            case "late":
                await asyncio.sleep(self.lease_s * self.random.uniform(0.9, 1.4))
                await self._complete(lease, result)
            case "forward" if picked["queue"] == self.queue:
                await self._forward(lease, result)
            case "extend":
                body = {"lease_id": lease, "progress": "half", "checkpoint": {"half": True}}
                await self.call("extend", body, lease=lease)
                await self._complete(lease, result)
            case "retry":
                await self._hand_back(lease, "try_again", delay_seconds=self.random.choice([0, 0, 1]))
            case "release":
                await self._hand_back(lease, "not_for_me")
            case "reject":
                await self._hand_back(lease, "impossible")
            case "twice":
                await self._complete(lease, result)
                await self._complete(lease, result)
            case "otherwise":
                if await self._complete(lease, result):
                    await self._complete(lease, result | {"luck": "other"}, expects=("already_settled",))
            case _:
                await self._complete(lease, result)

    async def _complete(self, lease: str, result: Answer, expects: tuple[str, ...] = ()) -> Answer:
        body = {"lease_id": lease, "result": result}
        return await self.call("complete", body, expects, lease=lease, result=digest(result))

    async def _forward(self, lease: str, result: Answer) -> Answer:
        work = payload(self.random)
        body = {"lease_id": lease, "result": result, "next": {"queue": self.next, "payload": work}}
        return await self.call("complete", body, lease=lease, result=digest(result), next_payload=digest(work))

    async def _hand_back(self, lease: str, outcome: str, **more: Any) -> Answer:
        body = {"lease_id": lease, "outcome": outcome, "reason": "as luck has it", **more}
        return await self.call("hand_back", body, lease=lease)

    def _mood(self) -> str:
        if self.name.endswith("slow") and self.random.random() < 0.5:
            return "late"
        moods = [*TEMPER, "complete"]
        return self.random.choices(moods, [*TEMPER.values(), 100 - sum(TEMPER.values())])[0]


def payload(luck: random.Random) -> Answer:
    return {"topic": f"topic {luck.random()}", "audience": "exec"}


def told(answer: Answer) -> dict[str, Any]:
    """What the checker holds the broker to."""
    facts: dict[str, Any] = {}
    if "handoff_id" in answer:
        facts["handoff"] = answer["handoff_id"]
    if "receipt" in answer:
        facts |= {name: answer["receipt"][name] for name in ("entry", "leaf", "durability")}
    if answer["status"] == "found":
        facts["state"] = answer["state"]
    if "next_handoff_id" in answer:
        facts["next"] = answer["next_handoff_id"]
    if answer["status"] == "picked_up":
        facts |= {"lease": answer["lease_id"], "payload": digest(answer["payload"])}
    return facts


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def until_told_to_stop() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def main(setup: dict[str, Any], file: Path, names: list[str]) -> None:
    with file.open("x") as lines:
        book = Book(lines)
        agents = [(Dropper if name.startswith("dropper") else Worker)(setup, name, book) for name in names]
        living = [asyncio.create_task(agent.run(), name=agent.name) for agent in agents]
        stopping = asyncio.create_task(until_told_to_stop())
        await asyncio.wait([stopping, *living], return_when=asyncio.FIRST_COMPLETED)
        book.stopping = True
        await asyncio.gather(*living)  # an agent never ends before it is told to; if one did, this says why
        assert stopping.done()
        for agent in agents:
            agent.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]), sys.argv[3:]))
