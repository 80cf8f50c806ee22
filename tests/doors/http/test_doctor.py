"""What a broker says of what it runs on. Each check is shown wrong by a real server that is set up wrongly."""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import redis

from dropoff import wiring
from dropoff.core import places
from dropoff.core.caller import Principal
from dropoff.core.handoff import AgentName
from dropoff.doctor.checks import CHECKS
from dropoff.doctor.stopped import stopped
from dropoff.doors.app import make_app
from dropoff.settings import Settings
from tests.doors.http.house import BRIEF, WORK, Agent
from tests.doors.http.test_refusals import problem
from tests.doors.served import serving
from tests.servers import Server
from tests.world import until

RIGHTS = "~dropoff:* &dropoff:* +@all -@dangerous +info +config|get"


class Clinic:
    """A broker, built as `dropoff up` builds it, over a server that a test may ruin."""

    def __init__(self, url: str, operator: Agent, server: Server) -> None:
        self.port = int(url.rpartition(":")[2])
        self.operator = operator
        self.server = server

    def told(self, *command: str) -> None:
        """What somebody does to the store behind the broker's back."""
        with self.server.client as client:
            client.execute_command(*command)

    def stored(self) -> dict[bytes, Any]:
        """Every key and its value, of a hash its fields; but for upkeep's heartbeat, which goes on by itself."""
        with redis.Redis(unix_socket_path=self.server.socket) as client:
            return {
                key: client.hgetall(key) if client.type(key) == b"hash" else client.dump(key)
                for key in client.scan_iter()
                if not key.endswith(b":beat")
            }

    async def findings(self) -> dict[str, dict[str, Any]]:
        answer = await self.operator.seen("/v1/doctor")
        return {one["check"]: one for one in answer["findings"]}

    async def wrong(self) -> dict[str, dict[str, Any]]:
        return {check: one for check, one in (await self.findings()).items() if one["verdict"] != "ok"}


Clinics = Callable[..., AbstractAsyncContextManager[Clinic]]


@pytest.fixture(params=["valkey", "redis"])
def own(request: pytest.FixtureRequest, own_server: Callable[..., Server]) -> Callable[..., Server]:
    """A server for this test alone, of each product in turn, durable unless the test says otherwise."""
    return lambda **settings: own_server(request.param, **{"appendfsync": "always", **settings})


@pytest.fixture
def clinic(own: Callable[..., Server], tmp_path: Path) -> Clinics:
    @contextlib.asynccontextmanager
    async def opened(
        user: str = "", now_ms: Callable[[], int] = wiring.clock_ms, **settings: Any
    ) -> AsyncIterator[Clinic]:
        server = own()
        if user:
            with server.client as client:
                client.execute_command("ACL", "SETUSER", "broker", "reset", "on", ">secret", *user.split())
        login = "broker:secret@" if user else ""
        told = Settings(data=tmp_path, store=f"unix://{login}{server.socket}", **settings)
        async with wiring.building(told, now_ms) as (house, _, _), serving(make_app(house)) as url:
            bearer = (tmp_path / places.OPERATOR_FILE).read_text().strip()
            operator = Agent(url, bearer)
            yield Clinic(url, operator, server)
            await operator.http.aclose()
        with server.client as client:
            client.flushall()  # these keys bear the real prefix, which no test's leftovers do

    return opened


# ---- all is well ------------------------------------------------------------------------------------------------


async def test_where_all_is_well_everything_that_was_looked_at_is_said(clinic: Clinics):
    async with clinic() as ward:
        answer = await ward.operator.seen("/v1/doctor")

        assert answer["you"] == "operator"
        assert abs(answer["time_ms"] - wiring.clock_ms()) < 60_000
        assert {one["verdict"] for one in answer["findings"]} == {"ok"}
        checks = [one["check"] for one in answer["findings"]]
        without_limit = [name for name in CHECKS if name not in ("disk", "memory")]
        assert checks == [*without_limit, "tools"], "neither disk nor maxmemory is a matter of ours here"
        product = "Valkey 9" if ward.server.product == "valkey" else "Redis 7.0"
        assert product in answer["findings"][0]["says"]


async def test_looking_changes_nothing(clinic: Clinics):
    """Not even the throw-away step, which is run with every look."""
    async with clinic() as ward:
        await ward.findings()
        before = ward.stored()
        await ward.findings()
        assert ward.stored() == before


async def test_nobody_but_an_admin_is_shown_it(clinic: Clinics):
    async with clinic() as ward:
        made = await ward.operator.done("/v1/agents", {"name": "scout", "grants": ["inspect:*", "operate:*"]})
        scout = Agent(str(ward.operator.http.base_url), made["bearer"])
        problem(await scout.look("/v1/doctor"), 403, "not_allowed")
        await scout.http.aclose()


async def test_what_an_operator_has_stopped_is_told_with_what_ends_it(clinic: Clinics):
    """A freeze of everything, frozen agents, queues that are not open: nothing is wrong, and each can be ended."""
    async with clinic() as ward:
        ops = ward.operator
        assert (await ops.done("/v1/schemas/brief", BRIEF))["new"]
        before = await ward.findings()
        for name in ("scout", "writer"):
            await ops.done("/v1/agents", {"name": name})
            await ops.done("/v1/queues", {"name": name, "schema": "brief"})
        await ops.done("/v1/freeze", {"reason": "incident 7"})
        await ops.done("/v1/agents/scout/freeze", {"reason": "it loops"})
        await ops.done("/v1/queues/scout/pause", {"reason": "audit"})
        await ops.done("/v1/queues/writer/drain")

        answer = await ops.seen("/v1/doctor")
        notes = [one for one in answer["findings"] if one["verdict"] == "note"]

        assert [(one["says"], one["fix"]) for one in notes] == [
            ('Freeze: nobody drops off, picks up or finishes ("incident 7").', "dropoff thaw"),
            ("Agent 'scout' is frozen (\"it loops\").", "dropoff agent thaw scout"),
            ("Queue 'scout' is paused: nothing goes out (\"audit\").", "dropoff queue resume scout"),
            ("Queue 'writer' is draining: nothing comes in.", "dropoff queue resume writer"),
        ]
        for path in ("/v1/thaw", "/v1/agents/scout/thaw", "/v1/queues/scout/resume", "/v1/queues/writer/resume"):
            await ops.done(path)
        assert (await ward.findings()).keys() == before.keys()


def test_of_very_many_that_are_stopped_the_first_are_named():
    agents = [Principal(agent=AgentName(f"a{number:02}"), standing="frozen") for number in range(12)]
    notes = list(stopped(None, agents, ()))
    assert [one.says for one in notes[-2:]] == ["Agent 'a09' is frozen.", "and 2 more like this."]
    assert notes[-1].fix == "dropoff agent ls"


# ---- the store, ruined while the broker runs --------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_store_that_may_evict_by_now_is_found_and_the_fix_mends_it(clinic: Clinics, policy: str):
    async with clinic() as ward:
        ward.told("CONFIG", "SET", "maxmemory-policy", policy)
        found = await ward.wrong()
        assert found == {
            "eviction": {
                "check": "eviction",
                "verdict": "broken",
                "says": f"maxmemory-policy is {policy}: the store may silently delete handoffs.",
                "fix": "redis-cli config set maxmemory-policy noeviction (and in its configuration file)",
            }
        }
        ward.told(*fix_of(found["eviction"]))
        assert await ward.wrong() == {}


def fix_of(finding: dict[str, Any]) -> list[str]:
    """The command that the fix tells to type."""
    command, _, _ = finding["fix"].partition(" (")
    assert command.startswith("redis-cli ")
    return command.split()[1:]


@pytest.mark.parametrize(
    ("name", "value", "check", "verdict"),
    [
        ("appendfsync", "everysec", "fsync", "warning"),
        ("no-appendfsync-on-rewrite", "yes", "fsync", "warning"),
        ("appendonly", "no", "persistence", "broken"),
    ],
)
async def test_what_makes_writes_less_durable_is_found_and_the_fix_mends_it(
    clinic: Clinics, name: str, value: str, check: str, verdict: str
):
    async with clinic() as ward:
        ward.told("CONFIG", "SET", name, value)
        found = await ward.wrong()
        assert list(found) == [check]
        assert found[check]["verdict"] == verdict
        assert found[check]["says"].startswith(f"{name} is {value}: ")
        ward.told(*fix_of(found[check]))
        assert await ward.wrong() == {}


@pytest.mark.parametrize("right", ["-xdel", "-publish", "-info", "-time"])
async def test_a_right_that_was_taken_away_is_found(clinic: Clinics, right: str):
    """By a step that is run for nothing else: in a handoff's it would leave half of it done."""
    async with clinic(user=RIGHTS) as ward:
        assert await ward.wrong() == {}
        ward.told("ACL", "SETUSER", "broker", right)
        found = (await ward.wrong())["rights"]
        assert found["verdict"] == "broken"
        assert found["says"].startswith("The store does not let this user run ")
        assert found["fix"] == f"The broker's user needs: {RIGHTS}"
        ward.told("ACL", "SETUSER", "broker", *RIGHTS.split())
        assert await ward.wrong() == {}


async def test_a_store_that_keeps_its_settings_to_itself_is_said_to_promise_little(clinic: Clinics):
    """Managed services forbid CONFIG. What INFO tells all the same is judged."""
    async with clinic(user=f"{RIGHTS} -config") as ward:
        found = await ward.wrong()
        assert list(found) == ["fsync"]
        assert found["fsync"]["fix"] == "give the broker's user +config|get"
        ward.told("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        ward.told("CONFIG", "SET", "appendonly", "no")
        assert set(await ward.wrong()) == {"eviction", "persistence"}


async def test_a_store_that_is_nearly_full_is_said_before_it_is(clinic: Clinics):
    async with clinic() as ward:
        with ward.server.client as client:
            used = int(client.info("memory")["used_memory"])
        ward.told("CONFIG", "SET", "maxmemory", str(used * 2))
        assert (await ward.findings())["memory"]["verdict"] == "ok"
        ward.told("CONFIG", "SET", "maxmemory", str(int(used * 1.02)))
        found = await ward.wrong()
        assert list(found) == ["memory"]
        assert "of its maxmemory" in found["memory"]["says"]


async def test_a_store_that_is_gone_is_not_called_well(clinic: Clinics):
    async with clinic() as ward:
        await ward.findings()
        ward.server.kill()
        problem(await ward.operator.look("/v1/doctor"), 503, "broker_unavailable")
        ward.server.start()
        await until("the broker to have its store again", lambda: answers(ward))


async def answers(ward: Clinic) -> bool:
    return (await ward.operator.look("/v1/doctor")).status_code == 200


# ---- clocks, names, tools, disk ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("by_s", "word"), [(10, "10 s ahead of"), (-3_600, "3,600 s behind")])
async def test_a_broker_whose_clock_is_wrong_is_found(clinic: Clinics, by_s: int, word: str):
    async with clinic(now_ms=lambda: wiring.clock_ms() + by_s * 1_000) as ward:
        found = await ward.wrong()
        assert list(found) == ["clock"]
        assert found["clock"]["says"].startswith(f"The broker's clock is {word} the store's: ")


async def test_two_seconds_between_clocks_are_none(clinic: Clinics):
    async with clinic(now_ms=lambda: wiring.clock_ms() + 1_900) as ward:
        assert await ward.wrong() == {}


async def test_a_name_by_which_a_client_came_in_vain_is_said_and_the_fix_lets_it_in(
    clinic: Clinics, own_server: Callable[..., Server]
):
    async with clinic(allowed_hosts=("other:*",)) as ward:
        assert (await ward.operator.http.get("/livez", headers={"host": "probe"})).status_code == 200
        for _ in range(2):
            problem(await ward.operator.http.get("/v1/queues", headers={"host": "broker:8787"}), 421, "host_refused")
        found = (await ward.wrong())["host"]
        assert found["says"] == "Host header: clients connecting as 'broker:8787' will be refused."
        assert found["fix"] == "where that is this broker's name: DROPOFF_ALLOWED_HOSTS=other:*,broker:*"
    async with clinic(allowed_hosts=tuple(found["fix"].rpartition("=")[2].split(","))) as ward:
        answer = await ward.operator.http.get("/v1/queues", headers={"host": "broker:8787"})
        assert answer.status_code == 200
        assert await ward.wrong() == {}


async def test_names_are_remembered_within_a_bound_and_rubbish_is_not(clinic: Clinics):
    """Whoever calls chooses what stands in the header."""
    async with clinic() as ward:
        for name in (*(f"host{number}" for number in range(50)), "<script>", "x" * 200, "a b"):
            await ward.operator.http.get("/v1/queues", headers={"host": name})
        says = (await ward.findings())["host"]["says"]
        assert [f"'host{number}'" in says for number in (44, 45, 49)] == [False, True, True]
        assert "script" not in says
        assert "xxx" not in says


async def test_a_broker_that_listens_for_others_and_was_told_no_name_is_said_before_they_come(clinic: Clinics):
    name = socket.gethostname().lower()
    async with clinic(host="0.0.0.0") as ward:
        assert f"DROPOFF_ALLOWED_HOSTS={name}:*" in (await ward.wrong())["host"]["fix"]
    async with clinic(host="0.0.0.0", allowed_hosts=("broker:*",)) as ward:
        assert await ward.wrong() == {}, "whoever told names has thought of them"


async def test_the_tools_of_each_agent_are_measured_as_its_model_sees_them(clinic: Clinics):
    """A list that costs every turn dearly is said with what makes it shorter."""
    async with clinic() as ward:
        long = BRIEF | {"properties": {"topic": {"type": "string", "description": "x" * 15_000}}, "required": ["topic"]}
        for name, schema in (("research", BRIEF), ("essays", long)):
            await ward.operator.done(f"/v1/schemas/{name}", schema)
            await ward.operator.done("/v1/queues", {"name": name, "schema": name})
        for agent, grant in (("scout", "drop:research"), ("writer", "drop:essays"), ("nobody", "")):
            grants = [grant] if grant else []
            await ward.operator.done("/v1/agents", {"name": agent, "grants": grants})
        await ward.operator.done("/v1/agents/writer/grant", {"grants": ["pick:research"]})
        await ward.operator.done("/v1/agents", {"name": "gone", "grants": ["drop:research"]})
        await ward.operator.done("/v1/agents/gone/revoke")

        said = await tool_lists(ward)

        names = [one["says"].partition("'")[2].partition("'")[0] for one in said]
        assert sorted(names) == ["operator", "scout", "writer"]
        assert names[0] == "writer", "the longest first"
        assert [one["verdict"] for one in said] == ["warning", "ok", "ok"]
        assert "each turn of its model pays" in said[0]["says"]
        assert said[0]["fix"].startswith("shorten the descriptions")


async def test_of_many_agents_the_longest_lists_are_shown(clinic: Clinics, monkeypatch: pytest.MonkeyPatch):
    """And of very many only some are measured: a look must not cost more than it tells."""
    async with clinic() as ward:
        for number in range(12):
            await ward.operator.done("/v1/agents", {"name": f"agent{number}", "grants": ["inspect:*"]})
        assert len(await tool_lists(ward)) == 10
        monkeypatch.setattr("dropoff.doors.tool_lists.AGENTS_MAX", 3)
        assert len(await tool_lists(ward)) == 3


async def tool_lists(ward: Clinic) -> list[dict[str, Any]]:
    return [one for one in (await ward.operator.seen("/v1/doctor"))["findings"] if one["check"] == "tools"]


async def test_a_disk_with_too_little_room_is_said_in_both_figures(tmp_path: Path):
    """Under the embedded store, which is ours to fill."""
    for least, verdict in ((1, "ok"), (1 << 60, "broken")):
        told = Settings(data=tmp_path, disk_free_min=least)
        async with wiring.building(told) as (house, _, _), serving(make_app(house)) as url:
            agent = Agent(url, (tmp_path / places.OPERATOR_FILE).read_text().strip())
            [found] = [one for one in (await agent.seen("/v1/doctor"))["findings"] if one["check"] == "disk"]
            await agent.http.aclose()
        assert found["verdict"] == verdict
    assert "below 1,099,511,627,776 MB no new work is taken" in found["says"]
    assert "DROPOFF_DISK_FREE_MIN" in found["fix"]


# ---- mending ----------------------------------------------------------------------------------------------------


async def test_what_a_lost_key_took_is_put_back(clinic: Clinics):
    """The queue's own stream is gone, and with it all that waited; the records know better."""
    async with clinic() as ward:
        await ward.operator.done("/v1/schemas/brief", BRIEF)
        await ward.operator.done("/v1/queues", {"name": "research", "schema": "brief"})
        made = await ward.operator.done("/v1/agents", {"name": "scout", "grants": ["drop:research", "pick:research"]})
        scout = Agent(str(ward.operator.http.base_url), made["bearer"])
        dropped = await scout.done("/v1/drop_off", {"payload": WORK})
        assert await mended(ward) == 0, "nothing is wrong, so nothing is put right"

        ward.told("DEL", "dropoff:{p0}:q:research:ready:1")
        assert (await scout.done("/v1/pick_up", {"wait_seconds": 0}))["status"] == "nothing_to_pick_up"
        problem(await scout.ask("/v1/doctor/mend"), 403, "not_allowed")
        assert await mended(ward) == 1
        ward.told("SET", "dropoff:{p0}:q:research:dead", "of another type")
        assert await mended(ward, failed=2) == 0
        ward.told("DEL", "dropoff:{p0}:q:research:dead")

        assert (await scout.done("/v1/pick_up", {"wait_seconds": 0}))["handoff_id"] == dropped["handoff_id"]
        await scout.http.aclose()


async def mended(ward: Clinic, failed: int = 0) -> int:
    answer = await ward.operator.done("/v1/doctor/mend")
    assert answer["looked_at"] >= answer["mended"]
    assert answer["failed"] == failed
    return answer["mended"]
