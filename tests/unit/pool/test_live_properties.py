"""What holds of every live pool, whatever comes to it: a plan that is carried out twice is carried out once, and a
guarantee is restored within the graces. Everything of a case follows from one seed.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton.core.launch import Devices
from lepton.pool.kernel.state import WAITING
from lepton.pool.live.pool import LivePool
from lepton.pool.live.tables import Rights
from lepton.pool.live.trial import fits_beside
from lepton.pool.live.views import Phase, Plan, Truth, Wants
from lepton.pool.policy import LIVE
from lepton.pool.quota import QueueSpec
from lepton.pool.shape import Machine
from lepton.pool.standing import NodeState

seeds = st.integers(0, 2**40)
MORE = 20
STEP_S = 5.0
MOST_GRACE_S = 20.0
RECLAIM_S, MIN_RUN_S = 30.0, 60.0


def node(at: int, state: str = NodeState.UP) -> Machine:
    devices = Devices(cpu_milli=16_000, gpu_milli=8000, memory_bytes=1 << 38)
    return Machine(name=f"n{at}", total=devices, labels={"rack": f"r{at // 2}"}, state=state)


def job_of(chance: np.random.Generator, name: str, now: float, sizes: list[int]) -> Wants:
    """A job of some queue, priority and size, parts of devices and gangs among them."""
    milli, resumes = int(chance.choice(sizes)), bool(chance.integers(2))
    return Wants(
        job=name,
        workers=(Devices(cpu_milli=1000, gpu_milli=milli),) * int(chance.choice([1, 1, 1, 2, 3])),
        queue=str(chance.choice(["a", "b", "default"])),
        user=str(chance.choice(["ada", "bob"])),
        rank=int(chance.choice([0, 4, 8])),
        within=str(chance.choice(["", "", "rack"])) if milli else "",
        can_resume=resumes,
        is_pinned=not resumes,
        grace_s=float(chance.choice([0.0, 5.0, 3600.0])),
        since_s=now,
    )


def rights_of(chance: np.random.Generator) -> Rights:
    a, b = (1000 * int(chance.choice([0, 4, 8])) for _ in range(2))
    limit = {"gpu_milli": int(chance.choice([8000, 12_000]))} if chance.random() < 0.5 else {}
    queues = {
        "a": QueueSpec(guarantee={"gpu_milli": a}),
        "b": QueueSpec(guarantee={"gpu_milli": b} if b else {}, limit=limit),
    }
    quotas = {("user", "ada"): {"gpu_milli": 6000}} if chance.random() < 0.3 else {}
    return Rights(queues=queues, quotas=quotas)


def apply(pool: LivePool, plan: Plan, now: float) -> None:
    """Carry a plan out: who stops has gone at once."""
    for stop in plan.stops:
        pool.put(pool.jobs[stop.job].wants, Truth(phase=Phase.QUEUED), now)
    for job, places in plan.starts.items():
        pool.put(pool.jobs[job].wants, Truth(phase=Phase.HOLDS, places=places, began_s=now), now)


def check_twice(seed: int) -> None:
    """A pool that hears everything twice, and has every plan carried out twice, decides as one that hears it once; what
    was carried out comes in no later plan.
    """
    chance = np.random.default_rng(seed)
    once, twice = (LivePool(replace(LIVE, grace_s=5.0, min_run_s=5.0, shared_cap_s=200.0)) for _ in range(2))
    count, now, rights = int(chance.integers(1, 5)), 100.0, rights_of(chance)
    for pool in (once, twice):
        pool.put_machines([node(at) for at in range(count)], now)
        pool.put_rights(rights, now)
    for step in range(int(chance.integers(5, 25))):
        now += float(chance.choice([0.1, 3.0, 10.0, 100.0]))
        news = [(job_of(chance, f"j{step}", now, [0, 250, 500, 1000, 4000, 8000]), Truth(phase=Phase.QUEUED))]
        running = [entry.wants for entry in once.jobs.values() if entry.truth.phase is Phase.HOLDS]
        news += [(job, Truth(phase=Phase.GONE, ran_s=5.0)) for job in running if chance.random() < 0.2]
        state = str(chance.choice([NodeState.UP, NodeState.UP, NodeState.DRAINING]))
        nodes = [node(0, state), *(node(at) for at in range(1, count))]
        for pool, times in ((once, 1), (twice, 2)):
            for _ in range(times):
                pool.put_machines(nodes, now)
                for wants, truth in news:
                    pool.put(wants, truth, now)
        plans = [pool.decide(now) for pool in (once, twice)]
        assert plans[0] == plans[1]
        apply(once, plans[0], now)
        apply(twice, plans[1], now)
        apply(twice, Plan(plans[1].starts, []), now)
        again = [pool.decide(now) for pool in (once, twice)]
        assert again[0] == again[1] and not set(again[0].starts) & set(plans[0].starts)
        for pool, plan in zip((once, twice), again, strict=True):
            apply(pool, plan, now)
        assert [each.truth for each in once.jobs.values()] == [each.truth for each in twice.jobs.values()]
        assert (once.seats.tables.pool.nodes.free == twice.seats.tables.pool.nodes.free).all()


@settings(max_examples=250, deadline=None)
@given(seed=seeds)
def test_a_plan_applied_twice_is_applied_once(seed: int) -> None:
    check_twice(seed)


@pytest.mark.slow
@settings(max_examples=250 * MORE, deadline=None)
@given(seed=seeds)
def test_a_plan_applied_twice_is_applied_once_in_very_many_cases(seed: int) -> None:
    check_twice(seed)


@dataclass
class World:
    """Whole nodes, jobs that take as long to end as they may or never end, gangs and jobs that want CPUs alone, little
    patience, a wall clock that somebody sets, and a look every few seconds.
    """

    seed: int
    now: float = 0.0
    """What has really passed;"""
    ahead: float = 0.0
    """the wall clock says so much more."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Nodes of each job."""
    ends: dict[str, float] = field(default_factory=dict)
    leaves: dict[str, float] = field(default_factory=dict)
    lasts: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = np.random.default_rng(self.seed)
        patience_s = float(self.chance.choice([10.0, 100.0, 43_200.0]))
        policy = replace(LIVE, grace_s=RECLAIM_S, min_run_s=MIN_RUN_S, wait_cap_s=patience_s, shared_cap_s=patience_s)
        self.pool = LivePool(policy, ticks=lambda: self.now)
        own = self.chance.permutation([0, 1, 2]).tolist()
        self.own = dict(zip(("a", "b", "default"), own, strict=True))
        self.pool.put_machines([node(at) for at in range(3 + int(self.chance.integers(2)))], 0.0)
        specs = {
            name: QueueSpec(
                guarantee={"gpu_milli": 8000 * nodes}, max_grace_s=float(self.chance.choice([0, 5, MOST_GRACE_S]))
            )
            for name, nodes in self.own.items()
        }
        self.pool.put_rights(Rights(queues=specs), 0.0)

    @property
    def wall(self) -> float:
        return self.now + self.ahead

    def put(self, job: str, truth: Truth) -> None:
        self.pool.put(self.pool.jobs[job].wants, truth, self.wall)

    def submit(self) -> None:
        """One comes."""
        wants = replace(job_of(self.chance, f"j{self.now:.0f}", self.wall, [8000, 8000, 8000, 0]), within="")
        size = len(wants.workers) if wants.workers[0].gpu_milli else 0
        lasts = float(self.chance.choice([20, 100, 1000, 1e9]))
        self.sizes[wants.job], self.lasts[wants.job] = size, lasts
        wants = replace(wants, is_endless=lasts > 1e6 and bool(self.chance.integers(2)))
        self.pool.put(wants, Truth(phase=Phase.QUEUED), self.wall)

    def turn(self) -> None:
        """Time goes on, jobs end, one comes, and what is decided is carried out."""
        self.now += STEP_S
        if self.chance.random() < 0.02:
            self.ahead = float(self.chance.choice([-90_000, -4000, 0, 4000, 90_000]))
        for job in [job for job, at in self.leaves.items() if at <= self.now]:
            del self.leaves[job]
            self.put(job, Truth(phase=Phase.QUEUED))
        for job in [job for job, at in self.ends.items() if at <= self.now]:
            del self.ends[job]
            self.put(job, Truth(phase=Phase.GONE, ran_s=self.lasts[job]))
        if self.chance.random() < 0.15:
            self.submit()
        for _ in range(20):
            plan = self.pool.decide(self.wall)
            self.obey(plan)
            if not plan.starts and not plan.stops and self.pool.due_s(self.wall) != 0.0:
                return
        raise AssertionError("it never comes to rest")

    def obey(self, plan: Plan) -> None:
        for stop in plan.stops:
            entry = self.pool.jobs[stop.job]
            most_s = self.pool.rights.queues[entry.wants.queue].max_grace_s
            assert most_s is not None
            self.leaves[stop.job] = self.now + min(entry.wants.grace_s, most_s)
            self.ends.pop(stop.job, None)
            self.put(stop.job, replace(entry.truth, phase=Phase.LEAVES))
        for job, places in plan.starts.items():
            self.ends[job] = self.now + self.lasts[job]
            self.put(job, Truth(phase=Phase.HOLDS, places=places, began_s=self.wall))

    def is_owed(self, queue: str) -> bool:
        """Whether one waits whose queue with it holds no more than it is guaranteed; and no gang that is guaranteed as
        much when others of its queue end, for which that may be saved up.
        """
        its = [entry for entry in self.pool.jobs.values() if entry.wants.queue == queue]
        held = sum(self.sizes[each.wants.job] for each in its if each.truth.phase is not Phase.QUEUED)
        waiting = [self.sizes[each.wants.job] for each in its if each.truth.phase is Phase.QUEUED]
        most = self.own[queue] - held
        return any(0 < size <= most for size in waiting) and not any(most < size <= self.own[queue] for size in waiting)

    def is_free(self) -> bool:
        """Whether a job waits that could have its places beside what is kept, and was not given them."""
        entries = [entry for entry in self.pool.jobs.values() if entry.truth.phase is Phase.QUEUED]
        waiting = [entry for entry in entries if self.pool.seats.is_in(entry, WAITING)]
        return any(fits_beside(self.pool.seats, entry, self.pool.clock.own(self.wall)) for entry in waiting)


def check_guarantees(seed: int) -> None:
    """No queue waits longer for what it is guaranteed than until others have had their grace, whatever they ask for."""
    world, owed = World(seed), dict[str, float]()
    bound_s = RECLAIM_S + MIN_RUN_S + MOST_GRACE_S + LIVE.rest_s + 2 * STEP_S
    for _ in range(120):
        world.turn()
        assert not world.is_free(), "what fits starts, unless it takes what is kept"
        owed = {name: owed.get(name, world.now) for name in world.own if world.is_owed(name)}
        assert all(world.now - since <= bound_s for since in owed.values()), (world.now, owed, world.own)


@settings(max_examples=120, deadline=None)
@given(seed=seeds)
def test_a_guarantee_is_restored_within_the_graces(seed: int) -> None:
    check_guarantees(seed)


@pytest.mark.slow
@settings(max_examples=120 * MORE, deadline=None)
@given(seed=seeds)
def test_a_guarantee_is_restored_within_the_graces_in_very_many_cases(seed: int) -> None:
    check_guarantees(seed)
