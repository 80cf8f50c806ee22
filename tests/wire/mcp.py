"""What crosses at /mcp. Around our content stands what the SDK puts there, said here as it really does: an SDK that
says something else is noticed.
"""

from typing import Any, Final, Literal, get_args

import msgspec
from msgspec import field

from dropoff.core.ledger import Receipt
from dropoff.doors import verbs
from dropoff.doors.http.agents import ANSWERS
from dropoff.doors.mcp.door import INSTRUCTIONS, REQUEST_KEY, TRACE
from dropoff.doors.mcp.results import LONG_CHARS, RECEIPT

TITLE: Final = "What crosses at /mcp"
ABOUT: Final = (
    "`call` is the params of tools/call, each tool's name its result; then the results of other methods, and what "
    "stands around them all. tools.json has the arguments of each tool."
)
LONG: Final = ("PickedUpAnswer", "CheckAnswer", "DescribeAnswer")  # with what others wrote; the rest is bounded
SERVER_INFO: Final = "io.modelcontextprotocol/serverInfo"

Json = dict[str, Any]


class Closed(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """No field that is not named; what has no default is always there."""


class CallMeta(msgspec.Struct, kw_only=True):
    """What stands beside the arguments: the request key, and the trace. Clients put more of their own here."""

    request: str = field(default="", name=REQUEST_KEY)
    traceparent: str = field(default="", name=TRACE)


class Call(Closed, kw_only=True):
    """The params of tools/call."""

    name: Literal[tuple(verb.tool for verb in verbs.VERBS)]  # type: ignore[valid-type]
    arguments: Json = {}
    meta: CallMeta = field(default_factory=CallMeta, name="_meta")


class ServerInfo(Closed):
    name: Literal["dropoff"]
    version: str


class ServerMeta(Closed):
    """Since revision 2026-07-28."""

    server: ServerInfo = field(name=SERVER_INFO)


class ResultMeta(Closed):
    """The receipt where a step was taken; who answers since revision 2026-07-28."""

    receipt: Receipt | msgspec.UnsetType = field(default=msgspec.UNSET, name=RECEIPT)
    server: ServerInfo | msgspec.UnsetType = field(default=msgspec.UNSET, name=SERVER_INFO)


class Text(Closed):
    """Of an answer its content as compact JSON, of a refusal its sentence."""

    type: Literal["text"]
    text: str


class Annotations(Closed):
    read_only_hint: bool
    destructive_hint: bool
    idempotent_hint: bool
    open_world_hint: bool


class InputSchema(Closed):
    """An object, and nothing beside its fields: what several hosts need."""

    type: Literal["object"]
    properties: Json
    required: list[str]
    additional_properties: bool  # false, as below
    defs: Json | msgspec.UnsetType = field(default=msgspec.UNSET, name="$defs")


class Tool(Closed):
    name: str
    description: str
    input_schema: InputSchema
    output_schema: Json
    annotations: Annotations


class Modern(Closed, kw_only=True):
    """What results have beside, since revision 2026-07-28."""

    result_type: Literal["complete"] | msgspec.UnsetType = msgspec.UNSET
    cache_scope: Literal["private"] | msgspec.UnsetType = msgspec.UNSET
    ttl_ms: Literal[0] | msgspec.UnsetType = msgspec.UNSET
    meta: ServerMeta | msgspec.UnsetType = field(default=msgspec.UNSET, name="_meta")


class ToolsList(Modern, kw_only=True):
    """The tools of the caller."""

    tools: list[Tool]


class Initialized(Closed):
    """Before revision 2026-07-28."""

    protocol_version: str
    capabilities: Json
    server_info: ServerInfo
    instructions: Literal[INSTRUCTIONS]  # type: ignore[valid-type]


class Discovered(Modern, kw_only=True):
    """Since revision 2026-07-28."""

    supported_versions: list[str]
    capabilities: Json
    instructions: Literal[INSTRUCTIONS]  # type: ignore[valid-type]


class Pong(Closed):
    """Before revision 2026-07-28."""


class Reply(Closed):
    jsonrpc: Literal["2.0"]
    id: int | str
    result: Json


class Error(Closed):
    code: int
    message: str
    data: str | msgspec.UnsetType = msgspec.UNSET


class ErrorReply(Closed):
    """Only for what is no call at all: what an agent can act on is a tool's result."""

    jsonrpc: Literal["2.0"]
    id: int | str | None
    error: Error


METHODS: Final[dict[str, type[Any]]] = {
    "call": Call,
    "tools/list": ToolsList,
    "initialize": Initialized,
    "server/discover": Discovered,
    "ping": Pong,
    "reply": Reply,
    "error": ErrorReply,
}


def shapes(components: Json) -> tuple[Json, Json]:
    """By method or tool; and all definitions, ours as they are under /v1 among them."""
    kinds = [*METHODS.values(), Text, ResultMeta]
    named, ours = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    ours["InputSchema"]["properties"]["additionalProperties"] = {"const": False}
    definitions = components | ours
    by_name = dict(zip(METHODS, named, strict=False))
    for verb in verbs.VERBS:
        answers = get_args(ANSWERS[verb.path]) or (ANSWERS[verb.path],)
        contents = [_content(kind.__name__, definitions) for kind in answers]
        by_name[verb.tool] = _result(contents)
    return by_name, definitions


def _content(kind: str, definitions: Json) -> Json:
    """The answer without its receipt, which stands in `_meta`; one that may be long says how long it is."""
    name = kind.removesuffix("Answer") + "Content"
    answer = definitions[kind]
    fields = {field: schema for field, schema in answer["properties"].items() if field != "receipt"}
    if kind in LONG:
        fields["characters"] = {"type": "integer", "description": f"How long it is, above {LONG_CHARS:,}."}
    required = [field for field in answer["required"] if field != "receipt"]
    definitions[name] = answer | {"title": name, "properties": fields, "required": required}
    return {"$ref": f"#/$defs/{name}"}


def _result(contents: list[Json]) -> Json:
    return {
        "type": "object",
        "properties": {
            "content": {"type": "array", "items": {"$ref": "#/$defs/Text"}, "minItems": 1, "maxItems": 1},
            "structuredContent": {"anyOf": [*contents, {"$ref": "#/$defs/Refused"}]},
            "isError": {"type": "boolean"},
            "resultType": {"enum": ["complete"]},
            "_meta": {"$ref": "#/$defs/ResultMeta"},
        },
        "required": ["content", "structuredContent", "isError"],
        "additionalProperties": False,
    }
