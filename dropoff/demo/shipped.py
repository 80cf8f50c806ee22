"""The contracts that come with dropoff: those of the demo's queues, which are also those of `dropoff init`."""

from pathlib import Path

import dropoff


def payload_schema(file: str) -> bytes:
    """A file of `schemas/payloads/`: inside of the package where it is installed, beside it in a checkout."""
    package = Path(dropoff.__file__).parent
    installed = package / "_schemas"
    schemas = installed if installed.is_dir() else package.parent / "schemas"
    return (schemas / "payloads" / file).read_bytes()
