"""No byte of what was rejected reaches the store, and no byte that was not judged reaches who picks up.

A canary is a word that stands nowhere else. One is put into every place of a call where a caller's own text can stand,
the call is rejected for one reason of the table, and then it is sought in all files of the data folder, the append-only
file among them, and in the broker's log. The store writes to the disk before it answers, so nothing is under way.
"""

import json
import random
import secrets
import string
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dropoff.core import payload
from tests.doors.every_door import DOORS, Heard, House, house
from tests.doors.mcp.wire import ERAS
from tests.world import until

SPELLINGS = 300  # payloads written in unusual ways; each is dropped off and picked up


@pytest.fixture
async def at() -> AsyncIterator[House]:
    async with house() as made:
        yield made


def canary() -> str:
    return f"canary{secrets.token_hex(8)}"


def kept(at: House, word: str) -> list[str]:
    """The files that hold this word, as it stands or with every letter escaped."""
    spellings = (word.encode(), "".join(f"\\u{ord(letter):04x}" for letter in word).encode())
    files = [path for path in at.broker.data.parent.rglob("*") if path.is_file()]
    assert any(path.suffix == ".aof" and path.stat().st_size for path in files), (
        "there is no append-only file to search"
    )
    return [str(path) for path in files if any(each in path.read_bytes() for each in spellings)]


async def counted(at: House) -> bool:
    """Whether the broker has written what the contract of `strict` rejected."""
    found = (await at.operator.get("/v1/queues/strict/rejections")).json()["rejections"]
    return "type" in {one["what"] for one in found}


async def test_what_is_taken_is_found_by_the_search(at: House):
    """Else the other tests would search in vain."""
    word = canary()
    await at.done("/v1/drop_off", {"queue": "open", "payload": {"word": word}})
    assert kept(at, word)


# ---- one call, through every door ---------------------------------------------------------------------------------

BAD: dict[str, tuple[str, str]] = {  # text with the canary for CANARY, and the places where it is refused
    "its contract": ('{"CANARY":"CANARY","doubled":"CANARY","pattern":"CANARY"}', "payload result next"),
    "no number": ('{"CANARY":"CANARY","v":NaN}', "payload result next"),
    "half a pair": ('{"CANARY":"CANARY","v":"\\ud800"}', "payload result next"),
    "too deep": ('{"CANARY":"CANARY","v":' + "[" * 70 + '"CANARY"' + "]" * 70 + "}", "payload result next"),
    "far too deep": ('{"CANARY":"CANARY","v":' + "[" * 90_000 + '"CANARY"' + "]" * 90_000 + "}", "payload result next"),
    "too large": ('{"CANARY":"' + "CANARY" * 60_000 + '"}', "payload result next"),
    "far too large": ('{"CANARY":"' + "CANARY" * 1_000_000 + '"}', "payload result next"),
    "a string of JSON": ('"{\\"a\\":\\"CANARY\\"}"', "payload result next"),
    "no JSON": ('{"CANARY":"CANARY"', "payload result next"),
    "an unknown field beside it": ('{},"CANARY":"CANARY"', "payload result next"),
    "a note that is too long": ('{},"note":"' + "CANARY" * 100 + '"', "payload"),
}


@pytest.mark.parametrize("door", DOORS)
async def test_nothing_of_a_bad_call_is_stored(door: str, at: House):
    """Whatever is wrong, and wherever: in a payload, a result, in what comes next, in arguments."""
    words: dict[str, str] = {}
    for name, (text, places) in BAD.items():
        for place in places.split():
            words[word := canary()] = f"{name}: {place}"
            heard = await at.throw(door, place, text.replace("CANARY", word))
            assert heard.refused, (words[word], heard)
    await until("what was rejected to be counted", lambda: counted(at))
    await at.done("/v1/drop_off", {"queue": "open", "payload": {}})  # so that what was only gathered is written too
    assert {name: files for word, name in words.items() if (files := kept(at, word))} == {}


# Every rule by which a schema may speak of names that are not its own. None of the names comes from a payload.
NAMELESS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "closed": {"type": "object", "properties": {"known": {}}, "additionalProperties": False},
        "empty": {"type": "object", "additionalProperties": False},
        "rest": {"type": "object", "additionalProperties": {"type": "integer"}},
        "matched": {"type": "object", "patternProperties": {"^canary": {"type": "integer"}}},
        "names": {"type": "object", "propertyNames": {"maxLength": 5}},
        "loose": {"type": "object", "allOf": [{"properties": {"known": {}}}], "unevaluatedProperties": False},
        "branch": {"anyOf": [{"type": "object", "properties": {"k": {}}, "additionalProperties": False}, {"const": 1}]},
        "deep": {"type": "array", "items": {"$ref": "#/$defs/node"}},
        "list": {"enum": ["a"]},
        "text": {"type": "string", "pattern": "^x$"},
    },
    "$defs": {"node": {"type": "object", "additionalProperties": {"type": "integer"}}},
}
OWN = '{"CANARY":"CANARY"}'
NAMES = {
    "closed": OWN,
    "empty": OWN,
    "rest": OWN,
    "matched": OWN,
    "names": OWN,
    "loose": OWN,
    "branch": OWN,
    "deep": f"[{{}},{OWN}]",
    "list": '"CANARY"',
    "text": '"CANARY"',
}
COUNTED = {
    "unknown /properties/closed/properties",
    "unknown /properties/empty",
    "type /properties/rest/additionalProperties",
    "type /properties/matched/patternProperties/^canary",
    "unknown /properties/names/propertyNames",
    "unknown /properties/loose",
    "unknown /properties/branch/anyOf/0/properties",
    "type /$defs/node/additionalProperties",
    "choice /properties/list",
    "pattern /properties/text",
}


async def test_what_was_rejected_is_counted_through_every_door_and_without_a_name_of_its_own(at: House):
    """Names of fields are the caller's text, too. What is counted are the schema's own places."""
    await at.done("/v1/schemas/nameless", NAMELESS, by=at.operator)
    await at.done("/v1/queues", {"name": "nameless", "schema": "nameless"}, by=at.operator)
    await at.done("/v1/agents/ann/grant", {"grants": ["drop:nameless"]}, by=at.operator)
    lease, words = await at.lease(), dict[str, str]()
    text = "{" + ",".join(f'"{name}":{value}' for name, value in NAMES.items()) + "}"
    onward = f'{{"queue":"nameless","payload":{text}}}'
    for door in DOORS:
        for verb, tool, arguments in (
            ("drop_off", "drop_off", onward),
            ("complete", "complete_handoff", f'{{"lease_id":"{lease}","next":{onward}}}'),
        ):
            words[word := canary()] = f"{door}: {verb}"
            asked = arguments.replace("CANARY", word)
            heard = await (at.call(door, tool, asked) if door in ERAS else at.plainly(door, verb, asked))
            assert heard.code in ("payload_invalid", "next_invalid"), heard

    async def counted() -> list[Any]:
        answer = await at.operator.get("/v1/queues/nameless/rejections")
        assert not any(word in answer.text for word in words)
        return answer.json()["rejections"]

    async def all_of_them() -> bool:
        return {one["count"] for one in await counted()} == {len(words)}

    await until("the counts of every door", all_of_them)
    assert {f"{one['what']} {one['place']}" for one in await counted()} == COUNTED
    await at.done("/v1/drop_off", {"queue": "open", "payload": {}})
    assert {what: files for word, what in words.items() if (files := kept(at, word))} == {}


# ---- every other reason --------------------------------------------------------------------------------------------


class Refusals:
    """The same call by HTTP and in both eras of MCP, refused for one reason each time."""

    def __init__(self, at: House) -> None:
        self.at = at
        self.words: dict[str, str] = {}

    async def refused(self, code: str, tool: str, path: str, key: str = "", /, **arguments: Any) -> None:
        for door in ("http", "batch", *ERAS):
            self.words[word := canary()] = f"{code}: {door}"
            text = json.dumps(arguments).replace("CANARY", word)
            heard = await self._ask(door, tool, path, text, key)
            assert heard.code == code, (door, heard)

    async def _ask(self, door: str, tool: str, path: str, text: str, key: str) -> Heard:
        if door in ERAS:
            return await self.at.call(door, tool, text, {"dropoff/request": key} if key else None)
        return await self.at.plainly(door, path, text, key)


async def test_nothing_of_a_call_that_may_not_be_is_stored(at: House):
    """A queue that is not there, not the agent's, draining or full; a key that stands for other content; a lease that
    has ended, is another's, or none; a handoff that is another's.
    """
    refusals, operator = Refusals(at), at.operator
    refused = refusals.refused
    work = {"payload": {"CANARY": "CANARY"}, "note": "CANARY"}
    for queue in ("full", "draining", "hidden"):
        await at.done("/v1/queues", {"name": queue, "schema": "open", "max_waiting": 1}, by=operator)
    more = [f"{what}:{queue}" for what in ("drop", "pick") for queue in ("full", "draining")] + ["pick:hidden"]
    await at.done("/v1/agents/ann/grant", {"grants": more}, by=operator)
    await at.done("/v1/queues/draining/drain", {"reason": "moving"}, by=operator)
    await at.done("/v1/drop_off", {"queue": "full", "payload": {}})
    await at.done("/v1/drop_off", {"queue": "open", "payload": {}}, idempotency_key="once")

    await refused("queue_unknown", "drop_off", "drop_off", queue="CANARY", **work)
    await refused("not_allowed", "drop_off", "drop_off", queue="hidden", **work)
    await refused("queue_draining", "drop_off", "drop_off", queue="draining", **work)
    await refused("queue_full", "drop_off", "drop_off", queue="full", **work)
    await refused("request_conflict", "drop_off", "drop_off", "once", queue="open", **work)

    lease = await at.lease()
    onward = {"lease_id": lease, "result": {"CANARY": "CANARY"}}
    for queue, code in (
        ("CANARY", "queue_unknown"),
        ("hidden", "not_allowed"),
        ("draining", "queue_draining"),
        ("full", "queue_full"),
    ):
        await refused(code, "complete_handoff", "complete", **onward, next={"queue": queue, **work})
    await at.done("/v1/complete", {"lease_id": lease, "result": {"first": 1}})
    await refused("already_settled", "complete_handoff", "complete", **onward)
    await refused("lease_unknown", "complete_handoff", "complete", lease_id="CANARY", result={"CANARY": "CANARY"})
    for given in ({"checkpoint": {"CANARY": 1}, "progress": "CANARY"}, {"progress": "CANARY"}):
        await refused("already_settled", "extend_lease", "extend", lease_id=lease, **given)
    await refused("already_settled", "hand_back", "hand_back", lease_id=lease, outcome="impossible", reason="CANARY")
    await refused("handoff_unknown", "withdraw_handoff", "withdraw", handoff_id="open-CANARY", reason="CANARY")
    await refused("handoff_unknown", "check_handoff", "check", handoff_id="open-CANARY")
    await refused("queue_unknown", "pick_up", "pick_up", queue="CANARY", wait_seconds=0)
    await refused("arguments_invalid", "hand_back", "hand_back", lease_id=lease, outcome="CANARY", CANARY="CANARY")

    await at.done("/v1/drop_off", {"queue": "open", "payload": {}})
    assert {name: files for word, name in refusals.words.items() if (files := kept(at, word))} == {}


async def test_nothing_of_a_lost_lease_or_a_stranger_is_stored(at: House):
    """Who is frozen, who has no credential that counts, and who comes late."""
    refusals = Refusals(at)
    lease = await at.lease()
    await at.done(
        f"/v1/handoffs/{lease.rpartition('.')[0]}/release", {"lease_id": lease, "reason": "it hangs"}, by=at.operator
    )
    late = {"lease_id": lease, "result": {"CANARY": "CANARY"}}
    await refusals.refused("lease_lost", "complete_handoff", "complete", **late)
    await refusals.refused("lease_lost", "complete_handoff", "complete", **late, next={"queue": "open", "payload": {}})
    await at.done("/v1/agents/ann/freeze", {"reason": "odd"}, by=at.operator)
    work = {"queue": "open", "payload": {"CANARY": "CANARY"}, "note": "CANARY"}
    await refusals.refused("frozen", "drop_off", "drop_off", **work)

    refusals.words[stranger := canary()] = "a stranger"
    headers = {"authorization": f"Bearer {stranger}", "idempotency-key": stranger, "traceparent": stranger}
    answer = await at.agent.post("/v1/drop_off", json={"queue": "open", "payload": {"a": stranger}}, headers=headers)
    assert answer.status_code == 401
    assert {name: files for word, name in refusals.words.items() if (files := kept(at, word))} == {}


SCHEMAS = {
    "a rule": '{"type":"object","$ref":"https://CANARY","title":"CANARY"}',
    "the specification": '{"type":"CANARY","properties":"CANARY"}',
    "the root": '{"type":"array","title":"CANARY"}',
    "its cost": '{"type":"object","title":"CANARY","allOf":[' + "{}," * 2_000 + "{}]}",
    "its size": '{"type":"object","title":"CANARY","$comment":"' + "CANARY" * 4_000 + '"}',
    "a key twice": '{"type":"object","title":"CANARY","title":"CANARY"}',
    "no JSON": '{"type":"object","title":"CANARY"',
}


async def test_nothing_of_a_schema_that_was_refused_is_stored(at: House):
    """Nor its name; and an agent that may register none leaves nothing either."""
    words = {canary(): why for why in (*SCHEMAS, "its name", "who pushed it")}
    for word, why in words.items():
        text = SCHEMAS.get(why, '{"type":"object","title":"CANARY"}').replace("CANARY", word)
        if why == "who pushed it":
            assert (await at.agent.post(f"/v1/schemas/{word}", content=text.encode())).status_code in (403, 404)
        else:
            assert (await at.push(f"{word}!" if why == "its name" else word, text)).refused, why
    await at.done("/v1/drop_off", {"queue": "open", "payload": {}})
    assert {why: files for word, why in words.items() if (files := kept(at, word))} == {}


# ---- what goes on is what was judged ------------------------------------------------------------------------------


class Scribe:
    """Writes a random value as JSON, in spellings that mean the same and look different."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def members(self, depth: int) -> str:
        names = self.chance.sample(["a", "b", "topic", "ж", "é\n", '"', "/", "z z", "", "😀", "\u2028", "\x7f"], 4)
        pairs = [f"{self.space()}{self.text(name)}{self.space()}:{self.value(depth)}" for name in names]
        return "{" + ",".join(pairs[: self.chance.randrange(5)]) + self.space() + "}"

    def value(self, depth: int = 0) -> str:
        kinds = [self.number, self.words, lambda: self.chance.choice(["true", "false", "null"])]
        if depth < 4:
            kinds += [lambda: self.members(depth + 1), lambda: self.items(depth + 1)]
        return self.space() + self.chance.choice(kinds)() + self.space()

    def items(self, depth: int) -> str:
        return "[" + ",".join(self.value(depth) for _ in range(self.chance.randrange(4))) + self.space() + "]"

    def words(self) -> str:
        letters = string.ascii_letters + "ж😀é\n\t\x00\"\\/{}[]:,'<&\u2028"
        return self.text("".join(self.chance.choices(letters, k=self.chance.randrange(9))))

    def text(self, text: str) -> str:
        """Each letter plain, or escaped in one of the ways that there are."""
        return '"' + "".join(self.letter(each) for each in text) + '"'

    def letter(self, letter: str) -> str:
        plain = json.dumps(letter, ensure_ascii=False)[1:-1]
        units = letter.encode("utf-16-be")
        escaped = "".join(f"\\u{units[at]:02x}{units[at + 1]:02X}" for at in range(0, len(units), 2))
        return self.chance.choice([plain, plain, escaped, "\\/" if letter == "/" else plain])

    def number(self) -> str:
        whole = str(self.chance.choice([0, 1, 7, 120, 2**53 - 1, self.chance.randrange(10**9)]))
        fraction = self.chance.choice(["", "", ".0", ".500", ".1", ".30000000000000004"])
        power = self.chance.choice(["", "", "e2", "E+2", "e-7", "e0", "E-300"])
        return self.chance.choice(["", "-"]) + whole + fraction + power

    def space(self) -> str:
        return self.chance.choice(["", "", " ", "\t", "\n", "\r\n  "])


async def test_who_picks_up_gets_the_one_encoding_of_what_was_judged(at: House, fresh_seed: int):
    """Order, escapes, white space and spellings of numbers are the sender's; byte for byte none of them goes on."""
    scribe = Scribe(fresh_seed)
    for _ in range(SPELLINGS):
        text = scribe.members(0)
        heard = await at.throw("http", "payload", text)
        assert not heard.refused, (text, heard)
        answer = await at.agent.post("/v1/pick_up", json={"queue": "strict"})
        meant = payload.canonical(json.loads(text))
        assert b'"payload":' + meant + b',"' in answer.content, (text, answer.text)
        await at.done("/v1/complete", {"lease_id": answer.json()["lease_id"]})


async def test_what_goes_on_to_the_next_is_in_the_one_encoding_too(at: House, fresh_seed: int):
    """The same through the other doors, and where it comes with a completion."""
    scribe = Scribe(fresh_seed)
    for door in DOORS:
        for place in ("payload", "next"):
            text = scribe.members(0)
            assert not (await at.throw(door, place, text)).refused, (door, place, text)
            answer = await at.agent.post("/v1/pick_up", json={"queue": "strict"})
            assert b'"payload":' + payload.canonical(json.loads(text)) + b',"' in answer.content, (door, place, text)
