"""A reply is lost, and before its caller asks again the world goes on: what is said is true, and nothing is undone.

`late` stands between the two tries of the broker itself: the step has run, its answer is cut, and something else
happens before the same step is asked again. A refusal that it gets then is not the first one's, so nobody may be told
that nothing was stored.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from dropoff.errors import BrokerUnavailable, HandoffMoved, LeaseLost, QueueExists
from dropoff.operations import Operations
from dropoff.storage.keys import Keys
from dropoff.storage.scripts import script
from dropoff.storage.store import RedisStore
from dropoff.upkeep.rounds import go_round
from tests.faults.twins import Asking, out_of_reach
from tests.look import Look
from tests.proxy import Proxy
from tests.world import (
    ANN,
    BOB,
    CAROL,
    LEASE_MS,
    OPS,
    QUEUE,
    UPKEEP,
    Clock,
    a_queue,
    change,
    complete,
    drop_off,
    extend,
    forward,
    hand_back,
    judge,
    live,
    pick_up,
    release,
    state,
    within,
    work,
)

Between = Callable[[], Awaitable[object]]


@pytest.fixture
async def here(proxy: Proxy, store: RedisStore, keys: Keys, clock: Clock) -> AsyncIterator[RedisStore]:
    """A broker's store behind the proxy; `store` is another's, on the same keys."""
    here = RedisStore(await proxy.start(), keys, clock)
    await here.start()
    yield here
    await here.close()


@pytest.fixture
def late(here: RedisStore, proxy: Proxy) -> Callable[[str, Asking, Between], Awaitable[Any]]:
    """The step runs, its answer is lost, then this happens, and then the broker asks again by itself."""

    async def ask(step: str, asking: Asking, between: Between) -> Any:
        proxy.cut("after", script(step).sha)
        still = proxy.stall("before", script(step).sha, skip=1)
        asked = asyncio.ensure_future(asking(here))
        await still.met()
        await between()
        proxy.go_on()
        return await within("the answer", asked)

    return ask


Late = Callable[[str, Asking, Between], Awaitable[Any]]


async def steps(store: RedisStore) -> list[str]:
    return [entry.step for entry in await store.entries(at_most=1_000) if entry.handoff]


# ---- the broker asks again, and something has happened in between ----------------------------------------------


@pytest.mark.parametrize("standing", ["frozen", "revoked"])
async def test_a_sender_stopped_in_between_is_not_told_that_nothing_was_stored(
    store: RedisStore, late: Late, standing: str
):
    """It was: so it is not known."""
    with pytest.raises(BrokerUnavailable) as refusal:
        await late("drop_off", lambda one: drop_off(one, key="k"), lambda: change(store, ANN, standing))

    assert refusal.value.stored == "unknown"
    assert await steps(store) == ["drop_off"]


async def test_scripts_that_are_lost_in_between_take_nothing_of_what_is_known(
    store: RedisStore, look: Look, proxy: Proxy, late: Late
):
    """The second try is not run at all, and the third is refused: it says nothing of the first, which was."""

    async def stopped_and_forgotten() -> None:
        await change(store, ANN, "revoked")
        await look.client.script_flush()

    with pytest.raises(BrokerUnavailable) as refusal:
        await late("drop_off", lambda one: drop_off(one, key="k"), stopped_and_forgotten)

    assert refusal.value.stored == "unknown"
    assert proxy.passed(script("drop_off").sha) == 3, "lost, without its script, and refused"
    assert await steps(store) == ["drop_off"]


async def test_scripts_that_are_lost_in_between_lose_no_answer(store: RedisStore, look: Look, late: Late):
    """It is loaded again, and answers what it answered."""
    answer = await late("drop_off", lambda one: drop_off(one, key="k"), look.client.script_flush)

    assert answer.receipt == (await drop_off(store, key="k")).receipt
    assert await steps(store) == ["drop_off"]


async def test_an_extension_whose_lease_was_lost_in_between_is_not_denied(store: RedisStore, late: Late):
    """Its checkpoint is there for the next holder; "nothing of this call was stored" would be false."""
    await drop_off(store)
    lease = (await pick_up(store)).lease
    with pytest.raises(BrokerUnavailable) as refusal:
        await late(
            "extend",
            lambda one: extend(one, lease, checkpoint=b'{"half":1}', key="k"),
            lambda: store.recall(lease, "gone"),
        )

    assert refusal.value.stored == "unknown"
    assert (await pick_up(store, CAROL)).handoff.checkpoint == b'{"half":1}'
    with pytest.raises(LeaseLost):
        await extend(store, lease, checkpoint=b'{"half":1}', key="k")


@pytest.mark.parametrize("settings", [{"state": "draining"}, {"state": "paused"}, {"purpose": "another"}])
async def test_a_drop_off_into_a_queue_that_changed_in_between_gets_its_first_answer(
    store: RedisStore, late: Late, settings: dict[str, str]
):
    """Heard before comes before the queue's word: the work is there."""
    edited = msgspec.structs.replace(QUEUE, **settings)
    answer = await late("drop_off", lambda one: drop_off(one, key="k"), lambda: store.put_queue(UPKEEP, edited))

    assert answer.repeated
    assert answer.receipt == (await drop_off(store, key="k")).receipt
    assert await steps(store) == ["drop_off"]


async def test_a_completion_is_told_as_it_was_whatever_came_after(store: RedisStore, late: Late):
    """Also when what came next has been taken and completed meanwhile, and its queue drains."""
    onward = await store.put_queue(UPKEEP, a_queue("onward"))
    await drop_off(store)
    lease = (await pick_up(store)).lease

    async def further() -> None:
        await complete(store, (await pick_up(store, CAROL, queue=onward)).lease, CAROL)
        await store.put_queue(UPKEEP, msgspec.structs.replace(onward, state="draining"))

    answer = await late("forward", lambda one: forward(one, lease, queue=onward), further)

    assert answer.repeated
    assert answer == await forward(store, lease, queue=onward)
    assert await steps(store) == ["drop_off", "pick_up", "complete", "drop_off", "pick_up", "complete"]


async def test_who_handed_back_hears_so_though_another_holds_it_by_now(store: RedisStore, late: Late):
    await drop_off(store)
    lease = (await pick_up(store)).lease
    answer = await late(
        "hand_back", lambda one: hand_back(one, lease, "release", key="k"), lambda: pick_up(store, CAROL, key="c")
    )

    assert answer.state == "waiting"
    assert answer == await hand_back(store, lease, "release", key="k")
    assert await steps(store) == ["drop_off", "pick_up", "release", "pick_up"]
    assert await state(store, lease.handoff_id) == "leased"


async def test_a_lease_that_was_recalled_in_between_is_not_handed_out_as_if_it_went_on(store: RedisStore, late: Late):
    """The same call under the same key takes new work: one valid holder, and a fence that has risen."""
    dropped = await drop_off(store)

    async def recall() -> None:
        [lease] = await store.leases_of(BOB.agent)
        assert await store.recall(lease, "gone")

    picked = await late("pick_up", lambda one: pick_up(one, key="k"), recall)

    assert not picked.repeated
    assert picked.handoff.id == dropped.receipt.handoff_id
    assert await steps(store) == ["drop_off", "pick_up", "recall", "pick_up"]
    assert await store.leases_of(BOB.agent) == (picked.lease,)


async def test_a_lease_that_lapsed_before_its_picker_asked_again_is_over(store: RedisStore, clock: Clock):
    dropped = await drop_off(store)
    lost = await pick_up(store, key="k")
    await live(store, clock, LEASE_MS)
    assert await store.lapse(lost.lease.handoff_id)

    again = await pick_up(store, key="k")

    assert (again.handoff.id, again.repeated) == (dropped.receipt.handoff_id, False)
    assert again.lease.fence > lost.lease.fence
    with pytest.raises(LeaseLost):
        await complete(store, lost.lease)


async def test_a_lease_is_taken_back_unheard_only_if_nobody_was_told_of_it(store: RedisStore):
    """The first call's client has left; under the same key it has come again, and its lease is its own."""
    await drop_off(store)
    lost = await pick_up(store, key="lost")
    assert await store.recall(lost.lease, "the client left", unheard=True)
    first = await pick_up(store, key="k")
    again = await pick_up(store, key="k")
    assert await store.recall(first.lease, "the client left", unheard=True) is None
    await extend(store, again.lease)
    assert await store.leases_of(BOB.agent) == (again.lease,)
    assert await store.recall(again.lease, "the holder is revoked")


async def test_a_lease_whose_answer_the_broker_had_to_ask_for_again_was_told_to_nobody(store: RedisStore, late: Late):
    """It is the first answer of this call; if its client has left meanwhile, it goes back and counts as nothing."""

    async def nothing() -> None: ...

    await drop_off(store)
    picked = await late("pick_up", lambda one: pick_up(one, key="k"), nothing)
    assert not picked.repeated

    assert await store.recall(picked.lease, "the client left", unheard=True)

    assert await steps(store) == ["drop_off", "pick_up", "recall"]
    assert await state(store, picked.handoff.id) == "waiting"


async def test_a_lease_that_another_call_was_told_of_while_the_answer_was_lost_is_kept(store: RedisStore, late: Late):
    """Its client came again under its key, and was faster than the broker."""
    await drop_off(store)

    async def comes_again() -> None:
        assert (await pick_up(store, key="k")).repeated

    picked = await late("pick_up", lambda one: pick_up(one, key="k"), comes_again)
    assert picked.repeated
    assert await store.recall(picked.lease, "the client left", unheard=True) is None


@pytest.mark.parametrize("verb", ["approve", "deny"])
async def test_a_judgement_is_repeated_to_its_judge_and_to_nobody_else(store: RedisStore, late: Late, verb: Any):
    """Who judges what another has judged already is told that it has moved."""
    queue = await store.put_queue(UPKEEP, a_queue("careful", approval=True))
    new = work(queue=queue, key="k")
    await store.drop_off(ANN, queue, new)

    async def another() -> None:
        with pytest.raises(HandoffMoved):
            await store.judge(CAROL, new.id, verb, digest=new.digest, reason="")

    answer = await late("judge", lambda one: judge(one, new.id, verb, digest=new.digest), another)

    assert answer.repeated
    assert await steps(store) == ["drop_off", verb]


async def test_a_judgement_is_repeated_though_the_work_was_picked_up_and_released(store: RedisStore, late: Late):
    """Two memories of operators' acts: the later one does not wipe out the earlier."""
    queue = await store.put_queue(UPKEEP, a_queue("careful", approval=True))
    new = work(queue=queue, key="k")
    await store.drop_off(ANN, queue, new)

    async def further() -> None:
        await release(store, (await pick_up(store, queue=queue)).lease)

    answer = await late("judge", lambda one: judge(one, new.id, "approve", digest=new.digest), further)

    assert (answer.state, answer.repeated) == ("waiting", True)
    assert await steps(store) == ["drop_off", "approve", "pick_up", "release"]


async def test_a_release_is_repeated_to_its_operator_and_another_is_told_that_it_has_moved(
    store: RedisStore, late: Late
):
    await drop_off(store)
    lease = (await pick_up(store)).lease

    async def another() -> None:
        with pytest.raises(HandoffMoved):
            await store.release(CAROL, lease, reason="")

    answer = await late("release", lambda one: release(one, lease), another)

    assert (answer.state, answer.repeated) == ("waiting", True)
    assert await steps(store) == ["drop_off", "pick_up", "release"]


async def test_a_change_of_an_agent_that_was_overtaken_is_not_denied(store: RedisStore, late: Late):
    """It was written and then overwritten: nobody may be told that it was made from an old record, and never stood."""
    known = await store.principal(BOB.agent, fresh=True)
    assert known is not None
    with pytest.raises(BrokerUnavailable) as refusal:
        await late(
            "put_principal",
            lambda one: one.put_principal(OPS, msgspec.structs.replace(known, standing="frozen")),
            lambda: change(store, BOB, "active"),
        )
    assert refusal.value.stored == "unknown"
    assert (await store.standing(BOB.agent)).endswith(" active")


async def test_a_new_queue_that_was_edited_in_between_is_not_said_to_exist_with_other_settings(
    store: RedisStore, late: Late
):
    new = a_queue("fresh")

    async def edit() -> None:
        made = (await store.queues(fresh=True))[new.name]
        await store.put_queue(UPKEEP, msgspec.structs.replace(made, purpose="another"))

    with pytest.raises(BrokerUnavailable) as refusal:
        await late("put_queue", lambda one: one.put_queue(OPS, new), edit)
    assert refusal.value.stored == "unknown"
    with pytest.raises(QueueExists):
        await store.put_queue(OPS, new)


# ---- half of an act, and then the store is away -------------------------------------------------------------------


def away_before(here: RedisStore, name: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store goes away right before this is asked of it, so it is never sent."""
    real, calls = getattr(here, name), iter([True])

    async def ask(*arguments: Any) -> Any:
        if next(calls, False):
            await out_of_reach(here, proxy)
        return await real(*arguments)

    monkeypatch.setattr(here, name, ask)


async def test_a_record_that_is_written_is_not_denied_when_the_gate_is_out_of_reach(
    store: RedisStore, here: RedisStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
):
    """The gate was never sent; but "nothing was stored" would be false, and upkeep will put it in force."""
    known = await store.principal(BOB.agent, fresh=True)
    assert known is not None

    away_before(here, "gate", proxy, monkeypatch)
    changed = msgspec.structs.replace(known, standing="revoked", reason="so it is")
    with pytest.raises(BrokerUnavailable) as refusal:
        await here.put_principal(OPS, changed)

    assert refusal.value.stored == "unknown"
    assert await store.changing() == (BOB.agent,)
    proxy.away = False
    assert (await here.put_principal(OPS, changed)).standing == "revoked"
    assert (await store.standing(BOB.agent)).endswith(" revoked")
    assert [e.step for e in await store.entries(at_most=1_000) if e.agent == BOB.agent] == ["put_principal", "gate"] * 2


async def test_a_queue_that_is_made_is_not_denied_when_the_list_is_out_of_reach(
    store: RedisStore, here: RedisStore, proxy: Proxy
):
    """Reading what there is comes after; losing that loses nothing of what is said."""

    def away() -> None:
        proxy.away = True

    proxy.cut("before", b"HGETALL").when_met = away
    made = await here.put_queue(OPS, a_queue("fresh"))
    assert (await store.queues(fresh=True))[made.name] == made
    assert await here.remove_queue(OPS, made)
    assert "fresh" not in await store.queues(fresh=True)


@pytest.mark.parametrize("before", ["overdue", "erase", "remove_queue"])
async def test_a_queue_that_is_being_removed_is_not_said_to_be_untouched(
    store: RedisStore, here: RedisStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, before: str
):
    """It is closed by then. Said again, the removal is finished."""
    await drop_off(store)
    await complete(store, (await pick_up(store)).lease)
    away_before(here, before, proxy, monkeypatch)
    operations = Operations(here, bytes)
    with pytest.raises(BrokerUnavailable) as refusal:
        await operations.remove_queue(OPS, QUEUE.name)

    assert refusal.value.stored == "unknown"
    assert (await store.queues(fresh=True))[QUEUE.name].state == "draining"
    proxy.away = False
    assert await operations.remove_queue(OPS, QUEUE.name) == (0 if before == "remove_queue" else 1)
    assert await store.queues(fresh=True) == {}


async def test_what_a_removal_has_erased_is_counted_though_an_answer_was_lost(here: RedisStore, proxy: Proxy):
    """Asked again, the step finds nothing to erase; but it was there, and is gone."""
    for _ in range(3):
        await drop_off(here)
        await complete(here, (await pick_up(here)).lease)
    cut = proxy.cut("after", script("erase").sha)

    assert await Operations(here, bytes).remove_queue(OPS, QUEUE.name) == 3
    assert cut.left == 0


async def test_a_mending_that_stopped_half_way_is_not_denied(
    store: RedisStore, here: RedisStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
):
    """Some of it may be mended."""
    await drop_off(store)
    away_before(here, "_mend_one", proxy, monkeypatch)
    with pytest.raises(BrokerUnavailable) as refusal:
        await Operations(here, bytes).mend(OPS)
    assert refusal.value.stored == "unknown"
    proxy.away = False


@pytest.mark.parametrize("step", ["mend", "revoked", "overdue"])
async def test_a_store_that_is_away_for_one_step_of_upkeep_is_no_fault_of_a_single_thing(
    store: RedisStore, here: RedisStore, proxy: Proxy, step: str
):
    """It is not said to be one that cannot be put right, though the store is there again at once: it ends the whole."""
    await drop_off(store)
    cut = proxy.cut("after", script(step).sha, times=2)
    with pytest.raises(BrokerUnavailable):
        await (here.mend() if step == "mend" else go_round(here))
    assert cut.left == 0


# ---- long after --------------------------------------------------------------------------------------------------


async def test_a_request_is_remembered_for_as_long_as_its_record_is_kept(store: RedisStore, clock: Clock):
    """Until retention forgets it the same key gets the first answer; then it is new work, and the ledger says so."""
    queue = await store.put_queue(UPKEEP, a_queue("short", retention_ms=60_000))
    first = await drop_off(store, queue=queue, key="k")
    await complete(store, (await pick_up(store, queue=queue)).lease)
    clock.advance(59_999)
    assert await store.erase(first.receipt.handoff_id) is None
    assert (await drop_off(store, queue=queue, key="k")).receipt == first.receipt

    clock.advance(1)
    assert await store.erase(first.receipt.handoff_id)
    again = await drop_off(store, queue=queue, key="k")

    assert not again.repeated
    assert again.receipt.handoff_id == first.receipt.handoff_id
    assert await steps(store) == ["drop_off", "pick_up", "complete", "erased", "drop_off"]
