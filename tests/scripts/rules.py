"""The rules that a reader of `lua/` relies on, each a function from the files to what is wrong with them.

What a call leads to is followed through our own functions: a step that calls `move` writes, and one that calls `lease`
may refuse. What cannot be read from the text (which key a name stands for) is looked at while steps run, in
test_nth_call.py.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Final

from dropoff.storage.scripts import ARG_GROUPS, KEY_GROUPS
from tests.scripts.lua import Block, Call, Function, Lua

LINES_MAX: Final = 70  # one screen

# Which callers' steps a freeze of everything does not stop: what each gives to `stopped_at_gate`.
AGENTS: Final = frozenset({"drop_off", "pick_up", "extend", "complete", "forward", "hand_back"})
READERS: Final = frozenset({"check", "dropped_before", "lease", "picked_before"})
UPKEEP: Final = frozenset(
    {"lapse", "due", "expire", "recall", "revoked", "overdue", "beat", "changed", "mend", "prove", "count_rejections"}
)
THROUGH: Final = (
    dict.fromkeys(AGENTS, "") | dict.fromkeys(READERS, "'reading'") | {"withdraw": "may_operate=='1'"}
)  # all others: operators'

# All others end, free, read or govern; counts of rejections help nobody to make room.
ADDS_WORK: Final = frozenset({"drop_off", "forward", "put_schema", "count_rejections"})

KIND_OF: Final = {"H": "hash", "X": "stream", "Z": "zset", "S": "set"}  # by the first letter of a command
READS: Final = frozenset(
    {"HGET", "HMGET", "HGETALL", "HLEN", "XRANGE", "XLEN", "ZSCORE", "ZCARD", "ZCOUNT", "ZRANGE", "ZRANGEBYSCORE"}
    | {"SCARD", "SMEMBERS", "GET", "TIME"}
)
WRITES: Final = frozenset(
    {"HSET", "HDEL", "HINCRBY", "XADD", "XDEL", "ZADD", "ZREM", "ZREMRANGEBYSCORE", "SADD", "SREM"}
)
WRITES_TO_ANY_TYPE: Final = frozenset({"SET", "DEL", "PEXPIRE", "PEXPIREAT"})  # these cannot fail


def kind_of(command: str) -> str:
    return KIND_OF[command[0]]


@dataclass(frozen=True)
class Header:
    shebang: str
    keys: str
    args: str
    gives: str

    @property
    def words(self) -> frozenset[str]:
        answers = re.sub(r"\(.*?\)", "", self.gives).split("|")
        return frozenset(answer.split()[0] for answer in answers if answer.strip())


read: Final = cache(Lua)


class Files:
    """All of `lua/`, read."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.all = {name: read(name, text) for name, text in texts.items()}
        self._effects: dict[tuple[str, int], set[str]] = {}
        self.pages = {name: lua for name, lua in self.all.items() if name.startswith("_")}
        self.steps = {name: lua for name, lua in self.all.items() if name not in self.pages}

    def header(self, lua: Lua) -> Header:
        def line(of: str) -> str:
            found = re.search(rf"^-- {of}: (.*)$", lua.text, re.MULTILINE)
            return found[1] if found else ""

        return Header(lua.lines[0], line("keys"), line("args"), line("gives"))

    # ---- what calls lead to -------------------------------------------------------------------------------------

    def meant(self, lua: Lua, call: Call) -> list[tuple[Lua, Function]]:
        """The functions of ours that a call may run."""
        if "." in call.path:
            return []
        files = [lua, *self.pages.values()]
        return [(file, one) for file in dict.fromkeys(files) for one in file.functions if one.name == call.name]

    def own(self, lua: Lua, call: Call) -> set[str]:
        """What a call does by itself."""
        command = call.literal(0)
        if call.path in ("redis.call", "redis.pcall"):
            if command is None:
                return {"read"} if call.text(0).startswith("READ[") else {"read", "write"}
            assert command in READS | WRITES | WRITES_TO_ANY_TYPE | {"PUBLISH"}, f"{lua.name}: is {command} a write?"
            return {"publish"} if command == "PUBLISH" else {"read"} if command in READS else {"write"}
        if call.path in ("refused", "error") or (call.path == "answer" and command == "stale"):
            return {"refuse"}
        return {"sound"} if call.path == "sound" else set()

    def effects(self, lua: Lua, call: Call) -> set[str]:
        """What a call does, with all that it leads to."""
        if call.path == "move" and call.literal(2) == "leased":  # nobody waits for that
            return self._known(lua, call) - {"publish"}
        return self._known(lua, call)

    def _known(self, lua: Lua, call: Call) -> set[str]:
        place = lua.name, call.at
        if place not in self._effects:
            self._effects[place] = self._followed(lua, call)
        return self._effects[place]

    def _followed(self, lua: Lua, call: Call, seen: frozenset[str] = frozenset()) -> set[str]:
        found = self.own(lua, call)
        if call.path in seen:
            return found
        for file, function in self.meant(lua, call):
            for inner in calls_in(file, function):
                found |= self._followed(file, inner, seen | {call.path})
        return found

    def said(self, lua: Lua, calls: list[Call], seen: frozenset[str] = frozenset()) -> set[str]:
        """The words that these calls may answer with."""
        words: set[str] = set()
        for call in calls:
            literal = call.literal(0)
            if call.path == "refused":
                words.add("refused")
            elif call.path in ("answer", "whole") and literal:
                words.add(literal)
            elif call.path not in seen and call.path != "answer":
                for file, function in self.meant(lua, call):
                    words |= self.said(file, calls_in(file, function), seen | {call.path})
        return words

    @cached_property
    def units(self) -> list[tuple[Lua, Function | None]]:
        """What runs from top to bottom: each file by itself, and each function."""
        return [(lua, unit) for lua in self.all.values() for unit in (None, *lua.functions)]


def calls_in(lua: Lua, unit: Function | None) -> list[Call]:
    """The calls that stand directly in a function, or in the file outside of all functions."""
    return lua.by_owner.get(unit, [])


def until(lua: Lua, place: int) -> int:
    """Up to where a step can go on after this place: a block that returns leads nowhere else."""
    for block in lua.around(place):
        if block.opens == "function" or lua.statements(block, "return"):
            return block.end
    return len(lua.tokens)


def after(lua: Lua, calls: list[Call], one: Call) -> Iterator[Call]:
    end = until(lua, one.at)
    return (call for call in calls if one.at < call.at < end)


# ---- the rules --------------------------------------------------------------------------------------------------


def guards_have_names(files: Files) -> Iterator[str]:
    """Each `if` and `elseif` stands under its `-- guard: NAME`, alone on its line, and each such line over one."""
    seen: dict[str, str] = {}
    for name, lua in files.all.items():
        branches = [lua.tokens[place].line for place in lua.branches]
        for line in branches:
            if lua.name_above(line, "guard") is None:
                yield f"{name}:{line}: an if without its guard's name"
            if branches.count(line) > 1:
                yield f"{name}:{line}: two branches share one guard's name"
        for line in range(1, len(lua.lines) + 2):
            guard = lua.name_above(line, "guard")
            if guard is None:
                continue
            if line not in branches:
                yield f"{name}:{line - 1}: guard '{guard}' stands over nothing"
            if guard in seen:
                yield f"{name}:{line - 1}: guard '{guard}' stands in {seen[guard]} too"
            seen[guard] = name


def refusals_are_guarded(files: Files) -> Iterator[str]:
    """Who refuses does so in a guard's branch; or at the very end, past all guards of its function."""
    for name, lua in files.all.items():
        for call in lua.calls:
            refuses = call.path == "refused" or (call.path == "answer" and call.literal(0) == "stale")
            blocks = lua.around(call.at, "if", "function")
            if not refuses or (blocks and blocks[0].opens == "if"):
                continue
            inside = blocks[0] if blocks else Block("", -1, len(lua.tokens))
            later = [token for token in lua.tokens[call.at : inside.end] if token.text in ("return", "local", "if")]
            guarded = any(inside.start < place < call.at for place in lua.branches)
            if later or not guarded:
                yield f"{name}:{call.line}: refuses without a guard"
        for at, token in enumerate(lua.tokens[:-1]):
            handed_on = re.fullmatch(r"stop|refusal|refused_\w+", lua.tokens[at + 1].text)
            if token.text == "return" and handed_on and not lua.around(at, "if"):
                yield f"{name}:{token.line}: hands a refusal on without a guard"


def steps_say_what_they_may_do(files: Files) -> Iterator[str]:
    """`no-writes` for just those that write nothing; `allow-oom` for all but those that add work."""
    for name, lua in files.steps.items():
        writes = any("write" in files.effects(lua, call) for call in calls_in(lua, None))
        wanted = "#!lua flags=allow-oom" if writes else "#!lua flags=no-writes"
        if name.removesuffix(".lua") in ADDS_WORK:
            wanted = "#!lua"
        if lua.lines[0] != wanted:
            yield f"{name}: begins with '{lua.lines[0]}', and should with '{wanted}'"


def callers_pass_the_gate_first(files: Files) -> Iterator[str]:
    """Before the first read, so that who is stopped learns nothing. What upkeep starts has no caller to stop."""
    for name, lua in files.steps.items():
        step = name.removesuffix(".lua")
        begins = " ".join(token.text for token in lua.tokens[:24])
        if step in UPKEEP:
            if "stopped_at_gate" in lua.text:
                yield f"{name}: upkeep's step asks the gate"
            continue
        through = THROUGH.get(step, "'operating'")
        gate = [call for call in lua.calls if call.path == "stopped_at_gate"]
        stops = begins.partition(")")[2].strip().startswith("if stop then return stop end")
        if not begins.startswith("local stop = stopped_at_gate (") or not stops:
            yield f"{name}: the gate is not its first word"
        elif gate[0].text(0) != through:
            yield f"{name}: passes the gate as ({gate[0].text(0)}), and should as ({through})"


def refusals_come_before_writes(files: Files) -> Iterator[str]:
    """Scripts are not rolled back: once something is written, nothing may refuse, plan or look whether it can."""
    for lua, unit in files.units:
        calls = calls_in(lua, unit)
        for call in calls:
            if "write" not in files.effects(lua, call) or lua.name == "prove.lua":
                continue
            for later in after(lua, calls, call):
                doubts = files.effects(lua, later) & {"refuse", "sound"}
                if doubts:
                    yield f"{lua.name}:{later.line}: {later.path} may still fail, after the write of line {call.line}"


def wakes_come_last(files: Files) -> Iterator[str]:
    """`PUBLISH` is refused to who lacks the channel: only under pcall, and after everything that is written."""
    for lua, unit in files.units:
        calls = calls_in(lua, unit)
        for call in calls:
            if call.path == "redis.call" and call.literal(0) == "PUBLISH":
                yield f"{lua.name}:{call.line}: PUBLISH without pcall"
            if "publish" in files.effects(lua, call) and lua.name != "prove.lua":
                for later in after(lua, calls, call):
                    if "write" in files.effects(lua, later):
                        yield f"{lua.name}:{later.line}: writes after the PUBLISH of line {call.line}"


def keys_are_read_before_they_are_written(files: Files) -> Iterator[str]:
    """By a command of the same type, where a key of another type fails while nothing is written yet."""
    for name, lua in files.steps.items():
        read: set[tuple[str, str]] = set()
        for call in lua.calls:
            command = call.literal(0) or ""
            if call.path == "sound":
                read.add((command or call.text(0), call.text(1)))
            elif call.path == "redis.call" and command in READS - {"GET", "TIME"}:
                read.add((kind_of(command), call.text(1)))
            elif call.path == "redis.call" and command in WRITES:
                if (kind_of(command), call.text(1)) not in read:
                    kind = kind_of(command)
                    yield f"{name}:{call.line}: {command} {call.text(1)}, which was not read before as a {kind}"
            elif call.path == "write_entry" and ("stream", "ledger") not in read:
                yield f"{name}:{call.line}: an entry, and the ledger was not looked at before"
            elif call.path == "sound_places":
                read.add(("places", ""))
            elif call.path in ("enter", "leave") and ("places", "") not in read:
                yield f"{name}:{call.line}: an index, and it was not looked at before"
            elif call.path == "written" and not {"planned", "dropped"} & {
                one.path for one in lua.calls if one.at < call.at
            }:
                yield f"{name}:{call.line}: written without being planned"


def plans_look_at_every_key(files: Files) -> Iterator[str]:
    """`planned` is where a change may fail: it looks at the ledger, the minute's counters, and each index."""
    for lua, unit in files.units:
        if unit and unit.name == "planned":
            looked = {tuple(call.text(place) for place in range(len(call.args))) for call in calls_in(lua, unit)}
            wanted = {("'stream'", "ledger"), ("'hash'", "minute_of(h.place)"), ("plan.left",), ("plan.entered",)}
            for one in sorted(wanted - looked):
                yield f"{lua.name}: planned does not look at {one[-1]}"
        if unit and unit.name == "sound_places" and not any(call.path == "sound" for call in calls_in(lua, unit)):
            yield f"{lua.name}: sound_places does not look"


def numbers_become_text_in_one_way(files: Files) -> Iterator[str]:
    """By `text`: `tostring`, `..` and cjson print 1.7e+15 for what is above 14 digits."""
    for lua in files.all.values():
        numeric = {"NOW"} | _numbers(lua)
        for call in lua.calls:
            owner = lua.owner(call.at)
            if call.path == "tostring" or (call.path == "string.format" and (owner is None or owner.name != "text")):
                yield f"{lua.name}:{call.line}: {call.path} instead of text()"
            if call.path == "cjson.encode" and call.text(0) != "attempts":
                yield f"{lua.name}:{call.line}: cjson is for attempts only, which hold no numbers"
        for at, token in enumerate(lua.tokens):
            if token.kind == "sign" and token.text == "..":
                for operand in (_before(lua, at), _after(lua, at)):
                    if operand in numeric or re.fullmatch(r"\d.*|#.*|tonumber|math\.\w+|redis\.call|select", operand):
                        yield f"{lua.name}:{token.line}: '..' of {operand}, which is a number"


def _numbers(lua: Lua) -> set[str]:
    """Names that are given a number where they are made."""
    found: set[str] = set()
    for at, token in enumerate(lua.tokens[:-3]):
        name, sign = lua.tokens[at + 1], lua.tokens[at + 2]
        if token.text == "local" and name.kind == "name" and sign.text == "=":
            value = [one for one in lua.tokens[at + 3 :] if one.line == name.line]
            first = value[0].text if value else ""
            depth, sums = 0, False
            for one in value:
                if one.kind == "sign":
                    depth += (one.text in ("(", "{", "[")) - (one.text in (")", "}", "]"))
                    sums = sums or (not depth and one.text in ("+", "-", "*", "/", "%", "^"))
            if sums or first in ("tonumber", "math", "#") or (value and value[0].kind == "number"):
                found.add(name.text)
    return found


def _before(lua: Lua, at: int) -> str:
    token = lua.tokens[at - 1]
    if token.text != ")":
        return "#" * (lua.tokens[at - 2].text == "#") + token.text
    call = next((call for call in lua.calls if call.at + 1 == lua._back(at - 1)), None)
    return call.path if call else ")"


def _after(lua: Lua, at: int) -> str:
    first = lua.tokens[at + 1]
    if first.text == "#":
        return "#" + lua.tokens[at + 2].text
    last = at + 1
    while lua.tokens[last + 1].text == "." and last + 2 < len(lua.tokens):
        last += 2
    return lua._path(last) if first.kind == "name" else first.text


def states_are_set_in_one_place(files: Files) -> Iterator[str]:
    """Planned along an arrow, and written with its entry. Nothing else touches the record of a handoff."""
    for lua in files.all.values():
        for at, token in enumerate(lua.tokens[:-1]):
            if token.text != "state" or token.kind != "name" or not _is_assigned(lua, at):
                continue
            owner = lua.owner(at)
            absent = lua.tokens[at + 2].text == "'absent'"
            if not (owner and (owner.name == "planned" or (owner.name == "load" and absent))):
                yield f"{lua.name}:{token.line}: sets a state"
        for call in lua.calls:
            command, key, owner = call.literal(0) or "", call.text(1), lua.owner(call.at)
            if call.path not in ("redis.call", "redis.pcall") or command not in WRITES | WRITES_TO_ANY_TYPE:
                continue
            if not re.search(r"handoff|\bh\.key$|record_of|'h:'", key):
                continue
            where = owner.name if owner and lua.name.startswith("_") else lua.name
            if (where, command) not in {("written", "HSET"), ("enter", "HSET"), ("erase.lua", "DEL")}:
                yield f"{lua.name}:{call.line}: {command} of a handoff's record, past `move`"
    for lua, unit in files.units:
        if unit and unit.name == "planned":
            inside = range(unit.body.start, unit.body.end)
            asks = [at for at in inside if lua.tokens[at].text == "TRANSITIONS" and lua.around(at, "if")]
            sets = [at for at in inside if lua.tokens[at].text == "state" and _is_assigned(lua, at)]
            if not asks or not sets or asks[0] > sets[0]:
                yield f"{lua.name}: planned sets a state before it asks the table of arrows"


def _is_assigned(lua: Lua, at: int) -> bool:
    """Whether the name is a target of `=`: alone, as one of several, or as a field of a table."""
    while lua.tokens[at + 1].text in (",", "."):
        at += 2
        if lua.tokens[at].kind != "name":
            return False
    return lua.tokens[at + 1].text == "="


def commands_in(files: Files) -> set[str]:
    """Every command of the server that any step uses."""
    used: set[str] = set()
    for lua in files.all.values():
        for call in lua.calls:
            if call.path in ("redis.call", "redis.pcall") and call.literal(0):
                used.add(str(call.literal(0)))
    table = re.search(r"^local READ = \{(.*)\}$", files.all["_prelude.lua"].text, re.MULTILINE)
    assert table
    return used | set(re.findall(r"'(\w+)'", table[1]))


def commands_are_proved(files: Files) -> Iterator[str]:
    """A right that is missing shows at start, and not in the middle of a step."""
    lua = files.all["prove.lua"]
    strings = {lua.tokens[at + 1].text[1:-1] for at, token in enumerate(lua.tokens[:-1]) if token.text == "{"}
    proved = strings | {call.literal(0) for call in lua.calls if call.path == "redis.call"}
    proved.add("TIME")  # `clock`, at the head of each step, `prove` among them
    for command in sorted(commands_in(files) - proved):
        yield f"prove.lua: does not try {command}"


def answers_are_announced(files: Files) -> Iterator[str]:
    """`gives:` names each word that a step may answer with, and none that it never says."""
    for name, lua in files.steps.items():
        said, announced = files.said(lua, lua.calls), files.header(lua).words
        for word in sorted(said - announced):
            yield f"{name}: answers '{word}', which it does not announce"
        for word in sorted(announced - said):
            yield f"{name}: announces '{word}', which it never says"


def names_of_the_header_are_used(files: Files) -> Iterator[str]:
    """A name that nothing uses says something untrue; those of a group come with the group."""
    in_pages = {token.text for lua in files.pages.values() for token in lua.tokens}
    for name, lua in files.steps.items():
        header = files.header(lua)
        used = {token.text for token in lua.tokens} | in_pages
        for word in (header.keys + " " + header.args).split():
            if word not in used and word not in KEY_GROUPS | ARG_GROUPS:
                yield f"{name}: does not use '{word}'"


def steps_fit_one_screen(files: Files) -> Iterator[str]:
    """Header included. Names of guards and empty lines are not counted: they are there to be skipped by the eye."""
    for name, lua in files.steps.items():
        lines = [line for line in lua.lines if line.strip() and not line.strip().startswith("-- guard: ")]
        if len(lines) > LINES_MAX:
            yield f"{name}: {len(lines)} lines"


def headers_have_their_form(files: Files) -> Iterator[str]:
    """The shebang, then the step's own name and one sentence, then the three lines that are obeyed."""
    for name, lua in files.steps.items():
        if not re.fullmatch(rf"-- {name.removesuffix('.lua')}: .+[.]", lua.lines[1]):
            yield f"{name}: does not say what it is in one sentence"
        for line, value in vars(files.header(lua)).items():
            if not value:
                yield f"{name}: has no line '{line}:'"


Rule = Callable[[Files], Iterator[str]]

RULES: Final[tuple[Rule, ...]] = (
    guards_have_names,
    refusals_are_guarded,
    steps_say_what_they_may_do,
    callers_pass_the_gate_first,
    refusals_come_before_writes,
    wakes_come_last,
    keys_are_read_before_they_are_written,
    plans_look_at_every_key,
    numbers_become_text_in_one_way,
    states_are_set_in_one_place,
    commands_are_proved,
    answers_are_announced,
    names_of_the_header_are_used,
    steps_fit_one_screen,
    headers_have_their_form,
)


def read_files() -> dict[str, str]:
    folder = resources.files("dropoff.storage").joinpath("lua")
    return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(".lua")}
