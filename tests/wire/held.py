"""What really crosses, held against the files of `schemas/wire/`; and what of the files has ever been met.

A `Recorder` stands around the application and keeps each request and each answer as bytes. `Held` finds the file that
stands for a body, by the OpenAPI document as a client would; a body that no file stands for is a fault, and so is one
that does not fit. It remembers each definition and each of its fields that a body has met, so that what nobody ever
meets can be told: a schema of what does not cross.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from jsonschema import Draft202012Validator, ValidationError, validators
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests import wire

Json = dict[str, Any]

PROBLEM: Final = "application/problem+json"


# ---- what crosses -----------------------------------------------------------------------------------------------


class Crossing(NamedTuple):
    """One request and its answer."""

    method: str
    path: str
    query: str
    asked: bytes
    status: int
    media_type: str
    told: bytes

    def __str__(self) -> str:
        return f"{self.method} {self.path}?{self.query} {self.asked[:300]!r} → {self.status} {self.told[:600]!r}"


class Recorder:
    """ASGI around the whole application. Neither side notices."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.crossings: list[Crossing] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked, told, start = bytearray(), bytearray(), {}

        async def hear() -> Message:
            message = await receive()
            asked.extend(message.get("body", b""))
            return message

        async def say(message: Message) -> None:
            start.update(message if message["type"] == "http.response.start" else {})
            told.extend(message.get("body", b""))
            await send(message)

        await self._app(scope, hear, say)
        headers = {name.lower(): value.decode() for name, value in start["headers"]}
        query = scope["query_string"].decode()
        media_type = headers.get(b"content-type", "")
        self.crossings.append(
            Crossing(scope["method"], scope["path"], query, bytes(asked), start["status"], media_type, bytes(told))
        )


# ---- one file ---------------------------------------------------------------------------------------------------


class File:
    """A schema of the folder. It refers to nothing but its own definitions."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.schema: Json = json.loads((wire.FOLDER / name).read_text(encoding="utf-8"))
        assert self.schema.pop("$schema") == wire.DIALECT  # where it stands, jsonschema takes its own keywords for ours
        self._met: set[int] = set()  # of the parts of the schema above, which stay where they are

        def properties(validator: Any, named: Json, instance: Any, schema: Json) -> Iterator[ValidationError]:
            for field, part in named.items():
                if isinstance(instance, dict) and field in instance:
                    yield from self._judged(validator, instance[field], part, field)

        def ref(validator: Any, pointer: str, instance: Any, schema: Json) -> Iterator[ValidationError]:
            yield from self._judged(validator, instance, self._at(pointer))

        keywords = {"properties": properties, "$ref": ref}
        self._validator: Any = validators.extend(Draft202012Validator, keywords)

    def hold(self, body: Any, pointer: str = "#") -> None:
        """Raises `ValidationError` where the body does not fit what stands at the pointer."""
        part = self._at(pointer)
        for error in self._judged(self._validator(self.schema), body, part):
            raise error

    def unmet(self) -> Iterator[str]:
        """What is defined here and was never met: operations, definitions, and their fields."""
        for parts, where in self._places(self.schema, "#"):
            for name, part in parts.items():
                if id(part) not in self._met:
                    yield f"{self.name}{where}/{name}"

    def _judged(self, validator: Any, instance: Any, part: Any, path: str | None = None) -> list[ValidationError]:
        """Whatever was met in an alternative that does not fit was not met."""
        before = set(self._met)
        errors = list(validator.descend(instance, part, path=path))
        if errors:
            self._met = before
        else:
            self._met.add(id(part))
        return errors

    def _at(self, pointer: str) -> Any:
        part: Any = self.schema
        for name in pointer.split("/")[1:]:
            part = part[name.replace("~1", "/")]
        return part

    def _places(self, schema: Json, where: str) -> Iterator[tuple[Json, str]]:
        yield schema.get("properties", {}), f"{where}/properties"
        for name, part in schema.get("$defs", {}).items():
            yield {name: part}, f"{where}/$defs"
            yield part.get("properties", {}), f"{where}/$defs/{name}/properties"


# ---- all files --------------------------------------------------------------------------------------------------


class Held:
    """All files, and which of them stands for what."""

    def __init__(self, document: Json) -> None:
        """`document` is what /v1/openapi.json has answered."""
        names = [path.name for path in wire.FOLDER.iterdir() if path.name not in ("errors.json", "tools.json")]
        self.files = {name: File(name) for name in sorted(names)}
        self.codes: Json = {row["code"]: row for row in _table("errors.json")}
        self.tools: Json = {row["name"]: row for row in _table("tools.json")}
        self.codes_met: set[str] = set()
        self.tools_met: set[str] = set()
        self._operations = {
            (method.upper(), re.compile(re.sub(r"\{\w+\}", "[^/]+", path))): operation["operationId"]
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        }

    def hold(self, crossing: Crossing) -> None:
        """Raises `AssertionError` or `ValidationError` where no file stands for it, or where it does not fit."""
        if not crossing.told:  # a notification that was taken, a method that /mcp does not know
            assert (crossing.path, crossing.status) in (("/mcp", 202), ("/mcp", 405)), crossing
        elif crossing.media_type == PROBLEM:
            self._hold_problem(crossing)
        elif crossing.path == "/mcp":
            self._hold_mcp(crossing)
        else:
            assert (crossing.status, crossing.media_type) == (200, "application/json"), crossing
            self._hold_operation(crossing)

    def unmet(self) -> list[str]:
        """All that stands in the files and has not been met."""
        left = [part for file in self.files.values() for part in file.unmet()]
        left += [f"errors.json: {code}" for code in self.codes if code not in self.codes_met]
        return left + [f"tools.json: {tool}" for tool in self.tools if tool not in self.tools_met]

    # ---- /v1 ----------------------------------------------------------------------------------------------------

    def _hold_problem(self, crossing: Crossing) -> None:
        told = json.loads(crossing.told)
        self.files["problem.json"].hold(told)
        row = self._of_the_table(told)
        expected = (crossing.status, f"urn:dropoff:error:{told['code']}", row["meaning"], row["http_status"])
        assert (told["status"], told["type"], told["title"], told["status"]) == expected, crossing

    def _of_the_table(self, error: Json) -> Json:
        row = self.codes[error["code"]]
        assert error["retry"] == row["retry"], error
        self.codes_met.add(error["code"])
        return row

    def _hold_operation(self, crossing: Crossing) -> None:
        [name] = [
            name
            for (method, path), name in self._operations.items()
            if method == crossing.method and path.fullmatch(crossing.path)
        ]
        self.files["requests.json"].hold(self._taken(crossing, name), f"#/properties/{name}")
        told = json.loads(crossing.told)
        self.files["answers.json"].hold(told, f"#/properties/{name}")
        self._hold_parts(told)

    def _taken(self, crossing: Crossing, name: str) -> Any:
        if crossing.method == "POST":
            return json.loads(crossing.asked or b"{}")
        fields: Json = self.files["requests.json"].schema["properties"][name]["properties"]
        query = dict(parse_qsl(crossing.query, keep_blank_values=True))
        return {key: int(text) if fields.get(key, {}).get("type") == "integer" else text for key, text in query.items()}

    def _hold_parts(self, told: Json) -> None:
        """What has a file of its own; a refusal in a batch has its row."""
        if "receipt" in told:
            self.files["receipt.json"].hold(told["receipt"])
        for entry in told.get("entries", []):
            self.files["ledger-entry.json"].hold(entry)
        for answer in told.get("answers", []):
            if "error" in answer:
                self._of_the_table(answer["error"])

    # ---- /mcp ---------------------------------------------------------------------------------------------------

    def _hold_mcp(self, crossing: Crossing) -> None:
        told = json.loads(crossing.told)
        if "error" in told:
            self.files["mcp.json"].hold(told, "#/properties/error")
            return
        self.files["mcp.json"].hold(told, "#/properties/reply")
        asked = json.loads(crossing.asked)
        if asked["method"] == "tools/call":
            self._hold_call(asked["params"], told["result"])
            return
        self.files["mcp.json"].hold(told["result"], f"#/properties/{asked['method'].replace('/', '~1')}")
        for tool in told["result"].get("tools", []):
            row = dict(self.tools[tool["name"]])
            del row["path"]
            assert as_for_anybody(tool, row) == row
            self.tools_met.add(tool["name"])

    def _hold_call(self, params: Json, result: Json) -> None:
        tool = self.tools[params["name"]]
        self.files["mcp.json"].hold(params, "#/properties/call")
        self.files["mcp.json"].hold(result, f"#/properties/{params['name']}")
        if result["isError"]:
            self._of_the_table(result["structuredContent"]["error"])
        else:
            Draft202012Validator(tool["inputSchema"]).validate(params.get("arguments", {}))


def as_for_anybody(tool: Json, row: Json) -> Json:
    """The tool without what depends on who asks: queues by their names, payloads by their contracts."""
    tool = json.loads(json.dumps(tool))
    ours, general = tool["inputSchema"], row["inputSchema"]
    ours.pop("$defs", None)
    fields = ours["properties"]
    if tool["name"] == "complete_handoff":
        fields.setdefault("next", general["properties"]["next"])  # left out for who may drop off nowhere
        fields["result"] = general["properties"]["result"]
        ours["required"] = [name for name in ours["required"] if name != "result"]
    for holder in (fields, fields.get("next", {}).get("properties", {})):
        holder.get("queue", {}).pop("enum", None)
    if tool["name"] == "drop_off":
        fields["payload"] = general["properties"]["payload"]
        ours["required"] = [name for name in ours["required"] if name != "queue"]
    return tool


def _table(name: str) -> list[Json]:
    return json.loads((wire.FOLDER / name).read_text(encoding="utf-8"))
