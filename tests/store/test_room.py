"""The floor under the disk: new work is refused while little is free, and nothing else is."""

import sys
from pathlib import Path

import pytest

from dropoff.errors import StorageFull
from dropoff.storage.room import LOOK_EVERY_S, Room
from dropoff.storage.scripts import every_script
from dropoff.storage.store import RedisStore
from tests import world
from tests.look import Look

WHY = "180 MB left; it keeps 256 MB free"


class Now:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


@pytest.mark.skipif(sys.platform == "win32", reason="there is no embedded store on Windows")
def test_the_floor_is_held_against_what_is_free_and_looked_at_once_a_second(tmp_path: Path):
    """Both numbers are said; a disk that does not answer has no room that anybody knows of."""
    folder, now = tmp_path / "store", Now()
    folder.mkdir()
    assert Room(folder, 0)() == ""
    assert Room(folder, 1 << 20)() == ""
    full = Room(folder, 1 << 60, now)
    assert full().endswith(" MB left; it keeps 1.09951e+12 MB free")
    folder.rmdir()
    now.s += LOOK_EVERY_S / 2
    assert "MB left" in full(), "what was seen half a second ago holds"
    now.s += LOOK_EVERY_S / 2
    assert full() == "its disk does not say what is left: No such file or directory"


def test_which_steps_add_work_is_said_by_their_shebang():
    """One rule for memory and disk: what the server would refuse at its memory limit."""
    adding = {step.name for step in every_script() if step.adds}
    assert adding >= {"drop_off", "forward", "put_schema"}
    ending = {"pick_up", "extend", "complete", "hand_back", "withdraw", "lapse", "due", "gate", "check", "prove"}
    assert not adding & ending


async def test_without_room_new_work_is_refused_and_what_is_there_can_be_finished(store: RedisStore, look: Look):
    """The refusal says why, and that nothing of this call was stored; the ledger shows no trace of it."""
    kept = await world.drop_off(store)
    returned = await world.drop_off(store)
    unwanted = await world.drop_off(store)
    store.room = lambda: WHY

    async with look.nothing_changes():
        for adding in (
            world.drop_off(store),
            store.put_schema(world.OPS, "more", world.SCHEMA_HASH, world.SCHEMA),
        ):
            with pytest.raises(StorageFull) as refusal:
                await adding
            assert WHY in str(refusal.value)
            assert "Nothing of this call was stored." in str(refusal.value)

    first = await world.pick_up(store)
    await world.extend(store, first.lease)
    await world.complete(store, first.lease)
    await world.hand_back(store, (await world.pick_up(store)).lease, "reject", reason="no")
    await world.withdraw(store, unwanted.receipt.handoff_id)
    await world.change(store, world.BOB, "revoked")
    states = [await world.state(store, one.receipt.handoff_id) for one in (kept, returned, unwanted)]
    assert states == ["completed", "rejected", "withdrawn"]

    store.room = lambda: ""
    await world.drop_off(store)
