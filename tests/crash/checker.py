"""Judges a history: what agents were told, what the ledger says of it, what the records hold in the end.

It is given three things and nothing else: the load's own file, the ledger, the records. It imports nothing of ours
and has the rules once more, typed from the table that people read, so that a mistake in ours is not made twice.

The clauses are those of the guarantee: what was acknowledged is there, in a legal state, reached by legal arrows; one
holder at a time, fences that rise; one outcome, and what comes next of it once; no failure that is counted without one;
no step without its entry, none by who may not, none that nobody asked for; no sentence that was false when it was said.
`broken` returns the sentences of what does not hold, and nothing when all of it does.

In the load's files a line is a call's answer. Its fields: `what` (the verb, or `refused`, `unanswered`), `agent`,
`key`, `sent` and `heard` (ms of the same machine's clock that the store reads), and what the answer said. A process
that begins says of each agent that it was `born`: in the life before, one call was under way whose answer nobody knows.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

Event = Mapping[str, Any]
Entry = Mapping[str, str]
Record = Mapping[str, str]
Broken = Iterator[str]

# state verb → states. Finals have no line: nothing leads out of them.
TABLE: Final = """
    absent     drop_off → waiting scheduled held
    held       approve → waiting scheduled   deny → rejected
    held       withdraw → withdrawn    expire → expired
    scheduled  due → waiting           withdraw → withdrawn    expire → expired
    waiting    pick_up → leased        withdraw → withdrawn    expire → expired
    leased     extend → leased         withdraw → leased
    leased     postpone → leased
    leased     complete → completed    reject → rejected
    leased     release → waiting dead withdrawn
    leased     recall → waiting dead withdrawn
    leased     lapse → waiting dead withdrawn
    leased     retry → scheduled dead withdrawn
"""
FINAL: Final = frozenset({"completed", "rejected", "dead", "expired", "withdrawn"})
STATES: Final = FINAL | {"held", "scheduled", "waiting", "leased"}
BY_HOLDER: Final = frozenset({"extend", "complete", "release", "retry", "reject"})  # authority: holder and fence
BY_CLOCK: Final = frozenset({"due", "expire", "lapse", "postpone", "recall"})  # by upkeep, which is nobody
COUNTED: Final = frozenset({"lapse", "retry"})  # as failures
ONCE_TOLD: Final = frozenset({"drop_off", "complete", "release", "retry", "reject"})  # and remembered until then

UNDER_WAY_MS: Final = 5_000  # how long a call may go on in a broker after its process was killed

# What an agent may hear, however it is raced and whatever dies. Anything else is a fault of the broker's.
MAY_BE_REFUSED: Final = {
    "drop_off": {"broker_unavailable"},
    "pick_up": {"broker_unavailable"},
    "extend": {"broker_unavailable", "lease_lost"},
    "complete": {"broker_unavailable", "lease_lost"},
    "hand_back": {"broker_unavailable", "lease_lost"},
    "withdraw": {"broker_unavailable", "handoff_settled"},
    "check": {"broker_unavailable"},
}


class Outage(NamedTuple):
    """A time in which no broker was there and nobody could extend, so long that leases are spared afterwards."""

    began: int
    ended: int
    spared_until: int  # one lease time after its end


class Excused(NamedTuple):
    """Refusals that were right for a while, of one agent or of all: a key was gone."""

    agent: str
    began: int
    ended: int
    codes: frozenset[str]

    def covers(self, event: Event) -> bool:
        its_time = self.began <= event["heard"] and event["sent"] <= self.ended
        return its_time and event["code"] in self.codes and self.agent in ("", event["agent"])


class History(NamedTuple):
    events: Sequence[Event]
    entries: Sequence[Entry]  # with their `id`, in the order of the stream
    records: Mapping[str, Record]
    settled: bool = True  # the load has let everything come to its end
    outages: Sequence[Outage] = ()
    excused: Sequence[Excused] = ()
    gone: frozenset[str] = frozenset()  # handoffs whose record somebody deleted: nothing is told of them any more
    unread: frozenset[str] = frozenset()  # entries that the store has lost: a late answer has no leaf of them


def broken(history: History) -> list[str]:
    """Every clause that does not hold, as a sentence."""
    sentences: list[str] = []
    for id, story in _stories(history.entries).items():
        for clause in OF_ONE_HANDOFF:
            sentences += (f"{id}: {sentence}" for sentence in clause(story))
    for clause in OF_THE_WHOLE:
        sentences += clause(history)
    return sentences


# ---- one handoff, by the ledger alone ---------------------------------------------------------------------------


def _arrows(story: Sequence[Entry]) -> Broken:
    state = "absent"
    for entry in story:
        step, to = entry["step"], entry["to"]
        if entry["from"] != state:
            yield f"{entry['id']} {step} starts from {entry['from']}, and it was {state}"
        if to not in LEGAL.get((state, step), frozenset()):
            yield f"{entry['id']} is no legal arrow: {state} {step} → {to}"
        state = to


def _numbered(story: Sequence[Entry]) -> Broken:
    for n, entry in enumerate(story, 1):
        if entry["n"] != str(n):
            yield f"entry {n} of it is numbered {entry['n']}"
    for before, entry in pairwise([{"id": ""}, *story]):
        if entry.get("prev", "") != before["id"]:
            yield f"{entry['id']} follows '{before['id']}', and says '{entry.get('prev', '')}'"


def _one_holder(story: Sequence[Entry]) -> Broken:
    """By order in the ledger, which is the order in which the store did it: no two leases overlap, fences rise."""
    holder, fence, lease_ends, highest = "", "", 0, 0
    for entry in story:
        step, actor = entry["step"], entry["actor"]
        if step == "pick_up":
            if holder:
                yield f"two holders: {actor} picked up what {holder} holds"
            if int(entry["fence"]) <= highest:
                yield f"the fence went back from {highest} to {entry['fence']}"
            holder, fence, highest = actor, entry["fence"], max(highest, int(entry["fence"]))
        elif step in BY_HOLDER and (actor, entry["fence"]) != (holder, fence):
            yield f"{actor} {step} under fence {entry['fence']}; held by '{holder}' under '{fence}'"
        elif step == "lapse" and int(entry["at"]) < lease_ends:
            yield f"{entry['id']} lapsed {lease_ends - int(entry['at'])} ms before its time"
        elif step == "postpone" and int(entry["lease_ends"]) <= lease_ends:
            yield f"{entry['id']} postponed a lease to an earlier time"
        lease_ends = int(entry.get("lease_ends") or lease_ends)
        if entry["to"] != "leased":
            holder, fence = "", ""


def _one_outcome(story: Sequence[Entry]) -> Broken:
    outcomes = [f"{entry['to']} by {entry['actor']}" for entry in story if entry["to"] in FINAL]
    if len(outcomes) > 1:
        yield f"has {len(outcomes)} outcomes: {', '.join(outcomes)}"


def _counted(story: Sequence[Entry]) -> Broken:
    """Only a failure is counted, and each is: not a release, a recall, a postponed lease."""
    failures = 0
    for entry in story:
        failures += entry["step"] in COUNTED
        if entry.get("failures") != str(failures):
            yield f"{entry['id']} {entry['step']} counts {entry.get('failures')} failures, and there were {failures}"
            failures = int(entry.get("failures") or 0)


OF_ONE_HANDOFF: Final[Sequence[Callable[[Sequence[Entry]], Broken]]] = (
    _arrows,
    _numbered,
    _one_holder,
    _one_outcome,
    _counted,
)

# ---- ledger and records -----------------------------------------------------------------------------------------


def _records_agree(history: History) -> Broken:
    """Each record is what its last entry made of it; neither is without the other."""
    stories = _stories(history.entries)
    for id in stories.keys() ^ (history.records.keys() | (history.gone & stories.keys())):
        yield f"{id}: {'no record' if id in stories else 'a record without any entry'}"
    for id in stories.keys() & history.records.keys():
        record, last = history.records[id], stories[id][-1]
        said = (last["to"], last["n"], last["id"])
        if (record["state"], record["n"], record["last"]) != said:
            yield f"{id}: the record is {record['state']} n={record['n']} {record['last']}, its last entry {said}"
        if record["state"] not in STATES:
            yield f"{id}: '{record['state']}' is no state"
        if history.settled and record["state"] not in FINAL:
            yield f"{id}: has no outcome, it is still {record['state']}"


def _forwarded_once(history: History) -> Broken:
    """Both or neither: what was completed with a next has just that next, which names it, and nobody else has it."""
    children: dict[str, list[str]] = defaultdict(list)
    for id, story in _stories(history.entries).items():
        if parent := story[0].get("parent"):
            children[parent].append(id)
            if history.records.get(parent, {}).get("next", id) != id:
                yield f"{id}: names {parent} as what it comes from, which has another next"
    for id, record in history.records.items():
        wanted = [record["next"]] if record.get("next") else []
        if children[id] != wanted:
            yield f"{id}: is {record['state']} with next {wanted}, and the ledger has {children[id]}"
        if wanted and record["state"] != "completed":
            yield f"{id}: has a next, and is {record['state']}"


def _spared_after_outages(history: History) -> Broken:
    """Who could not extend is not to blame: after an outage nothing lapses for one whole lease time."""
    for entry in history.entries:
        for outage in history.outages:
            if entry["step"] == "lapse" and outage.began <= int(entry["at"]) < outage.spared_until:
                late = int(entry["at"]) - outage.ended
                yield f"{entry['handoff']}: {entry['id']} lapsed {late} ms after an outage; its holder could not extend"


def _by_who_may(history: History) -> Broken:
    """Each step names its actor's revision: that of the last gate entry before it, by which the actor is active."""
    gate: dict[str, str] = {}
    for entry in history.entries:
        revs = dict(pair.split("=") for pair in entry.get("revs", "").split(",") if pair)
        if (entry["actor"] == "upkeep") is (entry["actor"] in revs):
            yield f"{entry['id']} {entry['step']} by {entry['actor']} presents the revisions {revs}"
        if "from" in entry and (entry["actor"] == "upkeep") is not (entry["step"] in BY_CLOCK):
            yield f"{entry['id']} {entry['step']} was done by {entry['actor']}"
        for agent, rev in revs.items():
            says = gate.get(agent, "nothing")
            if says != f"{rev} active":
                yield f"{entry['id']} {entry['step']} by {agent} at {rev}, and the gate says {says}"
        if entry["step"] in ONCE_TOLD and not gate.get("*", "").endswith(" active"):
            yield f"{entry['id']} {entry['step']} by {entry['actor']} while everything stood still"
        if entry["step"] == "gate":
            gate[entry["agent"]] = f"{entry['rev']} {entry['standing']}"


# ---- what agents were told --------------------------------------------------------------------------------------


def _drop_offs_are_there(history: History) -> Broken:
    """Every acknowledged drop-off has its record, with the very payload; a key made one handoff and no second."""
    made: dict[tuple[str, str], str] = {}
    for event in _told(history, "drop_off"):
        id, by = event["handoff"], (event["agent"], event["key"])
        if id in history.gone:
            continue
        if id not in history.records:
            yield f"{id}: lost; {event['agent']} was told that it is {event['durability']}"
        elif _digest(history.records[id].get("payload", "null")) != event["payload"]:
            yield f"{id}: holds another payload than {event['agent']} dropped off"
        if made.setdefault(by, id) != id:
            yield f"{id}: dropped off twice under the key {event['key']}, also as {made[by]}"


def _given_up(history: History) -> set[tuple[str, str]]:
    """Calls that went unanswered once, and were refused for want of a key when they were asked again."""
    unanswered = {(event["agent"], event["key"]) for event in _told(history, "unanswered")}
    refused = (event for event in _told(history, "refused") if any(one.covers(event) for one in history.excused))
    return {(event["agent"], event["key"]) for event in refused} & unanswered


def _nothing_came_from_nowhere(history: History) -> Broken:
    """The load asks until it is answered, so what was done in an agent's name was also acknowledged; but for the one
    call that was under way when its process was killed.
    """
    lives = Counter(event["agent"] for event in _told(history, "born"))
    given_up = Counter(by for by, _ in _given_up(history))
    acknowledged = {event.get("entry") for event in history.events}
    unknown: dict[str, list[str]] = defaultdict(list)
    for entry in history.entries:
        asked_for = entry["step"] in ONCE_TOLD and not entry.get("parent") and entry["actor"] != "upkeep"
        if history.settled and asked_for and entry["id"] not in acknowledged:
            unknown[entry["actor"]].append(f"{entry['handoff']}: {entry['id']} {entry['step']}")
    for agent, steps in unknown.items():
        deaths = max(lives[agent] - 1, 0)
        if len(steps) > deaths + given_up[agent]:
            yield f"nobody was told of {len(steps)} steps by {agent}, which died {deaths} times: {steps}"


def _receipts_are_true(history: History) -> Broken:
    """A receipt names the entry of this very step, and the leaf that the entry's line will be."""
    entries = {entry["id"]: entry for entry in history.entries}
    for event in history.events:
        if "entry" not in event:
            continue
        entry = entries.get(event["entry"])
        if entry is None:
            yield f"{event['handoff']}: the receipt of {event['what']} names {event['entry']}, which the ledger lacks"
            continue
        said = (event["handoff"], event["agent"], event["what"])
        if (entry["handoff"], entry["actor"], HEARD_AS.get(entry["step"], entry["step"])) != said:
            yield f"{event['handoff']}: the receipt of {event['what']} by {event['agent']} names {dict(entry)}"
        if event["leaf"] != _leaf(entry) and not (event["leaf"] == "" and entry["id"] in history.unread):
            yield f"{event['handoff']}: the receipt of {event['what']} names a leaf that {event['entry']} is not"


def _picked_up_what_was_dropped(history: History) -> Broken:
    dropped = {event["handoff"]: event["payload"] for event in _told(history, "drop_off")}
    dropped |= {event["next"]: event["next_payload"] for event in _told(history, "complete") if "next" in event}
    entries = {entry["id"]: entry for entry in history.entries}
    for event in _told(history, "pick_up"):
        if dropped.get(event["handoff"], event["payload"]) != event["payload"]:
            yield f"{event['handoff']}: {event['agent']} got another payload than was dropped off"
        fence = str(_fence(event["lease"]))
        if entries.get(event["entry"], {}).get("fence", fence) != fence:
            yield f"{event['handoff']}: {event['agent']} was given fence {fence}, the ledger has another"


def _completions_stand(history: History) -> Broken:
    """Whoever was told 'completed' is the one who completed it, and his result and his next are those that are kept."""
    by: dict[str, str] = {}
    for event in _told(history, "complete"):
        id, lease = event["handoff"], event["lease"]
        if by.setdefault(id, lease) != lease:
            yield f"{id}: acknowledged as completed twice, under {by[id]} and {lease}"
        if id in history.gone:
            continue
        record, onward = history.records.get(id, {}), event.get("next", "")
        if record.get("state") != "completed":
            yield f"{id}: {event['agent']} was told that it is completed, and it is {record.get('state')}"
        elif _digest(record.get("result", "null")) != event["result"]:
            yield f"{id}: holds another result than {event['agent']} was acknowledged"
        if record.get("next", "") != onward or ("next_payload" in event) != bool(onward):
            yield f"{id}: {event['agent']} was told '{onward}' comes next, and it is '{record.get('next', '')}'"
        if onward in history.records and _digest(history.records[onward]["payload"]) != event.get("next_payload"):
            yield f"{onward}: holds another payload than {event['agent']} brought as next"


def _found_outcomes_stand(history: History) -> Broken:
    """What a sender was told as the outcome is the outcome for good."""
    for event in _told(history, "check"):
        now = history.records.get(event["handoff"], {}).get("state", "gone")
        if event["state"] in FINAL and now != event["state"] and event["handoff"] not in history.gone:
            yield f"{event['handoff']}: {event['agent']} was told that it is {event['state']}, and it is {now}"


def _nothing_unexpected_was_said(history: History) -> Broken:
    for event in _told(history, "refused"):
        may = MAY_BE_REFUSED[event["verb"]] | set(event.get("expects", ()))
        may |= {"lease_unknown", "handoff_unknown"} if event.get("handoff") in history.gone else set()
        if event["code"] not in may and not any(excused.covers(event) for excused in history.excused):
            yield f"{event['agent']} {event['verb']} was refused with {event['code']}: {event['sentence']}"


def _lost_leases_were_lost(history: History) -> Broken:
    """Whoever hears that his lease is lost has lost it by then, and had not completed under it before."""
    ended: dict[tuple[str, str], Entry] = {}
    for entry in history.entries:
        if entry.get("from") == "leased" and entry["to"] != "leased":
            ended[entry["handoff"], entry["fence"]] = entry
    for event in _told(history, "refused"):
        if event["code"] == "lease_lost":
            end = ended.get((event["lease"].rpartition(".")[0], str(_fence(event["lease"]))))
            if end is None or int(end["at"]) > event["heard"] or (end["step"] == event["verb"] == "complete"):
                yield f"{event['agent']} {event['verb']} was told that {event['lease']} is lost; it ended with {end}"


def _nothing_stored_means_nothing(history: History) -> Broken:
    """While an agent made a call that ended with "Nothing of this call was stored", nothing was stored in its name.

    An agent makes one call after the other, so what the ledger has of it between a call's beginning and its end is that
    call's. (Strictly between: what shares a millisecond with either end may be a neighbour's. And what an earlier life
    had under way may end in the first moments of the next.)
    """
    born: dict[str, list[int]] = defaultdict(list)
    for event in _told(history, "born"):
        born[event["agent"]].append(event["heard"])
    moments: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for entry in history.entries:
        moments[entry["actor"]].append((int(entry["at"]), entry["id"]))
    for event in _told(history, "refused"):
        if event["code"] == "broker_unavailable" and "Nothing of this call was stored" in event["sentence"]:
            if any(0 <= event["sent"] - at < UNDER_WAY_MS for at in sorted(born[event["agent"]])[1:]):
                continue
            for at, id in moments[event["agent"]]:
                if event["sent"] < at < event["heard"]:
                    yield f"{event['agent']} {event['verb']} was told that nothing was stored, and {id} was"


OF_THE_WHOLE: Final[Sequence[Callable[[History], Broken]]] = (
    _records_agree,
    _forwarded_once,
    _spared_after_outages,
    _by_who_may,
    _drop_offs_are_there,
    _nothing_came_from_nowhere,
    _receipts_are_true,
    _picked_up_what_was_dropped,
    _completions_stand,
    _found_outcomes_stand,
    _nothing_unexpected_was_said,
    _lost_leases_were_lost,
    _nothing_stored_means_nothing,
)

# ---- reading ----------------------------------------------------------------------------------------------------


def _legal() -> dict[tuple[str, str], frozenset[str]]:
    legal: dict[tuple[str, str], frozenset[str]] = {}
    for line in TABLE.strip().splitlines():
        state, *words = line.split()
        verb = ""
        for word, following in pairwise([*words, ""]):
            if following == "→":
                verb = word
            elif word != "→":
                legal[state, verb] = legal.get((state, verb), frozenset()) | {word}
    return legal


LEGAL: Final = _legal()
HEARD_AS: Final = {"release": "hand_back", "retry": "hand_back", "reject": "hand_back"}


def _stories(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    stories: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.get("handoff"):
            stories[entry["handoff"]].append(entry)
    return stories


def _told(history: History, what: str) -> Iterator[Event]:
    return (event for event in history.events if event["what"] == what)


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(value: Any) -> str:
    """What the load writes down in place of a payload or a result."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _digest(text: str) -> str:
    return digest(json.loads(text))


def _leaf(entry: Entry) -> str:
    """RFC 9162: a zero byte, and the line, which is the entry as canonical JSON."""
    return hashlib.sha256(b"\0" + canonical(dict(entry))).hexdigest()


def _fence(lease_id: str) -> int:
    number = 0
    for digit in lease_id.rpartition(".")[2]:
        number = number * 32 + "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(digit)
    return number
