"""What operators are told: their own next step, and nothing of a store that they have only looked at."""

import re
from typing import Any

import pytest

from dropoff import errors
from dropoff.core.handoff import HandoffId
from dropoff.doors import verbs
from dropoff.doors.http import operators
from dropoff.doors.http.openapi import ANY_ROW
from dropoff.doors.http.operators.told import to_operator
from dropoff.doors.http.table import Row
from dropoff.errors import DropoffError, every_error
from tests.client.test_connection import example_of
from tests.doors.http.house import WORK, Agent, Desk
from tests.doors.http.test_refusals import problem

AGENTS_WORDS = re.compile(rf"\b({'|'.join(verb.tool for verb in verbs.VERBS)})\b|[Tt]ell your operator|Do not retry")
STATE = re.compile(r"Nothing was|[Nn]ot known whether")
OTHERS = (  # before any row is asked, of agents alone, or (a payload) said by `resubmit` in words of its own
    errors.HostRefused,
    errors.OriginRefused,
    errors.QueueNeeded,
    errors.PayloadInvalid,
)
NO_HANDOFF = HandoffId("research-0000000000000000")


def refusals(row: Row) -> list[DropoffError]:
    """One of each kind that this row may answer with."""
    kinds = [kind for kind in every_error() if kind.code in (*row.errors, *ANY_ROW) and kind not in OTHERS]
    found = [example_of(kind) for kind in kinds]
    return [*found, errors.BrokerUnavailable(stored="unknown")]


@pytest.mark.parametrize("row", operators.ROWS, ids=lambda row: row.name)
def test_no_operator_is_told_to_call_a_tool_or_to_ask_an_operator(row: Row):
    """And who has only looked is not told what was stored."""
    for error in refusals(row):
        said = to_operator(error, reads=row.method == "GET")
        assert not AGENTS_WORDS.search(said), said
        if row.method == "GET":
            assert not STATE.search(said), said
        else:
            assert STATE.search(said) or "was not removed" in said, said


@pytest.fixture
async def eve(desk: Desk) -> Agent:
    return await desk.agent("eve", "inspect:research")


async def test_looks_at_what_is_not_there_say_where_to_look(desk: Desk, eve: Agent):
    """Each with a command, and without a word of anything stored."""
    before = desk.stored()
    looks: dict[str, tuple[int, str, str]] = {
        f"/v1/handoffs/{NO_HANDOFF}": (404, "handoff_unknown", "dropoff handoff ls --queue research"),
        "/v1/handoffs/x": (404, "handoff_unknown", "dropoff handoff ls"),
        "/v1/handoffs?queue=reserch": (404, "queue_unknown", "dropoff queue ls"),
        "/v1/handoffs?limit=9999": (422, "arguments_invalid", "dropoff handoff ls --help"),
        "/v1/queues/reserch": (404, "queue_unknown", "Did you mean 'research'?"),
        "/v1/agents": (403, "not_allowed", "dropoff agent grant eve admin"),
    }
    for path, (status, code, words) in looks.items():
        told = problem(await eve.look(path), status, code)
        assert words in told["detail"], told
        assert "Nothing was" not in told["detail"], told
    assert desk.stored() == before


async def test_acts_that_are_refused_say_what_would_do(desk: Desk, scout: Agent, writer: Agent, eve: Agent):
    sent = (await scout.done("/v1/drop_off", {"payload": WORK}))["handoff_id"]
    lease = (await writer.done("/v1/pick_up"))["lease_id"]
    await writer.done("/v1/complete", {"lease_id": lease})
    before = desk.stored()
    ops = desk.operator
    acts: list[tuple[Agent, str, Any, tuple[int, str, str]]] = [
        (ops, f"/v1/handoffs/{NO_HANDOFF}/approve", {"digest": "x"}, (404, "handoff_unknown", "handoff ls --queue")),
        (ops, f"/v1/handoffs/{sent}/withdraw", {}, (409, "handoff_settled", f"dropoff handoff show {sent}")),
        (ops, "/v1/handoffs/x/release", {"lease_id": "x"}, (404, "lease_unknown", "handoff ls --state leased")),
        (ops, "/v1/queues/research/edit", {"lease_seconds": 0}, (422, "arguments_invalid", "queue edit --help")),
        (ops, "/v1/queues", {"name": "q", "schema": "nope"}, (404, "schema_unknown", "dropoff schema push")),
        (eve, "/v1/queues/research/pause", {}, (403, "not_allowed", "dropoff agent grant eve operate:research")),
        (ops, "/v1/agents/operator/revoke", {}, (403, "not_allowed", "dropoff agent add NAME --grant admin")),
    ]
    for who, path, body, (status, code, words) in acts:
        told = problem(await who.ask(path, body), status, code)
        assert words in told["detail"], told
        assert "Nothing was changed." in told["detail"], told
    assert desk.stored() == before


async def test_an_operator_withdraws_at_an_address_of_its_own(desk: Desk, scout: Agent, writer: Agent):
    """What waits is gone, what is held is asked for; and its sender may do the same there."""
    sent = [(await scout.done("/v1/drop_off", {"payload": WORK}))["handoff_id"] for _ in range(2)]
    held = (await writer.done("/v1/pick_up"))["handoff_id"]
    waits = next(id for id in sent if id != held)
    gone = await scout.done(f"/v1/handoffs/{waits}/withdraw", {"reason": "wrong season"})
    assert (gone["status"], gone["handoff_id"]) == ("withdrawn", waits)
    asked = await desk.operator.done(f"/v1/handoffs/{held}/withdraw", {})
    assert asked["status"] == "withdrawal_asked"
    assert (await desk.operator.seen(f"/v1/handoffs/{waits}"))["reason"] == "wrong season"


async def test_who_is_frozen_is_told_how_it_ends(desk: Desk):
    second = await desk.agent("second", "admin")
    await desk.operator.done("/v1/agents/second/freeze", {})
    told = problem(await second.look("/v1/agents"), 403, "frozen")
    assert "dropoff agent thaw second" in told["detail"]


def test_everything_that_is_frozen_has_another_end():
    assert "dropoff thaw" in to_operator(errors.Frozen(), reads=False)
