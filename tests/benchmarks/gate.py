"""What the gate costs a payload of 1.5 kB, bounds and the one encoding included, beside the `jsonschema` library alone.

    python -m tests.benchmarks.gate [--times 20000]

From bytes, as `/v1` has it, and from an object, as it comes out of an MCP library. All are run in turns, several times;
the median of the turns is shown. Prints numbers and the machine; the ratio is told and not asserted.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator

from dropoff.contracts.gate import Gates
from dropoff.contracts.schema import Schema
from dropoff.core import payload
from dropoff.errors import PayloadInvalid

CONTRACT: Final = json.loads((Path(__file__).parents[2] / "schemas/payloads/draft@1.json").read_text())
FINDING: Final = {"statement": "A heat pump needs a third of the energy.", "source": "https://example.org/study"}
DRAFT: Final = CONTRACT["examples"][0] | {"findings": [FINDING | {"statement": f"{n}: " + "x" * 40} for n in range(15)]}
RAW: Final = json.dumps(DRAFT).encode()
TURNS: Final = 9


def ways() -> dict[str, Callable[[], Any]]:
    gates, schema = Gates(), Schema.of("draft", 1, CONTRACT)
    refusal = partial(PayloadInvalid, schema=schema.ref)
    judge: Any = Draft202012Validator(CONTRACT)

    def of_bytes() -> bytes:
        value = payload.decode(RAW, refusal=refusal)
        gates.require(schema, value, refusal=refusal)
        return payload.canonical(value)

    def of_object() -> bytes:
        payload.bound(DRAFT, refusal=refusal)
        gates.require(schema, DRAFT, refusal=refusal)
        return payload.canonical(DRAFT)

    return {"from bytes": of_bytes, "from an object": of_object, "jsonschema alone": lambda: judge.is_valid(DRAFT)}


def micros_of(way: Callable[[], Any], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        way()
    return (time.perf_counter() - began) / times * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20_000, help="how often in all (default: %(default)s)")
    times = max(1, parser.parse_args().times // TURNS)
    print(f"{len(RAW):,} bytes; Python {platform.python_version()}, {os.cpu_count()} cores, {sys.platform}")
    turns: dict[str, list[float]] = {name: [] for name in ways()}
    for _ in range(TURNS):
        for name, way in ways().items():
            turns[name].append(micros_of(way, times if "alone" not in name else max(1, times // 20)))
    slow = statistics.median(turns["jsonschema alone"])
    for name, taken in turns.items():
        micros = statistics.median(taken)
        print(f"{name:18} {micros:9.1f} µs   1/{slow / micros:.0f} of jsonschema")


if __name__ == "__main__":
    main()
