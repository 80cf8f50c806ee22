"""Where an installation keeps its things, for the broker and for commands on the same machine.

Both sides have to find the same folder without talking to each other, so the rule stands here once. Nothing is looked
up: environment, home and platform are given.
"""

from collections.abc import Mapping
from typing import Final

OPERATOR_FILE: Final = "operator.bearer"  # the operator's credential, made at the first start, 0600
BROKER_FILE: Final = "broker.lock"  # which broker serves the folder, for whoever starts a second one
AGENTS_FOLDER: Final = "agents"  # credentials that `apply` and `agent add` leave for the agents of this machine
PORT: Final = 8787


def data_folder(environ: Mapping[str, str], home: str, platform: str) -> str:
    """DROPOFF_DATA, or the platform's folder for a user's data."""
    if environ.get("DROPOFF_DATA"):
        return environ["DROPOFF_DATA"]
    if platform == "darwin":
        return f"{home}/Library/Application Support/dropoff"
    if platform == "win32":
        return f"{environ.get('LOCALAPPDATA', home)}/dropoff"
    return f"{environ.get('XDG_DATA_HOME') or home + '/.local/share'}/dropoff"
