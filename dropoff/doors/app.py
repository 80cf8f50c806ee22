"""All doors as one ASGI application: agents at /mcp, any language under /v1, and the guard in front of both.

FastAPI carries it, without its own pages, which load scripts from elsewhere, and without its document, for ours is
made of our own tables. The agents' door is a plain route and not mounted: a mount would answer /mcp with a redirect to
/mcp/, and would not run it.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from dropoff.doors.house import AgentsDoor, House
from dropoff.doors.http import problems, routes
from dropoff.doors.http.hosts import HostGuard
from dropoff.doors.mcp.door import McpDoor

__all__ = ["House", "make_app"]


def make_app(house: House) -> FastAPI:
    """The application; a new one for each run, as the agents' door runs once."""
    door: AgentsDoor = McpDoor(
        house.broker,
        house.callers,
        allowed_hosts=house.allowed_hosts,
        allowed_origins=house.allowed_origins,
        version=house.version,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with door.run():
            yield

    return FastAPI(
        title="dropoff",
        version=house.version,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        routes=[Route("/mcp", endpoint=door), *routes.routes(house)],
        middleware=[
            Middleware(
                HostGuard,
                hosts=house.allowed_hosts,
                origins=house.allowed_origins,
                refused=house.refused_hosts,
            )
        ],
        exception_handlers={HTTPException: problems.no_such_route, Exception: problems.unexpected},
    )
