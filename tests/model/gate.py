"""Who passes: a step is carried out only if the broker decided it with the caller's record of now."""

from typing import Literal

from dropoff.core.caller import EVERYONE, UPKEEP, Caller
from dropoff.core.handoff import AgentName
from dropoff.core.store import Stale
from dropoff.errors import Frozen, Unauthenticated
from tests.model.memory import Memory

UNKNOWN = (0, "unknown")


class Gate(Memory):
    """Stands before every step."""

    def _pass(self, caller: Caller, through: Literal["", "operating", "reading"] = "") -> None:
        """Upkeep is no caller. A freeze of everything stops no operator, who must be able to thaw, and no reader."""
        if caller.agent == UPKEEP:
            return
        rev, standing = self._gate.get(caller.agent, UNKNOWN)
        if EVERYONE not in self._gate or str(rev) != caller.rev:
            raise Stale
        if standing == "revoked":
            raise Unauthenticated
        if standing == "frozen":
            raise Frozen(agent=caller.agent)
        if self._stands(EVERYONE, "frozen") and not through:
            raise Frozen

    def _stands(self, agent: AgentName, standing: str) -> bool:
        return self._gate.get(agent, UNKNOWN)[1] == standing
