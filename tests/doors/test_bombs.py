"""Every bomb is refused or bounded, whatever the door; and nobody else waits for it.

The broker is a process of its own, as users start it. A bomb is the text of a member or two, put into an object at each
place that takes somebody else's data. Whatever a bomb is answered, the broker is there afterwards, fetched nothing, and
a bystander's calls were answered all the time. How long that takes on this machine at this time is known from a second
broker at which nothing happens, and a bystander who asks it side by side with the first.

    pytest -m campaign tests/doors/test_bombs.py -s      the strict figures, on a machine that has nothing else to do
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.contracts.test_gate import doubled
from tests.crash.conductor import store_pid
from tests.doors.every_door import DOORS, PLACES, Heard, House, bystander, house
from tests.doors.mcp.wire import ERAS
from tests.loopback import Loopback

ANSWERED_MS = 100.0
CALM_MS = 50.0  # a machine on which the other broker takes longer is too busy for the strict figure
ITEMS = [{"i": each, "v": "x" * 20} for each in range(4_000)]

BEYOND = {  # what no place takes
    "depth 100,000": '"v":' + "[" * 100_000 + "]" * 100_000,
    "depth 100,000 of objects": '"v":' + '{"a":' * 100_000 + "1" + "}" * 100_000,
    "an integer of 5,000 digits": '"v":' + "9" * 5_000,
    "a fraction of 5,000 digits and more": '"v":' + "9" * 5_000 + ".5",
    "NaN": '"v":NaN',
    "Infinity": '"v":Infinity',
    "-Infinity": '"v":-Infinity',
    "1e400": '"v":1e400',
    "half a surrogate pair": '"v":"\\ud800"',
    "half a surrogate pair in a name": '"\\udfff":1',
    "100,000 values": '"v":[' + "0," * 99_999 + "0]",
    "1 million members": '"v":{' + '"a":1,' * 1_000_000 + '"b":1}',
    "10 MB": '"v":"' + "x" * 10_000_000 + '"',
}
TWICE = {"a key twice": '"v":"first","v":"last"', "a key twice, once escaped": '"v":"first","\\u0076":"last"'}
JUDGED = {  # what the contract forbids
    "^(a+)+$": '"pattern":"' + "a" * 200_000 + '!"',
    "one of 4,000 objects twice": '"unique":' + json.dumps([*ITEMS, ITEMS[0]]),
    "allOf, doubled 8 times": '"doubled":"no integer"',
}
ORDINARY = {  # what looks like one and is none
    "4,000 objects": '"unique":' + json.dumps(ITEMS),
    "an integer for the doubled allOf": '"doubled":7',
    "a remote $ref as data": '"$ref":"REMOTE","$schema":"REMOTE"',
}
SCHEMAS: dict[str, Any] = {  # what is no contract; the texts of BEYOND and TWICE stand in a `const`
    "a remote $ref": {"properties": {"a": {"$ref": "REMOTE"}}},
    "a remote $schema": {"$schema": "REMOTE"},
    "a remote $dynamicRef": {"$dynamicRef": "REMOTE"},
    "a remote base": {"$id": "REMOTE", "properties": {"a": {"$ref": "other.json"}}},
    "allOf, doubled 24 times": doubled("allOf", 24),
    "anyOf, doubled 100 times": doubled("anyOf", 100),
    "a pattern that looks ahead": {"properties": {"a": {"pattern": "^(?=(a+)+$)(a+)+b$"}}},
    "a pattern that is huge once unrolled": {"properties": {"a": {"pattern": "(a{1000}){1000}"}}},
    "500 patterns that are large together": {"properties": {f"a{n}": {"pattern": f".{{900}}{n}"} for n in range(500)}},
    "7,000 parts that are none": {"allOf": [1] * 7_000},
    "5,000 empty parts": {"allOf": [{}] * 5_000},
    "an address that is none": {"$id": "https://example.org", "properties": {"a": {"$id": "//[x"}}},
}
DEAR = {f"a{each}": {"type": "string", "description": "x"} for each in range(300)}  # taken, and 60 ms to be judged


REFUSED = {  # `no_call`: the SDK's parser would not read it
    "arguments_invalid", "payload_invalid", "result_invalid", "next_invalid", "payload_too_large", "schema_refused",
    "no_call",
}  # fmt: skip


async def explode(at: House, door: str, remote: str) -> None:
    """Every bomb at every place of this door, and what only looks like one."""
    for place in PLACES:
        await refuse_all(at, door, place)
        for name, text in TWICE.items():
            heard = await at.throw(door, place, f"{{{text}}}")
            assert heard.refused or door in ERAS, f"{name}: {door}, {place}"  # the SDK's parser keeps the last
        for name, text in (JUDGED | ORDINARY).items():
            heard = await at.throw(door, place, f"{{{text.replace('REMOTE', remote)}}}")
            assert not heard.refused or name in JUDGED, f"{name}: {door}, {place}: {heard}"


async def refuse_all(at: House, door: str, place: str) -> None:
    for name, text in BEYOND.items():
        require_refused(await at.throw(door, place, f"{{{text}}}"), f"{name}: {door}, {place}")
    for name, text in JUDGED.items():
        assert (await at.throw(door, place, f"{{{text}}}")).code == f"{place}_invalid", f"{name}: {door}, {place}"


async def push_all(at: House, remote: str) -> None:
    for name, text in (BEYOND | TWICE).items():
        require_refused(await at.push("bomb", f'{{"type":"object","const":{{{text}}}}}'), name)
    for name, schema in SCHEMAS.items():
        text = json.dumps({"type": "object"} | schema).replace("REMOTE", remote)
        assert (await at.push("bomb", text)).code == "schema_refused", name
    for content in (DEAR, {"a": {"pattern": "^(a+)+$"}}, {"a": {"pattern": "(a{30}){30}"}}):
        assert not (await at.push("sound", json.dumps({"type": "object", "properties": content}))).refused


def require_refused(heard: Heard, name: str) -> None:
    assert heard.code in REFUSED, f"{name}: {heard.status} {heard.code} {heard.text[:300]}"
    assert 400 <= heard.status < 500 or heard.status == 200, f"{name}: {heard}"
    assert len(heard.text) < 2_000, f"{name}: a refusal that repeats the bomb"


class Answers(NamedTuple):
    """How long two bystanders waited: the one with the bombs, and the one at a broker where nothing happens."""

    took_ms: list[float]
    elsewhere_ms: list[float]

    def __str__(self) -> str:
        return f"{figures(self.took_ms)}; elsewhere {figures(self.elsewhere_ms)}"

    @property
    def prompt(self) -> bool:
        """All within what a busy machine takes from one of the two, and not from the other."""
        return max(self.took_ms) < 3 * (ANSWERED_MS + max(self.elsewhere_ms))


def figures(took_ms: list[float]) -> str:
    ordered = sorted(took_ms)
    return (
        f"{len(ordered)} answers, 99 % within {ordered[len(ordered) * 99 // 100]:.1f}, all within {ordered[-1]:.1f} ms"
    )


@asynccontextmanager
async def bystanders(at: House) -> AsyncIterator[Answers]:
    async with house() as elsewhere, bystander(elsewhere) as elsewhere_ms, bystander(at) as took_ms:
        yield Answers(took_ms, elsewhere_ms)


@pytest.mark.parametrize("door", DOORS)
async def test_no_bomb_goes_through_a_door_and_nobody_waits_for_it(door: str, loopback: Loopback):
    """All of them at each place of the door. Of a key that stands twice the SDK's parser drops the first before we see
    it, at both revisions of MCP: there the last counts, and the test below shows that it alone goes on.
    """
    async with house() as at:
        async with bystanders(at) as answers:
            await explode(at, door, loopback.address)
        print(f"\n{door}: {answers}")
        await at.lease()
    assert loopback.hits == 0
    assert answers.prompt, answers


async def test_no_schema_is_a_bomb_and_nobody_waits_for_its_judge(loopback: Loopback):
    """One after the other, and all at once."""
    async with house() as at:
        async with bystanders(at) as answers:
            await push_all(at, loopback.address)
            await asyncio.gather(*(push_all(at, loopback.address) for _ in range(2)))
        print(f"\nschemas: {answers}")
    assert loopback.hits == 0
    assert answers.prompt, answers


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("twice", TWICE)
async def test_of_a_key_that_stood_twice_the_receiver_gets_what_was_judged(era: str, twice: str):
    async with house() as at:
        assert not (await at.throw(era, "payload", f"{{{TWICE[twice]}}}")).refused
        answer = await at.agent.post("/v1/pick_up", json={"queue": "strict"})
    assert b'"payload":{"v":"last"}' in answer.content


# ---- memory, and the strict figures -----------------------------------------------------------------------------


def resident_kb(pid: int) -> int:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])


async def memory_kb(at: House) -> dict[str, int]:
    store = await store_pid(at.broker.data)
    assert store is not None
    return {"broker": resident_kb(at.broker.pid), "store": resident_kb(store)}


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")


@needs_proc
async def test_what_bombs_take_of_memory_does_not_grow_with_them(loopback: Loopback):
    """The second round costs no more than the first has left behind."""
    async with house() as at:
        await explode(at, "http", loopback.address)
        before = await memory_kb(at)
        await explode(at, "http", loopback.address)
        after = await memory_kb(at)
    print(f"\nKiB: {before}, then {after}")
    assert after["broker"] < before["broker"] * 1.5
    assert after["store"] < before["store"] * 1.5


@needs_proc
@pytest.mark.campaign
async def test_the_strict_figures(loopback: Loopback):
    """Others are answered within 100 ms; 10 s after the bombs the memory is within 10 % of what it was.

    Where the machine is so busy that a broker at which nothing happens takes longer, the first is not asserted.
    """
    async with house() as at:
        for era in ERAS:  # what is imported at the first call of a kind is no bomb's
            await at.throw(era, "payload", "{}")
        await at.push("sound", json.dumps({"type": "object", "properties": DEAR}))
        before = await memory_kb(at)
        async with bystanders(at) as answers:
            for door in DOORS:
                for place in PLACES:
                    await refuse_all(at, door, place)
            await push_all(at, loopback.address)
        peak = await memory_kb(at)
        await asyncio.sleep(10)  # the promise is about this very moment
        after = await memory_kb(at)
    is_calm = max(answers.elsewhere_ms) < CALM_MS
    print(f"\n{answers}{'' if is_calm else ': the machine is too busy for the strict figure'}")
    print(f"KiB before {before}, right after {peak}, 10 s later {after}")
    assert all(after[name] <= before[name] * 1.1 for name in before), (before, after)
    assert max(answers.took_ms) < ANSWERED_MS or not is_calm, answers
