"""The checks: each is a function of the facts and nothing else, and says nothing where it has nothing to look at.

So a broker says the same of its store as the command line does when no broker runs.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from dropoff.core.answers import StoreFacts
from dropoff.doctor.findings import Finding, Said, found, refusal

CLOCKS_APART_MS_MAX: Final = 2_000  # leases last from seconds on; what is shown as a time of day is to the second
STORE_FULL: Final = 0.9  # of maxmemory; above that the rest goes fast, and then drop_off is refused
TOOLS_CHARS_MAX: Final = 16_000  # a list of two ordinary queues has 6,000; each turn of a model pays for it anew


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to judge, at one moment."""

    versions: str  # "dropoff 0.1.0, Python 3.11.2"
    where: str  # "embedded", or the store's URL without its secret
    store: StoreFacts
    between_ms: tuple[int, int]  # our clock before and after the store was asked for its own
    disk_free: int | None = None  # under the embedded store; None where the disk is not ours
    disk_free_min: int = 0
    allowed_hosts: tuple[str, ...] = ()  # as they were told by DROPOFF_ALLOWED_HOSTS
    refused_hosts: tuple[str, ...] = ()  # names by which clients came, or are likely to come, in vain


def versions(facts: Facts) -> Said:
    """Each program says its own; the store by INFO."""
    return Said("ok", f"Versions: {', '.join(filter(None, (facts.versions, facts.store.product)))}")


def fitness(facts: Facts) -> Said:
    """INFO: a version that has what steps need, and a single node."""
    if facts.store.unfit:
        return refusal(facts.store.unfit)
    return Said("ok", f"Store: answers, {facts.where}")


def rights(facts: Facts) -> Said | None:
    """A step that runs every command of the others, and leaves nothing; on a store that is fit for steps."""
    if facts.store.unfit:
        return None
    if facts.store.lacking:
        return refusal(facts.store.lacking)
    return Said("ok", "Rights: a throw-away step ran, and left nothing")


def persistence(facts: Facts) -> Said | None:
    """CONFIG GET, or INFO where that is forbidden: appendonly."""
    appendonly = facts.store.settings.get("appendonly")
    if appendonly == "yes":
        return Said("ok", "Persistence: every step goes into the append-only file")
    if appendonly is None:
        return None  # said by `rights`: nothing of this can be known without INFO
    return Said(
        "broken",
        f"appendonly is {appendonly}: what was dropped off is lost when the store ends.",
        "redis-cli config set appendonly yes (and in its configuration file)",
    )


def fsync(facts: Facts) -> Said | None:
    """CONFIG GET: what makes a write durable before it is answered."""
    settings = facts.store.settings
    if settings.get("appendonly") != "yes":
        return None  # there is no file to sync
    if "appendfsync" not in settings:
        return Said(
            "warning",
            "The store does not say how it syncs (CONFIG GET is refused): receipts say 'memory'.",
            "give the broker's user +config|get",
        )
    for name, safe in (("appendfsync", "always"), ("no-appendfsync-on-rewrite", "no")):
        if (now := settings.get(name)) != safe:
            return Said(
                "warning",
                f"{name} is {now}: receipts say 'memory', for what came last is lost with the machine.",
                f"redis-cli config set {name} {safe} (and in its configuration file)",
            )
    return Said("ok", "fsync: before every receipt")


def eviction(facts: Facts) -> Said | None:
    """CONFIG GET, or INFO where that is forbidden: maxmemory-policy."""
    policy_now = facts.store.settings.get("maxmemory-policy")
    if policy_now in (None, "noeviction"):
        return Said("ok", "Eviction: none") if policy_now else None
    return Said(
        "broken",
        f"maxmemory-policy is {policy_now}: the store may silently delete handoffs.",
        "redis-cli config set maxmemory-policy noeviction (and in its configuration file)",
    )


def disk(facts: Facts) -> Said | None:
    """The file system under the embedded store, against DROPOFF_DISK_FREE_MIN."""
    if facts.disk_free is None:
        return None
    says = f"{_megabytes(facts.disk_free)} free under the store; below {_megabytes(facts.disk_free_min)}"
    if facts.disk_free >= facts.disk_free_min:
        return Said("ok", f"Disk: {says} no new work is taken")
    return Said(
        "broken",
        f"Disk: {says} no new work is taken, only finished.",
        "make room there; or move the data folder to a larger disk (--data); or lower DROPOFF_DISK_FREE_MIN",
    )


def memory(facts: Facts) -> Said | None:
    """INFO: used_memory against maxmemory."""
    used, most = facts.store.used_bytes, facts.store.max_bytes
    if not most:
        return None
    says = f"Memory: the store uses {used * 100 // most} % of its maxmemory ({_megabytes(most)})"
    if used < most * STORE_FULL:
        return Said("ok", says)
    return Said(
        "warning",
        f"{says}; when it is full, drop_off is refused.",
        "raise maxmemory, or let agents finish what waits: dropoff queue ls",
    )


def clock(facts: Facts) -> Said | None:
    """TIME, against our own clock before and after."""
    if not facts.store.time_ms:
        return None
    said = clocks("The broker's clock", facts.between_ms, "the store's", facts.store.time_ms)
    return said or Said("ok", "Clock: the broker's and the store's agree")


def clocks(ours: str, between_ms: tuple[int, int], theirs: str, time_ms: int) -> Said | None:
    """Two clocks that are more than 2 s apart, however long the question was on its way; None if they agree."""
    behind, ahead = time_ms - between_ms[1], between_ms[0] - time_ms
    if max(behind, ahead) <= CLOCKS_APART_MS_MAX:
        return None
    apart = f"{max(behind, ahead) / 1_000:,.0f} s {'behind' if behind > 0 else 'ahead of'}"
    return Said(
        "warning",
        f"{ours} is {apart} {theirs}: times that people read are wrong. Leases go by the store's, and hold.",
        "set both by NTP: timedatectl set-ntp true",
    )


def hosts(facts: Facts) -> Said:
    """The names refused since the start, and this machine's where it listens for others and was told no name."""
    if not facts.refused_hosts:
        return Said("ok", "Host header: nobody was refused for the name by which it came")
    names = " and ".join(f"'{name}'" for name in facts.refused_hosts)
    entries = dict.fromkeys((*facts.allowed_hosts, *(re.sub(r":[0-9]+$", "", n) + ":*" for n in facts.refused_hosts)))
    return Said(
        "warning",
        f"Host header: clients connecting as {names} will be refused.",
        f"where that is this broker's name: DROPOFF_ALLOWED_HOSTS={','.join(entries)}",
    )


CHECKS: Final[dict[str, Callable[[Facts], Said | None]]] = {
    "versions": versions,
    "store": fitness,
    "rights": rights,
    "persistence": persistence,
    "fsync": fsync,
    "eviction": eviction,
    "disk": disk,
    "memory": memory,
    "clock": clock,
    "host": hosts,
}


def judged(facts: Facts, checks: Iterable[str] = tuple(CHECKS)) -> list[Finding]:
    """What these checks say; one that has nothing to look at says nothing."""
    return [found(name, said) for name in checks if (said := CHECKS[name](facts))]


def tool_list(agent: str, tools: int, characters: int) -> Finding:
    """What an agent's model reads before its first call: names, descriptions and input schemas."""
    says = f"MCP: {tools} tools, {characters:,} characters for '{agent}'"
    if characters <= TOOLS_CHARS_MAX:
        return found("tools", Said("ok", says))
    fix = "shorten the descriptions in its queues' schemas (dropoff schema push), or grant it fewer queues"
    return found("tools", Said("warning", f"{says}: each turn of its model pays for them.", fix))


def _megabytes(count: int) -> str:
    return f"{count / (1 << 20):,.0f} MB"
