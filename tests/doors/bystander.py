"""Somebody who only wants to know its queues, again and again, while others misbehave; a process of its own, so that
what it waits for is the broker and not the test.

    python -m tests.doors.bystander PORT BEARER

It says when it has its first answer, asks until its input ends, and then writes how long each answer took, in
milliseconds, as a list.
"""

import http.client
import json
import select
import sys
import time

EVERY_S = 0.005


def main(port: int, bearer: str) -> None:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    took_ms: list[float] = []
    while not select.select([sys.stdin], [], [], EVERY_S)[0]:
        began = time.perf_counter()
        line.request("POST", "/v1/describe", b"{}", {"authorization": f"Bearer {bearer}"})
        answer = line.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        took_ms.append((time.perf_counter() - began) * 1_000)
        if len(took_ms) == 1:
            print("asking", flush=True)
    line.close()
    print(json.dumps(took_ms))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
