"""A still picture of the pool tells why a job waits, and when it starts, as the pool told it at that moment."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton.pool.live.pool import LivePool
from lepton.pool.live.views import Phase, Reason, Truth
from lepton.pool.live.when import starts_between
from lepton.pool.live.why import reasons
from lepton.pool.quota import QueueSpec
from tests.unit.pool.test_live import wants
from tests.unit.pool.test_when import QUEUED, made

Told = tuple[list[Reason], tuple[float, float] | None]


def told(pool: LivePool, job: str, now: float) -> Told:
    why = reasons(pool, job, now)
    return why, starts_between(pool, job, why, now)


def go_on(pool: LivePool, step: int, now: float, chance: np.random.Generator) -> None:
    """Some jobs end, some are stopped, one comes, and it is decided."""
    for entry in list(pool.jobs.values()):
        if entry.truth.phase is Phase.LEAVES:
            pool.put(entry.wants, replace(QUEUED, worked_s=float(chance.choice([0.0, 30.0]))), now)
        elif entry.truth.phase is Phase.HOLDS and chance.random() < 0.2:
            pool.put(entry.wants, Truth(phase=Phase.GONE, ran_s=float(chance.choice([5.0, 60.0, 900.0]))), now)
    job = wants(f"j{step}", int(chance.choice([0, 1, 2, 4])))
    pool.put(
        replace(
            job,
            workers=job.workers * int(chance.choice([1, 1, 3])),
            queue=str(chance.choice(["a", "b", "default"])),
            rank=int(chance.choice([0, 4, 8])),
            can_resume=bool(chance.integers(2)),
            limit_s=float(chance.choice([0.0, 0.0, 300.0])),
            since_s=now,
        ),
        QUEUED,
        now,
    )
    plan = pool.decide(now)
    for stop in plan.stops:
        entry = pool.jobs[stop.job]
        pool.put(entry.wants, replace(entry.truth, phase=Phase.LEAVES), now)
    for id, places in plan.starts.items():
        pool.put(pool.jobs[id].wants, Truth(phase=Phase.HOLDS, places=places, began_s=now), now)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_a_still_picture_tells_what_the_pool_told_then_whatever_is_decided_meanwhile(seed: int) -> None:
    chance = np.random.default_rng(seed)
    queues = {"a": QueueSpec(guarantee={"gpu_milli": 8000}), "b": QueueSpec(limit={"gpu_milli": 6000})}
    pool, other = (made(queues, nodes=4, grace_s=5.0, shared_cap_s=200.0) for _ in range(2))
    other_chance = np.random.default_rng(seed)
    now, kept = 100.0, list[tuple[LivePool, str, float, Told]]()
    for step in range(25):
        now += float((0.5, 3.0, 20.0)[(seed + step * 7) % 3])
        go_on(pool, step, now, chance)
        go_on(other, step, now, other_chance)
        asked = [id for id, entry in pool.jobs.items() if entry.truth.phase is Phase.QUEUED]
        for id in asked:
            still = pool.still(id, now)
            other.state_wait(id, now)  # as whoever asks is told now how long such jobs wait
            kept.append((still, id, now, told(other, id, now)))
        assert repr(pool.decide(now)) == repr(other.decide(now)), "a picture decides nothing"
    for still, id, at, then in kept:
        assert told(still, id, at) == then
    assert pool.decide(now).starts == other.decide(now).starts, "nor does who asks there"
