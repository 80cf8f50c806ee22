"""A server on this machine that would gladly hand out a schema, and counts who asks: nothing of ours ever should."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Loopback(http.server.ThreadingHTTPServer):
    hits = 0
    address = ""


@contextmanager
def counting() -> Iterator[Loopback]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.hits += 1
            self.send_response_only(200)  # which writes no log line
            self.end_headers()
            self.wfile.write(b'{"type":"object"}')

    server = Loopback(("127.0.0.1", 0), Answer)
    server.address = f"http://127.0.0.1:{server.server_port}/schema.json"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
