"""Every key in the store: what it is, who writes it, when it ends.

All keys begin with the installation's prefix and the tag of their partition, `dropoff:{p0}:`. What a step touches lies
in one partition, hence on one node. The record of a handoff is the truth; streams and sorted sets are indexes of it.

`dead` stands apart from the other ends (`final`): operators look for what died and are shown how many, and would else
have to read through all that was completed.

The table below is the only place where a key gets its name: the store builds keys from it, the tests hold every key
that is left after them against it, and a key that it cannot explain is a leak.
"""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Kind:
    """One kind of key. `<…>` in the name stands for what differs."""

    name: str
    type: str
    written_by: str
    ends: str


KINDS: Final = {
    "config": Kind("q:<queue>:config", "hash", "put_queue", "with the queue"),
    "ready": Kind("q:<queue>:ready:<version>", "stream", "move", "when a picker finds it empty"),
    "versions": Kind("q:<queue>:versions", "set", "move", "a version of which nothing waits is left out"),
    "handoff": Kind("q:<queue>:h:<id>", "hash", "move", "by retention"),
    "leases": Kind("q:<queue>:leases", "zset", "move", "empty when nothing is leased"),
    "timers": Kind("q:<queue>:timers", "zset", "move", "empty when nothing is scheduled"),
    "held": Kind("q:<queue>:held", "zset", "move", "empty when nothing is held"),
    "expiries": Kind("q:<queue>:expiries", "zset", "move", "empty when nothing can expire"),
    "final": Kind("q:<queue>:final", "zset", "move", "by retention"),
    "dead": Kind("q:<queue>:dead", "zset", "move", "by retention"),
    "pickers": Kind("q:<queue>:pickers", "zset", "pick_up", "an agent not seen for an hour is left out"),
    "rejected": Kind("q:<queue>:rejected", "hash", "count_rejections", "with the queue"),
    "minute": Kind("q:<queue>:minute:<minute>", "hash", "move", "after two hours"),
    "holds": Kind("holds:<agent>", "zset", "move", "empty when the agent holds nothing"),
    "pick": Kind("picks:<agent>:<request>", "string", "pick_up", "a little after the lease it remembers"),
    "gate": Kind("gate", "hash", "gate", "never: who was revoked stays revoked"),
    "recalls": Kind("recalls", "set", "gate", "empty when no revoked agent holds anything"),
    "beat": Kind("beat", "hash", "beat", "never"),
    "format": Kind("format", "string", "beat", "never"),
    "mending": Kind("mending", "string", "upkeep", "after a minute"),
    "ledger": Kind("ledger", "stream", "every step", "never, until an archive has it"),
    "agent": Kind("agent:<agent>", "hash", "put_principal", "never: its name stays taken"),
    "agents": Kind("agents", "set", "put_principal", "never"),
    "admins": Kind("admins", "set", "put_principal", "never: the last one cannot go"),
    "changing": Kind("changing", "hash", "put_principal", "empty when every gate knows every record"),
    "bearers": Kind("bearers", "hash", "put_principal", "each with its agent's record"),
    "queues": Kind("queues", "hash", "put_queue", "each with its queue"),
    "schema": Kind("schema:<hash>", "string", "put_schema", "never: handoffs are pinned to it"),
    "schemas": Kind("schemas", "hash", "put_schema", "never"),
    "proof": Kind("proof:<type>", "its own", "prove", "within the step that makes it"),
}

# The sorted sets of a queue's handoffs; with its settings, what every step on the queue is given. `_handoff.lua` and
# `forward.lua` make a handoff's `place` of the same names: change them together.
INDEXES: Final = ("leases", "timers", "held", "expiries", "final", "dead")
OF_QUEUE: Final = ("config", *INDEXES)

_HOLE: Final = re.compile(r"<(\w+)>")
_PARTS: Final = re.compile(r"(<\w+>)")
_PATTERNS: Final = {
    name: re.compile(
        "".join(f"(?P{part}.+)" if part.startswith("<") else re.escape(part) for part in _PARTS.split(kind.name))
    )
    for name, kind in KINDS.items()
}


UNKNOWN: Final[tuple[str, dict[str, str]]] = ("", {})


class Keys:
    """The keys of one partition."""

    def __init__(self, prefix: str = "dropoff", partition: str = "p0") -> None:
        self.partition = partition
        self.base = f"{prefix}:{{{partition}}}:"
        self.wake = self.base + "wake"  # a channel, not a key

    def of(self, kind: str, **parts: str) -> str:
        """The key of this kind; `parts` fill what stands in `<…>`."""
        return self.base + _HOLE.sub(lambda hole: parts[hole[1]], KINDS[kind].name)

    def given(self, queue: str) -> dict[str, str]:
        """Of one queue what every step on it is given."""
        return {kind: self.of(kind, queue=queue) for kind in OF_QUEUE}

    def of_queue(self, queue: str) -> str:
        """What the keys of one queue begin with."""
        return f"{self.base}q:{queue}:"

    def explain(self, key: str) -> Kind | None:
        """The kind of a key found in the store; None if it is none of ours."""
        return KINDS.get(self.parse(key)[0])

    def parse(self, key: str) -> tuple[str, dict[str, str]]:
        """What `of` made a key from: the name of its kind, what fills its holes. `UNKNOWN` if it is none of ours."""
        if key.startswith(self.base):
            for name, pattern in _PATTERNS.items():
                found = pattern.fullmatch(key, len(self.base))
                if found:
                    return name, found.groupdict()
        return UNKNOWN
