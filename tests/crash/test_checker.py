"""The checker can fail: each clause is given a history that breaks it, and says so.

A checker that is silent proves nothing until it has been seen to speak. The histories are made by hand: `Tale` tells
one that is whole, and each test spoils one thing in it.
"""

from collections.abc import Callable
from typing import Any

import pytest

from dropoff.core.lifecycle import TRANSITIONS
from tests.crash import checker
from tests.crash.checker import History, broken, digest

PAYLOAD = {"topic": "owls", "audience": "exec"}
RESULT = {"found": 3}


class Tale:
    """A history in the making: steps write entries and records, as the store would, and tell the agent."""

    def __init__(self) -> None:
        self.now = 1_000
        self.events: list[dict[str, Any]] = []
        self.entries: list[dict[str, str]] = []
        self.records: dict[str, dict[str, str]] = {}

    def history(self, *, settled: bool = True) -> History:
        return History(self.events, self.entries, self.records, settled)

    def step(self, id: str, step: str, actor: str, to: str, **more: str) -> dict[str, str]:
        """One legal-looking entry, and what it makes of the record; nothing is told to anybody."""
        self.now += 10
        record = self.records.setdefault(
            id, {"state": "absent", "n": "0", "last": "", "fence": "0", "payload": '{"audience":"exec","topic":"owls"}'}
        )
        entry = {"id": f"{self.now}-0", "step": step, "at": str(self.now), "actor": actor, "handoff": id}
        entry |= {"from": record["state"], "to": to, "n": str(int(record["n"]) + 1), "fence": record["fence"]}
        entry |= ({"prev": record["last"]} if record["last"] else {}) | more
        record |= {"state": to, "n": entry["n"], "last": entry["id"], "fence": entry["fence"]}
        self.entries.append(entry)
        return entry

    def told(self, what: str, agent: str, entry: dict[str, str], **more: Any) -> None:
        facts = {"handoff": entry["handoff"], "entry": entry["id"], "leaf": checker._leaf(entry), "key": entry["id"]}
        times = {"sent": self.now - 5, "heard": self.now + 5, "durability": "fsynced"}
        self.events.append({"what": what, "agent": agent} | times | facts | more)

    def drop_off(self, id: str) -> dict[str, str]:
        entry = self.step(id, "drop_off", "ann", "waiting")
        self.told("drop_off", "ann", entry, payload=digest(PAYLOAD))
        return entry

    def pick_up(self, id: str, by: str = "bob") -> dict[str, str]:
        fence = int(self.records[id]["fence"]) + 1
        entry = self.step(id, "pick_up", by, "leased", fence=str(fence), lease_ends=str(self.now + 30))
        self.told("pick_up", by, entry, lease=f"{id}.{fence}", payload=digest(PAYLOAD))
        return entry

    def complete(self, id: str, by: str = "bob") -> dict[str, str]:
        self.records[id]["result"] = '{"found":3}'
        entry = self.step(id, "complete", by, "completed")
        self.told("complete", by, entry, lease=f"{id}.{entry['fence']}", result=digest(RESULT))
        return entry


@pytest.fixture
def tale() -> Tale:
    """Two handoffs: h-1 lapses once and is completed by another, h-2 is given back and rejected."""
    tale = Tale()
    tale.drop_off("h-1")
    tale.drop_off("h-2")
    tale.pick_up("h-1")
    tale.now += 100
    tale.step("h-1", "lapse", "upkeep", "waiting")
    tale.pick_up("h-1", by="carol")
    tale.step("h-1", "extend", "carol", "leased", lease_ends=str(tale.now + 50))
    tale.complete("h-1", by="carol")
    tale.pick_up("h-2")
    tale.told("hand_back", "bob", tale.step("h-2", "reject", "bob", "rejected"))
    return tale


def test_a_whole_history_has_nothing_broken(tale: Tale):
    """The tale that the other tests spoil."""
    assert broken(tale.history()) == []


def test_the_checkers_table_is_the_table_of_the_lifecycle():
    """It was typed again, so that nobody marks his own work; both must still say the same."""
    arrows = {(state, verb): to for state, verbs in TRANSITIONS.items() for verb, to in verbs.items()}
    assert arrows == checker.LEGAL


def lost_drop_off(tale: Tale) -> None:
    tale.drop_off("h-3")
    del tale.entries[-1], tale.records["h-3"]


def lost_entry(tale: Tale) -> None:
    del tale.entries[3]


def record_without_entries(tale: Tale) -> None:
    tale.records["h-3"] = dict(tale.records["h-1"])


def record_behind_its_ledger(tale: Tale) -> None:
    tale.records["h-1"]["state"] = "waiting"


def other_payload(tale: Tale) -> None:
    tale.records["h-2"]["payload"] = '{"topic":"cats"}'


def other_payload_picked_up(tale: Tale) -> None:
    next(event for event in tale.events if event["what"] == "pick_up")["payload"] = digest({})


def dropped_off_twice(tale: Tale) -> None:
    tale.drop_off("h-3")
    tale.drop_off("h-4")
    tale.events[-1]["key"] = tale.events[-2]["key"]


def dropped_off_by_nobody(tale: Tale) -> None:
    tale.step("h-3", "drop_off", "ann", "waiting")


def two_holders(tale: Tale) -> None:
    tale.drop_off("h-3")
    tale.pick_up("h-3")
    tale.pick_up("h-3", by="carol")


def fence_back(tale: Tale) -> None:
    tale.drop_off("h-3")
    tale.pick_up("h-3")
    tale.step("h-3", "release", "bob", "waiting")
    tale.step("h-3", "pick_up", "carol", "leased", fence="1")


def stranger_completes(tale: Tale) -> None:
    tale.drop_off("h-3")
    tale.pick_up("h-3")
    tale.complete("h-3", by="carol")


def old_fence_completes(tale: Tale) -> None:
    tale.drop_off("h-3")
    tale.pick_up("h-3")
    tale.step("h-3", "complete", "bob", "completed", fence="0")


def early_lapse(tale: Tale) -> None:
    tale.drop_off("h-3")
    tale.pick_up("h-3")
    tale.step("h-3", "lapse", "upkeep", "waiting")


def two_outcomes(tale: Tale) -> None:
    tale.step("h-1", "reject", "carol", "rejected")


def illegal_arrow(tale: Tale) -> None:
    tale.drop_off("h-3")
    tale.step("h-3", "complete", "bob", "completed")


def state_jumps(tale: Tale) -> None:
    tale.entries[-1]["from"] = "waiting"


def hole_in_the_count(tale: Tale) -> None:
    tale.entries[-1]["n"] = "4"


def broken_chain(tale: Tale) -> None:
    tale.entries[-1]["prev"] = tale.entries[0]["id"]


def receipt_for_nothing(tale: Tale) -> None:
    tale.events[0]["entry"] = "1-1"


def receipt_of_another(tale: Tale) -> None:
    tale.events[0]["entry"] = tale.entries[1]["id"]


def entry_rewritten(tale: Tale) -> None:
    tale.entries[0]["digest"] = "rewritten"


def two_acknowledged_completions(tale: Tale) -> None:
    done = next(event for event in tale.events if event["what"] == "complete")
    tale.events.append(done | {"agent": "bob", "lease": "h-1.1"})


def completion_undone(tale: Tale) -> None:
    tale.records["h-1"]["state"] = "dead"


def other_result(tale: Tale) -> None:
    tale.records["h-1"]["result"] = '{"found":4}'


def server_error(tale: Tale) -> None:
    refused = {"what": "refused", "agent": "bob", "verb": "complete", "sent": 0, "heard": 1}
    tale.events.append(refused | {"code": "internal_error", "sentence": "Something went wrong."})


def lease_not_lost(tale: Tale) -> None:
    refused = {"what": "refused", "agent": "carol", "verb": "complete", "code": "lease_lost", "lease": "h-1.2"}
    tale.events.append(refused | {"sent": 0, "heard": 10_000, "sentence": "Your lease ended."})


def false_sentence(tale: Tale) -> None:
    at = int(tale.entries[0]["at"])
    refused = {"what": "refused", "agent": "ann", "verb": "drop_off", "code": "broker_unavailable"}
    tale.events.append(refused | {"sent": at - 1, "heard": at + 1, "sentence": "Out of reach. Nothing was stored."})


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lost_drop_off, "h-3: lost; ann was told that it is fsynced"),
        (lost_entry, "starts from waiting, and it was leased"),
        (record_without_entries, "h-3: a record without any entry"),
        (record_behind_its_ledger, "h-1: the record is waiting"),
        (other_payload, "h-2: holds another payload than ann dropped off"),
        (other_payload_picked_up, "h-1: bob got another payload"),
        (dropped_off_twice, "h-4: dropped off twice under the key"),
        (dropped_off_by_nobody, "h-3: nobody was told that this was dropped off"),
        (two_holders, "h-3: two holders: carol picked up what bob holds"),
        (fence_back, "h-3: the fence went back from 1 to 1"),
        (stranger_completes, "h-3: carol complete under fence 1; held by 'bob' under '1'"),
        (old_fence_completes, "h-3: bob complete under fence 0; held by 'bob' under '1'"),
        (early_lapse, "ms before its time"),
        (two_outcomes, "h-1: has 2 outcomes: completed by carol, rejected by carol"),
        (illegal_arrow, "is no legal arrow: waiting complete → completed"),
        (state_jumps, "starts from waiting, and it was leased"),
        (hole_in_the_count, "h-2: entry 3 of it is numbered 4"),
        (broken_chain, "h-2: "),
        (receipt_for_nothing, "names 1-1, which the ledger lacks"),
        (receipt_of_another, "h-1: the receipt of drop_off by ann names"),
        (entry_rewritten, "names a leaf that"),
        (two_acknowledged_completions, "h-1: acknowledged as completed twice"),
        (completion_undone, "h-1: carol was told that it is completed, and it is dead"),
        (other_result, "h-1: holds another result than carol was acknowledged"),
        (server_error, "bob complete was refused with internal_error"),
        (lease_not_lost, "carol complete was told that h-1.2 is lost"),
        (false_sentence, "ann drop_off was told that nothing was stored, and 1010-0 was"),
    ],
    ids=lambda what: getattr(what, "__name__", ""),
)
def test_a_broken_history_is_found(tale: Tale, spoil: Callable[[Tale], None], sentence: str):
    """What spoils the history is named."""
    spoil(tale)

    found = broken(tale.history())

    assert any(sentence in one for one in found), found


def test_what_has_no_outcome_yet_is_broken_only_when_the_load_has_waited_for_it(tale: Tale):
    """In the middle of things a handoff may wait; at the end it may not."""
    tale.drop_off("h-3")

    assert broken(tale.history(settled=False)) == []
    assert broken(tale.history()) == ["h-3: has no outcome, it is still waiting"]
