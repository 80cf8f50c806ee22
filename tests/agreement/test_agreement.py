"""Random agents, random clocks: the store and its model must tell the same story.

Both get the same calls. After each one the answers or refusals are the same, and so are the entries that were written,
every record, the figures, what is overdue; and each record stands in the indexes that its state demands.

    pytest tests/agreement                       120 runs of 40 calls, over both servers
    pytest -m campaign tests/agreement           2,000 runs
    DROPOFF_SEED=… pytest tests/agreement        the very same runs again

The seed is new in every session and printed with the report. A story that fails is told again with calls left out, as
long as it still fails; the shortest is shown.
"""

from collections import Counter

import pytest

from tests.agreement.gives import every_answer
from tests.agreement.invent import VERBS, Call, story
from tests.agreement.telling import telling_on
from tests.servers import PRODUCTS, Server

RUNS = 60  # on each of two servers
RUNS_OF_CAMPAIGN = 1_000
CALLS = 40


def seed_of(seed: int, product: str, run: int) -> str:
    """Other stories on each server."""
    return f"{seed} {product} {run}"


async def tell_stories(server: Server, seed: int, runs: int, stories: "Counter[str]") -> "Counter[str]":
    """Returns what the steps answered, and how often."""
    answers: Counter[str] = Counter()
    for run in range(runs):
        calls = story(seed_of(seed, server.product, run), CALLS)
        wrong = await told(server, calls, answers, stories)
        if wrong is not None:
            calls, wrong = await shortened(server, calls, wrong)
            lines = "\n".join(f"    {call}" for call in calls)
            pytest.fail(f"run {run} of DROPOFF_SEED={seed}; the shortest story that fails:\n{lines}\n{wrong}")
    stories[f"runs of {CALLS} calls on {server.product}"] += runs
    return answers


async def told(
    server: Server, calls: list[Call], answers: "Counter[str]", stories: "Counter[str] | None" = None
) -> Exception | None:
    """What went wrong when this was told to both, if anything."""
    try:
        async with telling_on(server, answers) as both:
            await both.tell(calls)
    except Exception as wrong:  # noqa: BLE001  (whatever it is: it is shown, with its story)
        return wrong
    if stories is not None:
        stories[f"calls answered alike on {server.product}"] += both.answered
        stories[f"calls refused alike on {server.product}"] += both.refused
    return None


async def shortened(server: Server, calls: list[Call], wrong: Exception) -> tuple[list[Call], Exception]:
    """The story without all calls that it fails without: halves are tried first, single calls last."""
    size = len(calls) // 2
    while size:
        start = 0
        while start < len(calls):
            fewer = calls[:start] + calls[start + size :]
            still_wrong = await told(server, fewer, Counter())
            if still_wrong is None:
                start += size
            else:
                calls, wrong = fewer, still_wrong
        size //= 2
    return calls, wrong


async def test_the_store_and_its_model_tell_the_same_story(server: Server, fresh_seed: int, stories: "Counter[str]"):
    """Whatever agents, operators and the clock do, in whatever order."""
    await tell_stories(server, fresh_seed, RUNS, stories)


@pytest.mark.campaign
async def test_the_store_and_its_model_tell_the_same_story_2000_times(
    server: Server, fresh_seed: int, stories: "Counter[str]"
):
    """The same, for as long as it takes; and each word and each refusal of each step was heard."""
    answers = await tell_stories(server, fresh_seed, RUNS_OF_CAMPAIGN, stories)
    print(*(f"{count:8,} {answer}" for answer, count in sorted(answers.items())), sep="\n")
    assert every_answer() - answers.keys() == set()
    assert not {answer for answer in answers if answer not in every_answer()}


@pytest.mark.parametrize("product", PRODUCTS)
def test_every_verb_comes_up_in_a_session(fresh_seed: int, product: str):
    """Agreement about calls that never happen would prove nothing."""
    calls = [call for run in range(RUNS) for call in story(seed_of(fresh_seed, product, run), CALLS)]
    assert {call.verb for call in calls} == set(VERBS)
