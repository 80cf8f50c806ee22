"""How things are shown: data on stdout as a table or as JSON, words on stderr.

Notes, reasons and payloads are written by others. A control character in them could repaint the terminal of whoever
looks (hide a line, fake a prompt), so none reaches it: in words and tables they are replaced, in JSON they are escaped,
which any parser reads back as they were.
"""

import re
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

Format = Literal["table", "json", "jsonl"]
Row = Mapping[str, Any]

# What moves the cursor, starts a sequence, or turns the direction of what follows. JSON itself escapes those < 0x20.
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_CONTROL_IN_JSON: Final = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

WIDTH_IN_A_PIPE: Final = 400  # nobody folds lines there, and half a name is no use to grep


class Column(NamedTuple):
    """A column of a table: its title, on which side its cells stand, and whether they are copied, so never broken."""

    title: str
    right: bool = False
    whole: bool = False


def harmless(text: str) -> str:
    return _CONTROL.sub("�", text)


def in_one_line(text: str) -> str:
    """For cells and labelled facts: a line of somebody's note must not pass for a line of ours."""
    return " ".join(harmless(text).split())


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def as_json(value: Any, indent: int = 2) -> str:
    import msgspec

    encoded = msgspec.json.encode(value)
    text = (msgspec.json.format(encoded, indent=indent) if indent else encoded).decode()
    return _CONTROL_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Shown:
    """The two streams of one command, in the form that was asked for."""

    def __init__(self, form: Format | None, *, quiet: bool, verbose: bool, color: bool) -> None:
        self.form: Format = form or ("table" if sys.stdout.isatty() else "json")
        self.quiet = quiet
        self.verbose = verbose
        self.color = color

    # ---- words --------------------------------------------------------------------------------------------------

    def say(self, text: str = "", **style: Any) -> None:
        """What a person reads beside the data; left out with -q."""
        if not self.quiet:
            self._word(text, **style)

    def tell(self, text: str) -> None:
        """What only -v wants to know."""
        if self.verbose:
            self._word(text, dim=True)

    def warn(self, text: str) -> None:
        """What must be heard even with -q."""
        self._word(f"! {text}", fg="yellow")

    def show_beside(self, text: str) -> None:
        """What somebody must have read before answering a question; it is no data, and -q does not hide it."""
        self._word(text)

    def _word(self, text: str, **style: Any) -> None:
        text = harmless(text)
        click.echo(click.style(text, **style) if style and self.color else text, err=True)

    # ---- data ---------------------------------------------------------------------------------------------------

    @property
    def for_people(self) -> bool:
        return self.form == "table"

    def data(self, value: Any) -> None:
        """One value as JSON: in one line for `jsonl`, to be read by people otherwise."""
        click.echo(as_json(value, 0 if self.form == "jsonl" else 2))

    def line(self, value: Any) -> None:
        """One of many that come over time: a line of JSON, whatever the form."""
        click.echo(as_json(value, 0))

    def text(self, text: str) -> None:
        click.echo(harmless(text))

    def many(self, items: Sequence[Row], columns: Sequence[Column], cells: Iterable[Sequence[str]], empty: str) -> None:
        """Many things alike. An empty table is no answer to a person: `empty` says what to do next."""
        if self.form == "jsonl":
            for item in items:
                self.data(item)
        elif self.form == "json":
            self.data(items)
        elif items:
            self.table(columns, cells)
        if not items and empty:
            self.say(empty)

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
        console = self._console()
        with console.capture() as drawn:
            console.print(_drawn(columns, rows))
        for line in drawn.get().splitlines():
            click.echo(line.rstrip(), color=self.color and sys.stdout.isatty())

    @contextmanager
    def live(self) -> Generator["ShowLive"]:
        """Give the function that shows a table and lines above it, each over the last; in a pipe each below."""
        if not sys.stdout.isatty():
            yield self._show_next
            return
        from rich.console import Group
        from rich.live import Live

        with Live(console=self._console(), auto_refresh=False) as screen:

            def show(columns: Sequence[Column], rows: Iterable[Sequence[str]], words: Sequence[str]) -> None:
                screen.update(Group(*map(_cell, words), _drawn(columns, rows)), refresh=True)

            yield show

    def _show_next(self, columns: Sequence[Column], rows: Iterable[Sequence[str]], words: Sequence[str]) -> None:
        for word in words:
            self.text(in_one_line(word))
        self.table(columns, rows)

    def _console(self) -> "Console":
        from rich.console import Console

        width = None if sys.stdout.isatty() else WIDTH_IN_A_PIPE
        return Console(file=sys.stdout, no_color=not self.color, highlight=False, width=width)

    def one(self, item: Row, labels: Mapping[str, str]) -> None:
        """One thing: JSON, or a line for each fact there is."""
        if not self.for_people:
            self.data(item)
            return
        width = max(map(len, labels), default=0)
        for label, value in labels.items():
            if value:
                self.text(f"{label:<{width}}  {in_one_line(value)}")


ShowLive = Callable[[Sequence[Column], Iterable[Sequence[str]], Sequence[str]], None]


def _drawn(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        justify = "right" if column.right else "left"
        table.add_column(column.title, justify=justify, overflow="fold", no_wrap=column.whole)
    for row in rows:
        table.add_row(*map(_cell, row))
    return table


def _cell(text: str) -> "Text":
    """Text, not markup: a note that says [red] is a note that says [red]."""
    from rich.text import Text

    return Text(in_one_line(text), style="yellow" if text.startswith("! ") else "")
