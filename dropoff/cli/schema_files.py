"""`dropoff schema check` and `from-example`: a contract judged where it is written, and drafted. No broker is asked."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import click

from dropoff.cli.given import bytes_of, json_of
from dropoff.cli.session import Command, Session, pass_session
from dropoff.cli.shown import Column, as_json, counted
from dropoff.core import limits
from dropoff.core.handoff import NAME
from dropoff.errors import ArgumentsInvalid, Problem, SchemaRefused

Json = dict[str, Any]

TOOL_LINES: Final = 12


# ---- check --------------------------------------------------------------------------------------------------------


@click.command(cls=Command)
@click.argument("file", metavar="FILE|-")
@click.option("--name", help="The name it will have; that of the file, if nothing is said.")
@click.option("--tool", is_flag=True, help="Print the tool's definition, and nothing else.")
@pass_session
def check(session: Session, file: str, name: str | None, tool: bool) -> int:
    """Judge the schema in FILE as `schema push` would, and say what models will stumble over.

    Also shown: the tool drop_off exactly as the model of an agent sees it that has a queue of this schema, and its
    size. Ends with 6 if the schema would be refused, with 0 otherwise; warnings are no failure. No broker is asked.
    """
    from dropoff.contracts import lint

    content = content_of(file, "check")
    name = name or name_of(file)
    problems = lint.judge(name, content)
    if problems:
        _show_refused(session, name, problems)
        return SchemaRefused.exit_code
    if tool:
        session.shown.data(_tool(name, content))
        return 0
    _show_checked(session, name, content)
    session.shown.say(f"Next  dropoff schema push {name} {'FILE' if file == '-' else file}")
    return 0


def _show_refused(session: Session, name: str, problems: Sequence[Problem]) -> None:
    """All of them, where a refusal at the broker's door names eight."""
    if session.shown.for_people:
        _table(session, "PROBLEM", problems)
    else:
        session.shown.data({"schema": name, "problems": problems})
    session.shown.warn(f"'{name}' would be refused: {counted(len(problems), 'problem')}.")


def _show_checked(session: Session, name: str, content: Json) -> None:
    from dropoff.contracts.warnings import warnings

    found, tool = warnings(content), _tool(name, content)
    inputs = tool["inputSchema"]
    shown = {"payload": inputs["properties"]["payload"]} | {key: inputs[key] for key in ("$defs",) if key in inputs}
    sizes = {"schema": _characters(shown), "drop_off": _characters(_read_by_models(tool))}
    if not session.shown.for_people:
        session.shown.data({"schema": name, "problems": (), "warnings": found, "characters": sizes, "tool": tool})
    else:
        if found:
            _table(session, "WARNING", found)
        drop_off, schema = sizes["drop_off"], sizes["schema"]
        session.shown.text(f"A model reads {drop_off:,} characters of drop_off, {schema:,} of them this schema:")
        _show_first_lines(session, as_json(_read_by_models(tool)).splitlines())
    session.shown.say(f"'{name}' may be registered; {counted(len(found), 'warning') if found else 'no warnings'}.")


def _show_first_lines(session: Session, lines: Sequence[str]) -> None:
    for line in lines[:TOOL_LINES]:
        session.shown.text(line)
    rest = len(lines) - TOOL_LINES
    if rest > 0:
        session.shown.say(f"… {counted(rest, 'more line')}; --tool prints the whole definition.")


def _table(session: Session, title: str, problems: Sequence[Problem]) -> None:
    columns = [Column("PATH"), Column(title), Column("EXPECTED"), Column("GOT")]
    used = [index for index, field in enumerate(("path", "problem", "expected", "got")) if _any(problems, field)]
    cells = [(one.path, one.problem, one.expected, one.got) for one in problems]
    session.shown.table([columns[index] for index in used], [[row[index] for index in used] for row in cells])


def _any(problems: Sequence[Problem], field: str) -> bool:
    return any(getattr(one, field) for one in problems)


def _tool(name: str, content: Json) -> Json:
    from dropoff.contracts.schema import Schema
    from dropoff.doors.tool_lists import drop_off_with

    return drop_off_with(Schema.of(name, 1, content)).model_dump(mode="json", by_alias=True, exclude_none=True)


def _read_by_models(tool: Json) -> Json:
    """As `doctor` measures it: clients hand on nothing else."""
    return {key: tool[key] for key in ("name", "description", "inputSchema")}


def _characters(value: Json) -> int:
    return len(as_json(value, 0))


# ---- from-example -------------------------------------------------------------------------------------------------


@click.command(cls=Command, name="from-example")
@click.argument("file", metavar="FILE|-")
@pass_session
def from_example(session: Session, file: str) -> None:
    """Draft a schema from the payloads in FILE: one object, an array of objects, or one object a line.

    The draft says what they have in common: types, and which fields each of them has; other fields are refused. It may
    be registered as it is, and each of the payloads fits it.
    """
    from dropoff.contracts.from_example import from_examples

    examples = _examples(file)
    session.shown.data(from_examples(examples))
    if len(examples) == 1:
        session.shown.say("From one example every field is required; give several, or take some out of 'required'.")
    session.shown.say("Next  add a description of the whole and of each field: a model knows nothing else")
    session.shown.say("      dropoff schema check FILE")


def _examples(file: str) -> list[Json]:
    from dropoff.core import payload

    raw = bytes_of(file if file == "-" else f"@{file}", "examples")
    if len(raw) > limits.PAYLOAD_BYTES_MAX:
        raise click.UsageError(f"{file} has more than {limits.PAYLOAD_BYTES_MAX:,} bytes; a few examples are enough.")
    refusal = partial(ArgumentsInvalid, verb="dropoff schema from-example")

    def read(text: bytes, root: str) -> Any:
        return payload.decode(text, refusal=refusal, root=root)

    lines = [(number, line) for number, line in enumerate(raw.splitlines(), 1) if line.strip()]
    if len(lines) > 1 and _is_json(lines[0][1]):
        found = [(f"line {number}", read(line, f"line {number}")) for number, line in lines]
    else:
        whole = read(raw, "example")
        found = [("example", whole)] if not isinstance(whole, list) else _items(cast("list[Any]", whole))
    return _only_objects(found, refusal)


def _is_json(line: bytes) -> bool:
    """Then each line is an example: no value that goes on below could end here."""
    import msgspec

    try:
        msgspec.json.decode(line)
    except msgspec.DecodeError:
        return False
    return True


def _items(values: list[Any]) -> list[tuple[str, Any]]:
    return [(f"example[{index}]", value) for index, value in enumerate(values)]


def _only_objects(found: Sequence[tuple[str, Any]], refusal: Callable[..., Exception]) -> list[Json]:
    wrong = [Problem(path=path, problem="is no object") for path, value in found if not isinstance(value, dict)]
    if wrong or not found:
        raise refusal(problems=tuple(wrong) or (Problem(path="example", problem="there is none"),))
    return [value for _, value in found]


# ---- files --------------------------------------------------------------------------------------------------------


def content_of(file: str, verb: str) -> Any:
    return json_of("-" if file == "-" else f"@{file}", root="schema", verb=f"schema {verb}")


def name_of(file: str) -> str:
    """`brief`, for schemas/brief@1.json."""
    name = Path(file).name.removesuffix(".json").partition("@")[0].lower()
    return name if NAME.match(name) else "schema"
