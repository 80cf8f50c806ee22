"""All of the plain JSON door: the table of rows, and how each is served.

A row's endpoint reads the call, asks, and writes the answer; a refusal becomes a problem, and what nobody foresaw an
`internal_error` whose id the log has. Beside the rows stand two addresses for whoever watches the process, and the
OpenAPI document, which need no credential: they tell nothing of anybody's work.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dropoff.doors.forms import form_of
from dropoff.doors.house import House
from dropoff.doors.http import agents, batch, calls, openapi, operators, problems, shapes
from dropoff.doors.http.calls import Call
from dropoff.doors.http.operators.told import to_operator
from dropoff.doors.http.table import Row
from dropoff.doors.leaving import CallerLeftError
from dropoff.errors import BrokerUnavailable, DropoffError

PING_S: Final = 2.0  # a store that takes longer than this serves nobody well; a probe waits 1 to 5 s
CLIENT_GONE: Final = 499  # nginx's number for it; nobody reads it but the log

Endpoint = Callable[[Request], Awaitable[Response]]


def rows() -> list[Row]:
    return [*agents.rows(), batch.ROW, *operators.ROWS]


def routes(house: House) -> list[Route]:
    known = rows()
    addresses = dict.fromkeys(row.path for row in known)
    served = [
        # One route an address, so that a wrong method is told which ones are right.
        Route(path, _by_method(house, [row for row in known if row.path == path]), methods=_methods(known, path))
        for path in addresses
    ]
    document = openapi.document(known, house.version)
    return [
        *served,
        Route("/v1/openapi.json", _fixed(document), methods=["GET"]),
        Route("/livez", _fixed(msgspec.json.encode(shapes.Health(status="alive"))), methods=["GET"]),
        Route("/readyz", _readiness(house), methods=["GET"]),
    ]


def _methods(known: list[Row], path: str) -> list[str]:
    return [row.method for row in known if row.path == path]


def _by_method(house: House, served: list[Row]) -> Endpoint:
    endpoints = {row.method: _endpoint(house, row) for row in served}

    async def answer(request: Request) -> Response:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return answer


def _endpoint(house: House, row: Row) -> Endpoint:
    of_operators = row in operators.ROWS

    def refused(error: DropoffError) -> Response:
        return problems.respond(error, to_operator(error, reads=row.method == "GET") if of_operators else "")

    async def answer(request: Request) -> Response:
        try:
            call = await _call(house, row, request)
            return _json(msgspec.json.encode(await row.answer(house, call, request)))
        except DropoffError as error:
            return refused(error)
        except CallerLeftError:
            return Response(status_code=CLIENT_GONE)
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller gets an id and the log the rest
            return refused(problems.fault(error))

    return answer


async def _call(house: House, row: Row, request: Request) -> Call:
    caller = await calls.caller_of(house, request)
    key = calls.key_of(request, row.name)
    if row.takes is dict or row.loose:
        return Call(caller, request.path_params, await calls.body_of(request, row.name, row.bytes_max), key)
    form = form_of(row.takes)
    fields: dict[str, Any] = (
        calls.query_of(request, form, row.name)
        if row.method == "GET"
        else await calls.body_of(request, row.name, row.bytes_max)
    )
    return Call(caller, request.path_params, form.read(fields, row.name), key)


def _readiness(house: House) -> Endpoint:
    """Ready means: a call that came now would be answered. The store is really asked, within a bound.

    A broker that only takes no new work is ready, and says so: taken out of a balancer, nobody could finish the work
    whose end makes room.
    """

    async def answer(request: Request) -> Response:
        try:
            async with asyncio.timeout(PING_S):
                await house.store.ping()
                reason = await house.ready()
        except TimeoutError:
            reason = f"The store has not answered for {PING_S:.0f} s."
        except BrokerUnavailable:
            reason = await house.ready() or "The store cannot be reached."
        if reason:
            return problems.respond(BrokerUnavailable(stored="nothing"), detail=reason)
        full = house.room()
        says = f"It takes no new work: {full}." if full else ""
        return _json(msgspec.json.encode(shapes.Health(status="ready", says=says)))

    return answer


def _fixed(content: bytes) -> Endpoint:
    async def answer(request: Request) -> Response:
        return _json(content)

    return answer


def _json(content: bytes) -> Response:
    return Response(content, headers={"cache-control": "no-store"}, media_type="application/json")
