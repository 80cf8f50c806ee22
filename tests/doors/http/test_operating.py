"""What operators do to queues, agents and handoffs while work goes on: stopped, let go on, judged, put back."""

from typing import Any

import pytest

from tests.doors.http.house import BRIEF, WORK, Agent, Desk
from tests.doors.http.test_refusals import problem


@pytest.fixture
async def keeper(desk: Desk) -> Agent:
    """Somebody who may operate the queue, and nothing else: neither inspect it nor administer."""
    return await desk.agent("keeper", "operate:research")


# ---- queues -----------------------------------------------------------------------------------------------------


async def test_a_paused_queue_takes_work_and_gives_none(desk: Desk, scout: Agent, writer: Agent, keeper: Agent):
    """Who may operate it may pause and open it, and sees what came of that."""
    sent = await scout.done("/v1/drop_off", {"payload": WORK})
    paused = await keeper.done("/v1/queues/research/pause", {"reason": "release freeze"})
    assert (paused["state"], paused["reason"], paused["waiting"]) == ("paused", "release freeze", 1)
    assert paused == await desk.operator.seen("/v1/queues/research")
    await scout.done("/v1/drop_off", {"payload": WORK})
    nothing = await writer.done("/v1/pick_up", {"wait_seconds": 0})
    assert (nothing["status"], nothing["paused"]) == ("nothing_to_pick_up", True)

    opened = await keeper.done("/v1/queues/research/resume")
    assert (opened["state"], opened["reason"], opened["waiting"]) == ("open", "", 2)
    assert (await writer.done("/v1/pick_up"))["handoff_id"] == sent["handoff_id"]
    assert "paused" not in await writer.done("/v1/pick_up") | await writer.done("/v1/pick_up", {"wait_seconds": 0})


async def test_a_draining_queue_gives_work_and_takes_none(desk: Desk, scout: Agent, writer: Agent, keeper: Agent):
    await scout.done("/v1/drop_off", {"payload": WORK})
    drained = await keeper.done("/v1/queues/research/drain", {"reason": "moving"})
    assert drained["state"] == "draining"
    before = desk.stored()
    told = problem(await scout.ask("/v1/drop_off", {"payload": WORK}), 403, "queue_draining")
    assert '("moving")' in told["detail"]
    assert desk.stored() == before
    assert (await writer.done("/v1/pick_up"))["status"] == "picked_up"


async def test_an_act_that_is_so_already_changes_nothing(desk: Desk, keeper: Agent):
    await keeper.done("/v1/queues/research/pause", {"reason": "x"})
    before = desk.stored()
    await keeper.done("/v1/queues/research/pause", {"reason": "x"})
    await desk.operator.done("/v1/queues/research/edit", {})
    await desk.operator.done("/v1/queues/research/edit", {"lease_seconds": 300})
    assert desk.stored() == before


async def test_a_queue_is_made_and_edited_setting_by_setting(desk: Desk):
    """What is not said stays; a text may be emptied."""
    settings = {"approval": True, "expires_seconds": 60, "retention_seconds": 3600, "purpose": "For people."}
    made = await desk.queue("review", {"type": "object"}, **settings)
    assert made | settings == made
    changes: dict[str, Any] = {"approval": False, "expires_seconds": 0, "retention_seconds": 60, "purpose": ""}
    changes |= {"lease_seconds": 30, "max_attempts": 2, "max_bytes": 1000, "max_waiting": 5}
    for name, value in changes.items():
        made |= {name: value}
        assert await desk.operator.done("/v1/queues/review/edit", {name: value}) == made
    assert await desk.operator.seen("/v1/queues/review") == made


async def test_an_edit_of_work_under_way_is_for_admins(desk: Desk, keeper: Agent):
    """Who may operate a queue may stop it, and not change its contract."""
    before = desk.stored()
    problem(await keeper.ask("/v1/queues/research/edit", {"max_waiting": 1}), 403, "not_allowed")
    problem(await keeper.ask("/v1/queues/research/remove"), 403, "not_allowed")
    assert desk.stored() == before


async def test_a_queue_is_removed_with_what_ended_in_it_and_not_with_what_goes_on(
    desk: Desk, scout: Agent, writer: Agent
):
    await scout.done("/v1/drop_off", {"payload": WORK})
    lease = (await writer.done("/v1/pick_up"))["lease_id"]
    before = desk.stored()
    told = problem(await desk.operator.ask("/v1/queues/research/remove"), 409, "queue_not_empty")
    assert "still holds 1 handoff (1 leased)." in told["detail"]
    assert desk.stored() == before

    await writer.done("/v1/complete", {"lease_id": lease})
    assert await desk.operator.done("/v1/queues/research/remove") == {"queue": "research", "erased": 1}
    problem(await desk.operator.look("/v1/queues/research"), 404, "queue_unknown")
    problem(await desk.operator.ask("/v1/queues/research/remove"), 404, "queue_unknown")


# ---- freezes ----------------------------------------------------------------------------------------------------


async def test_a_frozen_agent_takes_no_step_until_it_is_thawed(desk: Desk, scout: Agent, writer: Agent):
    await scout.done("/v1/drop_off", {"payload": WORK})
    lease = (await writer.done("/v1/pick_up"))["lease_id"]
    frozen = await desk.operator.done("/v1/agents/writer/freeze", {"reason": "it loops"})
    assert (frozen["standing"], frozen["reason"], frozen["in_force"]) == ("frozen", "it loops", "everywhere")
    assert (await desk.operator.seen("/v1/agents/writer"))["standing"] == "frozen"
    before = desk.stored()
    problem(await writer.ask("/v1/complete", {"lease_id": lease}), 403, "frozen")
    problem(await writer.ask("/v1/pick_up", {"wait_seconds": 0}), 403, "frozen")
    assert desk.stored() == before
    await scout.done("/v1/drop_off", {"payload": WORK})

    thawed = await desk.operator.done("/v1/agents/writer/thaw", {"reason": "mended"})
    assert thawed["standing"] == "active"
    await writer.done("/v1/complete", {"lease_id": lease})


async def test_everything_is_frozen_and_thawed(desk: Desk, scout: Agent, writer: Agent):
    """Agents are refused, operators are not; whoever looks at the queues sees it."""
    await scout.done("/v1/drop_off", {"payload": WORK})
    open_for_all = {"standing": "active", "reason": "", "in_force": "everywhere"}
    assert await desk.operator.seen("/v1/freeze") == open_for_all
    frozen = await desk.operator.done("/v1/freeze", {"reason": "incident 7"})
    assert frozen == {"standing": "frozen", "reason": "incident 7", "in_force": "everywhere"}
    assert await desk.operator.seen("/v1/freeze") == frozen
    listed = await desk.operator.seen("/v1/queues")
    assert (listed["frozen"], listed["frozen_reason"]) == (True, "incident 7")

    before = desk.stored()
    problem(await scout.ask("/v1/drop_off", {"payload": WORK}), 403, "frozen")
    problem(await writer.ask("/v1/pick_up", {"wait_seconds": 0}), 403, "frozen")
    assert desk.stored() == before
    await desk.operator.done("/v1/queues/research/pause", {"reason": "meanwhile"})
    await desk.operator.done("/v1/queues/research/resume")

    assert (await desk.operator.done("/v1/thaw", {"reason": "over"}))["standing"] == "active"
    listed = await desk.operator.seen("/v1/queues")
    assert (listed["frozen"], listed["frozen_reason"]) == (False, "over")
    assert (await writer.done("/v1/pick_up"))["status"] == "picked_up"


# ---- approval ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def held(desk: Desk) -> dict[str, Any]:
    """What an agent dropped off into a queue that wants approval, whole."""
    await desk.queue("review", BRIEF, approval=True)
    sender = await desk.agent("sender", "drop:review", "operate:review")
    sent = await sender.done("/v1/drop_off", {"payload": WORK})
    assert (sent["status"], "approve" in sent["hint"], "warning" in sent) == ("held", True, False)
    whole = await desk.operator.seen(f"/v1/handoffs/{sent['handoff_id']}")
    assert whole["state"] == "held"
    return whole | {"sender": sender}


async def test_what_is_held_goes_on_once_somebody_else_approves(desk: Desk, held: dict[str, Any]):
    picker = await desk.agent("picker", "pick:review")
    path = f"/v1/handoffs/{held['handoff_id']}/approve"
    before = desk.stored()
    assert (await picker.done("/v1/pick_up", {"wait_seconds": 0}))["status"] == "nothing_to_pick_up"
    told = problem(await desk.operator.ask(path, {"digest": "0" * 64}), 409, "digest_differs")
    assert "dropoff handoff show" in told["detail"]
    problem(await held["sender"].ask(path, {"digest": held["digest"]}), 403, "approval_needs_another")
    problem(await picker.ask(path, {"digest": held["digest"]}), 403, "not_allowed")
    assert _but_pickers(desk.stored()) == _but_pickers(before)

    done = await desk.operator.done(path, {"digest": held["digest"], "reason": "read it"})
    assert (done["handoff_id"], done["state"]) == (held["handoff_id"], "waiting")
    assert done["receipt"]["handoff_id"] == held["handoff_id"]
    assert await desk.operator.done(path, {"digest": held["digest"], "reason": "read it"}) == done
    assert (await picker.done("/v1/pick_up"))["handoff_id"] == held["handoff_id"]
    after = desk.stored()
    problem(await desk.operator.ask(path.replace("approve", "deny"), {"digest": held["digest"]}), 409, "handoff_moved")
    assert desk.stored() == after


async def test_what_is_denied_is_rejected_and_its_sender_reads_why(desk: Desk, held: dict[str, Any]):
    path = f"/v1/handoffs/{held['handoff_id']}/deny"
    done = await desk.operator.done(path, {"digest": held["digest"], "reason": "too costly"})
    assert done["state"] == "rejected"
    read = await held["sender"].done("/v1/check", {"handoff_id": held["handoff_id"]})
    assert (read["state"], read["reason"]) == ("rejected", "too costly")


def _but_pickers(stored: dict[bytes, Any]) -> dict[bytes, Any]:
    """Who asked for work is noted, whatever came of it."""
    return {key: value for key, value in stored.items() if not key.endswith(b":pickers")}


# ---- handoffs ---------------------------------------------------------------------------------------------------


async def test_without_a_grant_a_handoff_is_not_there(desk: Desk, scout: Agent):
    """Whatever is asked of it, a stranger hears the same of one that is there and of one that is not."""
    there = (await scout.done("/v1/drop_off", {"payload": WORK}))["handoff_id"]
    stranger = await desk.agent("stranger", "operate:other")
    asks: dict[str, dict[str, str]] = {
        "approve": {"digest": "0"},
        "deny": {"digest": "0"},
        "release": {"lease_id": "{id}.1"},
        "resubmit": {},
    }
    before = desk.stored()
    for verb, body in asks.items():
        told: list[str] = []
        for one in (there, "research-0000000000000000"):
            given = {name: value.format(id=one) for name, value in body.items()}
            answer = await stranger.ask(f"/v1/handoffs/{one}/{verb}", given)
            told.append(problem(answer, 404, "handoff_unknown")["detail"].replace(one, "…"))
        assert told[0] == told[1]
    assert desk.stored() == before


async def test_just_the_lease_that_was_seen_is_released(desk: Desk, scout: Agent, writer: Agent, keeper: Agent):
    """Work goes back from a holder that hangs, and counts as no failure; a later lease is not touched."""
    sent = await scout.done("/v1/drop_off", {"payload": WORK})
    other = await scout.done("/v1/drop_off", {"payload": WORK})
    first = (await writer.done("/v1/pick_up", {}, idempotency_key="a"))["lease_id"]
    path = f"/v1/handoffs/{sent['handoff_id']}/release"
    before = desk.stored()
    told = problem(
        await keeper.ask(f"/v1/handoffs/{other['handoff_id']}/release", {"lease_id": first}), 422, "arguments_invalid"
    )
    assert "names another handoff" in told["detail"]
    problem(await writer.ask(path, {"lease_id": first}), 403, "not_allowed")
    assert desk.stored() == before

    done = await keeper.done(path, {"lease_id": first, "reason": "hangs"})
    assert done["state"] == "waiting"
    problem(await writer.ask("/v1/complete", {"lease_id": first}), 409, "lease_lost")
    assert (await writer.done("/v1/pick_up"))["handoff_id"] == other["handoff_id"]  # what comes back goes to the end
    again = await writer.done("/v1/pick_up")
    assert (again["handoff_id"], again["attempt"]) == (sent["handoff_id"], 1)
    after = desk.stored()
    assert (await keeper.done(path, {"lease_id": first, "reason": "hangs"}))["receipt"] == done["receipt"]  # said again
    problem(await desk.operator.ask(path, {"lease_id": first}), 409, "handoff_moved")
    assert desk.stored() == after


async def test_what_ended_is_put_back_once_as_a_new_one_that_names_it(desk: Desk, scout: Agent, writer: Agent):
    sent = await scout.done("/v1/drop_off", {"payload": WORK, "note": "soon"})
    path = f"/v1/handoffs/{sent['handoff_id']}/resubmit"
    before = desk.stored()
    problem(await desk.operator.ask(path), 409, "handoff_moved")
    assert desk.stored() == before

    lease = (await writer.done("/v1/pick_up"))["lease_id"]
    await writer.done("/v1/hand_back", {"lease_id": lease, "outcome": "impossible", "reason": "no"})
    new = await desk.operator.done(path)
    assert (new["status"], new["queue"]) == ("dropped_off", "research")
    assert new["handoff_id"] != sent["handoff_id"]
    assert new["receipt"]["handoff_id"] == new["handoff_id"]
    assert (await desk.operator.done(path))["handoff_id"] == new["handoff_id"]
    whole = await desk.operator.seen(f"/v1/handoffs/{new['handoff_id']}")
    assert (whole["resubmit_of"], whole["payload"], whole["note"]) == (sent["handoff_id"], WORK, "soon")
    picked = await writer.done("/v1/pick_up")
    assert (picked["handoff_id"], picked["payload"], picked["note"]) == (new["handoff_id"], WORK, "soon")


async def test_both_ends_of_a_forwarding_are_shown(desk: Desk, scout: Agent):
    """`next` and `parent` name each other; what expires says when."""
    await desk.queue("drafts", {"type": "object"}, expires_seconds=60)
    worker = await desk.agent("worker", "pick:research", "drop:drafts")
    sent = await scout.done("/v1/drop_off", {"payload": WORK})
    lease = (await worker.done("/v1/pick_up"))["lease_id"]
    done = await worker.done("/v1/complete", {"lease_id": lease, "next": {"payload": {"text": "owls"}}})
    one = await desk.operator.seen(f"/v1/handoffs/{sent['handoff_id']}")
    other = await desk.operator.seen(f"/v1/handoffs/{done['next_handoff_id']}")
    assert (one["next"], other["parent"]) == (other["handoff_id"], one["handoff_id"])
    assert other["expires_at"] > other["dropped_off_at"]
    assert "expires_at" not in one
