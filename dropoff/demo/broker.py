"""A process: the broker of `dropoff demo`, with a store and a folder that are its own.

It outlives whoever started it by as long as it takes to stop the store and to remove the folder; that is why it is a
process of its own, for a demo that was killed cannot do this itself. Started again on a folder that a killed broker has
left, and let go of at once, it finds the store there, stops it, and removes the folder.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from dropoff import wiring
from dropoff.demo import children, folder
from dropoff.errors import StoreRefused
from dropoff.settings import Settings


async def serve(data: Path) -> None:
    async def started(broker: wiring.Started) -> None:
        children.report(
            "serves",
            url=broker.url,
            store=broker.store,
            durability=broker.durability,
            credential_file=str(broker.credential_file),
        )
        # Only now: before, nobody would catch the signal, and the store would be left.
        children.leave_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))

    try:
        await wiring.serve(Settings(data=data, port=0), started)
    except StoreRefused as error:
        raise SystemExit(str(error)) from None
    finally:
        left = folder.store_lives(data)
        folder.remove(data)
    if left:
        raise SystemExit(f"the store of {data} did not stop")


def main() -> None:
    data = Path(sys.argv[1])
    if not data.name.startswith(folder.PREFIX):
        raise SystemExit(f"{data} is no folder of the demo, and would be removed")
    asyncio.run(serve(data))


if __name__ == "__main__":
    main()
