"""The contracts of `schemas/payloads/`: those of the demo, the starter, the examples and the README, each once.

They are what users read first and copy, so they are good ones: nothing that a check warns of.
"""

import json
import re
import shlex
from pathlib import Path
from typing import Any, Final

import pytest

from dropoff.core.refs import split_ref
from tests.cli.brokers import Up, ask
from tests.readme import README

ROOT: Final = README.parent
PAYLOADS: Final = ROOT / "schemas" / "payloads"
CONTRACTS: Final = {path.stem: path for path in sorted(PAYLOADS.iterdir())}
USERS: Final = [
    README,
    ROOT / "compose.yaml",
    *(path for folder in ("examples", "dropoff/demo", "dropoff/cli") for path in (ROOT / folder).rglob("*")),
]
TEXTS: Final = {
    path: path.read_text(encoding="utf-8") for path in USERS if path.is_file() and path.suffix not in (".pyc", ".so")
}


def content(ref: str) -> Any:
    return json.loads(CONTRACTS[ref].read_text(encoding="utf-8"))


def readmes_drop() -> tuple[str, str]:
    """Queue and payload of the README's first piece of work."""
    [line] = re.findall(r"^dropoff drop research .*$", README.read_text(encoding="utf-8"), re.MULTILINE)
    _, _, queue, payload = shlex.split(line, comments=True)
    return queue, payload


# ---- where they stand -------------------------------------------------------------------------------------------


def test_each_is_named_by_its_schema_and_version():
    assert CONTRACTS
    assert [path.suffix for path in CONTRACTS.values()] == [".json"] * len(CONTRACTS)
    assert all((split_ref(ref) or ("", None))[1] for ref in CONTRACTS)


@pytest.mark.parametrize("ref", CONTRACTS)
def test_each_is_somebodys(ref: str):
    assert any(f"{ref}.json" in text for text in TEXTS.values())


def test_whoever_names_one_names_one_that_is_there():
    named = {found for text in TEXTS.values() for found in re.findall(r"schemas/payloads/([^\s\"')\]]+\.json)", text)}
    assert named
    assert {name.removesuffix(".json") for name in named} <= set(CONTRACTS)


def test_no_example_has_a_contract_of_its_own():
    """What stands twice is changed once."""
    own = ("additionalProperties", "minLength", '"properties"')
    shown = {path: text for path, text in TEXTS.items() if "examples" in path.parts or "templates" in path.parts}
    assert shown
    assert [path for path, text in shown.items() if any(word in text for word in own)] == []


# ---- what they are ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ref", CONTRACTS)
def test_a_check_has_nothing_to_say(ref: str):
    """Neither a problem nor a warning; and there is an example for models to go by."""
    heard = ask("schema", "check", str(CONTRACTS[ref]), "-o", "json")
    assert heard.code == 0, heard.err
    assert (heard.json["schema"], heard.json["problems"], heard.json["warnings"]) == (ref.partition("@")[0], [], [])
    assert content(ref)["examples"]


def test_apply_makes_each_as_the_version_that_its_name_says(broker: Up, tmp_path: Path):
    """On a real broker, with a queue that takes its examples; again nothing is left to do."""
    names = dict.fromkeys(ref.partition("@")[0] for ref in CONTRACTS)
    files = {name: [str(CONTRACTS[ref]) for ref in CONTRACTS if ref.partition("@")[0] == name] for name in names}
    lines = ["[schemas]", *(f'"{name}" = {listed}' for name, listed in files.items())]
    lines += [f'[queues."of.{ref.replace("@", ".")}"]\nschema = "{ref}"' for ref in CONTRACTS]
    file = tmp_path / "dropoff.toml"
    file.write_text("\n".join(lines))

    done = broker.ask("apply", str(file))
    assert done.code == 0, done.err
    assert {row["name"] for row in done.json if row["kind"] == "schema"} == set(CONTRACTS)
    for ref in CONTRACTS:
        assert broker.ask("schema", "show", ref).json["content"] == content(ref)
        for example in content(ref)["examples"]:
            heard = broker.ask("drop", f"of.{ref.replace('@', '.')}", json.dumps(example))
            assert heard.code == 0, heard.err
    assert {row["change"] for row in broker.ask("apply", str(file)).json} == {"unchanged"}


def test_the_readmes_first_piece_of_work_fits_its_contract(broker: Up):
    """The queue is that of the walk-through; the same payload is what `dropoff init` says to try."""
    queue, payload = readmes_drop()
    heard = broker.ask("drop", queue, payload)
    assert heard.code == 0, heard.err
    assert payload in (ROOT / "dropoff" / "cli" / "starter.py").read_text(encoding="utf-8")
