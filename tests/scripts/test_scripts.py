"""The Lua files, read as text and loaded: headers are obeyed, and the rules that a reader relies on hold."""

import re
from importlib import resources

import pytest

from dropoff.core import lifecycle
from dropoff.storage import scripts
from dropoff.storage.keys import KINDS, Keys
from dropoff.storage.scripts import Script, every_script, script
from dropoff.storage.store import RedisStore
from tests.servers import Server
from tests.world import QUEUE, UPKEEP, furnish, work

LUA = resources.files("dropoff.storage").joinpath("lua")
SOURCES = {file.name: file.read_text(encoding="utf-8") for file in LUA.iterdir() if file.name.endswith(".lua")}
PAGES = {name for name in SOURCES if name.startswith("_")}
STEPS = sorted(set(SOURCES) - PAGES)

each_step = pytest.mark.parametrize("name", [name.removesuffix(".lua") for name in STEPS])
each_file = pytest.mark.parametrize("name", sorted(SOURCES))


def code(name: str) -> str:
    """The file without its comments."""
    return re.sub(r"--.*$", "", SOURCES[name], flags=re.MULTILINE)


def calls(text: str, command: str) -> list[str]:
    return re.findall(rf"redis\.(p?call)\('{command}'", text)


# ---- headers ----------------------------------------------------------------------------------------------------


@each_step
def test_every_step_loads_on_both_servers_under_the_hash_that_it_is_called_by(server: Server, name: str):
    """What is sent is what is addressed."""
    with server.client as client:
        assert client.script_load(script(name).text.decode()) == script(name).sha.decode()


@each_step
def test_a_step_says_what_it_is_and_what_it_may_do(name: str):
    """Its shebang, then its own name and one sentence, then the three lines that are obeyed."""
    shebang, sentence, *rest = SOURCES[f"{name}.lua"].splitlines()

    assert re.fullmatch(r"#!lua( flags=(no-writes|allow-oom))?", shebang)
    assert re.fullmatch(rf"-- {name}: .+[.]", sentence)
    for line in ("keys", "args", "gives"):
        assert [text for text in rest if text.startswith(f"-- {line}: ")]


@each_step
def test_a_step_uses_each_name_of_its_header(name: str):
    """A name that nothing uses says something untrue; those of groups come with the group."""
    source = SOURCES[f"{name}.lua"]
    body = source.partition("gives:")[2] + "".join(SOURCES[page] for page in PAGES)
    own = [word for line in ("keys", "args") for word in header(source, line) if not word.startswith("@")]

    assert [word for word in own if not re.search(rf"\b{word}\b", body)] == []


def header(source: str, line: str) -> list[str]:
    found = re.search(rf"^-- {line}: (.*)$", source, re.MULTILINE)
    assert found
    return found[1].split()


@each_step
def test_a_step_answers_only_with_words_that_its_header_announces(name: str):
    """And announces none that it never says. `refused` and `stale` come from the pages too."""
    body = code(f"{name}.lua")
    said = set(re.findall(r"answer\('(\w+)'", body)) | set(re.findall(r"whole\('(\w+)'", body))
    if "stopped_at_gate()" in body:
        said |= {"stale", "refused"}
    if "heard_before" in body:
        said.add("repeated")
    if "refused(" in body:
        said.add("refused")

    assert said == script(name).gives


async def test_a_word_that_is_not_announced_is_a_fault(store: RedisStore, monkeypatch: pytest.MonkeyPatch):
    """A reply that nobody expects is not passed on as if it were one."""
    real = script("overdue")
    silent = Script(real.name, real.keys, real.args, frozenset({"something_else"}), real.text, real.sha)
    monkeypatch.setattr("dropoff.storage.steps.script", lambda name: silent)

    with pytest.raises(AssertionError, match="overdue answered overdue, which its header does not announce"):
        await store.overdue(QUEUE.name, 1)


def test_a_call_without_an_argument_of_the_header_is_a_fault():
    step = script("gate")
    keys = dict.fromkeys(step.keys, "k")

    with pytest.raises(AssertionError, match="gate lacks"):
        step.command(keys, {})


def test_keys_and_arguments_are_sent_in_the_order_of_the_header():
    step = script("gate")
    args: dict[str, str | bytes] = {name: f"of {name}" for name in step.args}

    command = step.command({"ledger": "L", "gate": "G"}, args | {"more": "than is asked for"})

    assert command == ("EVALSHA", step.sha, "2", "G", "L", *(f"of {name}" for name in step.args))


def test_a_file_without_a_header_is_a_fault(monkeypatch: pytest.MonkeyPatch):
    for source in ("-- no shebang\n-- keys: a\n-- args: b\n-- gives: c", "#!lua\n-- keys: a\n-- args: b"):
        script.cache_clear()
        monkeypatch.setattr(scripts, "_read", lambda name, source=source: source)
        with pytest.raises(AssertionError):
            script("made-up")
    script.cache_clear()


# ---- rules that can be read -------------------------------------------------------------------------------------


def test_move_is_the_only_place_that_sets_a_state():
    """The one that also writes the entry, and asks the table first."""
    places = [name for name in SOURCES if re.search(r"'state',\s*to\b|state\s*=\s*'|h\.state\s*=[^=]", code(name))]

    assert places == ["_handoff.lua"]
    [body] = re.findall(r"local function move\(.*?\nend\n", SOURCES["_handoff.lua"], re.DOTALL)
    assert body.index("TRANSITIONS[") < body.index("write_entry(") < body.index("'HSET', h.key")


@each_file
def test_a_record_of_a_handoff_is_written_by_move_alone(name: str):
    """No step reaches past it."""
    text = code(name)
    if name == "_handoff.lua":
        return
    assert not re.search(r"'(HSET|HDEL|HINCRBY|DEL)', (handoff|h\.key|record_of)", text)


@each_file
def test_publish_comes_last_and_cannot_fail_a_step(name: str):
    """Only in `move`, only under pcall, after every write: a step that fails there would be half done."""
    found = calls(code(name), "PUBLISH")
    if name != "_handoff.lua":
        assert found == []
        return
    assert set(found) == {"pcall"}
    [body] = re.findall(r"local function move\(.*?\nend\n", code(name), re.DOTALL)
    assert len(calls(body, "PUBLISH")) == len(found)
    after = body[body.index("'PUBLISH'") :]
    assert re.findall(r"redis\.call|ENTER|LEAVE|count\(", after) == []


@each_file
def test_numbers_become_text_in_one_way_only(name: str):
    """`tostring`, `..` and cjson print 1.7e+15 for what is above 14 digits."""
    text = code(name)

    assert "tostring(" not in text
    assert not re.search(r"cjson\.encode\((?!attempts\))", text)
    assert not re.search(r"\.\.\s*(NOW|now|fence_now|tonumber)|(NOW|\))\s*\.\.\s*['\"]ms", text)


@each_step
def test_a_step_in_a_caller_s_name_asks_the_gate_before_anything_else(name: str):
    """Before the first read, so that who is stopped learns nothing from what it would have been answered."""
    text = code(f"{name}.lua")
    if name in {"lapse", "due", "overdue", "prove"}:  # what the clock or the broker itself starts
        assert "stopped_at_gate" not in text
        return
    gate = text.index("local stop = stopped_at_gate()\nif stop then return stop end\n")
    first = re.search(r"redis\.call|load\(|lease\(\)", text)
    assert first is None or gate < first.start()


@each_step
def test_every_refusal_comes_before_the_first_write(name: str):
    """Scripts are not rolled back."""
    text = code(f"{name}.lua")
    write = re.search(r"\bmove\(|write_entry\(|'(HSET|HDEL|SET|SADD|XADD)'", text)
    if write is None:
        return
    assert re.findall(r"refused\(|answer\('(?:stale|empty|nothing|exists|known)'", text[write.start() :]) == []


def test_a_full_store_can_be_drained():
    """Steps that add work are checked against the memory limit; all others run on."""
    checked = {one.name for one in every_script() if b"flags=" not in one.text.splitlines()[0]}

    assert checked == {"drop_off", "put_queue", "put_schema"}


@each_step
def test_a_step_that_writes_nothing_says_so(name: str):
    """Then it may run on a replica, and on a full disk."""
    only_reads = script(name).text.startswith(b"#!lua flags=no-writes")

    assert only_reads == (name in {"check", "lease", "overdue"})


def test_the_pages_and_the_steps_fit_one_screen():
    long = {name: len(text.splitlines()) for name, text in SOURCES.items() if name not in PAGES}

    assert {name: lines for name, lines in long.items() if lines > 70} == {}


# ---- keys -------------------------------------------------------------------------------------------------------


def test_every_name_of_a_key_in_a_header_is_one_that_the_table_knows():
    named = {key for one in every_script() for key in one.keys}
    throw_away = {f"a_{kind}" for kind in ("hash", "stream", "zset", "set", "string")}

    assert named - throw_away <= set(KINDS) | {"record"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_explained_as_what_it_was_made_as(kind: str):
    """Also with the queerest names that are allowed."""
    parts = dict.fromkeys(("queue", "version", "id", "minute", "agent", "request", "hash", "type"), "a.b-c_d")
    keys = Keys(prefix="t")

    assert keys.explain(keys.of(kind, **parts)) == KINDS[kind]


@pytest.mark.parametrize("key", ["t:{p0}:", "t:{p0}:other", "t:{p1}:gate", "s:{p0}:gate", "t:{p0}:q:a:other", "gate"])
def test_a_key_of_nobody_is_not_explained(key: str):
    assert Keys(prefix="t").explain(key) is None


def test_all_keys_of_a_partition_share_its_tag():
    """So they lie on one node of a cluster, and a step is atomic there."""
    keys = Keys()
    parts = dict.fromkeys(("queue", "version", "id", "minute", "agent", "request", "hash", "type"), "x")

    assert {keys.of(kind, **parts).partition("}")[0] for kind in KINDS} == {"dropoff:{p0"}


def test_the_lifecycle_is_printed_at_the_head_of_each_step():
    for one in every_script():
        assert lifecycle.as_lua().encode() in one.text


async def test_an_arrow_that_is_not_in_the_table_is_not_taken(empty_store: RedisStore, monkeypatch: pytest.MonkeyPatch):
    """Whatever a step asks for: `move` obeys the table, and writes nothing."""
    await furnish(empty_store)
    fewer = {**lifecycle.TRANSITIONS, "absent": {"drop_off": frozenset({"held"})}}
    script.cache_clear()
    monkeypatch.setattr(lifecycle, "TRANSITIONS", fewer)
    try:
        before = await empty_store.entries(at_most=1_000)
        with pytest.raises(Exception, match="no arrow: absent drop_off waiting"):
            await empty_store.drop_off(UPKEEP, QUEUE, work())
        assert await empty_store.entries(at_most=1_000) == before
    finally:
        script.cache_clear()
