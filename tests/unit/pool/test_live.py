"""The live pool against a world that carries its plans out late, in part, or not at all."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lepton.core.launch import Devices
from lepton.pool.live.pool import LivePool
from lepton.pool.live.tables import Rights
from lepton.pool.live.views import Phase, Place, Truth, Wants
from lepton.pool.live.why import CODES, reasons
from lepton.pool.policy import LIVE
from lepton.pool.quota import QueueSpec
from lepton.pool.shape import Machine
from lepton.pool.standing import NodeState

QUICK = replace(LIVE, min_run_s=0.0, grace_s=0.0, floor_s=2.0, prior_s=2.0, wait_cap_s=60.0, shared_cap_s=60.0)
RIGHTS = Rights(
    queues={
        "a": QueueSpec(guarantee={"gpu_milli": 8000}),
        "b": QueueSpec(parent="a", guarantee={"gpu_milli": 4000}, limit={"gpu_milli": 12_000}),
        "c": QueueSpec(weight=2.0),
    },
    quotas={("user", "ada"): {"gpu_milli": 6000, "cpu_milli": 20_000}},
)


def machine(at: int, gpus: int = 4, state: str = NodeState.UP) -> Machine:
    devices = Devices(cpu_milli=8000, gpu_milli=1000 * gpus, memory_bytes=64)
    return Machine(name=f"n{at}", total=devices, labels={"rack": f"r{at // 2}"}, state=state)


def gpus_of(jobs: Iterable[Wants]) -> int:
    """Thousandths that jobs ask for."""
    return sum(need.gpu_milli for job in jobs for need in job.workers)


@dataclass
class Job:
    """A job as the world has it."""

    wants: Wants
    truth: Truth = field(default_factory=lambda: Truth(phase=Phase.QUEUED))


wishes = st.fixed_dictionaries(
    {
        "gpus": st.sampled_from([0, 0, 250, 500, 1000, 2000, 4000]),
        "count": st.sampled_from([1, 1, 1, 2, 3]),
        "queue": st.sampled_from(["", "a", "b", "c"]),
        "user": st.sampled_from(["ada", "bob"]),
        "rank": st.sampled_from([4, 4, 4, 1]),
        "within": st.sampled_from(["", "", "rack"]),
        "can_resume": st.booleans(),
    }
)
states = st.sampled_from([NodeState.UP, NodeState.UP, NodeState.CORDONED, NodeState.DRAINING, NodeState.FAILED])


class World(RuleBasedStateMachine):
    """Jobs come, start, stop and end; nodes fail and return; plans are carried out or not."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = LivePool(QUICK)
        self.now = 1000.0
        self.jobs: dict[str, Job] = {}
        self.machines = {f"n{at}": machine(at, gpus=4 if at < 4 else 0) for at in range(5)}
        self.count = 0
        self.limit = 1 << 60
        """Of queue `b`."""
        self.has_rights = False

    @initialize(has_rights=st.booleans())
    def begin(self, has_rights: bool) -> None:
        self.pool.put_machines(self.machines.values(), self.now)
        if has_rights:
            self.pool.put_rights(RIGHTS, self.now)
            self.has_rights, self.limit = True, 12_000

    def put(self, job: Job) -> None:
        self.pool.put(job.wants, job.truth, self.now)

    @rule(wish=wishes, pause_s=st.sampled_from([0.0, 0.0, 5.0]))
    def submit(self, wish: dict[str, Any], pause_s: float) -> None:
        gpus, rest = wish["gpus"], {name: value for name, value in wish.items() if name not in ("gpus", "count")}
        need = Devices(cpu_milli=1000 if gpus else 3000, gpu_milli=gpus, memory_bytes=8)
        workers, is_pinned = (need,) * wish["count"], not wish["can_resume"]
        wants = Wants(job=f"j{self.count}", workers=workers, is_pinned=is_pinned, since_s=self.now, **rest)
        self.count += 1
        phase = Phase.PAUSED if pause_s else Phase.QUEUED
        job = self.jobs[wants.job] = Job(wants, Truth(phase=phase, due_s=self.now + pause_s if pause_s else 0.0))
        self.put(job)

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0, 100.0, -3.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(carry=st.floats(0, 1), seed=st.integers(0, 99))
    def decide(self, carry: float, seed: int) -> None:
        chance = np.random.default_rng(seed)
        plan = self.pool.decide(self.now)
        self.check_plan(plan.starts)
        for stop in plan.stops:
            job = self.jobs[stop.job]
            assert job.truth.phase is Phase.HOLDS, "only what runs is stopped"
            if chance.random() <= carry:
                job.truth = replace(job.truth, phase=Phase.LEAVES)
                self.put(job)
        for id, places in plan.starts.items():
            job = self.jobs[id]
            if chance.random() <= carry:
                job.truth = Truth(phase=Phase.HOLDS, places=places, began_s=self.now)
            self.put(job)

    def check_plan(self, starts: dict[str, tuple[Place, ...]]) -> None:
        """Only what waits is started, whole, on nodes that are up."""
        for id, places in starts.items():
            job = self.jobs[id]
            assert job.truth.phase is Phase.QUEUED or job.truth.due_s
            assert len(places) == len(job.wants.workers)
            if job.wants.within:
                assert len({self.machines[place.node].labels["rack"] for place in places}) == 1
            for place, need in zip(places, job.wants.workers, strict=True):
                assert self.machines[place.node].state == NodeState.UP
                assert len(place.gpus) == -(-need.gpu_milli // 1000)
        starts = {id: places for id, places in starts.items() if self.jobs[id].truth.phase is not Phase.HOLDS}
        self.check_held(starts)
        self.check_limits(starts)

    def check_held(self, starts: dict[str, tuple[Place, ...]]) -> None:
        """Nothing is held twice, whatever of the plan is carried out."""
        cpus: Counter[str] = Counter()
        parts: Counter[tuple[str, int]] = Counter()
        held = {id: job.truth.places for id, job in self.jobs.items() if job.truth.phase in (Phase.HOLDS, Phase.LEAVES)}
        for id, places in {**held, **starts}.items():
            for place, need in zip(places, self.jobs[id].wants.workers, strict=True):
                cpus[place.node] += need.cpu_milli
                for gpu in place.gpus:
                    parts[place.node, gpu] += need.gpu_milli if need.gpu_milli < 1000 else 1000
        assert all(amount <= 8000 for amount in cpus.values()), cpus
        assert all(amount <= 1000 for amount in parts.values()), parts

    def check_limits(self, starts: dict[str, tuple[Place, ...]]) -> None:
        """Who starts exceeds no limit, though others who were stopped still hold what they had."""
        held = [job.wants for job in self.jobs.values() if job.truth.phase in (Phase.HOLDS, Phase.LEAVES)]
        starting = [self.jobs[id].wants for id in starts]
        of_b = [each for each in starting if each.queue == "b" and gpus_of([each])]
        assert not of_b or gpus_of(each for each in held + starting if each.queue == "b") <= self.limit
        of_ada = [each for each in starting if self.has_rights and each.user == "ada" and gpus_of([each])]
        assert not of_ada or gpus_of(each for each in held + starting if each.user == "ada") <= 6000

    def some(self, phases: tuple[Phase, ...], pick: int) -> Job | None:
        found = [job for job in self.jobs.values() if job.truth.phase in phases]
        return found[pick % len(found)] if found else None

    @rule(pick=st.integers(0, 50))
    def end(self, pick: int) -> None:
        job = self.some((Phase.HOLDS,), pick)
        if job is not None:
            del self.jobs[job.wants.job]
            self.pool.put(job.wants, Truth(phase=Phase.GONE, ran_s=5.0), self.now)

    @rule(pick=st.integers(0, 50))
    def leave(self, pick: int) -> None:
        """The workers of a stopped job have ended."""
        job = self.some((Phase.LEAVES,), pick)
        if job is not None:
            job.truth = Truth(phase=Phase.QUEUED)
            self.put(job)

    @rule(pick=st.integers(0, 50), pause_s=st.sampled_from([0.0, 3.0]))
    def fail(self, pick: int, pause_s: float) -> None:
        job = self.some((Phase.HOLDS, Phase.LEAVES), pick)
        if job is not None:
            job.truth = Truth(phase=Phase.PAUSED, due_s=self.now + pause_s) if pause_s else Truth(phase=Phase.QUEUED)
            self.put(job)

    @rule(pick=st.integers(0, 50))
    def cancel(self, pick: int) -> None:
        job = self.some((Phase.QUEUED, Phase.PAUSED), pick)
        if job is not None:
            del self.jobs[job.wants.job]
            self.pool.put(job.wants, Truth(phase=Phase.GONE), self.now)

    @rule(at=st.integers(0, 4), state=states)
    def turn(self, at: int, state: str) -> None:
        self.machines[f"n{at}"] = replace(self.machines[f"n{at}"], state=state)
        self.pool.put_machines(self.machines.values(), self.now)

    @rule()
    def lose_everything(self) -> None:
        """Another server takes over, or this one begins anew."""
        self.pool.forget_all()
        for job in self.jobs.values():
            self.put(job)

    @rule(limit=st.sampled_from([2000, 12_000]))
    def change_rights(self, limit: int) -> None:
        queues = {**RIGHTS.queues, "b": QueueSpec(parent="a", limit={"gpu_milli": limit})}
        self.pool.put_rights(replace(RIGHTS, queues=queues), self.now)
        self.has_rights, self.limit = True, limit

    @rule()
    def ask_why(self) -> None:
        self.pool.settle(self.now)
        for id, job in self.jobs.items():
            said = reasons(self.pool, id, self.now)
            assert bool(said) != (job.truth.phase is Phase.HOLDS)
            assert all(reason.code in CODES and reason.words for reason in said)

    @invariant()
    def arrays_agree(self) -> None:
        """What the arrays say is free is what there is without all that holds or is promised."""
        if self.pool.is_stale:
            return
        seats = self.pool.seats
        free = np.array([each.total.cpu_milli for each in seats.layout.machines])
        for entry in self.pool.jobs.values():
            if seats.is_in(entry, 1):
                for spot, need in zip(seats.spots(entry), entry.wants.workers, strict=True):
                    free[seats.layout.index[spot.node]] -= need.cpu_milli
        assert (free == seats.tables.pool.nodes.cpu).all()
        self.check_held({})

    @precondition(lambda self: self.jobs)
    @rule()
    def settle(self) -> None:
        """With all plans carried out and everybody gone who is asked to go, nothing that fits is left waiting."""
        self.machines = {name: replace(each, state=NodeState.UP) for name, each in self.machines.items()}
        self.pool.put_machines(self.machines.values(), self.now)
        for _ in range(60):
            self.now += 10.0
            self.decide(1.0, 0)
            leaving = [job for job in self.jobs.values() if job.truth.phase is Phase.LEAVES]
            for job in leaving:
                job.truth = Truth(phase=Phase.QUEUED)
                self.put(job)
            if not leaving and not self.pool.decide(self.now).starts:
                break
        for job in self.jobs.values():
            is_single = job.truth.phase is Phase.QUEUED and len(job.wants.workers) == 1
            if is_single and not job.wants.queue and job.wants.user != "ada":
                codes = {reason.code for reason in reasons(self.pool, job.wants.job, self.now)}
                assert not self.fits(job.wants.workers[0]) or codes & {"reserved", "promised"}, (codes, job)

    def fits(self, need: Devices) -> bool:
        """Whether one worker fits beside what holds and what is promised; parts of devices aside."""
        free = {name: each.total for name, each in self.machines.items()}
        for id, entry in self.pool.jobs.items():
            if self.pool.seats.is_in(entry, 1):
                for spot, worker in zip(self.pool.seats.spots(entry), self.jobs[id].wants.workers, strict=True):
                    whole = replace(worker, gpu_milli=-(-worker.gpu_milli // 1000) * 1000)
                    free[spot.node] = free[spot.node].minus(whole)
        return any(replace(need, gpu_milli=-(-need.gpu_milli // 1000) * 1000).fits_in(each) for each in free.values())


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.slow
class TestWorldForLong(World.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(max_examples=5_000, stateful_step_count=60, deadline=None)


def pool_with(queues: dict[str, QueueSpec], gpus: int = 4) -> LivePool:
    pool = LivePool(replace(QUICK, wait_cap_s=1e6, shared_cap_s=1e6))
    pool.put_machines([machine(0, gpus)], 0.0)
    pool.put_rights(Rights(queues=queues), 0.0)
    return pool


def wants(job: str, gpus: int = 4, **options: Any) -> Wants:
    return Wants(job=job, workers=(Devices(cpu_milli=1000, gpu_milli=1000 * gpus),), **options)


def obey(pool: LivePool, now: float) -> list[str]:
    """Carry out a plan at once; return who was started."""
    plan = pool.decide(now)
    for stop in plan.stops:
        pool.put(pool.jobs[stop.job].wants, Truth(phase=Phase.QUEUED), now)
    for job, places in plan.starts.items():
        pool.put(pool.jobs[job].wants, Truth(phase=Phase.HOLDS, places=places, began_s=now), now)
    return sorted(plan.starts)


def run(pool: LivePool, job: Wants, now: float) -> list[str]:
    pool.put(job, Truth(phase=Phase.QUEUED), now)
    return obey(pool, now) + obey(pool, now + 1.0)


def test_a_guarantee_holds_against_a_higher_priority_that_borrows() -> None:
    pool = pool_with({"owners": QueueSpec(guarantee={"gpu_milli": 4000}), "others": QueueSpec()})
    assert run(pool, wants("mine", queue="owners", rank=8, can_resume=True), 10.0) == ["mine"]
    assert run(pool, wants("urgent", queue="others", rank=0, since_s=20.0), 20.0) == []


def test_what_was_borrowed_is_taken_back_from_a_higher_priority() -> None:
    pool = pool_with({"owners": QueueSpec(guarantee={"gpu_milli": 4000}), "others": QueueSpec()})
    assert run(pool, wants("urgent", queue="others", rank=0), 10.0) == ["urgent"]
    assert run(pool, wants("mine", queue="owners", rank=8, since_s=20.0), 20.0) == ["mine"]


def test_who_only_borrows_goes_by_age_however_deep_its_queue_stands() -> None:
    pool = pool_with({"top": QueueSpec(), "deep": QueueSpec(parent="top"), "flat": QueueSpec()})
    assert run(pool, wants("first", queue="flat", is_pinned=True), 10.0) == ["first"]
    pool.put(wants("older", queue="deep", since_s=20.0), Truth(phase=Phase.QUEUED), 20.0)
    pool.put(wants("younger", queue="flat", since_s=30.0), Truth(phase=Phase.QUEUED), 30.0)
    pool.put(pool.jobs["first"].wants, Truth(phase=Phase.GONE, ran_s=1.0), 40.0)
    assert obey(pool, 40.0) == ["older"]


def test_patience_that_ends_while_a_job_runs_counts_when_it_is_stopped() -> None:
    pool = LivePool(replace(QUICK, wait_cap_s=100.0, shared_cap_s=100.0))
    pool.put_machines([machine(0)], 0.0)
    assert run(pool, wants("low", rank=8, can_resume=True), 10.0) == ["low"]
    obey(pool, 300.0)
    assert run(pool, wants("high", rank=0, since_s=310.0), 310.0) == ["high"]
    obey(pool, 320.0)
    assert pool.seats.tables.pool.jobs[pool.jobs["low"].slot].is_late


@pytest.mark.parametrize("leap_s", [90_000.0, -90_000.0])
def test_a_clock_that_leaps_makes_nobody_late_and_lets_everybody_become_so(leap_s: float) -> None:
    cap_s = 3600.0
    pool = LivePool(replace(LIVE, wait_cap_s=cap_s, shared_cap_s=cap_s))
    pool.put_machines([machine(0)], 0.0)
    run(pool, wants("first", rank=4, since_s=1e6), 1e6)
    pool.put(wants("low", rank=8, since_s=1e6 + 1), Truth(phase=Phase.QUEUED), 1e6 + 1)

    def is_late() -> bool:
        return bool(pool.seats.tables.pool.jobs[pool.jobs["low"].slot].is_late)

    pool.decide(1e6 + 2)
    pool.decide(1e6 + leap_s)
    assert not is_late(), "nobody has waited for a leap of the clock"
    pool.is_stale = True  # nor is it counted when the arrays are made anew
    pool.decide(1e6 + leap_s + 5)
    assert not is_late()
    for at in range(0, 3700, 10):
        pool.decide(1e6 + leap_s + at)
    assert is_late(), "it has waited an hour"


class NoWalk(dict[str, Any]):
    """Jobs of which one is found by its name, and all by nobody."""

    def values(self) -> Any:
        raise AssertionError("somebody walks through all jobs")

    def __iter__(self) -> Any:
        raise AssertionError("somebody walks through all jobs")

    items = values


def test_a_drained_node_costs_what_runs_there_and_no_walk_through_all_jobs() -> None:
    pool = LivePool(QUICK)
    machines = [machine(at) for at in range(3)]
    pool.put_machines(machines, 0.0)
    for job in ("a", "b", "c"):
        assert run(pool, wants(job, is_pinned=True), 1.0) == [job]
    there = {entry.truth.places[0].node: job for job, entry in pool.jobs.items()}
    pool.jobs = NoWalk(pool.jobs)
    pool.put_machines([replace(machines[0], state=NodeState.DRAINING), *machines[1:]], 2.0)
    assert [stop.job for stop in pool.decide(2.0).stops] == [there["n0"]]
    pool.put(pool.jobs[there["n0"]].wants, Truth(phase=Phase.QUEUED), 3.0)
    assert pool.decide(4.0).stops == [] and pool.seats.jobs_on(["n0"]) == []


def test_who_has_waited_before_the_pool_was_there_has_waited() -> None:
    pool = LivePool(replace(LIVE, shared_cap_s=3600.0))
    pool.put_machines([machine(0)], 0.0)
    run(pool, wants("first", rank=0, since_s=1.0), 1e6)
    run(pool, wants("old", rank=8, since_s=1e6 - 4000), 1e6)
    assert pool.seats.tables.pool.jobs[pool.jobs["old"].slot].is_late


def test_who_has_just_saved_its_work_is_stopped_rather_than_who_has_not() -> None:
    pool = LivePool(replace(QUICK, wait_cap_s=1e6, shared_cap_s=1e6))
    pool.put_machines([machine(0), machine(1)], 0.0)
    for job, saved_s in (("unsaved", 0.0), ("saved", 499.0)):
        pool.put(wants(job, rank=8, can_resume=True), Truth(phase=Phase.QUEUED), 10.0)
        obey(pool, 10.0)
        truth = replace(pool.jobs[job].truth, saved_s=saved_s)
        pool.put(pool.jobs[job].wants, truth, 500.0)
    pool.put(wants("high", rank=0, since_s=500.0), Truth(phase=Phase.QUEUED), 500.0)
    assert [stop.job for stop in pool.decide(500.0).stops] == ["saved"]


def test_a_plan_that_is_not_carried_out_comes_again() -> None:
    pool = pool_with({})
    pool.put(wants("one"), Truth(phase=Phase.QUEUED), 10.0)
    assert pool.decide(10.0).starts == pool.decide(10.0).starts != {}


def test_shares_outlive_a_node_that_joins() -> None:
    pool = pool_with({"a": QueueSpec(), "b": QueueSpec()})
    run(pool, wants("greedy", queue="a"), 10.0)
    for at in range(500, 50_001, 500):
        obey(pool, float(at))
    pool.put(pool.jobs["greedy"].wants, Truth(phase=Phase.GONE, ran_s=1.0), 50_000.0)
    pool.put_machines([machine(0), machine(1)], 50_001.0)
    for job, queue in (("a1", "a"), ("b1", "b")):
        pool.put(wants(job, queue=queue, since_s=50_001.0), Truth(phase=Phase.PAUSED), 50_001.0)
    obey(pool, 50_002.0)
    assert pool.seats.tables.pasts()["queue", "a"][0] > 0.1


def test_a_limit_that_is_lowered_below_what_is_held_takes_nothing_from_who_runs() -> None:
    pool = LivePool(replace(QUICK, wait_cap_s=50.0, shared_cap_s=50.0))
    pool.put_machines([machine(0)], 0.0)
    pool.put_rights(Rights(queues={"b": QueueSpec()}), 0.0)
    assert run(pool, wants("first", queue="b", is_pinned=True), 10.0) == ["first"]
    pool.put_rights(Rights(queues={"b": QueueSpec(limit={"gpu_milli": 2000})}), 15.0)
    pool.put(wants("late", since_s=10.0), Truth(phase=Phase.QUEUED), 20.0)
    for now in (100.0, 110.0, 120.0):
        assert obey(pool, now) == [] and pool.seats.tables.pool.nodes[0].free == 0
    pool.put(pool.jobs["first"].wants, Truth(phase=Phase.GONE, ran_s=1.0), 130.0)
    assert obey(pool, 130.0) == ["late"]


def part(job: str, gpu_milli: int, **options: Any) -> Wants:
    return Wants(job=job, workers=(Devices(cpu_milli=1000, gpu_milli=gpu_milli),), **options)


def test_who_wants_whole_devices_stops_those_that_hold_parts_of_them() -> None:
    pool = pool_with({}, gpus=2)
    for job in ("p0", "p1", "p2", "p3"):
        assert run(pool, part(job, 500, rank=8, can_resume=True), 10.0) == [job]
    assert run(pool, wants("urgent", 1, rank=0, since_s=20.0), 20.0) == ["urgent"]
    running = [job for job, entry in pool.jobs.items() if entry.holds]
    assert len(running) == 3, "two parts of one device made room, the others stay"


def test_a_guarantee_is_taken_back_from_parts_of_devices() -> None:
    pool = pool_with({"owners": QueueSpec(guarantee={"gpu_milli": 2000}), "others": QueueSpec()}, gpus=2)
    for at in range(8):
        run(pool, part(f"p{at}", 250, queue="others"), 10.0)
    assert run(pool, wants("mine", 2, queue="owners", since_s=20.0), 20.0) == ["mine"]
    assert [job for job, entry in pool.jobs.items() if entry.holds] == ["mine"]


def test_what_a_stopped_job_still_holds_counts_against_its_limit() -> None:
    pool = LivePool(replace(QUICK, wait_cap_s=1e6, shared_cap_s=1e6))
    pool.put_machines([machine(0), machine(1, gpus=8)], 0.0)
    pool.put_rights(Rights(queues={"b": QueueSpec(limit={"gpu_milli": 8000})}), 0.0)
    assert run(pool, wants("low", queue="b", rank=8, can_resume=True), 10.0) == ["low"]
    pool.put(wants("high", 8, queue="b", rank=0, since_s=20.0), Truth(phase=Phase.QUEUED), 20.0)
    assert [stop.job for stop in pool.decide(20.0).stops] == ["low"]
    leaving = replace(pool.jobs["low"].truth, phase=Phase.LEAVES)
    pool.put(pool.jobs["low"].wants, leaving, 21.0)
    assert pool.decide(22.0).starts == {}, "the other node is free, its queue is not"
    pool.put(pool.jobs["low"].wants, Truth(phase=Phase.QUEUED), 23.0)
    assert list(pool.decide(24.0).starts) == ["high"]


def test_who_is_spared_keeps_its_very_device() -> None:
    """A search that gave a spared job another device would let the next promise rest on one that is not free."""
    pool = LivePool(replace(QUICK, wait_cap_s=1e6, shared_cap_s=1e6))
    pool.put_machines([machine(0, 2)], 0.0)
    for job, milli in (("a", 600), ("b", 700)):
        assert run(pool, part(job, milli, rank=8, can_resume=True), 10.0) == [job]
    pool.put(pool.jobs["a"].wants, Truth(phase=Phase.GONE, ran_s=1.0), 20.0)
    run(pool, part("c", 300, rank=8, can_resume=True, since_s=20.0), 20.0)
    assert run(pool, part("d", 900, rank=0, since_s=30.0), 30.0) == ["d"]
    for job in ("b", "c", "d"):
        entry = pool.jobs[job]
        held = pool.seats.tables.pool.shares[0, pool.seats.spots(entry)[0].slot]
        assert held == (0 if job in "bc" else 100), "the slots of the arrays are the devices of the world"


def test_a_promise_that_nobody_can_keep_is_taken_back() -> None:
    pool = pool_with({})
    assert run(pool, wants("ghost", is_pinned=True), 10.0) == ["ghost"]
    pool.seats.take_out(pool.jobs["ghost"], 11.0)  # the arrays are wrong: they believe its places free
    assert run(pool, wants("next", since_s=20.0), 20.0) == []
    assert {reason.code for reason in reasons(pool, "next", 21.0)} == {"promised"}
    obey(pool, 100.0)
    assert {reason.code for reason in reasons(pool, "next", 101.0)} == {"shape"}


def test_a_gang_that_waits_for_closed_nodes_is_told_so() -> None:
    pool = LivePool(QUICK)
    pool.put_machines([machine(at, state=NodeState.CORDONED if at == 3 else NodeState.UP) for at in range(4)], 0.0)
    need = (Devices(cpu_milli=1000, gpu_milli=4000),)
    for job, within, workers in (("wide", "", need * 4), ("near", "rack", need * 2)):
        pool.put(Wants(job=job, workers=workers, within=within), Truth(phase=Phase.QUEUED), 1.0)
    run(pool, wants("other", since_s=2.0), 2.0)
    assert [reason.code for reason in reasons(pool, "wide", 3.0)] == ["node_state"]
    assert [reason.code for reason in reasons(pool, "near", 3.0)] != ["node_state"], "rack r0 is open"


@pytest.mark.parametrize("gpu_milli", [1000, 600])
def test_a_device_whose_next_holder_is_heard_of_before_the_last_is_gone_is_not_free(gpu_milli: int) -> None:
    pool = pool_with({}, gpus=2)
    last, next_one, place = part("last", gpu_milli), part("next", gpu_milli), Place("n0", (0,))
    for job in (last, next_one):
        pool.put(job, Truth(phase=Phase.HOLDS, places=(place,), began_s=1.0), 1.0)
        pool.settle(1.0)
    pool.put(last, Truth(phase=Phase.GONE, ran_s=1.0), 2.0)
    pool.put(wants("third", 1), Truth(phase=Phase.QUEUED), 3.0)
    assert pool.decide(3.0).starts == {"third": (Place("n0", (1,)),)}


def test_who_has_waited_too_long_but_cannot_fit_takes_no_reservation_from_others() -> None:
    pool = LivePool(replace(LIVE, preempts=False, wait_cap_s=50.0, shared_cap_s=50.0))
    pool.put_machines([machine(0), machine(1), machine(2, gpus=8, state=NodeState.CORDONED)], 0.0)
    for job in ("small0", "small1"):
        assert run(pool, wants(job, 2, is_pinned=True), 1.0) == [job]
    pool.put(wants("never", 8, since_s=1.0), Truth(phase=Phase.QUEUED), 1.0)
    gang = Wants(job="gang", workers=(Devices(cpu_milli=1000, gpu_milli=4000),) * 2, since_s=2.0)
    pool.put(gang, Truth(phase=Phase.QUEUED), 2.0)
    obey(pool, 60.0)
    assert run(pool, wants("next", 2, is_pinned=True, since_s=61.0), 61.0) == [], "what is free is kept for the gang"
    assert reasons(pool, "gang", 62.0)[0].facts["for"] == "gang"
    assert {reason.code for reason in reasons(pool, "never", 62.0)} >= {"node_state"}


def test_a_promise_that_a_lowered_limit_forbids_is_taken_back_at_once() -> None:
    pool = pool_with({"b": QueueSpec()})
    assert run(pool, wants("low", rank=8, can_resume=True), 10.0) == ["low"]
    pool.put(wants("high", queue="b", rank=0, since_s=20.0), Truth(phase=Phase.QUEUED), 20.0)
    pool.decide(20.0)
    assert reasons(pool, "high", 20.0)[0].code == "promised"
    pool.put_rights(Rights(queues={"b": QueueSpec(limit={"gpu_milli": 1000})}), 21.0)
    pool.put(pool.jobs["low"].wants, Truth(phase=Phase.QUEUED), 22.0)
    assert obey(pool, 22.0) == ["low"]
    assert reasons(pool, "high", 23.0)[0].code == "quota"


def test_who_can_never_run_any_more_is_told_so() -> None:
    pool = LivePool(QUICK)
    pool.put_machines([machine(0), machine(1, gpus=8)], 0.0)
    pool.put(wants("large", 8), Truth(phase=Phase.PAUSED), 1.0)
    pool.put_machines([machine(0)], 2.0)
    pool.put(wants("large", 8), Truth(phase=Phase.QUEUED), 2.0)
    obey(pool, 3.0)
    (told,) = reasons(pool, "large", 4.0)
    assert told.code == "shape" and "it can never run as the nodes are now" in told.words
