"""A process: the researcher, who answers a question and leaves the findings for a writer.

What it knows is written down here, since its model is scripted. What it does with the broker's answers is not: it finds
the field to mend in the refusal's sentence, and the text to hand on in the result of a handoff.
"""

import re
from typing import Any, Final

from dropoff.demo import agent
from dropoff.demo.agent import Script, answer, use
from dropoff.demo.children import report

INSTRUCTIONS: Final = """\
You research questions. Pick up a brief, find out what it asks, and drop off your findings for the writer.
When the broker refuses something, read why, mend that, and call again."""

COSTS: Final = {
    "statement": "At 55 °C flow temperature a heat pump needs a third of the energy that a gas boiler burns.",
    "source": "Field study of 56 old houses",
}
COMFORT: Final = {
    "statement": "In nine of ten old houses the radiators that are there are large enough.",
    "source": "Survey of 300 installers",
}

# - payload.audiance: unknown field; did you mean 'audience'?
MEANT: Final = re.compile(r"^- payload\.(?P<sent>\w+): unknown field; did you mean '(?P<meant>\w+)'\?$", re.MULTILINE)


def mended(draft: dict[str, Any], refusal: str) -> dict[str, Any]:
    """The draft with each misspelt field under the name that the refusal proposes."""
    if not refusal.startswith("Payload rejected by schema "):
        raise RuntimeError(f"this is no refusal of a payload: {refusal}")
    renamed = {slip["sent"]: slip["meant"] for slip in MEANT.finditer(refusal)}
    if not renamed.keys() & draft.keys():
        raise RuntimeError(f"the refusal names no field that could be mended: {refusal}")
    return {renamed.get(name, name): value for name, value in draft.items()}


def script() -> Script:
    brief = answer((yield use("pick_up", wait_seconds=agent.WAIT_S)))
    report("picked_up", **brief)
    topic, audience = brief["payload"]["topic"], brief["payload"]["audience"]

    draft = {"title": f"{topic}: what they cost", "audiance": audience, "findings": [COSTS]}
    refusal = yield use("drop_off", payload=draft)
    report("refused", sent=draft, sentence=refusal)
    draft = mended(draft, refusal)
    first = answer((yield use("drop_off", payload=draft, note="A short text, please.")))
    report("dropped_off", payload=draft, **first)
    first_text = yield from outcome(first["handoff_id"])

    draft = {"title": f"{topic}: the whole story", "audience": audience, "findings": [COSTS, COMFORT]}
    second = answer((yield use("drop_off", payload=draft, note="A section for each finding.")))
    report("dropped_off", payload=draft, **second)
    second_text = yield from outcome(second["handoff_id"])

    result = {"texts": [first_text, second_text]}
    answer((yield use("complete_handoff", lease_id=brief["lease_id"], result=result)))
    report("completed", result=result)
    return "Both texts are written."


def outcome(handoff_id: str) -> Script:
    """Wait for the handoff's end, and return the text that came of it."""
    while True:
        found = answer((yield use("check_handoff", handoff_id=handoff_id, wait_seconds=agent.WAIT_S)))
        if found["state"] == "completed":
            report("saw", **found)
            return found["result"]["text"]
        if found["state"] not in ("waiting", "leased", "scheduled"):
            raise RuntimeError(f"{handoff_id} came to no text: {found}")


if __name__ == "__main__":
    agent.run("researcher", INSTRUCTIONS, script())
