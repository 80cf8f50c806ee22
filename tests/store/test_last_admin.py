"""The last admin stays: an installation that nobody governs could never be governed again."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import msgspec
import pytest

from dropoff.core.caller import Caller, Principal, caller_of
from dropoff.core.credential import hash_of, id_of
from dropoff.core.grant import Grant
from dropoff.core.handoff import AgentName
from dropoff.errors import AgentRevoked, BrokerUnavailable, ChangingNow, Frozen, NotAllowed, Unauthenticated
from dropoff.operations import Operations
from dropoff.storage.keys import Keys
from dropoff.storage.store import RedisStore
from tests.look import Look, check_authority
from tests.servers import Server, source_of
from tests.world import BOB, OPS, UPKEEP, Clock, an_admin, change, within

ROUNDS = 20

Ending = Callable[[Operations, Caller, str], Awaitable[Principal]]
ENDINGS: dict[str, Ending] = {
    "freeze": lambda operations, by, name: operations.freeze(by, name),
    "revoke": lambda operations, by, name: operations.revoke(by, name),
    "ungrant": lambda operations, by, name: operations.ungrant(by, name, ["admin"]),
}
every_ending = pytest.mark.parametrize("how", ENDINGS)


@pytest.fixture
async def stores(server: Server, keys: Keys, clock: Clock, store: RedisStore) -> AsyncIterator[list[RedisStore]]:
    """Three brokers' own, on one store."""
    others = [RedisStore(source_of(server), keys, clock) for _ in range(2)]
    for one in others:
        await one.start()
    yield [store, *others]
    for one in others:
        await one.close()


@pytest.fixture
def operations(stores: list[RedisStore]) -> list[Operations]:
    return [Operations(store, secrets.token_bytes) for store in stores]


async def kept(look: Look, operations: Operations, how: str, by: Caller, name: str) -> None:
    """It is refused, with its reason, and nothing changed."""
    async with look.nothing_changes():
        with pytest.raises(NotAllowed) as refusal:
            await ENDINGS[how](operations, by, name)
    assert f"may not end the authority of '{name}', the last admin." in str(refusal.value)


# ---- one after the other ----------------------------------------------------------------------------------------


@every_ending
async def test_the_last_admin_cannot_be_ended_in_any_way(operations: list[Operations], look: Look, how: str):
    await kept(look, operations[0], how, OPS, "ops")


@every_ending
@pytest.mark.parametrize("gone", ["freeze", "revoke", "ungrant"])
async def test_an_admin_who_may_nothing_does_not_count(operations: list[Operations], look: Look, how: str, gone: str):
    """Of two either may go, and then the other is the last."""
    await an_admin(operations[0].store, "deputy")
    await ENDINGS[gone](operations[0], OPS, "deputy")

    await kept(look, operations[1], how, OPS, "ops")


async def test_who_is_thawed_counts_again(operations: list[Operations], store: RedisStore):
    await an_admin(store, "deputy")
    await operations[0].freeze(OPS, "deputy")
    await operations[0].thaw(OPS, "deputy")

    await operations[1].revoke(OPS, "ops")


async def test_an_admin_whose_record_is_lost_does_not_count(
    operations: list[Operations], store: RedisStore, look: Look
):
    """The set still names it, and it is nobody: to let the last one go by its name would lock all out."""
    deputy = await an_admin(store, "deputy")
    await look.client.delete(look.keys.of("agent", agent=deputy.agent))

    await kept(look, operations[0], "freeze", OPS, "ops")


async def test_the_last_admin_may_change_in_every_other_way(operations: list[Operations], store: RedisStore):
    await operations[0].grant(OPS, "ops", ["drop:work"])
    ops = await store.principal(OPS.agent, fresh=True)
    assert ops is not None
    put = await store.put_principal(UPKEEP, msgspec.structs.replace(ops, bearers=("new",), grants=(Grant("admin"),)))

    assert put.governs


async def test_an_agent_that_never_governed_may_go(store: RedisStore):
    assert (await change(store, BOB, "revoked")).agent == BOB.agent


async def test_the_first_operator_comes_into_an_empty_store(empty_store: RedisStore, look: Look):
    """And is the last admin at once."""
    operations = Operations(empty_store, secrets.token_bytes)
    bearer = "dropoff_bearer_" + "o" * 43
    made = await operations.ensure_operator(bearer)
    by = caller_of(made, id_of(hash_of(bearer)))

    assert await look.client.smembers(look.keys.of("admins")) == {"operator"}
    await kept(look, operations, "revoke", by, "operator")


# ---- at the same moment -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how_many", [2, 3])
async def test_admins_who_end_each_other_at_the_same_moment_leave_one(
    operations: list[Operations], look: Look, how_many: int, fresh_seed: int
):
    """Each by a broker of its own, round after round; who is left makes the admins of the next one, and goes."""
    chance = random.Random(fresh_seed)
    left = OPS
    for number in range(ROUNDS):
        admins = await _made(operations[0], left, [f"admin-{number}-{place}" for place in range(how_many)])
        await operations[0].revoke(left, left.agent)
        ends = [
            _ended(broker, chance.choice(list(ENDINGS)), admin, admins[place - 1].agent)
            for place, (broker, admin) in enumerate(zip(operations, admins, strict=False))
        ]
        await within("all to have tried", asyncio.gather(*ends))

        check_authority(await look.everything())
        governing = [one for one in await operations[1].store.principals() if one.governs]
        assert governing, f"nobody governs after round {number}, seed {fresh_seed}"
        last = governing[0]
        assert await operations[2].store.standing(last.agent) == f"{last.rev} active"
        by = next(one for one in admins if one.agent == last.agent)
        for other in governing[1:]:
            await operations[0].revoke(by, other.agent)
        left = msgspec.structs.replace(by, rev=last.rev)


async def _made(operations: Operations, by: Caller, names: list[str]) -> list[Caller]:
    made = [await operations.add_agent(by, name, ["admin"]) for name in names]
    return [caller_of(one.principal, id_of(hash_of(one.bearer))) for one in made]


async def _ended(operations: Operations, how: str, by: Caller, name: AgentName) -> None:
    """Or refused: it is the last one, or who says so was ended a moment before."""
    with suppress(NotAllowed, Frozen, Unauthenticated, AgentRevoked, ChangingNow, BrokerUnavailable):
        await ENDINGS[how](operations, by, name)
