"""The agents' verbs by plain HTTP: the whole round, request keys, waits, and answers that look as announced."""

import asyncio
from typing import Any

import msgspec
import pytest

from dropoff.doors.http.agents import ANSWERS
from tests.doors.http.house import WORK, Agent, Desk
from tests.look import Look
from tests.world import until, within

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def as_announced(verb: str, answer: dict[str, Any]) -> None:
    """The Struct in the OpenAPI document reads the answer, and knows every field of it."""
    msgspec.convert(answer, ANSWERS[verb])


async def test_the_whole_round(desk: Desk, scout: Agent, writer: Agent):
    """Dropped off, picked up, kept, handed back with a checkpoint, picked up again, completed; the sender reads it."""
    described = await scout.done("/v1/describe")
    as_announced("describe", described)
    assert [one["queue"] for one in described["queues"]] == ["research"]

    nothing = await writer.done("/v1/pick_up", {"wait_seconds": 0})
    as_announced("pick_up", nothing)
    assert nothing["status"] == "nothing_to_pick_up"

    sent = await scout.done("/v1/drop_off", {"queue": "research", "note": "for Monday", "payload": WORK})
    as_announced("drop_off", sent)
    assert sent["status"] == "dropped_off"
    assert sent["receipt"]["handoff_id"] == sent["handoff_id"]

    picked = await writer.done("/v1/pick_up")
    as_announced("pick_up", picked)
    assert (picked["handoff_id"], picked["from_agent"], picked["payload"]) == (sent["handoff_id"], "scout", WORK)

    kept = await writer.done("/v1/extend", {"lease_id": picked["lease_id"], "progress": "half"})
    as_announced("extend", kept)

    back = await writer.done(
        "/v1/hand_back",
        {"lease_id": picked["lease_id"], "outcome": "not_for_me", "checkpoint": {"read": 3}},
    )
    as_announced("hand_back", back)
    assert back["state"] == "waiting"

    again = await writer.done("/v1/pick_up", {"queue": "research"})
    as_announced("pick_up", again)
    assert again["checkpoint"] == {"read": 3}
    assert again["previous_attempts"][0]["agent"] == "writer"

    finished = await writer.done("/v1/complete", {"lease_id": again["lease_id"], "result": {"found": 3}})
    as_announced("complete", finished)

    checked = await scout.done("/v1/check", {"handoff_id": sent["handoff_id"]})
    as_announced("check", checked)
    assert (checked["state"], checked["result"]) == ("completed", {"found": 3})


async def test_withdrawn_work_is_gone_and_a_holder_is_asked(desk: Desk, scout: Agent, writer: Agent):
    first = await scout.done("/v1/drop_off", {"payload": WORK})
    gone = await scout.done("/v1/withdraw", {"handoff_id": first["handoff_id"], "reason": "changed my mind"})
    as_announced("withdraw", gone)
    assert gone["status"] == "withdrawn"

    await scout.done("/v1/drop_off", {"payload": WORK})
    picked = await writer.done("/v1/pick_up")
    asked = await scout.done("/v1/withdraw", {"handoff_id": picked["handoff_id"]})
    as_announced("withdraw", asked)
    assert asked["status"] == "withdrawal_asked"
    told = await writer.done("/v1/extend", {"lease_id": picked["lease_id"]})
    as_announced("extend", told)
    assert told["withdrawal_asked"] is True


async def test_the_same_key_answers_the_same_and_happens_once(desk: Desk, scout: Agent, writer: Agent):
    first = await scout.done("/v1/drop_off", {"payload": WORK}, idempotency_key="monday")
    before = desk.stored()
    again = await scout.done("/v1/drop_off", {"payload": WORK}, idempotency_key="monday")
    assert again["handoff_id"] == first["handoff_id"]
    assert again["receipt"] == first["receipt"]
    assert desk.stored() == before

    picked = await writer.done("/v1/pick_up", idempotency_key="p")
    same = await writer.done("/v1/pick_up", idempotency_key="p")
    assert same["lease_id"] == picked["lease_id"]


@pytest.mark.parametrize(
    ("act", "body", "new"),
    [
        ("/v1/queues/research/edit", {"max_bytes": 10}, 413),
        ("/v1/agents/scout/ungrant", {"grants": ["drop:research"]}, 403),
    ],
)
async def test_the_same_key_answers_the_same_also_when_it_would_be_refused_by_now(
    desk: Desk, scout: Agent, act: str, body: dict[str, Any], new: int
):
    """The contract was narrowed, or the grant taken. Under another key it is refused."""
    first = await scout.done("/v1/drop_off", {"payload": WORK}, idempotency_key="monday")
    await desk.operator.done(act, body)
    before = desk.stored()
    again = await scout.done("/v1/drop_off", {"payload": WORK}, idempotency_key="monday")
    assert (again["handoff_id"], again["receipt"]) == (first["handoff_id"], first["receipt"])
    assert (await scout.ask("/v1/drop_off", {"payload": WORK}, idempotency_key="tuesday")).status_code == new
    assert desk.stored() == before


async def test_without_a_key_the_same_call_is_new_work(desk: Desk, scout: Agent):
    ids = [(await scout.done("/v1/drop_off", {"payload": WORK}))["handoff_id"] for _ in range(2)]
    assert len(set(ids)) == 2


async def test_the_trace_of_a_call_is_in_the_ledger(desk: Desk, scout: Agent):
    """A traceparent that is none is left out, and nothing is refused for it."""
    await scout.done("/v1/drop_off", {"payload": WORK}, traceparent=TRACE)
    await scout.done("/v1/drop_off", {"payload": WORK}, traceparent="00-not-a-trace-01")
    entries = (await desk.operator.seen("/v1/ledger"))["entries"]
    assert [entry.get("trace", "") for entry in entries if entry["step"] == "drop_off"] == [TRACE, ""]


async def test_a_drop_wakes_who_waits(desk: Desk, scout: Agent, writer: Agent):
    waiting = asyncio.create_task(writer.done("/v1/pick_up", {"wait_seconds": 30}))
    await until("the writer to be seen", lambda: _pickers(desk, 1))
    sent = await scout.done("/v1/drop_off", {"payload": WORK})
    picked = await within("the writer to get it", waiting)
    assert picked["handoff_id"] == sent["handoff_id"]


async def test_a_waiter_that_leaves_takes_no_work(desk: Desk, scout: Agent, writer: Agent, look: Look):
    """The client hangs up while it waits; what is dropped off then is there for somebody else."""
    body = b'{"wait_seconds": 30}'
    _, stream = await asyncio.open_connection("127.0.0.1", desk.port)
    head = (
        f"POST /v1/pick_up HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {writer.bearer}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    stream.write(head.encode() + body)
    await stream.drain()
    await until("the writer to be seen", lambda: _pickers(desk, 1))
    stream.close()
    await stream.wait_closed()
    await until("its wait to be over", _nobody_waits)

    sent = await scout.done("/v1/drop_off", {"payload": WORK})
    shown = await desk.operator.seen(f"/v1/handoffs/{sent['handoff_id']}")
    assert shown["state"] == "waiting"


async def _nobody_waits() -> bool:
    return not any(task.get_name() == "dropoff caller, watched" for task in asyncio.all_tasks())


async def _pickers(desk: Desk, count: int) -> bool:
    queue = await desk.operator.seen("/v1/queues/research")
    return queue["pickers"] == count


@pytest.mark.parametrize("body", [b"", b"  \n", b"{}", b'{"queue": null}', b'{"queue": ""}'])
async def test_what_is_empty_was_not_given(desk: Desk, writer: Agent, body: bytes):
    answer = await writer.ask("/v1/describe", body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["count"] == 1


async def test_what_is_answered_is_kept_by_no_cache(desk: Desk, scout: Agent):
    answer = await scout.ask("/v1/drop_off", {"payload": WORK})
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
