"""Outside the house: what programs and the command line use to reach a broker, by network only."""

from dropoff.client.connection import Connection, connection
from dropoff.client.failures import BrokerUnreachable, CredentialUnusable, RemoteError

__all__ = ["BrokerUnreachable", "Connection", "CredentialUnusable", "RemoteError", "connection"]
