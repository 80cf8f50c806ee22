"""What a broker is told before it starts: each setting with its default, its variable, and its reason.

A command line's flag wins over the variable, the variable over the default. Nothing else is read: no file is looked
for, so that what runs is what was said.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from dropoff.core import places

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one broker."""

    data: Path  # DROPOFF_DATA: the operator's credential, the embedded store
    host: str = "127.0.0.1"  # nobody else's business until somebody says so
    port: int = places.PORT
    store: str = ""  # DROPOFF_STORE: redis://…; empty: the embedded one
    allowed_hosts: tuple[str, ...] = ()  # DROPOFF_ALLOWED_HOSTS: names that clients may use for this broker
    allowed_origins: tuple[str, ...] = ()  # DROPOFF_ALLOWED_ORIGINS: web pages that may call it; none by default

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every Host that is answered. A web page that rebinds its name to 127.0.0.1 brings its own name, and fails."""
        own = () if self.host in ("0.0.0.0", "::") else (self.host,)  # noqa: S104  # compared, not bound
        return tuple(dict.fromkeys(f"{in_url(name)}:*" for name in (*LOOPBACK, *own))) + self.allowed_hosts


def in_url(host: str) -> str:
    """The address as it stands in a URL and in `Host`: brackets around IPv6, whose colons would look like a port."""
    return f"[{host}]" if ":" in host else host


def settings(given: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings that these flags and this environment make; a flag that is None was not given."""
    found: dict[str, Any] = {
        "data": Path(places.data_folder(environ, str(Path.home()), sys.platform)),
        "store": environ.get("DROPOFF_STORE", ""),
        "allowed_hosts": _names(environ.get("DROPOFF_ALLOWED_HOSTS", "")),
        "allowed_origins": _names(environ.get("DROPOFF_ALLOWED_ORIGINS", "")),
    }
    found |= {name: value for name, value in given.items() if value is not None}
    return Settings(**found)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
