"""The whole round and every refusal, as the users of the TypeScript clients see them.

Agents in TypeScript call a real broker; what their client gave them, or threw at them, is held against the story told
here. Both clients compile the outputSchema of each tool that is listed, and throw away an answer that does not fit it;
1.x does so with refusals, too. One test proves that they do: to have passed a guard who sleeps says nothing.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import pytest

from dropoff.errors import Unauthenticated
from tests.typescript.conftest import Agent, Client, Desk

WORK: Final = {"topic": "heat pumps", "audience": "exec"}
FOUND: Final = {"answer": "they pay off", "sources": 3}
NO_ID: Final = "0000000000000000"


def picked_up(desk: Desk) -> dict[str, Any]:
    """What the writer has got of the scout, a moment ago."""
    sent = desk.scout.done("drop_off", payload=WORK, note="by Friday")
    picked = desk.writer.done("pick_up", wait_seconds=0)
    assert picked["handoff_id"] == sent["handoff_id"]
    return picked


# ---- the round -----------------------------------------------------------------------------------------------------


def test_the_whole_round(desk: Desk):
    """Each verb once, and the ledger has these steps of this queue and no other."""
    scout, writer = desk.scout, desk.writer
    [described] = scout.done("describe_queues")["queues"]
    assert (described["queue"], described["you_may"]) == (desk.queue, ["drop off into"])
    assert writer.done("pick_up", wait_seconds=0)["status"] == "nothing_to_pick_up"

    picked = picked_up(desk)
    assert (picked["from_agent"], picked["note"], picked["payload"]) == (scout.name, "by Friday", WORK)
    handoff_id, lease_id = picked["handoff_id"], picked["lease_id"]

    kept = writer.done("extend_lease", lease_id=lease_id, progress="reading")
    assert (kept["status"], kept["withdrawal_asked"]) == ("extended", False)
    checked = scout.done("check_handoff", handoff_id=handoff_id)
    assert (checked["state"], checked["held_by"], checked["progress"]) == ("leased", writer.name, "reading")

    back = writer.done("hand_back", lease_id=lease_id, outcome="not_for_me", checkpoint={"read": 3})
    assert (back["status"], back["state"]) == ("handed_back", "waiting")
    again = writer.done("pick_up", wait_seconds=0)
    assert (again["handoff_id"], again["checkpoint"]) == (handoff_id, {"read": 3})

    for _ in range(2):  # the second time it is the same success
        done = writer.done("complete_handoff", lease_id=again["lease_id"], result=FOUND)
        assert done == {"status": "completed", "handoff_id": handoff_id}
    checked = scout.done("check_handoff", handoff_id=handoff_id)
    assert (checked["status"], checked["state"], checked["result"]) == ("found", "completed", FOUND)

    unwanted = scout.done("drop_off", payload=WORK)["handoff_id"]
    assert scout.done("withdraw_handoff", handoff_id=unwanted)["status"] == "withdrawn"
    assert desk.steps() == [
        *("put_queue", "drop_off", "pick_up", "extend", "release", "pick_up", "complete", "drop_off", "withdraw")
    ]


def test_each_agent_sees_the_tools_that_it_may_use(desk: Desk):
    """The client takes the list as it is, with the queue's contract inside."""
    tools = desk.scout.tools()
    assert list(tools) == ["drop_off", "check_handoff", "withdraw_handoff", "describe_queues"]
    assert tools["drop_off"]["inputSchema"]["properties"]["payload"]["required"] == ["topic", "audience"]
    assert [name for name in desk.writer.tools() if name not in tools] == [
        *("pick_up", "complete_handoff", "hand_back", "extend_lease")
    ]


def test_a_request_key_makes_a_repeated_call_the_same_call(desk: Desk):
    """The client hands on `_meta` both ways: one key is one handoff and one receipt, another key is another handoff."""
    first, again, other = [
        desk.scout.call("drop_off", {"dropoff/request": key}, payload=WORK) for key in ("call-1", "call-1", "call-2")
    ]
    assert again.content["handoff_id"] == first.content["handoff_id"] != other.content["handoff_id"]
    assert again.meta["dropoff/receipt"] == first.meta["dropoff/receipt"]
    assert first.meta["dropoff/receipt"]["durability"] == "fsynced"
    assert desk.steps().count("drop_off") == 2


# ---- what is refused -----------------------------------------------------------------------------------------------


def test_the_clients_throw_away_what_a_tool_does_not_advertise(desk: Desk, client: Client):
    """The proof that the answers and refusals of these tests have passed a guard that is awake."""
    seen = desk.scout.seen("describe_queues", spoil=True)
    assert "does not match the tool's output schema" in seen["threw"]["message"]
    assert desk.scout.done("describe_queues")["status"] == "described"

    seen = desk.scout.seen("drop_off", payload={}, spoil=True)
    assert ("threw" in seen) == (client.name == "sdk 1.x"), "2.x looks at no refusal"


class Refused(NamedTuple):
    """A call that must be refused, and the sentence to be shown, as a pattern."""

    agent: Agent
    tool: str
    arguments: dict[str, Any]
    sentence: str
    meta: dict[str, Any] | None = None


def payload_invalid(desk: Desk) -> Refused:
    sentence = (
        r"Payload rejected by schema brief@1: 3 problems\. Nothing was stored\.\n"
        r"(?=(.*\n)*- payload\.audiance: unknown field; did you mean 'audience'\?\n)"
        r"(?=(.*\n)*- payload\.audience: missing \(required\)\n)"
        r"(?=(.*\n)*- payload\.topic: too short \(1 < 3 characters\)\n)"
        r"(- .*\n){3}Fix these and call drop_off again\."
    )
    return Refused(desk.scout, "drop_off", {"payload": {"topic": "x", "audiance": "exec"}}, sentence)


def arguments_invalid(desk: Desk) -> Refused:
    sentence = (
        r"Arguments of drop_off rejected: 1 problem\. Nothing was stored\.\n"
        r"- payload: is a string of JSON\. Pass the object itself\.\nFix this and call drop_off again\."
    )
    return Refused(desk.scout, "drop_off", {"payload": json.dumps(WORK)}, sentence)


def not_allowed(desk: Desk) -> Refused:
    sentence = (
        rf"Agent '{desk.writer.name}' may not drop off into '{desk.queue}', only pick up\. "
        r"Nothing was stored\. Do not retry; tell your operator\."
    )
    return Refused(desk.writer, "drop_off", {"queue": desk.queue, "payload": WORK}, sentence)


def queue_unknown(desk: Desk) -> Refused:
    sentence = (
        rf"There is no queue 'x{desk.queue}' for you\. You may drop off into: {desk.queue}\. "
        rf"Did you mean '{desk.queue}'\? Nothing was stored\."
    )
    return Refused(desk.scout, "drop_off", {"queue": f"x{desk.queue}", "payload": WORK}, sentence)


def lease_unknown(desk: Desk) -> Refused:
    lease_id = picked_up(desk)["lease_id"]
    handoff_id = lease_id.rpartition(".")[0]
    sentence = (
        rf"'{handoff_id}' is a handoff_id\. Nothing was stored\. "
        rf"Use the lease_id that pick_up gave you; you hold: {re.escape(lease_id)}\."
    )
    return Refused(desk.writer, "complete_handoff", {"lease_id": handoff_id}, sentence)


def lease_lost(desk: Desk) -> Refused:
    lease_id = picked_up(desk)["lease_id"]
    desk.writer.done("hand_back", lease_id=lease_id, outcome="not_for_me")
    sentence = (
        r"You handed this back \d+ s ago and the handoff .+\. Nothing more was changed\. "
        r"Stop working on it; call pick_up for new work\."
    )
    return Refused(desk.writer, "complete_handoff", {"lease_id": lease_id}, sentence)


def already_settled(desk: Desk) -> Refused:
    picked = picked_up(desk)
    desk.writer.done("complete_handoff", lease_id=picked["lease_id"], result=FOUND)
    sentence = (
        rf"Handoff {picked['handoff_id']} was already completed by you at [\d:]+Z with a different result\. "
        r"Nothing was changed\. Stop working on it; call pick_up for new work\."
    )
    return Refused(desk.writer, "complete_handoff", {"lease_id": picked["lease_id"], "result": {}}, sentence)


def handoff_unknown(desk: Desk) -> Refused:
    handoff_id = f"{desk.queue}-{NO_ID}"
    sentence = (
        rf"There is no handoff '{handoff_id}' that you dropped off or picked up\. Nothing was changed\. "
        r"Ids look like research-8F3K2Q9T1MXK7A4B\."
    )
    return Refused(desk.scout, "check_handoff", {"handoff_id": handoff_id}, sentence)


def handoff_settled(desk: Desk) -> Refused:
    picked = picked_up(desk)
    desk.writer.done("complete_handoff", lease_id=picked["lease_id"], result=FOUND)
    sentence = (
        rf"Handoff {picked['handoff_id']} is completed since [\d:]+Z; final is final\. Nothing was changed\. "
        r"Call check_handoff to read its outcome\."
    )
    return Refused(desk.scout, "withdraw_handoff", {"handoff_id": picked["handoff_id"]}, sentence)


def request_conflict(desk: Desk) -> Refused:
    key = {"dropoff/request": "call-1"}
    first = desk.scout.call("drop_off", key, payload=WORK)
    sentence = (
        rf"This request key was already used for {first.content['handoff_id']} with other content\. "
        r"Nothing was stored\. Use a new key for new work\."
    )
    return Refused(desk.scout, "drop_off", {"payload": WORK | {"topic": "owls"}}, sentence, key)


@pytest.mark.parametrize(
    "refused",
    [
        payload_invalid,
        arguments_invalid,
        not_allowed,
        queue_unknown,
        lease_unknown,
        lease_lost,
        already_settled,
        handoff_unknown,
        handoff_settled,
        request_conflict,
    ],
    ids=lambda refused: refused.__name__,
)
def test_a_refusal_is_shown_as_we_said_it(refused: Callable[[Desk], Refused], desk: Desk):
    """The client's user reads our sentence, its program our code; and nothing was done."""
    call = refused(desk)
    before = desk.steps()
    told = call.agent.call(call.tool, call.meta, **call.arguments)
    assert told.is_error
    assert re.fullmatch(call.sentence, told.text), told.text
    assert (told.content["status"], told.error["code"]) == ("refused", refused.__name__)
    assert told.error["message"] == told.text
    assert desk.steps() == before


# ---- nobody ---------------------------------------------------------------------------------------------------------


def is_thrown(seen: dict[str, Any]) -> None:
    """A 401 is no result; the client throws, with its status and our sentence on the error."""
    thrown = seen["threw"]
    assert 401 in (thrown.get("code"), thrown.get("data", {}).get("status")), seen
    assert Unauthenticated().sentence() in thrown["message"] + thrown.get("data", {}).get("text", ""), seen


def test_who_proves_nothing_does_not_get_in_and_reads_why(desk: Desk):
    """With an unknown bearer not even the client's greeting is answered."""
    is_thrown(desk.stranger("dropoff_bearer_unknown").connect())


def test_who_is_revoked_reads_why_at_the_next_call(desk: Desk):
    """In the middle of its work, with a client that has been connected all the time."""
    lease_id = picked_up(desk)["lease_id"]
    desk.operate("agent", "revoke", desk.writer.name)

    def done() -> list[str]:
        return [step for step in desk.steps() if step != "recall"]  # upkeep's, whenever it comes

    before = done()
    is_thrown(desk.writer.seen("complete_handoff", lease_id=lease_id, result=FOUND))
    assert done() == before
