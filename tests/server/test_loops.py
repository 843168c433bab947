"""The loops of one server, turned by hand over SQLite and the simulated engine: races, refusals and clock jumps."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import Any

import pytest

from lepton.core.clock import ManualClock, to_micros
from lepton.core.errors import IntegrityError, LeptonError, NotFoundError, StorageFullError, UnavailableError
from lepton.core.launch import Devices, Launch, NodeFacts
from lepton.core.resource import Resource
from lepton.engine.simulated import SimulatedEngine
from lepton.jobs.gang import with_stop
from lepton.jobs.spec import JobSpec, Role
from lepton.server.lease import Lease
from lepton.server.placing import Placing
from lepton.server.pulse import Pulse
from lepton.server.reconcile import Loop
from lepton.server.running import Running
from lepton.server.submit import Author, changed, submit
from lepton.store import events, leases, resources
from lepton.store.database import Database, Tx
from lepton.store.open import open_database

NODE = NodeFacts(name="n1", devices=Devices(cpu_milli=4000))
HOUR = timedelta(hours=1)


class FullEngine(SimulatedEngine):
    """Refuses the launches of some ranks while its disk is full."""

    full: tuple[int, ...] = ()

    def start(self, launch: Launch) -> None:
        if launch.rank in self.full:
            raise StorageFullError("No room to start a worker", fix="Free disk space.")
        super().start(launch)


@dataclass
class House:
    """The loops and what they work on."""

    database: Database
    clock: ManualClock
    engine: FullEngine
    faults: dict[str, LeptonError] = field(default_factory=dict)
    """Job -> what looking up its secrets raises."""
    holder: str = "one"

    def __post_init__(self) -> None:
        self.pulse = Pulse(self.database, self.engine, clock=self.clock, heartbeat_s=5)
        self.placing = Placing(self.database, clock=self.clock, lease=self.lease("placing"))
        self.running = Running(
            self.database, self.engine, clock=self.clock, lease=self.lease("jobs"), identity=self.identity
        )
        self.pulse.turn()

    def lease(self, name: str) -> Lease:
        return Lease(name, self.holder, database=self.database, clock=self.clock, lease_s=15)

    def identity(self, tx: Tx, job: Resource, spec: JobSpec) -> Mapping[str, str]:
        if job.id in self.faults:
            raise self.faults[job.id]
        return {}

    def submit(self, *, workers: int = 1, seconds: float = inf, **options: Any) -> str:
        role = Role(command=("true",), count=workers, devices=Devices(cpu_milli=500))
        course = {"seconds": seconds, "code": options.pop("code", 0)}
        spec = JobSpec(roles=(role,), params={"course": course}, **options)
        author = Author(actor="ada", workspace="default", at=self.clock.now())
        return self.database.write(lambda tx: submit(tx, spec, name="a", author=author)).id

    def turn(self) -> None:
        """One turn of every loop, with a sweep."""
        self.clock.advance(self.running.sweep_s)
        self.engine.advance(0)
        self.pulse.turn()
        self.placing.turn()
        self.running.turn()

    def job(self, id: str) -> Resource:
        return self.database.read(lambda tx: resources.get(tx, id))

    def stop(self, id: str) -> None:
        def work(tx: Tx) -> None:
            job = resources.get(tx, id)
            author = Author(actor="ada", workspace="default", at=self.clock.now())
            resources.update(tx, with_stop(job, 0, author.at), changed(job, "stop", author), expected=job.revision)

        self.database.write(work)

    def why(self, id: str) -> str:
        return self.database.read(lambda tx: events.after(tx, 0, subject=id, limit=1000))[-1][1].why


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    clock = ManualClock()
    database = open_database("", folder=tmp_path, clock=clock)
    yield House(database, clock, FullEngine(clock=clock, nodes=(NODE,)))
    database.close()


def alive(house: House) -> list[str]:
    here = list(house.engine.keys())
    return [key for key in here if house.engine.look(key).status == "running"]


def test_a_full_disk_sends_the_job_back_with_its_reason_and_it_starts_when_there_is_room(house: House) -> None:
    house.engine.full = (0, 1)
    id = house.submit(workers=2)
    house.turn()
    assert (house.job(id).state, house.why(id)) == ("queued", "No room to start a worker")
    house.turn()
    house.turn()
    assert house.job(id).status["refusals"] >= 2
    house.engine.full = ()
    house.clock.advance(60)
    house.turn()
    assert house.job(id).state == "running"
    assert house.job(id).status["refusals"] == 0


def test_of_a_gang_that_cannot_be_started_whole_nothing_is_left_running(house: House) -> None:
    house.engine.full = (1,)
    id = house.submit(workers=2)
    house.turn()
    assert house.job(id).state == "queued"
    house.engine.advance(0)
    assert alive(house) == []


def test_a_refused_start_whose_commit_failed_is_no_failure_of_the_job(house: House) -> None:
    id = house.submit(workers=2)
    house.placing.turn()
    for rank in (0, 1):  # started and taken back, but the disk was too full for the database too
        house.engine.start(Launch(key=f"{id}.0.{rank}", job=id, command=("true",), params={"course": {"seconds": inf}}))
        house.engine.stop(f"{id}.0.{rank}", grace_s=0)
    house.engine.advance(0)
    house.turn()
    assert house.job(id).state in ("queued", "placed", "running")
    house.turn()
    assert (house.job(id).state, house.job(id).status["generation"]) == ("running", 1)


@pytest.mark.parametrize("fault", [NotFoundError("There is no secret 'k'"), IntegrityError("It does not open")])
def test_a_job_whose_secret_is_gone_fails_with_that_reason_and_gives_its_place_back(
    house: House, fault: LeptonError
) -> None:
    id = house.submit()
    house.faults[id] = fault
    house.turn()
    job = house.job(id)
    assert (job.state, house.why(id)) == ("failed", fault.message)
    assert job.status["ending"]["reason"] == "not_started"


def test_a_database_that_is_away_for_a_moment_fails_no_job(house: House) -> None:
    id = house.submit()
    house.faults[id] = UnavailableError("locked")
    house.turn()
    assert house.job(id).state == "placed"
    house.faults.clear()
    house.turn()
    assert house.job(id).state == "running"


def test_a_job_stopped_between_placing_and_start_is_cancelled_and_never_runs(house: House) -> None:
    id = house.submit()
    house.placing.turn()
    assert house.job(id).state == "placed"
    house.stop(id)
    house.turn()
    house.turn()
    assert house.job(id).state == "cancelled"
    assert list(house.engine.keys()) == []


def test_housekeeping_stops_what_nobody_wants_and_no_worker_of_a_living_job(house: House) -> None:
    wanted, ended = house.submit(), house.submit(seconds=1)
    house.turn()
    house.engine.advance(2)
    house.turn()
    assert (house.job(wanted).state, house.job(ended).state) == ("running", "done")
    strange = ("job_00000000000000000000000000.0.0", f"{ended}.5.0", "lost+found", "x.y.z", "a")
    for key in strange:
        house.engine.start(Launch(key=key, job="j", command=("true",), params={"course": {"seconds": inf}}))
    house.running.collect(keep_s=1e9)
    house.engine.advance(0)
    assert sorted(alive(house)) == sorted([f"{wanted}.0.0", *strange[2:]])


def test_a_node_that_forgot_a_worker_has_lost_it_and_the_job_runs_again(house: House) -> None:
    id = house.submit()
    house.turn()
    key = f"{id}.0.0"
    house.engine.stop(key, grace_s=0)
    house.engine.advance(0)
    house.engine.forget(key)
    for _ in range(3):
        house.turn()
    assert (house.job(id).state, house.job(id).status["losses"]) == ("running", 1)


def test_a_node_that_the_engine_has_no_more_has_failed_at_once_and_nothing_is_placed_on_it(house: House) -> None:
    house.engine.add_node(replace(NODE, name="n2"))
    house.turn()
    house.engine.lose_node("n1")
    house.turn()
    nodes = house.database.read(lambda tx: resources.alive(tx, "node"))
    assert {node.name: node.state for node in nodes} == {"n1": "failed", "n2": "up"}
    ids = [house.submit() for _ in range(2)]
    house.turn()
    assert {house.job(id).status["placement"][0]["node"] for id in ids} == {"n2"}
    house.engine.add_node(NODE)
    house.turn()
    nodes = house.database.read(lambda tx: resources.alive(tx, "node"))
    assert {node.state for node in nodes} == {"up"}


def test_a_server_that_lost_its_lease_stops_turning_and_changes_nothing(house: House) -> None:
    id = house.submit()
    house.placing.turn()
    assert house.running._lease.hold()
    now = to_micros(house.clock.now())
    house.database.write(leases.clear)
    assert house.database.write(lambda tx: leases.take(tx, "jobs", "another", now=now, until=now + 15_000_000))
    house.running.touch(id)
    house.running.turn()
    assert house.job(id).state == "placed"


def test_the_wall_clock_set_back_an_hour_keeps_no_lease_for_ever(house: House) -> None:
    house.turn()
    house.clock.jump(-HOUR.total_seconds())
    other = replace(house, holder="two")
    assert other.lease("jobs").hold()


def test_a_lease_that_runs_is_not_taken(house: House) -> None:
    house.turn()
    house.clock.jump(-10)
    assert not replace(house, holder="two").lease("jobs").hold()


def test_the_wall_clock_set_back_an_hour_delays_no_retry_for_long(house: House) -> None:
    id = house.submit(seconds=1, code=1, retries=5)
    house.turn()
    house.engine.advance(2)
    for _ in range(2):
        house.running.touch(id)
        house.running.turn()
    assert house.job(id).state == "queued"
    house.placing.turn()
    assert house.job(id).state == "queued"
    house.clock.jump(-HOUR.total_seconds())
    house.placing.turn()
    assert house.job(id).state == "placed"


def test_the_wall_clock_set_forward_a_day_ends_no_job_and_loses_no_node(house: House) -> None:
    id = house.submit()
    house.turn()
    house.clock.jump(24 * HOUR.total_seconds())
    for _ in range(3):
        house.turn()
    assert house.job(id).state == "running"
    nodes = house.database.read(lambda tx: resources.alive(tx, "node"))
    assert [node.state for node in nodes] == ["up"]


class Panic(BaseException):
    """What a library in Rust raises where it has a mistake: no `Exception`."""


def test_a_panic_of_a_library_does_not_end_a_loop() -> None:
    turns = list[int]()

    def turn() -> None:
        turns.append(1)
        raise Panic("Cannot start a runtime from within a runtime")

    loop = Loop("backups", turn, every_s=0)

    async def ran() -> None:
        running = asyncio.create_task(loop.run())
        while len(turns) < 3:
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(ran())
    assert loop.faults >= 2
