"""What is refused, how it is said, and that nothing changed."""

import json
import logging
from typing import Any

import httpx2
import pytest

from dropoff.core import payload
from dropoff.doors.http import calls
from tests.doors.http.house import WORK, Agent, Desk
from tests.world import within


def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The body, if it is a whole problem of this status and code."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    body = answer.json()
    assert {"type", "title", "status", "detail", "code", "retry"} <= set(body)
    assert (body["status"], body["code"], body["type"]) == (status, code, f"urn:dropoff:error:{code}")
    assert body["title"] != body["detail"]
    return body


def nested(levels: int) -> bytes:
    return b'{"payload": ' + b'{"a": ' * levels + b"1" + b"}" * levels + b"}"


BODIES = {
    "not JSON": (b"{", "not JSON"),
    "not an object": (b"[1]", "not an object"),
    "a key twice": (b'{"payload": {"topic": "a", "topic": "b"}}', "twice"),
    "an argument twice": (b'{"note": "a", "note": "b", "payload": {}}', "twice"),
    "NaN": (b'{"payload": {"topic": NaN}}', "not JSON"),
    "Infinity": (b'{"payload": {"topic": -Infinity}}', "not JSON"),
    "not UTF-8": (b'{"payload": {"topic": "\xff"}}', "UTF-8"),
    "half a surrogate pair": (rb'{"payload": {"topic": "\ud800"}}', "not JSON"),
    "an integer beyond": (b'{"payload": {"topic": 9007199254740993}}', "integer"),
    "too deep": (nested(100), "deep"),
    "far too deep": (nested(50_000), "deep"),
    "too many values": (b'{"payload": {"a": [' + b"1," * 60_000 + b"1]}}", "many values"),
    "an unknown field": (json.dumps({"payload": WORK, "quue": "research"}).encode(), "did you mean 'queue'"),
    "the caller's name": (json.dumps({"payload": WORK, "agent": "boss"}).encode(), "unknown field"),
    "nothing": (b"", "missing (required)"),
    "payload as a string": (json.dumps({"payload": json.dumps(WORK)}).encode(), "Pass the object itself"),
}


async def test_a_body_that_is_no_call_is_refused(desk: Desk, scout: Agent):
    """Each is told what is wrong, and nothing changed."""
    before = desk.stored()
    for name, (body, words) in BODIES.items():
        told = problem(await scout.ask("/v1/drop_off", body), 422, "arguments_invalid")
        assert words in told["detail"], name
        assert (told["retry"], bool(told["problems"])) == ("after_mending", True), name
        assert desk.stored() == before, name


async def test_every_problem_is_listed_with_its_path(desk: Desk, scout: Agent):
    before = desk.stored()
    answer = await scout.ask("/v1/drop_off", {"payload": {"topic": "x", "audiance": "exec"}})
    told = problem(answer, 422, "payload_invalid")
    assert [one["path"] for one in told["problems"]] == ["payload.audience", "payload.audiance", "payload.topic"]
    assert "did you mean 'audience'?" in told["detail"]
    assert desk.stored() == before


async def test_10_mb_are_refused_before_any_parser(desk: Desk, scout: Agent, monkeypatch: pytest.MonkeyPatch):
    """By what is announced, and by what really comes when nothing is."""
    monkeypatch.setattr(payload, "decode", None)  # whoever would parse now, fails
    body = b'{"payload": {"topic": "' + b"x" * 10_000_000 + b'"}}'
    before = desk.stored()
    announced = await scout.http.post("/v1/drop_off", content=body)
    assert "10,000,026 bytes" in problem(announced, 413, "payload_too_large")["detail"]

    async def parts():
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    problem(await scout.http.post("/v1/drop_off", content=parts()), 413, "payload_too_large")
    assert desk.stored() == before


async def test_a_payload_over_its_queues_limit_is_told_the_limit(desk: Desk, scout: Agent):
    """However it is written: with every letter escaped it has three times the bytes on the way, and the same inside."""
    work = WORK | {"more": {"text": "ж" * 130_000}}
    assert len(json.dumps({"payload": work})) > 3 * 256_000
    assert (await scout.ask("/v1/drop_off", json.dumps({"payload": work}).encode())).status_code == 200

    work["more"]["text"] += "ж" * 5_000
    before = desk.stored()
    told = problem(await scout.ask("/v1/drop_off", {"payload": work}), 413, "payload_too_large")
    assert "the limit of 'research' is 262,144 bytes" in told["detail"]
    assert desk.stored() == before


async def test_a_payload_may_be_as_deep_as_its_limit(desk: Desk, scout: Agent):
    """The arguments around it take nothing away from it."""
    more: dict[str, Any] = {}
    for _ in range(62):
        more = {"a": more}
    await scout.done("/v1/drop_off", {"payload": WORK | {"more": more}})
    before = desk.stored()
    answer = await scout.ask("/v1/drop_off", {"payload": WORK | {"more": {"a": more}}})
    assert "deep" in answer.json()["detail"]
    assert answer.status_code == 422
    assert desk.stored() == before


# ---- who may ----------------------------------------------------------------------------------------------------

STRANGERS = {
    "no credential": {},
    "another scheme": {"authorization": "Basic b3BlcmF0b3I6eA=="},
    "an unknown bearer": {"authorization": "Bearer dropoff_bearer_" + "x" * 43},
    "a bearer of another make": {"authorization": "Bearer abc"},
    "an empty one": {"authorization": "Bearer"},
}


async def test_strangers_all_hear_the_same(desk: Desk):
    """One text for every cause at each address, and how one proves oneself."""
    nobody = desk.as_agent("")
    before = desk.stored()
    told: dict[str, list[dict[str, Any]]] = {"agent": [], "operator": []}
    for headers in STRANGERS.values():
        for door, answer in (
            ("agent", await nobody.ask("/v1/drop_off", {"payload": WORK}, **headers)),
            ("agent", await nobody.ask("/v1/drop_off", b"{", **headers)),
            ("operator", await nobody.http.get("/v1/agents", headers=headers)),
            ("operator", await nobody.http.get("/v1/queues/research", headers=headers)),
        ):
            told[door].append(problem(answer, 401, "unauthenticated"))
            assert answer.headers["www-authenticate"] == 'Bearer realm="dropoff"'
    for heard in told.values():
        assert heard == heard[:1] * len(heard)
    assert "dropoff doctor" in told["operator"][0]["detail"]
    assert desk.stored() == before


async def test_of_two_credentials_neither_counts(desk: Desk, scout: Agent):
    headers = [("authorization", f"Bearer {scout.bearer}"), ("authorization", f"Bearer {desk.operator.bearer}")]
    answer = await desk.as_agent("").http.post("/v1/describe", headers=headers)
    problem(answer, 401, "unauthenticated")


async def test_without_a_grant_a_queue_is_not_there(desk: Desk, scout: Agent, writer: Agent):
    """Missing and forbidden read the same; with another grant on it the refusal says which."""
    await desk.queue("secret", {"type": "object"})
    before = desk.stored()
    forbidden = await scout.ask("/v1/drop_off", {"queue": "secret", "payload": {}})
    missing = await scout.ask("/v1/drop_off", {"queue": "sacred", "payload": {}})
    one = problem(forbidden, 404, "queue_unknown")["detail"]
    assert one.replace("secret", "sacred") == problem(missing, 404, "queue_unknown")["detail"]
    told = problem(await writer.ask("/v1/drop_off", {"queue": "research", "payload": WORK}), 403, "not_allowed")
    assert "only pick up" in told["detail"]
    assert desk.stored() == before


async def test_what_belongs_to_others_is_refused(desk: Desk, scout: Agent, writer: Agent):
    """A borrowed lease, another's handoff, a lease that is none, a late completion."""
    thief = await desk.agent("thief", "pick:research", "drop:research")
    sent = await scout.done("/v1/drop_off", {"payload": WORK})
    lease = (await writer.done("/v1/pick_up"))["lease_id"]
    before = desk.stored()
    for path, extra in (
        ("/v1/complete", {}),
        ("/v1/extend", {}),
        ("/v1/hand_back", {"outcome": "not_for_me"}),
    ):
        told = problem(await thief.ask(path, {"lease_id": lease, **extra}), 404, "lease_unknown")
        assert "You hold: none" in told["detail"]
    problem(await thief.ask("/v1/check", {"handoff_id": sent["handoff_id"]}), 404, "handoff_unknown")
    problem(await thief.ask("/v1/withdraw", {"handoff_id": sent["handoff_id"]}), 404, "handoff_unknown")
    told = problem(await writer.ask("/v1/complete", {"lease_id": sent["handoff_id"]}), 404, "lease_unknown")
    assert lease in told["detail"]
    assert desk.stored() == before

    await writer.done("/v1/complete", {"lease_id": lease, "result": {"a": 1}})
    after = desk.stored()
    problem(await writer.ask("/v1/complete", {"lease_id": lease, "result": {"a": 2}}), 409, "already_settled")
    problem(await scout.ask("/v1/withdraw", {"handoff_id": sent["handoff_id"]}), 409, "handoff_settled")
    assert desk.stored() == after


async def test_a_full_queue_says_when_to_come_again(desk: Desk):
    await desk.queue("small", {"type": "object"}, max_waiting=1)
    agent = await desk.agent("ann", "drop:small")
    await agent.done("/v1/drop_off", {"payload": {}})
    before = desk.stored()
    answer = await agent.ask("/v1/drop_off", {"payload": {}})
    assert problem(answer, 429, "queue_full")["retry"] == "later"
    assert answer.headers["retry-after"] == "60"
    assert desk.stored() == before


async def test_a_key_with_other_content_is_a_conflict(desk: Desk, scout: Agent):
    await scout.done("/v1/drop_off", {"payload": WORK}, idempotency_key="k")
    before = desk.stored()
    answer = await scout.ask("/v1/drop_off", {"payload": WORK | {"topic": "owls"}}, idempotency_key="k")
    problem(answer, 409, "request_conflict")
    assert desk.stored() == before


async def test_a_key_that_cannot_be_kept_is_refused(desk: Desk, scout: Agent):
    before = desk.stored()
    for key in ("x" * 201, "tab\tinside", "caf\xe9"):
        headers = [(b"idempotency-key", key.encode("latin-1"))]
        answer = await scout.http.post("/v1/drop_off", json={"payload": WORK}, headers=headers)
        assert problem(answer, 422, "arguments_invalid")["problems"][0]["path"] == "Idempotency-Key"
    assert desk.stored() == before


# ---- how it is asked --------------------------------------------------------------------------------------------


async def test_an_unknown_address_or_method_is_a_problem_too(desk: Desk, scout: Agent):
    problem(await scout.ask("/v1/dropoff", {}), 404, "route_unknown")
    problem(await scout.look("/docs"), 404, "route_unknown")
    problem(await scout.ask("/v1/drop_off/", {}), 404, "route_unknown")
    for name, meant in (("complete_handoff", "complete"), ("extend_lease", "extend"), ("dropoff", "drop_off")):
        told = problem(await scout.ask(f"/v1/{name}", {}), 404, "route_unknown")
        assert f"Did you mean '/v1/{meant}'?" in told["detail"]
    assert "Did you mean" not in problem(await scout.look("/v1/favicon.ico"), 404, "route_unknown")["detail"]
    answer = await scout.look("/v1/drop_off")
    assert "only POST" in problem(answer, 405, "method_not_allowed")["detail"]
    assert answer.headers["allow"] == "POST"
    answer = await scout.http.delete("/v1/schemas/research")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST"


PATHS = ("/v1/queues", "/v1/openapi.json", "/mcp", "/nowhere", "/livez/", "/readyz/more")


async def test_a_host_that_is_none_of_ours_is_told_the_setting(desk: Desk):
    """At every address, whatever credential comes with it."""
    for host in ("evil.example", "127.0.0.1.evil.example:80", "127.0.0.1:80x", "127.0.0.1:", "broker", "broker:1", ""):
        for path in PATHS:
            answer = await desk.operator.http.get(path, headers={"host": host})
            assert "DROPOFF_ALLOWED_HOSTS=" in problem(answer, 421, "host_refused")["detail"], (host, path)


async def test_of_two_hosts_neither_counts(desk: Desk):
    answer = await desk.raw("GET /v1/queues HTTP/1.1", "Host: 127.0.0.1", "Host: 127.0.0.1")
    assert answer.startswith("HTTP/1.1 421 ")
    assert '"code":"host_refused"' in answer


async def test_a_host_on_the_list_is_answered(desk: Desk):
    for host in ("127.0.0.1", "127.0.0.1:1", "broker:8787", "BROKER:8787"):
        assert (await desk.operator.http.get("/v1/queues", headers={"host": host})).status_code == 200, host


async def test_a_foreign_page_is_refused(desk: Desk):
    """Whatever it asks for, and whatever credential it brings."""
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "http://friend.example"):
        for path in PATHS:
            answer = await desk.operator.http.get(path, headers={"origin": origin})
            problem(answer, 403, "origin_refused")


async def test_our_own_page_and_a_listed_one_are_answered(desk: Desk):
    for origin in (desk.url, "https://friend.example"):
        assert (await desk.operator.http.get("/v1/queues", headers={"origin": origin})).status_code == 200


async def test_a_fault_of_ours_has_an_id_that_the_log_has(
    desk: Desk, scout: Agent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """The caller learns the id, and nothing of the fault."""

    def broken(*args: Any) -> str:
        raise ZeroDivisionError("a secret of ours")

    monkeypatch.setattr(calls, "key_of", broken)
    with caplog.at_level(logging.ERROR, "dropoff.doors"):
        answer = await within("an answer", scout.ask("/v1/drop_off", {"payload": WORK}))
    told = problem(answer, 500, "internal_error")
    fault = told["detail"].split("id ")[1].split(";")[0]
    assert "secret" not in answer.text
    assert [fault in record.message for record in caplog.records] == [True]
    assert caplog.records[0].exc_info
