"""Replays: equal to the published schedules and to a plain reading of the rules, and never more than there is."""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton.pool.arrays import Rules, codes, kinds
from lepton.pool.figures import figures, held_over_time, waiting_over_time, waits_of
from lepton.pool.kernel import predict
from lepton.pool.policy import CALM, ENDLESS, OURS, POLICIES, Policy, Source, policy
from lepton.pool.replay import Outcome, run
from lepton.pool.trace import Cluster, Trace
from lepton.store.traces import read_nodes, read_trace

TRACES = Path(__file__).parent / "traces"
RESTORE_S = {1: 7.0, 8: 30.0}
ORDERS = {name: found for name, found in POLICIES.items() if found.source is not Source.GIVEN} | {
    "calm": CALM,
    "late": replace(CALM, wait_cap_s=50.0, shared_cap_s=50.0),
    "late and preemptive": replace(OURS, wait_cap_s=50.0, shared_cap_s=50.0, floor_s=5.0, prior_s=5.0),
    "quick to stop": replace(OURS, floor_s=2.0, prior_s=2.0),
}


def venus() -> tuple[Trace, Cluster]:
    return read_trace(TRACES / "venus.csv")[0], read_nodes(TRACES / "venus_nodes.csv", per_node=8)


def published(column: str) -> np.ndarray:
    head, *lines = (TRACES / "venus.csv").read_text().splitlines()
    return np.array([float(line.split(",")[head.split(",").index(column)]) for line in lines])


def trace_of(rows: list[tuple[int, int, int, int, int]]) -> Trace:
    """From (queue, user, submit, duration, gpus)."""
    columns = np.array(rows, np.int64).reshape(-1, 5).T
    return Trace(
        name="made",
        id=[f"j{i}" for i in range(len(rows))],
        queue=columns[0].copy(),
        queues=["a", "b"],
        user=columns[1].copy(),
        users=["u", "v", "w"],
        submit=columns[2].astype(float),
        duration=columns[3].astype(float),
        gpus=columns[4].copy(),
        cpus=np.zeros(len(rows), np.int64),
    )


jobs = st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 60), st.integers(0, 40), st.integers(0, 11))
traces = st.lists(jobs, min_size=1, max_size=40).map(trace_of)
clusters = st.builds(
    lambda a, b, size: Cluster(nodes={"a": a, "b": b}, per_node=size),
    st.integers(1, 3),
    st.integers(1, 70),
    st.sampled_from([1, 4, 8]),
)


@pytest.mark.parametrize("name", ["fifo", "sjf"])
def test_published_schedules_come_out_to_the_second(name: str) -> None:
    outcome = run(*venus(), POLICIES[name], Rules())
    assert (outcome.finished == published(f"{name}_end")).all()


@settings(max_examples=150, deadline=None)
@given(trace=traces, cluster=clusters, name=st.sampled_from(sorted(ORDERS)), is_partitioned=st.booleans())
def test_nothing_is_overfilled_and_every_job_does_its_work(
    trace: Trace, cluster: Cluster, name: str, is_partitioned: bool
) -> None:
    check(trace, cluster, name, is_partitioned)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None)
@given(trace=traces, cluster=clusters, name=st.sampled_from(sorted(ORDERS)), is_partitioned=st.booleans())
def test_nothing_is_overfilled_in_many_more_cases(
    trace: Trace, cluster: Cluster, name: str, is_partitioned: bool
) -> None:
    check(trace, cluster, name, is_partitioned)


def check(trace: Trace, cluster: Cluster, name: str, is_partitioned: bool) -> None:
    outcome = run(trace, cluster, ORDERS[name], Rules(is_partitioned=is_partitioned))
    check_nodes(outcome, is_partitioned)
    check_work(outcome)
    if not ORDERS[name].preempts:
        assert len(outcome.job) == len(set(outcome.job)), "nothing may be stopped"


def check_nodes(outcome: Outcome, is_partitioned: bool) -> None:
    """No node holds more than it has at any time, no queue uses another's node, and gangs are whole."""
    names, gpus = outcome.node_names(), outcome.worker_gpus()
    changes: list[tuple[float, int, str, int]] = []
    for at, job in enumerate(outcome.job):
        workers = range(outcome.worker[at], outcome.worker[at + 1])
        assert sum(gpus[worker] for worker in workers) == outcome.trace.gpus[job]
        for worker in workers:
            node = names[outcome.node[worker]]
            if is_partitioned:
                assert node.split("/")[0] == outcome.trace.queues[outcome.trace.queue[job]]
            if outcome.end[at] > outcome.start[at]:
                changes += [(outcome.start[at], 1, node, gpus[worker]), (outcome.end[at], 0, node, -gpus[worker])]
    held: Counter[str] = Counter()
    for _, _, node, amount in sorted(changes):
        held[node] += amount
        assert 0 <= held[node] <= outcome.cluster.per_node


def check_work(outcome: Outcome) -> None:
    """Each job runs from its submit on, one segment after the other, for its duration and just what restarts cost."""
    trace = outcome.trace
    for job in range(len(trace)):
        mine = np.flatnonzero(outcome.job == job)
        assert bool(len(mine)) != outcome.is_refused[job]
        if not len(mine):
            continue
        starts, ends = np.sort(outcome.start[mine]), np.sort(outcome.end[mine])
        assert starts[0] >= trace.submit[job] and (starts[1:] >= ends[:-1]).all()
        gpus = trace.gpus[job]
        restore_s = 7.0 if gpus <= 1 else 30.0 if gpus <= 8 else 60.0
        leads = restore_s * (np.arange(len(mine)) > 0)
        worked = np.maximum(0.0, ends - starts - leads).sum()  # one may be stopped while it restores
        assert worked == pytest.approx(trace.duration[job], abs=1e-6)
        assert outcome.finished[job] == ends[-1] and outcome.first[job] == starts[0]


@settings(max_examples=100, deadline=None)
@given(trace=traces, cluster=clusters, name=st.sampled_from(["fifo", "fifo-greedy", "smallest", "sjf", "ssf"]))
def test_the_compiled_order_is_the_plain_one(trace: Trace, cluster: Cluster, name: str) -> None:
    for is_partitioned in (True, False):
        outcome = run(trace, cluster, POLICIES[name], Rules(is_partitioned=is_partitioned))
        plain = plain_ends(trace, cluster, POLICIES[name], is_partitioned)
        assert {job: outcome.finished[job] for job in plain} == plain


def plain_ends(trace: Trace, cluster: Cluster, rules: Policy, is_partitioned: bool) -> dict[int, float]:
    """The rules of `pool.policy` as they are written, for orders that stop nothing: job -> end."""
    plain = Plain(trace, cluster, rules, is_partitioned)
    while plain.left or plain.running:
        plain.step()
    return plain.ends


class Plain:
    """A pool as lists and dicts."""

    def __init__(self, trace: Trace, cluster: Cluster, rules: Policy, is_partitioned: bool) -> None:
        self.trace, self.rules, self.size, self.is_partitioned = trace, rules, cluster.per_node, is_partitioned
        self.free = {(q, i): self.size for q, count in enumerate(cluster.nodes.values()) for i in range(count)}
        self.own = [count * self.size for count in cluster.nodes.values()]
        self.used = [0, 0]
        self.waiting: list[int] = []
        self.running: dict[int, tuple[float, dict[tuple[int, int], int]]] = {}
        self.ends: dict[int, float] = {}
        whole = self.own if is_partitioned else [sum(self.own)] * 2
        self.left = [job for job in range(len(trace)) if trace.gpus[job] <= whole[trace.queue[job]]]

    def standing(self, job: int) -> tuple[bool, float, int]:
        trace, rules, queue = self.trace, self.rules, self.trace.queue[job]
        asks = trace.gpus[job]
        is_over = not self.is_partitioned and asks > 0 and self.used[queue] + asks > self.own[queue]
        expected = trace.duration[job] if rules.source is Source.TRUTH else rules.prior_s
        size = max(rules.floor_s, expected) * float(trace.gpus[job]) ** rules.weight
        return is_over, float(rules.age * trace.submit[job] + rules.stretch * min(size, rules.longest)), job

    def places(self, job: int) -> dict[tuple[int, int], int] | None:
        nodes = [node for node in self.free if not self.is_partitioned or node[0] == self.trace.queue[job]]
        parts, rest = divmod(int(self.trace.gpus[job]), self.size)
        taken: dict[tuple[int, int], int] = {}
        for need in [self.size] * parts + ([rest] if rest or not parts else []):
            fitting = [node for node in nodes if node not in taken and self.free[node] >= need]
            if not fitting:
                return None
            taken[min(fitting, key=lambda node: self.free[node])] = need
        return taken

    def hold(self, job: int, taken: dict[tuple[int, int], int], sign: int) -> None:
        self.used[self.trace.queue[job]] += sign * self.trace.gpus[job]
        for node, need in taken.items():
            self.free[node] -= sign * need

    def step(self) -> None:
        now = min([self.trace.submit[job] for job in self.left] + [end for end, _ in self.running.values()])
        for job in [job for job, (end, _) in self.running.items() if end <= now]:
            self.hold(job, self.running.pop(job)[1], -1)
        self.waiting += [job for job in self.left if self.trace.submit[job] <= now]
        self.left = [job for job in self.left if self.trace.submit[job] > now]
        self.start(now)

    def start(self, now: float) -> None:
        blocked: set[int] = set()
        tried: set[int] = set()
        while rest := [job for job in self.waiting if job not in tried and self.trace.queue[job] not in blocked]:
            job = min(rest, key=self.standing)
            taken = self.places(job)
            tried.add(job)
            if taken is None:
                blocked |= {self.trace.queue[job]} if self.rules.blocks else set()
                continue
            self.waiting.remove(job)
            self.hold(job, taken, 1)
            self.ends[job] = now + self.trace.duration[job]
            self.running[job] = (self.ends[job], taken)


@settings(max_examples=30, deadline=None)
@given(trace=traces, cluster=clusters, name=st.sampled_from(sorted(ORDERS)))
def test_equal_input_gives_equal_outcomes(trace: Trace, cluster: Cluster, name: str) -> None:
    one, other = (run(trace, cluster, ORDERS[name], Rules()) for _ in range(2))
    assert (one.job == other.job).all() and (one.end == other.end).all() and (one.node == other.node).all()


def test_the_code_is_the_same_without_a_compiler() -> None:
    code = (
        "from lepton.pool.kernel.compiled import IS_COMPILED; assert not IS_COMPILED\n"
        "import numpy as np; from test_replay import ORDERS, Rules, run, venus\n"
        "trace, cluster = venus(); trace = trace.only(np.arange(len(trace)) < 150)\n"
        "for name in ('lepton', 'calm', 'late and preemptive'):\n"
        "    for shared in (True, False):\n"
        "        print(*run(trace, cluster, ORDERS[name], Rules(is_partitioned=not shared)).finished)\n"
    )
    environment = os.environ | {
        "NUMBA_DISABLE_JIT": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    trace, cluster = venus()
    trace = trace.only(np.arange(len(trace)) < 150)
    expected = [
        " ".join(str(end) for end in run(trace, cluster, ORDERS[name], Rules(is_partitioned=not shared)).finished)
        for name in ("lepton", "calm", "late and preemptive")
        for shared in (True, False)
    ]
    assert said.stdout.splitlines() == expected


def test_where_nothing_can_be_kept_it_is_compiled_anew() -> None:
    code = "import numpy as np; from lepton.pool.kernel.predict import ranks; print(*ranks(np.array([3.0, 1.0, 3.0])))"
    environment = os.environ | {"HOME": "/proc/nowhere", "XDG_CACHE_HOME": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert said.stdout.split() == ["1.5", "0.0", "1.5"]


def test_preemption_helps_the_short_and_costs_what_it_says() -> None:
    trace = trace_of([(0, 0, 0, 10_000, 8), (0, 1, 1_000, 10, 8)])
    outcome = run(trace, Cluster(nodes={"a": 1, "b": 1}), OURS, Rules(restore_factor=2.0))
    assert outcome.finished[1] == 1_210.0, "not before it has outrun what was expected of it: 300, 600, 1,200 s"
    assert outcome.finished[0] == 10_000 + 10 + 2 * 30
    assert figures(outcome)["preemptions"] == 1


def test_nobody_is_stopped_for_a_gang_that_would_not_fit_even_then() -> None:
    rows = [(0, 0, 0, 1_000, 3), (0, 0, 0, 100_000, 5), (0, 1, 5_000, 10, 16)]
    late = replace(OURS, min_run_s=50_000.0)  # the running one may not be stopped yet
    outcome = run(trace_of(rows), Cluster(nodes={"a": 2, "b": 1}), late, Rules())
    assert outcome.first[2] >= 50_000 and figures(outcome)["preemptions"] == 1


def test_a_gang_that_waited_too_long_gets_its_nodes_kept_free() -> None:
    small = [(0, 0, 100 * i, 250, 4) for i in range(200)]  # a stream that alone would never let both nodes run empty
    starves = trace_of([*small, (0, 1, 50, 100, 16)])
    cluster = Cluster(nodes={"a": 2, "b": 1})
    greedy = run(starves, cluster, POLICIES["fifo-greedy"], Rules())
    capped = run(starves, cluster, replace(POLICIES["fifo-greedy"], wait_cap_s=1_000.0), Rules())
    assert waits_of(greedy)[-1] > 15_000
    assert waits_of(capped)[-1] < 2_000


def test_a_guarantee_goes_first_and_is_taken_back() -> None:
    rows = [(1, 0, 0, 50_000, 8), (1, 0, 0, 50_000, 8), (1, 1, 10, 100, 8), (0, 0, 20, 60_000, 8)]
    cluster = Cluster(nodes={"a": 1, "b": 1})
    outcome = run(trace_of(rows), cluster, OURS, Rules(is_partitioned=False))
    assert outcome.first[3] == 20.0, "the owner gets its node back from who borrowed it"
    calm = run(trace_of(rows), cluster, CALM, Rules(is_partitioned=False))
    assert calm.first[3] == 50_000.0 and calm.first[2] >= 50_000.0


def test_predictions_that_say_nothing_do_no_harm() -> None:
    trace, cluster = venus()
    greedy = figures(run(trace, cluster, POLICIES["fifo-greedy"], Rules()))["mean_jct_s"]
    for seed in range(3):
        shuffled = np.random.default_rng(seed).permutation(trace.duration)
        shuffled[::7] = np.nan
        by_them = policy("lepton", may_preempt=False, has_predictions=True)
        assert figures(run(trace, cluster, by_them, Rules(given=shuffled)))["mean_jct_s"] <= 1.02 * greedy


def test_impossible_jobs_are_refused_and_all_others_run() -> None:
    trace = trace_of([(0, 0, 0, 5, 9), (1, 0, 0, 5, 17), (0, 0, 0, 0, 0), (0, 0, 0, 5, 8)])
    cluster = Cluster(nodes={"a": 1, "b": 1})
    assert list(run(trace, cluster, OURS, Rules()).is_refused) == [True, True, False, False]
    shared = run(trace, cluster, OURS, Rules(is_partitioned=False))
    assert list(shared.is_refused) == [False, True, False, False]
    assert figures(shared)["refused"] == 1 and figures(shared)["jobs"] == 3


def test_curves_end_where_all_is_done() -> None:
    outcome = run(*venus(), OURS, Rules())
    for times, values in (held_over_time(outcome), waiting_over_time(outcome)):
        assert values[-1] == 0 and (np.diff(times) >= 0).all() and values.max() > 0
    assert held_over_time(outcome)[1].max() <= 40


def test_rank_correlation_is_spearmans() -> None:
    one, other = np.array([1.0, 2.0, 2.0, 5.0]), np.array([3.0, 1.0, 4.0, 9.0])
    assert predict.correlation(one, other) == pytest.approx(0.6324555320336759)
    assert predict.correlation(one, one) == pytest.approx(1.0)
    assert predict.correlation(one, np.zeros(4)) == 0.0


@given(values=st.lists(st.integers(-5, 5) | st.integers(-(10**12), 10**12), min_size=1))
def test_codes_keep_order_and_kinds_tell_rows_apart(values: list[int]) -> None:
    column = np.array(values, np.int64)
    assert (codes(column) == np.unique(column, return_inverse=True)[1]).all()
    number, row = kinds([column, column % 3])
    assert [values[first] for first in row[number]] == values
    assert max(values) < ENDLESS


def crowded(sigma: float, gangs: float, seed: int) -> tuple[Trace, Cluster]:
    """1,500 jobs that ask a little more of 16 nodes than they have."""
    chance = np.random.default_rng(seed)
    count = 1500
    wide = chance.random(count) < gangs
    gpus = np.where(wide, 8 * 2 ** chance.integers(1, 4, count), chance.choice([1, 2, 4, 8], count))
    duration = np.exp(chance.normal(6, sigma, count)).clip(1, 1e6).round()
    span = (gpus * duration).sum() / (16 * 8 * 1.05)
    submit = np.sort(chance.uniform(0, span, count))
    rows = [(0, 0, int(at), int(lasts), int(gpu)) for at, lasts, gpu in zip(submit, duration, gpus, strict=True)]
    return trace_of(rows), Cluster(nodes={"a": 16, "b": 1})


@pytest.mark.parametrize(("sigma", "gangs"), [(0.5, 0.1), (1.5, 0.1), (2.0, 0.02)])
@pytest.mark.parametrize("partitioned", [True, False])
def test_where_jobs_wait_long_size_counts_for_more(sigma: float, gangs: float, partitioned: bool) -> None:
    rules, ratios = Rules(is_partitioned=partitioned), []
    for seed in range(7, 11):
        trace, cluster = crowded(sigma, gangs, seed)
        ours, greedy = (run(trace, cluster, each, rules) for each in (OURS, POLICIES["fifo-greedy"]))
        ratios.append(np.mean(ours.finished - trace.submit) / np.mean(greedy.finished - trace.submit))
    assert np.exp(np.mean(np.log(ratios))) <= 1.0
