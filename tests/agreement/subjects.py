"""What a story speaks of, by how many were known since. What is not there any more, or never was, is a question too."""

from dropoff.core.caller import Caller
from dropoff.core.handoff import AgentName, HandoffId, NewHandoff, QueueName
from dropoff.core.lease import Lease
from dropoff.core.lifecycle import LEASED
from dropoff.core.queue import Queue
from tests import world
from tests.agreement.both import QUEUES, Both


class Subjects(Both):
    """Finds what a call is about."""

    async def _drop(self, caller: Caller, to: Queue, new: NewHandoff) -> None:
        if new.id not in self.handoffs:
            self.handoffs.append(new.id)
        await self.ask(lambda store: store.drop_off(caller, to, new))

    def _caller(self, who: str, outdated: bool) -> Caller:
        return (self.before if outdated else self.now)[AgentName(who)]

    def _queue(self, name: str, old_settings: bool) -> Queue:
        return (self.settings_before if old_settings else self.settings)[QueueName(name)]

    def _judged_by(self, lease: Lease, judged_before: bool) -> str:
        """The result schema of the lease's queue."""
        return self._queue(lease.queue, judged_before).result_schema_hash

    async def _with_work(self) -> str:
        """The queue in which most waits."""
        figures = await self.model.figures(list(QUEUES))
        return max(figures, key=lambda name: figures[name].waiting, default="research")

    def _lease(self, back: int, goes_on: bool, who: str = "", outdated: bool = False) -> tuple[Lease, Caller]:
        """The last but so many, and who asks: its holder, if nobody else is named."""
        those = [(lease, holder) for lease, holder in self.leases if not goes_on or self._goes_on(lease)]
        those = those or self.leases or [(Lease(world.unknown_id(), 1), "bob")]
        lease, holder = those[-1 - back % len(those)]
        return lease, self._caller(who or holder, outdated)

    def _goes_on(self, lease: Lease) -> bool:
        kept = self.model.kept.get(lease.handoff_id)
        return kept is not None and (kept.handoff.state, kept.handoff.fence) == (LEASED, lease.fence)

    def _handoff(self, back: int, state: str = "") -> HandoffId:
        """The last but so many, of those in this state if there are any."""
        kept = self.model.kept
        those = [id for id in self.handoffs if id in kept and kept[id].handoff.state == state] or self.handoffs
        return those[-1 - back % len(those)] if those else world.unknown_id()
