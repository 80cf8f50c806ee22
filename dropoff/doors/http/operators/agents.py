"""Agents: made, given and taken grants, frozen, thawed, revoked."""

from typing import Final, Literal

from starlette.requests import Request

from dropoff.core import credential
from dropoff.core.caller import Principal, Standing
from dropoff.core.lease import Lease
from dropoff.doors.house import House
from dropoff.doors.http.calls import Call
from dropoff.doors.http.operators.asked import Nothing, Why
from dropoff.doors.http.shapes import Answer, Shape
from dropoff.doors.http.table import Row

# ---- shapes -----------------------------------------------------------------------------------------------------


class NewAgent(Shape, frozen=True, kw_only=True):
    """An agent, and what it may do: "drop:research", "pick:drafts.*", "inspect:*", "operate:*", "admin"."""

    name: str
    grants: list[str] = []


class Grants(Shape, frozen=True, kw_only=True):
    """Grants to give or to take."""

    grants: list[str]


class AddedAgent(Answer, frozen=True, kw_only=True):
    """The bearer is shown this once, and kept by nobody but you."""

    agent: str
    grants: list[str]
    bearer: str


class AgentAnswer(Answer, frozen=True, kw_only=True):
    agent: str
    grants: list[str]
    standing: Standing
    reason: str
    credentials: list[str]
    holds: list[str]
    rev: str


class AgentsAnswer(Answer, frozen=True, kw_only=True):
    agents: list[AgentAnswer]


class ChangedAgent(Answer, frozen=True, kw_only=True):
    """One partition, so a change is in force everywhere when its step has answered."""

    agent: str
    grants: list[str]
    standing: Standing
    reason: str
    rev: str
    in_force: Literal["everywhere"] = "everywhere"


# ---- acts and reads ---------------------------------------------------------------------------------------------


async def _add(house: House, call: Call, request: Request) -> AddedAgent:
    made = await house.operations.add_agent(call.caller, call.given.name, call.given.grants)
    return AddedAgent(agent=made.principal.agent, grants=_grants(made.principal), bearer=made.bearer)


async def _every(house: House, call: Call, request: Request) -> AgentsAnswer:
    principals = await house.inspector.agents(call.caller)
    return AgentsAnswer(agents=[_agent(one, await house.inspector.holds(call.caller, one.agent)) for one in principals])


async def _one(house: House, call: Call, request: Request) -> AgentAnswer:
    principal = await house.inspector.agent(call.caller, call.path["name"])
    return _agent(principal, await house.inspector.holds(call.caller, principal.agent))


async def _grant(house: House, call: Call, request: Request) -> ChangedAgent:
    return _changed(await house.operations.grant(call.caller, call.path["name"], call.given.grants))


async def _ungrant(house: House, call: Call, request: Request) -> ChangedAgent:
    return _changed(await house.operations.ungrant(call.caller, call.path["name"], call.given.grants))


async def _freeze(house: House, call: Call, request: Request) -> ChangedAgent:
    return _changed(await house.operations.freeze(call.caller, call.path["name"], call.given.reason))


async def _thaw(house: House, call: Call, request: Request) -> ChangedAgent:
    return _changed(await house.operations.thaw(call.caller, call.path["name"], call.given.reason))


async def _revoke(house: House, call: Call, request: Request) -> ChangedAgent:
    return _changed(await house.operations.revoke(call.caller, call.path["name"], call.given.reason))


def _grants(principal: Principal) -> list[str]:
    return [str(grant) for grant in principal.grants]


def _agent(principal: Principal, holds: tuple[Lease, ...]) -> AgentAnswer:
    return AgentAnswer(
        agent=principal.agent,
        grants=_grants(principal),
        standing=principal.standing,
        reason=principal.reason,
        credentials=[credential.id_of(hashed) for hashed in principal.bearers],
        holds=[lease.id for lease in holds],
        rev=principal.rev,
    )


def _changed(principal: Principal) -> ChangedAgent:
    return ChangedAgent(
        agent=principal.agent,
        grants=_grants(principal),
        standing=principal.standing,
        reason=principal.reason,
        rev=principal.rev,
    )


# ---- the rows ---------------------------------------------------------------------------------------------------

_NO_AGENT: Final = ("agent_unknown",)
_ENDED: Final = (*_NO_AGENT, "agent_revoked")

ROWS: Final = (
    Row("GET", "/v1/agents", "agent ls", "All agents and operators.",
        Nothing, AgentsAnswer, (), _every),
    Row("POST", "/v1/agents", "agent add", "Make an agent with a new bearer, which is shown this once.",
        NewAgent, AddedAgent, ("agent_exists", "agent_revoked"), _add),
    Row("GET", "/v1/agents/{name}", "agent show", "One agent, and what it holds now.",
        Nothing, AgentAnswer, _NO_AGENT, _one),
    Row("POST", "/v1/agents/{name}/grant", "agent grant", "Give an agent grants, in force on return.",
        Grants, ChangedAgent, _ENDED, _grant),
    Row("POST", "/v1/agents/{name}/ungrant", "agent ungrant", "Take grants from an agent, in force on return.",
        Grants, ChangedAgent, _NO_AGENT, _ungrant),
    Row("POST", "/v1/agents/{name}/freeze", "agent freeze", "Stop an agent until thawed, in force on return; its "
        "leases stand still.",
        Why, ChangedAgent, _ENDED, _freeze),
    Row("POST", "/v1/agents/{name}/thaw", "agent thaw", "Let a frozen agent go on; what it holds has one whole lease "
        "time from now.",
        Why, ChangedAgent, _ENDED, _thaw),
    Row("POST", "/v1/agents/{name}/revoke", "agent revoke", "End an agent's authority, in force on return.",
        Why, ChangedAgent, _NO_AGENT, _revoke),
)  # fmt: skip
