"""What the doctor finds, each thing with its verdict and its fix; and what it mends."""

from typing import Final

from starlette.requests import Request

from dropoff.doctor.findings import Finding
from dropoff.doors import tool_lists
from dropoff.doors.house import House
from dropoff.doors.http.calls import Call
from dropoff.doors.http.operators.asked import Nothing
from dropoff.doors.http.shapes import Answer
from dropoff.doors.http.table import Row


class DoctorAnswer(Answer, frozen=True, kw_only=True):
    """`you` is the caller, `time_ms` the broker's clock while it answered."""

    you: str
    version: str
    time_ms: int
    findings: list[Finding]


class MendedAnswer(Answer, frozen=True, kw_only=True):
    """How many things were looked at, and how many of them had lost something that is put back now.

    `failed`: how many could not be put right. The broker's log says which, and why.
    """

    looked_at: int
    mended: int
    failed: int


async def _doctor(house: House, call: Call, request: Request) -> DoctorAnswer:
    findings = [*await house.doctor.findings(call.caller), *await tool_lists.findings(house)]
    return DoctorAnswer(you=call.caller.agent, version=house.version, time_ms=house.doctor.now_ms(), findings=findings)


async def _mend(house: House, call: Call, request: Request) -> MendedAnswer:
    done = await house.operations.mend(call.caller)
    return MendedAnswer(looked_at=done.looked_at, mended=done.mended, failed=done.failed)


ROWS: Final = (
    Row("GET", "/v1/doctor", "doctor", "What the broker runs on: each thing looked at, its verdict, and its fix.",
        Nothing, DoctorAnswer, (), _doctor),
    Row("POST", "/v1/doctor/mend", "doctor --mend", "Put back what lost keys took. Whatever is sound stays as it is.",
        Nothing, MendedAnswer, (), _mend),
)  # fmt: skip
