"""The checker can fail: each clause is given a history that breaks it, and says so.

A checker that is silent proves nothing until it has been seen to speak. The histories are made by hand: `Tale` tells
one that is whole, and each test spoils one thing in it.
"""

from collections.abc import Callable
from typing import Any

import pytest

from dropoff.core.lifecycle import TRANSITIONS
from tests.crash import checker
from tests.crash.checker import Excused, History, Outage, broken, digest

PAYLOAD = {"topic": "owls", "audience": "exec"}
RESULT = {"found": 3}


OUTAGE = Outage(began=500, ended=1_100, spared_until=1_150)


class Tale:
    """A history in the making: steps write entries and records, as the store would, and tell the agent."""

    def __init__(self) -> None:
        self.now = 1_000
        self.events: list[dict[str, Any]] = []
        self.entries: list[dict[str, str]] = []
        self.records: dict[str, dict[str, str]] = {}
        self.gates: list[dict[str, str]] = []  # entries of the beginning
        self.outages: list[Outage] = []
        for agent in ("*", "ann", "bob", "carol"):
            self.gates.append(self.gate(agent, "7"))
            self.entries.pop()

    def history(self, *, settled: bool = True, **more: Any) -> History:
        born = ({"what": "born", "agent": "bob", "heard": heard} for heard in (0, 20_000))
        return History([*born, *self.events], [*self.gates, *self.entries], self.records, settled, self.outages, **more)

    def gate(self, agent: str, rev: str, standing: str = "active") -> dict[str, str]:
        entry = {"id": f"{self.now}-1{len(self.entries)}", "step": "gate", "at": str(self.now), "actor": "upkeep"}
        self.entries.append(entry | {"agent": agent, "rev": rev, "standing": standing})
        return self.entries[-1]

    def step(self, id: str, step: str, actor: str, to: str, **more: str) -> dict[str, str]:
        """One legal-looking entry, and what it makes of the record; nothing is told to anybody."""
        self.now += 10
        record = self.records.setdefault(
            id,
            {"state": "absent", "n": "0", "last": "", "fence": "0", "failures": "0"}
            | {"payload": '{"audience":"exec","topic":"owls"}'},
        )
        failures = int(record["failures"]) + (step in ("lapse", "retry"))
        entry = {"id": f"{self.now}-0", "step": step, "at": str(self.now), "actor": actor, "handoff": id}
        entry |= {"from": record["state"], "to": to, "n": str(int(record["n"]) + 1), "fence": record["fence"]}
        entry |= {"failures": str(failures)} | ({"prev": record["last"]} if record["last"] else {})
        entry |= ({} if actor == "upkeep" else {"revs": f"{actor}=7"}) | more
        record |= {name: entry[name] for name in ("n", "fence", "failures")} | {"state": to, "last": entry["id"]}
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

    def complete(self, id: str, by: str = "bob", **facts: str) -> dict[str, str]:
        self.records[id]["result"] = '{"found":3}'
        entry = self.step(id, "complete", by, "completed")
        self.told("complete", by, entry, lease=f"{id}.{entry['fence']}", result=digest(RESULT), **facts)
        return entry

    def forward(self, id: str, onward: str, by: str = "bob") -> None:
        self.complete(id, by, next=onward, next_payload=digest(PAYLOAD))
        self.records[id]["next"] = onward
        self.step(onward, "drop_off", by, "waiting", parent=id)


@pytest.fixture
def tale() -> Tale:
    """h-1 lapses once and is completed by another, h-2 is given back and rejected, and what comes next of h-5 is h-6,
    whose first lease is postponed and then recalled. BOB died once in the middle of a call.
    """
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
    tale.drop_off("h-5")
    tale.pick_up("h-5")
    tale.forward("h-5", "h-6")
    tale.pick_up("h-6")
    tale.step("h-6", "postpone", "upkeep", "leased", lease_ends=str(tale.now + 5_000))
    tale.step("h-6", "recall", "upkeep", "waiting")
    tale.pick_up("h-6")
    tale.told("check", "ann", tale.complete("h-6"), state="completed")
    del tale.events[-1]["entry"]
    return tale


def test_a_whole_history_has_nothing_broken(tale: Tale):
    """The tale that the other tests spoil."""
    assert broken(tale.history()) == []


def test_what_was_under_way_at_a_death_may_be_done_and_told_to_nobody(tale: Tale):
    """BOB's process was killed once, so one of his steps may lack its receipt; a second one may not."""
    for id in ("h-3", "h-4"):
        tale.drop_off(id)
        tale.pick_up(id)
        tale.complete(id)
        tale.events.pop()
        found = broken(tale.history())
        assert (found == []) is (id == "h-3"), found
    assert "nobody was told of 2 steps by bob, which died 1 times" in found[0]


def test_what_somebody_deleted_is_neither_lost_nor_undone(tale: Tale):
    """A record that is said to be gone is asked for by no clause; one that is not said so is lost."""
    record, entry = tale.records.pop("h-1"), tale.entries[-1]
    tale.events[-1]["leaf"] = tale.events[-2]["leaf"] = ""

    gone, unread = frozenset({"h-1"}), frozenset({entry["id"]})
    assert broken(tale.history(gone=gone, unread=unread)) == []
    assert len(broken(tale.history(gone=gone))) == 1
    assert any("h-1: lost" in one for one in broken(tale.history(unread=unread)))
    assert record["state"] == "completed"


def test_what_was_given_up_for_want_of_a_key_may_be_done_and_told_to_nobody(tale: Tale):
    """A call that lost its answer was asked again while a key was gone: then its agent never hears that it was done."""
    excused = Excused("ann", began=50, ended=200, codes=frozenset({"unauthenticated"}))
    refusal = {"what": "refused", "agent": "ann", "key": "a-1", "verb": "drop_off", "sentence": "No."}
    tale.drop_off("h-3")
    tale.events[-1] = refusal | {"sent": 100, "heard": 110, "code": "unauthenticated"}
    tale.pick_up("h-3")
    tale.complete("h-3")
    assert "nobody was told of 1 steps by ann" in broken(tale.history(excused=[excused]))[0], "it was answered at once"

    tale.events.append({"what": "unanswered", "agent": "ann", "key": "a-1", "sent": 80, "heard": 90})
    assert broken(tale.history(excused=[excused])) == []


def test_what_is_refused_for_want_of_a_key_is_right_only_then_and_only_for_whom_it_concerns(tale: Tale):
    """Too late, to another, with another code, of another handoff: a fault of the broker's."""
    refusal = {"what": "refused", "agent": "ann", "key": "a-1", "verb": "check", "sentence": "No."}
    refusal |= {"sent": 100, "heard": 110}
    excused = Excused("ann", began=50, ended=200, codes=frozenset({"unauthenticated"}))
    tale.events.append(refusal | {"code": "unauthenticated"})
    assert broken(tale.history(excused=[excused])) == []
    for other in (
        excused._replace(began=111),
        excused._replace(ended=99),
        excused._replace(agent="bob"),
        excused._replace(codes=frozenset({"not_allowed"})),
    ):
        assert broken(tale.history(excused=[other])) == ["ann check was refused with unauthenticated: No."]

    tale.events[-1] = refusal | {"code": "handoff_unknown", "handoff": "h-1"}
    assert "handoff_unknown" in broken(tale.history())[0]
    assert "handoff_unknown" in broken(tale.history(gone=frozenset({"h-2"})))[0]
    del tale.records["h-1"]
    assert broken(tale.history(gone=frozenset({"h-1"}))) == []


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
    tale.entries[-1]["n"] = "9"


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
    tale.events.append(
        refused | {"sent": at - 1, "heard": at + 1, "sentence": "Out of reach. Nothing of this call was stored."}
    )


def told_otherwise(tale: Tale) -> None:
    next(event for event in tale.events if event["what"] == "check")["state"] = "dead"


def counted_recall(tale: Tale) -> None:
    tale.drop_off("h-3")
    tale.pick_up("h-3")
    tale.step("h-3", "recall", "upkeep", "waiting", failures="1")


def uncounted_retry(tale: Tale) -> None:
    tale.drop_off("h-3")
    tale.pick_up("h-3")
    tale.step("h-3", "retry", "bob", "scheduled", failures="0")


def postponed_back(tale: Tale) -> None:
    tale.drop_off("h-3")
    tale.pick_up("h-3")
    tale.step("h-3", "postpone", "upkeep", "leased", lease_ends=str(tale.now - 100))


def lapsed_in_an_outage(tale: Tale) -> None:
    tale.outages.append(Outage(began=500, ended=1_050, spared_until=10_000))


def next_without_its_handoff(tale: Tale) -> None:
    tale.records["h-1"]["next"] = "h-9"


def next_twice(tale: Tale) -> None:
    tale.step("h-7", "drop_off", "bob", "waiting", parent="h-5")


def next_of_a_rejection(tale: Tale) -> None:
    tale.records["h-2"]["next"] = "h-7"
    tale.step("h-7", "drop_off", "bob", "waiting", parent="h-2")


def next_for_nobody(tale: Tale) -> None:
    tale.step("h-7", "drop_off", "bob", "waiting", parent="h-1")


def next_not_told(tale: Tale) -> None:
    del next(event for event in tale.events if "next" in event)["next"]


def other_next(tale: Tale) -> None:
    tale.records["h-6"]["payload"] = "{}"


def old_revision(tale: Tale) -> None:
    tale.gate("bob", "8")
    tale.drop_off("h-3")
    tale.pick_up("h-3")


def revoked_actor(tale: Tale) -> None:
    tale.gate("ann", "8", "revoked")
    tale.step("h-3", "drop_off", "ann", "waiting", revs="ann=8")


def unknown_actor(tale: Tale) -> None:
    tale.step("h-3", "drop_off", "dora", "waiting")


def no_revision(tale: Tale) -> None:
    tale.step("h-3", "drop_off", "ann", "waiting", revs="")


def upkeep_completes(tale: Tale) -> None:
    tale.drop_off("h-3")
    tale.pick_up("h-3")
    tale.step("h-3", "complete", "upkeep", "completed")


def holder_lapses(tale: Tale) -> None:
    tale.drop_off("h-3")
    tale.pick_up("h-3")
    tale.now += 100
    tale.step("h-3", "lapse", "bob", "waiting")


def work_in_a_freeze(tale: Tale) -> None:
    tale.gate("*", "8", "frozen")
    tale.drop_off("h-3")


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
        (dropped_off_by_nobody, "nobody was told of 1 steps by ann, which died 0 times"),
        (two_holders, "h-3: two holders: carol picked up what bob holds"),
        (fence_back, "h-3: the fence went back from 1 to 1"),
        (stranger_completes, "h-3: carol complete under fence 1; held by 'bob' under '1'"),
        (old_fence_completes, "h-3: bob complete under fence 0; held by 'bob' under '1'"),
        (early_lapse, "ms before its time"),
        (two_outcomes, "h-1: has 2 outcomes: completed by carol, rejected by carol"),
        (illegal_arrow, "is no legal arrow: waiting complete → completed"),
        (state_jumps, "starts from waiting, and it was leased"),
        (hole_in_the_count, "h-6: entry 6 of it is numbered 9"),
        (broken_chain, "follows '1270-0', and says '1010-0'"),
        (receipt_for_nothing, "names 1-1, which the ledger lacks"),
        (receipt_of_another, "h-1: the receipt of drop_off by ann names"),
        (entry_rewritten, "names a leaf that"),
        (two_acknowledged_completions, "h-1: acknowledged as completed twice"),
        (completion_undone, "h-1: carol was told that it is completed, and it is dead"),
        (other_result, "h-1: holds another result than carol was acknowledged"),
        (told_otherwise, "h-6: ann was told that it is dead, and it is completed"),
        (counted_recall, "recall counts 1 failures, and there were 0"),
        (uncounted_retry, "retry counts 0 failures, and there were 1"),
        (postponed_back, "postponed a lease to an earlier time"),
        (lapsed_in_an_outage, "ms after an outage; its holder could not extend"),
        (next_without_its_handoff, "h-1: is completed with next ['h-9'], and the ledger has []"),
        (next_twice, "h-5: is completed with next ['h-6'], and the ledger has ['h-6', 'h-7']"),
        (next_of_a_rejection, "h-2: has a next, and is rejected"),
        (next_for_nobody, "h-1: is completed with next [], and the ledger has ['h-7']"),
        (next_not_told, "h-5: bob was told '' comes next, and it is 'h-6'"),
        (other_next, "h-6: holds another payload than bob brought as next"),
        (old_revision, "pick_up by bob at 7, and the gate says 8 active"),
        (revoked_actor, "drop_off by ann at 8, and the gate says 8 revoked"),
        (unknown_actor, "drop_off by dora at 7, and the gate says nothing"),
        (no_revision, "drop_off by ann presents the revisions {}"),
        (upkeep_completes, "complete was done by upkeep"),
        (holder_lapses, "lapse was done by bob"),
        (work_in_a_freeze, "drop_off by ann while everything stood still"),
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
