"""The table of states: what it must be like, whoever changes it, and that its three readers read the same."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropoff.core.lifecycle import (
    ABSENT,
    FINAL,
    HELD,
    LEASED,
    SCHEDULED,
    STATES,
    TRANSITIONS,
    WAITING,
    State,
    as_lua,
    as_markdown,
    may,
)

VERBS = sorted({verb for verbs in TRANSITIONS.values() for verb in verbs})


def test_final_is_final():
    """Nothing leads out of the five states in which a handoff ends."""
    assert {"completed", "rejected", "dead", "expired", "withdrawn"} == FINAL
    assert all(not may(state, verb, to) for state in FINAL for verb in VERBS for to in STATES)  # pyright: ignore[reportArgumentType]


def test_nothing_leads_back_to_absent():
    """What was dropped off once is known for ever."""
    assert not [state for state, verbs in TRANSITIONS.items() for ends in verbs.values() if ABSENT in ends]


def test_every_state_but_absent_can_be_reached_and_every_other_can_end():
    def reached(start: State) -> set[State]:
        found: set[State] = {start}
        while True:
            more = found.union(*(ends for state in found for ends in TRANSITIONS[state].values()))
            if more == found:
                return found
            found = more

    assert reached(ABSENT) == set(STATES)
    assert all(reached(state) & FINAL for state in STATES)


def test_a_lease_begins_by_pick_up_and_only_from_waiting():
    """So the fence rises with every lease: there is one way to one."""
    ways = {(state, verb) for state, verbs in TRANSITIONS.items() for verb, ends in verbs.items() if LEASED in ends}

    assert {(state, verb) for state, verb in ways if state != LEASED} == {(WAITING, "pick_up")}


def test_the_outcome_of_a_lease_is_its_holder_s_to_give():
    """Completed and rejected are reached from a lease (or by an operator's denial), never by the clock."""
    assert {
        (state, verb)
        for state, verbs in TRANSITIONS.items()
        for verb, ends in verbs.items()
        if ends & {"completed", "rejected"}
    } == {(LEASED, "complete"), (LEASED, "reject"), ("held", "deny")}


def test_a_lease_goes_on_by_its_holder_or_where_the_holder_could_not_help_it():
    """Extended; postponed after a freeze or an outage; and asked for, which takes nothing from the holder."""
    assert {verb for verb, ends in TRANSITIONS[LEASED].items() if LEASED in ends} == {"extend", "postpone", "withdraw"}


def test_what_is_held_goes_to_work_by_approval_only():
    """Every other way out of it is an end."""
    assert {verb for verb, ends in TRANSITIONS[HELD].items() if not ends <= FINAL} == {"approve"}


def test_only_what_nobody_holds_expires():
    """Whoever works on it is let work; if it comes back, its time may be over."""
    assert {state for state, verbs in TRANSITIONS.items() if "expire" in verbs} == {HELD, SCHEDULED, WAITING}


def test_a_delay_outlives_the_approval():
    """What its sender wanted later is not begun earlier for having been approved."""
    assert TRANSITIONS[HELD]["approve"] == {WAITING, SCHEDULED}


@given(st.sampled_from(STATES), st.sampled_from(VERBS), st.sampled_from(STATES))
def test_may_is_the_table(state, verb, to):
    assert may(state, verb, to) == (to in TRANSITIONS[state].get(verb, ()))


def test_lua_reads_the_same_table():
    """Printed at the head of each step; read back here word by word."""
    read = {
        state: {
            verb: frozenset(re.findall(r"(\w+) = true", ends))
            for verb, ends in re.findall(r"(\w+) = \{([^{}]*)\}", row)
        }
        for state, row in re.findall(r"^  (\w+) = \{ (.*) \},$", as_lua(), re.MULTILINE)
    }

    assert read == TRANSITIONS


def test_people_read_the_same_table():
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", as_markdown(), re.MULTILINE)
    read = {
        state: {verb: frozenset(re.findall(r"`(\w+)`", ends)) for verb, ends in re.findall(r"(\w+) → ([^·]*)", row)}
        for state, row in rows
    }

    assert read == TRANSITIONS


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_leads_to_the_same_states_from_wherever_it_may_be_used(verb: str):
    """But `withdraw`, which only asks where somebody holds it."""
    ends = {verbs[verb] for verbs in TRANSITIONS.values() if verb in verbs}

    assert len(ends) == (2 if verb == "withdraw" else 1)
