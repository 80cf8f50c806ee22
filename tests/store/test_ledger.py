"""No step without its entry, and a receipt that names it."""

import msgspec
import pytest

from dropoff.core.handoff import digest_of
from dropoff.core.ledger import Entry, Receipt, leaf, line
from dropoff.core.lifecycle import may
from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from tests.look import Look
from tests.servers import source_of
from tests.world import (
    ANN,
    BOB,
    LEASE_MS,
    QUEUE,
    START_MS,
    UPKEEP,
    Clock,
    complete,
    drop_off,
    extend,
    furnish,
    hand_back,
    live,
    pick_up,
    withdraw,
    work,
)


async def newest(store: RedisStore) -> Entry:
    return (await store.entries(at_most=1))[-1]


async def test_an_entry_tells_who_did_what_to_which_handoff_and_nothing_of_its_payload(store: RedisStore):
    """Everything that a stranger needs who checks the rules, and nothing that anybody wrote."""
    caller = msgspec.structs.replace(ANN, credential="c0ffee", trace="trace-1")
    new = work(caller, payload=b'{"secret":"owls"}', note="whisper")

    dropped = await store.drop_off(caller, QUEUE, new)

    assert await newest(store) == Entry(
        id=dropped.receipt.entry,
        step="drop_off",
        at=str(START_MS),
        actor="ann",
        credential="c0ffee",
        revs=f"ann={ANN.rev}",
        handoff=new.id,
        queue=QUEUE.name,
        from_="absent",
        to="waiting",
        n="1",
        fence="0",
        digest=digest_of(new.salt, new.payload),
        schema=QUEUE.schema_hash,
        failures="0",
        trace="trace-1",
    )
    told = line(await newest(store))
    assert b"owls" not in told
    assert b"whisper" not in told


async def test_every_receipt_s_leaf_is_the_leaf_of_its_entry_in_the_ledger(store: RedisStore, clock: Clock):
    """What is handed out today names the very line that will be hashed."""
    receipts: list[Receipt | None] = [(await drop_off(store, delay_ms=1)).receipt, (await drop_off(store)).receipt]
    scheduled = receipts[0]
    assert scheduled is not None
    await live(store, clock, 1)
    receipts.append(await store.due(scheduled.handoff_id))
    picked = await pick_up(store)
    receipts.append(picked.receipt)
    receipts.append((await extend(store, picked.lease, progress="half")).receipt)
    receipts.append((await withdraw(store, picked.handoff.id, reason="ünïcode")).receipt)
    receipts.append((await complete(store, picked.lease)).receipt)
    picked = await pick_up(store)
    receipts.append((await hand_back(store, picked.lease, "release", reason='"why"\n')).receipt)
    picked = await pick_up(store)
    await live(store, clock, LEASE_MS)
    receipts.append(await store.lapse(picked.handoff.id))

    entries = {entry.id: entry for entry in await store.entries()}
    for receipt in receipts:
        assert receipt is not None
        assert receipt.leaf == leaf(entries[receipt.entry])
        assert receipt.handoff_id == entries[receipt.entry].handoff


async def test_the_entries_of_a_handoff_are_a_chain_of_legal_arrows(store: RedisStore, clock: Clock):
    """Each names the one before; numbers rise by one; each begins where the last one ended."""
    id = (await drop_off(store)).receipt.handoff_id
    other = await pick_up(store, BOB)
    await drop_off(store)
    await live(store, clock, LEASE_MS)
    await store.lapse(other.handoff.id)
    await pick_up(store)
    await complete(store, (await pick_up(store)).lease)

    chain = await store.entries(handoff_id=id)

    assert [entry.step for entry in chain] == ["drop_off", "pick_up", "lapse", "pick_up", "complete"]
    assert [entry.n for entry in chain] == ["1", "2", "3", "4", "5"]
    assert [entry.prev for entry in chain] == ["", *(entry.id for entry in chain[:-1])]
    assert [entry.from_ for entry in chain] == ["absent", *(entry.to for entry in chain[:-1])]
    assert all(may(entry.from_, entry.step, entry.to) for entry in chain)  # pyright: ignore[reportArgumentType]
    fences = [int(entry.fence) for entry in chain if entry.step == "pick_up"]
    assert fences == sorted(set(fences))


async def test_entries_are_read_in_order_from_any_place(store: RedisStore):
    for _ in range(3):
        await drop_off(store)
    last = await store.entries(at_most=3)

    assert await store.entries(after=last[0].id) == last[1:]
    assert await store.entries(after=last[0].id, at_most=1) == last[1:2]
    assert await store.entries(handoff_id="no id") == ()


async def test_numbers_of_more_than_fourteen_digits_are_exact(store: RedisStore, clock: Clock):
    """Lua would print them as 1.7e+15, and fences and times would meet."""
    clock.now_ms = 9_007_199_254_740_000  # close to 2⁵³, where a double is still exact
    await drop_off(store)

    picked = await pick_up(store)

    assert picked.lease.fence == clock.now_ms
    assert picked.handoff.lease_ends_ms == clock.now_ms + LEASE_MS
    entry = await newest(store)
    assert (entry.at, entry.fence, entry.lease_ends) == tuple(
        str(number) for number in (clock.now_ms, clock.now_ms, clock.now_ms + LEASE_MS)
    )
    assert await store.leases_of(BOB.agent) == (picked.lease,)


async def test_without_a_clock_of_its_own_a_step_takes_the_server_s(server, keys: Keys, look: Look):
    """Ours are only there in tests; brokers whose clocks differ agree."""
    store = RedisStore(source_of(server), keys)
    await store.start()
    try:
        put = await store.put_schema(UPKEEP, "research", "h", b"{}")
        seconds, micros = await look.client.time()
    finally:
        await store.close()

    assert put[1]
    at_ms = int((await look.everything())["ledger"][0][1]["at"])
    assert 0 <= seconds * 1_000 + micros // 1_000 - at_ms < 60_000


# ---- how durable ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("product", ["valkey", "redis"])
@pytest.mark.parametrize(
    ("appendonly", "appendfsync", "grade"),
    [("yes", "always", "fsynced"), ("yes", "everysec", "memory"), ("yes", "no", "memory"), ("no", "always", "memory")],
)
async def test_a_receipt_claims_what_the_store_s_settings_give_and_no_more(
    own_server, keys: Keys, clock: Clock, product: str, appendonly: str, appendfsync: str, grade: str
):
    """On the disk before the answer, or in memory."""
    server = own_server(product, appendonly=appendonly, appendfsync=appendfsync)
    store = RedisStore(source_of(server), keys, clock)
    found = await store.start()
    try:
        await furnish(store)
        dropped = await drop_off(store)
    finally:
        await store.close()

    assert found.durability == dropped.receipt.durability == grade
    assert (dropped.receipt.log, found.product.split()[0].lower()) == ("p0", product)


async def test_settings_that_were_changed_are_found_out(own_server, keys: Keys, clock: Clock):
    """Somebody has made the store quicker; a receipt must not claim what it no longer gives."""
    server = own_server("valkey", appendfsync="always")
    store = RedisStore(source_of(server), keys, clock)
    await store.start()
    try:
        await furnish(store)
        with server.client as client:
            client.config_set("appendfsync", "everysec")
        await store.refresh()
        dropped = await drop_off(store)
    finally:
        await store.close()

    assert dropped.receipt.durability == "memory"
