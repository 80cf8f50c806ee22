"""A process: a writer, who makes texts of findings, a section for each.

A text of one section is written in one go. After the first section of a longer one the writer saves what it has, and
then its model thinks, longer than anybody waits: this is where the demo pulls the plug. A writer who is given what
another one has saved writes the rest and is done.
"""

from typing import Any, Final

from dropoff.demo import agent
from dropoff.demo.agent import Answer, Script, Think, answer, use
from dropoff.demo.children import report

INSTRUCTIONS: Final = """\
You write texts. Pick up findings, write a section for each, and complete the handoff with the text.
State nothing that is not in the findings. After each section save what you have with extend_lease;
if another writer has left you a checkpoint, go on from there."""


def section(finding: dict[str, Any]) -> str:
    return f"{finding['statement']} ({finding['source']})"


def script() -> Script:
    while True:
        work = answer((yield use("pick_up", wait_seconds=agent.WAIT_S)))
        if work["status"] == "picked_up":
            report("picked_up", **work)
            yield from write(work)


def write(work: Answer) -> Script:
    """Write what is not written yet, section by section, and complete."""
    findings = work["payload"]["findings"]
    written: list[str] = work.get("checkpoint", {}).get("sections", [])
    for finding in findings[len(written) :]:
        written = [*written, section(finding)]
        if len(written) < len(findings):
            checkpoint = {"sections": written}
            progress = f"{len(written)} of {len(findings)} sections"
            answer((yield use("extend_lease", lease_id=work["lease_id"], progress=progress, checkpoint=checkpoint)))
            report("saved", checkpoint=checkpoint)
            yield Think()
    result = {"text": "\n\n".join([work["payload"]["title"], *written])}
    answer((yield use("complete_handoff", lease_id=work["lease_id"], result=result)))
    report("completed", handoff_id=work["handoff_id"], result=result)
    return ""


if __name__ == "__main__":
    agent.run("writer", INSTRUCTIONS, script())
