"""A store that cannot keep what is promised is refused at start, with what to do about it."""

import asyncio
import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest

from dropoff.errors import BrokerUnavailable, StorageFull, StoreRefused
from dropoff.storage.connection import Source, check_url, without_secret
from dropoff.storage.examining import check_version
from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from tests.look import Look
from tests.servers import Server, source_of
from tests.world import QUEUE, UPKEEP, Clock, complete, drop_off, furnish, pick_up, state, within


async def refused(source: Source, keys: Keys | None = None) -> str:
    """What the broker says when it is to start on this store; it keeps no connection and no task."""
    store = RedisStore(source, keys)
    with pytest.raises(StoreRefused) as refusal:
        await within("the store to be refused", store.start())
    with pytest.raises(BrokerUnavailable):
        await store.ping()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("dropoff")]
    return str(refusal.value)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
@pytest.mark.parametrize("product", ["valkey", "redis"])
async def test_a_store_that_may_evict_is_refused(own_server, product: str, policy: str):
    """It would silently delete what was acknowledged."""
    said = await refused(source_of(own_server(product, maxmemory_policy=policy)))

    assert said.startswith(f"maxmemory-policy is {policy}: the store may silently delete handoffs.")
    assert "config set maxmemory-policy noeviction" in said


@pytest.mark.parametrize("product", ["valkey", "redis"])
async def test_cluster_mode_is_refused(own_server, product: str):
    """This release speaks to one node; half of the keys would lie elsewhere."""
    server = own_server(product, cluster_enabled="yes")

    assert "cluster mode" in await refused(source_of(server))


@pytest.mark.parametrize(
    ("info", "name"),
    [
        ({"redis_version": "6.2.14"}, "Redis 6.2.14"),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.8"}, "Valkey 7.2.8"),
        ({}, "Redis 0"),
    ],
)
def test_an_old_version_is_refused(info: dict[str, str], name: str):
    with pytest.raises(StoreRefused, match=f"The store is {re.escape(name)}; dropoff needs Redis 7.0 or Valkey 8"):
        check_version(info)


@pytest.mark.parametrize(
    "info", [{"redis_version": "7.0.0"}, {"redis_version": "10.1"}, {"redis_version": "7.2.4", "valkey_version": "8.0"}]
)
def test_a_version_that_has_what_steps_need_passes(info: dict[str, str]):
    check_version(info)


async def test_nobody_there_is_refused_in_time(tmp_path: Path):
    async def url() -> str:
        return f"unix://{tmp_path}/nobody"

    assert await refused(Source(url)) == "The store cannot be reached. Is it running, and is DROPOFF_STORE right?"


@pytest.mark.parametrize("url", ["", "redis", "http://host:6379", "localhost:6379", "redis-sentinel://a:b@c"])
def test_what_is_no_url_of_a_store_is_refused(url: str):
    with pytest.raises(StoreRefused, match="is no URL of a store"):
        check_url(url)


def test_a_refused_url_does_not_show_its_secret():
    with pytest.raises(StoreRefused) as refusal:
        check_url("http://user:secret@host:6379")

    assert "secret" not in str(refusal.value)


# ---- rights -----------------------------------------------------------------------------------------------------

LUA = resources.files("dropoff.storage").joinpath("lua")
IN_STEPS = sorted(
    {
        command.lower()
        for file in LUA.iterdir()
        for command in re.findall(r"redis\.p?call\('(\w+)'", file.read_text(encoding="utf-8"))
    }
)
RIGHTS = "+@all -@dangerous +info +config|get"  # what the refusal tells an operator to give


def as_user(server: Server, *rules: str) -> Source:
    """The store as a user with these rules sees it."""
    with server.client as client:
        client.execute_command("ACL", "SETUSER", "broker", "reset", "on", ">secret", *rules)

    async def url() -> str:
        return f"unix://broker:secret@{server.socket}"

    return Source(url)


@pytest.fixture
def acl_keys(server: Server, keys: Keys):
    """The prefix of a test whose users are forgotten afterwards."""
    yield keys
    with server.client as client:
        client.execute_command("ACL", "DELUSER", "broker")


def ours(keys: Keys) -> list[str]:
    prefix = keys.base.partition(":")[0]
    return [f"~{prefix}:*", f"&{prefix}:*", *RIGHTS.split()]


async def test_a_user_with_the_rights_we_ask_for_can_do_everything(server: Server, acl_keys: Keys, clock: Clock):
    """Nothing beyond its own keys, its own channel, and no dangerous commands."""
    store = RedisStore(as_user(server, *ours(acl_keys)), acl_keys, clock)
    await store.start()
    try:
        await furnish(store)
        dropped = await drop_off(store)
        await complete(store, (await pick_up(store)).lease)
        assert await state(store, dropped.receipt.handoff_id) == "completed"
        assert (await store.figures([QUEUE.name]))[QUEUE.name].ended == 1
        _, new = await store.put_schema(UPKEEP, "other", "h", b"{}")
        assert new
    finally:
        await store.close()


@pytest.mark.parametrize("command", IN_STEPS)
async def test_a_user_who_lacks_one_command_of_the_steps_is_refused_at_start(
    server: Server, acl_keys: Keys, look: Look, command: str
):
    """Later it would leave half a step done: an entry without its change."""
    said = await refused(as_user(server, *ours(acl_keys), f"-{command}"), acl_keys)

    assert "does not let this user" in said
    assert await look.everything() == {}


async def test_a_user_who_may_not_touch_our_keys_is_refused_at_start(server: Server, acl_keys: Keys):
    assert "does not let this user" in await refused(as_user(server, "~other:*", "&*", *RIGHTS.split()), acl_keys)


@pytest.mark.parametrize("command", ["info", "evalsha", "script"])
async def test_a_user_who_lacks_a_command_of_ours_is_refused_at_start(server: Server, acl_keys: Keys, command: str):
    """The refusal is about rights, and does not send anybody looking for a server that is not running."""
    said = await refused(as_user(server, *ours(acl_keys), f"-{command}"), acl_keys)

    assert "does not let this user" in said


async def test_a_wrong_password_is_refused_and_says_so(server: Server, acl_keys: Keys):
    """And does not show it to whoever reads the log."""
    as_user(server, *ours(acl_keys))

    async def url() -> str:
        return f"unix://broker:wrong@{server.socket}"

    said = await refused(Source(url), acl_keys)

    assert said.startswith("The store does not accept the user name or password of DROPOFF_STORE")
    assert "broker:wrong" not in said


async def test_a_missing_password_is_refused_and_says_so(own_server):
    """Whatever comes first: on a long command from a stranger the server hangs up without a word."""
    server = own_server("redis", requirepass="secret")

    said = await refused(source_of(server))

    assert said.startswith("The store does not accept the user name or password of DROPOFF_STORE")


async def test_a_user_who_may_not_read_settings_is_served_and_claims_little(server: Server, acl_keys: Keys):
    """Managed services forbid CONFIG: nothing is known, so a receipt says `memory`."""
    store = RedisStore(as_user(server, *ours(acl_keys), "-config"), acl_keys)
    found = await store.start()
    await store.close()

    assert found.durability == "memory"


# ---- full, or out of order --------------------------------------------------------------------------------------


@pytest.mark.parametrize("product", ["valkey", "redis"])
async def test_a_full_store_takes_no_new_work_and_can_still_be_drained(
    own_server, keys: Keys, clock: Clock, product: str
):
    """Steps that add work are refused before they write; steps that end it go on, or a full store stays full."""
    server = own_server(product)
    store = RedisStore(source_of(server), keys, clock)
    await store.start()
    try:
        await furnish(store)
        await drop_off(store)
        with server.client as client:
            client.config_set("maxmemory", "1")

        with pytest.raises(StorageFull):
            await drop_off(store)
        picked = await pick_up(store)
        await complete(store, picked.lease)

        assert len(await store.entries(handoff_id=picked.handoff.id)) == 3
        assert (await store.figures([picked.handoff.queue]))[picked.handoff.queue].in_per_minute == 1 / 5
    finally:
        await store.close()


async def test_a_store_that_has_become_a_replica_stores_nothing_and_says_so(own_server, keys: Keys, clock: Clock):
    """After a failover the old master is read-only."""
    server = own_server("valkey", replica_serve_stale_data="yes")
    store = RedisStore(source_of(server), keys, clock)
    await store.start()
    try:
        await furnish(store)
        with server.client as client:
            client.execute_command("REPLICAOF", "127.0.0.1", "1")

        with pytest.raises(BrokerUnavailable) as refusal:
            await drop_off(store)
    finally:
        await store.close()

    assert refusal.value.stored == "nothing"


@pytest.mark.parametrize(
    "url",
    [
        "redis://:SEC/RET@127.0.0.1:1",
        "redis://127.0.0.1:many",
        "redis://127.0.0.1:1/0?password=SECRET",
        "redis://127.0.0.1:1/0?socket_timeout=1",
        "http://SECRET@127.0.0.1",
        "",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_being_repeated(url: str):
    """It may hold a password, and a refusal goes to the screen and into logs."""
    with pytest.raises(StoreRefused) as refusal:
        check_url(url)
    assert "SEC" not in str(refusal.value)


def test_where_a_store_is_is_shown_without_its_password():
    assert without_secret("redis://ann:SECRET@db.example:6380/1?db=1") == "redis://db.example:6380/1"


async def test_a_store_that_skips_fsync_while_it_rewrites_is_no_durable_one(
    own_server: Callable[..., Server], keys: Keys
):
    """With no-appendfsync-on-rewrite the server answers before the disk has it, as long as a rewrite goes on."""
    server = own_server("redis", **{"no-appendfsync-on-rewrite": "yes", "appendfsync": "always"})
    store = RedisStore(source_of(server), keys)
    found = await store.start()
    await store.close()
    assert found.durability == "memory"
