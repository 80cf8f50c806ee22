"""What is told to a broker before it starts, and to commands before they ask one: every setting, in one table.

A row says a setting's name, its flag, its variable, its default and why that is the default; `Settings`, `dropoff
config show` and the README are made from it (`python -m tests.readme --write`). A flag wins over the variable, the
variable over the default; a variable that is empty was not set. Nothing else is read: no file is looked for, so that
what runs is what was said.

Text from outside becomes a value here or nowhere. What cannot be one is refused by its name and with the form that is
expected, and is not repeated where it may hold a secret.
"""

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from dropoff.core import places
from dropoff.errors import DropoffError, StoreRefused
from dropoff.storage.connection import check_url, without_secret

CameFrom = Literal["flag", "environment", "data folder", "default"]

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104  # compared, not bound
UNITS: Final = {"": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
WORKERS_MAX: Final = 64  # more processes than that share one store's single thread, and gain nothing

_NAME_AND_PORT: Final = r"(\[[0-9a-f:.]+\]|[a-z0-9_]([a-z0-9._-]*[a-z0-9])?)(:(\*|[0-9]{1,5}))?"
HOST_ENTRY: Final = re.compile(_NAME_AND_PORT, re.IGNORECASE)
ORIGIN_ENTRY: Final = re.compile(rf"[a-z][a-z0-9+.-]*://{_NAME_AND_PORT}", re.IGNORECASE)


@dataclass(eq=False)
class SettingInvalid(DropoffError):
    """A flag or a variable holds what its setting cannot be; nothing was started."""

    code = "setting_invalid"
    retry = "after_mending"
    http_status = 500  # never seen: whoever is told this has no broker yet
    exit_code = 2

    said: str

    def sentence(self) -> str:
        return self.said


# ---- how text becomes a value, and a value text -----------------------------------------------------------------


def folder(text: str) -> Path:
    return Path(text).expanduser().absolute()


def number(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text) if re.fullmatch("[0-9]{1,9}", text) else -1
        if not least <= value <= most:
            raise ValueError
        return value

    return read


def amount(text: str) -> int:
    """Bytes, of "256MB" or "268435456"."""
    found = re.fullmatch(r"([0-9]{1,15}) ?([KMGT]B)?", text.upper())
    if not found:
        raise ValueError
    return int(found[1]) * UNITS[found[2] or ""]


def as_amount(count: int) -> str:
    """In the largest unit that says it exactly, so that `amount` reads back what was meant."""
    unit = next(unit for unit in reversed(UNITS) if count >= UNITS[unit] and count % UNITS[unit] == 0) if count else ""
    return f"{count // UNITS[unit]}{unit}"


def entries(form: re.Pattern[str]) -> Callable[[str], tuple[str, ...]]:
    def read(text: str) -> tuple[str, ...]:
        found = tuple(entry.strip() for entry in text.split(",") if entry.strip())
        if not all(form.fullmatch(entry) for entry in found):
            raise ValueError
        return found

    return read


def web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:  # `port` raises for no number
        raise ValueError
    return text


def yes(text: str) -> bool:
    return text == "1"  # anything else is a no, as the client has it: what lowers a guard is said exactly


def yes_or_no(value: bool) -> str:
    return "yes" if value else "no"


class Setting(NamedTuple):
    """One row: what can be told, how, and what holds when nothing is."""

    name: str
    variable: str
    default: Any
    read: Callable[[str], Any]
    expected: str  # the form of its text, as a refusal names it
    says: str
    flag: str = ""
    unset: str = ""  # what stands for an empty value, in words
    show: Callable[[Any], str] = str
    secret: bool = False  # its text is a URL, which may hold a password

    def shown(self, value: Any) -> str:
        """The value as a person may read it; never a secret."""
        return self.show(self.plain(value)) if value else self.unset or self.show(value)

    def plain(self, value: Any) -> Any:
        """The value for a script; never a secret."""
        if self.secret and value:
            return without_secret(value)
        return str(value) if isinstance(value, Path) else value


# ---- the table: a broker's --------------------------------------------------------------------------------------

DATA: Final = Setting(
    "data", "DROPOFF_DATA", None, folder, "the path of a folder",
    "The folder of the operator's credential and of the embedded store. By default where the platform keeps a user's "
    "data, so that a broker and the commands beside it find the same one. Commands read it too.",
    flag="--data", unset="the user's data folder",
)  # fmt: skip
HOST: Final = Setting(
    "host", "", "127.0.0.1", str, "an address",
    "The address to listen on. By default only this machine: it is nobody else's business until somebody says so.",
    flag="--host",
)  # fmt: skip
PORT: Final = Setting(
    "port", "", places.PORT, number(0, 65_535), "a number from 0 to 65535",
    "The port to listen on; 0 takes any free one. Commands and clients try the default when they are told nothing.",
    flag="--port",
)  # fmt: skip
STORE: Final = Setting(
    "store", "DROPOFF_STORE", "", check_url, "redis://…, rediss://… or unix://…",
    "`redis://…`, `rediss://…` or `unix://…`: Redis ≥ 7.0 or Valkey ≥ 8, `maxmemory-policy noeviction`. By default one "
    "that the broker starts itself, with fsync before every receipt: nothing has to be installed.",
    flag="--store", unset="the embedded Valkey", secret=True,
)  # fmt: skip
WORKERS: Final = Setting(
    "workers", "DROPOFF_WORKERS", 1, number(1, WORKERS_MAX), f"a number from 1 to {WORKERS_MAX}",
    "Processes that serve on one store, embedded or not. By default one: more help where the broker is short of CPU "
    "and the store is not, for a store works on one core.",
    flag="--workers",
)  # fmt: skip
DISK_FREE_MIN: Final = Setting(
    "disk_free_min", "DROPOFF_DISK_FREE_MIN", 256 << 20, amount, "bytes, or a size such as 256MB or 1GB",
    "With less free space than this under the embedded store the broker takes no new work; what it has can be "
    "finished. By default what it writes in half a minute at full speed.",  # 4,000 handoffs/s of 2 kB: 8 MB/s
    show=as_amount,
)  # fmt: skip
ALLOWED_HOSTS: Final = Setting(
    "allowed_hosts", "DROPOFF_ALLOWED_HOSTS", (), entries(HOST_ENTRY),
    "names with commas between them, each as broker:*, broker:8787 or broker",
    "Further names under which clients reach this broker: `broker:*` with any port. By default loopback names and the "
    "address it listens on, so that no web page reaches it by a name of its own.",
    unset="loopback names", show=", ".join,
)  # fmt: skip
ALLOWED_ORIGINS: Final = Setting(
    "allowed_origins", "DROPOFF_ALLOWED_ORIGINS", (), entries(ORIGIN_ENTRY),
    "origins with commas between them, each as https://console.example.org",
    "Web pages that may call it, as `https://console.example.org`. By default none but its own: programs send no "
    "`Origin`, and lose nothing.",
    unset="none", show=", ".join,
)  # fmt: skip

SETTINGS: Final[tuple[Setting, ...]] = (
    DATA,
    HOST,
    PORT,
    STORE,
    WORKERS,
    DISK_FREE_MIN,
    ALLOWED_HOSTS,
    ALLOWED_ORIGINS,
)

# ---- the table: commands' and clients' --------------------------------------------------------------------------

URL: Final = Setting(
    "url", "DROPOFF_URL", f"http://127.0.0.1:{places.PORT}", web_address, "http://HOST:PORT or https://HOST:PORT",
    "Where commands and clients find the broker. By default where `dropoff up` listens; commands ask the broker that "
    "serves their data folder, if one does, on whatever port.",
    flag="--url", secret=True,
)  # fmt: skip
CREDENTIAL_FILE: Final = Setting(
    "credential_file", "DROPOFF_CREDENTIAL_FILE", "", str, "the path of a file",
    "Who is calling: a file with one line, `dropoff_bearer_…`, readable by its owner only. By default the operator of "
    "the data folder, and only for a broker on this machine.",
    flag="--credential-file", unset=f"{places.OPERATOR_FILE} in the data folder, on loopback",
)  # fmt: skip
INSECURE: Final = Setting(
    "insecure", "DROPOFF_INSECURE", False, yes, "1",
    "`1` lets a client send its credential over plain HTTP to another machine. By default it does not: whoever "
    "overhears a bearer has it.",
    show=yes_or_no,
)  # fmt: skip

FOR_CLIENTS: Final[tuple[Setting, ...]] = (URL, CREDENTIAL_FILE, INSECURE)


# ---- what a broker is built from --------------------------------------------------------------------------------


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one broker."""

    data: Path
    host: str = HOST.default
    port: int = PORT.default
    store: str = STORE.default
    workers: int = WORKERS.default
    disk_free_min: int = DISK_FREE_MIN.default
    allowed_hosts: tuple[str, ...] = ALLOWED_HOSTS.default
    allowed_origins: tuple[str, ...] = ALLOWED_ORIGINS.default
    came_from: dict[str, CameFrom] = {}  # each setting's name and what said it; empty where code did

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every Host that is answered. A web page that rebinds its name to 127.0.0.1 brings its own name, and fails."""
        own = () if self.host in EVERYWHERE else (self.host,)
        return tuple(dict.fromkeys(f"{in_url(name)}:*" for name in (*LOOPBACK, *own))) + self.allowed_hosts


class Found(NamedTuple):
    """The value of one setting, and what said it."""

    value: Any
    came_from: CameFrom


def settings(given: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings that these flags and this environment make; a flag that is None was not given.

    Raises `SettingInvalid` for the first that cannot be what it is said to be.
    """
    found = {row.name: find(row, given.get(row.name), environ) for row in SETTINGS}
    values = {name: one.value for name, one in found.items()}
    if values["data"] is None:
        values["data"] = folder(places.data_folder(environ, str(Path.home()), sys.platform))
    return Settings(**values, came_from={name: one.came_from for name, one in found.items()})


def find(row: Setting, given: Any, environ: Mapping[str, str]) -> Found:
    """What is said about one setting, by whom. A flag that is text is read as the variable would be."""
    if given is not None:
        return Found(_read(row, row.flag, given) if isinstance(given, str) else given, "flag")
    text = environ.get(row.variable, "") if row.variable else ""
    if text:
        return Found(_read(row, row.variable, text), "environment")
    return Found(row.default, "default")


def _read(row: Setting, where: str, text: str) -> Any:
    try:
        return row.read(text)
    except ValueError:
        what = "cannot be used" if row.secret else f"is '{text[:80]}'"
        raise SettingInvalid(f"{where} {what}. Expected: {row.expected}.") from None
    except StoreRefused as refusal:  # says all that can be said without the URL
        raise SettingInvalid(refusal.reason.replace(row.variable, where)) from None


def in_url(host: str) -> str:
    """The address as it stands in a URL and in `Host`: brackets around IPv6, whose colons would look like a port."""
    return f"[{host}]" if ":" in host else host


# ---- the same table, for the README -----------------------------------------------------------------------------


def as_markdown(rows: tuple[Setting, ...]) -> str:
    lines = ["| variable | flag | default | |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(_cells(row))} |" for row in rows)])


def _cells(row: Setting) -> tuple[str, str, str, str]:
    default = row.shown(row.default)
    exact = default if default == row.unset else f"`{default}`"
    return _code(row.variable), _code(row.flag), exact, row.says


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
