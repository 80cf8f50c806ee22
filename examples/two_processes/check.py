"""Runs the example from end to end, on a broker and a data folder of its own, and fails where it is not as it says.

python check.py
"""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).parent
DROPOFF = [str(Path(sys.executable).with_name("dropoff"))]
LIMIT_S = 60


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="two-processes-") as data, ExitStack() as running:
        home = {name: value for name, value in os.environ.items() if not name.startswith(("DROPOFF_", "OPENAI_"))}
        broker = start(running, [*DROPOFF, "up", "--port", "0", "-o", "json"], {**home, "DROPOFF_DATA": data})
        url = json.loads(first_line(broker))["url"]
        operator = {**home, "DROPOFF_DATA": data, "DROPOFF_URL": url}
        run([*DROPOFF, "apply", str(HERE / "dropoff.toml")], operator)

        def agent(name: str, *words: str) -> subprocess.Popen[str]:
            credential = {"DROPOFF_CREDENTIAL_FILE": str(Path(data, "agents", f"{name}.bearer"))}
            return start(
                running, [sys.executable, str(HERE / f"{name}.py"), *words], {**home, "DROPOFF_URL": url} | credential
            )

        writer = agent("writer")
        researcher = agent("researcher", "heat pumps")
        text, _ = researcher.communicate(timeout=LIMIT_S)
        said, _ = writer.communicate(timeout=LIMIT_S)
        require((researcher.returncode, writer.returncode) == (0, 0), "both programs end with 0")
        require(
            "more to heat pumps than people think" in text, f"the researcher prints the writer's text, not {text!r}"
        )
        handoff_id = said.strip().removeprefix("Completed ").removesuffix(".")

        whole = json.loads(run([*DROPOFF, "handoff", "show", handoff_id, "-o", "json"], operator))
        steps = [(entry["step"], entry["actor"]) for entry in whole["entries"]]
        expected = [("drop_off", "researcher"), ("pick_up", "writer"), ("complete", "writer")]
        require(steps == expected, f"the ledger has these steps: {expected}, not {steps}")
        require(whole["result"]["text"] == text.strip(), "the broker keeps the result as it was given")
    print(f"Two processes, two identities, one handoff: {' → '.join(f'{step} by {who}' for step, who in steps)}.")


def start(running: ExitStack, command: list[str], environ: dict[str, str]) -> subprocess.Popen[str]:
    """A program that is stopped when the check ends, however it ends."""
    program = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)

    def stop() -> None:
        program.terminate()
        program.communicate(timeout=LIMIT_S)

    running.callback(stop)
    return program


def first_line(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline()


def run(command: list[str], environ: dict[str, str]) -> str:
    return subprocess.run(command, env=environ, check=True, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S).stdout


def require(fact: bool, what: str) -> None:
    if not fact:
        raise SystemExit(f"This does not hold: {what}")


if __name__ == "__main__":
    main()
