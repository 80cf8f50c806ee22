"""Headers are obeyed: names are bound from them, and what runs is what is addressed. Their form is in test_rules.py."""

import dataclasses

import pytest

from dropoff.core import lifecycle
from dropoff.storage import scripts
from dropoff.storage.keys import KINDS
from dropoff.storage.scripts import every_script, script
from dropoff.storage.store import RedisStore
from tests.look import Look
from tests.servers import Server
from tests.world import QUEUE, UPKEEP, furnish, work


@pytest.mark.parametrize("name", [one.name for one in every_script()])
def test_every_step_loads_on_both_servers_under_the_hash_that_it_is_called_by(server: Server, name: str):
    """What is sent is what is addressed."""
    with server.client as client:
        assert client.script_load(script(name).text.decode()) == script(name).sha.decode()


async def test_a_word_that_is_not_announced_is_a_fault(store: RedisStore, monkeypatch: pytest.MonkeyPatch):
    """A reply that nobody expects is not passed on as if it were one."""
    silent = dataclasses.replace(script("overdue"), gives=frozenset({"something_else"}))
    monkeypatch.setattr("dropoff.storage.steps.script", lambda name: silent)

    with pytest.raises(AssertionError, match="overdue answered overdue, which its header does not announce"):
        await store.overdue(QUEUE.name, 1)


def test_a_call_without_an_argument_of_the_header_is_a_fault():
    step = script("gate")
    keys = dict.fromkeys(step.keys, "k")

    with pytest.raises(AssertionError, match="gate lacks"):
        step.command(keys, {})


def test_keys_and_arguments_are_sent_in_the_order_of_the_header():
    step = script("changed")
    args: dict[str, str | bytes] = {name: f"of {name}" for name in reversed(step.args)}

    command = step.command({"ledger": "L", "changing": "C"}, args | {"more": "than is asked for"})

    assert command == ("EVALSHA", step.sha, "1", "C", *(f"of {name}" for name in step.args))


def test_a_file_without_a_header_is_a_fault(monkeypatch: pytest.MonkeyPatch):
    for source in ("-- no shebang\n-- keys: a\n-- args: b\n-- gives: c", "#!lua\n-- keys: a\n-- args: b"):
        script.cache_clear()
        monkeypatch.setattr(scripts, "_read", lambda name, source=source: source)
        with pytest.raises(AssertionError):
            script("made-up")
    script.cache_clear()


def test_every_name_of_a_key_in_a_header_is_one_that_the_table_knows():
    """`next_` is the same kind of key, of the queue that a handoff goes on to."""
    named = {key.removeprefix("next_") for one in every_script() for key in one.keys}
    throw_away = {f"a_{kind}" for kind in ("hash", "stream", "zset", "set", "string")}

    assert named - throw_away <= set(KINDS) | {"record"}


def test_the_lifecycle_is_printed_at_the_head_of_each_step():
    for one in every_script():
        assert lifecycle.as_lua().encode() in one.text


async def test_an_arrow_that_is_not_in_the_table_is_not_taken(
    empty_store: RedisStore, look: Look, monkeypatch: pytest.MonkeyPatch
):
    """Whatever a step asks for: it obeys the table, and writes nothing."""
    await furnish(empty_store)
    fewer = {**lifecycle.TRANSITIONS, "absent": {"drop_off": frozenset({"held"})}}
    script.cache_clear()
    monkeypatch.setattr(lifecycle, "TRANSITIONS", fewer)
    try:
        async with look.nothing_changes():
            with pytest.raises(Exception, match="no arrow: absent drop_off waiting"):
                await empty_store.drop_off(UPKEEP, QUEUE, work())
    finally:
        script.cache_clear()
