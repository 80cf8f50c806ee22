"""A queue is moved to another version of its schema: when it may be, what that means for the work, and what is said."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dropoff.operations import Operations
from dropoff.operations.schemas import WITNESS_CHARS_MAX
from dropoff.storage.keys import Keys
from tests.doors.http.house import BRIEF, WORK, Agent, Desk
from tests.doors.http.test_refusals import problem
from tests.servers import Server

EDIT = "/v1/queues/research/edit"
PUSH = "/v1/schemas/research"
PRESS = WORK | {"audience": "press"}
PUBLIC = WORK | {"audience": "public"}

Refused = Callable[..., Awaitable[str]]


def with_audience(*allowed: str) -> dict[str, Any]:
    return BRIEF | {"properties": BRIEF["properties"] | {"audience": {"enum": list(allowed)}}}


WIDE = with_audience("exec", "engineer", "public", "press")
NARROW = with_audience("exec")


@pytest.fixture
def refused(desk: Desk) -> Refused:
    """An edit that is refused, and nothing changed. Gives its sentence."""

    async def ask(changes: dict[str, Any], status: int, code: str) -> str:
        before = desk.stored()
        told = problem(await desk.operator.ask(EDIT, changes), status, code)
        assert desk.stored() == before
        return told["detail"]

    return ask


async def drop(scout: Agent, payload: dict[str, Any] = WORK) -> str:
    return (await scout.done("/v1/drop_off", {"payload": payload}))["handoff_id"]


async def picked(writer: Agent, **more: Any) -> str:
    """The handoff that it gets, or nothing."""
    return (await writer.done("/v1/pick_up", {"wait_seconds": 0, **more})).get("handoff_id", "")


async def lose(server: Server, keys: Keys, desk: Desk, ref: str) -> None:
    """The store has lost what stands in a schema."""
    found = await desk.operator.seen(f"/v1/schemas/{ref}")
    with server.client as client:
        assert client.delete(keys.of("schema", hash=found["hash"])) == 1


# ---- to a version that takes all that was taken --------------------------------------------------------------------


async def test_to_a_compatible_version_it_moves_and_what_waits_goes_first(desk: Desk, scout: Agent, writer: Agent):
    """New work must fit the new version; what waited stays with its own. Nothing of the rest of the queue changes."""
    await desk.operator.done(PUSH, WIDE)
    old = [await drop(scout), await drop(scout)]
    problem(await scout.ask("/v1/drop_off", {"payload": PRESS}), 422, "payload_invalid")
    before = await desk.operator.seen("/v1/queues/research")

    moved = await desk.operator.done(EDIT, {"schema": "research@2"})

    assert moved == before | {"schema": "research@2"}
    assert await desk.operator.seen("/v1/queues/research") == moved
    new = [await drop(scout, PRESS)]
    assert [await picked(writer) for _ in range(3)] == old + new


async def test_without_a_version_it_moves_to_the_newest(desk: Desk):
    await desk.operator.done(PUSH, WIDE)
    assert (await desk.operator.done(EDIT, {"schema": "research"}))["schema"] == "research@2"


async def test_it_is_in_force_on_return_through_another_broker_too(desk: Desk, elsewhere: Desk, scout: Agent):
    """Which has just judged by the version before."""
    there = elsewhere.as_agent(scout.bearer)
    await drop(there, PUBLIC)
    await desk.operator.done(PUSH, NARROW)

    await desk.operator.done(EDIT, {"schema": "research@2", "incompatible": True})

    told = problem(await there.ask("/v1/drop_off", {"payload": PUBLIC}), 422, "payload_invalid")
    assert "schema research@2" in told["detail"]


async def test_asked_again_it_is_the_same(desk: Desk):
    """However its version is said, and although by then nothing is to be compared."""
    await desk.operator.done(PUSH, NARROW)
    moved = await desk.operator.done(EDIT, {"schema": "research@2", "incompatible": True})
    before = desk.stored()
    for again in ({"schema": "research@2", "incompatible": True}, {"schema": "research@2"}, {"schema": "research"}):
        assert await desk.operator.done(EDIT, again) == moved
        assert desk.stored() == before


async def test_it_moves_back(desk: Desk, scout: Agent, writer: Agent):
    """By the same rule: back to a version that takes less only if that is meant. Each handoff keeps its own."""
    await desk.operator.done(PUSH, WIDE)
    await desk.operator.done(EDIT, {"schema": "research@2"})
    wide = await drop(scout, PRESS)
    problem(await desk.operator.ask(EDIT, {"schema": "research@1"}), 409, "schema_incompatible")

    back = await desk.operator.done(EDIT, {"schema": "research@1", "incompatible": True})

    assert back["schema"] == "research@1"
    problem(await scout.ask("/v1/drop_off", {"payload": PRESS}), 422, "payload_invalid")
    narrow = await drop(scout)
    assert await picked(writer, accepts=["research@1"]) == narrow
    assert await picked(writer) == wide


# ---- to one that demands more --------------------------------------------------------------------------------------


async def test_to_an_incompatible_version_it_does_not_move_unawares(
    desk: Desk, scout: Agent, writer: Agent, refused: Refused
):
    """The refusal names what changes, a payload that shows it, and both commands that may come next."""
    await desk.operator.done(PUSH, NARROW)
    sentence = await refused({"schema": "research@2"}, 409, "schema_incompatible")

    verdict, change, witness, look, move = sentence.splitlines()
    assert verdict.startswith("research@2 is incompatible with research@1")
    assert verdict.endswith("Nothing was changed.")
    assert change == '- payload.audience: no longer allows "engineer", "public"'
    shown = json.loads(witness.removeprefix("This fits research@1 and not research@2: "))
    assert "dropoff queue edit research --schema research@2 --dry-run" in look
    assert "--incompatible" in move
    waiting = await drop(scout, shown)

    moved = await desk.operator.done(EDIT, {"schema": "research@2", "incompatible": True})

    assert moved["schema"] == "research@2"
    problem(await scout.ask("/v1/drop_off", {"payload": shown}), 422, "payload_invalid")
    assert await picked(writer) == waiting


async def test_where_nobody_can_tell_it_is_treated_as_incompatible(desk: Desk, refused: Refused):
    for pattern in ("^(a|b)", "^[ab]"):
        topic = {"topic": {"type": "string", "pattern": pattern}}
        await desk.operator.done(PUSH, BRIEF | {"properties": BRIEF["properties"] | topic})
    await desk.operator.done(EDIT, {"schema": "research@2", "incompatible": True})

    sentence = await refused({"schema": "research@3"}, 409, "schema_incompatible")

    assert sentence.startswith("research@3 may be incompatible with research@2")
    assert "This fits" not in sentence
    moved = await desk.operator.done(EDIT, {"schema": "research@3", "incompatible": True})
    assert moved["schema"] == "research@3"


async def test_a_long_payload_is_not_quoted_in_a_refusal(desk: Desk, refused: Refused):
    """A dry run shows it whole."""
    long = {"topic": {"type": "string", "minLength": WITNESS_CHARS_MAX}}
    for audience in (BRIEF, NARROW):
        await desk.operator.done(PUSH, audience | {"properties": audience["properties"] | long})
    await desk.operator.done(EDIT, {"schema": "research@2", "incompatible": True})

    assert "This fits" not in await refused({"schema": "research@3"}, 409, "schema_incompatible")

    looked = await desk.operator.done(EDIT, {"schema": "research@3", "dry_run": True})
    assert len(looked["means"]["witness"]["topic"]) >= WITNESS_CHARS_MAX


# ---- what it would mean --------------------------------------------------------------------------------------------


async def test_a_dry_run_says_what_it_would_mean_and_changes_nothing(desk: Desk, scout: Agent, writer: Agent):
    """The queue as it would be, and of its work how much would not fit, and who picked up lately."""
    await desk.operator.done(PUSH, NARROW)
    await drop(scout)
    await picked(writer)
    misfit, _ = await drop(scout, PUBLIC), await drop(scout)
    before, now = desk.stored(), await desk.operator.seen("/v1/queues/research")

    looked = await desk.operator.done(EDIT, {"schema": "research@2", "lease_seconds": 60, "dry_run": True})

    assert desk.stored() == before
    means = looked.pop("means")
    assert looked == now | {"schema": "research@2", "lease_seconds": 60, "dry_run": True}
    assert (means["schema"], means["compared_with"], means["verdict"]) == ("research@2", "research@1", "incompatible")
    [queue] = means["queues"]
    assert (queue["queue"], queue["pinned_now"]) == ("research", "research@1")
    assert (queue["waiting"], queue["looked_at"], queue["would_not_fit"]) == (2, 2, 1)
    assert [one["handoff_id"] for one in queue["examples"]] == [misfit]
    assert [(one["agent"], one["schema"]) for one in queue["picked_up"]] == [("writer", "research@1")]


async def test_it_is_compared_with_the_version_that_the_queue_has(desk: Desk):
    """Not with the one before it, as a push is."""
    await desk.operator.done(PUSH, NARROW)
    pushed = await desk.operator.done(PUSH, with_audience("exec", "engineer"))
    assert (pushed["compared_with"], pushed["verdict"]) == ("research@2", "compatible")
    means = (await desk.operator.done(EDIT, {"schema": "research@3", "dry_run": True}))["means"]
    assert (means["compared_with"], means["verdict"]) == ("research@1", "incompatible")
    assert means["witness"]["audience"] == "public"
    problem(await desk.operator.ask(EDIT, {"schema": "research@3"}), 409, "schema_incompatible")


async def test_a_dry_run_without_another_version_means_nothing_for_the_work(desk: Desk):
    before = desk.stored()
    looked = await desk.operator.done(EDIT, {"schema": "research", "lease_seconds": 60, "dry_run": True})
    assert (looked["lease_seconds"], looked["dry_run"]) == (60, True)
    assert "means" not in looked
    assert desk.stored() == before


# ---- what is refused in any case -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{}, {"incompatible": True}, {"dry_run": True}])
async def test_only_a_version_of_its_own_contract_that_there_is(how: dict[str, Any], desk: Desk, refused: Refused):
    """Whatever is meant by it; a schema of another name is another contract, though its content is the same."""
    await desk.operator.done("/v1/schemas/letter", BRIEF)
    for ref in ("letter", "letter@1"):
        sentence = await refused({"schema": ref, **how}, 422, "arguments_invalid")
        assert "letter@1 is no version of research" in sentence
    for ref in ("research@7", "reserch", "research@0", ""):
        sentence = await refused({"schema": ref, **how}, 404, "schema_unknown")
        assert "Known: letter@1, research@1" in sentence


@pytest.mark.parametrize("how", [{}, {"incompatible": True}, {"dry_run": True}])
async def test_who_is_no_operator_gets_no_answer(how: dict[str, Any], desk: Desk):
    """Neither by doing nor by asking what it would mean: that tells of payloads, versions and agents."""
    keeper = await desk.agent("keeper", "operate:*", "inspect:*", "drop:*", "pick:*")
    await desk.operator.done(PUSH, WIDE)
    before = desk.stored()
    for ref in ("research@2", "research@7"):
        told = problem(await keeper.ask(EDIT, {"schema": ref, **how}), 403, "not_allowed")
        assert "research@" not in told["detail"]
    assert desk.stored() == before


async def test_with_other_settings_it_is_all_or_nothing(desk: Desk, refused: Refused):
    await desk.operator.done(PUSH, NARROW)
    await refused({"schema": "research@2", "lease_seconds": 60}, 409, "schema_incompatible")
    await refused({"schema": "research@2", "incompatible": True, "lease_seconds": 1}, 422, "arguments_invalid")
    await refused({"schema": "research@2", "incompatible": True, "result_schema": "none"}, 404, "schema_unknown")

    both = {"schema": "research@2", "incompatible": True, "lease_seconds": 60, "result_schema": "research"}
    moved = await desk.operator.done(EDIT, both)

    assert (moved["schema"], moved["lease_seconds"], moved["result_schema"]) == ("research@2", 60, "research@2")


# ---- when others act, and when things are lost ---------------------------------------------------------------------


async def test_it_is_judged_by_what_the_queue_has_in_the_end(
    desk: Desk, elsewhere: Desk, monkeypatch: pytest.MonkeyPatch
):
    """Another operator moves it to a wider version just before: what was compatible no longer is. What else that one
    has changed stays.
    """
    await desk.operator.done(PUSH, BRIEF | {"required": ["topic"]})
    await desk.operator.done(PUSH, WIDE)
    judge = Operations.require_compatible

    async def meanwhile(*asked: Any) -> None:
        monkeypatch.setattr(Operations, "require_compatible", judge)
        await judge(*asked)
        await elsewhere.operator.done(EDIT, {"schema": "research@3", "lease_seconds": 60})

    monkeypatch.setattr(Operations, "require_compatible", meanwhile)
    told = problem(await desk.operator.ask(EDIT, {"schema": "research@2"}), 409, "schema_incompatible")

    assert told["detail"].startswith("research@2 is incompatible with research@3")
    now = await desk.operator.seen("/v1/queues/research")
    assert (now["schema"], now["lease_seconds"]) == ("research@3", 60)


async def test_a_setting_that_another_changes_meanwhile_is_kept(
    desk: Desk, elsewhere: Desk, monkeypatch: pytest.MonkeyPatch
):
    await desk.operator.done(PUSH, WIDE)
    judge = Operations.require_compatible

    async def meanwhile(*asked: Any) -> None:
        monkeypatch.setattr(Operations, "require_compatible", judge)
        await elsewhere.operator.done(EDIT, {"lease_seconds": 60})

    monkeypatch.setattr(Operations, "require_compatible", meanwhile)
    moved = await desk.operator.done(EDIT, {"schema": "research@2"})

    assert (moved["schema"], moved["lease_seconds"]) == ("research@2", 60)


async def test_a_version_whose_content_is_lost_is_said_to_be_and_can_be_put_back(
    desk: Desk, server: Server, keys: Keys, refused: Refused
):
    """Also where it is meant that senders may have to change: nobody could drop off into it."""
    await desk.operator.done(PUSH, WIDE)
    await lose(server, keys, desk, "research@2")
    for how in ({}, {"incompatible": True}, {"dry_run": True}):
        sentence = await refused({"schema": "research@2", **how}, 404, "schema_unknown")
        assert "The store has lost the content of schema 'research@2'" in sentence
        assert "dropoff schema push research FILE" in sentence

    assert not (await desk.operator.done(PUSH, WIDE))["new"]
    assert (await desk.operator.done(EDIT, {"schema": "research@2"}))["schema"] == "research@2"


async def test_the_newest_version_whose_content_is_lost_is_no_unknown_one(desk: Desk, server: Server, keys: Keys):
    """Who names no version hears the same."""
    await desk.operator.done(PUSH, WIDE)
    await lose(server, keys, desk, "research@2")

    for ref in ("research", "research@2"):
        told = problem(await desk.operator.look(f"/v1/schemas/{ref}"), 404, "schema_unknown")
        assert "The store has lost the content of schema 'research@2'" in told["detail"]
    assert (await desk.operator.seen("/v1/schemas/research@1"))["schema"] == "research@1"


async def test_away_from_a_version_whose_content_is_lost_it_moves_if_that_is_meant(
    desk: Desk, server: Server, keys: Keys, refused: Refused
):
    """What cannot be compared is not called compatible; other settings are edited as ever."""
    scout = await desk.agent("scout", "drop:research")
    await desk.operator.done(PUSH, WIDE)
    await lose(server, keys, desk, "research@1")
    told = problem(await scout.ask("/v1/drop_off", {"payload": WORK}), 404, "schema_unknown")
    assert "Tell your operator" in told["detail"]
    assert "content of schema 'research@1'" in await refused({"schema": "research@2"}, 404, "schema_unknown")
    await desk.operator.done(EDIT, {"schema": "research@1", "lease_seconds": 60})

    moved = await desk.operator.done(EDIT, {"schema": "research@2", "incompatible": True})

    assert (moved["schema"], moved["lease_seconds"]) == ("research@2", 60)


async def test_other_settings_are_edited_where_the_list_of_schemas_is_lost(desk: Desk, server: Server, keys: Keys):
    """A queue keeps what it has without asking whether that is registered; nothing else is found."""
    with server.client as client:
        assert client.delete(keys.of("schemas")) == 1
    for more in ({}, {"schema": "research@1"}):
        edited = await desk.operator.done(EDIT, {"lease_seconds": 60, **more})
        assert (edited["schema"], edited["lease_seconds"]) == ("research@1", 60)
    problem(await desk.operator.ask(EDIT, {"schema": "research@2"}), 404, "schema_unknown")
