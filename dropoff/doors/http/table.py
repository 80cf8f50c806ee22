"""One row of the plain JSON door: everything that serving it and describing it need."""

from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple

from starlette.requests import Request

from dropoff.doors.beside import BODY_BYTES_MAX
from dropoff.doors.house import House
from dropoff.doors.http.calls import Call

Answering = Callable[[House, Call, Request], Awaitable[object]]


class Row(NamedTuple):
    """What can be asked at one address."""

    method: Literal["GET", "POST"]
    path: str  # /v1/agents/{name}
    name: str  # what a refusal calls it, and the operation's id
    summary: str
    takes: type[Any]  # the body's Struct, or the query's for a GET; `dict` for an object of any kind
    gives: Any  # the answer's Struct, or one of several
    errors: tuple[str, ...]  # codes, beside those that every row may answer
    answer: Answering
    keyed: bool = False  # heeds Idempotency-Key
    loose: bool = False  # the body is handed on as it came: what is wrong with a part of it is that part's answer
    bytes_max: int = BODY_BYTES_MAX
