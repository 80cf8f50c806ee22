"""Agents: who may call, what they may do, and when they may not.

A change is made in the agent's record first and then in the gate, and is in force, for the very next step of anybody,
on return.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

import msgspec

from dropoff.core import credential
from dropoff.core.caller import EVERYONE, RESERVED, Caller, Principal, Standing, caller_upkeep
from dropoff.core.deciding import everyone
from dropoff.core.grant import Grant, parse
from dropoff.core.handoff import AgentName
from dropoff.core.store import Stale
from dropoff.errors import AgentExists, AgentRevoked, AgentUnknown, ArgumentsInvalid, Problem
from dropoff.operations.acting import Acting, invalid, require_name

OPERATOR: Final = AgentName("operator")  # the one that the first start makes
OPERATOR_TRIES: Final = 5


class MadeAgent(msgspec.Struct, frozen=True, kw_only=True):
    """A new agent, and its bearer: the only time that it is ever shown."""

    principal: Principal
    bearer: str


class Agents(Acting):
    """Acts on principals."""

    async def add_agent(self, caller: Caller, name: str, grants: Iterable[str]) -> MadeAgent:
        """Make an agent with a new long bearer, which is returned once and never kept."""
        bearer = credential.bearer(self._unique(credential.BEARER_BYTES))

        async def add(caller: Caller) -> Principal:
            require_name("name", name, "dropoff agent add")
            if name in RESERVED:
                raise invalid("dropoff agent add", "name", f"'{name}' is reserved", expected="another name")
            principal = Principal(agent=AgentName(name), grants=_grants(grants), bearers=(credential.hash_of(bearer),))
            known = await self.store.principal(principal.agent, fresh=True)
            if known and known.bearers == principal.bearers:
                return await self._in_force(caller, known)  # made by this very call, whose caller changed meanwhile
            if known:
                raise AgentRevoked(agent=name) if known.standing == "revoked" else AgentExists(agent=name)
            return await self.store.put_principal(caller, principal)

        return MadeAgent(principal=await self._done(caller, "add agents", add), bearer=bearer)

    async def grant(self, caller: Caller, name: str, grants: Iterable[str]) -> Principal:

        def change(known: Principal) -> dict[str, Any]:
            if known.standing == "revoked":
                raise AgentRevoked(agent=name)
            return {"grants": (*known.grants, *_without(_grants(grants), known.grants))}

        return await self._changed(caller, name, change)

    async def ungrant(self, caller: Caller, name: str, grants: Iterable[str]) -> Principal:
        return await self._changed(caller, name, lambda known: {"grants": _without(known.grants, _grants(grants))})

    async def revoke(self, caller: Caller, name: str, reason: str = "") -> Principal:
        """End the agent's authority: in force, for the very next step of anybody, on return."""
        return await self._changed(caller, name, lambda _: {"standing": "revoked", "reason": reason})

    async def freeze(self, caller: Caller, name: str, reason: str = "") -> Principal:
        """Stop an agent, or everybody (`*`), until thawed: in force, for the very next step of anybody, on return."""
        return await self._changed(caller, name, lambda known: _standing(known, "frozen", reason), or_everyone=True)

    async def thaw(self, caller: Caller, name: str, reason: str = "") -> Principal:
        """Let a frozen agent, or everybody (`*`), go on: what is held has one whole lease time from now."""
        return await self._changed(caller, name, lambda known: _standing(known, "active", reason), or_everyone=True)

    async def ensure_operator(self, bearer: str) -> Principal:
        """The operator whose credential lies in the data folder: made at the first start, found at the next."""
        for _ in range(OPERATOR_TRIES - 1):
            with suppress(Stale):  # another broker, with a data folder of its own, does the same at this moment
                return await self._operator_with(credential.hash_of(bearer))
        return await self._operator_with(credential.hash_of(bearer))

    async def _operator_with(self, bearer_hash: str) -> Principal:
        await everyone(self.store)  # before anybody calls: no step passes without its word
        known = await self.store.principal(OPERATOR, fresh=True) or Principal(agent=OPERATOR, grants=(Grant("admin"),))
        if await self.store.agent_by_bearer(bearer_hash) == OPERATOR and bearer_hash in known.bearers:
            return known
        # Also where only the index of bearers was lost: who is to have it mended must be known.
        changed = msgspec.structs.replace(known, bearers=tuple(dict.fromkeys((*known.bearers, bearer_hash))))
        return await self.store.put_principal(caller_upkeep(), changed)

    async def _changed(
        self, caller: Caller, name: str, change: Callable[[Principal], dict[str, Any]], *, or_everyone: bool = False
    ) -> Principal:
        """The agent's record with this change, made over whatever it is now.

        Everybody at once has no grants, and cannot be revoked: nothing would ever pass again.
        """

        async def act(caller: Caller) -> Principal:
            asked = everyone(self.store) if name == EVERYONE else self.store.principal(AgentName(name), fresh=True)
            known = await asked
            if known is None or (known.agent == EVERYONE and not or_everyone):
                raise AgentUnknown(agent=name)
            changed = msgspec.structs.replace(known, **change(known))
            if changed == known:
                return await self._in_force(caller, known)
            return await self.store.put_principal(caller, changed)

        return await self._done(caller, "change agents", act)

    async def _in_force(self, caller: Caller, known: Principal) -> Principal:
        """The record as it is, of which the gate knows on return: somebody may have died between the two.

        Where the gate said otherwise, or the record has changed since, all is decided anew.
        """
        if await self.store.gate(caller, known.agent, known.rev, known.standing, known.reason) == "behind":
            await self.store.enforce(known.agent)
        if await self.store.standing(known.agent) != f"{known.rev} {known.standing}":
            raise Stale
        return known


def _standing(known: Principal, standing: Standing, reason: str) -> dict[str, Any]:
    if known.standing == "revoked":
        raise AgentRevoked(agent=known.agent)
    return {"standing": standing, "reason": reason if standing != known.standing else known.reason}


def _grants(texts: Iterable[str]) -> tuple[Grant, ...]:
    parsed = [parse(text) for text in texts]
    problems = tuple(problem for problem in parsed if isinstance(problem, Problem))
    if problems:
        raise ArgumentsInvalid(verb="dropoff agent grant", problems=problems)
    return tuple(dict.fromkeys(grant for grant in parsed if isinstance(grant, Grant)))


def _without(grants: Iterable[Grant], others: Iterable[Grant]) -> tuple[Grant, ...]:
    left_out = set(others)
    return tuple(grant for grant in grants if grant not in left_out)
