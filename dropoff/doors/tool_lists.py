"""How much each agent's model has to read before its first call: the tools exactly as that agent is shown them."""

from typing import Final

import mcp_types as types
import msgspec

from dropoff.broker import Description
from dropoff.contracts.schema import Schema
from dropoff.core import policy
from dropoff.core.caller import Principal, caller_shown
from dropoff.core.grant import Grant
from dropoff.core.handoff import AgentName, QueueName
from dropoff.core.queue import Queue
from dropoff.core.requests import Describe
from dropoff.doctor.checks import tool_list
from dropoff.doctor.findings import Finding
from dropoff.doors.house import House
from dropoff.doors.mcp.tools import tools_for
from dropoff.errors import Unauthenticated

AGENTS_MAX: Final = 200  # a list costs some 100 µs and one look at the gate; who has more agents knows what they read
SHOWN_MAX: Final = 10


async def findings(house: House) -> list[Finding]:
    """The longest lists first. Whom nothing is granted is shown nothing to speak of, and is left out."""
    principals = [one for one in await house.store.principals() if one.grants]
    sizes: list[tuple[int, int, str]] = []
    for principal in principals[:AGENTS_MAX]:
        try:
            tools = await _tools(house, principal)
        except Unauthenticated:  # revoked, perhaps while we looked
            continue
        sizes.append((characters(tools), len(tools), principal.agent))
    return [tool_list(agent, count, size) for size, count, agent in sorted(sizes, reverse=True)[:SHOWN_MAX]]


async def _tools(house: House, principal: Principal) -> list[types.Tool]:
    caller = caller_shown(principal)
    return tools_for(caller, await house.broker.describe(caller, Describe()))


def characters(tools: list[types.Tool]) -> int:
    """Of names, descriptions and input schemas, as compact JSON: what clients hand on to a model."""
    read = [{"name": one.name, "description": one.description, "inputSchema": one.input_schema} for one in tools]
    return len(msgspec.json.encode(read).decode())


def drop_off_with(schema: Schema) -> types.Tool:
    """`drop_off` exactly as an agent is shown it whose one queue has this schema. The queue is called like it."""
    queue = Queue(name=QueueName(schema.name), schema=schema.ref, schema_hash=schema.hash)
    caller = caller_shown(Principal(agent=AgentName("agent"), grants=(Grant("drop", queue.name),)))
    description = Description(queue=queue, may=(policy.DOING["drop"],), schema=schema)
    return next(tool for tool in tools_for(caller, [description]) if tool.name == "drop_off")
