"""The operators' rows: what the command line needs of a broker, as acts and reads.

Each is one call on `operations` or `inspector`, which ask for the grant; here its answer is given a shape. Acts can be
repeated: what is already so is a success and changes nothing.
"""

from typing import Any, Final

import msgspec
from starlette.requests import Request

from dropoff.core import credential
from dropoff.core.caller import Principal
from dropoff.core.handoff import Handoff
from dropoff.core.lease import Lease
from dropoff.core.lifecycle import LEASED, SCHEDULED
from dropoff.core.store import StoredSchema
from dropoff.doors import tool_lists
from dropoff.doors.answers import iso
from dropoff.doors.house import House
from dropoff.doors.http import operators_shapes as shapes
from dropoff.doors.http.calls import Call
from dropoff.doors.http.shapes import AttemptShape
from dropoff.doors.http.table import Row
from dropoff.inspector import QueueView
from dropoff.operations import NewQueue

# ---- queues -----------------------------------------------------------------------------------------------------


async def _queues(house: House, call: Call, request: Request) -> shapes.QueuesAnswer:
    return shapes.QueuesAnswer(queues=[_queue(view) for view in await house.inspector.queues(call.caller)])


async def _one_queue(house: House, call: Call, request: Request) -> shapes.QueueAnswer:
    return _queue(await house.inspector.queue(call.caller, call.path["name"]))


async def _add_queue(house: House, call: Call, request: Request) -> shapes.QueueAnswer:
    queue = await house.operations.add_queue(call.caller, call.given)
    return _queue(await house.inspector.queue(call.caller, queue.name))


def _queue(view: QueueView) -> shapes.QueueAnswer:
    queue, figures = view.queue, view.figures
    return shapes.QueueAnswer(
        name=queue.name,
        waiting=figures.waiting,
        leased=figures.leased,
        scheduled=figures.scheduled,
        dead=figures.dead,
        ended=figures.ended,
        pickers=figures.pickers,
        oldest_seconds=figures.oldest_ms // 1_000,
        in_per_minute=figures.in_per_minute,
        out_per_minute=figures.out_per_minute,
        schema=queue.schema,
        state="open",
        purpose=queue.purpose,
        lease_seconds=queue.lease_ms // 1_000,
        max_attempts=queue.attempts_max,
        max_bytes=queue.payload_bytes_max,
        max_waiting=queue.waiting_max,
    )


# ---- schemas ----------------------------------------------------------------------------------------------------


async def _push_schema(house: House, call: Call, request: Request) -> shapes.PushedSchema:
    stored, new = await house.operations.push_schema(call.caller, call.path["name"], call.given)
    return shapes.PushedSchema(schema=stored.ref, hash=stored.hash, new=new)


async def _schemas(house: House, call: Call, request: Request) -> shapes.SchemasAnswer:
    known = await house.inspector.schemas(call.caller)
    return shapes.SchemasAnswer(schemas=[shapes.NamedSchema(schema=ref, hash=hash) for ref, hash in known.items()])


async def _schema(house: House, call: Call, request: Request) -> shapes.SchemaAnswer:
    stored: StoredSchema = await house.inspector.schema(call.caller, call.path["name"])
    return shapes.SchemaAnswer(schema=stored.ref, hash=stored.hash, content=msgspec.json.decode(stored.content))


# ---- agents -----------------------------------------------------------------------------------------------------


async def _add_agent(house: House, call: Call, request: Request) -> shapes.AddedAgent:
    made = await house.operations.add_agent(call.caller, call.given.name, call.given.grants)
    return shapes.AddedAgent(agent=made.principal.agent, grants=_grants(made.principal), bearer=made.bearer)


async def _agents(house: House, call: Call, request: Request) -> shapes.AgentsAnswer:
    principals = await house.inspector.agents(call.caller)
    return shapes.AgentsAnswer(
        agents=[_agent(one, await house.inspector.holds(call.caller, one.agent)) for one in principals]
    )


async def _one_agent(house: House, call: Call, request: Request) -> shapes.AgentAnswer:
    principal = await house.inspector.agent(call.caller, call.path["name"])
    return _agent(principal, await house.inspector.holds(call.caller, principal.agent))


async def _grant(house: House, call: Call, request: Request) -> shapes.ChangedAgent:
    return _changed(await house.operations.grant(call.caller, call.path["name"], call.given.grants))


async def _ungrant(house: House, call: Call, request: Request) -> shapes.ChangedAgent:
    return _changed(await house.operations.ungrant(call.caller, call.path["name"], call.given.grants))


async def _revoke(house: House, call: Call, request: Request) -> shapes.ChangedAgent:
    return _changed(await house.operations.revoke(call.caller, call.path["name"], call.given.reason))


def _grants(principal: Principal) -> list[str]:
    return [str(grant) for grant in principal.grants]


def _agent(principal: Principal, holds: tuple[Lease, ...]) -> shapes.AgentAnswer:
    return shapes.AgentAnswer(
        agent=principal.agent,
        grants=_grants(principal),
        standing=principal.standing,
        reason=principal.reason,
        credentials=[credential.id_of(hashed) for hashed in principal.bearers],
        holds=[lease.id for lease in holds],
        rev=principal.rev,
    )


def _changed(principal: Principal) -> shapes.ChangedAgent:
    """One partition, so a change is in force everywhere when its step has answered."""
    return shapes.ChangedAgent(
        agent=principal.agent,
        grants=_grants(principal),
        standing=principal.standing,
        reason=principal.reason,
        rev=principal.rev,
        in_force="everywhere",
    )


# ---- handoffs and the ledger ------------------------------------------------------------------------------------


async def _handoffs(house: House, call: Call, request: Request) -> shapes.HandoffsAnswer:
    wanted: shapes.HandoffsQuery = call.given
    found = await house.inspector.handoffs(call.caller, wanted.queue, wanted.state, wanted.limit)
    return shapes.HandoffsAnswer(
        handoffs=[shapes.HandoffAnswer(**_shown(handoff)) for handoff in found], count=len(found)
    )


async def _handoff(house: House, call: Call, request: Request) -> shapes.WholeHandoff:
    handoff, entries = await house.inspector.handoff(call.caller, call.path["id"])
    return shapes.WholeHandoff(
        **_shown(handoff),
        digest=handoff.digest,
        schema_hash=handoff.schema_hash,
        entries=list(entries),
        previous_attempts=[
            AttemptShape(agent=one.agent, outcome=one.outcome, reason=one.reason, at=iso(int(one.at_ms)))
            for one in handoff.attempts
        ],
        checkpoint=msgspec.json.decode(handoff.checkpoint or b"{}"),
        result=msgspec.json.decode(handoff.result) if handoff.result else msgspec.UNSET,
        payload=msgspec.json.decode(handoff.payload),
    )


def _shown(handoff: Handoff) -> dict[str, Any]:
    leased = handoff.state == LEASED
    return {
        "handoff_id": handoff.id,
        "queue": handoff.queue,
        "state": handoff.state,
        "from_agent": handoff.sender,
        "dropped_off_at": iso(handoff.dropped_ms),
        "attempt": handoff.attempt,
        "max_attempts": handoff.attempts_max,
        "deliveries": handoff.deliveries,
        "schema": handoff.schema,
        "held_by": handoff.holder if leased else "",
        "lease_id": Lease(handoff.id, handoff.fence).id if leased else "",
        "lease_ends_at": iso(handoff.lease_ends_ms) if leased else "",
        "due_at": iso(handoff.due_ms) if handoff.state == SCHEDULED else "",
        "ended_at": iso(handoff.ended_ms) if handoff.ended_ms else "",
        "progress": handoff.progress,
        "reason": handoff.reason,
        "note": handoff.note,
        "withdrawal_asked": handoff.withdrawal_asked,
    }


async def _ledger(house: House, call: Call, request: Request) -> shapes.LedgerAnswer:
    wanted: shapes.LedgerQuery = call.given
    entries = await house.inspector.entries(call.caller, wanted.after, wanted.limit)
    return shapes.LedgerAnswer(entries=list(entries), next=entries[-1].id if entries else wanted.after)


# ---- the broker itself ------------------------------------------------------------------------------------------


async def _doctor(house: House, call: Call, request: Request) -> shapes.DoctorAnswer:
    findings = [*await house.doctor.findings(call.caller), *await tool_lists.findings(house)]
    return shapes.DoctorAnswer(
        you=call.caller.agent, version=house.version, time_ms=house.doctor.now_ms(), findings=findings
    )


async def _mend(house: House, call: Call, request: Request) -> shapes.MendedAnswer:
    done = await house.operations.mend(call.caller)
    return shapes.MendedAnswer(looked_at=done.looked_at, mended=done.mended)


# ---- the rows ---------------------------------------------------------------------------------------------------

_NO_AGENT: Final = ("agent_unknown",)

ROWS: Final = (
    Row("GET", "/v1/queues", "queue ls", "The queues that you may inspect, in numbers.",
        shapes.Nothing, shapes.QueuesAnswer, (), _queues),
    Row("POST", "/v1/queues", "queue add", "Make a queue. The same again is the same queue.",
        NewQueue, shapes.QueueAnswer, ("schema_unknown", "queue_exists"), _add_queue),
    Row("GET", "/v1/queues/{name}", "queue show", "One queue in numbers.",
        shapes.Nothing, shapes.QueueAnswer, ("queue_unknown",), _one_queue),
    Row("GET", "/v1/schemas", "schema ls", "Every registered version of every schema.",
        shapes.Nothing, shapes.SchemasAnswer, (), _schemas),
    Row("POST", "/v1/schemas/{name}", "schema push", "Register the body as the next version of this schema. "
        "The same content again is the version it has.",
        dict, shapes.PushedSchema, ("schema_refused",), _push_schema),
    Row("GET", "/v1/schemas/{name}", "schema show", "A schema by name@version, or the newest of that name.",
        shapes.Nothing, shapes.SchemaAnswer, ("schema_unknown",), _schema),
    Row("GET", "/v1/agents", "agent ls", "All agents and operators.",
        shapes.Nothing, shapes.AgentsAnswer, (), _agents),
    Row("POST", "/v1/agents", "agent add", "Make an agent with a new bearer, which is shown this once.",
        shapes.NewAgent, shapes.AddedAgent, ("agent_exists",), _add_agent),
    Row("GET", "/v1/agents/{name}", "agent show", "One agent, and what it holds now.",
        shapes.Nothing, shapes.AgentAnswer, _NO_AGENT, _one_agent),
    Row("POST", "/v1/agents/{name}/grant", "agent grant", "Give an agent grants, in force on return.",
        shapes.Grants, shapes.ChangedAgent, _NO_AGENT, _grant),
    Row("POST", "/v1/agents/{name}/ungrant", "agent ungrant", "Take grants from an agent, in force on return.",
        shapes.Grants, shapes.ChangedAgent, _NO_AGENT, _ungrant),
    Row("POST", "/v1/agents/{name}/revoke", "agent revoke", "End an agent's authority, in force on return.",
        shapes.Revocation, shapes.ChangedAgent, _NO_AGENT, _revoke),
    Row("GET", "/v1/handoffs", "handoff ls", "Handoffs by queue and state, the urgent ones first.",
        shapes.HandoffsQuery, shapes.HandoffsAnswer, ("queue_unknown",), _handoffs),
    Row("GET", "/v1/handoffs/{id}", "handoff show", "All that is known of one handoff, with its ledger entries.",
        shapes.Nothing, shapes.WholeHandoff, ("handoff_unknown",), _handoff),
    Row("GET", "/v1/ledger", "ledger tail", "Entries of the ledger, oldest first.",
        shapes.LedgerQuery, shapes.LedgerAnswer, (), _ledger),
    Row("GET", "/v1/doctor", "doctor", "What the broker runs on: each thing looked at, its verdict, and its fix.",
        shapes.Nothing, shapes.DoctorAnswer, (), _doctor),
    Row("POST", "/v1/doctor/mend", "doctor --mend", "Put back what lost keys took. Whatever is sound stays as it is.",
        shapes.Nothing, shapes.MendedAnswer, (), _mend),
)  # fmt: skip
