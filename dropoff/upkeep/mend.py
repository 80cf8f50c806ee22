"""Puts back what lost keys took: at a broker's start, and once an hour."""

import logging
from typing import Final

from dropoff.core.answers import Mended
from dropoff.core.store import Store

log = logging.getLogger("dropoff.upkeep")

TURN_MS: Final = 60_000  # workers that start together need one of them to do it


async def mend(store: Store) -> Mended | None:
    """What was found; None if another broker is at it."""
    if not await store.turn_to_mend(TURN_MS):
        return None
    found = await store.mend()
    if found.mended:
        log.warning("looked at %d, put right %d: keys were lost", found.looked_at, found.mended)
    if found.failed:
        log.error("%d could not be put right; the lines above say which, and why", found.failed)
    return found
