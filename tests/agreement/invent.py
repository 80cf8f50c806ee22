"""What random agents, operators and clocks do, as plain data.

A story is a list of calls. A call names its handoff or lease by how many were known since ("the last but two"), not by
id: so a story from which some calls were taken out still makes sense, and a failing one can be shortened.

Why not Hypothesis' state machines: they leave rules out of whole runs, and with fifteen verbs few runs get as far as a
second holder. Here each verb has a weight, and a run of 40 calls is as busy as a day.
"""

from collections.abc import Callable
from random import Random
from typing import Any, Final, NamedTuple

from tests import world


class Call(NamedTuple):
    """One thing that happens: what, and with which arguments."""

    verb: str
    args: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.verb}({', '.join(f'{name}={value!r}' for name, value in self.args.items())})"


AGENTS: Final = ("ann", "bob", "carol")
QUEUES: Final = ("research", "research", "small")
TEXTS: Final = ("", "as asked", 'ünïcode "quoted"\n\\/\x7f')
CONTENTS: Final = (b"", b"", b'{"a":1}', b'{"b":"\xc3\xa9"}')  # an empty one stands for none
CLOCK_MS: Final = (0, 1, 999, 1_000, 5_000, 5_000, world.LEASE_MS, world.LEASE_MS, 400_000, 86_400_000)
KEYS: Final = ("", "", "", "k1", "k2")  # "": one that nobody has used

Draw = Callable[[Random], dict[str, Any]]


def _back(random: Random) -> int:
    """Mostly the newest; now and then one from long ago."""
    return min(int(random.expovariate(0.5)), 9)


def _who(random: Random) -> dict[str, Any]:
    """Any agent, decided upon with its record as it is now, or (seldom) as it was before the last change."""
    return {"who": random.choice(AGENTS), "outdated": random.random() < 0.1}


def _holder(random: Random) -> dict[str, Any]:
    """Mostly whose lease it is; sometimes one who borrowed it."""
    return {"who": "", "outdated": random.random() < 0.05} if random.random() < 0.8 else _who(random)


def _drop_off(random: Random) -> dict[str, Any]:
    return _who(random) | {
        "queue": random.choice(QUEUES),
        "key": random.choice(KEYS),
        "payload": random.choice(CONTENTS),
        "note": random.choice(TEXTS[:2]),
        "delay_ms": random.choice((0, 0, 0, 0, 1, 5_000)),
    }


def _extend(random: Random) -> dict[str, Any]:
    return _holder(random) | {
        "lease": _back(random),
        "progress": random.choice(TEXTS),
        "checkpoint": random.choice(CONTENTS),
        "key": random.choice(KEYS),
    }


def _hand_back(random: Random) -> dict[str, Any]:
    return _holder(random) | {
        "lease": _back(random),
        "verb": random.choice(("release", "retry", "retry", "reject")),
        "reason": random.choice(TEXTS),
        "delay_ms": random.choice((None, None, 0, 7_000)),
        "checkpoint": random.choice(CONTENTS),
        "key": random.choice(KEYS),
    }


VERBS: Final[dict[str, tuple[float, Draw]]] = {
    "drop_off": (8, _drop_off),
    "drop_off_by_old_settings": (0.3, lambda random: _who(random) | {"queue": random.choice(QUEUES)}),
    "pick_up": (8, lambda random: _who(random) | {"queue": random.choice(QUEUES), "key": random.choice(KEYS)}),
    "extend": (4, _extend),
    "complete": (3, lambda random: _holder(random) | {"lease": _back(random), "result": random.choice(CONTENTS)}),
    "hand_back": (5, _hand_back),
    "withdraw": (
        2,
        lambda random: (
            _who(random)
            | {"handoff": _back(random), "reason": random.choice(TEXTS), "may_operate": random.random() < 0.2}
        ),
    ),
    "check": (1, lambda random: _who(random) | {"handoff": _back(random), "may_inspect": random.random() < 0.2}),
    # Somebody does not hear the answer and asks again; or the network delivers late what was sent long ago.
    "again": (6, lambda random: {"call": _back(random)}),
    # Deliveries and failures are used up within 40 calls only if somebody is as quick as this.
    "take_and_give_back": (
        1,
        lambda random: {
            "queue": random.choice(QUEUES),
            "verb": random.choice(("release", "retry")),
            "rounds": random.randint(1, 12),
        },
    ),
    "time_passes": (3, lambda random: {"ms": random.choice(CLOCK_MS)}),
    "lapse": (1, lambda random: {"handoff": _back(random)}),
    "due": (0.5, lambda random: {"handoff": _back(random)}),
    "upkeep_goes_its_round": (
        4,
        lambda random: {"queue": random.choice(QUEUES), "ms": random.choice((0, 5_000, world.LEASE_MS))},
    ),
    "change": (
        0.8,
        lambda random: {
            "agent": random.choice(AGENTS),
            "standing": random.choice(("active", "active", "frozen", "revoked")),
            "outdated": random.random() < 0.2,
        },
    ),
    "freeze_everything": (0.3, lambda random: {}),
    "gate_with_an_old_revision": (
        0.3,
        lambda random: {
            "agent": random.choice(AGENTS),
            "older": random.randint(0, 2),
            "standing": random.choice(("active", "revoked")),
        },
    ),
}


def story(seed: str, calls: int) -> list[Call]:
    """The story that this seed stands for."""
    random = Random(seed)
    verbs = random.choices(list(VERBS), [weight for weight, _ in VERBS.values()], k=calls)
    return [Call(verb, VERBS[verb][1](random)) for verb in verbs]
