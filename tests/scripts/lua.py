"""A small reader of Lua: what a rule about our steps has to tell apart, and no more.

It knows strings and comments, so that a word inside them is no code; blocks, so that a rule can ask what stands inside
what; functions and calls, so that it can ask what a call leads to. Anything it does not know is a fault, not a guess.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<comment>--\[(?P<c>=*)\[.*?\](?P=c)\]|--[^\n]*)
    | (?P<string>\[(?P<s>=*)\[.*?\](?P=s)\]|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")
    | (?P<number>0[xX][0-9a-fA-F]+|\d+\.?\d*(?:[eE][+-]?\d+)?)
    | (?P<name>[A-Za-z_]\w*)
    | (?P<sign>\.\.\.|\.\.|==|~=|<=|>=|[-+*/%^\#<>=(){}\[\];:,.])
    """,
    re.VERBOSE | re.DOTALL,
)
_OPENS: Final = frozenset({"function", "if", "for", "while", "do", "repeat"})


_WORDS: Final = frozenset(
    {"and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local", "nil", "not", "or"}
    | {"repeat", "return", "then", "true", "until", "while"}
)


class Token(NamedTuple):
    kind: str  # name string number sign
    text: str
    line: int
    at: int  # where it begins in the text


@dataclass(frozen=True)
class Block:
    """From the word that opens it to its `end`, as places in the list of tokens."""

    opens: str
    start: int
    end: int


@dataclass(frozen=True)
class Function:
    name: str  # the last part of its name; "" if it has none
    body: Block


@dataclass(frozen=True)
class Call:
    path: str  # "redis.call", "INDEX.enter" (what stands in brackets is left out), "text"
    at: int
    line: int
    args: tuple[tuple[Token, ...], ...]

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    def literal(self, place: int) -> str | None:
        """The argument, if it is just a string."""
        arg = self.args[place] if place < len(self.args) else ()
        return arg[0].text[1:-1] if len(arg) == 1 and arg[0].kind == "string" else None

    def text(self, place: int) -> str:
        return "".join(token.text for token in self.args[place]) if place < len(self.args) else ""


class Lua:
    """One file, read."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text
        self.lines = text.splitlines()
        self.tokens: list[Token] = []
        at = text.index("\n") + 1 if text.startswith("#") else 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            line = text.count("\n", 0, at) + 1
            assert found, f"{name}:{line}: no Lua that we know: {text[at : at + 20]!r}"
            kind = str(found.lastgroup)
            if kind not in ("space", "comment"):
                self.tokens.append(Token(kind, found[0], line, at))
            at = found.end()

    # ---- blocks -------------------------------------------------------------------------------------------------

    @cached_property
    def blocks(self) -> list[Block]:
        """All of them, as they open."""
        found: list[Block] = []
        open_: list[tuple[str, int]] = []
        awaits_do = False
        for place, token in enumerate(self.tokens):
            if token.kind != "name" or self._is_field(place):
                continue
            if token.text in _OPENS:
                if token.text == "do" and awaits_do:
                    awaits_do = False
                    continue
                awaits_do = awaits_do or token.text in ("for", "while")
                open_.append((token.text, place))
            elif token.text in ("end", "until"):
                assert open_, f"{self.name}:{token.line}: ends what was never begun"
                opens, start = open_.pop()
                found.append(Block(opens, start, place))
        assert not open_, f"{self.name}: '{open_[-1][0]}' without its end"
        return sorted(found, key=lambda block: block.start)

    @cached_property
    def _inside(self) -> list[tuple[Block, ...]]:
        """For each token the blocks that it stands in, the innermost first."""
        inside: list[tuple[Block, ...]] = [()] * len(self.tokens)
        for block in self.blocks:
            for place in range(block.start + 1, block.end):
                inside[place] = (block, *inside[place])
        return inside

    def around(self, place: int, *opens: str) -> list[Block]:
        """The blocks that a token stands in, the innermost first."""
        return [block for block in self._inside[place] if not opens or block.opens in opens]

    def condition(self, place: int) -> tuple[int, int]:
        """The tokens between an `if` or `elseif` and its `then`, as places: from, and up to."""
        depth = 0
        for later in range(place + 1, len(self.tokens)):
            word = self.tokens[later].text
            if self.tokens[later].kind == "name":
                depth += word == "function"
                depth -= word == "end"
                if word == "then" and not depth:
                    return place + 1, later
        raise AssertionError(f"{self.name}:{self.tokens[place].line}: an if without then")

    @cached_property
    def branches(self) -> list[int]:
        """Every `if` and `elseif`."""
        return [place for place in range(len(self.tokens)) if self._is_word(place, "if", "elseif")]

    def statements(self, block: Block, word: str) -> list[int]:
        """Where this word stands directly in the block, not in a block inside."""
        return [
            place
            for place in range(block.start + 1, block.end)
            if self._is_word(place, word) and self.around(place)[0] == block
        ]

    # ---- functions and calls ------------------------------------------------------------------------------------

    @cached_property
    def functions(self) -> list[Function]:
        found: list[Function] = []
        for block in self.blocks:
            if block.opens == "function":
                after, before = self.tokens[block.start + 1], self.tokens[block.start - 2 : block.start]
                named = after.text if after.kind == "name" else ""
                assigned = before[0].text if len(before) == 2 and before[1].text == "=" else ""
                found.append(Function(named or assigned, block))
        return found

    @cached_property
    def _function_of(self) -> dict[Block, Function]:
        return {one.body: one for one in self.functions}

    def owner(self, place: int) -> Function | None:
        """The function that a token stands in; None at the file's own level."""
        blocks = self.around(place, "function")
        return self._function_of[blocks[0]] if blocks else None

    @cached_property
    def by_owner(self) -> dict[Function | None, list["Call"]]:
        """The calls that stand directly in each function, or (None) outside of all."""
        found: dict[Function | None, list[Call]] = {None: []}
        for call in self.calls:
            found.setdefault(self.owner(call.at), []).append(call)
        return found

    @cached_property
    def calls(self) -> list[Call]:
        return list(self._calls())

    def _calls(self) -> Iterator[Call]:
        for place, token in enumerate(self.tokens[:-1]):
            if token.kind != "name" or self.tokens[place + 1].text != "(" or token.text in _WORDS:
                continue
            if place and self.tokens[place - 1].text == "function":
                continue
            yield Call(self._path(place), place, token.line, self._args(place + 1))

    def _path(self, place: int) -> str:
        parts = [self.tokens[place].text]
        while place >= 2 and self.tokens[place - 1].text == ".":
            place -= 2
            if self.tokens[place].text == "]":
                place = self._back(place) - 1
            parts.append(self.tokens[place].text)
        return ".".join(reversed(parts))

    def _back(self, place: int) -> int:
        """The bracket that this one closes."""
        depth = 0
        while True:
            depth += (self.tokens[place].text in ("]", ")", "}")) - (self.tokens[place].text in ("[", "(", "{"))
            if not depth:
                return place
            place -= 1

    def _args(self, place: int) -> tuple[tuple[Token, ...], ...]:
        args: list[list[Token]] = [[]]
        depth = 0
        for token in self.tokens[place:]:
            opens, closes = token.text in ("(", "{", "["), token.text in (")", "}", "]")
            depth += opens - closes if token.kind == "sign" else 0
            if not depth:
                break
            if token.kind == "name" and token.text in ("function", "end"):
                depth += 1 if token.text == "function" else -1
            if depth == 1 and token.text == ",":
                args.append([])
            elif not (depth == 1 and token.text == "(" and not args[0] and len(args) == 1):
                args[-1].append(token)
        return tuple(tuple(arg) for arg in args if arg)

    # ---- words --------------------------------------------------------------------------------------------------

    def _is_word(self, place: int, *words: str) -> bool:
        token = self.tokens[place]
        return token.kind == "name" and token.text in words and not self._is_field(place)

    def _is_field(self, place: int) -> bool:
        return place > 0 and self.tokens[place - 1].text in (".", ":")

    def name_above(self, line: int, mark: str) -> str | None:
        """What the comment line just above says after its mark: `-- guard: NAME`."""
        above = self.lines[line - 2].strip() if line >= 2 else ""
        return above.removeprefix(f"-- {mark}: ").strip() if above.startswith(f"-- {mark}: ") else None
