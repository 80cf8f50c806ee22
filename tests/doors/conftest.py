"""The served broker of the doors' tests, for what holds at every door."""

from tests.doors.http.conftest import desk, scout, server, writer

__all__ = ["desk", "scout", "server", "writer"]
