"""A step cannot half-happen, whichever of its calls fails.

Scripts are not rolled back. So every step is run in a world of its own (scenes.py), its commands are written down as
the server sees them, and then it is run again in the same world with one key after the other broken: of another type,
or missing; and on a server that is full. Each time, afterwards, nothing has happened or everything, and the ledger
agrees with the records.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import pytest
import redis
import redis.asyncio

from dropoff.errors import StorageFull, StoreRefused
from dropoff.storage.connection import Source
from dropoff.storage.keys import KINDS, Keys
from dropoff.storage.store import RedisStore
from tests.look import Look, _demanded, indexes
from tests.scripts.rules import (
    ADDS_WORK,
    READS,
    WRITES,
    WRITES_TO_ANY_TYPE,
    Files,
    commands_in,
    kind_of,
    read_files,
)
from tests.scripts.scenes import SCENES, Act, Scene, World
from tests.servers import Server, source_of
from tests.world import Clock, furnish, within

Found = dict[str, Any]
Command = tuple[str, tuple[str, ...]]  # its word and its keys

every_scene = pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)

# What of a world is the same in each run of a scene, to the last letter: it holds no id of an entry.
WORDED: Final = frozenset(
    {"gate", "queues", "config", "agents", "admins", "agent", "bearers", "changing", "schemas", "schema", "recalls"}
)


# ---- worlds -----------------------------------------------------------------------------------------------------


@dataclass
class Stage:
    """One scene, arranged; it can be put back as it was, and played again."""

    world: World
    act: Act
    raw: redis.asyncio.Redis
    pattern: str
    saved: dict[Any, bytes]
    played_at_ms: int

    async def put_back(self) -> None:
        names = await self.raw.keys(self.pattern)
        async with self.raw.pipeline(transaction=False) as ask:
            if names:
                ask.delete(*names)
            for name, content in self.saved.items():
                ask.restore(name, 0, content)
            await ask.execute()
        self.world.clock.now_ms = self.played_at_ms
        self.world.store._queues = None
        self.world.store._principals.clear()

    async def play(self) -> tuple[Found, Found, Exception | None]:
        """Everything before, everything after, and how the step refused, if it did."""
        before, refused = await self.world.look.everything(), None
        try:
            await within("the step", self.act())
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  (whatever it says, nothing may have happened)
            refused = error
        return before, await self.world.look.everything(), refused if isinstance(refused, Exception) else None


@asynccontextmanager
async def staged(scene: Scene, server: Server, keys: Keys) -> AsyncIterator[Stage]:
    clock = Clock()
    world = World(RedisStore(source_of(server), keys, clock), Look(server.socket, keys), clock)
    raw = redis.asyncio.Redis(unix_socket_path=server.socket)
    pattern = keys.base.replace("{", "?").replace("}", "?") + "*"
    await world.store.start()
    try:
        await furnish(world.store)
        act = await scene.arrange(world)
        names = await raw.keys(pattern)
        saved = {name: content for name in names if (content := await raw.dump(name))}
        yield Stage(world, act, raw, pattern, saved, clock.now_ms)
    finally:
        await world.store.close()
        left = await raw.keys(pattern)
        if left:
            await raw.delete(*left)
        await raw.aclose()
        await world.look.client.aclose()


@asynccontextmanager
async def written_down(stage: Stage) -> AsyncIterator[list[list[Command]]]:
    """The commands of each script that runs meanwhile, as the server sees them."""
    scripts: list[list[Command]] = []
    async with stage.raw.monitor() as monitor:
        yield scripts
        await stage.raw.echo("that was all")
        while True:
            seen = await within("the server's own account", monitor.next_command())
            word, *rest = seen["command"].split(" ")
            if word.upper() == "ECHO":
                break
            if word.upper() == "EVALSHA":
                scripts.append([])
            elif seen["client_type"] == "lua":
                base = stage.world.store.keys.base
                keys = [one for one in rest if one.startswith(base)]
                scripts[-1].append((word.upper(), tuple(keys if word.upper() == "DEL" else keys[:1])))


async def account(scene: Scene, server: Server, keys: Keys) -> list[list[Command]]:
    async with staged(scene, server, keys) as stage:
        async with written_down(stage) as scripts:
            await stage.act()
        return scripts


# ---- what must hold ---------------------------------------------------------------------------------------------


def records_of(found: Found, keys: Keys) -> dict[str, dict[str, str]]:
    return {name: content for name, content in found.items() if keys.parse(keys.base + name)[0] == "handoff"}


def check_agreement(found: Found, keys: Keys) -> None:
    """Each record's last entry, count and state are those of its last entry in the ledger."""
    last = {fields["handoff"]: (id, fields) for id, fields in found.get("ledger", []) if "handoff" in fields}
    for record in records_of(found, keys).values():
        id, entry = last.get(record["id"], ("", {}))
        if record["last"] >= found["ledger"][0][0] if found.get("ledger") else False:
            assert (record["last"], record["n"], record["state"]) == (id, entry.get("n"), entry.get("to"))
        else:
            assert not id, "an entry of a handoff, and its record knows none of it"


def check_places(before: Found, after: Found, keys: Keys) -> None:
    """A record that has changed stands in just the indexes that its state demands; what was erased, in none."""
    old, new = records_of(before, keys), records_of(after, keys)
    readable = {name: content for name, content in after.items() if isinstance(content, list)}
    if not old:  # the record was lost: its entry in the stream goes when somebody comes to it, as one that none knows
        streams = {name: content for name, content in before.items() if ":ready:" in name}
        readable |= {name: [one for one in readable.get(name, []) if one not in streams[name]] for name in streams}
    for name in old | new:
        if old.get(name) != new.get(name):
            queue, id = name.split(":")[1], name.rpartition(":")[2]
            demanded = _demanded(new[name], queue) if name in new else {}
            assert indexes(readable, queue).get(id, {}) == demanded


def new_entries(before: Found, after: Found) -> list[str]:
    old = {id for id, _ in before["ledger"]} if isinstance(before.get("ledger"), list) else set()
    now = after["ledger"] if isinstance(after.get("ledger"), list) else []
    return [fields["step"] for id, fields in now if id not in old]


def changed(before: Found, after: Found) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def check_whole(scene: Scene, before: Found, after: Found, whole: Found, broken: str, keys: Keys) -> None:
    """Nothing, or everything. `whole` is what was there after the same step in the same world, unbroken."""
    entries, different = new_entries(before, after), changed(before, after)
    check_places(before, after, keys)
    if isinstance(before.get("ledger", []), list):
        check_agreement(after, keys)
    if not entries:
        kinds = {keys.parse(keys.base + name)[0] for name in different}
        assert kinds <= scene.quiet.keys(), f"without an entry {different} changed"
        return
    assert entries == list(scene.entries) or (entries, scene.step) in ELSE, f"{entries} instead of {scene.entries}"
    if entries == list(scene.entries):
        for name, content in whole.items():
            lost = (name, broken.partition(":")[0]) == ("recalls", "holds")  # whose leases: mend finds both again
            if keys.parse(keys.base + name)[0] in WORDED and name != broken and not lost:
                assert after.get(name) == content, f"{name} is not as it should be"


# Where something is missing a step may take another way, as a whole: what nobody remembers is new; what the gate has
# lost is said again; without a word of a standing or of an outage a lease ends by the clock.
ELSE: Final = [
    *((["drop_off"], "drop_off"), (["put_schema"], "put_schema"), (["gate"], "changed")),
    *((["lapse"], "lapse"), (["postpone"], "lapse"), (["recall"], "lapse")),
]


# ---- the commands of each step ----------------------------------------------------------------------------------


@every_scene
async def test_each_scene_does_what_it_says(scene: Scene, server: Server, keys: Keys):
    """Or the tests below would look at something else."""
    async with staged(scene, server, keys) as stage:
        before, after, refused = await stage.play()

        assert refused is None
        assert new_entries(before, after) == list(scene.entries)
        check_whole(scene, before, after, after, "", keys)


def test_every_step_has_its_scene():
    steps = {name.removesuffix(".lua") for name in Files(read_files()).steps}

    assert steps - {scene.step for scene in SCENES} == {"prove"}  # which leaves nothing: test_refused_stores.py


@every_scene
async def test_whatever_can_fail_fails_before_the_first_write(scene: Scene, server: Server, keys: Keys):
    """Each key is looked at by a command of its own type first; what is looked at later was looked at before."""
    for script in await account(scene, server, keys):
        looked: set[tuple[str, str]] = set()
        is_written = False
        for word, names in script:
            if word in WRITES_TO_ANY_TYPE | {"PUBLISH", "TIME"}:
                is_written = is_written or word != "PUBLISH"
                continue
            kind = "string" if word == "GET" else kind_of(word)
            assert word in READS | WRITES
            for name in names:
                assert not (is_written or word in WRITES) or (kind, name) in looked, f"{word} {name} may still fail"
                looked.add((kind, name))
            is_written = is_written or word in WRITES


# ---- broken worlds ----------------------------------------------------------------------------------------------


async def in_broken_worlds(
    scene: Scene, server: Server, keys: Keys, break_it: Callable[[Stage, str], Awaitable[None]]
) -> None:
    """For each key that the step touches: the same world with this key broken, and what must hold afterwards."""
    scripts = await account(scene, server, keys)
    touched = {name for script in scripts for word, names in script if word != "PUBLISH" for name in names}
    assert touched
    async with staged(scene, server, keys) as stage:
        _, whole, _ = await stage.play()
        for name in sorted(touched):
            broken = name.removeprefix(keys.base)
            await stage.put_back()
            await break_it(stage, name)
            before, after, refused = await stage.play()
            if refused is not None:
                assert changed(before, after) == set(), f"half done for {broken}: {refused}"
            else:
                check_whole(scene, before, after, whole, broken, keys)


async def of_another_type(stage: Stage, name: str) -> None:
    kind = stage.world.store.keys.parse(name)[0]
    await stage.raw.delete(name)
    if kind in KINDS and KINDS[kind].type == "string":
        await stage.raw.hset(name, "of another", "type")
    else:
        await stage.raw.set(name, "of another type")


async def missing(stage: Stage, name: str) -> None:
    await stage.raw.delete(name)


@every_scene
async def test_a_key_of_another_type_leaves_nothing_or_everything(scene: Scene, server: Server, keys: Keys):
    """A damaged key fails the step before it has written anything; or the step has no need of it."""
    await in_broken_worlds(scene, server, keys, of_another_type)


@every_scene
async def test_a_missing_key_leaves_nothing_or_everything(scene: Scene, server: Server, keys: Keys):
    """Whatever was lost: what the step then does, it does as a whole."""
    await in_broken_worlds(scene, server, keys, missing)


@pytest.mark.parametrize("product", ["valkey", "redis"])
async def test_on_a_full_server_a_step_happens_as_a_whole_or_not_at_all(
    own_server: Callable[..., Server], product: str
):
    """What adds work is refused before it begins; what ends, frees or governs runs through."""
    server = own_server(product)
    for place, scene in enumerate(SCENES):
        keys = Keys(prefix=f"t-{place:012x}")
        async with staged(scene, server, keys) as stage:
            await stage.raw.config_set("maxmemory", "1")
            before, after, refused = await stage.play()
            await stage.raw.config_set("maxmemory", "0")
            if scene.step in ADDS_WORK:
                assert isinstance(refused, StorageFull), scene.name
                assert changed(before, after) == set(), scene.name
            else:
                assert refused is None, f"{scene.name}: {refused}"
                assert new_entries(before, after) == list(scene.entries), scene.name
                check_whole(scene, before, after, after, "", keys)


# ---- rights -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", sorted(commands_in(Files(read_files()))))
async def test_who_lacks_one_command_of_the_steps_is_refused_at_start(server: Server, keys: Keys, command: str):
    """With the server's own clock too: TIME is a command like the others. And nothing is left behind."""
    prefix = keys.base.partition(":")[0]
    rules = [f"~{prefix}:*", f"&{prefix}:*", "+@all", f"-{command.lower()}"]
    with server.client as client:
        client.execute_command("ACL", "SETUSER", "lacking", "reset", "on", ">secret", *rules)

    async def url() -> str:
        return f"unix://lacking:secret@{server.socket}"

    try:
        store = RedisStore(Source(url), keys)
        with pytest.raises(StoreRefused, match="does not let this user"):
            await within("the store to be refused", store.start())
    finally:
        with server.client as client:
            client.execute_command("ACL", "DELUSER", "lacking")
            left = client.keys(f"{prefix}:*")
    assert left == []
