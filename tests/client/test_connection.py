"""The client's connection: calls happen once whatever is lost, and silence is told as silence."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from dropoff import errors
from dropoff.client import BrokerUnreachable, Connection, RemoteError, connection
from dropoff.client.failures import as_object
from dropoff.doors.http import problems
from dropoff.errors import DropoffError, Problem, every_error
from tests.client.wires import Wire, wire_to
from tests.doors.http.house import WORK, Desk, listener, serving
from tests.world import within


@pytest.fixture
async def wire(desk: Desk) -> AsyncIterator[Wire]:
    async with wire_to(desk.port) as wire:
        yield wire


@pytest.fixture
async def scout(desk: Desk, wire: Wire) -> AsyncIterator[Connection]:
    """An agent that may do everything in `research`, by the wire that can be cut."""
    made = await desk.operator.done("/v1/agents", {"name": "scout", "grants": ["drop:research", "pick:research"]})
    async with connection(wire.url, bearer=made["bearer"], environ={}) as broker:
        yield broker


@pytest.fixture
async def operator(desk: Desk, wire: Wire) -> AsyncIterator[Connection]:
    async with connection(wire.url, bearer=desk.operator.bearer, environ={}) as broker:
        yield broker


async def test_a_round(scout: Connection, operator: Connection):
    sent = await scout.call("drop_off", {"payload": WORK})
    picked = await scout.call("pick_up", {"wait_seconds": 0})
    await scout.call("complete", {"lease_id": picked["lease_id"], "result": {"found": 3}})
    assert (await scout.call("check", {"handoff_id": sent["handoff_id"]}))["result"] == {"found": 3}
    listed = await operator.get("/v1/handoffs", queue="research", state=None, limit=5)
    assert listed["handoffs"][0]["state"] == "completed"
    made = await operator.post("/v1/agents", {"name": "new", "grants": []})
    assert made["agent"] == "new"


async def test_a_lost_answer_is_asked_for_again_under_the_same_key(scout: Connection, operator: Connection, wire: Wire):
    """The broker did it and the answer was lost, twice; it happened once, and the client hears of it."""
    await scout.call("describe", {})
    wire.requests.clear()
    wire.lose_answers = 2
    sent = await within("the answer", scout.call("drop_off", {"payload": WORK}))
    keys = wire.header("idempotency-key")
    assert (len(keys), len(set(keys))) == (3, 1)
    waiting = await operator.get("/v1/handoffs", state="waiting")
    assert [one["handoff_id"] for one in waiting["handoffs"]] == [sent["handoff_id"]]


async def test_a_batch_whose_answer_was_lost_is_asked_for_again_under_the_same_keys(
    scout: Connection, operator: Connection, wire: Wire
):
    """Each of its calls happened once, and answers what it answered; a refusal is an answer and raises nothing."""
    drops = [{"verb": "drop_off", "arguments": {"payload": WORK}}] * 3
    wire.lose_answers = 1
    *sent, refused, mine = await within(
        "the answers", scout.batch([*drops, {"verb": "drop_of"}, {"verb": "describe", "key": "mine"}])
    )
    assert (refused["status"], refused["error"]["code"]) == ("refused", "arguments_invalid")
    assert mine["status"] == "described"
    waiting = await operator.get("/v1/handoffs", state="waiting")
    assert {one["handoff_id"] for one in waiting["handoffs"]} == {one["handoff_id"] for one in sent}
    bodies = [as_object(asked.partition(b"\r\n\r\n")[2]) for asked in wire.requests if b"POST /v1/batch" in asked]
    keys = [[call["key"] for call in body["calls"]] for body in bodies if body]
    assert len(keys) == 2
    assert keys[0] == keys[1]
    assert (len(set(keys[0])), keys[0][-1]) == (5, "mine")

    [picked] = await scout.batch([{"verb": "pick_up", "arguments": {"at_most": 5, "wait_seconds": 0}}])
    settle = [{"verb": "complete", "arguments": {"lease_id": one["lease_id"]}} for one in picked["handoffs"]]
    assert [answer["status"] for answer in await scout.batch(settle)] == ["completed"] * 3


async def test_each_call_has_a_key_of_its_own_or_the_one_given(scout: Connection, wire: Wire):
    for key in (None, None, "mine"):
        await scout.call("drop_off", {"payload": WORK}, key)
    keys = wire.header("idempotency-key")
    assert keys[2] == "mine"
    assert len(set(keys)) == 3


async def test_an_operators_act_is_not_sent_twice(operator: Connection, wire: Wire):
    """A new agent's bearer is shown once: a second try would only hear that there is one. So the doubt is told."""
    wire.lose_answers = 1
    with pytest.raises(BrokerUnreachable) as refusal:
        await operator.post("/v1/agents", {"name": "new", "grants": []})
    assert "not known whether" in refusal.value.sentence()
    assert len(wire.requests) == 1


async def test_a_read_that_nobody_answers_leaves_no_doubt(operator: Connection, wire: Wire):
    """It is asked again, and cannot have stored anything, however often its answer was lost."""
    wire.lose_answers = 1_000
    with pytest.raises(BrokerUnreachable) as refusal:
        await within("the refusal", operator.get("/v1/queues"))
    assert len(wire.requests) > 1
    assert "ask again" in refusal.value.sentence()
    assert not re.search("stored|sent", refusal.value.sentence())


async def test_a_broker_that_comes_back_in_time_is_found(desk: Desk):
    """Nobody listens at first; the call waits for the broker within its patience, acts included."""
    with listener() as sock:
        port = sock.getsockname()[1]
    made = await desk.operator.done("/v1/agents", {"name": "scout", "grants": ["drop:research"]})
    async with (
        connection(f"http://127.0.0.1:{port}", bearer=made["bearer"], environ={}, patience_s=10) as scout,
        connection(f"http://127.0.0.1:{port}", bearer=desk.operator.bearer, environ={}, patience_s=10) as operator,
    ):
        calling = asyncio.create_task(scout.call("drop_off", {"payload": WORK}))
        acting = asyncio.create_task(operator.post("/v1/agents", {"name": "new", "grants": []}))
        await asyncio.wait([calling, acting], timeout=0.2)
        assert not calling.done()
        assert not acting.done()
        relay = Wire(desk.port)
        server = await asyncio.start_server(relay.serve, "127.0.0.1", port)
        assert (await within("the call", calling))["status"] == "dropped_off"
        assert (await within("the act", acting))["agent"] == "new"
        server.close()


async def test_nobody_there_is_said_with_the_address_and_what_to_do():
    with listener() as sock:
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    async with connection(url, bearer="dropoff_bearer_x", environ={}, patience_s=0.1) as broker:
        with pytest.raises(BrokerUnreachable) as refusal:
            await broker.call("describe", {})
    assert refusal.value.exit_code == 8
    assert url in refusal.value.sentence()
    assert "dropoff up" in refusal.value.sentence()
    assert "Nothing was sent" in refusal.value.sentence()


async def test_a_proxy_is_not_asked_for_this_machine(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    with listener() as sock:
        nobody = f"http://127.0.0.1:{sock.getsockname()[1]}"
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, nobody)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with connection(desk.url, bearer=desk.operator.bearer, environ={}, patience_s=0.1) as broker:
        assert await broker.get("/livez") == {"status": "alive"}


@pytest.mark.parametrize("url", ["localhost:8787", "ftp://x", "http://", "8787"])
def test_what_is_no_url_is_said_at_once(url: str):
    with pytest.raises(BrokerUnreachable, match="no URL"):
        connection(url, environ={})


# ---- refusals ---------------------------------------------------------------------------------------------------

FACTS = {
    "str": "x",
    "int": 3,
    "<class 'bool'>": False,
    "tuple[str, ...]": ("a", "b"),
    "tuple[Problem, ...]": (Problem(path="payload.a", problem="missing (required)"),),
    "tuple[tuple[str, int], ...]": (("waiting", 3),),
    "Literal['nothing', 'unknown']": "nothing",
}


def example_of(kind: type[DropoffError]) -> DropoffError:
    """One of this kind, its facts made up."""
    fields = getattr(kind, "__dataclass_fields__", {})
    return kind(**{name: FACTS[_written(field.type)] for name, field in fields.items()})


def _written(annotation: object) -> str:
    return (
        annotation.__name__
        if isinstance(annotation, type) and annotation in (str, int)
        else (str(annotation).replace("dropoff.errors.", "").replace("typing.", ""))
    )


async def test_each_refusal_comes_out_as_it_was_said():
    """Code, sentence, retry, problems, and the exit code of the one table; for every kind there is."""
    examples = [example_of(kind) for kind in every_error()]
    exit_codes = {row["code"]: row["exit_code"] for row in errors.table()}

    async def refuse(request: Request) -> Response:
        return problems.respond(examples[int(request.url.path.rpartition("/")[2])])

    async with serving_one(refuse) as broker:
        for index, error in enumerate(examples):
            with pytest.raises(RemoteError) as refusal:
                await broker.post(f"/v1/{index}", {})
            heard = refusal.value
            assert heard.record() == error.record()
            assert (heard.sentence(), str(heard)) == (error.sentence(), error.sentence())
            assert (heard.http_status, heard.exit_code) == (error.http_status, exit_codes[error.code])


async def test_a_code_of_a_newer_broker_is_kept_and_ends_with_1():
    async def refuse(request: Request) -> Response:
        body = b'{"code":"of_tomorrow","detail":"Not today.","status":409,"retry":"later","more":1}'
        return Response(body, 409, media_type=problems.MEDIA_TYPE)

    async with serving_one(refuse) as broker:
        with pytest.raises(RemoteError, match="Not today") as refusal:
            await broker.call("describe", {})
    assert (refusal.value.code, refusal.value.exit_code) == ("of_tomorrow", 1)


async def test_somebody_who_is_no_broker_is_told_as_such():
    for status in (200, 404, 502):

        async def talk(request: Request, status: int = status) -> Response:
            return PlainTextResponse("It works!", status)

        async with serving_one(talk) as broker:
            with pytest.raises(BrokerUnreachable, match=r"no broker does|it answers 502") as refusal:
                await broker.call("describe", {})
        assert refusal.value.exit_code == 8


async def test_a_503_is_asked_again_under_the_same_key():
    keys: list[str] = []

    async def busy(request: Request) -> Response:
        keys.append(request.headers["idempotency-key"])
        if len(keys) < 3:
            return problems.respond(errors.BrokerUnavailable(stored="nothing"))
        return Response(b'{"status":"described"}', media_type="application/json")

    async with serving_one(busy, patience_s=10) as broker:
        assert await broker.call("describe", {}) == {"status": "described"}
    assert (len(keys), len(set(keys))) == (3, 1)


async def test_what_an_earlier_try_may_have_done_is_not_denied_by_the_last():
    """First "it is not known whether", then "nothing was stored" of another try alone: the caller hears the doubt."""
    heard: list[str] = []

    async def losing(request: Request) -> Response:
        heard.append("again" if heard else "first")
        return problems.respond(errors.BrokerUnavailable(stored="unknown" if len(heard) == 1 else "nothing"))

    async with serving_one(losing, patience_s=0.5) as broker:
        with pytest.raises(BrokerUnreachable, match="not known whether"):
            await broker.call("drop_off", {"queue": "research", "payload": {}})
    assert "again" in heard


async def test_what_was_sent_and_cut_is_not_denied_by_the_next_answer(monkeypatch: pytest.MonkeyPatch):
    """The first try may have arrived; the second, "nothing was stored", speaks of itself alone."""

    async def full(request: Request) -> Response:
        return problems.respond(errors.BrokerUnavailable(stored="nothing"))

    async with serving_one(full, patience_s=0.5) as broker:
        real, tries = broker._http.request, list[str]()

        async def cut_once(*args: Any, **kwargs: Any) -> httpx2.Response:
            tries.append("try")
            if len(tries) == 1:
                raise httpx2.ReadError("cut")
            return await real(*args, **kwargs)

        monkeypatch.setattr(broker._http, "request", cut_once)
        with pytest.raises(BrokerUnreachable, match="not known whether"):
            await broker.call("drop_off", {"queue": "research", "payload": {}})
    assert len(tries) > 1


async def test_an_operators_act_is_not_repeated_after_a_503_either():
    """The broker may have lost its store in the middle; its own sentence says what is known."""
    asked: list[str] = []

    async def busy(request: Request) -> Response:
        asked.append(request.url.path)
        return problems.respond(errors.BrokerUnavailable(stored="unknown"))

    async with serving_one(busy, patience_s=10) as broker:
        with pytest.raises(RemoteError, match="not known whether"):
            await broker.post("/v1/agents", {"name": "new"})
    assert asked == ["/v1/agents"]


async def test_a_redirect_is_not_followed():
    """The credential goes where it was meant to go."""
    asked: list[str] = []

    async def elsewhere(request: Request) -> Response:
        asked.append(request.url.path)
        return Response(status_code=307, headers={"location": "/v1/stolen"})

    async with serving_one(elsewhere) as broker:
        with pytest.raises(BrokerUnreachable):
            await broker.call("describe", {})
    assert asked == ["/v1/describe"]


def serving_one(answer: object, patience_s: float = 0.2) -> "Serving":
    return Serving(answer, patience_s)


class Serving:
    """A broker that says one thing only, and a connection to it."""

    def __init__(self, answer: object, patience_s: float) -> None:
        routes = [Route("/{path:path}", answer, methods=["GET", "POST"])]  # pyright: ignore[reportArgumentType]
        self._served = serving(Starlette(routes=routes))
        self._patience_s = patience_s

    async def __aenter__(self) -> Connection:
        url = await self._served.__aenter__()
        self._broker = connection(url, bearer="dropoff_bearer_x", environ={}, patience_s=self._patience_s)
        return self._broker

    async def __aexit__(self, *exc: object) -> None:
        await self._broker.close()
        await self._served.__aexit__(None, None, None)
