"""When a waiting job is told to start. What is promised, kept and guaranteed counts; nothing is said of the unknown."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton.pool.live.pool import LivePool
from lepton.pool.live.tables import Rights
from lepton.pool.live.views import Phase, Truth, Wants
from lepton.pool.live.when import SOON_S, starts_between
from lepton.pool.live.why import reasons
from lepton.pool.policy import LIVE
from lepton.pool.quota import QueueSpec
from lepton.pool.standing import NodeState
from tests.unit.pool.test_live import gpus_of, machine, run, wants

QUEUED = Truth(phase=Phase.QUEUED)


def made(queues: dict[str, QueueSpec] | None = None, nodes: int = 1, **options: Any) -> LivePool:
    pool = LivePool(replace(LIVE, **options))
    pool.put_machines([machine(at) for at in range(nodes)], 0.0)
    pool.put_rights(Rights(queues=queues or {}), 0.0)
    return pool


def between(pool: LivePool, job: str, now: float) -> tuple[float, float] | None:
    return starts_between(pool, job, reasons(pool, job, now), now)


def teach(pool: LivePool, waited_s: float) -> None:
    """Twelve have waited so long."""
    for at in range(12):
        pool.forecast.waits.state(f"w{at}", "default", 4, 1.0)
        pool.forecast.waits.started(f"w{at}", 1.0 + waited_s)


def test_nothing_is_said_before_anybody_has_waited() -> None:
    pool = made()
    run(pool, wants("first", is_pinned=True), 10.0)
    assert run(pool, wants("next", since_s=20.0), 20.0) == []
    assert between(pool, "next", 21.0) is None
    teach(pool, 1000.0)
    low, high = between(pool, "next", 2000.0) or (0.0, 0.0)
    assert 2000.0 <= low < high


def test_a_promised_start_waits_for_the_grace_of_those_who_leave_and_no_more() -> None:
    pool = made({"default": QueueSpec(max_grace_s=40.0)})
    run(pool, wants("low", rank=8, grace_s=3600.0, can_resume=True), 10.0)
    pool.put(wants("high", rank=0, since_s=100.0), QUEUED, 100.0)
    assert [stop.job for stop in pool.decide(100.0).stops] == ["low"]
    assert between(pool, "high", 101.0) == (101.0, 101.0 + 40.0 + SOON_S)


def test_who_is_next_to_get_what_is_guaranteed_is_told_within_the_bound() -> None:
    queues = {"own": QueueSpec(guarantee={"gpu_milli": 4000}), "default": QueueSpec()}
    pool = made(queues)
    teach(pool, 50_000.0)
    run(pool, wants("borrows", rank=0, is_pinned=True, grace_s=15.0), 10.0)
    pool.put(wants("mine", queue="own", rank=8, since_s=100.0), QUEUED, 100.0)
    pool.put(wants("other", queue="own", rank=8, since_s=101.0), QUEUED, 101.0)
    pool.decide(101.0)
    told = between(pool, "mine", 101.0)
    assert told == (101.0, pytest.approx(101.0 + 29.0 + LIVE.min_run_s + LIVE.rest_s + 15.0 + SOON_S))
    assert (between(pool, "other", 101.0) or (0, 0))[1] > 10_000, "the guarantee is for one of them"
    arrays = pool.seats.tables.pool
    assert arrays.nodes[0].free == 0 and pool.seats.is_in(pool.jobs["borrows"], 1), "asking has changed nothing"


def test_one_that_waits_behind_a_reservation_is_not_told_to_start_before_it() -> None:
    pool = made(nodes=2, preempts=False, shared_cap_s=50.0)
    teach(pool, 70.0)
    run(pool, wants("small", 2, is_pinned=True), 1.0)
    gang = Wants(job="gang", workers=(machine(0).total,) * 2, since_s=2.0)
    pool.put(gang, QUEUED, 2.0)
    pool.decide(60.0)
    assert run(pool, wants("next", 2, since_s=61.0), 61.0) == []
    (kept,) = (reason for reason in reasons(pool, "next", 62.0) if reason.code == "reserved")
    until = float(str(kept.facts["until"]))
    low, high = between(pool, "next", 62.0) or (0.0, 0.0)
    assert 62.0 <= low < until < high
    assert between(pool, "next", until + 1.0) is None, "it has not come true: nobody can know"


def test_what_people_must_do_first_has_no_time() -> None:
    pool = made({"few": QueueSpec(), "default": QueueSpec()}, nodes=2)
    teach(pool, 70.0)
    pool.put(wants("over", queue="few", since_s=1.0), Truth(phase=Phase.PAUSED), 1.0)
    pool.put_rights(Rights(queues={"few": QueueSpec(limit={"gpu_milli": 1000}), "default": QueueSpec()}), 2.0)
    pool.put(wants("over", queue="few", since_s=1.0), QUEUED, 2.0)
    pool.decide(3.0)
    assert reasons(pool, "over", 4.0)[0].code == "quota" and between(pool, "over", 4.0) is None
    pool.put_machines([machine(0), machine(1, state=NodeState.CORDONED)], 5.0)
    wide = Wants(job="wide", workers=(machine(0).total,) * 2, since_s=5.0)
    pool.put(wide, QUEUED, 5.0)
    pool.decide(6.0)
    assert reasons(pool, "wide", 7.0)[0].code == "node_state" and between(pool, "wide", 7.0) is None


def test_a_node_that_has_given_more_than_it_has_is_no_room() -> None:
    pool = made()
    run(pool, wants("first", 2, is_pinned=True), 10.0)
    pool.seats.set_open("n0", NodeState.CORDONED)  # as it is while a node holds more than it has
    pool.seats.layout.machines[0] = machine(0)
    pool.put(wants("next", 1, since_s=20.0), QUEUED, 20.0)
    pool.decide(20.0)
    assert [reason.code for reason in reasons(pool, "next", 21.0)] == ["shape"]


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_who_is_said_to_start_in_a_moment_does_and_asking_changes_nothing(seed: int) -> None:
    chance = np.random.default_rng(seed)
    queues = {"a": QueueSpec(guarantee={"gpu_milli": 8000}), "b": QueueSpec(limit={"gpu_milli": 6000})}
    asked, other = made(queues, nodes=4, grace_s=5.0), made(queues, nodes=4, grace_s=5.0)
    now, soon = 100.0, dict[str, float]()
    for step in range(25):
        now += float(chance.choice([0.5, 3.0, 20.0]))
        need = int(chance.choice([0, 1, 2, 4]))
        queue, resumes = str(chance.choice(["a", "b", "default"])), bool(chance.integers(2))
        job = replace(wants(f"j{step}", need), queue=queue, rank=int(chance.choice([0, 4, 8])), since_s=now)
        job = replace(
            job, workers=job.workers * int(chance.choice([1, 1, 3])), can_resume=resumes, is_pinned=not resumes
        )
        ended = [id for id, entry in asked.jobs.items() if entry.truth.phase is Phase.HOLDS and chance.random() < 0.2]
        for pool in (asked, other):
            for id in ended:
                pool.put(pool.jobs[id].wants, Truth(phase=Phase.GONE, ran_s=5.0), now)
            pool.put(job, QUEUED, now)
            pool.settle(now)
        if chance.random() < 0.7:
            for id, entry in asked.jobs.items():
                said = reasons(asked, id, now)
                if (
                    entry.truth.phase is Phase.QUEUED
                    and {r.code for r in said} == {"turn"}
                    and not said[0].facts["before_it"]
                ):
                    soon[id] = now
                told = starts_between(asked, id, said, now)
                assert told is None or now - 1e9 < told[0] <= told[1]
        plans = [pool.decide(now) for pool in (asked, other)]
        assert plans[0].starts == plans[1].starts and plans[0].stops == plans[1].stops, "asking decides nothing"
        assert all(id in plans[0].starts for id, at in soon.items() if at == now), (soon, plans[0])
        for pool, plan in zip((asked, other), plans, strict=True):
            for stop in plan.stops:
                pool.put(pool.jobs[stop.job].wants, QUEUED, now)
            for id, places in plan.starts.items():
                pool.put(pool.jobs[id].wants, Truth(phase=Phase.HOLDS, places=places, began_s=now), now)
        held = [entry.wants for entry in asked.jobs.values() if entry.truth.phase is Phase.HOLDS]
        assert gpus_of(held) <= 16_000
