"""The life of a handoff: one relation, three readers.

    held, scheduled, waiting, leased          where a handoff can be
    completed, rejected, dead, expired, withdrawn      where it ends: final is final

`TRANSITIONS[state][verb]` is the set of states that the verb may lead to. A relation and not a function, because some
verbs are decided by what the handoff has been through: a lapse leads back to `waiting`, or to `dead` when the attempts
are used up, or to `withdrawn` when its sender has asked for it meanwhile. The step decides and names the state; the
relation says whether it may.

`postpone` is what a lapse becomes when a freeze or an outage kept the holder from extending: the lease goes on for one
whole term, and nothing is counted.

Read by Python (`may`), by Lua (`as_lua` is printed at the head of each step, where `move()` obeys it) and by people
(`as_markdown` is the table in the README). A step that has no arrow here cannot be written.
"""

from typing import Final, Literal

State = Literal[
    "absent", "held", "scheduled", "waiting", "leased", "completed", "rejected", "dead", "expired", "withdrawn"
]
Verb = Literal[
    "drop_off", "approve", "deny", "due", "pick_up", "extend", "complete",
    "release", "retry", "reject", "recall", "lapse", "postpone", "expire", "withdraw",
]  # fmt: skip

ABSENT: Final = "absent"
HELD: Final = "held"
SCHEDULED: Final = "scheduled"
WAITING: Final = "waiting"
LEASED: Final = "leased"
COMPLETED: Final = "completed"
REJECTED: Final = "rejected"
DEAD: Final = "dead"
EXPIRED: Final = "expired"
WITHDRAWN: Final = "withdrawn"

TRANSITIONS: Final[dict[State, dict[Verb, frozenset[State]]]] = {
    ABSENT: {"drop_off": frozenset({WAITING, SCHEDULED, HELD})},
    HELD: {
        "approve": frozenset({WAITING, SCHEDULED}),  # a delay that its sender asked for still holds
        "deny": frozenset({REJECTED}),
        "withdraw": frozenset({WITHDRAWN}),
        "expire": frozenset({EXPIRED}),
    },
    SCHEDULED: {
        "due": frozenset({WAITING}),
        "withdraw": frozenset({WITHDRAWN}),
        "expire": frozenset({EXPIRED}),
    },
    WAITING: {
        "pick_up": frozenset({LEASED}),
        "withdraw": frozenset({WITHDRAWN}),
        "expire": frozenset({EXPIRED}),
    },
    LEASED: {
        "extend": frozenset({LEASED}),
        "complete": frozenset({COMPLETED}),
        "reject": frozenset({REJECTED}),
        "release": frozenset({WAITING, DEAD, WITHDRAWN}),
        "retry": frozenset({SCHEDULED, DEAD, WITHDRAWN}),
        "recall": frozenset({WAITING, DEAD, WITHDRAWN}),
        "lapse": frozenset({WAITING, DEAD, WITHDRAWN}),
        "postpone": frozenset({LEASED}),
        "withdraw": frozenset({LEASED}),  # asks the holder, who learns it at the next extend
    },
    COMPLETED: {},
    REJECTED: {},
    DEAD: {},
    EXPIRED: {},
    WITHDRAWN: {},
}

STATES: Final[tuple[State, ...]] = tuple(TRANSITIONS)
FINAL: Final = frozenset(state for state, verbs in TRANSITIONS.items() if not verbs)


def may(state: State, verb: Verb, to: State) -> bool:
    """Whether `verb` may take a handoff from `state` to `to`."""
    return to in TRANSITIONS[state].get(verb, frozenset())


def as_lua() -> str:
    """The relation as a Lua table: `TRANSITIONS[state][verb][to]` is true or nil."""
    rows = [
        f"  {state} = {{ "
        + ", ".join(
            f"{verb} = {{ {', '.join(f'{to} = true' for to in sorted(ends))} }}" for verb, ends in verbs.items()
        )
        + " },"
        for state, verbs in TRANSITIONS.items()
    ]
    return "\n".join(["local TRANSITIONS = {", *rows, "}"])


def as_markdown() -> str:
    """The relation as the README shows it."""
    rows = [
        f"| `{state}` | {' · '.join(f'{verb} → {_either(ends)}' for verb, ends in verbs.items()) or 'final'} |"
        for state, verbs in TRANSITIONS.items()
    ]
    return "\n".join(["| state | verb → where it may lead |", "|---|---|", *rows])


def _either(ends: frozenset[State]) -> str:
    return " or ".join(f"`{state}`" for state in STATES if state in ends)
