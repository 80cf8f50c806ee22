"""What a broker tells an agent, as who sits at the command line can act on it.

The verbs refuse in sentences for a model, which calls tools: `dropoff/errors.py`. Here a command was typed, so the last
words of such a sentence become the command that comes next. One table; a sentence that is not in it is said as it came.
Operators' acts are refused in commands from the start (`doors/http/operators/told.py`).

A broker that does not know the caller may be another one than was meant: it is named.
"""

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dropoff.client import RemoteError

# How a sentence ends, and how it ends here. Whatever stands before may hold others' words, and is left alone.
ENDS: Final = (
    (r"call drop_off again\.", "say it again: dropoff drop …"),
    (r"call pick_up again\.", "say it again: dropoff pick …"),
    (r"call complete_handoff again\.", "say it again: dropoff complete …"),
    (r"call hand_back again\.", "say it again: dropoff back …"),
    (r"call pick_up for new work\.", "new work comes by: dropoff pick …"),
)
# Those that depend on how it begins.
WHOLE: Final = (
    (r"(Queue '([^']+)' takes no new work.*) Do not retry in this run; report it\.",
     r"\1 It does again after: dropoff queue resume \2"),
    (r"(Agent '([^']+)' is frozen.*) Do not retry in this run; report it\.",
     r"\1 An operator lets it go on: dropoff agent thaw \2"),
    (r"(Everything is frozen.*) Do not retry in this run; report it\.", r"\1 An operator lets it go on: dropoff thaw"),
)  # fmt: skip


def retold(refusal: "RemoteError", url: str) -> "RemoteError":
    """The refusal under the same code, in the words of the command line."""
    import msgspec

    sentence = in_commands(refusal.sentence())
    if refusal.code == "unauthenticated":
        sentence = f"{sentence}\nAsked was the broker at {url}; another is named by --url, DROPOFF_URL or --data."
    return type(refusal)(msgspec.structs.replace(refusal.said, detail=sentence))


def in_commands(sentence: str) -> str:
    for ends, command in ENDS:
        sentence = re.sub(f"{ends}\\Z", command, sentence)
    for whole, command in WHOLE:
        sentence = re.sub(f"\\A{whole}\\Z", command, sentence, flags=re.DOTALL)
    return sentence
