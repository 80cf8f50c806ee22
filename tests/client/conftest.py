"""The served broker of the doors' tests, seen by our own client."""

from tests.doors.http.conftest import desk, server

__all__ = ["desk", "server"]
