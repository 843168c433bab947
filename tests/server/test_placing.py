"""The placing loop over SQLite and the simulated engine: who goes first, who makes room, and what a plan may not do."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

import pytest

from lepton.core.clock import ManualClock
from lepton.core.errors import StaleError
from lepton.core.launch import Devices, NodeFacts
from lepton.core.resource import Resource
from lepton.engine.simulated import SimulatedEngine
from lepton.jobs.gang import with_stop
from lepton.jobs.spec import JobSpec, Role
from lepton.pool.quota import QueueSpec
from lepton.pool.standing import NodeState
from lepton.server.lease import Lease
from lepton.server.placing import Placing, policy_of
from lepton.server.pulse import Pulse
from lepton.server.running import Running
from lepton.server.submit import Author, changed, submit
from lepton.store import events, resources
from lepton.store.database import Database, Tx
from lepton.store.open import open_database

DEVICES = Devices(cpu_milli=16_000, gpu_milli=8000)
POLICY = policy_of(patience_s=3600, min_run_s=5, reclaim_s=5)


@dataclass
class House:
    """The loops and what they work on."""

    database: Database
    clock: ManualClock
    engine: SimulatedEngine
    holder: str = "one"

    def __post_init__(self) -> None:
        self.pulse = Pulse(self.database, self.engine, clock=self.clock, heartbeat_s=5)
        self.placing = Placing(self.database, clock=self.clock, lease=self.lease("placing"), policy=POLICY)
        self.running = Running(
            self.database, self.engine, clock=self.clock, lease=self.lease("jobs"), identity=lambda *_: {}
        )
        self.pulse.turn()

    def lease(self, name: str) -> Lease:
        return Lease(name, self.holder, database=self.database, clock=self.clock, lease_s=15)

    def author(self) -> Author:
        return Author(actor="ada", workspace="default", at=self.clock.now())

    def submit(self, gpus: float, *, workers: int = 1, seconds: float = inf, **options: Any) -> str:
        devices = Devices(cpu_milli=1000, gpu_milli=round(gpus * 1000))
        role = Role(command=("true",), count=workers, devices=devices)
        self.clock.advance(0.001)  # no two come at the same moment
        course = {
            "seconds": seconds,
            "code": options.pop("code", 0),
            "ignores_stop": options.pop("ignores_stop", False),
        }
        spec = JobSpec(roles=(role,), params={"course": course}, **options)
        return self.database.write(lambda tx: submit(tx, spec, name="a", author=self.author())).id

    def make(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        at = self.clock.now()
        made = Resource(
            id=f"que_{name}", kind=kind, workspace="", name=name, spec=spec, state="open", created_at=at, updated_at=at
        )
        author = replace(self.author(), workspace="")
        self.database.write(lambda tx: resources.insert(tx, made, changed(made, "created", author)))

    def wish(self, node: str, wish: str) -> None:
        """An administrator's wish for a node, and what the pulse makes of it."""

        def work(tx: Tx) -> None:
            found = resources.by_name(tx, "node", "", node)
            assert found is not None
            author = replace(self.author(), workspace="")
            wished = replace(found, spec={"wish": wish})
            resources.update(tx, wished, changed(found, wish, author), expected=found.revision)

        self.database.write(work)
        self.pulse.turn()

    def turn(self, times: int = 1) -> None:
        """Turns of every loop, five seconds apart."""
        for _ in range(times):
            self.engine.advance(5)
            self.pulse.turn()
            self.placing.turn()
            self.running.turn()

    def job(self, id: str) -> Resource:
        return self.database.read(lambda tx: resources.get(tx, id))

    def states(self, *ids: str) -> list[str]:
        return [self.job(id).state for id in ids]

    def why(self, id: str) -> tuple[str, str]:
        found = self.database.read(lambda tx: self.placing.why(tx, resources.get(tx, id)))
        return found[0].code, found[0].words

    def said(self, id: str) -> list[str]:
        return [event.why for _, event in self.database.read(lambda tx: events.after(tx, 0, subject=id, limit=100))]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    clock = ManualClock()
    database = open_database("", folder=tmp_path, clock=clock)
    nodes = [NodeFacts(name=f"n{at}", devices=DEVICES, labels={"rack": f"r{at // 2}"}) for at in range(2)]
    yield House(database, clock, SimulatedEngine(clock=clock, nodes=nodes))
    database.close()


def test_a_higher_priority_has_a_lower_one_stopped_which_then_goes_on(house: House) -> None:
    low = house.submit(8, workers=2, priority="low-1", can_resume=True)
    house.turn(3)
    high = house.submit(8, workers=2, priority="high-1", seconds=20)
    house.turn()
    assert house.states(low, high) == ["stopping", "queued"]
    assert house.why(high) == ("promised", f"it starts on n0, n1 once {low} has stopped")
    house.turn(2)
    assert house.states(low, high) == ["queued", "running"]
    assert f"makes room for {high} (high-1 in queue default), which goes first" in house.said(low)
    house.turn(6)
    assert house.states(low, high) == ["running", "done"]
    assert house.job(low).status["preemptions"] == 1
    assert house.job(low).status["worked_s"] > 0
    assert house.job(low).status.get("failures", 0) == house.job(low).status.get("losses", 0) == 0


def test_nobody_is_stopped_for_what_would_not_fit_even_then(house: House) -> None:
    small = house.submit(1, priority="low-1")
    fixed = house.submit(8, priority="high-3")
    house.turn(3)
    wide = house.submit(8, workers=2, priority="medium-3")
    house.turn(3)
    assert house.states(small, fixed, wide) == ["running", "running", "queued"]
    assert house.why(wide)[0] == "shape"


def test_a_job_that_cannot_resume_is_not_stopped_for_order_alone(house: House) -> None:
    long = [house.submit(8), house.submit(8)]
    house.turn(2000)
    short = house.submit(8, seconds=5)
    house.turn(3)
    assert house.states(*long, short) == ["running", "running", "queued"]


def test_a_job_that_was_done_when_it_should_make_room_is_done(house: House) -> None:
    low = house.submit(8, workers=2, priority="low-1", seconds=12)
    house.turn(3)
    high = house.submit(8, workers=2, priority="high-1")
    house.placing.turn()
    assert house.states(low) == ["stopping"]
    house.turn(3)
    assert house.states(low, high) == ["done", "running"]


def test_a_guarantee_takes_back_what_was_borrowed_after_its_grace(house: House) -> None:
    house.make("queue", "owners", QueueSpec(guarantee={"gpu_milli": 8000}).to_json())
    borrowers = [house.submit(8, can_resume=True) for _ in range(2)]
    house.turn(3)
    assert house.states(*borrowers) == ["running", "running"]
    owner = house.submit(8, queue="owners")
    house.placing.turn()
    assert house.states(*borrowers) == ["running", "running"], "not before its grace is over"
    house.turn(4)
    assert house.states(owner) == ["running"]
    assert sorted(house.states(*borrowers)) == ["queued", "running"]


def test_a_guarantee_is_restored_within_the_longest_grace_whatever_the_borrowers_ask_for(house: House) -> None:
    house.make("queue", "owners", QueueSpec(guarantee={"gpu_milli": 16_000}).to_json())
    house.make("queue", "slow", QueueSpec(max_grace_s=30.0).to_json())
    lasting = {"grace_s": 3600.0, "ignores_stop": True, "can_resume": True}
    borrowers = [house.submit(8, queue="slow", **lasting), house.submit(8, queue="slow", **lasting)]
    house.turn(3)
    house.submit(8, workers=2, queue="owners")
    house.turn(2)
    assert house.states(*borrowers) == ["stopping", "stopping"]
    house.turn(3)
    assert house.states(*borrowers) == ["stopping", "stopping"], "the grace that their queue gives them"
    house.turn(4)
    assert house.states(*borrowers) == ["queued", "queued"]
    assert all(house.job(each).status["most_grace_s"] is None for each in borrowers), "asked to stop, it has its own"


def test_one_that_is_stopped_by_its_user_and_lingers_is_hurried_when_its_place_is_wanted(house: House) -> None:
    lasting = {"grace_s": 0.0, "ignores_stop": True, "can_resume": True, "priority": "low-1"}
    low = house.submit(8, workers=2, **lasting)
    house.turn(3)
    stopped = with_stop(house.job(low), 3600.0, house.clock.now())
    event = changed(stopped, "stop", house.author())
    house.database.write(lambda tx: resources.update(tx, stopped, event, expected=stopped.revision))
    house.turn(4)
    assert house.states(low) == ["stopping"]
    high = house.submit(8, workers=2, priority="high-1")
    house.turn(8)
    assert house.states(low, high) == ["stopping", "queued"]
    house.turn(8)
    assert house.states(low, high) == ["cancelled", "running"], "60 s, unless its queue says otherwise"
    assert [why for why in house.said(low) if high in why] == [f"its place is wanted by {high}: it has 60 s to end"]


def test_limits_of_queues_and_users_keep_jobs_waiting_until_they_are_raised(house: House) -> None:
    house.make("queue", "few", QueueSpec(limit={"gpu_milli": 2000}).to_json())
    first, second = house.submit(2, queue="few"), house.submit(1, queue="few")
    house.turn(2)
    assert house.states(first, second) == ["running", "queued"]
    assert house.why(second) == ("quota", "queue few holds 2 GPUs of 2 GPUs and it needs 1 GPU")

    def raise_it(tx: Tx) -> None:
        found = resources.by_name(tx, "queue", "", "few")
        assert found is not None
        wider = replace(found, spec=QueueSpec(limit={"gpu_milli": 3000}).to_json())
        author = replace(house.author(), workspace="")
        resources.update(tx, wider, changed(found, "changed", author), expected=found.revision)

    house.database.write(raise_it)
    house.turn()
    assert house.states(second) == ["running"]


def test_a_job_starts_after_those_before_it_and_fails_with_them(house: House) -> None:
    first, bad = house.submit(1, seconds=8), house.submit(1, seconds=8, code=3)
    second, never, last = (
        house.submit(1, after=(first,)),
        house.submit(1, after=(first, bad)),
        house.submit(1),
    )
    house.turn()
    assert house.states(second, never, last) == ["queued", "queued", "running"]
    assert house.why(never) == ("dependency", f"it comes after {min(first, bad)}, {max(first, bad)}")
    house.turn(4)
    assert house.states(first, bad, second, never) == ["done", "failed", "running", "failed"]
    assert house.said(never)[-1] == f"{bad}, after which it was to start, has not ended well"


def test_how_long_a_job_may_have_run_after_others_outlives_the_server(house: House) -> None:
    first = house.submit(8, workers=2, seconds=4000)
    house.turn(3)
    second = house.submit(8, workers=2, after=(first,))
    other = house.submit(8, workers=2)
    house.turn(810)
    assert house.states(first, second, other) == ["done", "queued", "running"], "a second later came who need not wait"
    known = house.placing.mirror.live.jobs[second].wants.since_s
    assert known > house.job(second).created_at.timestamp() + 3900
    again = House(house.database, house.clock, house.engine, holder="two")
    again.clock.advance(20)
    again.placing.turn()
    entry = again.placing.mirror.live.jobs[second]
    assert abs(entry.wants.since_s - known) < 10
    assert not again.placing.mirror.live.seats.tables.pool.jobs[entry.slot].is_late


def test_a_drained_node_is_left_by_all_and_gets_nothing_new_until_it_is_opened(house: House) -> None:
    jobs = [house.submit(4) for _ in range(2)]
    house.turn(2)
    used = {place["node"] for id in jobs for place in house.job(id).status["placement"]}
    assert len(used) == 1, "best fit fills one node"
    node = used.pop()
    house.wish(node, "draining")
    house.turn(3)
    assert house.states(*jobs) == ["running", "running"]
    assert all(place["node"] != node for id in jobs for place in house.job(id).status["placement"])
    wide = house.submit(8, workers=1)
    house.turn(2)
    assert house.states(wide) == ["queued"]
    house.wish(node, "open")
    house.turn(2)
    assert house.states(wide) == ["running"]


def test_a_job_that_only_a_closed_node_could_hold_says_so(house: House) -> None:
    house.wish("n0", "cordoned")
    house.engine.lose_node("n1")
    id = house.submit(2)
    house.turn(2)
    assert house.why(id) == (
        "node_state",
        "it needs 2 GPUs, 1 CPU; it fits only with nodes that are not open now: n0 is cordoned, n1 is failed",
    )


def test_a_plan_whose_nodes_have_changed_meanwhile_is_thought_again(house: House) -> None:
    id = house.submit(8)
    house.database.read(house.placing.mirror.sync)
    house.placing._lease.hold()
    plan = house.placing.mirror.decide()
    node = plan.starts[id][0].node
    house.wish(node, "cordoned")
    with pytest.raises(StaleError):
        house.placing._carry_out(plan)
    house.turn(2)
    assert house.states(id) == ["running"]
    assert house.job(id).status["placement"][0]["node"] != node


def test_a_job_cancelled_while_its_place_is_being_cleared_starts_nothing(house: House) -> None:
    low = house.submit(8, workers=2, priority="low-1")
    house.turn(3)
    high = house.submit(8, workers=2, priority="high-1")
    house.placing.turn()
    assert house.states(low) == ["stopping"]

    def cancel(tx: Tx) -> None:
        job = resources.get(tx, high)
        wished = with_stop(job, 0, house.clock.now())
        resources.update(tx, wished, changed(job, "stop", house.author()), expected=job.revision)

    house.database.write(cancel)
    house.running.touch(high)
    house.turn(4)
    assert house.states(low, high) == ["running", "cancelled"]


def test_another_server_takes_over_with_what_was_promised_and_nothing_twice(house: House) -> None:
    low = house.submit(8, workers=2, priority="low-1")
    house.turn(3)
    high = house.submit(8, workers=2, priority="high-1")
    house.placing.turn()
    other = replace(house, holder="two")
    other.placing.turn()
    assert other.why(high) == ("turn", "there is room for it, and it starts in a moment")
    house.clock.advance(20)  # the first is silent from now on
    other.turn(4)
    assert other.states(low, high) == ["queued", "running"]
    house.turn()
    assert house.states(low, high) == ["queued", "running"]


def test_fractions_share_a_device_and_never_exceed_it(house: House) -> None:
    jobs = [house.submit(0.4) for _ in range(5)]
    house.turn(2)
    places = [house.job(id).status["placement"][0] for id in jobs]
    assert len({(place["node"], tuple(place["gpus"])) for place in places}) == 3
    assert house.states(*jobs) == ["running"] * 5


def test_a_gang_goes_into_one_rack_and_may_ask_for_it(house: House) -> None:
    for at in range(2, 4):
        house.engine.add_node(NodeFacts(name=f"n{at}", devices=DEVICES, labels={"rack": f"r{at // 2}"}))
    house.pulse.turn()
    one = house.submit(1)
    house.turn(2)
    gang = house.submit(8, workers=2)
    house.turn(2)
    assert {place["node"] for place in house.job(gang).status["placement"]} == {"n2", "n3"}
    within = house.submit(7, workers=2, within="rack")
    house.turn(2)
    assert house.states(one, within) == ["running", "running"]
    assert {place["node"] for place in house.job(within).status["placement"]} == {"n0", "n1"}


def test_what_was_learned_outlives_the_server(house: House) -> None:
    for _ in range(3):
        house.submit(1, seconds=3)
    house.turn(4)
    other = replace(house, holder="two")
    other.database.read(other.placing.mirror.sync)
    assert other.placing.mirror.live.forecast.ended == 3


def test_a_node_of_state_failed_gives_its_job_to_another(house: House) -> None:
    id = house.submit(8)
    house.turn(2)
    node = house.job(id).status["placement"][0]["node"]
    house.engine.lose_node(node)
    house.turn(3)
    job = house.job(id)
    assert (job.state, job.status["placement"][0]["node"] != node) == ("running", True)
    found = house.database.read(lambda tx: resources.by_name(tx, "node", "", node))
    assert found is not None and found.state == NodeState.FAILED
