"""What a caller may do: grants, deny by default."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropoff.core import policy
from dropoff.core.caller import RESERVED, Caller, Principal, Revision, caller_of, caller_upkeep
from dropoff.core.credential import BEARER_BYTES, bearer, hash_of, id_of
from dropoff.core.grant import Act, Grant, parse
from dropoff.core.handoff import NAME, AgentName, QueueName
from dropoff.core.policy import allowed, may, only_one, require, require_admin
from dropoff.errors import NotAllowed, Problem, QueueNeeded, QueueUnknown, Unauthenticated

ACTS: list[Act] = ["drop", "pick", "inspect", "operate"]
QUEUES = [QueueName(name) for name in ("drafts", "research", "research.deep", "reviews")]
names = st.from_regex(NAME, fullmatch=True)


def caller(*grants: str) -> Caller:
    parsed = [parse(grant) for grant in grants]
    return Caller(
        agent=AgentName("ann"),
        rev=Revision("1"),
        grants=tuple(grant for grant in parsed if isinstance(grant, Grant)),
    )


@given(st.sampled_from([*ACTS, "admin"]), names)
def test_without_a_grant_nothing_is_allowed(act: Act, queue: str):
    assert not may(caller(), act, queue)


@given(st.sampled_from(ACTS), names)
def test_a_grant_means_its_act_and_its_queue_and_nothing_else(act: Act, queue: str):
    one = caller(f"{act}:{queue}")

    assert may(one, act, queue)
    assert not may(one, act, queue + "x")
    assert not may(one, act, queue[:-1])
    assert not [other for other in (*ACTS, "admin") if other != act and may(one, other, queue)]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("grant", "covered"),
    [
        ("drop:research", {"research"}),
        ("drop:research*", {"research", "research.deep"}),
        ("drop:research.*", {"research.deep"}),
        ("drop:*", set(QUEUES)),
        ("drop:re*", {"research", "research.deep", "reviews"}),
        ("admin", set(QUEUES)),
    ],
)
def test_a_star_stands_for_any_ending(grant: str, covered: set[str]):
    assert set(allowed(caller(grant), "drop", QUEUES)) == covered


@given(st.sampled_from(ACTS), names, st.sampled_from(["", "*"]))
def test_a_grant_is_written_as_it_is_read(act: Act, stem: str, star: str):
    text = f"{act}:{stem}{star}"

    assert str(parse(text)) == text
    assert str(parse("admin")) == "admin"


@pytest.mark.parametrize(
    "text",
    ["", "drop", "drop:", "drop:Research", "drop:a b", "drop:*x", "drop:a*b", "drop:a**", "own:research", "admin:*",
     ":research", "drop:re?", "drop:-a", "drop:a\n"],
)  # fmt: skip
def test_what_is_no_grant_is_told_and_not_guessed(text: str):
    """A pattern that means less than it seems to is worse than none."""
    problem = parse(text)

    assert isinstance(problem, Problem)
    assert "drop:QUEUE" in problem.expected


def test_a_slip_of_the_pen_is_helped_with():
    problem = parse("dorp:research")

    assert isinstance(problem, Problem)
    assert "did you mean 'drop'?" in problem.problem


# ---- refusals ---------------------------------------------------------------------------------------------------


def test_who_may_is_given_the_queue():
    assert require(caller("drop:research"), "drop", "research", QUEUES) == "research"


def test_missing_and_forbidden_look_alike_without_any_grant():
    """A stranger cannot learn names of queues by asking."""
    refusals = []
    for queue in ("research", "nothing"):
        with pytest.raises(QueueUnknown) as refusal:
            require(caller("drop:drafts"), "drop", queue, QUEUES)
        refusals.append(str(refusal.value).replace(queue, "…"))

    assert refusals[0] == refusals[1]


def test_who_has_another_grant_on_the_queue_hears_what_it_may_do():
    with pytest.raises(NotAllowed) as refusal:
        require(caller("pick:research"), "drop", "research", QUEUES)

    assert (refusal.value.agent, refusal.value.only) == ("ann", ("pick up",))


def test_a_grant_on_a_queue_that_is_not_there_gives_nothing():
    with pytest.raises(QueueUnknown):
        require(caller("drop:*"), "drop", "nothing", QUEUES)


def test_a_name_that_is_nearly_right_is_helped_with_among_one_s_own():
    with pytest.raises(QueueUnknown) as refusal:
        require(caller("drop:research"), "drop", "reserach", QUEUES)
    assert refusal.value.meant == "research"

    with pytest.raises(QueueUnknown) as refusal:
        require(caller("drop:research"), "drop", "reveiws", QUEUES)
    assert refusal.value.meant == ""


def test_a_queue_that_is_not_named_is_the_only_one_there_is():
    assert only_one(caller("drop:research"), "drop", "drop_off", QUEUES) == "research"
    with pytest.raises(QueueNeeded):
        only_one(caller("drop:*"), "drop", "drop_off", QUEUES)
    with pytest.raises(NotAllowed, match="any queue"):
        only_one(caller(), "drop", "drop_off", QUEUES)


def test_only_an_admin_is_an_admin():
    """Every other grant together is not enough."""
    assert require_admin(caller("admin"), "add queues") == "ann"
    with pytest.raises(NotAllowed):
        require_admin(caller("drop:*", "pick:*", "inspect:*", "operate:*"), "add queues")


def test_every_act_has_its_words():
    assert set(policy.DOING) == {*ACTS, "admin"}


# ---- who is calling ---------------------------------------------------------------------------------------------

BEARER = bearer(b"\x01" * BEARER_BYTES)
KNOWN = Principal(
    agent=AgentName("ann"), rev=Revision("7"), grants=(Grant("drop", "research"),), bearers=(hash_of(BEARER),)
)


def test_a_proven_caller_has_the_record_s_grants_and_revision():
    made = caller_of(KNOWN, id_of(hash_of(BEARER)), trace="t")

    assert (made.agent, made.rev, made.grants, made.trace) == ("ann", "7", KNOWN.grants, "t")
    assert made.credential == id_of(hash_of(BEARER))
    assert BEARER not in repr(made)


@pytest.mark.parametrize(
    ("principal", "credential"),
    [
        (None, id_of(hash_of(BEARER))),
        (Principal(agent=AgentName("ann"), standing="revoked", bearers=KNOWN.bearers), id_of(hash_of(BEARER))),
        (KNOWN, id_of(hash_of(BEARER + "x"))),
        (KNOWN, ""),
    ],
)
def test_every_cause_has_the_same_refusal(principal: Principal | None, credential: str):
    """Unknown, revoked, replaced: a stranger learns nothing."""
    with pytest.raises(Unauthenticated) as refusal:
        caller_of(principal, credential)

    assert str(refusal.value) == str(Unauthenticated())


def test_upkeep_is_nobody_s_name():
    assert caller_upkeep().agent in RESERVED
    assert caller_upkeep().grants == ()
