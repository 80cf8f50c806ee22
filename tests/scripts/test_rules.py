"""The Lua files obey the rules that a reader relies on; and each rule is shown what it must complain about."""

import pytest

from tests.scripts import rules
from tests.scripts.rules import RULES, Files, Rule, read_files

# A step as it should be, to be broken in one place after the other.
SOUND = """\
#!lua flags=allow-oom
-- made_up: a step as it should be.
--
-- keys: @queue handoff gate queues
-- args: @call @queue reason
-- gives: made | stale | refused
local stop = stopped_at_gate('operating')
-- guard: made_up at the gate
if stop then return stop end
local h = load(handoff)
local rev = redis.call('HGET', config, 'rev')
-- guard: made_up is not there
if h.state == 'absent' then return refused('handoff_unknown') end
sound('stream', ledger)
sound('hash', queues)
local entry = write_entry('made_up', { 'rev', rev, 'reason', reason })
redis.call('HSET', queues, 'n', text(NOW))
redis.pcall('PUBLISH', wake, h.id)
return answer('made', {}, entry)
"""
READS_ONLY = """\
#!lua flags=no-writes
-- made_up: a step that writes nothing.
--
-- keys: @queue handoff
-- args: @call @queue
-- gives: made | stale | refused
local stop = stopped_at_gate('operating')
-- guard: made_up at the gate
if stop then return stop end
return answer('made', {}, redis.call('HGETALL', handoff))
"""
GATE = "local stop = stopped_at_gate('operating')\n-- guard: made_up at the gate\nif stop then return stop end\n"


def complaints(texts: dict[str, str], *only: Rule) -> list[str]:
    files = Files(texts)
    return [said for rule in only or RULES for said in rule(files)]


def broken(old: str, new: str, step: str = SOUND) -> dict[str, str]:
    assert step.count(old) == 1, f"'{old}' is not just once in the step that is broken here"
    return read_files() | {"made_up.lua": step.replace(old, new)}


def broken_file(name: str, old: str, new: str) -> dict[str, str]:
    texts = read_files()
    assert old in texts[name], f"{name} has no '{old}' to break"
    return texts | {name: texts[name].replace(old, new)}


# What is broken, and what is said about it.
BROKEN = [
    # guards
    (broken("-- guard: made_up is not there\n", ""), "made_up.lua:12: an if without its guard's name"),
    (
        broken("-- guard: made_up is not there\n", "-- guard: made_up at the gate\n"),
        "guard 'made_up at the gate' stands in made_up.lua too",
    ),
    (broken("-- guard: made_up is not there\n", "-- guard: only what is due\n"), "'only what is due' stands in"),
    (
        broken("sound('stream', ledger)", "-- guard: of nothing\nsound('stream', ledger)"),
        "guard 'of nothing' stands over nothing",
    ),
    (broken("return answer('made', {}, entry)", "-- guard: at the end"), "guard 'at the end' stands over nothing"),
    (
        broken("refused('handoff_unknown') end", "refused('x') elseif h.n == '' then return answer('made') end"),
        "two branches share one guard's name",
    ),
    (
        broken("refused('handoff_unknown') end", "refused('x')\nelseif h.n == '' then return answer('made') end"),
        "made_up.lua:14: an if without its guard's name",
    ),
    (
        broken("if h.state == 'absent' then return", "do return"),
        "guard 'made_up is not there' stands over nothing",
    ),
    (broken("if h.state == 'absent' then return", "do return"), "made_up.lua:13: refuses without a guard"),
    (broken("return answer('made', {}, entry)", "return refusal or answer('made')"), "hands a refusal on without"),
    # shebangs
    (broken("#!lua flags=allow-oom", "#!lua"), "begins with '#!lua', and should with '#!lua flags=allow-oom'"),
    (broken("flags=allow-oom", "flags=no-writes"), "should with '#!lua flags=allow-oom'"),
    (broken("flags=no-writes", "flags=allow-oom", READS_ONLY), "should with '#!lua flags=no-writes'"),
    (broken_file("drop_off.lua", "#!lua\n", "#!lua flags=allow-oom\n"), "drop_off.lua: begins with"),
    # the gate
    (broken(GATE, ""), "the gate is not its first word"),
    (broken(GATE, "local h = load(handoff)\n" + GATE), "the gate is not its first word"),
    (broken("if stop then return stop end", "if stop then return nil end"), "the gate is not its first word"),
    (broken("gate('operating')", "gate()"), "passes the gate as (), and should as ('operating')"),
    (broken_file("complete.lua", "gate()", "gate('reading')"), "complete.lua: passes the gate as ('reading')"),
    (broken_file("due.lua", "local h", "local stop = stopped_at_gate()\nlocal h"), "upkeep's step asks the gate"),
    # order
    (
        broken(
            "redis.pcall('PUBLISH'", "-- guard: late\nif h.n == '' then return refused('no') end\nredis.pcall('PUBLISH'"
        ),
        "made_up.lua:19: refused may still fail, after the write of line 16",
    ),
    (
        broken("return answer('made', {}, entry)", "return answer('made', {}, move(h, 'due', 'waiting', {}))"),
        "move may still fail, after the write of line 16",
    ),
    (broken("redis.pcall('PUBLISH'", "redis.call('PUBLISH'"), "made_up.lua:18: PUBLISH without pcall"),
    (
        broken("return answer('made', {}, entry)", "redis.call('HDEL', queues, 'm')\nreturn answer('made', {}, entry)"),
        "made_up.lua:19: writes after the PUBLISH of line 18",
    ),
    # keys
    (broken("sound('hash', queues)\n", ""), "HSET queues, which was not read before as a hash"),
    (broken("sound('hash', queues)", "sound('zset', queues)"), "HSET queues, which was not read before as a hash"),
    (broken("sound('stream', ledger)\n", ""), "an entry, and the ledger was not looked at before"),
    (
        broken("redis.call('HSET', queues, 'n', text(NOW))", "enter(h, here)"),
        "made_up.lua:17: an index, and it was not looked at before",
    ),
    (broken("local entry = write_entry(", "local entry = written("), "made_up.lua:16: written without being planned"),
    (
        broken_file("_handoff.lua", "  sound('hash', minute_of(h.place))\n", ""),
        "planned does not look at minute_of(h.place)",
    ),
    # numbers
    (broken("text(NOW)", "tostring(NOW)"), "tostring instead of text()"),
    (broken("text(NOW)", "string.format('%d', NOW)"), "string.format instead of text()"),
    (broken("text(NOW)", "'at ' .. NOW"), "'..' of NOW, which is a number"),
    (broken("text(NOW)", "tonumber(h.n) .. ''"), "'..' of tonumber, which is a number"),
    (broken("text(NOW)", "#rev .. ''"), "'..' of #rev, which is a number"),
    (broken("local rev = redis", "local n = NOW + 1\nlocal m = 'm' .. n\nlocal rev = redis"), "'..' of n, which is"),
    (broken("text(NOW)", "cjson.encode({ NOW })"), "cjson is for attempts only"),
    # states and records
    (broken("sound('hash', queues)", "h.state = 'waiting'\nsound('hash', queues)"), "made_up.lua:15: sets a state"),
    (broken("sound('hash', queues)", "h.n, h.state = '1', 'dead'\nsound('hash', queues)"), ":15: sets a state"),
    (broken("{ 'rev', rev, 'reason', reason }", "{ state = reason }"), "made_up.lua:16: sets a state"),
    (
        broken("'HSET', queues, 'n', text(NOW)", "'HSET', h.key, 'state', 'dead'"),
        "made_up.lua:17: HSET of a handoff's record, past `move`",
    ),
    (broken("'HSET', queues, 'n', text(NOW)", "'DEL', handoff"), "DEL of a handoff's record, past `move`"),
    (broken_file("_handoff.lua", "TRANSITIONS[h.state][verb]", "ALL"), "before it asks the table of arrows"),
    # what stands elsewhere
    (broken_file("prove.lua", "{ 'ZREM', a_zset, 'none' }, ", ""), "prove.lua: does not try ZREM"),
    (broken_file("prove.lua", "{ 'SCARD', a_set }, ", ""), "prove.lua: does not try SCARD"),
    (broken("gives: made |", "gives: made | other |"), "announces 'other', which it never says"),
    (broken("gives: made |", "gives:"), "answers 'made', which it does not announce"),
    (broken("gives: made | stale |", "gives: made |"), "answers 'stale', which it does not announce"),
    (broken("@call @queue reason", "@call @queue reason unused"), "does not use 'unused'"),
    (broken("sound('hash', queues)", "sound('hash', queues)\n" + "local a\n" * 60), "made_up.lua: 77 lines"),
    (broken("-- made_up: a", "-- made up: a"), "does not say what it is in one sentence"),
    (broken("-- gives: made | stale | refused\n", ""), "has no line 'gives:'"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_steps_obey(rule: Rule):
    assert complaints(read_files(), rule) == []


@pytest.mark.parametrize("step", [SOUND, READS_ONLY], ids=["writes", "reads"])
def test_nobody_complains_about_a_step_as_it_should_be(step: str):
    """So that each complaint below is about what is broken there."""
    assert complaints(read_files() | {"made_up.lua": step}) == []


@pytest.mark.parametrize(("texts", "said"), BROKEN)
def test_what_breaks_a_rule_is_complained_about(texts: dict[str, str], said: str):
    found = complaints(texts)

    assert any(said in one for one in found), f"nobody says '{said}', but: {found}"


def test_each_rule_has_something_to_complain_about_above():
    """A rule that no broken step offends may be one that cannot be offended."""
    silent = [rule.__name__ for rule in RULES if not any(complaints(texts, rule) for texts, _ in BROKEN)]

    assert silent == []


def test_a_command_that_nobody_has_judged_is_a_fault():
    """Whether it writes decides about shebangs and order: it must be said in rules.py."""
    with pytest.raises(AssertionError, match="is LPUSH a write"):
        complaints(broken("'HSET', queues, 'n'", "'LPUSH', queues, 'n'"), rules.refusals_come_before_writes)
