"""What a completion sends on, by plain HTTP: both happen or neither, and a refusal says whose the lease still is."""

from typing import Any

import pytest

from tests.doors.http.house import BRIEF, WORK, Agent, Desk
from tests.doors.http.test_refusals import problem

TEXT: dict[str, Any] = {"text": "owls see at night"}
NOTES: dict[str, Any] = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


@pytest.fixture
async def worker(desk: Desk) -> Agent:
    await desk.queue("drafts", NOTES)
    return await desk.agent("worker", "pick:research", "drop:drafts", "inspect:*")


@pytest.fixture
async def lease(desk: Desk, scout: Agent, worker: Agent) -> str:
    await scout.done("/v1/drop_off", {"payload": WORK})
    return (await worker.done("/v1/pick_up"))["lease_id"]


async def test_both_happen(desk: Desk, worker: Agent, lease: str):
    """And the same call again is the same success, whatever key it comes under."""
    body = {"lease_id": lease, "result": {"found": 3}, "next": {"queue": "drafts", "note": "soon", "payload": TEXT}}
    done = await worker.done("/v1/complete", body)
    assert done["status"] == "completed"
    before = desk.stored()
    assert await worker.done("/v1/complete", body, idempotency_key="other") == done
    assert desk.stored() == before

    writer = await desk.agent("second", "pick:drafts")
    picked = await writer.done("/v1/pick_up")
    assert (picked["handoff_id"], picked["payload"], picked["note"]) == (done["next_handoff_id"], TEXT, "soon")
    assert picked["from_agent"] == "worker"


async def test_without_next_nothing_is_named(worker: Agent, lease: str):
    assert "next_handoff_id" not in await worker.done("/v1/complete", {"lease_id": lease, "next": None})


async def refused(desk: Desk, worker: Agent, lease: str, onward: Any, status: int, code: str) -> str:
    """It is refused, nothing changed, and the lease goes on."""
    before = desk.stored()
    told = problem(await worker.ask("/v1/complete", {"lease_id": lease, "next": onward}), status, code)
    assert desk.stored() == before
    await worker.done("/v1/extend", {"lease_id": lease})
    return told["detail"]


@pytest.mark.parametrize(
    ("onward", "words"),
    [
        ({}, "next.payload: missing"),
        ({"payload": TEXT, "quue": "drafts"}, "next.quue: unknown field; did you mean 'queue'?"),
        ({"payload": TEXT, "note": "x" * 501}, "next.note: too long"),
        ({"payload": TEXT, "delay_seconds": 5}, "next.delay_seconds: unknown field"),
        ({"payload": '{"text": "owls"}'}, "next.payload: is a string of JSON. Pass the object itself."),
        ('{"payload": {}}', "next: is a string of JSON. Pass the object itself."),
        ([TEXT], "next: is an array"),
    ],
)
async def test_wrong_arguments_are_named(desk: Desk, worker: Agent, lease: str, onward: Any, words: str):
    assert words in await refused(desk, worker, lease, onward, 422, "arguments_invalid")


async def test_what_does_not_fit_hears_how_long_it_may_be_mended(desk: Desk, worker: Agent, lease: str):
    """Every problem with its path, and until when the lease is still the holder's."""
    told = await refused(desk, worker, lease, {"payload": {"txt": 1}}, 422, "next_invalid")
    ends = (await desk.operator.seen("/v1/agents/worker"))["holds"]
    assert ends == [lease]
    assert "Next rejected by schema drafts@1: 1 problem. Nothing was stored." in told
    assert "The lease is still yours until " in told
    assert "- next.payload.text: missing (required)" in told
    assert told.endswith("Fix this and call complete_handoff again.")


async def test_a_queue_that_takes_nothing_leaves_the_lease(desk: Desk, worker: Agent, lease: str):
    """Draining or full: neither is completed, and both sentences say whose the lease is."""
    onward = {"queue": "drafts", "payload": TEXT}
    await desk.operator.done("/v1/queues/drafts/drain", {"reason": "moving"})
    told = await refused(desk, worker, lease, onward, 403, "queue_draining")
    assert "Nothing was stored; the lease is still yours." in told

    await desk.operator.done("/v1/queues/drafts/resume")
    await desk.operator.done("/v1/queues/drafts/edit", {"max_waiting": 1})
    sender = await desk.agent("sender", "drop:drafts")
    await sender.done("/v1/drop_off", {"payload": TEXT})
    told = await refused(desk, worker, lease, onward, 429, "queue_full")
    assert "Nothing was stored; the lease is still yours." in told
    await worker.done("/v1/complete", {"lease_id": lease})


async def test_it_goes_only_where_the_holder_may_drop_off(desk: Desk, worker: Agent, lease: str):
    await desk.queue("secret", NOTES)
    told = await refused(desk, worker, lease, {"queue": "research", "payload": WORK}, 403, "not_allowed")
    assert "may not drop off into 'research'" in told
    await desk.operator.done("/v1/agents/worker/ungrant", {"grants": ["inspect:*"]})
    await refused(desk, worker, lease, {"queue": "secret", "payload": TEXT}, 404, "queue_unknown")


async def test_another_next_under_a_settled_lease_is_refused(desk: Desk, worker: Agent, lease: str):
    await worker.done("/v1/complete", {"lease_id": lease, "next": {"payload": TEXT}})
    before = desk.stored()
    for onward in ({"payload": {"text": "another"}}, None):
        answer = await worker.ask("/v1/complete", {"lease_id": lease, "next": onward})
        problem(answer, 409, "already_settled")
    assert desk.stored() == before


async def test_result_and_next_may_both_be_as_large_as_they_may_be(desk: Desk, worker: Agent, lease: str):
    """However they are written: with every letter escaped they have three times the bytes on the way."""
    large = {"text": "ж" * 130_000}
    done = await worker.done("/v1/complete", {"lease_id": lease, "result": large, "next": {"payload": large}})
    assert done["next_handoff_id"]


async def test_what_is_sent_on_may_be_held(desk: Desk, scout: Agent):
    """The queue's approval counts for what a completion sends, too."""
    await desk.queue("review", BRIEF, approval=True)
    worker = await desk.agent("worker", "pick:research", "drop:review")
    await scout.done("/v1/drop_off", {"payload": WORK})
    lease = (await worker.done("/v1/pick_up"))["lease_id"]
    done = await worker.done("/v1/complete", {"lease_id": lease, "next": {"payload": WORK}})
    assert (await worker.done("/v1/check", {"handoff_id": done["next_handoff_id"]}))["state"] == "held"
