"""What a result must be is the same through every door, and each says it in the same words."""

import json
from typing import Any, Final

import pytest

from tests.doors.every_door import DOORS, OPEN, Heard, House, house
from tests.doors.mcp.wire import ERAS

ANSWER: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}


async def complete(at: House, door: str, lease: str, **more: Any) -> Heard:
    arguments = json.dumps({"lease_id": lease, **more})
    if door in ERAS:
        return await at.call(door, "complete_handoff", arguments)
    return await at.plainly(door, "complete", arguments)


async def set_to(at: House, ref: str) -> None:
    """By an operator; and the agent is shown what it has to be from now on."""
    edited = await at.done(f"/v1/queues/{OPEN}/edit", {"result_schema": ref}, by=at.operator)
    assert edited["result_schema"] == ref
    [shown] = (await at.done("/v1/describe", {"queue": OPEN}))["queues"]
    assert (shown.get("result_schema_name", ""), shown.get("result_schema")) == (ref, ANSWER if ref else None)


@pytest.mark.parametrize("door", DOORS)
async def test_a_result_is_judged_taught_taken_and_heard_again(door: str):
    """What does not fit, or is left out, is told in the broker's words, with how long the lease goes on. What fits is
    taken, and the same again is the same success, though the contract is another one by then.
    """
    async with house() as at:
        assert not (await at.push("answer", json.dumps(ANSWER))).refused
        await set_to(at, "answer@1")
        lease = await at.lease()

        for given, problem in (
            ({}, "- result.text: missing (required)"),
            ({"result": None}, "- result.text: missing (required)"),
            ({"result": {"text": 1}}, "- result.text: is an integer, not a string"),
            ({"result": {"text": "owls", "txet": 1}}, "- result.txet: unknown field"),
        ):
            heard = await complete(at, door, lease, **given)
            assert heard.code == "result_invalid", heard
            text = heard.text.replace("\\n", "\n")
            assert "Result rejected by schema answer@1: 1 problem. It was not stored. " in text
            assert "The lease is still yours until " in text
            assert problem in text, text
        with_next = await complete(at, door, lease, result={}, next={"queue": OPEN, "payload": {}})
        assert with_next.code == "result_invalid"
        assert (await complete(at, door, lease, result='{"text":"owls"}')).code == "arguments_invalid"

        assert not (await complete(at, door, lease, result={"text": "owls"})).refused
        await set_to(at, "")
        await at.push("answer", json.dumps(ANSWER | {"required": ["text", "more"]}))
        await at.done(f"/v1/queues/{OPEN}/edit", {"result_schema": "answer"}, by=at.operator)
        assert not (await complete(at, door, lease, result={"text": "owls"})).refused
        assert (await complete(at, door, lease, result={"text": "bats"})).code == "already_settled"


async def test_an_operator_who_names_no_schema_that_there_is_changes_nothing():
    """At making and at editing."""
    async with house() as at:
        before = (await at.operator.get(f"/v1/queues/{OPEN}")).json()
        new = {"name": "new", "schema": OPEN, "result_schema": "nowhere"}
        for path, body in (("/v1/queues", new), (f"/v1/queues/{OPEN}/edit", {"result_schema": "open@7"})):
            answer = await at.operator.post(path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (404, "schema_unknown")
        assert (await at.operator.get(f"/v1/queues/{OPEN}")).json() == before
        assert (await at.operator.get("/v1/queues/new")).status_code == 404
