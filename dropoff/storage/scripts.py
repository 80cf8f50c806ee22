"""Each Lua file is one atomic step, and its header is its signature.

The lines `keys:`, `args:` and `gives:` are read and obeyed: the names in a step are bound from them, a call that lacks
one of them is a fault (what it brings beyond them is not sent), and so is a reply whose word the header does not
announce. So the header cannot drift from what runs. `@call`, `@queue` and the like stand for a group that many share.

What runs is: the shebang, the names, the lifecycle's table, the limits, the pages, the file; without the lines that
are for readers. It is addressed by the hash of all that, so brokers of two versions can share a store during an
upgrade: each runs its own meaning.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from dropoff.core import lifecycle, limits
from dropoff.storage.keys import OF_QUEUE

KEY_GROUPS: Final = {
    "@queue": " ".join(("gate", "ledger", "beat", *OF_QUEUE)),
    "@next": " ".join(f"next_{kind}" for kind in OF_QUEUE),
    "@waiting": "versions pickers",
}
PAGES: Final = {"@queue": "_handoff", "@waiting": "_waiting"}  # what a step is given that names this group of keys
ARG_GROUPS: Final = {
    "@call": "caller rev credential trace clock_ms",
    "@queue": "queue_keys partition_keys wake",
    "@next": "next_id next_queue next_rev next_payload next_salt next_digest next_content next_note",
}

_COMMENT_LINES: Final = re.compile(r"^ *--.*\n", re.MULTILINE)


@dataclass(frozen=True)
class Script:
    """A step as the server gets it."""

    name: str
    keys: tuple[str, ...]
    args: tuple[str, ...]
    gives: frozenset[str]
    adds: bool  # new work, or room for it: a full store refuses it, by the shebang
    text: bytes
    sha: bytes

    def command(self, keys: dict[str, str], args: dict[str, str | bytes]) -> tuple[str | bytes, ...]:
        """The step with these values, ready to be sent."""
        assert set(self.args) <= args.keys(), f"{self.name} lacks {set(self.args) - args.keys()}"
        bound = (keys[name] for name in self.keys)
        return ("EVALSHA", self.sha, str(len(self.keys)), *bound, *(args[name] for name in self.args))


@cache
def script(name: str) -> Script:
    """The step of that name, read from `lua/`."""
    source = _read(name)
    keys, args = _names(source, "keys", KEY_GROUPS), _names(source, "args", ARG_GROUPS)
    shebang, _, body = source.partition("\n")
    assert shebang.startswith("#!lua"), f"{name}.lua does not say what it may do"
    pages = ["_prelude", *(page for group, page in PAGES.items() if group in _header(source, "keys"))]
    text = "\n".join(
        [
            shebang,
            *(f"local {key} = KEYS[{place}]" for place, key in enumerate(keys, 1)),
            *(f"local {arg} = ARGV[{place}]" for place, arg in enumerate(args, 1)),
            lifecycle.as_lua(),
            limits.as_lua(),
            *(_COMMENT_LINES.sub("", page) for page in (*map(_read, pages), body)),
        ]
    ).encode()
    words = (answer.split()[0] for answer in re.sub(r"\(.*?\)", "", _header(source, "gives")).split("|"))
    sha = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
    adds = not {"allow-oom", "no-writes"} & set(re.split("[ ,=]", shebang))
    return Script(name, keys, args, frozenset(words), adds, text, sha)


def every_script() -> list[Script]:
    files = resources.files("dropoff.storage").joinpath("lua").iterdir()
    names = sorted(file.name.removesuffix(".lua") for file in files if file.name.endswith(".lua"))
    return [script(name) for name in names if not name.startswith("_")]


@cache
def _read(name: str) -> str:
    return resources.files("dropoff.storage").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")


def _header(source: str, line: str) -> str:
    match = re.search(rf"^-- {line}: (.*)$", source, re.MULTILINE)
    assert match is not None, f"a step has no line '{line}:'"
    return match[1]


def _names(source: str, line: str, groups: dict[str, str]) -> tuple[str, ...]:
    words = [groups.get(word, word) for word in _header(source, line).split()]
    return tuple(" ".join(words).split())
