"""How a model hears an answer or a refusal.

Both fit the one schema that the tool advertises. Clients check it, some of them also when `isError` is set, and what
does not fit they throw away: so the schema says little, and the same of every tool but for what an answer may begin
with and the ids that it names. (All statuses in all tools would be 1 kB of every list.) The text beside it is what most
models read: of an answer the same content as compact JSON, of a refusal its sentence.
"""

from typing import Any, Final

import mcp_types as types
import msgspec

from dropoff.doors import answers
from dropoff.doors.answers import REFUSED, Answer, Content
from dropoff.doors.verbs import AgentVerb
from dropoff.errors import DropoffError

RECEIPT: Final = "dropoff/receipt"
LONG_CHARS: Final = 24_000  # about where clients begin to cut a result


def output_schema(verb: AgentVerb) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "status": {"enum": [*verb.statuses, REFUSED]},
            **{name: {"type": "string"} for name in verb.ids},
            "error": {"type": "object"},
        },
        "required": ["status"],
    }


def answered(answer: Answer) -> types.CallToolResult:
    content = _sized(answer.content)
    meta = None if answer.receipt is None else {RECEIPT: msgspec.to_builtins(answer.receipt)}
    return types.CallToolResult(content=[_text(_compact(content))], structured_content=content, _meta=meta)


def refused(error: DropoffError) -> types.CallToolResult:
    return types.CallToolResult(
        content=[_text(error.sentence())], structured_content=answers.refused(error), is_error=True
    )


def _sized(content: Content) -> Content:
    """The content; a long one says how long it is, near its beginning, where it survives being cut."""
    chars = len(_compact(content))
    if chars <= LONG_CHARS:
        return content
    status = {"status": content["status"], "characters": chars}
    return status | {name: value for name, value in content.items() if name not in status}


def _compact(content: Content) -> str:
    return msgspec.json.encode(content).decode()


def _text(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)
