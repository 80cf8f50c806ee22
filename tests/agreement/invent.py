"""What random agents, operators and clocks do, as plain data.

A story is a list of calls. A call names its handoff or lease by how many were known since ("the last but two"), not by
id: so a story from which some calls were taken out still makes sense, and a failing one can be shortened.

Why not Hypothesis' state machines: they leave rules out of whole runs, and with thirty verbs few runs get as far as a
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
QUEUES: Final = ("research", "research", "small", "checked")
FULL: Final = ("research", "small", "small", "checked")  # where a forward finds no room now and then
TEXTS: Final = ("", "as asked", 'ünïcode "quoted"\n\\/\x7f')
CONTENTS: Final = (b"", b"", b'{"a":1}', b'{"b":"\xc3\xa9"}')  # an empty one stands for none
PAYLOADS: Final = (b'{"a":1}', b'{"b":"\xc3\xa9"}')
CLOCK_MS: Final = (0, 1, 999, 1_000, 5_000, 5_000, world.LEASE_MS, world.LEASE_MS, 400_000, 86_400_000)
ROUND_MS: Final = (0, 1_000, 5_000, 20_000, world.LEASE_MS)
VERSIONS: Final = ("research@1", "research@2", "research@3")
KEYS: Final = ("", "", "", "k1", "k2")  # "": one that nobody has used

Args = dict[str, Any]
Draw = Callable[[Random], Args]


def _often(random: Random, chance: float) -> bool:
    return random.random() < chance


def _back(random: Random) -> int:
    """Mostly the newest; now and then one from long ago."""
    return min(int(random.expovariate(0.5)), 9)


def _queue(random: Random) -> Args:
    """With its settings as they are now, or (seldom) as they were before the last change."""
    return {"queue": random.choice(QUEUES), "old_settings": _often(random, 0.05)}


def _who(random: Random) -> Args:
    """Any agent, decided upon with its record as it is now, or (seldom) as it was before the last change."""
    return {"who": random.choice(AGENTS), "outdated": _often(random, 0.1)}


def _lease(random: Random) -> Args:
    """One that goes on, if there is any; or one that may have ended long ago."""
    return {"lease": _back(random), "goes_on": _often(random, 0.6)}


def _holder(random: Random) -> Args:
    """Mostly whose lease it is; sometimes one who borrowed it."""
    who = {"who": "", "outdated": _often(random, 0.05)} if _often(random, 0.85) else _who(random)
    return _lease(random) | who


def _operator(random: Random) -> Args:
    """Who may is the broker's to say. The step asks the gate, so it must refuse agents that the gate refuses."""
    return {"who": "ops", "outdated": _often(random, 0.1)} if _often(random, 0.7) else _who(random)


def _reason(random: Random) -> Args:
    return {"reason": random.choice(TEXTS)}


def _drop_off(random: Random) -> Args:
    return (
        _who(random)
        | _queue(random)
        | {
            "key": random.choice(KEYS),
            "payload": random.choice(PAYLOADS),
            "note": random.choice(TEXTS[:2]),
            "delay_ms": random.choice((0, 0, 0, 0, 1, 5_000)),
        }
    )


def _pick_up(random: Random) -> Args:
    """Mostly from where most waits."""
    of = _queue(random)
    of = of | {"queue": "" if _often(random, 0.7) else of["queue"]}
    accepts = random.choice(((), (), (), VERSIONS[:1], VERSIONS[1:], ("other@1",)))
    return _who(random) | of | {"key": random.choice(KEYS), "accepts": accepts}


def _extend(random: Random) -> Args:
    return _holder(random) | {
        "progress": random.choice(TEXTS),
        "checkpoint": random.choice(CONTENTS),
        "key": random.choice(("", "k1", "k1")),
    }


def _complete(random: Random) -> Args:
    """Judged by the result schema as it is now, or (seldom) as it was before the last change of the queue."""
    return _holder(random) | {"result": random.choice(CONTENTS), "judged_before": _often(random, 0.1)}


def _forward(random: Random) -> Args:
    return _complete(random) | _queue(random) | {"queue": random.choice(FULL), "payload": random.choice(PAYLOADS)}


def _hand_back(random: Random) -> Args:
    return (
        _holder(random)
        | _reason(random)
        | {
            "verb": random.choice(("release", "retry", "retry", "reject")),
            "delay_ms": random.choice((None, None, 0, 7_000)),
            "checkpoint": random.choice(CONTENTS),
            "key": random.choice(("", "k1")),
        }
    )


def _withdraw(random: Random) -> Args:
    return _who(random) | _reason(random) | {"handoff": _back(random), "may_operate": _often(random, 0.2)}


def _judge(random: Random) -> Args:
    """Mostly what is held."""
    return (
        _operator(random)
        | _reason(random)
        | {
            "handoff": _back(random),
            "state": "held" if _often(random, 0.85) else "",
            "verb": random.choice(("approve", "approve", "deny")),
            "seen": _often(random, 0.85),
        }
    )


def _clock_looks(state: str) -> Draw:
    """Mostly at what it may concern, also where it is not time: the step has to look for itself."""

    def draw(random: Random) -> Args:
        return {"handoff": _back(random), "state": state if _often(random, 0.7) else ""}

    return draw


def _change(random: Random) -> Args:
    return (
        _operator(random)
        | _reason(random)
        | {
            "agent": random.choice(("", "", "", *AGENTS, "ops")),  # "": who holds the newest lease
            "standing": random.choice(("active", "active", "frozen", "frozen", "revoked")),
            "old_record": _often(random, 0.15),
            "cut": _often(random, 0.25),
        }
    )


def _settings(random: Random) -> Args:
    """What an operator changes of a queue; mostly it stays, or is again, open."""
    some = {
        "state": random.choice(("open", "paused", "draining")),
        "reason": random.choice(TEXTS[:2]),
        "lease_ms": random.choice((20_000, world.LEASE_MS)),
        "attempts_max": random.choice((1, 2, 3)),
        "waiting_max": random.choice((2, 1_000)),
        "approval": _often(random, 0.3),
        "expires_ms": random.choice((0, 5_000, 90_000)),
        "retention_ms": random.choice((1_000, 60_000, 86_400_000)),
        "schema": random.choice(VERSIONS),
        "result_schema_hash": random.choice(("", world.SCHEMA_HASH)),
    }
    changes = {name: some[name] for name in random.sample(sorted(some), 2)}
    return changes | {"state": some["state"]} if _often(random, 0.5) else changes


def _edit_queue(random: Random) -> Args:
    return _operator(random) | _queue(random) | {"changes": _settings(random)}


VERBS: Final[dict[str, tuple[float, Draw]]] = {
    # what agents do
    "drop_off": (9, _drop_off),
    "pick_up": (10, _pick_up),
    "extend": (5, _extend),
    "picked_before": (1, lambda random: _who(random) | {"key": random.choice(KEYS)}),
    "dropped_before": (
        1,
        lambda random: (
            _who(random)
            | {"handoff": _back(random), "same": _often(random, 0.7)}
            | {"put_back": _often(random, 0.4), "may_operate": _often(random, 0.5)}
        ),
    ),
    "lease_ends": (1, _holder),
    "completed_before": (1, lambda random: _holder(random) | {"same": _often(random, 0.8)}),
    "complete": (3, _complete),
    "forward": (3, _forward),
    "hand_back": (5, _hand_back),
    "withdraw": (2, _withdraw),
    "check": (
        1,
        lambda random: _who(random) | {"handoff": _back(random), "may_inspect": _often(random, 0.2)},
    ),
    # Somebody does not hear the answer and asks again; or the network delivers late what was sent long ago.
    "again": (7, lambda random: {"call": 0 if _often(random, 0.6) else _back(random)}),
    # Deliveries and failures are used up within 40 calls only if somebody is as quick as this.
    "take_and_give_back": (
        1,
        lambda random: {
            "queue": random.choice(QUEUES),
            "verb": random.choice(("release", "retry", "freed", "recalled")),
            "rounds": random.randint(1, 12),
        },
    ),
    "client_vanishes": (1, _lease),
    # what the clock does
    "time_passes": (3, lambda random: {"ms": random.choice(CLOCK_MS)}),
    "lapse": (1, _clock_looks("leased")),
    "due": (0.5, _clock_looks("scheduled")),
    "expire": (0.7, _clock_looks("waiting")),
    "erase": (
        0.7,
        lambda random: _clock_looks("completed")(random) | _operator(random) | {"by_clock": _often(random, 0.5)},
    ),
    "upkeep_goes_its_round": (
        6,
        lambda random: {
            "ms": random.choice(ROUND_MS),
            "outage": _often(random, 0.15),
            "recalls": _often(random, 0.6),
        },
    ),
    "count_rejections": (
        0.7,
        lambda random: {
            "queue": random.choice(QUEUES),
            "version": random.choice((1, 1, 2, 3, 4, 5)),
            "places": [random.randrange(300) for _ in range(random.choice((1, 2, 150)))],
            "key": random.choice(KEYS),
        },
    ),
    "beat": (0.5, lambda random: {}),
    # what operators do
    "judge": (3, _judge),
    "release": (2, lambda random: _operator(random) | _reason(random) | _lease(random)),
    "resubmit": (1, lambda random: _operator(random) | _clock_looks("dead")(random)),
    "change": (3, _change),
    "who_is_stopped_tries_everything": (2, lambda random: {"who": random.choice(AGENTS), "back": _back(random)}),
    "freeze_everything": (0.6, lambda random: {"cut": _often(random, 0.2)}),
    "enforce": (0.3, lambda random: {"agent": random.choice((*AGENTS, "nobody"))}),
    "gate_with_an_old_revision": (
        0.4,
        lambda random: (
            _operator(random)
            | {
                "agent": random.choice(AGENTS),
                "older": random.randint(0, 2),
                "standing": random.choice(("active", "revoked")),
            }
        ),
    ),
    "edit_queue": (2, _edit_queue),
    "open_queues": (1, lambda random: {}),
    "add_queue": (
        1,
        lambda random: (
            _operator(random) | {"queue": random.choice(QUEUES), "lease_ms": random.choice((20_000, 60_000))}
        ),
    ),
    "remove_queue": (0.6, lambda random: _operator(random) | _queue(random)),
    "empty_and_remove_queue": (0.5, lambda random: {"queue": random.choice(QUEUES), "ends_first": _often(random, 0.8)}),
    "put_schema": (0.6, lambda random: _operator(random) | {"content": random.choice(PAYLOADS)}),
    "read": (0.7, lambda random: {"queue": random.choice(QUEUES), "handoff": _back(random)}),
    "mend": (0.4, lambda random: {}),
    "a_key_is_lost": (
        0.6,
        lambda random: {
            "index": random.choice(("leases", "timers", "held", "expiries", "final", "dead", "holds")),
            "queue": random.choice(QUEUES),
            "agent": random.choice(AGENTS),
        },
    ),
}


# So that there is something to tell of.
BEGINNING: Final = ("drop_off", "drop_off", "pick_up", "drop_off", "pick_up")


def story(seed: str, calls: int) -> list[Call]:
    """The story that this seed stands for."""
    random = Random(seed)
    weights = [weight for weight, _ in VERBS.values()]
    verbs = (*BEGINNING, *random.choices(list(VERBS), weights, k=calls - len(BEGINNING)))
    return [Call(verb, VERBS[verb][1](random)) for verb in verbs]
