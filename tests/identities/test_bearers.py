"""Long bearers: forged, borrowed, cut, revoked. Who cannot prove who is calling hears one sentence, always the same."""

import msgspec
import pytest

from dropoff.core import credential
from dropoff.core.handoff import AgentName
from dropoff.errors import Unauthenticated
from tests.fundamentals.conftest import House
from tests.look import Look


async def refused(house: House, authorization: str | None) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        await house.callers.of(authorization)
    return str(refusal.value)


@pytest.fixture
async def bearer(house: House) -> str:
    return (await house.operations.add_agent(house.operator, "newcomer", ["pick:research"])).bearer


async def test_a_bearer_proves_its_agent(house: House, bearer: str):
    """The caller is the agent that the credential was made for, with its grants; nothing else in the request counts."""
    caller = await house.callers.of(f"Bearer {bearer}")
    assert caller.agent == "newcomer"
    assert [str(grant) for grant in caller.grants] == ["pick:research"]
    assert await house.callers.of(f"bearer {bearer}") == caller  # the scheme's name is the same in any case


async def test_every_cause_has_the_same_sentence(house: House, bearer: str):
    """A stranger does not learn whether a credential exists, is cut short, or was made up."""
    forged = credential.bearer(b"f" * credential.BEARER_BYTES)
    attempts = [None, "", "Bearer", f"Bearer {forged}", f"Bearer {bearer[:-1]}", f"Bearer {bearer}x", f"Basic {bearer}"]
    assert len({await refused(house, attempt) for attempt in attempts}) == 1


async def test_the_hash_of_a_bearer_is_no_bearer(house: House, bearer: str):
    """Who reads the store cannot call with what is kept there."""
    await refused(house, f"Bearer {credential.hash_of(bearer)}")
    await refused(house, f"Bearer {credential.PREFIX}{credential.hash_of(bearer)}")


async def test_the_bearer_itself_is_nowhere_in_the_store(house: House, bearer: str, look: Look):
    """Only its hash is kept."""
    everything = str(await look.everything())
    assert bearer.removeprefix(credential.PREFIX) not in everything
    assert credential.hash_of(bearer) in everything


async def test_a_revoked_agent_is_not_known_any_more(house: House, bearer: str):
    await house.callers.of(f"Bearer {bearer}")
    await house.operations.revoke(house.operator, "newcomer")
    await refused(house, f"Bearer {bearer}")


async def test_a_credential_taken_out_of_the_record_is_refused_where_it_was_remembered(house: House, bearer: str):
    """The index may be remembered; the record decides."""
    await house.callers.of(f"Bearer {bearer}")
    record = await house.store.principal(AgentName("newcomer"))
    assert record is not None
    await house.store.put_principal(house.operator, msgspec.structs.replace(record, bearers=()))
    await refused(house, f"Bearer {bearer}")


async def test_another_start_with_the_same_credential_finds_the_operator(house: House):
    """The operator is made once; a second credential is added to it and the first goes on working."""
    first, second = "dropoff_bearer_" + "o" * 43, "dropoff_bearer_" + "p" * 43
    before = await house.store.principal(AgentName("operator"), fresh=True)
    assert await house.operations.ensure_operator(first) == before
    await house.operations.ensure_operator(second)
    assert (await house.callers.of(f"Bearer {first}")).agent == (await house.callers.of(f"Bearer {second}")).agent
