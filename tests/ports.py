"""A port for a server that is started later, or again and again."""

import random
import socket


def free_port() -> int:
    """One that nobody listens on, below the range from which the kernel takes ports for outgoing connections.

    Inside that range a client that knocks again and again while nobody listens is connected to itself sooner or later:
    the kernel gives it the very port it knocks at, and TCP allows that. Then it holds the port that the server wants
    back. With 3,000 knocks on one of 28,000 ports that is one run in ten.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
