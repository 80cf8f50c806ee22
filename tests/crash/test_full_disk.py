"""A disk filled to its last byte under load, and one on which the broker has kept a little free.

The disk is a tmpfs of some megabytes with a ballast file on it; room returns when the ballast is removed. The store is
the embedded one in a real broker, which writes before it answers and ends when it cannot.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from tests.crash.checker import broken
from tests.crash.conductor import (
    AGENTS,
    QUEUE,
    Broker,
    Load,
    calling,
    furnish,
    kill_store,
    load_on,
    settle,
    store_client,
    store_pid,
    until,
)
from tests.servers import until as let_go

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the disk of this test is a tmpfs")

MB: Final = 1 << 20
DISK: Final = 16 * MB
FILES: Final = 64  # the broker needs a dozen
ROOM: Final = 4 * MB  # what the ballast leaves: a few seconds of load
WORK: Final = {"queue": QUEUE, "payload": {"topic": "owls", "audience": "exec"}}


class Disk:
    """A small disk of our own, and the ballast on it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._ballast = place / "ballast"

    def free(self) -> int:
        disk = os.statvfs(self.place)
        return disk.f_bavail * disk.f_frsize

    def leave(self, free: int) -> None:
        """Let so much be free, and no more."""
        self.make_room()
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.free() - free)

    def leave_no_file(self) -> None:
        """Let no further file be made, though there are bytes."""
        with suppress(OSError):
            for n in range(FILES):
                (self.place / f"ballast-{n}").touch()

    def make_room(self) -> None:
        for ballast in self.place.glob("ballast*"):
            ballast.unlink()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Mounted where a broker keeps its data. Where that is not allowed it is a skip, and a failure if CI is set."""
    monkeypatch.setenv("DROPOFF_DISK_FREE_MIN", "0")
    folder = Path(tempfile.mkdtemp(prefix="dropoff-disk-"))  # short: the store's socket has to fit
    place = folder / "data"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK},nr_inodes={FILES},mode=700", "none", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        if mounted.returncode:
            reason = f"a disk of our own cannot be mounted here: {mounted.stderr.strip()} (it takes root)"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        yield Disk(place)
    finally:
        if not mounted.returncode:
            unmount = ["umount", str(place)]  # a store that was just killed may not have let go yet
            let_go("the disk to be let go", lambda: not subprocess.run(unmount, capture_output=True).returncode)
        shutil.rmtree(folder)


@pytest.fixture
async def broker(disk: Disk) -> AsyncIterator[Broker]:
    """A broker whose data are on the disk, not yet started; afterwards no process is left."""
    broker = Broker(disk.place.parent)
    yield broker
    await broker.end()


async def health(broker: Broker, path: str = "/readyz") -> tuple[int, dict[str, Any]]:
    async with httpx2.AsyncClient(base_url=broker.url, trust_env=False) as client:
        answer = await client.get(path)
        return answer.status_code, answer.json()


async def test_a_disk_filled_to_the_last_byte_loses_nothing_and_service_returns_with_room(
    broker: Broker, disk: Disk, fresh_seed: int
):
    """The store ends; the broker lives, says why in true sentences, and is back by itself when there is room."""
    await broker.start()
    await broker.ready()
    disk.leave(ROOM)
    async with load_on(broker, fresh_seed) as load:
        told: list[str] = []

        async def full() -> bool:
            status, answer = await health(broker)
            told.append(answer.get("detail", ""))
            return status == 503 and "No space left on device" in answer["detail"]

        await until("the disk to be full", full, 60)
        assert disk.free() < 256 << 10, "full is what does not take one batch more"
        await until("every agent to have met it again and again", partial(_met, load))
        assert (await health(broker, "/livez"))[0] == 200
        assert await full(), "it says so for as long as it is so"
        assert "What has a receipt is not lost." in told[-1]

        disk.make_room()
        await broker.ready()
        await load.goes_on()
        seen = await settle(broker, load)
    assert broken(seen) == [], f"seed {fresh_seed}"
    assert broker.starts == 1
    assert await broker.stop() == 0


async def _met(load: Load) -> bool:
    """Whether each agent was refused several times. By which verb is chance: one that is refused asks it again."""
    refusals = (event for event in load.events() if event.get("code") == "broker_unavailable")
    times = Counter(event["agent"] for event in refusals)
    return all(times[agent] > 3 for agent in AGENTS)


async def test_a_store_whose_files_cannot_be_made_is_said_and_comes_back(broker: Broker, disk: Disk):
    """Bytes are left and inodes are not: the disk's own reason is told, and the way back is the same."""
    await broker.start()
    await broker.ready()
    disk.leave_no_file()
    await kill_store(broker.data)

    async def said() -> bool:
        status, answer = await health(broker)
        return status == 503 and "No space left on device" in answer["detail"]

    await until("the reason to be said", said)
    disk.make_room()
    await broker.ready()


async def test_a_broker_that_is_started_on_a_full_disk_says_so_and_ends(broker: Broker, disk: Disk):
    """No traceback and no half-made folder that keeps the next start from its work."""
    disk.leave(0)
    heard = await asyncio.create_subprocess_exec(
        *broker.command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, err = await asyncio.wait_for(heard.communicate(), 30)
    assert heard.returncode == 8
    assert b"No space left on device" in err
    assert b"Traceback" not in err

    disk.make_room()
    assert not list(broker.data.glob(".operator*")), "no half-written credential is left"
    await broker.start()
    await broker.ready()


async def test_above_the_floor_new_work_is_refused_and_the_store_lives_to_let_work_end(
    broker: Broker, disk: Disk, monkeypatch: pytest.MonkeyPatch
):
    """Whoever fills the disk: what was dropped off can be picked up, finished and withdrawn while it is nearly full."""
    monkeypatch.setenv("DROPOFF_DISK_FREE_MIN", "4MB")
    await broker.start()
    await broker.ready()
    bearers = await furnish(broker, lease_s=300)
    store = await store_pid(broker.data)
    async with calling(broker, bearers["dropper-1"]) as dropper, calling(broker, bearers["worker-1"]) as worker:
        dropped = [await told(dropper, "drop_off", WORK) for _ in range(4)]
        disk.leave(3 * MB)

        refusals: list[dict[str, Any]] = []

        async def refused() -> bool:
            key = {"Idempotency-Key": f"later-{len(refusals)}"}  # a new one, for new work
            answer = await dropper.post("/v1/drop_off", json=WORK, headers=key)
            refusals.append(answer.json())
            return answer.status_code == 507

        await until("new work to be refused", refused)
        refusal = refusals[-1]
        assert (refusal["code"], refusal["retry"]) == ("storage_full", "later")
        assert re.match(
            r"The broker's storage is nearly full \([23](\.\d)? MB left; it keeps 4 MB free\)\.", refusal["detail"]
        )
        assert "Nothing of this call was stored." in refusal["detail"]
        status, answer = await health(broker)
        assert (status, answer["status"]) == (200, "ready")
        assert re.fullmatch(r"It takes no new work: [23](\.\d)? MB left; it keeps 4 MB free\.", answer["says"])

        first = await told(worker, "pick_up", {"queue": QUEUE})
        second = await told(worker, "pick_up", {"queue": QUEUE})
        third = await told(worker, "pick_up", {"queue": QUEUE})
        await told(worker, "extend", {"lease_id": first["lease_id"], "checkpoint": {"half": True}})
        assert (await told(worker, "complete", {"lease_id": first["lease_id"], "result": {}}))["status"] == "completed"
        await told(worker, "hand_back", {"lease_id": second["lease_id"], "outcome": "not_for_me"})
        await told(worker, "hand_back", {"lease_id": third["lease_id"], "outcome": "impossible", "reason": "no"})
        withdrawn = await told(dropper, "withdraw", {"handoff_id": dropped[3]["handoff_id"], "reason": "no need"})
        assert withdrawn["status"] == "withdrawn"
        assert await store_pid(broker.data) == store, "it is the same server as before"

        disk.make_room()

        async def taken() -> bool:
            return not await refused()

        await until("new work to be taken", taken)
        assert "code" not in refusals[-1], refusals[-1]
    async with store_client(broker.data) as look:
        assert await look.xlen("dropoff:{p0}:q:research:ready:1") >= 2


async def told(agent: httpx2.AsyncClient, verb: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await agent.post(f"/v1/{verb}", json=body)
    assert answer.is_success, answer.text
    return answer.json()
