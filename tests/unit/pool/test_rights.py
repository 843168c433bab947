"""What guarantees, priorities and long waits come to where they meet, in the live pool and in replays."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton.core.launch import Devices
from lepton.pool.arrays import Rules
from lepton.pool.live.pool import LivePool
from lepton.pool.live.tables import Rights
from lepton.pool.live.views import Phase, Truth, Wants
from lepton.pool.policy import LIVE, policy
from lepton.pool.quota import QueueSpec
from lepton.pool.replay import run
from lepton.pool.shape import Machine
from lepton.pool.trace import Cluster, Trace

NODES = 4
LOW, MEDIUM, HIGH = 8, 4, 0
OWNER = Rights(queues={"owner": QueueSpec(guarantee={"gpu_milli": 8000 * NODES}), "default": QueueSpec()})


class World:
    """Whole-node jobs on a live pool whose plans are carried out at once."""

    def __init__(self, rights: Rights = OWNER, *, patience_s: float = 12 * 3600.0) -> None:
        self.pool = LivePool(replace(LIVE, shared_cap_s=patience_s))
        self.pool.put_machines([machine(at) for at in range(NODES)], 0.0)
        self.pool.put_rights(rights, 0.0)
        self.now = 0.0
        self.ends: dict[str, float] = {}

    def submit(
        self, job: str, queue: str = "default", *, rank: int = MEDIUM, nodes: int = 1, resumes: bool = False
    ) -> None:
        """It comes."""
        wants = Wants(
            job=job,
            workers=(Devices(cpu_milli=1000, gpu_milli=8000),) * nodes,
            queue=queue,
            user="u",
            rank=rank,
            can_resume=resumes,
            is_pinned=not resumes,
            since_s=self.now,
        )
        self.pool.put(wants, Truth(phase=Phase.QUEUED), self.now)

    def turn(self, now: float, lasts_s: Callable[[str], float] = lambda job: 1e9) -> None:
        """Time goes on; jobs end that have run for long enough; one decision."""
        self.now = now
        for job in [job for job, end in self.ends.items() if end <= now]:
            del self.ends[job]
            self.pool.put(self.pool.jobs[job].wants, Truth(phase=Phase.GONE, ran_s=lasts_s(job)), now)
        plan = self.pool.decide(now)
        for stop in plan.stops:
            self.ends.pop(stop.job, None)
            self.pool.put(self.pool.jobs[stop.job].wants, Truth(phase=Phase.QUEUED), now)
        for job, places in {**plan.starts, **(self.pool.decide(now).starts if plan.stops else {})}.items():
            truth = Truth(phase=Phase.HOLDS, places=places, began_s=now)
            self.pool.put(self.pool.jobs[job].wants, truth, now)
            self.ends[job] = now + lasts_s(job)

    def held(self, queue: str) -> int:
        """Nodes that jobs of a queue hold."""
        entries = self.pool.jobs.values()
        return sum(len(e.wants.workers) for e in entries if e.truth.phase is Phase.HOLDS and e.wants.queue == queue)


def machine(at: int) -> Machine:
    return Machine(name=f"n{at}", total=Devices(cpu_milli=64_000, gpu_milli=8000, memory_bytes=1 << 38))


def until(world: World, held: int, queue: str, most_s: float, lasts_s: Callable[[str], float]) -> float:
    """Seconds until a queue holds so many nodes."""
    begun = world.now
    while world.held(queue) < held:
        assert world.now - begun < most_s, f"{queue} holds {world.held(queue)}"
        world.turn(world.now + 1.0, lasts_s)
    return world.now - begun


def test_a_guarantee_holds_against_short_jobs_of_a_higher_priority() -> None:
    world = World()

    def lasts(job: str) -> float:
        return 50.0 if job.startswith("d") else 1e9

    for at in range(300):
        world.submit(f"d{at}", rank=HIGH)
    for second in range(100):
        world.turn(float(second), lasts)
    for at in range(NODES):
        world.submit(f"o{at}", "owner", rank=LOW)
    assert until(world, NODES, "owner", 120.0, lasts) <= 120.0


def test_one_that_waited_too_long_and_is_stopped_waits_once_and_not_twice() -> None:
    """One that is late is started past the heap of its class, which still knows it; stopped, it comes back there."""
    world = World(Rights(queues={"owner": QueueSpec(guarantee={"gpu_milli": 8000 * NODES})}), patience_s=100.0)
    for at in range(NODES):
        world.submit(f"f{at}", rank=HIGH)
    world.turn(1.0, lambda job: 150.0 if job == "f0" else 1e9)
    for job, worked_s in (("first", 900.0), ("late", 0.0)):
        world.submit(job, rank=LOW, resumes=True)
        wants = world.pool.jobs[job].wants
        world.pool.put(wants, Truth(phase=Phase.GONE), world.now)
        world.pool.put(wants, Truth(phase=Phase.QUEUED, worked_s=worked_s), world.now)
        world.now += 1.0
    for now in range(5, 300, 5):
        world.turn(float(now))
    assert world.pool.jobs["late"].holds and not world.pool.jobs["first"].holds
    world.submit("owner", "owner", rank=LOW)
    for now in range(300, 420, 5):
        world.turn(float(now))
    assert world.held("owner") == 1 and not world.pool.jobs["late"].holds
    arrays = world.pool.seats.tables.pool
    heap, seen = [int(arrays.classes[int(arrays.jobs[world.pool.jobs["late"].slot].klass)].root)], list[int]()
    while heap:
        job_at = heap.pop()
        assert job_at not in seen, "a job is in the heap of its class twice"
        if job_at >= 0:
            seen.append(job_at)
            heap += [int(arrays.jobs[job_at].left), int(arrays.jobs[job_at].right)]


@pytest.mark.parametrize("resumes", [False, True])
def test_a_guarantee_holds_against_those_who_have_waited_too_long(resumes: bool) -> None:
    world = World(patience_s=600.0)
    for at in range(40):
        world.submit(f"d{at}", rank=LOW, resumes=resumes)
    for now in (0.0, 700.0, 800.0):
        world.turn(now, lambda job: 300.0)
    assert world.held("default") == NODES
    for at in range(NODES):
        world.submit(f"o{at}", "owner")
    assert until(world, NODES, "owner", 150.0, lambda job: 1e9) <= 150.0


def test_a_late_gang_waits_for_those_that_run_and_for_nobody_after() -> None:
    world = World(Rights(queues={"default": QueueSpec()}), patience_s=600.0)

    def lasts(job: str) -> float:
        return 7200.0

    for now in range(0, 60_000, 600):
        if now == 3000:
            world.submit("gang", nodes=NODES)
        world.submit(f"small{now}")
        world.turn(float(now), lasts)
        if world.pool.jobs["gang"].truth.phase is Phase.HOLDS if now >= 3000 else False:
            break
    assert world.now <= 3000 + 600 + 3 * 7200


def test_who_borrows_is_stopped_before_who_is_guaranteed_what_it_has() -> None:
    half = {"gpu_milli": 8000 * NODES // 2}
    world = World(
        Rights(queues={"a": QueueSpec(guarantee=half), "b": QueueSpec(guarantee=half), "default": QueueSpec()})
    )
    for at in range(2):
        world.submit(f"a{at}", "a", rank=LOW, resumes=True)
        world.submit(f"d{at}")
    world.turn(0.0)
    world.submit("b", "b", nodes=2)
    for now in (100.0, 140.0, 146.0):
        world.turn(now)
    assert (world.held("a"), world.held("b"), world.held("default")) == (2, 2, 0)


def test_victims_are_not_taken_below_what_is_guaranteed_to_them() -> None:
    half = {"gpu_milli": 8000 * NODES // 2}
    world = World(
        Rights(queues={"a": QueueSpec(guarantee=half), "b": QueueSpec(guarantee=half), "default": QueueSpec()})
    )
    world.submit("d", rank=MEDIUM)
    for at in range(3):
        world.submit(f"a{at}", "a", rank=LOW)
    world.turn(0.0)
    assert (world.held("a"), world.held("default")) == (3, 1)
    world.turn(100.0)
    world.submit("b", "b", nodes=2)
    world.turn(140.0)
    world.turn(146.0)
    assert (world.held("a"), world.held("b"), world.held("default")) == (2, 2, 0)


@pytest.mark.parametrize("back_s", [0.0, 600.0, 86_400.0])
def test_a_clock_that_is_set_back_protects_nobody(back_s: float) -> None:
    world = World()
    for at in range(NODES):
        world.submit(f"d{at}")
    world.turn(100_000.0)
    world.turn(100_100.0 - back_s)
    for at in range(NODES):
        world.submit(f"o{at}", "owner", rank=HIGH)
    assert until(world, NODES, "owner", 120.0, lambda job: 1e9) <= 120.0


def test_waiting_for_others_to_be_done_is_no_waiting() -> None:
    world = World(Rights(queues={"default": QueueSpec()}), patience_s=600.0)
    for at in range(NODES):
        world.submit(f"first{at}")
    wants = Wants(job="dep", workers=(Devices(cpu_milli=1000, gpu_milli=8000),), queue="default", user="u", rank=LOW)
    world.pool.put(wants, Truth(phase=Phase.PAUSED), 0.0)
    world.turn(0.0, lambda job: 5000.0)
    world.submit("urgent", rank=HIGH)
    world.pool.put(wants, Truth(phase=Phase.QUEUED), 4000.0)
    world.turn(4001.0, lambda job: 5000.0)
    world.pool.put(world.pool.jobs["first0"].wants, Truth(phase=Phase.GONE, ran_s=4002.0), 4002.0)
    world.turn(4002.0)
    held = {job for job, entry in world.pool.jobs.items() if entry.truth.phase is Phase.HOLDS}
    assert "urgent" in held and "dep" not in held


def trace_of(gpus: list[int], submit: list[float], duration: list[float]) -> Trace:
    zeros = np.zeros(len(gpus), np.int64)
    return Trace(
        name="made",
        id=tuple(f"j{at}" for at in range(len(gpus))),
        submit=np.array(submit, float),
        duration=np.array(duration, float),
        gpus=np.array(gpus, np.int64),
        cpus=zeros,
        queue=zeros,
        user=zeros,
        queues=("a",),
        users=("u",),
    )


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 0.95), st.integers(2, NODES))
def test_nobody_starves_whatever_comes(seed: int, load: float, nodes: int) -> None:
    """After twice its patience a gang waits for those that run and for who was there before it, and for nobody else."""
    chance = np.random.default_rng(seed)
    count, longest = 120, 20_000.0
    duration = chance.uniform(0.2, 1.0, count) * longest
    submit = np.cumsum(chance.exponential(duration.mean() / NODES / load, count))
    gang_at = float(submit[20])
    trace = trace_of([8] * count + [8 * nodes], [*submit, gang_at], [*duration, 600.0])
    calm = replace(policy("lepton", may_preempt=False), shared_cap_s=3600.0)
    outcome = run(trace, Cluster(nodes={"a": NODES}, per_node=8), calm, Rules(is_partitioned=False))
    before = int(np.sum((trace.submit[:-1] <= gang_at) & (outcome.first[:-1] > gang_at)))
    assert outcome.first[-1] - gang_at <= 2 * 3600.0 + (1 + -(-before // NODES)) * longest + 1.0


def test_equal_run_times_are_not_sliced() -> None:
    chance = np.random.default_rng(1)
    count = 1500
    trace = trace_of([8] * count, list(np.cumsum(chance.exponential(1000.0, count))), [3600.0] * count)
    cluster, rules = Cluster(nodes={"a": NODES}, per_node=8), Rules()
    ours, greedy = (run(trace, cluster, policy(name), rules) for name in ("lepton", "fifo-greedy"))
    assert len(ours.job) - count < 0.25 * count
    assert np.mean(ours.finished - trace.submit) < 1.1 * np.mean(greedy.finished - trace.submit)
