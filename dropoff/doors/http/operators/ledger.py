"""The ledger, page by page."""

from typing import Annotated, Final

from msgspec import Meta
from starlette.requests import Request

from dropoff.core.ledger import Entry
from dropoff.doors.house import House
from dropoff.doors.http.calls import Call
from dropoff.doors.http.shapes import Answer, Shape
from dropoff.doors.http.table import Row


class LedgerQuery(Shape, frozen=True, kw_only=True):
    """Entries after this one, oldest first; "0-0" for the very first. Without `after`: the newest."""

    after: Annotated[str, Meta(pattern="^[0-9]{1,15}-[0-9]{1,15}$")] = ""
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 100


class LedgerAnswer(Answer, frozen=True, kw_only=True):
    """`next` is what to ask for `after` the next time."""

    entries: list[Entry]
    next: str


async def _ledger(house: House, call: Call, request: Request) -> LedgerAnswer:
    wanted: LedgerQuery = call.given
    entries = await house.inspector.entries(call.caller, wanted.after, wanted.limit)
    return LedgerAnswer(entries=list(entries), next=entries[-1].id if entries else wanted.after)


ROWS: Final = (
    Row("GET", "/v1/ledger", "ledger tail", "Entries of the ledger, oldest first.",
        LedgerQuery, LedgerAnswer, (), _ledger),
)  # fmt: skip
