"""`python -m dropoff.demo`: what `dropoff demo` does, without the command line around it."""

import asyncio
import sys

from dropoff import demo

if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(demo.run()))
    except KeyboardInterrupt:
        sys.exit(130)
