"""What is refused, how it is said, and that nothing changed: in both eras of the protocol.

"Nothing changed" means every key of the store, the ledger among them, to the last field.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dropoff import errors
from dropoff.core.handoff import AgentName, HandoffId
from tests.doors.mcp.conftest import NOTES, Desk
from tests.doors.mcp.wire import Agent, Told, Wire
from tests.look import Look
from tests.world import Clock, change, live

Open = Callable[[Agent], Wire]
BRIEF = {"topic": "heat pumps", "audience": "exec"}
LEASE_MS = 300_000
HALF_A_PAIR = '"\\ud83d"'


async def refused(look: Look, call: Awaitable[Told], code: str) -> Told:
    """The call is refused with this code, and nothing changed."""
    async with look.nothing_changes():
        told = await call
    assert told.error["code"] == code, told.text
    return told


# ---- leases and handoffs ------------------------------------------------------------------------------------------


async def test_a_borrowed_lease_id_is_worth_nothing(wire: Open, desk: Desk, look: Look, scout: Agent) -> None:
    """A lease id is no secret: who reads it somewhere can neither finish, nor keep, nor give back what it names."""
    ann, bob = [await desk.agent(name, "pick:research") for name in ("ann", "bob")]
    await wire(scout).drop()
    lease_id = await wire(ann).pick()
    thief = wire(bob)

    for call in (
        thief.call("complete_handoff", lease_id=lease_id, result={"stolen": True}),
        thief.call("extend_lease", lease_id=lease_id),
        thief.call("hand_back", lease_id=lease_id, outcome="impossible", reason="no"),
    ):
        told = await refused(look, call, "lease_unknown")
        assert told.text == f"No lease '{lease_id}' is yours. Nothing was stored. You hold: none."

    done = await wire(ann).call("complete_handoff", lease_id=lease_id)
    assert done.content["status"] == "completed"


async def test_another_agents_handoff_can_be_neither_read_nor_withdrawn(
    wire: Open, desk: Desk, look: Look, scout: Agent
) -> None:
    """A handoff that one neither sent nor held looks like one that does not exist."""
    handoff_id = await wire(scout).drop()
    stranger = wire(await desk.agent("stranger", "drop:research", "pick:research"))

    for call in (
        stranger.call("check_handoff", handoff_id=handoff_id),
        stranger.call("withdraw_handoff", handoff_id=handoff_id),
    ):
        told = await refused(look, call, "handoff_unknown")
    absent = await stranger.call("check_handoff", handoff_id="research-0000000000000000")
    assert told.text.replace(handoff_id, "…") == absent.text.replace("research-0000000000000000", "…")


async def test_a_handoff_id_in_the_place_of_a_lease_id_is_explained(
    wire: Open, look: Look, scout: Agent, writer: Agent
) -> None:
    """The slip is called by its name, with the lease_id to use instead."""
    await wire(scout).drop()
    line = wire(writer)
    lease_id = await line.pick()
    handoff_id = lease_id.rpartition(".")[0]

    told = await refused(look, line.call("complete_handoff", lease_id=handoff_id), "lease_unknown")
    assert told.text == (
        f"'{handoff_id}' is a handoff_id. Nothing was stored. "
        f"Use the lease_id that pick_up gave you; you hold: {lease_id}."
    )


async def test_a_late_completion_is_refused(
    wire: Open, desk: Desk, look: Look, clock: Clock, scout: Agent, writer: Agent
) -> None:
    """A holder whose lease lapsed cannot finish what waits again, nor what another agent holds by now."""
    handoff_id = await wire(scout).drop()
    late = wire(writer)
    lease_id = await late.pick()
    await live(desk.store, clock, LEASE_MS + 1_000)
    assert await desk.store.lapse(HandoffId(handoff_id)) is not None
    clock.advance(41_000)

    told = await refused(look, late.call("complete_handoff", lease_id=lease_id, result={"late": True}), "lease_lost")
    assert told.text.endswith("Stop working on it; call pick_up for new work.")

    other = wire(await desk.agent("other", "pick:research"))
    clock.advance(5_000)  # lapsing counted as a failure: it waits a little before it is tried again
    await desk.store.due(HandoffId(handoff_id))
    again = await other.pick()
    told = await refused(look, late.call("complete_handoff", lease_id=lease_id, result={"late": True}), "lease_lost")
    assert "the handoff was picked up again by another agent" in told.text
    assert (await other.call("complete_handoff", lease_id=again)).content["status"] == "completed"


async def test_a_second_result_does_not_replace_the_first(wire: Open, look: Look, scout: Agent, writer: Agent) -> None:
    """The same result again is the same success; another one is refused, for final is final."""
    await wire(scout).drop()
    line = wire(writer)
    lease_id = await line.pick()
    first = await line.call("complete_handoff", lease_id=lease_id, result={"answer": 1})

    async with look.nothing_changes():
        assert await line.call("complete_handoff", lease_id=lease_id, result={"answer": 1}) == first
    call = line.call("complete_handoff", lease_id=lease_id, result={"answer": 2})
    assert "with a different result" in (await refused(look, call, "already_settled")).text


# ---- what is sent on, held, paused ----------------------------------------------------------------------------------


@pytest.fixture
async def worker(desk: Desk) -> Agent:
    await desk.queue("drafts", NOTES)
    return await desk.agent("worker", "pick:research", "drop:drafts")


async def test_a_wrong_next_leaves_the_lease_and_says_until_when(
    wire: Open, look: Look, clock: Clock, scout: Agent, worker: Agent
) -> None:
    """Neither happens; the model hears all that is wrong, and that it may mend it."""
    await wire(scout).drop()
    line = wire(worker)
    lease_id = await line.pick()
    ends = errors.clock(clock.now_ms + LEASE_MS)

    call = line.call("complete_handoff", lease_id=lease_id, next={"payload": {"txt": "owls"}})
    told = await refused(look, call, "next_invalid")
    assert told.text == (
        "Next rejected by schema drafts@1: 1 problem. Nothing was stored. "
        f"The lease is still yours until {ends}.\n- next.payload.text: missing (required)\n"
        "Fix this and call complete_handoff again."
    )
    call = line.call("complete_handoff", lease_id=lease_id, next={"payload": '{"text": "owls"}'})
    assert "- next.payload: is a string of JSON." in (await refused(look, call, "arguments_invalid")).text
    done = await line.call("complete_handoff", lease_id=lease_id, next={"payload": {"text": "owls"}})
    assert done.content["next_handoff_id"].startswith("drafts-")


@pytest.mark.parametrize("why", ["queue_draining", "queue_full", "not_allowed"])
async def test_where_next_cannot_go_the_lease_is_still_the_holders(
    why: str, wire: Open, desk: Desk, look: Look, scout: Agent, worker: Agent
) -> None:
    """The model must not think that its work is completed."""
    await wire(scout).drop()
    line = wire(worker)
    lease_id = await line.pick()
    onward: dict[str, Any] = {"queue": "drafts", "payload": {"text": "owls"}}
    if why == "queue_draining":
        await desk.operations.set_queue(desk.operator, "drafts", "draining", "moving")
    elif why == "queue_full":
        await desk.operations.edit_queue(desk.operator, "drafts", {"max_waiting": 1})
        assert not (await line.call("drop_off", payload=onward["payload"])).is_error
    else:
        onward = {"queue": "research", "payload": BRIEF}

    call = line.call("complete_handoff", lease_id=lease_id, next=onward)
    told = await refused(look, call, why)
    assert ("the lease is still yours" in told.text) == (why != "not_allowed")
    assert (await line.call("complete_handoff", lease_id=lease_id)).content["status"] == "completed"


async def test_a_draining_queue_takes_nothing_and_a_paused_one_gives_nothing(
    wire: Open, desk: Desk, look: Look, scout: Agent, writer: Agent
) -> None:
    """Each is said as what it is: a refusal to who brings work, and no refusal to who looks for some."""
    await desk.operations.set_queue(desk.operator, "research", "draining", "moving")
    told = await refused(look, wire(scout).call("drop_off", payload=BRIEF), "queue_draining")
    assert told.text == (
        "Queue 'research' takes no new work (\"moving\"). Nothing was stored. Do not retry in this run; report it."
    )
    await desk.operations.set_queue(desk.operator, "research", "paused")
    await wire(scout).drop()
    async with look.nothing_changes():
        nothing = await wire(writer).call("pick_up", wait_seconds=0)
    assert (nothing.content["status"], nothing.content["paused"]) == ("nothing_to_pick_up", True)
    assert nothing.content["hint"].startswith("An operator has paused this work.")


async def test_what_wants_approval_is_said_to_be_held(wire: Open, desk: Desk) -> None:
    """It is stored, and is not to be sent again; nobody gets it before a person has approved it."""
    await desk.queue("review", NOTES, approval=True)
    line = wire(await desk.agent("both", "drop:review", "pick:review"))
    held = await line.call("drop_off", payload={"text": "owls"})
    assert (held.content["status"], "warning" in held.content) == ("held", False)
    assert "approve" in held.content["hint"]
    assert (await line.call("check_handoff", handoff_id=held.content["handoff_id"])).content["state"] == "held"
    assert (await line.call("pick_up", wait_seconds=0)).content["status"] == "nothing_to_pick_up"


# ---- grants -------------------------------------------------------------------------------------------------------


async def test_the_wrong_grant_is_named_and_the_right_one_asked_for(
    wire: Open, look: Look, scout: Agent, writer: Agent
) -> None:
    """A tool that is not listed may be called all the same; the broker says what is missing, as a tool's result."""
    dropper, picker = wire(scout), wire(writer)
    assert "pick_up" not in await dropper.tools()
    assert "drop_off" not in await picker.tools()

    told = await refused(look, picker.call("drop_off", queue="research", payload=BRIEF), "not_allowed")
    assert told.text == (
        "Agent 'writer' may not drop off into 'research', only pick up. "
        "Nothing was stored. Do not retry; tell your operator."
    )
    await refused(look, dropper.call("pick_up", queue="research", wait_seconds=0), "not_allowed")


async def test_a_queue_without_any_grant_does_not_exist(wire: Open, desk: Desk, look: Look, scout: Agent) -> None:
    """Who has no grant on a queue cannot learn that there is one; the own queues are named, and the one meant."""
    await desk.queue("secret", NOTES)
    line = wire(scout)

    hidden = await refused(look, line.call("drop_off", queue="secret", payload=BRIEF), "queue_unknown")
    absent = await refused(look, line.call("drop_off", queue="absent", payload=BRIEF), "queue_unknown")
    assert hidden.text.replace("secret", "…") == absent.text.replace("absent", "…")

    slip = await refused(look, line.call("drop_off", queue="reserch", payload=BRIEF), "queue_unknown")
    assert slip.text == (
        "There is no queue 'reserch' for you. You may drop off into: research. Did you mean 'research'? "
        "Nothing was stored."
    )


async def test_an_agent_without_grants_is_told_that_it_has_no_queue(wire: Open, desk: Desk, look: Look) -> None:
    """Nothing is listed but the one tool that says why."""
    line = wire(await desk.agent("nobody"))
    assert list(await line.tools()) == ["describe_queues"]
    assert "Tell your operator" in (await line.call("describe_queues")).content["hint"]
    await refused(look, line.call("drop_off", queue="research", payload=BRIEF), "queue_unknown")
    await refused(look, line.call("pick_up", queue="research", wait_seconds=0), "queue_unknown")


async def test_a_frozen_agent_is_refused_and_not_turned_away(
    wire: Open, desk: Desk, look: Look, scout: Agent, writer: Agent
) -> None:
    """An operator's freeze stops every step, and is said as a tool's result: the agent is still known."""
    await wire(scout).drop()
    for agent in (scout, writer):
        caller = await desk.callers.of(f"Bearer {agent.bearer}")
        await change(desk.store, caller, "frozen", by=desk.operator)

    told = await refused(look, wire(scout).call("drop_off", payload=BRIEF), "frozen")
    assert "frozen by an operator" in told.text
    await refused(look, wire(writer).call("pick_up", wait_seconds=0), "frozen")


# ---- what is sent ---------------------------------------------------------------------------------------------------


async def test_a_wrong_payload_hears_everything_that_is_wrong(wire: Open, look: Look, scout: Agent) -> None:
    """All problems at once, each with its place, in words that a model mends by."""
    call = wire(scout).call("drop_off", payload={"topic": "x", "audiance": "exec"})
    told = await refused(look, call, "payload_invalid")
    first, *problems, last = told.text.splitlines()
    assert first == "Payload rejected by schema research@1: 3 problems. Nothing was stored."
    assert sorted(problems) == [
        "- payload.audiance: unknown field; did you mean 'audience'?",
        "- payload.audience: missing (required)",
        "- payload.topic: too short (1 < 3 characters)",
    ]
    assert last == "Fix these and call drop_off again."
    assert [f"- {one['path']}: {one['problem']}" for one in told.error["problems"]] == problems
    assert told.error["retry"] == "after_mending"


async def test_a_payload_that_is_a_string_of_json_has_its_own_sentence(wire: Open, look: Look, scout: Agent) -> None:
    """Models write objects as strings; they are told to pass the object itself."""
    call = wire(scout).call("drop_off", payload='{"topic": "heat pumps", "audience": "exec"}')
    told = await refused(look, call, "arguments_invalid")
    assert "- payload: is a string of JSON. Pass the object itself." in told.text


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("drop_off", {}, "payload: missing"),
        ("drop_off", {"payload": None}, "payload: "),
        ("drop_off", {"payload": BRIEF, "queu": "research"}, "queu: unknown field; did you mean 'queue'?"),
        ("drop_off", {"payload": BRIEF, "note": "x" * 501}, "note: too long"),
        ("drop_off", {"payload": BRIEF, "delay_seconds": -1}, "delay_seconds: "),
        ("drop_off", {"payload": BRIEF, "caller": "ops"}, "caller: unknown field"),
        ("drop_off", {"payload": BRIEF, "note": "x" * 300_000}, "300,024 bytes"),
        ("check_handoff", {"handoff_id": 7}, "handoff_id: "),
        ("check_handoff", {"handoff_id": "", "wait_seconds": 31}, "wait_seconds: "),
    ],
)
async def test_wrong_arguments_are_named(
    tool: str, arguments: dict[str, Any], said: str, wire: Open, look: Look, scout: Agent
) -> None:
    """The SDK checks no arguments, so we do, in the sentences that payloads get."""
    async with look.nothing_changes():
        told = await wire(scout).call(tool, **arguments)
    assert told.error["code"] in ("arguments_invalid", "payload_too_large")
    assert said in told.text


async def test_null_and_empty_are_not_given(wire: Open, scout: Agent) -> None:
    """Models fill in every argument; null and "" for an optional one mean that there is none, and 3.0 is 3."""
    told = await wire(scout).call("drop_off", payload=BRIEF, queue="", note=None, delay_seconds=None)
    handoff_id = told.content["handoff_id"]
    assert (await wire(scout).call("check_handoff", handoff_id=handoff_id, wait_seconds=0.0)).content["attempt"] == 1


@pytest.mark.parametrize("what", [HALF_A_PAIR, "NaN", "-Infinity", "1e400"])
async def test_what_json_cannot_say_goes_no_further(what: str, wire: Open, look: Look, scout: Agent) -> None:
    """The SDK's parsers let NaN, infinities and half surrogate pairs through. Nothing behind the door meets them."""
    line = wire(scout)
    owls = '"topic": "owls", "audience": "exec"'
    for arguments in (
        f'{{"payload": {{"topic": {what}, "audience": "exec"}}}}',
        f'{{"payload": {{{owls}, {HALF_A_PAIR}: {what}}}}}',
        f'{{"payload": {{{owls}}}, "note": {what}}}',
        f'{{"payload": {{{owls}}}, "queue": {what}}}',
        f'{{"payload": {{{owls}}}, {HALF_A_PAIR}: {what}}}',
    ):
        async with look.nothing_changes():
            told = await line.call_raw("drop_off", arguments)
        if told is not None:
            assert told.error["code"] in ("arguments_invalid", "payload_invalid")


@pytest.mark.parametrize("field", ["lease_id", "reason", "outcome"])
async def test_half_a_pair_in_ids_and_reasons_is_refused(field: str, desk: Desk, look: Look, writer: Agent) -> None:
    """Texts that the broker keeps or repeats are texts that UTF-8 can say."""
    line = Wire(desk.url, writer, "2026-07-28")
    arguments = {"lease_id": '"x"', "reason": '"no"', "outcome": '"impossible"'} | {field: HALF_A_PAIR}
    text = "{" + ",".join(f'"{name}":{value}' for name, value in arguments.items()) + "}"
    async with line.client, look.nothing_changes():
        told = await line.call_raw("hand_back", text)
    assert told is not None
    assert told.error["code"] == "arguments_invalid"
    assert f"- {field}: has half a surrogate pair" in told.text


async def test_a_payload_over_the_limit_is_refused_with_both_sizes(wire: Open, look: Look, scout: Agent) -> None:
    """Too large for the queue, and still a tool's result that a model can act on."""
    payload = {"topic": "x" * 300_000, "audience": "exec"}
    told = await refused(look, wire(scout).call("drop_off", payload=payload), "payload_too_large")
    assert "Payload is 300,030 bytes; the limit of 'research' is 262,144 bytes." in told.text


# ---- request keys ---------------------------------------------------------------------------------------------------


async def test_a_request_key_makes_a_repeated_call_the_same_call(wire: Open, look: Look, scout: Agent) -> None:
    """The same key brings the same answer and receipt; with other content it is refused."""
    line = wire(scout)
    key = {"dropoff/request": "call-1"}
    first = await line.call("drop_off", key, payload=BRIEF)
    async with look.nothing_changes():
        again = await line.call("drop_off", key, payload=BRIEF)
    assert again.content["handoff_id"] == first.content["handoff_id"]
    assert again.meta["dropoff/receipt"] == first.meta["dropoff/receipt"]

    told = await refused(look, line.call("drop_off", key, payload=BRIEF | {"topic": "owls"}), "request_conflict")
    assert first.content["handoff_id"] in told.text


@pytest.mark.parametrize("key", [7, ["call-1"], {"key": 1}, True, "x" * 201, "caf\u00e9", "two\nlines"])
async def test_a_request_key_that_could_not_be_kept_is_refused(key: Any, wire: Open, look: Look, scout: Agent) -> None:
    """A key of another kind would be no key: repeating the call would do it twice, so the call is not made."""
    call = wire(scout).call("drop_off", {"dropoff/request": key}, payload=BRIEF)
    told = await refused(look, call, "arguments_invalid")
    assert '_meta["dropoff/request"]' in told.text


async def test_the_longest_request_key_is_taken(wire: Open, scout: Agent) -> None:
    """200 characters are allowed, and null is no key."""
    line = wire(scout)
    longest = {"dropoff/request": "x" * 200}
    assert await line.drop() != await line.drop()
    first, again = [await line.call("drop_off", longest, payload=BRIEF) for _ in range(2)]
    assert first.content["handoff_id"] == again.content["handoff_id"]
    assert not (await line.call("drop_off", {"dropoff/request": None}, payload=BRIEF)).is_error


async def test_the_trace_of_a_call_stands_in_its_entry(wire: Open, desk: Desk, scout: Agent) -> None:
    """`_meta.traceparent` goes into the ledger; what is no traceparent is left out and refuses nothing."""
    line = wire(scout)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    traced = (await line.call("drop_off", {"traceparent": trace}, payload=BRIEF)).content["handoff_id"]
    for none in ("x" * 55, trace + "-more", 7, trace.upper()):
        plain = (await line.call("drop_off", {"traceparent": none}, payload=BRIEF)).content["handoff_id"]
        [entry] = await desk.store.entries(handoff_id=plain)
        assert entry.trace == ""
    [entry] = await desk.store.entries(handoff_id=traced)
    assert (entry.trace, entry.actor) == (trace, AgentName("scout"))
