"""The reader of Lua that the rules stand on: not fooled by strings and comments, and no guesser."""

import pytest

from tests.scripts.lua import Call, Lua

SHOWN = """#!lua
-- if this were code
local text = 'if not -- a comment' .. "then" .. [[
  if end ]]
--[[ if a then
end ]]
local function outer(a)
  for i = 1, 2 do while a do INDEX[names[i]].enter(a, { 'x', f(1, 2) }) end end
  repeat if a.then_ then return end until a
  return { inner = function(h) return redis.call('GET', h.key) end }
end
if (function() return a end)() then outer('one') elseif a == 1 then do outer() end end
"""


@pytest.fixture(scope="module")
def shown() -> Lua:
    return Lua("shown", SHOWN)


def calls_of(lua: Lua, name: str) -> list[Call]:
    return [call for call in lua.calls if call.name == name]


def test_words_in_strings_and_comments_are_no_code(shown: Lua):
    assert [shown.tokens[place].line for place in shown.branches] == [9, 12, 12]


def test_blocks_end_where_they_end(shown: Lua):
    """A loop's own `do` opens nothing, and `until` closes a `repeat`."""
    opened = [(block.opens, shown.tokens[block.start].line, shown.tokens[block.end].line) for block in shown.blocks]

    assert opened == [
        *(("function", 7, 11), ("for", 8, 8), ("while", 8, 8), ("repeat", 9, 9), ("if", 9, 9), ("function", 10, 10)),
        *(("if", 12, 12), ("function", 12, 12), ("do", 12, 12)),
    ]


def test_a_condition_goes_up_to_its_own_then(shown: Lua):
    start, end = shown.condition(shown.branches[1])

    assert " ".join(token.text for token in shown.tokens[start:end]) == "( function ( ) return a end ) ( )"


def test_functions_have_their_names(shown: Lua):
    assert [function.name for function in shown.functions] == ["outer", "inner", ""]


def test_calls_have_their_path_their_arguments_and_their_owner(shown: Lua):
    [enter] = calls_of(shown, "enter")
    [get] = calls_of(shown, "call")

    assert (enter.path, len(enter.args), enter.text(1)) == ("INDEX.enter", 2, "{'x',f(1,2)}")
    assert (get.path, get.literal(0), get.literal(1), get.text(1)) == ("redis.call", "GET", None, "h.key")
    assert [function.name for call in (enter, get) if (function := shown.owner(call.at))] == ["outer", "inner"]
    assert [call.literal(0) for call in calls_of(shown, "outer")] == ["one", None]


@pytest.mark.parametrize("broken", ["local a = 'no end", "if a then", "end", "local a = @", "if a"])
def test_what_is_no_lua_is_refused(broken: str):
    def read() -> None:
        lua = Lua("broken", broken)
        assert lua.blocks

    with pytest.raises(AssertionError, match="broken"):
        read()
