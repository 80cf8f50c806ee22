"""A request, read as a call: who, what, under which key.

The order matters. Who calls is asked before the body is read, so a stranger makes us parse nothing; a body is cut at
its limit before any parser sees it; its bounds are judged before its shape. The media type is not asked for: a body
that is JSON is JSON, and `curl -d` calls it a form.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, NamedTuple, cast
from urllib.parse import parse_qsl

from starlette.requests import Request

from dropoff.core import limits, payload
from dropoff.core.caller import Caller
from dropoff.doors import beside
from dropoff.doors.forms import Form
from dropoff.doors.house import House
from dropoff.doors.leaving import CallerLeftError
from dropoff.errors import ArgumentsInvalid, PayloadTooLarge, Problem

BODY_DEPTH_MAX: Final = limits.PAYLOAD_DEPTH_MAX + 5  # batch, calls, call, arguments, next: what may stand around

_INTEGER: Final = re.compile(r"-?[0-9]{1,15}\Z")


class Call(NamedTuple):
    """What a row of the table is asked."""

    caller: Caller
    path: Mapping[str, str]  # what stands in the address
    given: Any  # the body or the query as the row's Struct, or the object as it came where the row takes any
    key: str


async def caller_of(house: House, request: Request) -> Caller:
    trace = beside.trace(request.headers.get("traceparent"))
    return await house.callers.of(beside.authorization(request.headers.getlist("authorization")), trace)


def key_of(request: Request, name: str) -> str:
    return beside.request_key(request.headers.get("idempotency-key"), name, "Idempotency-Key")


async def body_of(request: Request, name: str, bytes_max: int) -> dict[str, Any]:
    """The body as an object within all bounds; nothing sent is an empty one."""
    raw = await _raw_body(request, bytes_max)
    refusal = partial(ArgumentsInvalid, verb=name)
    if not raw.strip(b" \t\r\n"):
        return {}
    value = payload.decode(
        raw, refusal=refusal, root="", what="The request's body", bytes_max=bytes_max, depth_max=BODY_DEPTH_MAX
    )
    if not isinstance(value, dict):
        raise refusal(problems=(Problem(path="arguments", problem="not an object", expected="a JSON object"),))
    return cast("dict[str, Any]", value)


async def _raw_body(request: Request, bytes_max: int) -> bytes:
    """The bytes, cut at the limit: by what was announced, and by what really comes."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:18]) > bytes_max:  # Python refuses to read 5,000 digits
        raise _too_large(int(announced[:18]), bytes_max)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise CallerLeftError
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > bytes_max:
            raise _too_large(size, bytes_max)
        if not message.get("more_body"):
            return b"".join(chunks)


def _too_large(size: int, bytes_max: int) -> PayloadTooLarge:
    return PayloadTooLarge(what="The request's body", bytes=size, bytes_max=bytes_max)


def query_of(request: Request, form: Form, name: str) -> dict[str, Any]:
    """The query as fields, whole numbers read as such where the form wants them."""
    fields: dict[str, Any] = {}
    for key, text in parse_qsl(request.url.query, keep_blank_values=True):
        if key in fields:
            twice = Problem(path=payload.clipped(key), problem="given twice; give it once")
            raise ArgumentsInvalid(verb=name, problems=(twice,))
        wanted = form.schema["properties"].get(key, {}).get("type")
        fields[key] = int(text) if wanted == "integer" and _INTEGER.match(text) else text
    return fields
