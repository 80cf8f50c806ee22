"""How the story is told: a line for what happened, and beside it the ledger's entries of the same moment.

On a wide terminal they stand side by side. Elsewhere (a pipe, a log, a narrow window) the entries follow their line,
and nothing is wrapped or coloured, so that the output can be searched.
"""

from collections.abc import Iterable
from typing import Any, Final

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

WIDE: Final = 130  # columns: enough for a sentence and an entry

Entry = dict[str, Any]


class Page:
    """Where the story appears."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._wide = self._console.is_terminal and self._console.width >= WIDE

    def chapter(self, title: str) -> None:
        if self._console.is_terminal:
            self._console.print()
            self._console.print(Rule(Text(title, "bold"), align="left", style="dim"))
        else:
            self._line(Text(f"\n{title}"))

    def tell(self, who: str, what: str, entries: Iterable[Entry] = ()) -> None:
        """One thing that happened: who did it, what it was, and what the ledger has of it."""
        said = Text.assemble((f"{who}  ", "bold cyan"), what)
        beside = [Text.assemble(("│ " if self._wide else "  ledger  ", "dim"), _shown(entry)) for entry in entries]
        if self._wide and beside:
            row = Table.grid(padding=(0, 2), expand=True)
            row.add_column(ratio=1)
            row.add_column(ratio=1)
            row.add_row(said, Text("\n").join(beside))
            self._console.print(row)
        else:
            for line in (said, *beside):
                self._line(line)

    def conclude(self, what: str) -> None:
        self._line(Text(f"\n{what}", "bold"))

    def fail(self, what: str) -> None:
        self._line(Text(f"\n{what}", "bold red"))

    def _line(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)


def _shown(entry: Entry) -> Text:
    """An entry in one line: step, actor, and the arrow that the handoff took."""
    parts = [
        (f"{entry['step']:<10}", "green"),
        f" {entry['actor']}",
    ]
    if entry.get("handoff"):
        parts += [("  ", ""), (short(entry["handoff"]), "dim"), f"  {entry.get('from', '')} → {entry['to']}"]
    elif entry.get("agent"):
        parts.append(f"  {entry['agent']} {entry.get('standing', '')}".rstrip())
    elif entry.get("queue"):
        parts.append(f"  {entry['queue']}")
    if entry.get("reason"):
        parts.append((f"  {entry['reason']}", "dim"))
    return Text.assemble(*parts)


def short(handoff_id: str) -> str:
    """The queue and the first digits: enough to tell the few of this story apart."""
    queue, _, unique = handoff_id.removeprefix("demo.").rpartition("-")
    return f"{queue}-{unique[:4]}…"
