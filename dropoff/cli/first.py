"""`dropoff` alone: where things stand, and the next thing to do."""

from typing import Final
from urllib.parse import urlsplit

from dropoff.cli.session import Session
from dropoff.core import places

DOWN: Final = """\
dropoff hands work from one AI agent to another: one drops it off, another picks it up.

  No broker answers at {url}.

  Next   dropoff up        start one here; nothing else has to be installed
         dropoff demo      see two agents hand off work, without network or key
  Help   dropoff --help"""

RUNS: Final = """\
dropoff hands work from one AI agent to another: one drops it off, another picks it up.

  A broker answers at {url}.

  Next   dropoff queue ls             what waits, and who comes for it
         dropoff init                 a starter: dropoff.toml, schemas, researcher.py, writer.py
         dropoff apply dropoff.toml   make queues and agents as the file says
  Help   dropoff --help"""

LOOK_S: Final = 1.0


def show(session: Session) -> None:
    url = (session.asked_url or f"http://127.0.0.1:{places.PORT}").rstrip("/")
    session.shown.text((RUNS if _lives(url) else DOWN).format(url=url))


def _lives(url: str) -> bool:
    """Whether a broker answers there. By the standard library, for a client that can do more takes longer to import."""
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=LOOK_S)
    try:
        connection.request("GET", f"{parts.path}/livez")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
