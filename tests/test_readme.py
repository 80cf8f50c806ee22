"""The README says what the code does."""

import ast
import re

import click
import pytest

from dropoff.cli.root import cli
from tests.readme import README, as_it_should_be

TEXT = README.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = sorted(
    {line.strip() for _, block in BLOCKS for line in block.splitlines() if re.match(r"(\.venv/bin/)?dropoff \w", line)}
)


def test_the_state_table_is_the_one_the_code_obeys():
    """Made anew by `python -m tests.readme --write`."""
    assert as_it_should_be(TEXT) == TEXT


def test_its_python_is_python():
    [snippet] = [block for language, block in BLOCKS if language == "python"]
    compile(snippet, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_are_there(line: str):
    """Each with the flags that it shows, and none that comes later."""
    words = line.split("  ")[0].split()[1:]
    command: click.Command = cli
    context = click.Context(cli, info_name="dropoff")
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words.pop(0))
        assert found is not None
        command = found
        context = click.Context(command, info_name=command.name, parent=context)
    flags = {flag for param in command.params for flag in param.opts}
    assert {word for word in words if word.startswith("--")} <= flags
    assert not command.hidden


def test_commands_were_found():
    assert len(COMMANDS) > 8
