"""What the doctor judges, as this process sees it: versions, the disk, the names by which clients come."""

import platform
import shutil
import socket

import dropoff
from dropoff.core.answers import StoreFacts
from dropoff.doctor.checks import Facts
from dropoff.settings import EVERYWHERE, Settings


def facts(
    settings: Settings,
    where: str,
    store: StoreFacts,
    between_ms: tuple[int, int] = (0, 0),
    refused_hosts: tuple[str, ...] = (),
) -> Facts:
    """What there is to judge now, with what the store said of itself between two looks at our clock."""
    there = next(place for place in (settings.data, *settings.data.parents) if place.exists())
    return Facts(
        versions=f"dropoff {dropoff.__version__}, Python {platform.python_version()}",
        where=where,
        store=store,
        between_ms=between_ms,
        disk_free=None if settings.store else shutil.disk_usage(there).free,
        disk_free_min=settings.disk_free_min,
        allowed_hosts=settings.allowed_hosts,
        refused_hosts=refused_hosts,
    )


def likely_in_vain(settings: Settings) -> tuple[str, ...]:
    """The name of this machine, where others are let in and were given no name: none of theirs would be answered."""
    if settings.host in EVERYWHERE and not settings.allowed_hosts:
        return (socket.gethostname().lower(),)
    return ()
