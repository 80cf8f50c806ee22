"""A refusal as a response: RFC 9457, `application/problem+json`, made from the one table of errors.

`detail` is the sentence and `code` never changes; whoever reads neither still has a right status. A 401 says how to
prove oneself, and what passes by itself says when to come again.
"""

import difflib
import logging
import secrets
from functools import cache
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dropoff import errors
from dropoff.doors import verbs
from dropoff.errors import DropoffError, InternalError, MethodNotAllowed, Problem, Retry, RouteUnknown

log = logging.getLogger("dropoff.doors")

MEDIA_TYPE: Final = "application/problem+json"
TYPE: Final = "urn:dropoff:error:"

# A store that restarts is back within seconds; a full queue needs workers, and its sentence says 60 s as well.
AGAIN_S: Final = {"broker_unavailable": "2", "queue_full": "60", "storage_full": "60"}


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error, as RFC 9457 has it, with the fields of the table beside."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retry: Retry
    problems: tuple[Problem, ...] = ()


def respond(error: DropoffError, detail: str = "") -> Response:
    record = error.record()
    details = ProblemDetails(
        type=TYPE + record.code,
        title=titles()[record.code],
        status=error.http_status,
        detail=detail or record.message,
        code=record.code,
        retry=record.retry,
        problems=record.problems,
    )
    return Response(msgspec.json.encode(details), error.http_status, _headers(error), MEDIA_TYPE)


def _headers(error: DropoffError) -> dict[str, str]:
    headers = {"cache-control": "no-store"}
    if error.http_status == 401:
        headers["www-authenticate"] = 'Bearer realm="dropoff"'
    if error.code in AGAIN_S:
        headers["retry-after"] = AGAIN_S[error.code]
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = ", ".join(error.allowed)
    return headers


@cache
def titles() -> dict[str, str]:
    """What a code means whatever the occasion: the same for every problem of its type, as the RFC asks."""
    return {row["code"]: row["meaning"] for row in errors.table()}


def fault(error: Exception) -> InternalError:
    """A fault of ours: the caller gets an id, the log everything."""
    told = InternalError(id=secrets.token_hex(6))
    log.error("%s: %s", told.id, error, exc_info=error)
    return told


def internal(error: Exception) -> Response:
    return respond(fault(error))


async def no_such_route(request: Request, error: Exception) -> Response:
    """What the router refuses by itself: an unknown address, or another method than those it knows."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 405:
        known = (error.headers or {}).get("Allow", "")
        allowed = tuple(name.strip() for name in known.split(",") if name.strip() not in ("", "HEAD"))
        return respond(MethodNotAllowed(method=request.method, path=path, allowed=tuple(sorted(allowed))))
    return respond(RouteUnknown(path=path, meant=_meant(path)))


def _meant(path: str) -> str:
    """The verb's address, for who asks by the name of its tool, or nearly by its own."""
    name = path.removeprefix("/v1").strip("/")
    tool = verbs.by_tool(name)
    close = [tool.path] if tool else difflib.get_close_matches(name, [verb.path for verb in verbs.VERBS], n=1)
    return f"/v1/{close[0]}" if close else ""


async def unexpected(request: Request, error: Exception) -> Response:
    return internal(error)
