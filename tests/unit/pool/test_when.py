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
    assert between(pool, "high", 101.0) == (101.0, 100.0 + 40.0 + SOON_S)


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


@settings(max_examples=60, deadline=None)
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


def test_the_end_of_a_promise_stands_still_while_the_grace_runs() -> None:
    pool = made({"default": QueueSpec(max_grace_s=40.0)})
    run(pool, wants("low", rank=8, grace_s=3600.0, can_resume=True), 10.0)
    pool.put(wants("high", rank=0, since_s=100.0), QUEUED, 100.0)
    assert [stop.job for stop in pool.decide(100.0).stops] == ["low"]
    leaving = replace(pool.jobs["low"].truth, phase=Phase.LEAVES)
    pool.put(pool.jobs["low"].wants, leaving, 103.0)
    for now in (101.0, 120.0, 149.0):
        assert between(pool, "high", now) == (now, 100.0 + 40.0 + SOON_S)
    low, high = between(pool, "high", 200.0) or (0.0, 0.0)
    assert low == 200.0 < high, "what has passed is said anew"


def test_what_is_told_never_begins_in_the_past() -> None:
    pool = made()
    teach(pool, 1000.0)
    run(pool, wants("first", is_pinned=True), 10.0)
    assert run(pool, wants("next", since_s=20.0), 20.0) == []
    told = between(pool, "next", 21.0)
    assert told is not None and told[0] > 21.0
    for now in (told[0] + 5.0, told[1] + 5.0, told[1] + 50_000.0):
        again = between(pool, "next", now)
        assert again is not None and now <= again[0] < again[1]


def after_like_ones(ran_s: float, waiting: int, nodes: int = 4, **options: Any) -> LivePool:
    """A full pool of like jobs that began at 1000 s, and as many waiting as said; such jobs have run for `ran_s`."""
    pool = made(nodes=nodes, preempts=False, **options)
    for at in range(8):
        pool.forecast.learn(wants(f"was{at}", since_s=float(at)), ran_s, ran_s + at)
    for at in range(nodes):
        run(pool, wants(f"runs{at}", is_pinned=True, since_s=1000.0), 1000.0)
    for at in range(waiting):
        pool.put(wants(f"waits{at}", is_pinned=True, since_s=1001.0 + at / 100), QUEUED, 1002.0)
    pool.decide(1003.0)
    return pool


def test_like_jobs_are_told_by_how_many_go_before_them() -> None:
    pool = after_like_ones(75.0, waiting=16)
    told = [between(pool, f"waits{at}", 1010.0) for at in range(16)]
    for at, each in enumerate(told):
        due = 1000.0 + 75.0 * (1 + at // 4)
        assert each is not None and each[0] <= due <= each[1] and each[1] - each[0] < 60.0, (at, each)


def test_a_time_limit_alone_says_when_at_the_latest() -> None:
    pool = made()
    run(pool, wants("first", is_pinned=True, limit_s=100.0), 10.0)
    pool.put(wants("next", since_s=20.0), QUEUED, 20.0)
    pool.decide(20.0)
    low, high = between(pool, "next", 21.0) or (0.0, 0.0)
    assert 21.0 <= low < 60.0 and 90.0 < high <= 110.0 + SOON_S


def test_of_those_of_whom_nothing_is_known_nothing_follows() -> None:
    pool = made(nodes=2)
    run(pool, wants("limited", is_pinned=True, limit_s=100.0), 10.0)
    run(pool, wants("endless", is_pinned=True, is_endless=True, limit_s=0.0), 10.0)
    pool.put(wants("unknown", since_s=20.0), QUEUED, 20.0)
    pool.put(wants("next", since_s=21.0), QUEUED, 21.0)
    pool.decide(22.0)
    assert (between(pool, "unknown", 23.0) or (0, 0))[1] <= 110.0 + SOON_S
    assert between(pool, "next", 23.0) is None, "nobody knows how long the one before it will run"


def test_one_that_a_limit_keeps_out_waits_for_those_who_hold_it() -> None:
    pool = made({"few": QueueSpec(limit={"gpu_milli": 4000}), "default": QueueSpec()}, nodes=4)
    run(pool, wants("first", queue="few", is_pinned=True, limit_s=100.0), 10.0)
    pool.put(wants("next", queue="few", limit_s=50.0, since_s=20.0), QUEUED, 20.0)
    pool.put(wants("last", queue="few", limit_s=50.0, since_s=21.0), QUEUED, 21.0)
    pool.decide(22.0)
    assert (between(pool, "next", 23.0) or (0, 0))[1] <= 110.0 + SOON_S
    assert 110.0 < (between(pool, "last", 23.0) or (0, 0))[1] <= 160.0 + SOON_S


def test_small_ones_may_pass_a_gang_and_are_told_so() -> None:
    pool = after_like_ones(75.0, waiting=0)
    gang = Wants(
        job="gang", workers=(machine(0).total,) * 4, since_s=1000.5, program="other", is_pinned=True, limit_s=500.0
    )
    pool.put(gang, QUEUED, 1003.0)
    pool.put(wants("small", 1, is_pinned=True, since_s=1004.0), QUEUED, 1004.0)
    pool.decide(1005.0)
    low, high = between(pool, "small", 1010.0) or (0.0, 0.0)
    assert low <= 1075.0 < 1200.0 < high


def test_a_reservation_goes_by_how_long_like_jobs_ran() -> None:
    pool = after_like_ones(75.0, waiting=0, nodes=2, shared_cap_s=20.0)
    gang = Wants(job="gang", workers=(machine(0).total,) * 2, since_s=1001.0)
    pool.put(gang, QUEUED, 1001.0)
    pool.decide(1002.0)
    pool.decide(1030.0)
    (kept,) = (reason for reason in reasons(pool, "gang", 1031.0) if reason.code == "reserved")
    assert 1075.0 <= float(str(kept.facts["until"])) < 1100.0, kept
    low, high = between(pool, "gang", 1031.0) or (0.0, 0.0)
    assert 1060.0 <= low <= 1075.0 <= high < 1100.0


def test_room_on_a_cordoned_node_is_named_beside_what_is_missing() -> None:
    pool = after_like_ones(75.0, waiting=0, nodes=2)
    pool.put(pool.jobs["runs1"].wants, Truth(phase=Phase.GONE, ran_s=75.0), 1004.0)
    pool.put_machines([machine(0), machine(1, state=NodeState.CORDONED)], 1005.0)
    pool.put(wants("next", 2, since_s=1006.0), QUEUED, 1006.0)
    pool.decide(1007.0)
    said = {reason.code: reason for reason in reasons(pool, "next", 1008.0)}
    assert list(said) == ["shape", "node_state"]
    assert said["node_state"].facts == {"nodes": {"n1": "cordoned"}, "only": False}
    assert said["node_state"].words.endswith("n1 is cordoned")
    told = between(pool, "next", 1008.0)
    assert told is not None and told[0] <= 1075.0 <= told[1], "the other node comes free all the same"


def test_what_was_promised_is_not_said_to_be_held() -> None:
    queues = {"few": QueueSpec(limit={"gpu_milli": 4000}), "default": QueueSpec()}
    pool = made(queues)
    run(pool, wants("low", rank=8, grace_s=3600.0, can_resume=True), 10.0)
    pool.put(wants("high", rank=0, queue="few", since_s=100.0), QUEUED, 100.0)
    assert [stop.job for stop in pool.decide(100.0).stops] == ["low"]
    pool.put(wants("next", 1, queue="few", since_s=101.0), QUEUED, 101.0)
    pool.decide(101.0)
    said = reasons(pool, "next", 102.0)[0]
    assert (said.code, said.facts["held"], said.facts["promised"]) == ("quota", 0, 4000)
    assert said.words == "queue few holds 0 GPUs of 4 GPUs, is promised 4 GPUs and it needs 1 GPU"
