"""A cut connection before, in and after every step: nothing runs twice, and what is said is true.

Each step has its story (`stories.py`), told to two worlds (`twins.py`). In one of them the connection is cut at that
step: before it reaches the server, in the middle of it, or when it has run and its answer is on the way; once, so that
asking again by the broker itself is answered, or twice, so that nobody knows. Then everything in the store must be as
in the other world before the call or after it, and nothing in between; what was said must be true of it; and whoever
asks again, here or at another broker, gets the first answer: the same entry, ids, fence and end of the lease.

Some 1,500 cuts in the suite, ten times as many by      pytest -m campaign tests/faults
"""

from collections import Counter
from random import Random
from typing import Any, Final

import pytest

from dropoff.storage.keys import Keys
from dropoff.storage.scripts import every_script, script
from tests.faults.stories import SAME, STORIES, Story
from tests.faults.twins import Asking, Nothing, Twins, Unknown, heard, is_refusal, out_of_reach, twins
from tests.proxy import MOMENTS, Moment
from tests.servers import PRODUCTS, Server
from tests.world import Clock

CUTS: Final = "cuts between broker and store, each caller answered truly and nothing done twice"
CUTS_MIN: Final = 1_000
CAMPAIGN_ROUNDS: Final = 10

WAYS: Final[list[tuple[Moment, int, bool]]] = [
    (moment, times, amid) for moment in MOMENTS for times in (1, 2) for amid in (False, True)
]


def test_every_step_has_its_story():
    """A step that nobody has cut may do anything twice."""
    assert {one.step for one in STORIES} == {one.name for one in every_script()}


@pytest.mark.parametrize("told", STORIES, ids=lambda told: told.name)
async def test_a_lost_reply_changes_nothing_but_the_time(
    server: Server, keys: Keys, clock: Clock, told: Story, fresh_seed: int, stories: Counter[str]
):
    """Cut once or twice, alone or in the middle of a batch: done once or not at all, and truly said."""
    await rounds(server, keys, clock, told, Random(f"{fresh_seed} {told.name}"), stories)


@pytest.mark.campaign
@pytest.mark.parametrize("told", STORIES, ids=lambda told: told.name)
async def test_many_lost_replies_change_nothing_but_the_time(
    server: Server, told: Story, fresh_seed: int, stories: Counter[str]
):
    """The same in other situations, each from the beginning of time."""
    for number in range(CAMPAIGN_ROUNDS):
        chance = Random(f"{fresh_seed} {told.name} {number}")
        await rounds(server, Keys(prefix=f"t-{chance.randbytes(6).hex()}"), Clock(), told, chance, stories)


@pytest.mark.parametrize("told", STORIES, ids=lambda told: told.name)
async def test_a_store_out_of_reach_has_stored_nothing(
    valkey_server: Server, keys: Keys, clock: Clock, told: Story, fresh_seed: int, stories: Counter[str]
):
    """There is no connection to be had: it says "nothing", and that is so."""
    async with twins(valkey_server, keys, clock) as t:
        asking = await told.telling(t, Random(f"away {fresh_seed} {told.name}"))
        before = await t.found_here()
        await out_of_reach(t.here, t.proxy)

        assert await heard([asking(t.here)]) == [Nothing]

        assert await t.found_here() == before
        t.proxy.away = False
        [expected] = await heard([asking(t.whole)])
        await asked_again(t, told, asking, expected, "after the store was away")
        stories[CUTS] += 1


async def rounds(server: Server, keys: Keys, clock: Clock, told: Story, chance: Random, stories: Counter[str]) -> None:
    async with twins(server, keys, clock) as t:
        for moment, times, amid in WAYS:
            await one_round(t, told, chance, moment, times, amid)
            stories[CUTS] += times


async def one_round(t: Twins, told: Story, chance: Random, moment: Moment, times: int, amid: bool) -> None:
    asking = await told.telling(t, chance)
    assert await t.found_here() == await t.found_whole(), "the story is not the same in both worlds"
    first, last = (t.others(told.step), t.others(told.step)) if amid else ([], [])
    has_run = times == 1 or moment == "after"
    where = f"{told.name} cut {moment}, {times} times, {len(first)} others"

    if has_run:
        whole = await heard(one(t.whole) for one in (*first, asking, *last))
        middle = await t.found_whole()
        expected = whole.pop(len(first))
    else:
        whole = await heard(one(t.whole) for one in (*first, *last))
        middle = await t.found_whole()
        [expected] = await heard([asking(t.whole)])

    cut = t.proxy.cut(moment, script(told.step).sha, times=times)
    here = await heard(one(t.here) for one in (*first, asking, *last))
    assert cut.left == 0, f"{where}: the connection was not cut"
    said = here.pop(len(first))

    if told.whole or times == 1:
        assert await t.found_here() == middle, where
    assert [await t.plain_here(one) for one in here] == [await t.plain_whole(one) for one in whole], where
    if times == 2 or is_refusal(expected):
        assert said is Unknown, where
    else:
        await same(t, told, said, expected, where)
    await asked_again(t, told, asking, expected, where)


async def asked_again(t: Twins, told: Story, asking: Asking, expected: Any, where: str) -> None:
    """From here and from another broker: the first answer, and nothing new."""
    for store in (t.here, t.elsewhere):
        [again] = await heard([asking(store)])
        await same(t, told, again, expected, f"{where}, asked again")
        assert await t.found_here() == await t.found_whole(), f"{where}, asked again"


async def same(t: Twins, told: Story, said: Any, expected: Any, where: str) -> None:
    if told.heard_again is not SAME and said == told.heard_again:
        return
    assert await t.plain_here(said) == await t.plain_whole(expected), where


def test_there_were_a_thousand_cuts(request: pytest.FixtureRequest, stories: Counter[str]):
    """Counted as they happened; of a part of the tests, that part."""
    name = test_a_lost_reply_changes_nothing_but_the_time.__name__
    ran = sum(getattr(item, "originalname", "") == name for item in request.session.items)
    assert stories[CUTS] >= CUTS_MIN * ran / (len(STORIES) * len(PRODUCTS))
