"""Many calls at once: each with its own answer and its own request key, settlements before drops before picks."""

import asyncio
from typing import Any

import msgspec
import pytest

from dropoff.core import limits, payload
from dropoff.doors.http.agents import ANSWERS
from dropoff.doors.http.batch import BATCH_BYTES_MAX
from dropoff.storage.store import RedisStore
from tests.doors.http.house import WORK, Agent, Desk
from tests.doors.http.test_refusals import problem
from tests.look import Look
from tests.world import within


@pytest.fixture
async def worker(desk: Desk) -> Agent:
    return await desk.agent("worker", "pick:research", "drop:research")


def call(verb: str, key: str = "", **arguments: Any) -> dict[str, Any]:
    return {"verb": verb, "arguments": arguments} | ({"key": key} if key else {})


async def batch(agent: Agent, *calls: Any) -> list[dict[str, Any]]:
    answers = (await agent.done("/v1/batch", {"calls": list(calls)}))["answers"]
    assert len(answers) == len(calls)
    return answers


async def dropped(agent: Agent, count: int) -> list[str]:
    answers = await batch(agent, *(call("drop_off", payload=WORK) for _ in range(count)))
    return [answer["handoff_id"] for answer in answers]


def refusal(answer: dict[str, Any], code: str) -> str:
    """The sentence, if the answer is a whole refusal of this code."""
    assert set(answer) == {"status", "error"}
    assert (answer["status"], answer["error"]["code"]) == ("refused", code)
    assert {"code", "message", "retry"} <= set(answer["error"])
    return answer["error"]["message"]


# ---- what is done -----------------------------------------------------------------------------------------------


async def test_answers_stand_in_the_order_of_the_calls_and_look_as_they_do_alone(desk: Desk, worker: Agent):
    [first, second] = await dropped(worker, 2)
    [one, two] = [await worker.done("/v1/pick_up") for _ in range(2)]
    calls = [
        call("pick_up", wait_seconds=5),
        call("check", handoff_id=first),
        call("drop_off", payload=WORK, note="next"),
        call("complete", lease_id=one["lease_id"], result={"found": 1}),
        call("extend", lease_id=two["lease_id"]),
        call("withdraw", handoff_id=second),
        call("describe"),
    ]
    answers = await batch(worker, *calls)
    for asked, answer in zip(calls, answers, strict=True):
        msgspec.convert(answer, ANSWERS[asked["verb"]])
    statuses = ["picked_up", "found", "dropped_off", "completed", "extended", "withdrawal_asked", "described"]
    assert [answer["status"] for answer in answers] == statuses
    [back] = await batch(worker, call("hand_back", lease_id=two["lease_id"], outcome="not_for_me"))
    assert back["state"] == "withdrawn"


async def test_settlements_come_first_then_drops_then_picks(desk: Desk, worker: Agent, look: Look):
    """Whatever their order in the request: what a worker settles, drops off and picks up next is one request."""
    [held] = await dropped(worker, 1)
    lease = (await worker.done("/v1/pick_up"))["lease_id"]
    picked, sent, done = await batch(
        worker,
        call("pick_up", wait_seconds=0),
        call("drop_off", payload=WORK),
        call("complete", lease_id=lease, result={}),
    )
    assert (picked["handoff_id"], done["handoff_id"]) == (sent["handoff_id"], held)
    steps = [entry["step"] for entry in (await desk.operator.seen("/v1/ledger?limit=3"))["entries"]]
    assert steps == ["complete", "drop_off", "pick_up"]


async def test_a_wave_goes_to_the_store_together(desk: Desk, worker: Agent, empty_store: RedisStore):
    """All of its steps are on their way before the first has answered: one pipeline, one fsync."""
    original, under_way, all_there = empty_store.drop_off, 0, asyncio.Event()

    async def together(*arguments: Any) -> Any:
        nonlocal under_way
        under_way += 1
        if under_way == 16:
            all_there.set()
        await within("the others of the wave", all_there.wait())
        return await original(*arguments)

    empty_store.drop_off = together  # type: ignore[method-assign]
    assert len(set(await dropped(worker, 16))) == 16


async def test_many_are_picked_up_by_one_call(desk: Desk, worker: Agent):
    """`at_most` of them, each as if it had been picked up alone; fewer where fewer are there."""
    sent = await dropped(worker, 5)
    [three] = await batch(worker, call("pick_up", at_most=3))
    assert three["status"] == "picked_up"
    for one in three["handoffs"]:
        msgspec.convert(one, ANSWERS["pick_up"])
        assert one["receipt"]["handoff_id"] == one["handoff_id"]
    [rest, nothing] = [(await batch(worker, call("pick_up", at_most=3, wait_seconds=0)))[0] for _ in range(2)]
    assert [one["handoff_id"] for one in (*three["handoffs"], *rest["handoffs"])] == sent
    assert (nothing["status"], nothing["handoffs"]) == ("nothing_to_pick_up", [])
    leases = {one["lease_id"] for one in (*three["handoffs"], *rest["handoffs"])}
    assert set((await desk.operator.seen("/v1/agents/worker"))["holds"]) == leases
    settled = await batch(worker, *(call("complete", lease_id=lease, result={}) for lease in sorted(leases)))
    assert {answer["status"] for answer in settled} == {"completed"}


async def test_who_waits_for_many_has_them_as_soon_as_there_is_one(desk: Desk, worker: Agent, scout: Agent):
    """It does not wait until all are there, nor until its time is up."""
    waiting = asyncio.create_task(batch(worker, call("pick_up", at_most=10, wait_seconds=30)))
    await asyncio.sleep(0)
    sent = await scout.done("/v1/drop_off", {"payload": WORK})
    [found] = await within("what was dropped off", waiting)
    assert [one["handoff_id"] for one in found["handoffs"]] == [sent["handoff_id"]]


async def test_each_call_has_its_own_request_key(desk: Desk, worker: Agent):
    """The same batch again, after its answer was lost, does nothing twice and answers the same."""
    drops = [call("drop_off", key=f"d{number}", payload=WORK) for number in range(3)]
    first = await batch(worker, *drops)
    picks = [call("pick_up", key="p", at_most=2), call("pick_up", key="q")]
    picked = await batch(worker, *picks)
    again = await batch(worker, *picks)  # from now on it is known that they were told
    before = desk.stored()
    assert [one["handoff_id"] for one in await batch(worker, *drops)] == [one["handoff_id"] for one in first]
    assert _leases(await batch(worker, *picks)) == _leases(again) == _leases(picked)
    assert len(_leases(again)) == 3
    assert desk.stored() == before
    conflict, same = await batch(worker, call("drop_off", key="d0", payload=WORK, note="other"), drops[1])
    refusal(conflict, "request_conflict")
    assert same["handoff_id"] == first[1]["handoff_id"]


def _leases(answers: list[dict[str, Any]]) -> list[str]:
    return sorted(one["lease_id"] for answer in answers for one in answer.get("handoffs", [answer]))


async def test_a_paused_queue_is_said_once_for_many(desk: Desk, worker: Agent):
    await desk.operator.done("/v1/queues/research/pause", {})
    [nothing] = await batch(worker, call("pick_up", at_most=3, wait_seconds=0))
    assert (nothing["paused"], nothing["handoffs"]) == (True, [])


# ---- what is refused --------------------------------------------------------------------------------------------

REFUSED: list[tuple[Any, str, str]] = [
    (7, "arguments_invalid", "not an object"),
    ({}, "arguments_invalid", "verb: missing"),
    ({"verb": "complete_handoff"}, "arguments_invalid", "did you mean 'complete'?"),
    ({"verb": "batch"}, "arguments_invalid", "there is no 'batch'"),
    ({"verb": "drop_off", "arguments": []}, "arguments_invalid", "arguments"),
    ({"verb": "drop_off", "argument": {}}, "arguments_invalid", "did you mean 'arguments'?"),
    (call("drop_off"), "arguments_invalid", "payload: missing"),
    (call("drop_off", key="caf\xe9", payload=WORK), "arguments_invalid", "key: is no request key"),
    (call("drop_off", payload=WORK, queue="reserch"), "queue_unknown", "Did you mean 'research'?"),
    (call("drop_off", payload={"topic": "x"}), "payload_invalid", "payload.audience: missing"),
    (call("drop_off", payload=WORK | {"more": {"text": "x" * 300_000}}), "payload_too_large", "'research'"),
    (call("complete", lease_id="nonsense"), "lease_unknown", "nonsense"),
    (call("check", handoff_id="nonsense"), "handoff_unknown", "nonsense"),
    (call("pick_up", at_most=0), "arguments_invalid", "at_most"),
    (call("pick_up", at_most=101), "arguments_invalid", "at_most"),
    (call("check", handoff_id="x", at_most=1), "arguments_invalid", "at_most: unknown field"),
]


async def test_what_one_call_is_refused_touches_no_other(desk: Desk, worker: Agent):
    """Each refusal is the answer of its own call; and of a batch of refusals nothing is stored."""
    before = desk.stored()
    answers = await batch(worker, *(given for given, _, _ in REFUSED))
    for (given, code, words), answer in zip(REFUSED, answers, strict=True):
        assert words in refusal(answer, code), given
    assert desk.stored() == before

    mixed = await batch(worker, REFUSED[0][0], call("drop_off", payload=WORK), *(given for given, _, _ in REFUSED))
    assert mixed[1]["status"] == "dropped_off"
    assert [answer["status"] for answer in mixed].count("refused") == len(REFUSED) + 1


async def test_what_concerns_the_request_refuses_it_as_a_whole(desk: Desk, worker: Agent):
    """And nothing of it is done."""
    drop = call("drop_off", payload=WORK)
    whole: list[tuple[Any, str]] = [
        (b"{", "not JSON"),
        (b"[]", "not an object"),
        ({}, "calls: missing"),
        ({"calls": {}}, "calls"),
        ({"calls": [drop], "call": 1}, "call: unknown field"),
        ({"calls": [drop] * (limits.BATCH_CALLS_MAX + 1)}, "calls: too many"),
        ({"calls": [drop, call("pick_up", at_most=60), call("pick_up", at_most=41)]}, "pick up 101 handoffs"),
    ]
    before = desk.stored()
    for body, words in whole:
        assert words in problem(await worker.ask("/v1/batch", body), 422, "arguments_invalid")["detail"], words
    problem(await desk.as_agent("").ask("/v1/batch", {"calls": [drop]}), 401, "unauthenticated")
    assert desk.stored() == before
    assert await batch(worker) == []
    assert len(await batch(worker, *([drop] * limits.BATCH_CALLS_MAX))) == limits.BATCH_CALLS_MAX


async def test_8_mb_are_taken_and_more_is_cut_before_any_parser(
    desk: Desk, worker: Agent, monkeypatch: pytest.MonkeyPatch
):
    large = WORK | {"more": {"text": "x" * 250_000}}
    answers = await batch(worker, *(call("drop_off", payload=large) for _ in range(32)))
    assert {answer["status"] for answer in answers} == {"dropped_off"}
    before = desk.stored()
    monkeypatch.setattr(payload, "decode", None)  # whoever would parse now, fails
    answer = await worker.ask("/v1/batch", b" " * (BATCH_BYTES_MAX + 1))
    assert "8,388,609 bytes; the limit is 8,388,608" in problem(answer, 413, "payload_too_large")["detail"]
    assert desk.stored() == before


async def test_who_is_revoked_meanwhile_is_refused_as_a_whole(desk: Desk, elsewhere: Desk, worker: Agent):
    """The broker that answers has not heard of it; its first step finds out, and nothing was done."""
    made = await desk.operator.done("/v1/agents", {"name": "gone", "grants": ["drop:research"]})
    gone = elsewhere.as_agent(made["bearer"])
    await batch(gone, call("drop_off", payload=WORK))
    await desk.operator.done("/v1/agents/gone/revoke")
    before = desk.stored()
    answer = await gone.ask("/v1/batch", {"calls": [call("drop_off", payload=WORK), call("describe")]})
    problem(answer, 401, "unauthenticated")
    assert desk.stored() == before


async def test_a_fault_of_ours_in_one_call_is_its_own(
    desk: Desk, worker: Agent, empty_store: RedisStore, monkeypatch: pytest.MonkeyPatch
):
    async def broken(*arguments: Any) -> None:
        raise ZeroDivisionError("a secret of ours")

    monkeypatch.setattr(empty_store, "check", broken)
    checked, sent = await batch(
        worker, call("check", handoff_id="research-0000000000000000"), call("drop_off", payload=WORK)
    )
    assert "secret" not in refusal(checked, "internal_error")
    assert sent["status"] == "dropped_off"
