"""What the demo's agents share: who they are, their way to the broker, and a model that follows a script.

An agent here is an ordinary one of the Agents SDK, with the broker as its MCP server. Only its model is scripted: a
generator that yields the next tool call and is sent what the tool answered, as text, as a model would read it. A script
that does not find in the answer what it needs raises, and the process ends with that.

Who calls is told by a bearer in the environment, which others on the machine cannot read; an argument they could.
"""

import asyncio
import os
from collections.abc import Generator
from typing import Any, Final, NamedTuple, cast

import agents
import msgspec
from agents.mcp import MCPServerStreamableHttp
from agents.testing import ModelCall, ModelStep, ScriptedModel, assistant_message, function_call

from dropoff.demo import children

WAIT_S: Final = 30  # the longest that a tool waits
CALL_LIMIT_S: Final = WAIT_S + 15  # the SDK gives up after 5 s by default, and the broker would go on without it
TURNS_MAX: Final = 40

Answer = dict[str, Any]


class Use(NamedTuple):
    """The model's next move: use a tool."""

    tool: str
    arguments: dict[str, Any]


class Think(NamedTuple):
    """The model's next move: think, longer than anybody waits."""


Script = Generator[Use | Think, str, str]  # yields moves, is sent what the tools answered, returns its last words


def use(tool: str, **arguments: Any) -> Use:
    return Use(tool, arguments)


def answer(text: str) -> Answer:
    """What a tool answered, where the script expects no refusal."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        raise RuntimeError(f"refused: {text}") from None


def run(name: str, instructions: str, script: Script) -> None:
    """Be this agent until the script has ended or the parent has gone."""
    children.leave_with_parent()
    asyncio.run(_run(name, instructions, script))


async def _run(name: str, instructions: str, script: Script) -> None:
    agents.set_tracing_disabled(True)  # traces would go to OpenAI; this demo reaches nobody
    async with _broker() as broker:
        children.report("ready")
        agent = agents.Agent(name=name, instructions=instructions, model=_model(script), mcp_servers=[broker])
        done = await agents.Runner.run(agent, "Do your part.", max_turns=TURNS_MAX)
        children.report("done", says=str(done.final_output))


def _broker() -> MCPServerStreamableHttp:
    return MCPServerStreamableHttp(
        params={
            "url": f"{os.environ[children.URL]}/mcp",
            "headers": {"Authorization": f"Bearer {os.environ[children.BEARER]}"},
            "timeout": CALL_LIMIT_S,
        },
        name="dropoff",
        client_session_timeout_seconds=CALL_LIMIT_S,
        cache_tools_list=True,
    )


def _model(script: Script) -> ScriptedModel:
    """A model whose every step asks the script for the next move."""
    model = ScriptedModel()

    async def respond(call: ModelCall) -> ModelStep:
        try:
            heard = _last_answer(call)
            move = next(script) if heard is None else script.send(heard)
        except StopIteration as end:
            return ModelStep(output=[assistant_message(end.value)])
        if isinstance(move, Think):
            await asyncio.Event().wait()
        assert isinstance(move, Use)
        model.enqueue(ModelStep.respond(respond))
        return ModelStep(output=[function_call(move.tool, move.arguments, call_id=f"call-{len(model.calls)}")])

    model.enqueue(ModelStep.respond(respond))
    return model


def _last_answer(call: ModelCall) -> str | None:
    """The text of the last tool result, as the model gets to see it; None before the first."""
    given: Any = call.input
    items = cast("list[dict[str, Any]]", given if isinstance(given, list) else [])
    results = [item["output"] for item in items if item.get("type") == "function_call_output"]
    if not results:
        return None
    last = results[-1]
    return last if isinstance(last, str) else "".join(part["text"] for part in last)
