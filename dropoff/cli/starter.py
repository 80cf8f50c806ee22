"""`dropoff init`: a starter in the current folder, small enough to be read whole.

The contracts are those of `schemas/payloads/`; the rest lies in `templates/`, whose Python files end in `.txt` because
they are no modules of ours. The only thing filled in is the data folder, where the agents' bearers will be.
"""

from pathlib import Path
from typing import Final

import click

from dropoff.cli.session import Command, Session, pass_session
from dropoff.cli.shown import Row
from dropoff.demo import shipped

TEMPLATES: Final = Path(__file__).parent / "templates"
DATA: Final = "@DATA@"


@click.command(cls=Command)
@pass_session
def init(session: Session) -> None:
    """Write a starter into this folder.

    dropoff.toml, two schemas, researcher.py, writer.py. Nothing is overwritten: what is there already stays.
    """
    rows = [_written(Path(path), content) for path, content in files(session.data_folder).items()]
    if not session.shown.for_people:
        session.shown.data(rows)
    for row in rows:
        session.shown.say(f"  {row['file']:<22} {row['change']}")
    session.shown.say()
    session.shown.say("Next  dropoff up                     in another terminal, if none runs yet")
    session.shown.say("      dropoff apply dropoff.toml     makes the queues and the two agents")
    session.shown.say('      dropoff drop research \'{"topic": "heat pumps", "audience": "exec"}\'')
    session.shown.say("      python researcher.py           then: python writer.py")


def files(data: Path) -> dict[str, str]:
    """The starter: path and content of each file."""
    return {
        "dropoff.toml": _template("dropoff.toml", data),
        "schemas/brief@1.json": shipped.payload_schema("brief@1.json").decode(),
        "schemas/draft@1.json": shipped.payload_schema("draft@1.json").decode(),
        "researcher.py": _template("researcher.py.txt", data),
        "writer.py": _template("writer.py.txt", data),
    }


def _template(name: str, data: Path) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8").replace(DATA, data.absolute().as_posix())


def _written(path: Path, content: str) -> Row:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        return {"file": str(path), "change": "there already, left as it is"}
    return {"file": str(path), "change": "written"}
