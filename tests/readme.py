"""Keeps the README true: what is drawn from the code is drawn again by `python -m tests.readme --write`."""

import re
import sys
from pathlib import Path

from dropoff import settings
from dropoff.core import lifecycle

README = Path(__file__).parent.parent / "README.md"
DRAWN = {
    "lifecycle": lifecycle.as_markdown,
    "settings": lambda: settings.as_markdown(settings.SETTINGS),
    "settings of clients": lambda: settings.as_markdown(settings.FOR_CLIENTS),
}


def as_it_should_be(text: str) -> str:
    """The README with every drawing made anew."""
    for name, draw in DRAWN.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        text, count = re.subn(
            pattern, lambda match, draw=draw: f"{match[1]}{draw()}\n{match[2]}", text, flags=re.DOTALL
        )
        assert count == 1, f"the README has no place for {name}"
    return text


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    README.write_text(as_it_should_be(README.read_text(encoding="utf-8")), encoding="utf-8")
