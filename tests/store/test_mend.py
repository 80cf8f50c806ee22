"""mend: what a lost key took is put back; what cannot be put back hangs nobody up, and lets nobody in.

Here are the corners that need a hand; that any one lost key is mended under load is in `tests/crash/test_mend.py`.
"""

from typing import Any

import msgspec
import pytest

from dropoff.core.caller import EVERYONE, Principal
from dropoff.core.deciding import everyone
from dropoff.core.grant import Grant
from dropoff.core.handoff import AgentName
from dropoff.core.queue import Queue
from dropoff.core.store import Stale
from dropoff.errors import NotAllowed, Unauthenticated
from dropoff.storage import mending, tally
from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from tests.look import Look, check_authority, check_indexes
from tests.world import (
    ANN,
    BOB,
    CAROL,
    OPS,
    QUEUE,
    SCHEMA_HASH,
    UPKEEP,
    Clock,
    a_queue,
    an_admin,
    change,
    drop_off,
    extend,
    hand_back,
    pick_up,
    unknown_id,
    withdraw,
    within,
)


async def test_mending_ends_although_others_drop_off_all_the_time(
    store: RedisStore, look: Look, monkeypatch: pytest.MonkeyPatch
):
    """It looks at what was there when it came: whoever reads a stream until nothing comes never ends under load."""
    monkeypatch.setattr(mending, "AT_ONCE", 2)
    monkeypatch.setattr(mending, "PAGE", 2)
    monkeypatch.setattr(RedisStore, "schemas", _none)  # so that the ledger is read, too
    for _ in range(3):
        await drop_off(store)
    ask = store._commit.ask

    async def busy(*command: str | bytes) -> object:
        answer = await ask(*command)
        if command[0] == "XRANGE":
            fields: dict[Any, Any] = (
                {"step": "complete"} if command[1] == look.keys.of("ledger") else {"id": unknown_id()}
            )
            await look.client.xadd(str(command[1]), fields)
        return answer

    monkeypatch.setattr(store._commit, "ask", busy)
    await within("mending to end", store.mend())


async def _none(_: RedisStore) -> dict[str, str]:
    return {}


async def test_a_waiting_handoff_whose_entry_id_is_anothers_by_now_stands_in_the_stream_again(
    store: RedisStore, look: Look
):
    """A stream that was lost begins anew, and in the same millisecond it may give an entry id a second time."""
    first = await drop_off(store)
    key = look.keys.of("ready", queue=QUEUE.name, version=QUEUE.version)
    record = look.keys.of("handoff", queue=QUEUE.name, id=first.receipt.handoff_id)
    entry = await look.client.hget(record, "entry")
    assert isinstance(entry, str)
    await look.client.delete(key)
    second = await drop_off(store)
    await look.client.delete(key)
    await look.client.xadd(key, {"id": second.receipt.handoff_id}, id=entry)
    await look.client.hset(look.keys.of("handoff", queue=QUEUE.name, id=second.receipt.handoff_id), "entry", entry)

    await store.mend()

    check_indexes(await look.everything(), QUEUE.name)
    assert {(await pick_up(store)).handoff.id for _ in range(2)} == {
        first.receipt.handoff_id,
        second.receipt.handoff_id,
    }


@pytest.mark.parametrize("its_settings_were_seen", [True, False])
async def test_a_queue_that_is_removed_while_somebody_mends_stays_removed(
    store: RedisStore, look: Look, monkeypatch: pytest.MonkeyPatch, its_settings_were_seen: bool
):
    """Its settings and its place in the index go in one step; a look that began before must not bring it back."""
    pages = store._keys

    async def slow(pattern: str) -> list[str]:
        before = await pages(pattern)
        if pattern.endswith(":config"):
            await store.remove_queue(OPS, QUEUE)
        return before if its_settings_were_seen else await pages(pattern)

    monkeypatch.setattr(store, "_keys", slow)
    await store.mend()

    assert await store.queues(fresh=True) == {}
    assert not await look.client.exists(look.keys.of("config", queue=QUEUE.name))


async def test_who_mends_while_the_same_record_is_changed_goes_on(
    store: RedisStore, look: Look, monkeypatch: pytest.MonkeyPatch
):
    """The other writer puts the record back as well; what comes after it is mended all the same."""
    await look.client.delete(look.keys.of("agents"))
    put = store.put_principal

    async def overtaken(by: object, principal: Principal) -> Principal:
        if principal.agent == ANN.agent:
            raise Stale
        return await put(UPKEEP, principal)

    monkeypatch.setattr(store, "put_principal", overtaken)
    await store.mend()

    assert await look.client.smembers(look.keys.of("agents")) == {EVERYONE, BOB.agent, CAROL.agent, OPS.agent}


async def test_an_agent_whose_record_is_lost_is_nobody_until_an_operator_makes_it_again(
    store: RedisStore, look: Look, clock: Clock
):
    """By the gate's old word it would go on. Mending closes the gate, once, and disturbs nobody else."""
    await drop_off(store)
    await look.client.delete(look.keys.of("agent", agent=BOB.agent))
    clock.advance(1)

    await store.mend()

    assert (await store.standing(BOB.agent)).endswith(" revoked")
    with pytest.raises((Stale, Unauthenticated)):
        await pick_up(store, BOB)
    assert (await pick_up(store, CAROL)).lease.fence
    async with look.nothing_changes():
        assert (await store.mend()).mended == 0

    clock.advance(1)
    made = await store.put_principal(OPS, Principal(agent=AgentName("bob"), grants=(Grant("pick"),)))
    assert await store.standing(BOB.agent) == f"{made.rev} active"


async def test_a_lost_set_of_admins_lets_none_go_until_it_is_mended(store: RedisStore, look: Look):
    """Who else governs is not known then, so nobody may end it."""
    deputy = await an_admin(store, "deputy")
    await look.client.delete(look.keys.of("admins"))
    async with look.nothing_changes():
        with pytest.raises(NotAllowed, match="the last admin"):
            await change(store, OPS, "revoked")

    await store.mend()

    assert await look.client.smembers(look.keys.of("admins")) == {OPS.agent, deputy.agent}
    check_authority(await look.everything())
    await change(store, OPS, "revoked")


async def test_who_stands_among_the_admins_and_governs_nothing_is_taken_out(store: RedisStore, look: Look):
    """And until then it counts as nobody: the records say who governs."""
    await look.client.sadd(look.keys.of("admins"), BOB.agent)
    with pytest.raises(NotAllowed, match="the last admin"):
        await change(store, OPS, "frozen")

    await store.mend()

    check_authority(await look.everything())


async def test_an_agent_that_is_made_while_somebody_mends_is_not_shut_out_for_a_moment(
    store: RedisStore, look: Look, monkeypatch: pytest.MonkeyPatch
):
    """It stands in the index of agents, and was not among the records that were looked at before."""
    pages, made = store._keys, list[Principal]()

    async def slow(pattern: str) -> list[str]:
        before = await pages(pattern)
        if pattern == "agent:*":
            made.append(await store.put_principal(OPS, Principal(agent=AgentName("dora"))))
        return before

    monkeypatch.setattr(store, "_keys", slow)
    assert (await store.mend()).mended == 0

    assert await store.principal(AgentName("dora"), fresh=True) == made[0]


async def test_what_a_revoked_agent_holds_is_taken_back_also_where_the_note_of_it_was_lost(
    store: RedisStore, look: Look
):
    """The note is what upkeep goes by."""
    await drop_off(store)
    held = await pick_up(store, BOB)
    await change(store, BOB, "revoked")
    await look.client.delete(look.keys.of("recalls"))

    await store.mend()

    assert (await pick_up(store, CAROL)).handoff.id == held.handoff.id


async def test_everybody_is_not_shut_out_where_its_lost_record_cannot_be_made_again(store: RedisStore, look: Look):
    """No agent's record is like it: whose is lost is nobody, and nobody would be anybody any more."""
    await look.client.delete(look.keys.of("agent", agent=EVERYONE))
    async with look.of_another_type(look.keys.of("changing")):
        assert (await store.mend()).failed > 0
        assert (await store.standing(EVERYONE)).endswith(" active")


@pytest.mark.parametrize("standing", ["active", "frozen"])
async def test_a_lost_record_of_everybody_neither_ends_nor_begins_a_freeze(
    store: RedisStore, look: Look, clock: Clock, standing: str
):
    """It is made again by the word of the gate, which had it from the record."""
    everybody = await store.principal(EVERYONE, fresh=True)
    assert everybody is not None
    if standing == "frozen":
        clock.advance(1)
        await change(store, ANN, "active")  # no matter: the gate of one says nothing of all
        await store.put_principal(UPKEEP, Principal(agent=EVERYONE, rev=everybody.rev, standing="frozen"))
    await look.client.delete(look.keys.of("agent", agent=EVERYONE))
    clock.advance(1)

    await store.mend()
    again = await everyone(store)

    assert again.standing == standing
    assert (await store.standing(EVERYONE)).endswith(f" {standing}")


async def test_who_asks_again_after_the_ledger_was_lost_hears_how_it_stands(store: RedisStore, look: Look):
    """The first answer cannot be told any more; what is told instead is true, and names no leaf."""
    for key in ("extended", "asked", "handed-back"):
        await drop_off(store, key=key)
    extended, asked, handed_back = [await pick_up(store) for _ in range(3)]
    first = await extend(store, extended.lease, key="again")
    await withdraw(store, asked.handoff.id)
    back = await hand_back(store, handed_back.lease, "retry", key="again")
    await look.client.delete(look.keys.of("ledger"))

    repeated = await extend(store, extended.lease, key="again")
    assert (repeated.lease_ends_ms, repeated.receipt.entry) == (first.lease_ends_ms, first.receipt.entry)
    assert repeated.receipt.leaf == ""
    assert (await withdraw(store, asked.handoff.id)).state == "leased", "it is asked for, and not yet withdrawn"
    once_more = await hand_back(store, handed_back.lease, "retry", key="again")
    assert (once_more.state, once_more.attempts_left) == (back.state, back.attempts_left) == ("scheduled", 2)


async def test_a_schema_keeps_its_version_though_the_content_of_an_older_one_is_lost(store: RedisStore, look: Look):
    """What is pinned to `two@2` must not become `two@1`: the ledger tells which is which."""
    for hash, content in (("h1", b'{"title":"first"}'), ("h2", b'{"title":"second"}')):
        await store.put_schema(UPKEEP, "two", hash, content)
    before = await store.schemas()
    await look.client.delete(look.keys.of("schemas"), look.keys.of("schema", hash="h1"))

    await store.mend()

    assert await store.schemas() == before
    again, is_new = await store.put_schema(UPKEEP, "two", "h1", b'{"title":"first"}')
    assert (again.ref, is_new) == ("two@1", False)
    assert await store.schema("h1") == again


async def test_a_version_that_was_given_anew_after_the_loss_is_not_changed(store: RedisStore, look: Look):
    """The older content of that version stays lost; the others come back beside it."""
    for hash in ("h1", "h2"):
        await store.put_schema(UPKEEP, "two", hash, b"{}")
    await look.client.delete(look.keys.of("schemas"))
    await store.put_schema(UPKEEP, "two", "h3", b"{}")

    await store.mend()

    found = {ref: hash for ref, hash in (await store.schemas()).items() if ref.startswith("two@")}
    assert found == {"two@1": "h3", "two@2": "h2"}
    assert (await store.put_schema(UPKEEP, "two", "h4", b"{}"))[0].ref == "two@3"


async def test_a_freeze_outlives_its_record_and_then_the_gate(store: RedisStore, look: Look):
    """Each lost by itself, with a mend in between."""
    frozen = await everyone(store)
    await store.put_principal(UPKEEP, msgspec.structs.replace(frozen, standing="frozen"))
    await look.client.delete(look.keys.of("agent", agent=EVERYONE))
    await store.mend()
    await look.client.delete(look.keys.of("gate"))

    assert (await everyone(store)).standing == "frozen"


async def test_a_version_that_is_there_is_never_put_back_as_another(store: RedisStore, look: Look):
    """The ledger's older word comes too late: somebody has registered anew meanwhile."""
    async with look.nothing_changes():
        assert await store._name_again("research@1", "older") == 0


# ---- what cannot be put right -----------------------------------------------------------------------------------

OF_THE_QUEUE = ("leases", "timers", "held", "expiries", "final", "dead", "pickers", "config")
OF_ALL = ("changing", "recalls", "agents", "admins", "bearers", "queues", "schemas", "gate", "beat")


def damageable(keys: Keys) -> dict[str, str]:
    return {
        **{kind: keys.of(kind, queue=QUEUE.name) for kind in OF_THE_QUEUE},
        **{kind: keys.of(kind) for kind in OF_ALL},
        "ready": keys.of("ready", queue=QUEUE.name, version=QUEUE.version),
        "holds": keys.of("holds", agent=BOB.agent),
        "agent": keys.of("agent", agent=BOB.agent),
        "everybody": keys.of("agent", agent=EVERYONE),
        "schema": keys.of("schema", hash=SCHEMA_HASH),
    }


@pytest.mark.parametrize("kind", sorted(damageable(Keys())))
async def test_a_key_of_another_type_is_told_and_all_else_is_mended(
    store: RedisStore, look: Look, caplog: pytest.LogCaptureFixture, kind: str
):
    """Of whatever kind: it holds up only what hangs on it, and the log names it."""
    operator = await store.principal(OPS.agent)
    assert operator is not None
    await store.put_principal(UPKEEP, msgspec.structs.replace(operator, bearers=("hash-of-a-bearer",)))
    other = await store.put_queue(UPKEEP, a_queue("other"))
    await drop_off(store)
    await drop_off(store)
    await pick_up(store, BOB)
    await drop_off(store, queue=other)
    await drop_off(store, queue=other)
    held = await pick_up(store, CAROL, queue=other)
    key = damageable(look.keys)[kind]
    lost = [look.keys.of("leases", queue="other"), look.keys.of("holds", agent=CAROL.agent)]
    await look.client.delete(*lost, look.keys.of("ready", queue="other", version=other.version))

    async with look.of_another_type(key):
        mended = await store.mend()

    check_indexes(await look.everything(), "other")
    assert await store.leases_of(CAROL.agent) == (held.lease,)
    assert (mended.mended, mended.failed > 0, mended.looked_at > mended.failed) == (2, True, True)
    told = [line for line in caplog.text.splitlines() if "could not be put right" in line and "WRONGTYPE" in line]
    assert len(told) == mended.failed
    assert mended.failed == 1 or kind not in ("agents", "admins", "bearers"), "no agent is called damaged for its index"
    named = {"agent": f"agent {BOB.agent} ", "everybody": f"agent {EVERYONE} ", "config": f"queue {QUEUE.name} "}
    assert any(
        named.get(kind, {"queues": "all queues", "schemas": "all schemas"}.get(kind, f"key {key} ")) in line
        for line in told
    )

    assert (await store.mend()).failed == 0


async def test_a_record_of_another_type_is_told_and_its_neighbours_are_mended(
    store: RedisStore, look: Look, caplog: pytest.LogCaptureFixture
):
    damaged, sound = [await drop_off(store) for _ in range(2)]
    ready = look.keys.of("ready", queue=QUEUE.name, version=QUEUE.version)
    await look.client.delete(ready)
    async with look.of_another_type(look.keys.of("handoff", queue=QUEUE.name, id=damaged.receipt.handoff_id)):
        mended = await store.mend()

    assert (mended.mended, mended.failed) == (1, 1)
    assert f"handoff {damaged.receipt.handoff_id} could not be put right: WRONGTYPE" in caplog.text
    assert (await pick_up(store)).handoff.id == sound.receipt.handoff_id


async def test_the_log_is_not_filled_by_one_index_of_a_long_queue(
    store: RedisStore, look: Look, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """All are counted, some are named, and the key is."""
    monkeypatch.setattr(tally, "TOLD_MAX", 2)
    for _ in range(3):
        await drop_off(store)
    async with look.of_another_type(key := look.keys.of("dead", queue=QUEUE.name)):
        mended = await store.mend()

    assert mended.failed == 5, "two once, the one that is not named by its record and by the stream; and the key"
    assert caplog.text.count("could not be put right: WRONGTYPE") == 3
    assert "2 more of kind handoff could not be put right" in caplog.text
    assert f"key {key} could not be put right" in caplog.text


async def test_a_gate_that_was_behind_is_counted(store: RedisStore, look: Look):
    """It is what a mend put right as much as an index is."""
    await look.client.hdel(look.keys.of("gate"), BOB.agent)

    assert (await store.mend()).mended == 1
    assert (await store.standing(BOB.agent)).endswith(" active")
    assert (await store.mend()).mended == 0


# ---- what operators do meanwhile ---------------------------------------------------------------------------------


@pytest.mark.parametrize("then", ["it stays", "it is removed"])
async def test_a_queue_that_is_added_while_all_is_looked_at_has_lost_nothing(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, then: str
):
    """And one that was removed again by then does not come back."""
    keys, mend_queue, added = store._keys, store._mend_queue, list[Queue]()

    async def looked(pattern: str) -> list[str]:
        found = await keys(pattern)
        if pattern == "q:*:config":
            added.append(await store.put_queue(UPKEEP, a_queue("late")))
        return found

    async def its_turn(config: str | None, indexed: bytes | None) -> bool:
        if config is None and then == "it is removed":
            assert await store.remove_queue(UPKEEP, added[0])
        return await mend_queue(config, indexed)

    monkeypatch.setattr(store, "_keys", looked)
    monkeypatch.setattr(store, "_mend_queue", its_turn)

    assert (await store.mend()).mended == 0
    assert ("late" in await store.queues(fresh=True)) == (then == "it stays")
