"""Rules that hold whatever happened, asked of the ledger and of the store as they are.

The gate's rule is checked from the ledger alone, in its order, as a stranger would: each entry says at which revision
its actor was presented, and `gate` entries say what the gate knew.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from dropoff.core.caller import EVERYONE, UPKEEP
from dropoff.core.ledger import Entry
from dropoff.core.store import Store

PAGE: Final = 1_000

# What a freeze of everything stops: the steps of agents. Release and withdraw are theirs, and operators' too.
OF_AGENTS: Final = frozenset({"drop_off", "pick_up", "extend", "complete", "retry", "reject"})


async def ledger_of(store: Store) -> list[Entry]:
    """All of it, in its order."""
    entries: list[Entry] = []
    after = "0-0"
    while page := await store.entries(after=after, at_most=PAGE):
        entries += page
        after = page[-1].id
    return entries


def check_gate(entries: Iterable[Entry]) -> int:
    """No step by a revoked or frozen caller, none by one that was decided upon at another revision than the gate's.

    For every entry that presents a revision, it is that of the last `gate` entry of its agent before it, and that one
    says active. Returns how many entries were held against it: a ledger without any proves nothing.
    """
    gates: dict[str, Entry] = {}
    checked = 0
    for entry in entries:
        assert entry.revs or entry.actor == UPKEEP, f"nobody is presented: {entry}"
        for presented in filter(None, entry.revs.split(",")):
            agent, _, rev = presented.partition("=")
            said = gates.get(agent)
            assert said is not None, f"the gate did not know {agent}: {entry}"
            assert (said.rev, said.standing) == (rev, "active"), f"{entry}\nafter {said}"
            checked += 1
        if entry.step in OF_AGENTS:
            assert gates[EVERYONE].standing == "active", f"everything was frozen: {entry}"
        if entry.step == "gate":
            _only_rises(gates.get(entry.agent), entry)
            gates[entry.agent] = entry
    return checked


def _only_rises(before: Entry | None, now: Entry) -> None:
    """The same again is a gate whose key was lost and put back; it must say the same."""
    if before is not None:
        assert int(now.rev) >= int(before.rev), f"an older revision won: {now}\nafter {before}"
        if now.rev == before.rev:
            assert now.standing == before.standing, f"{now}\nafter {before}"


def check_expiries(found: Mapping[str, Any], queue: str) -> None:
    """In the index of what can expire stands just what nobody holds and what has not ended, by its own time."""
    records = [fields for name, fields in found.items() if name.startswith(f"q:{queue}:h:")]
    demanded = {
        record["id"]: int(record["expires"])
        for record in records
        if record["state"] in ("held", "scheduled", "waiting") and record["expires"]
    }
    assert dict(found.get(f"q:{queue}:expiries", ())) == demanded
