"""One step for each of many handoffs, all of them under way at once: the store gathers them into one batch.

A handoff whose record cannot be read must not hold up the others, nor may a queue, or one kind of work: each fails
alone, its error goes to the log, and the next round tries again. A store that is away is no fault of any one of them,
and ends the round.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from dropoff.errors import BrokerUnavailable

T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger("dropoff.upkeep")


async def each(step: Callable[[T], Awaitable[R | None]], subjects: Iterable[T]) -> list[R]:
    """The receipts of those for which there was something to do. A subject is a handoff's id, a lease, an agent."""
    subjects = list(subjects)
    done = await asyncio.gather(*(step(subject) for subject in subjects), return_exceptions=True)
    for subject, outcome in zip(subjects, done, strict=True):
        if isinstance(outcome, BrokerUnavailable):
            raise outcome
        if isinstance(outcome, BaseException):
            log.error("upkeep of %s failed", subject, exc_info=outcome)
    return [outcome for outcome in done if outcome is not None and not isinstance(outcome, BaseException)]


async def alone(what: str, work: Awaitable[list[R]]) -> list[R]:
    """What this work did; nothing where it failed."""
    try:
        return await work
    except BrokerUnavailable:
        raise
    except Exception:
        log.exception("upkeep of %s failed", what)
        return []
