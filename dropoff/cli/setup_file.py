"""dropoff.toml: the whole set-up of a broker as one file that people review, read and judged before anything is sent.

Everything that is wrong is told at once, each by its place in the file. What this release cannot do yet is refused by
name and never skipped: a limit that is silently ignored is worse than none. The ranges are the broker's own, from
`core/limits.py`; it judges again, and here they only see to it that a slip in the last line does not leave the first
half done.

A schema is a file, or a list of files where it has several versions: a broker that begins with the second one would
call it the first. They are registered in the order of the versions that their names say, however they are listed.

What the file leaves out of a queue is the default, for the file is the whole set-up. The one exception is `state`: a
queue that somebody has paused in the night is not opened by the next `apply`, unless the file says `state = "open"`.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, cast, get_args

import click

from dropoff.cli import later, times
from dropoff.cli.given import bytes_of_file
from dropoff.contracts import lint
from dropoff.contracts.schema import hash_of
from dropoff.core import limits, payload
from dropoff.core.caller import RESERVED
from dropoff.core.grant import parse
from dropoff.core.handoff import NAME
from dropoff.core.queue import QueueState
from dropoff.core.refs import split_ref
from dropoff.errors import ArgumentsInvalid, Problem
from dropoff.operations import OPERATOR

_VERSIONED: Final = re.compile(r"(?P<name>[^@]+)@(?P<version>[1-9][0-9]{0,8})\.json\Z")

STATES: Final[tuple[str, ...]] = get_args(QueueState)
NEVER: Final = "never"
DURATIONS: Final[dict[str, int | str]] = {  # each with its default
    "lease": limits.LEASE_MS_DEFAULT // 1_000,
    "expires": NEVER,
    "retention": limits.RETENTION_MS_DEFAULT // 1_000,
}

KEYS: Final[dict[str, dict[str, type | tuple[type, ...]]]] = {
    "queues": {
        "schema": str,
        "result_schema": str,
        "lease": (int, str),
        "max_attempts": int,
        "max_bytes": int,
        "max_waiting": int,
        "purpose": str,
        "approval": bool,
        "expires": (int, str),
        "retention": (int, str),
        "state": str,
    },
    "agents": {"grants": list},
}


class SchemaWanted(NamedTuple):
    """A schema of the file: its content, and its version where the file's name says one (`brief@1.json`)."""

    name: str
    version: int | None
    content: Any
    hash: str
    path: Path


class QueueWanted(NamedTuple):
    """A queue of the file. What the file leaves out is the default; without a state it stays as it is."""

    name: str
    schema: str
    result_schema: str
    lease_seconds: int
    expires_seconds: int
    retention_seconds: int
    max_attempts: int
    max_bytes: int
    max_waiting: int
    purpose: str
    approval: bool
    state: str | None


class AgentWanted(NamedTuple):
    name: str
    grants: tuple[str, ...]


class SetUp(NamedTuple):
    """The file as values."""

    schemas: tuple[SchemaWanted, ...]
    queues: tuple[QueueWanted, ...]
    agents: tuple[AgentWanted, ...]


class FileRefused(click.ClickException):
    """The file does not say what can be done."""

    exit_code = 2

    def __init__(self, path: Path, problems: list[str]) -> None:
        listed = "\n".join(f"- {problem}" for problem in problems)
        super().__init__(f"{path} cannot be applied. Nothing was changed.\n{listed}")


def read(path: Path) -> SetUp:
    """The set-up that this file asks for. Raises `FileRefused`, `Later`, or `SchemaRefused`."""
    try:
        content = tomllib.loads(bytes_of_file(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileRefused(path, [str(error)]) from error
    except RecursionError:
        raise FileRefused(path, ["nested too deeply to be read"]) from None
    _refuse_later(content)
    problems = list(_shape_problems(content))
    if problems:
        raise FileRefused(path, problems)
    problems = list(_value_problems(content))
    if problems:
        raise FileRefused(path, problems)
    return SetUp(
        schemas=tuple(one for name in content.get("schemas", {}) for one in _versions(name, path.parent, content)),
        queues=tuple(_queue(name, table) for name, table in content.get("queues", {}).items()),
        agents=tuple(_agent(name, table) for name, table in content.get("agents", {}).items()),
    )


# ---- what is refused --------------------------------------------------------------------------------------------


def _refuse_later(content: Mapping[str, Any]) -> None:
    for section in content.keys() & later.TOML[""].keys():
        raise later.Later(f"[{section}]", later.TOML[""][section])
    for section in content.keys() & later.TOML.keys():
        for name, table in _tables(content, section):
            for key in table.keys() & later.TOML[section].keys():
                raise later.Later(f"[{section}.{name}] {key}", later.TOML[section][key])


def _section(content: Mapping[str, Any], section: str) -> dict[str, Any]:
    """The section, or nothing where it is missing or no table; that it is none is said elsewhere."""
    found = content.get(section)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _tables(content: Mapping[str, Any], section: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, table in _section(content, section).items():
        if isinstance(table, dict):
            yield name, cast("dict[str, Any]", table)


def _shape_problems(content: Mapping[str, Any]) -> Iterator[str]:
    """Names and types, so that whoever reads on may trust them."""
    for section, found in content.items():
        if section not in ("schemas", *KEYS):
            yield f"[{section}]: unknown{_meant(section, ['schemas', *KEYS])}"
        elif not isinstance(found, dict):
            yield f"{section}: not a table"
    for name, files in _section(content, "schemas").items():
        if not files or not all(isinstance(file, str) for file in _listed(files)):
            yield f"schemas.{name}: not the path of a file, nor a list of them"
    for section, keys in KEYS.items():
        named = _section(content, section)
        yield from (f"{section}.{name}: not a table" for name, table in named.items() if not isinstance(table, dict))
        for name, table in _tables(content, section):
            yield from _key_problems(f"{section}.{name}", table, keys)
    yield from (f"queues.{name}.schema: missing" for name, table in _tables(content, "queues") if "schema" not in table)


def _key_problems(where: str, table: dict[str, Any], keys: dict[str, type | tuple[type, ...]]) -> Iterator[str]:
    for key, value in table.items():
        if key not in keys:
            yield f"{where}.{key}: unknown key{_meant(key, list(keys))}"
        elif not isinstance(value, keys[key]) or isinstance(value, bool) != (keys[key] is bool):
            yield f"{where}.{key}: not {_said(keys[key])}"
    grants = table.get("grants", [])
    if isinstance(grants, list) and not all(isinstance(grant, str) for grant in cast("list[Any]", grants)):
        yield f"{where}.grants: not all are texts"


def _said(kind: type | tuple[type, ...]) -> str:
    if isinstance(kind, tuple):
        return "a duration such as 300 or '5m'"
    return {str: "a text", int: "a whole number", list: "a list", bool: "true or false"}[kind]


def _meant(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f" (known: {', '.join(known)})"


def _value_problems(content: Mapping[str, Any]) -> Iterator[str]:
    for section in ("schemas", "queues", "agents"):
        for name in content.get(section, {}):
            if not NAME.match(name):
                use = "use a-z 0-9 . _ - (at most 64), beginning and ending with a letter or digit"
                yield f"{section}.{name}: no name; {use}"
    for name, table in _tables(content, "queues"):
        yield from _queue_problems(f"queues.{name}", table)
    for name, table in _tables(content, "agents"):
        if name in RESERVED or name == OPERATOR:
            yield f"agents.{name}: the broker's own; leave it out of the file"
        for grant in map(parse, table.get("grants", [])):
            if isinstance(grant, Problem):
                yield f"agents.{name}.grants: {grant.problem} (expected {grant.expected})"


def _queue_problems(where: str, table: dict[str, Any]) -> Iterator[str]:
    for key in ("schema", "result_schema"):
        if key in table and split_ref(table[key]) is None:
            yield f"{where}.{key}: '{table[key]}' is no schema; write brief@1, or brief for the newest"
    if table.get("state", "open") not in STATES:
        yield f"{where}.state: '{table['state']}' is none; write {', '.join(STATES)}"
    for key in DURATIONS:
        if _seconds(table, key) is None:
            yield f"{where}.{key}: '{table[key]}' is no duration; write 300 or '5m'"
    for name, (least, most) in limits.QUEUE_SETTINGS.items():
        key = name.removesuffix("_seconds")
        value = _seconds(table, key) if key in DURATIONS else table.get(key)
        if value is not None and not least <= value <= most:
            yield f"{where}.{key}: {value} is not between {least} and {most}"
    if len(table.get("purpose", "")) > limits.PURPOSE_CHARS_MAX:
        yield f"{where}.purpose: longer than {limits.PURPOSE_CHARS_MAX} characters"


# ---- what is read -----------------------------------------------------------------------------------------------


def _versions(name: str, folder: Path, content: Mapping[str, Any]) -> list[SchemaWanted]:
    """Those whose names say no version come last: what is newest is usually what is worked on."""
    found = [_schema(name, folder / file) for file in _listed(content["schemas"][name])]
    return sorted(found, key=lambda one: (one.version is None, one.version or 0))


def _listed(files: Any) -> list[Any]:
    return cast("list[Any]", files) if isinstance(files, list) else [files]


def _schema(name: str, path: Path) -> SchemaWanted:
    """The schema in this file, judged by the same lint as at the broker."""
    refusal = partial(ArgumentsInvalid, verb="dropoff apply")
    content = payload.decode(bytes_of_file(path), refusal=refusal, root=str(path), what=str(path))
    lint.require(name, content)
    versioned = _VERSIONED.match(path.name)
    return SchemaWanted(
        name=name,
        version=int(versioned["version"]) if versioned and versioned["name"] == name else None,
        content=content,
        hash=hash_of(payload.canonical(content)),
        path=path,
    )


def _queue(name: str, table: dict[str, Any]) -> QueueWanted:
    lengths = {f"{key}_seconds": seconds for key in DURATIONS if (seconds := _seconds(table, key)) is not None}
    return QueueWanted(
        name=name,
        schema=table["schema"],
        result_schema=table.get("result_schema", ""),
        **lengths,
        max_attempts=table.get("max_attempts", limits.ATTEMPTS_MAX_DEFAULT),
        max_bytes=table.get("max_bytes", limits.PAYLOAD_BYTES_MAX),
        max_waiting=table.get("max_waiting", limits.WAITING_MAX_DEFAULT),
        purpose=table.get("purpose", ""),
        approval=table.get("approval", False),
        state=table.get("state"),
    )


def _seconds(table: dict[str, Any], key: str) -> int | None:
    """A duration of the file, or its default; None if what is written is none."""
    written = table.get(key, DURATIONS[key])
    return 0 if key == "expires" and written == NEVER else times.seconds(str(written))


def _agent(name: str, table: dict[str, Any]) -> AgentWanted:
    """Grants as the broker writes them, so that the two can be compared."""
    parsed = [parse(text) for text in table.get("grants", [])]
    return AgentWanted(name, tuple(dict.fromkeys(str(grant) for grant in parsed)))
