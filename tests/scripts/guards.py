"""The guards of `lua/`: each `if` under its `-- guard: NAME`, and the files with one of them changed."""

from dataclasses import dataclass

from tests.scripts.lua import Lua


@dataclass(frozen=True)
class Guard:
    name: str
    file: str
    line: int


def guards(texts: dict[str, str]) -> list[Guard]:
    found: list[Guard] = []
    for file, text in sorted(texts.items()):
        lua = Lua(file, text)
        lines = (lua.tokens[place].line for place in lua.branches)
        found += [Guard(name, file, line) for line in lines if (name := lua.name_above(line, "guard"))]
    return found


def with_condition(guard: Guard, text: str, made_of: str) -> str:
    """The file with this guard's condition replaced; `{}` in `made_of` stands for what it was."""
    lua = Lua(guard.file, text)
    [place] = [place for place in lua.branches if lua.tokens[place].line == guard.line]
    start, end = lua.condition(place)
    begins, ends = lua.tokens[start].at, lua.tokens[end].at
    return text[:begins] + made_of.replace("{}", text[begins:ends].rstrip()) + " " + text[ends:]
