"""What there was to see in a performance, in figures."""

import statistics
from collections import Counter
from typing import Any, Final, Literal, NamedTuple

from tests.crash.checker import History

Victim = Literal["broker", "store", "both", "outage", "worker"]
VICTIMS: Final[tuple[Victim, ...]] = ("broker", "store", "both", "outage", "worker")
DIES: Final[dict[Victim, tuple[str, ...]]] = {
    "broker": ("broker",),
    "store": ("store",),
    "both": ("broker", "store"),
    "outage": ("broker", "store"),
    "worker": ("worker",),
}


class Kill(NamedTuple):
    victim: Victim
    at_ms: int
    agent: str = ""  # which worker


class Played(NamedTuple):
    """The history of what agents, ledger and records say, and what the conductor did meanwhile."""

    history: History
    kills: list[Kill]
    starts: int
    up_s: float
    wall_s: float
    began_ms: int
    ended_ms: int

    def deaths(self) -> "Counter[str]":
        """How many processes of each kind were killed."""
        return Counter(process for kill in self.kills for process in DIES[kill.victim])

    def completed(self) -> int:
        """Handoffs whose completion an agent was told while the kills went on."""
        told = (event for event in self.history.events if event["what"] == "complete")
        return len({event["handoff"] for event in told if self.began_ms <= event["heard"] <= self.ended_ms})

    def rate(self) -> float:
        """Completions a second. A store's death does not stop this clock: while it is away, the broker is up."""
        return self.completed() / self.up_s

    def recoveries_ms(self, *victims: Victim) -> list[int]:
        """From each kill to the first receipt for a step that came after it: of any agent, or of the one that died."""
        told = sorted(
            (event["heard"], int(event["entry"].partition("-")[0]), event["agent"]) for event in self.receipts()
        )
        return [
            next((heard - kill.at_ms for heard, at, by in told if at > kill.at_ms and kill.agent in ("", by)), -1)
            for kill in self.kills
            if kill.victim in victims
        ]

    def receipts(self) -> list[Any]:
        return [event for event in self.history.events if "entry" in event]

    def figures(self) -> str:
        deaths, steps = self.deaths(), Counter(entry["step"] for entry in self.history.entries)
        dead = ", ".join(f"{deaths[process]} of the {process}" for process in ("broker", "store"))
        lines = [
            f"{deaths.total()} kills ({dead}, {deaths['worker']} of workers), {self.starts} starts of the broker; "
            f"{len(self.history.records):,} handoffs, {len(self.history.entries):,} ledger entries, "
            f"{len(self.receipts()):,} receipts",
            f"{self.completed():,} completed meanwhile: {self.rate():.0f}/s while a broker was up ({self.up_s:.1f} s), "
            f"{self.completed() / self.wall_s:.0f}/s by the clock on the wall ({self.wall_s:.1f} s)",
            ", ".join(f"{steps[step]:,} {step}" for step in ("lapse", "postpone", "recall", "gate")),
            *(self._recovery(victim) for victim in VICTIMS),
        ]
        return "\n".join(lines)

    def _recovery(self, victim: Victim) -> str:
        times = self.recoveries_ms(victim)
        median = f"{statistics.median(times):.0f} ms (median), {max(times)} ms at most" if times else "-"
        return f"{victim}: killed {len(times)} times; the next receipt after {median}"
