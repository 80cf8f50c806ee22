"""The demo: one story, told on a running broker by processes of their own, each line of it checked.

An editor puts a question into a queue. A researcher picks it up and leaves its findings for a writer: first in a form
that the queue's contract refuses, then mended by what the refusal said. The writer completes; the researcher reads the
result. Then the writer is killed in the middle of a second text, and another one finishes from its checkpoint.

`run` brings a broker of its own on a store of its own, and takes both away again; `tell` tells the story on a broker
that is there. Both are called by the CLI (`dropoff demo`, `dropoff up --demo`), which imports this package only when it
needs it. Nothing heavy is imported here.

telling.py     the two ways to tell it: what is started for it, what becomes of that, the exit code
story.py       the conductor: its chapters, each line of them held against what the agents and the ledger say
page.py        how it is told: story and ledger side by side on a terminal, line by line elsewhere
editor.py      the operator's side, by HTTP
shipped.py     the contracts of its queues, as they come with the package
broker.py      a process: the broker of `run`, its store, and the folder of both
researcher.py  a process: an agent of the Agents SDK
writer.py      a process: the same
agent.py       what these two share: who they are, their way to the broker, what they report
children.py    processes that cannot outlive the one that started them

No child outlives the demo, however it ends: each reads the pipe that is its standard input, and leaves when that pipe
closes, which the kernel does even for a process that was killed. The broker of `run` then stops its store and removes
the folder.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


async def run(console: "Console | None" = None) -> int:
    """`dropoff demo`: the story on a broker of its own, which is gone afterwards. Returns the exit code.

    0: every check held. 1: one did not, or something failed; it was said which. Told on `console`, else on stdout.
    May be cancelled (Ctrl-C) at any time: on return, and when it raises, nothing that was started still runs.
    """
    from dropoff.demo import telling

    return await telling.run(console)


async def tell(url: str, bearer: str, console: "Console | None" = None) -> int:
    """`dropoff up --demo`: the story on the broker at `url` (http://host:port), set up with an operator's bearer.

    Returns and may be cancelled as `run`. All that it makes is named `demo.…`, and it may be told again and again on
    the same store. The broker may run in this very event loop; call it as a task of its own then, once requests are
    answered, and cancel it when the broker stops.
    """
    from dropoff.demo import telling

    return await telling.tell(url, bearer, console)
