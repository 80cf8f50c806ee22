"""What every step can answer, read from the steps themselves, and what it did answer.

Agreement about answers that never come up would prove nothing. The words of a step stand in its header; the codes of
its refusals in its own lines and in those of the shared functions that it calls.
"""

import re
from collections import Counter
from importlib import resources
from typing import Final

from dropoff.core.caller import Caller
from dropoff.storage.replies import Reply
from dropoff.storage.scripts import every_script
from dropoff.storage.store import RedisStore

LUA: Final = resources.files("dropoff.storage").joinpath("lua")
GATE: Final = {"stopped_at_gate": {"frozen", "revoked"}}  # the one refusal whose code is made: it is the standing

# What no story brings about, for these are not about the story: each has a test of its own in tests/store.
NOT_IN_STORIES: Final = {
    "beat newer",  # a store that a newer release has written
    "prove lacking",  # a right that is missing at start
}


class Heard(RedisStore):
    """The store, and a count of all that its steps answer."""

    answers: Counter[str]

    async def _run(self, name: str, by: Caller, keys: dict[str, str], /, **args: str | bytes) -> Reply:
        reply = await super()._run(name, by, keys, **args)
        code = f" {reply.facts['code'].decode()}" if reply.word == "refused" else ""
        self.answers[f"{name} {reply.word}{code}"] += 1
        return reply


def every_answer() -> set[str]:
    """`<step> <word>`, and for a refusal `<step> refused <code>`."""
    found: set[str] = set()
    shared = _codes_of_shared_functions()
    for step in every_script():
        found |= {f"{step.name} {word}" for word in step.gives - {"refused"}}
        found |= {f"{step.name} refused {code}" for code in _codes(step.name, shared)}
    return found - NOT_IN_STORIES


def _codes(step: str, shared: dict[str, set[str]]) -> set[str]:
    text = _code(step)
    called = (codes for function, codes in shared.items() if re.search(rf"\b{function}\(", text))
    return _refused(text).union(*called)


def _codes_of_shared_functions() -> dict[str, set[str]]:
    text = _code("_prelude") + _code("_handoff")
    bodies = re.findall(r"^local function (\w+)(.*?)(?=^local function|\Z)", text, re.MULTILINE | re.DOTALL)
    return {name: _refused(body) for name, body in bodies} | GATE


def _refused(text: str) -> set[str]:
    return set(re.findall(r"refused\('(\w+)'", text))


def _code(name: str) -> str:
    """The file without its comments."""
    return re.sub(r"--.*", "", LUA.joinpath(f"{name}.lua").read_text(encoding="utf-8"))
