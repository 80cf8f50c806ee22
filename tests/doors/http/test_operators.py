"""What operators do and read by plain HTTP, and that nobody else may."""

import re
from typing import Any

import pytest

from dropoff.doors.http import operators
from tests.doors.http.house import BRIEF, WORK, Agent, Desk
from tests.doors.http.test_refusals import problem


async def test_a_set_up_can_be_made_and_made_again(desk: Desk):
    """Schema and queue, twice: the second time they are what they were."""
    ops = desk.operator
    pushed = await ops.done("/v1/schemas/draft", BRIEF)
    assert (pushed["schema"], pushed["new"]) == ("draft@1", True)
    queue = {"name": "drafts", "schema": "draft", "purpose": "For the writer.", "lease_seconds": 60, "max_bytes": 1000}
    made = await ops.done("/v1/queues", queue)
    assert made == {
        "name": "drafts",
        "waiting": 0,
        "waiting_of": {},
        "leased": 0,
        "scheduled": 0,
        "held": 0,
        "dead": 0,
        "ended": 0,
        "pickers": 0,
        "oldest_seconds": 0,
        "in_per_minute": 0.0,
        "out_per_minute": 0.0,
        "schema": "draft@1",
        "result_schema": "",
        "state": "open",
        "reason": "",
        "purpose": "For the writer.",
        "lease_seconds": 60,
        "max_attempts": 5,
        "max_bytes": 1000,
        "max_waiting": 1_000_000,
        "approval": False,
        "expires_seconds": 0,
        "retention_seconds": 2_592_000,
    }
    before = desk.stored()
    again = await ops.done("/v1/schemas/draft", BRIEF)
    assert (again["schema"], again["hash"], again["new"]) == ("draft@1", pushed["hash"], False)
    assert (await ops.done("/v1/queues", queue)) == made
    assert (await ops.seen("/v1/queues/drafts")) == made
    assert [one["name"] for one in (await ops.seen("/v1/queues"))["queues"]] == ["drafts", "research"]
    assert desk.stored() == before

    assert (await ops.seen("/v1/schemas/draft")) == {"schema": "draft@1", "hash": pushed["hash"], "content": BRIEF}
    assert (await ops.seen("/v1/schemas/draft@1"))["hash"] == pushed["hash"]
    assert {"schema": "draft@1", "hash": pushed["hash"]} in (await ops.seen("/v1/schemas"))["schemas"]


async def test_an_agents_life(desk: Desk):
    """Made with a bearer that works, given and taken grants, revoked; each in force on return."""
    ops = desk.operator
    made = await ops.done("/v1/agents", {"name": "scout", "grants": ["drop:research"]})
    assert set(made) == {"agent", "grants", "bearer"}
    scout = desk.as_agent(made["bearer"])
    await scout.done("/v1/drop_off", {"payload": WORK})
    problem(await scout.ask("/v1/pick_up"), 403, "not_allowed")

    given = await ops.done("/v1/agents/scout/grant", {"grants": ["pick:research"]})
    assert given["grants"] == ["drop:research", "pick:research"]
    lease = (await scout.done("/v1/pick_up"))["lease_id"]
    shown = await ops.seen("/v1/agents/scout")
    assert (shown["holds"], shown["standing"], len(shown["credentials"])) == ([lease], "active", 1)
    assert made["bearer"] not in str(shown)

    taken = await ops.done("/v1/agents/scout/ungrant", {"grants": ["drop:research"]})
    assert taken["grants"] == ["pick:research"]
    assert taken["in_force"] == "everywhere"
    problem(await scout.ask("/v1/drop_off", {"queue": "research", "payload": WORK}), 403, "not_allowed")

    gone = await ops.done("/v1/agents/scout/revoke", {"reason": "left the company"})
    assert (gone["standing"], gone["reason"], gone["in_force"]) == ("revoked", "left the company", "everywhere")
    problem(await scout.ask("/v1/describe"), 401, "unauthenticated")
    names = {one["agent"]: one["standing"] for one in (await ops.seen("/v1/agents"))["agents"]}
    assert names == {"operator": "active", "scout": "revoked"}


async def test_handoffs_are_listed_the_urgent_first(desk: Desk, scout: Agent, writer: Agent):
    await desk.queue("other", {"type": "object"})
    await desk.operator.done("/v1/agents/scout/grant", {"grants": ["drop:other"]})
    sent = [(await scout.done("/v1/drop_off", {"queue": "research", "payload": WORK}))["handoff_id"] for _ in range(3)]
    elsewhere = (await scout.done("/v1/drop_off", {"queue": "other", "payload": {}}))["handoff_id"]
    done = await writer.done("/v1/pick_up")
    await writer.done("/v1/complete", {"lease_id": done["lease_id"], "result": {}})
    held = await writer.done("/v1/pick_up")

    found = await desk.operator.seen("/v1/handoffs")
    assert [one["state"] for one in found["handoffs"]] == ["leased", "waiting", "waiting", "completed"]
    assert found["count"] == 4
    assert found["handoffs"][0] | {"lease_id": held["lease_id"], "held_by": "writer"} == found["handoffs"][0]
    assert {one["handoff_id"] for one in found["handoffs"]} == {*sent, elsewhere}
    only = await desk.operator.seen("/v1/handoffs?queue=research&state=waiting")
    assert [one["handoff_id"] for one in only["handoffs"]] == sent[2:]
    assert (await desk.operator.seen("/v1/handoffs?limit=1"))["count"] == 1

    inspector = await desk.agent("eve", "inspect:other")
    assert [one["handoff_id"] for one in (await inspector.seen("/v1/handoffs"))["handoffs"]] == [elsewhere]
    problem(await inspector.look("/v1/handoffs?queue=research"), 404, "queue_unknown")


async def test_one_handoff_is_shown_whole(desk: Desk, scout: Agent, writer: Agent):
    sent = await scout.done("/v1/drop_off", {"payload": WORK, "note": "soon"})
    lease = (await writer.done("/v1/pick_up"))["lease_id"]
    await writer.done("/v1/complete", {"lease_id": lease, "result": {"found": 3}})
    before = desk.stored()
    whole = await desk.operator.seen(f"/v1/handoffs/{sent['handoff_id']}")
    assert (whole["payload"], whole["result"], whole["note"]) == (WORK, {"found": 3}, "soon")
    assert [entry["step"] for entry in whole["entries"]] == ["drop_off", "pick_up", "complete"]
    assert [entry["actor"] for entry in whole["entries"]] == ["scout", "writer", "writer"]
    assert desk.stored() == before
    problem(await desk.operator.look("/v1/handoffs/research-0000000000000000"), 404, "handoff_unknown")
    problem(await scout.look(f"/v1/handoffs/{sent['handoff_id']}"), 404, "handoff_unknown")


async def test_the_ledger_is_read_page_by_page(desk: Desk, scout: Agent):
    for _ in range(3):
        await scout.done("/v1/drop_off", {"payload": WORK})
    every = (await desk.operator.seen("/v1/ledger?after=0-0&limit=1000"))["entries"]
    assert every == (await desk.operator.seen("/v1/ledger"))["entries"]
    pages: list[Any] = []
    after = "0-0"
    while page := (await desk.operator.seen(f"/v1/ledger?after={after}&limit=2"))["entries"]:
        pages += page
        after = page[-1]["id"]
    assert pages == every
    assert [entry["step"] for entry in every][-3:] == ["drop_off"] * 3
    end = await desk.operator.seen(f"/v1/ledger?after={after}")
    assert end == {"entries": [], "next": after}
    newest = await desk.operator.seen("/v1/ledger?limit=2")
    assert (newest["entries"], newest["next"]) == (every[-2:], every[-1]["id"])


NO_HANDOFF = "research-0000000000000000"
ACTS: dict[str, Any] = {
    "/v1/queues": {"name": "mine", "schema": "research"},
    "/v1/schemas/mine": {"type": "object"},
    "/v1/schemas/mine/compare": {"type": "object"},
    "/v1/agents": {"name": "friend", "grants": ["admin"]},
    "/v1/agents/scout/grant": {"grants": ["admin"]},
    "/v1/agents/scout/ungrant": {"grants": ["drop:research"]},
    "/v1/agents/scout/freeze": {},
    "/v1/agents/scout/thaw": {},
    "/v1/agents/operator/revoke": {},
    "/v1/doctor/mend": {},
    "/v1/freeze": {"reason": "mine"},
    "/v1/thaw": {},
    "/v1/queues/research/edit": {"purpose": "Mine."},
    "/v1/queues/research/remove": {},
}
OPERATING: dict[str, Any] = {
    "/v1/queues/research/pause": {"reason": "mine"},
    "/v1/queues/research/drain": {"reason": "mine"},
    "/v1/queues/research/resume": {},
    f"/v1/handoffs/{NO_HANDOFF}/approve": {"digest": "0"},
    f"/v1/handoffs/{NO_HANDOFF}/deny": {"digest": "0"},
    f"/v1/handoffs/{NO_HANDOFF}/release": {"lease_id": f"{NO_HANDOFF}.1"},
    f"/v1/handoffs/{NO_HANDOFF}/resubmit": {},
    f"/v1/handoffs/{NO_HANDOFF}/withdraw": {},
}
READS = (
    "/v1/schemas",
    "/v1/schemas/research",
    "/v1/agents",
    "/v1/agents/operator",
    "/v1/ledger",
    "/v1/doctor",
)
INSPECTING = (
    "/v1/queues",
    "/v1/queues/research",
    "/v1/queues/research/rejections",
    "/v1/handoffs",
    f"/v1/handoffs/{NO_HANDOFF}",
    "/v1/freeze",
)


def test_every_row_is_asked_for_here():
    """A new one has to say for whom it is."""
    asked = {path.replace(NO_HANDOFF, "{id}") for path in (*ACTS, *OPERATING, *READS, *INSPECTING)}
    named = {re.sub(r"/(mine|research|scout|operator)\b", "/{name}", path) for path in asked}
    assert named == {row.path for row in operators.ROWS}


async def test_operators_acts_are_for_admins(desk: Desk):
    """Whatever else an agent may do; and what is asked for in vain tells nothing."""
    scout = await desk.agent("scout", "drop:*", "pick:*", "inspect:*", "operate:*")
    before = desk.stored()
    for path, body in ACTS.items():
        problem(await scout.ask(path, body), 403, "not_allowed")
    for path in READS:
        problem(await scout.look(path), 403, "not_allowed")
    told = problem(await scout.ask("/v1/queues", {"name": "mine", "schema": "none-such"}), 403, "not_allowed")
    assert "research@1" not in told["detail"]
    assert desk.stored() == before


async def test_a_revoked_operator_is_refused_at_once(desk: Desk, elsewhere: Desk):
    """On a broker too that has not heard of it, for acts that would change nothing as well, and for every read."""
    asks = [("POST", path, body) for path, body in (ACTS | OPERATING | {"/v1/schemas/research": BRIEF}).items()]
    asks += [("GET", path, None) for path in (*READS, *INSPECTING)]
    for number, (method, path, body) in enumerate(asks):
        # A new one each time: with the first refusal the broker has heard of it.
        made = await desk.operator.done("/v1/agents", {"name": f"second-{number}", "grants": ["admin"]})
        second = elsewhere.as_agent(made["bearer"])
        await second.seen("/v1/queues")
        await desk.operator.done(f"/v1/agents/second-{number}/revoke")
        before = desk.stored()
        answer = await second.ask(path, body) if method == "POST" else await second.look(path)
        problem(answer, 401, "unauthenticated")
        assert desk.stored() == before, path


REFUSED: list[tuple[str, Any, int, str, str]] = [
    (
        "/v1/queues",
        {"name": "x", "schema": "research", "accepts": 1},
        422,
        "arguments_invalid",
        "accepts: unknown field",
    ),
    (
        "/v1/queues",
        {"name": "x", "schema": "research", "lease_seconds": "60"},
        422,
        "arguments_invalid",
        "lease_seconds",
    ),
    ("/v1/queues", {"name": "x", "schema": "research", "lease_seconds": 0}, 422, "arguments_invalid", "not between"),
    ("/v1/queues", {"name": "x", "schema": "research", "lease_seconds": 4}, 422, "arguments_invalid", "between 5 and"),
    ("/v1/queues", {"name": "X y", "schema": "research"}, 422, "arguments_invalid", "no name"),
    ("/v1/queues", {"name": "x", "schema": "reserch"}, 404, "schema_unknown", "research@1"),
    ("/v1/queues", {"name": "research", "schema": "research", "purpose": "z"}, 409, "queue_exists", "purpose"),
    ("/v1/schemas/x", {"type": "array"}, 422, "schema_refused", "object"),
    ("/v1/schemas/X", {"type": "object"}, 422, "arguments_invalid", "no name"),
    ("/v1/agents", {"name": "x", "grants": ["drap:research"]}, 422, "arguments_invalid", "did you mean 'drop'"),
    ("/v1/agents", {"name": "x", "grants": "admin"}, 422, "arguments_invalid", "grants"),
    ("/v1/agents", {"name": "upkeep"}, 422, "arguments_invalid", "reserved"),
    ("/v1/agents", {"name": "operator"}, 409, "agent_exists", "operator"),
    ("/v1/agents/nobody/grant", {"grants": ["admin"]}, 404, "agent_unknown", "nobody"),
    ("/v1/agents/operator/grant", {}, 422, "arguments_invalid", "grants: missing"),
    ("/v1/agents/operator/revoke", {"reason": "x" * 501}, 422, "arguments_invalid", "reason"),
    ("/v1/agents/operator/freeze", {}, 403, "not_allowed", "the last admin"),
    ("/v1/agents/nobody/thaw", {}, 404, "agent_unknown", "nobody"),
    ("/v1/agents/*/revoke", {}, 404, "agent_unknown", "*"),
    ("/v1/agents/*/grant", {"grants": ["admin"]}, 404, "agent_unknown", "*"),
    ("/v1/freeze", {"reason": "x" * 501}, 422, "arguments_invalid", "reason"),
    ("/v1/queues", {"name": "x", "schema": "research", "approval": 1}, 422, "arguments_invalid", "approval"),
    ("/v1/queues", {"name": "x", "schema": "research", "expires_seconds": -1}, 422, "arguments_invalid", "not between"),
    ("/v1/queues", {"name": "x", "schema": "research", "retention_seconds": 1}, 422, "arguments_invalid", "between"),
    ("/v1/queues/research/edit", {"schema": "other"}, 404, "schema_unknown", "research@1"),
    ("/v1/queues/research/edit", {"dry_run": 1}, 422, "arguments_invalid", "dry_run"),
    ("/v1/queues/research/edit", {"incompatible": "yes"}, 422, "arguments_invalid", "incompatible"),
    ("/v1/queues/research/edit", {"lease_seconds": 0}, 422, "arguments_invalid", "not between"),
    ("/v1/queues/research/edit", {"max_waiting": "9"}, 422, "arguments_invalid", "max_waiting"),
    ("/v1/queues/reserch/edit", {"purpose": "x"}, 404, "queue_unknown", "reserch"),
    ("/v1/queues/reserch/pause", {}, 404, "queue_unknown", "reserch"),
    ("/v1/queues/research/pause", {"reason": "x" * 501}, 422, "arguments_invalid", "reason"),
    ("/v1/queues/research/resume", {"reason": "x"}, 422, "arguments_invalid", "reason: unknown field"),
    ("/v1/queues/reserch/remove", {}, 404, "queue_unknown", "reserch"),
    (f"/v1/handoffs/{NO_HANDOFF}/approve", {"digest": "0"}, 404, "handoff_unknown", NO_HANDOFF),
    (f"/v1/handoffs/{NO_HANDOFF}/deny", {}, 422, "arguments_invalid", "digest: missing"),
    (f"/v1/handoffs/{NO_HANDOFF}/release", {"lease_id": "nonsense"}, 404, "lease_unknown", "nonsense"),
    (f"/v1/handoffs/{NO_HANDOFF}/release", {"lease_id": f"{NO_HANDOFF}.1"}, 404, "handoff_unknown", NO_HANDOFF),
    (f"/v1/handoffs/{NO_HANDOFF}/resubmit", {}, 404, "handoff_unknown", NO_HANDOFF),
    ("/v1/handoffs/nonsense/resubmit", {}, 404, "handoff_unknown", "nonsense"),
]


async def test_what_is_wrong_is_named_and_nothing_changed(desk: Desk):
    before = desk.stored()
    for path, body, status, code, words in REFUSED:
        told = problem(await desk.operator.ask(path, body), status, code)
        assert words in told["detail"], (path, body)
        assert desk.stored() == before, (path, body)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/handoffs?state=lost", "state"),
        ("/v1/handoffs?limit=0", "limit"),
        ("/v1/handoffs?limit=many", "limit"),
        ("/v1/handoffs?limit=999999999999999999999", "limit"),
        ("/v1/handoffs?quue=research", "did you mean 'queue'"),
        ("/v1/handoffs?limit=1&limit=2", "twice"),
        ("/v1/ledger?after=yesterday", "after"),
        ("/v1/ledger?after=1-0%0a", "after"),
        ("/v1/queues?all=1", "all: unknown field"),
    ],
)
async def test_a_query_is_judged_like_a_body(desk: Desk, path: str, words: str):
    assert words in problem(await desk.operator.look(path), 422, "arguments_invalid")["detail"]
