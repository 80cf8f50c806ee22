"""What operators do in a story about agents: standing, freezes, and what a broker that died left half done."""

from typing import Any, Final

import msgspec

from dropoff.core.caller import EVERYONE, Caller, Revision
from dropoff.core.handoff import AgentName, QueueName
from tests import world
from tests.agreement.both import Asking, cut_before_the_gate
from tests.agreement.subjects import Subjects

_new = msgspec.structs.replace

FROZEN_CALLS: Final = 2  # so that a run does not spend its time before a shut gate


class OfAuthority(Subjects):
    """Each verb of a story is a method."""

    frozen_calls = 0

    async def change(
        self,
        who: str,
        outdated: bool,
        agent: AgentName,
        standing: str,
        reason: str,
        old_record: bool,
        cut: bool,
    ) -> None:
        """An agent's standing; or a change over a record that is no longer current. Who is revoked stays revoked.

        `ops` is the last admin, and is never stopped.
        """
        agent = agent or self._lease(0, True)[1].agent
        known = await self.model.principal(agent)
        assert known is not None
        if known.standing == "revoked":
            standing = known.standing
        over = self.before[agent].rev if old_record else known.rev
        wanted = _new(known, standing=standing, reason=reason, rev=over)
        await self._put(self._caller(who, outdated), wanted, cut)

    async def freeze_everything(self, cut: bool) -> None:
        if not self.frozen_calls:
            await self._everybody("frozen", cut)
            self.frozen_calls = FROZEN_CALLS + 1  # this one is the first

    async def thaw_in_time(self) -> None:
        """After each call."""
        if self.frozen_calls:
            self.frozen_calls -= 1
            if not self.frozen_calls:
                await self._everybody("active")

    async def _everybody(self, standing: str, cut: bool = False) -> None:
        known = await self.model.principal(EVERYONE)
        assert known is not None
        await self._put(world.UPKEEP, _new(known, standing=standing), cut)

    async def _put(self, by: Caller, wanted: Any, cut: bool) -> None:
        asking: Asking = lambda store: store.put_principal(by, wanted)  # noqa: E731
        await self.ask((lambda store: cut_before_the_gate(store, asking)) if cut else asking)

    async def who_is_stopped_tries_everything(self, who: str, back: int) -> None:
        """Frozen, revoked, or decided upon with an old record: whatever it asks is refused, and nothing changes."""
        stopped = [agent for agent in self.now if not (await self.model.standing(agent)).endswith(" active")]
        caller = self.now[stopped[0]] if stopped else self.before[AgentName(who)]
        if caller == self.now[AgentName(who)] and not stopped:
            return
        entries = len(self.entries)
        id, (held, _), queue = self._handoff(back), self._lease(back, False), self.settings[QueueName("research")]
        new = world.work(caller, key=f"of one who is stopped {len(self.asked)}")
        known = await self.model.principal(caller.agent)
        assert known is not None
        for asking in (
            lambda store: store.drop_off(caller, queue, new),
            lambda store: store.pick_up(caller, queue, world.key_or_new("")),
            lambda store: world.extend(store, held, caller),
            lambda store: store.dropped_before(caller, id, "", resubmit_of=id, may_operate=True),
            lambda store: store.picked_before(caller, caller.agent, "k1"),
            lambda store: store.lease_ends(caller, held),
            lambda store: store.completed_before(caller, held, ""),
            lambda store: store.complete(caller, held, b"{}"),
            lambda store: store.forward(caller, held, b"{}", queue, new),
            lambda store: world.hand_back(store, held, "retry", caller),
            lambda store: store.withdraw(caller, id, reason="", may_operate=True),
            lambda store: store.check(caller, id, may_inspect=True),
            lambda store: store.judge(caller, id, "approve", digest="", reason=""),
            lambda store: store.release(caller, held, reason=""),
            lambda store: store.erase(id, caller),
            lambda store: store.put_principal(caller, known),
            lambda store: store.gate(caller, caller.agent, known.rev, "active"),
            lambda store: store.put_queue(caller, queue),
            lambda store: store.put_queue(caller, _new(queue, rev=Revision("1"))),
            lambda store: store.remove_queue(caller, queue),
            lambda store: store.put_schema(caller, "more", "of-more", b"{}"),
        ):
            assert isinstance(await self.ask(asking), Exception)
        assert len(self.entries) == entries

    async def enforce(self, agent: AgentName) -> None:
        await self.ask(lambda store: store.enforce(agent))

    async def gate_with_an_old_revision(
        self, who: str, outdated: bool, agent: AgentName, older: int, standing: str
    ) -> None:
        caller, rev = self._caller(who, outdated), str(int(self.now[agent].rev) - older)
        assert await self.ask(lambda store: store.gate(caller, agent, rev, standing)) != "changed"
