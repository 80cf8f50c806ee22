"""Which credential goes with which broker, and where it must never go.

Looked for in this order: what the caller passes, the file it names, DROPOFF_CREDENTIAL_FILE, and, for a broker on this
machine only, the operator's credential in the data folder. A file holds one line, `dropoff_bearer_…`.

A bearer is worth as much to whoever overhears it as to its owner. So it is never sent over plain http to another
machine, unless DROPOFF_INSECURE=1 says that the way is safe otherwise (a private network between two containers).
"""

import ipaddress
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from dropoff.client.failures import CredentialUnusable
from dropoff.core import places
from dropoff.core.credential import PREFIX

log = logging.getLogger("dropoff.client")


def found(
    url: str, *, bearer: str, credential_file: str | Path, data: str | Path, environ: Mapping[str, str]
) -> tuple[str, str]:
    """The bearer, or "" and where it was looked for. Raises `CredentialUnusable` for one that is there and no use."""
    if bearer:
        secret, where = _bearer(bearer, "The bearer given"), ""
    elif named := str(credential_file) or environ.get("DROPOFF_CREDENTIAL_FILE", ""):
        secret, where = _read(Path(named).expanduser()), named
    elif is_loopback(url):
        folder = Path(data) if str(data) else Path(places.data_folder(environ, str(Path.home()), sys.platform))
        path = folder.expanduser() / places.OPERATOR_FILE
        secret, where = (_read(path) if path.exists() else ""), str(path)
    else:
        secret, where = "", "DROPOFF_CREDENTIAL_FILE, which is not set"
    if secret:
        _require_private_way(url, environ)
    return secret, where


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(path: Path) -> str:
    try:
        content = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise CredentialUnusable(f"The credential file {path} cannot be read: {why}. Nothing was sent.") from error
    if os.name != "nt" and mode & 0o077:
        log.warning("others on this machine can read %s. Fix: chmod 600 %s", path, path)
    return _bearer(content, str(path))


def _bearer(content: str, where: str) -> str:
    secret = content.strip()
    if secret.startswith("-----BEGIN "):
        raise CredentialUnusable(
            f"{where} holds a PEM key. Keys as credentials come with a later release; until then use a bearer: "
            "dropoff agent add NAME --grant GRANT --bearer. Nothing was sent."
        )
    if not secret.startswith(PREFIX) or len(secret.split()) != 1 or not secret.isascii():
        raise CredentialUnusable(f"{where} holds no credential: one line, {PREFIX}…, is expected. Nothing was sent.")
    return secret


def _require_private_way(url: str, environ: Mapping[str, str]) -> None:
    if urlsplit(url).scheme == "https" or is_loopback(url) or environ.get("DROPOFF_INSECURE") == "1":
        return
    raise CredentialUnusable(
        f"{url} is another machine, and http:// would show it and everybody between your credential. Nothing was sent. "
        "Use https://, or set DROPOFF_INSECURE=1 where the network itself is private."
    )
