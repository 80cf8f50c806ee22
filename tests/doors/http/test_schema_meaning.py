"""What `POST /v1/schemas/{name}` says of a version: against the one before, and for what the queues hold now."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dropoff.contracts import compare
from dropoff.contracts.gate import Gate, Gates
from dropoff.contracts.schema import Schema
from dropoff.core.handoff import QueueName
from dropoff.operations import effects, schemas
from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from tests.doors.http.house import BRIEF, WORK, Agent, Desk, opened
from tests.doors.http.test_refusals import problem
from tests.proxy import Proxy
from tests.servers import Server
from tests.world import Clock, live

PUSH = "/v1/schemas/research"
TRY = "/v1/schemas/research/compare"


def with_audience(*allowed: str, **more: Any) -> dict[str, Any]:
    """The contract of `research`, but for who may be the audience."""
    return BRIEF | {"properties": BRIEF["properties"] | {"audience": {"enum": list(allowed)}}} | more


NARROW = with_audience("exec")
WIDE = with_audience("exec", "engineer", "public", "press")


async def drop(scout: Agent, audience: str = "exec", **more: Any) -> str:
    return (await scout.done("/v1/drop_off", {"payload": WORK | {"audience": audience}, **more}))["handoff_id"]


async def only_queue(desk: Desk, path: str = TRY, schema: dict[str, Any] = NARROW) -> dict[str, Any]:
    told = await desk.operator.done(path, schema)
    [queue] = told["queues"]
    return queue


# ---- against the version before ---------------------------------------------------------------------------------


async def test_a_version_that_demands_more_is_registered_and_called_incompatible(desk: Desk):
    """With the place and a payload that shows it. Nothing moves: what fitted before is taken as before."""
    told = await desk.operator.done(PUSH, NARROW)

    assert (told["schema"], told["new"], told["compared_with"]) == ("research@2", True, "research@1")
    assert told["verdict"] == "incompatible"
    assert told["changes"] == [{"path": "payload.audience", "says": 'no longer allows "engineer", "public"'}]
    assert told["more_changes"] == 0
    assert told["witness"]["audience"] in ("engineer", "public")
    assert (await desk.operator.seen("/v1/queues/research"))["schema"] == "research@1"
    scout = await desk.agent("scout", "drop:research")
    await scout.done("/v1/drop_off", {"payload": told["witness"]})


async def test_a_version_that_takes_more_is_called_compatible(desk: Desk):
    told = await desk.operator.done(PUSH, WIDE)

    assert (told["schema"], told["verdict"]) == ("research@2", "compatible")
    assert (told["changes"], told["witness"], told["untold"]) == ([], None, "")


async def test_what_nobody_can_tell_is_called_unknown_and_registered(desk: Desk):
    said = {"type": "string", "pattern": "^(a|b)$"}
    for pattern in ("^(a|b)$", "^[ab]$"):
        schema = {"type": "object", "properties": {"x": said | {"pattern": pattern}}}
        told = await desk.operator.done("/v1/schemas/letter", schema)

    assert (told["schema"], told["new"], told["verdict"], told["witness"]) == ("letter@2", True, "unknown", None)
    assert told["changes"]


async def test_the_first_version_is_compared_with_nothing(desk: Desk):
    """Also when it is pushed again; another name's versions do not count."""
    for new in (True, False):
        told = await desk.operator.done("/v1/schemas/research.more", NARROW)
        assert (told["schema"], told["new"]) == ("research.more@1", new)
        assert (told["compared_with"], told["verdict"], told["changes"], told["queues"]) == ("", "", [], [])


async def test_pushed_again_it_is_compared_with_the_one_before_it(desk: Desk):
    """Never with itself, and never with one after it."""
    first = await desk.operator.done(PUSH, NARROW)
    await desk.operator.done(PUSH, WIDE)

    again = await desk.operator.done(PUSH, NARROW)

    assert again == first | {"new": False}


async def test_more_changes_than_are_listed_are_counted(desk: Desk):
    fields = [f"field_{number}" for number in range(compare.CHANGES_MAX + 3)]
    told = await desk.operator.done(PUSH, BRIEF | {"required": [*BRIEF["required"], *fields], "properties": {}})

    assert len(told["changes"]) == compare.CHANGES_MAX
    assert told["more_changes"] > 0


# ---- for what the queues hold -------------------------------------------------------------------------------------


async def test_what_would_not_fit_is_counted_of_all_that_nobody_holds(desk: Desk):
    """Waiting, scheduled and held; what is leased or has ended is its holder's, and no longer in question."""
    scout, writer = await desk.agent("scout", "drop:research"), await desk.agent("writer", "pick:research")
    for _ in range(2):
        await drop(scout, "public")
    taken = await writer.done("/v1/pick_up", {"queue": "research", "wait_seconds": 0})
    await writer.done("/v1/complete", {"lease_id": taken["lease_id"], "result": {}})
    await writer.done("/v1/pick_up", {"queue": "research", "wait_seconds": 0})
    fits, waiting = await drop(scout), await drop(scout, "public")
    scheduled = await drop(scout, "engineer", delay_seconds=60)
    await desk.operator.done("/v1/queues/research/edit", {"approval": True})
    held, held_and_fits = await drop(scout, "public"), await drop(scout)

    queue = await only_queue(desk, PUSH)

    assert (queue["queue"], queue["pinned_now"]) == ("research", "research@1")
    assert (queue["waiting"], queue["looked_at"], queue["would_not_fit"]) == (5, 5, 3)
    assert [one["handoff_id"] for one in queue["examples"]] == [waiting, scheduled, held]
    assert not {fits, held_and_fits} & {one["handoff_id"] for one in queue["examples"]}


async def test_an_example_says_where_and_what_and_little_of_the_payload(desk: Desk):
    """At most three; and of a value at most 80 characters."""
    scout = await desk.agent("scout", "drop:research")
    long = "secret " * 20
    for _ in range(4):
        await scout.done("/v1/drop_off", {"payload": WORK | {"topic": long}})
    queue = await only_queue(desk, TRY, BRIEF | {"properties": BRIEF["properties"] | {"topic": {"const": "owls" * 30}}})

    assert (queue["would_not_fit"], len(queue["examples"])) == (4, effects.EXAMPLES_MAX)
    for one in queue["examples"]:
        assert one["path"] == "payload.topic"
        assert one["problem"].startswith('must be "owls')
        assert len(one["problem"]) <= 90
    assert "secret" not in json.dumps(queue)


async def test_only_queues_of_that_name_are_told_of(desk: Desk):
    """Whichever version they are pinned to."""
    await desk.queue("drafts", BRIEF)
    await desk.operator.done(PUSH, WIDE)
    await desk.operator.done("/v1/queues", {"name": "again", "schema": "research"})

    told = await desk.operator.done(PUSH, NARROW)

    pinned = [(queue["queue"], queue["pinned_now"]) for queue in told["queues"]]
    assert pinned == [("again", "research@2"), ("research", "research@1")]


async def test_who_picked_up_lately_is_told_with_the_version_it_had(desk: Desk, empty_store: RedisStore, clock: Clock):
    scout = await desk.agent("scout", "drop:research")
    for name in ("writer", "rival"):
        agent = await desk.agent(name, "pick:research")
        await drop(scout)
        await agent.done("/v1/pick_up", {"queue": "research", "wait_seconds": 0})
        await live(empty_store, clock, 2_000)

    queue = await only_queue(desk)

    assert queue["picked_up"] == [
        {"agent": "rival", "schema": "research@1", "seconds_ago": 2},
        {"agent": "writer", "schema": "research@1", "seconds_ago": 4},
    ]


# ---- bounded ------------------------------------------------------------------------------------------------------


async def test_no_more_is_looked_at_than_there_is_room_for(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    """The first in line, by number, by size, by time; and the answer says how far it came."""
    scout = await desk.agent("scout", "drop:research")
    for audience in ("public", "exec", "public", "public", "public"):
        await drop(scout, audience)
    size = len(json.dumps(WORK | {"audience": "public"}, separators=(",", ":")))

    seen: dict[str, tuple[int, int, int]] = {}
    for name, bound in (("HANDOFFS_MAX", 3), ("BYTES_MAX", 2 * size), ("SECONDS_MAX", -1.0)):
        with monkeypatch.context() as less:
            less.setattr(effects, name, bound)
            queue = await only_queue(desk)
            seen[name] = queue["waiting"], queue["looked_at"], queue["would_not_fit"]

    assert seen == {"HANDOFFS_MAX": (5, 3, 2), "BYTES_MAX": (5, 2, 1), "SECONDS_MAX": (5, 0, 0)}


class Watched(Gates):
    """Gates that note, at each verdict, how often others have had their turn."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0
        self.noted: list[int] = []

    def of(self, schema: Schema) -> Gate:
        gate = super().of(schema)
        real = gate.fits

        def fits(value: object) -> bool:
            self.noted.append(self.turns)
            return real(value)

        gate.fits = fits
        return gate

    async def take_turns(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)


async def test_others_have_their_turn_between_large_payloads(desk: Desk, empty_store: RedisStore):
    """Also where one page holds them all."""
    await desk.queue("large", {"type": "object"})
    scout, count = await desk.agent("scout", "drop:large"), 6
    for _ in range(count):
        payload = {"text": "x" * effects.SLICE_BYTES}
        await scout.done("/v1/drop_off", {"queue": "large", "payload": payload})
    queue = (await empty_store.queues(fresh=True))[QueueName("large")]
    gates = Watched()
    others = asyncio.create_task(gates.take_turns())

    found = await effects.effects(empty_store, gates, queue, Schema.of("large", 2, {"type": "object"}))

    others.cancel()
    assert found.looked_at == len(gates.noted) == len({*gates.noted}) == count


async def test_more_than_a_page_is_looked_at(desk: Desk):
    scout = await desk.agent("scout", "drop:research")
    count = 2 * effects.PAGE + 5
    for _ in range(count):
        await drop(scout, "public")

    queue = await only_queue(desk)

    assert (queue["waiting"], queue["looked_at"], queue["would_not_fit"]) == (count, count, count)


async def test_queues_for_which_there_is_no_time_are_counted(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    await desk.operator.done("/v1/queues", {"name": "again", "schema": "research"})
    monkeypatch.setattr(schemas, "REPORT_S_MAX", -1.0)

    told = await desk.operator.done(TRY, NARROW)

    assert (told["queues"], told["more_queues"]) == ([], 2)


# ---- tried, and told badly ------------------------------------------------------------------------------------------


async def test_a_try_says_what_a_push_would_say_and_registers_nothing(desk: Desk):
    scout = await desk.agent("scout", "drop:research")
    await drop(scout, "public")
    before = desk.stored()

    tried = await desk.operator.done(TRY, NARROW)

    assert desk.stored() == before
    assert tried == await desk.operator.done(PUSH, NARROW)
    after = desk.stored()
    assert after != before
    assert await desk.operator.done(TRY, NARROW) == tried | {"new": False}
    assert desk.stored() == after


async def test_what_could_not_be_registered_cannot_be_tried(desk: Desk):
    """And nothing changed."""
    before = desk.stored()
    problem(await desk.operator.ask(TRY, {"type": "array"}), 422, "schema_refused")
    problem(await desk.operator.ask("/v1/schemas/X/compare", {"type": "object"}), 422, "arguments_invalid")
    assert desk.stored() == before


@pytest.fixture
async def far(proxy: Proxy, server: Server, keys: Keys, desk: Desk) -> AsyncIterator[Desk]:
    """Another broker on the same store, and the line between them, which a test may cut."""
    store = RedisStore(await proxy.start(), keys)
    await store.start()
    async with opened(store, server, keys) as other:
        yield other
    await store.close()


async def test_a_push_whose_meaning_cannot_be_told_is_told_as_done(desk: Desk, far: Desk, proxy: Proxy):
    """The store goes away behind the registration: that has happened all the same. A try that fails is a failure."""
    proxy.cut("before", b"ZREVRANGE", times=20)

    told = await far.operator.done(PUSH, NARROW)

    assert (told["schema"], told["new"], told["untold"]) == ("research@2", True, "broker_unavailable")
    assert (told["compared_with"], told["verdict"], told["queues"]) == ("", "", [])
    assert (await desk.operator.seen(PUSH))["schema"] == "research@2"
    problem(await far.operator.ask(TRY, NARROW), 503, "broker_unavailable")


async def test_a_version_whose_content_is_lost_is_said_to_be(desk: Desk, server: Server, keys: Keys):
    """The version before cannot be compared with; the push is done."""
    first = await desk.operator.done(PUSH, BRIEF)
    with server.client as client:
        client.delete(keys.of("schema", hash=first["hash"]))

    assert (await desk.operator.done(PUSH, NARROW))["untold"] == "schema_unknown"
    told = problem(await desk.operator.ask(TRY, NARROW), 404, "schema_unknown")
    assert "research@1" in told["detail"]


async def test_a_fault_while_it_is_told_is_in_the_log_and_the_push_is_done(
    desk: Desk, server: Server, keys: Keys, caplog: pytest.LogCaptureFixture
):
    """Something behind the broker's back has damaged a record."""
    damaged = await drop(await desk.agent("scout", "drop:research"))
    with server.client as client:
        client.hset(keys.of("handoff", queue="research", id=damaged), "payload", "{")

    told = await desk.operator.done(PUSH, NARROW)

    assert (told["schema"], told["new"], told["untold"]) == ("research@2", True, "internal_error")
    assert "what research@2 means could not be told" in caplog.text
