"""Makes a `Caller` of what a request proves.

Today there is one proof, the long bearer. Others come into this room and end in the same place: a principal, and the
credential that proved it. What the principal may do is not asked here; that is looked up in its record, and the gate
sees to it that the record is the current one.
"""

from typing import Final

from dropoff.core import credential
from dropoff.core.caller import Caller, caller_of
from dropoff.core.handoff import AgentName
from dropoff.core.store import Store
from dropoff.errors import Unauthenticated

REMEMBERED_MAX: Final = 10_000


class Callers:
    """Knows the callers of one broker."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._agents: dict[str, AgentName] = {}  # hash of a bearer → whose it was when it was last looked up

    async def of(self, authorization: str | None, trace: str = "") -> Caller:
        """The caller that this Authorization header proves. Raises `Unauthenticated`, and says no more than that."""
        scheme, _, secret = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not secret.startswith(credential.PREFIX):
            raise Unauthenticated
        hashed = credential.hash_of(secret.strip())
        agent = await self._agent(hashed)
        proof = credential.id_of(hashed)
        try:
            return caller_of(await self._store.principal(agent), proof, trace)
        except Unauthenticated:  # what is remembered may be older than this credential
            return caller_of(await self._store.principal(agent, fresh=True), proof, trace)

    async def _agent(self, hashed: str) -> AgentName:
        """Looked up by the hash, so that no comparison depends on the secret itself. Only finds are remembered."""
        known = self._agents.get(hashed)
        if known is not None:
            return known
        agent = await self._store.agent_by_bearer(hashed)
        if agent is None:
            raise Unauthenticated
        if len(self._agents) >= REMEMBERED_MAX:
            self._agents.clear()
        self._agents[hashed] = agent
        return agent
