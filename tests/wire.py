"""What crosses a process boundary, as files: `schemas/wire/` is printed from the code by

    python -m tests.wire --write

so that readers in other languages need no Python, and so that a change on the wire is seen in review as one.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from dropoff import errors
from dropoff.core.ledger import Entry, Receipt
from dropoff.doors import verbs
from dropoff.doors.http.agents import ANSWERS
from dropoff.doors.http.problems import ProblemDetails
from dropoff.doors.mcp.results import output_schema
from dropoff.doors.verbs import AgentVerb

FOLDER: Final = Path(__file__).parent.parent / "schemas" / "wire"
COMMAND: Final = "python -m tests.wire --write"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def files() -> dict[str, str]:
    """Every file's name and content."""
    written = {
        "errors.json": errors.table(),
        "problem.json": _schema(ProblemDetails),
        "receipt.json": _schema(Receipt),
        "ledger-entry.json": _schema(Entry),
        "answers.json": _answers(),
        "tools.json": [_tool(verb) for verb in verbs.VERBS],
    }
    return {name: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for name, content in written.items()}


def _schema(kind: type[Any]) -> dict[str, Any]:
    return {"$schema": DIALECT, **msgspec.json.schema(kind)}


def _tool(verb: AgentVerb) -> dict[str, Any]:
    """A tool without what depends on who asks: a caller's list holds the schemas of its own queues."""
    return {
        "name": verb.tool,
        "path": f"/v1/{verb.path}",
        "description": verb.description,
        "inputSchema": verbs.input_schema(verb),
        "outputSchema": output_schema(verb),
    }


def _answers() -> dict[str, Any]:
    """What the verbs answer under /v1, the receipt beside the content."""
    kinds = [ANSWERS[verb.path] for verb in verbs.VERBS]
    schemas, definitions = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    named = {verb.path: schema for verb, schema in zip(verbs.VERBS, schemas, strict=True)}
    return {
        "$schema": DIALECT,
        "$comment": "Which verb answers what: see `properties`.",
        "properties": named,
        "$defs": dict(sorted(definitions.items())),
    }


def main() -> None:
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"usage: {COMMAND}")
    FOLDER.mkdir(exist_ok=True)
    for name, content in files().items():
        (FOLDER / name).write_text(content, encoding="utf-8")
        print(f"wrote schemas/wire/{name}")


if __name__ == "__main__":
    main()
