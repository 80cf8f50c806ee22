"""The same through a whole broker: a cut towards its store, and a client that is cut off, at both doors.

Whoever asks again under its request key gets the first answer, here or at another broker; what `broker_unavailable`
says is one of its sentences, and true of what is stored.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, Final, NamedTuple

import httpx2
import pytest

from dropoff.core.ledger import Entry
from dropoff.errors import BrokerUnavailable
from dropoff.storage.keys import Keys
from dropoff.storage.scripts import script
from dropoff.storage.store import RedisStore
from tests.doors.http.house import WORK, Desk, opened
from tests.doors.mcp import wire
from tests.faults.test_lost_replies import CUTS
from tests.proxy import MOMENTS, Moment, Proxy
from tests.servers import Server, source_of
from tests.world import until, within

Json = dict[str, Any]

LOST: Final = BrokerUnavailable(stored="unknown").sentence()
LOST_WITHOUT_KEY: Final = BrokerUnavailable(stored="unknown", keyed=False).sentence()
TOOLS: Final = {"complete": "complete_handoff", "extend": "extend_lease", "withdraw": "withdraw_handoff"}


class Told(NamedTuple):
    """An answer at either door."""

    refusal: str
    content: Json
    receipt: Json


class HttpDoor:
    def __init__(self, url: str, bearer: str) -> None:
        self.client = httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30)
        self.bearer = bearer

    def request(self, verb: str, arguments: Json, key: str) -> httpx2.Request:
        headers = {"authorization": f"Bearer {self.bearer}"} | ({"idempotency-key": key} if key else {})
        return self.client.build_request("POST", f"/v1/{verb}", json=arguments, headers=headers)

    async def call(self, verb: str, arguments: Json, key: str) -> Told:
        answer = await self.client.send(self.request(verb, arguments, key))
        content = answer.json()
        if answer.status_code != 200:
            return Told(content["detail"], content, {})
        return Told("", content, content.pop("receipt", {}))


class McpDoor:
    def __init__(self, url: str, bearer: str) -> None:
        self.wire = wire.Wire(f"{url}/mcp", wire.Agent("", bearer), wire.MODERN)
        self.client = self.wire.client

    def request(self, verb: str, arguments: Json, key: str) -> httpx2.Request:
        params = {"name": TOOLS.get(verb, verb), "arguments": arguments}
        body = self.wire.body("tools/call", params, {"dropoff/request": key} if key else None)
        return self.client.build_request(
            "POST", self.wire.url, content=json.dumps(body), headers=self.wire.headers("tools/call", params)
        )

    async def call(self, verb: str, arguments: Json, key: str) -> Told:
        answer = await self.client.send(self.request(verb, arguments, key))
        assert answer.status_code == 200, answer.text
        result = answer.json()["result"]
        content = result["structuredContent"]
        if result.get("isError"):
            return Told(content["error"]["message"], content, {})
        return Told("", content, next((v for k, v in result["_meta"].items() if "receipt" in k), {}))


Door = HttpDoor | McpDoor


class House:
    """A broker behind the proxy, another beside it, and three agents at one kind of door."""

    def __init__(self, store: RedisStore, proxy: Proxy, doors: dict[str, Door], beside: dict[str, Door]) -> None:
        self.store, self.proxy, self.doors, self.beside = store, proxy, doors, beside
        self._number = 0

    def key(self) -> str:
        self._number += 1
        return f"k{self._number}"

    async def done(self, who: str, verb: str, **arguments: Any) -> Json:
        told = await self.beside[who].call(verb, arguments, self.key())
        assert not told.refusal, told.refusal
        return told.content

    async def dropped(self) -> str:
        return (await self.done("scout", "drop_off", queue="research", payload=WORK))["handoff_id"]

    async def leased(self) -> str:
        await self.dropped()
        return (await self.done("writer", "pick_up", wait_seconds=0))["lease_id"]

    async def about(self, verb: str) -> tuple[str, Json, str]:
        """Who calls, with what, and the step that it takes; everything that must be there before, is."""
        match verb:
            case "drop_off":
                return "scout", {"queue": "research", "payload": WORK}, "drop_off"
            case "pick_up":
                await self.dropped()
                return "writer", {"wait_seconds": 0}, "pick_up"
            case "extend":
                return "writer", {"lease_id": await self.leased(), "progress": "half"}, "extend"
            case "hand_back":
                return "writer", {"lease_id": await self.leased(), "outcome": "impossible", "reason": "no"}, "hand_back"
            case "complete":
                return "writer", {"lease_id": await self.leased(), "result": {"found": 3}}, "complete"
            case "forward":
                onward = {"queue": "research", "payload": WORK}
                return "writer", {"lease_id": await self.leased(), "result": {}, "next": onward}, "forward"
            case _:
                return "scout", {"handoff_id": await self.dropped()}, "withdraw"

    async def entries(self) -> list[Entry]:
        return [entry for entry in await self.store.entries(at_most=10_000) if entry.handoff]

    async def tidy(self) -> None:
        """Nothing is left to be picked up by the next story."""
        while (told := await self.done("writer", "pick_up", wait_seconds=0))["status"] == "picked_up":
            await self.done("writer", "complete", lease_id=told["lease_id"])


VERBS: Final = ("drop_off", "pick_up", "extend", "hand_back", "complete", "forward", "withdraw")


@pytest.fixture
def server(valkey_server: Server) -> Server:
    return valkey_server


@pytest.fixture(params=["http", "mcp"])
async def house(request: pytest.FixtureRequest, server: Server, keys: Keys) -> AsyncIterator[House]:
    kind: Callable[[str, str], Door] = HttpDoor if request.param == "http" else McpDoor
    proxy = Proxy(server)
    cut, whole = RedisStore(await proxy.start(), keys), RedisStore(source_of(server), keys)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(proxy.close)
        desks: list[Desk] = []
        for store in (cut, whole):
            await store.start()
            stack.push_async_callback(store.close)
            desks.append(await stack.enter_async_context(opened(store, server, keys)))
        await whole.beat()
        bearers = {
            "scout": (await desks[0].agent("scout", "drop:research")).bearer,
            "writer": (await desks[0].agent("writer", "pick:research", "drop:research")).bearer,
        }
        doors, beside = ({who: kind(desk.url, bearer) for who, bearer in bearers.items()} for desk in desks)
        for door in (*doors.values(), *beside.values()):
            stack.push_async_callback(door.client.aclose)
        yield House(whole, proxy, doors, beside)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_call_whose_store_was_lost_is_answered_again_as_at_first(
    house: House, moment: Moment, stories: Counter[str]
):
    """Once: nobody notices. Twice: it says that nobody knows, and the same key brings the one answer there is."""
    for verb in VERBS:
        for times in (1, 2):
            who, arguments, step = await house.about(verb)
            before, key = len(await house.entries()), house.key()
            call = "complete" if verb == "forward" else verb
            cut = house.proxy.cut(moment, script(step).sha, times=times)

            told = await house.doors[who].call(call, arguments, key)
            assert cut.left == 0
            after = len(await house.entries())
            written = 2 if verb == "forward" else 1
            if times == 2:
                assert told.refusal == LOST, (verb, told)
                assert after - before == (written if moment == "after" else 0), verb
            else:
                assert not told.refusal, (verb, told)
                assert after - before == written, verb

            answers = [await door[who].call(call, arguments, key) for door in (house.doors, house.beside, house.doors)]
            entries = await house.entries()
            assert len(entries) - before == written, f"{verb} happened twice"
            for again in (*answers, *([] if told.refusal else [told])):
                assert again.receipt["entry"] == entries[before].id, verb
                assert of_always(again.content) == of_always(answers[0].content), verb
            stories[CUTS] += times
            await house.tidy()


def of_always(content: Json) -> Json:
    return {name: value for name, value in content.items() if name not in {"ahead_of_it", "pickers", "waiting"}}


@pytest.mark.parametrize("verb", ["drop_off", "pick_up"])
async def test_who_brought_no_key_is_told_what_that_means(house: House, verb: str, stories: Counter[str]):
    who, arguments, step = await house.about(verb)
    before = len(await house.entries())
    house.proxy.cut("after", script(step).sha, times=2)

    told = await house.doors[who].call(verb, arguments, "")

    assert told.refusal == LOST_WITHOUT_KEY
    written = ["pick_up", "recall"] if verb == "pick_up" else [verb]  # nobody could ask for the lease again
    await until("all that follows of it", lambda: grown(house, before + len(written)))
    assert [entry.step for entry in (await house.entries())[before:]] == written
    stories[CUTS] += 2


@pytest.mark.parametrize("verb", VERBS)
async def test_a_client_cut_off_while_its_step_runs_gets_the_answer_when_it_asks_again(house: House, verb: str):
    """It has sent its call and hears nothing. What it picked up has gone back; everything else is done."""
    who, arguments, step = await house.about(verb)
    before, key = len(await house.entries()), house.key()
    call = "complete" if verb == "forward" else verb

    await cut_off(house, house.doors[who].request(call, arguments, key), step)

    written = 2 if verb in ("forward", "pick_up") else 1  # picked up, and taken back
    await until("what was sent to be done", lambda: grown(house, before + written))
    entries = await house.entries()
    again = await house.doors[who].call(call, arguments, key)
    assert not again.refusal
    if verb == "pick_up":
        assert [entry.step for entry in (await house.entries())[before:]] == ["pick_up", "recall", "pick_up"]
    else:
        assert again.receipt["entry"] == entries[before].id
        assert await house.entries() == entries
    await house.tidy()


async def cut_off(house: House, request: httpx2.Request, step: str) -> None:
    """A client sends this and is gone while the step is on its way."""
    still = house.proxy.stall("before", script(step).sha)
    url = request.url
    _, stream = await asyncio.open_connection(url.host, url.port)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    stream.write(f"POST {url.path} HTTP/1.1\r\n{head}\r\n".encode() + request.content)
    await still.met()
    stream.close()
    await stream.wait_closed()
    house.proxy.go_on()


async def grown(house: House, to: int) -> bool:
    return len(await house.entries()) == to


async def test_a_client_that_asks_again_while_its_first_call_is_still_under_way_keeps_its_lease(house: House):
    """The store stands still, the client is cut off and comes again with its key: what it is told then, it holds."""
    who, arguments, step = await house.about("pick_up")
    key = house.key()
    still = house.proxy.stall("before", script(step).sha)
    gone = house.doors[who].request("pick_up", arguments, key)
    _, stream = await asyncio.open_connection(gone.url.host, gone.url.port)
    head = "".join(f"{name}: {value}\r\n" for name, value in gone.headers.items())
    stream.write(f"POST {gone.url.path} HTTP/1.1\r\n{head}\r\n".encode() + gone.content)
    await still.met()
    second = asyncio.create_task(house.doors[who].call("pick_up", arguments, key))
    stream.close()
    await stream.wait_closed()
    house.proxy.go_on()
    told = await within("the second answer", second)

    assert told.content["status"] == "picked_up"
    kept = await house.doors[who].call("extend", {"lease_id": told.content["lease_id"]}, house.key())
    assert not kept.refusal, kept.refusal
    await house.doors[who].call("complete", {"lease_id": told.content["lease_id"]}, "")


# ---- many calls in one request ------------------------------------------------------------------------------------


@pytest.mark.parametrize("house", ["http"], indirect=True)
@pytest.mark.parametrize("moment", MOMENTS)
async def test_each_call_of_a_batch_has_its_own_fate_and_its_own_first_answer(
    house: House, moment: Moment, stories: Counter[str]
):
    """The third of five is lost twice: it alone is told that nobody knows, and the same batch again brings all five."""
    call = {"verb": "drop_off", "arguments": {"queue": "research", "payload": WORK}}
    asked = {"calls": [call | {"key": f"batched {number}"} for number in range(5)]}
    before = len(await house.entries())
    cut = house.proxy.cut(moment, script("drop_off").sha, skip=2, times=2)

    told = (await house.doors["scout"].call("batch", asked, "")).content["answers"]

    assert cut.left == 0
    assert [answer["status"] for answer in told] == ["dropped_off"] * 2 + ["refused"] + ["dropped_off"] * 2
    assert told[2]["error"]["message"] == LOST
    assert len(await house.entries()) - before == (5 if moment == "after" else 4)
    for door in (house.doors["scout"], house.beside["scout"]):
        again = (await door.call("batch", asked, "")).content["answers"]
        receipts = [answer["receipt"]["entry"] for answer in again]
        assert sorted(receipts) == [entry.id for entry in (await house.entries())[before:]]
        assert [receipts[place] for place in (0, 1, 3, 4)] == [
            told[place]["receipt"]["entry"] for place in (0, 1, 3, 4)
        ]
    stories[CUTS] += 2
    await house.tidy()
