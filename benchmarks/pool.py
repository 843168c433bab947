"""The pool's table: `TRACES=DIR python benchmarks/pool.py` writes POOL.md and, with every figure, pool.json beside it.

DIR holds helios-venus-sept2020/ (jobs, nodes, the published schedules and predictions) and alibaba-gpu-v2023/.
Processor time is of one core, after a first run that compiles; medians of three.
"""

import csv
import gzip
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lepton.core.launch import Devices
from lepton.pool import fill as fill_module
from lepton.pool.arrays import Rules
from lepton.pool.figures import figures, waits_of
from lepton.pool.fill import HOW, fill
from lepton.pool.intervals import Usual, intervals_of, judged
from lepton.pool.live.pool import LivePool
from lepton.pool.live.views import Phase, Truth, Wants
from lepton.pool.policy import LIVE, POLICIES, policy
from lepton.pool.replay import Outcome, run
from lepton.pool.shape import Machine
from lepton.pool.trace import Cluster, Trace
from lepton.store.pods import read_machines, read_pods
from lepton.store.traces import read_nodes, read_predictions, read_trace

HERE = Path(__file__).parent
SEEDS = range(42, 52)
PUBLISHED = {"default": 4.61, "gpushare100": 13.10}
SHUFFLES = 5
RUNS = 3


class Venus:
    """The month, and what was published of it."""

    def __init__(self, folder: Path) -> None:
        self.trace, _ = read_trace(folder / "jobs.csv.gz")
        self.cluster = read_nodes(folder / "vc_nodes.csv", per_node=8)
        self.predictions = read_predictions(folder / "pred_ebm_weekly.csv.gz", self.trace)
        with gzip.open(folder / "artifact_reference_schedule.csv.gz", "rt") as file:
            rows = {row["job_id"]: row for row in csv.DictReader(file)}
        names = ("fifo", "sjf", "qssf", "tiresias", "srtf")
        self.ends = {name: np.array([float(rows[id][f"{name}_end"]) for id in self.trace.id]) for name in names}

    def published(self, name: str) -> dict[str, float]:
        """Figures of a published schedule."""
        waits = self.ends[name] - self.trace.submit - self.trace.duration
        return {
            "mean_jct_s": float((self.ends[name] - self.trace.submit).mean()),
            "mean_queue_s": float(waits.mean()),
            "p999_queue_s": float(np.sort(waits)[int(0.999 * len(waits))]),
            "longest_queue_h": float(waits.max()) / 3600,
        }

    def run(self, name: str, rules: Rules, *, may_preempt: bool = True) -> Outcome:
        """A replay under one of our policies."""
        chosen = policy(name, may_preempt=may_preempt, has_predictions=rules.given is not None)
        return run(self.trace, self.cluster, chosen, rules)


def months(venus: Venus) -> dict[str, Any]:
    """Every row of the issue's table that Venus answers."""
    given = venus.predictions
    found: dict[str, Any] = {f"published: {name}": venus.published(name) for name in venus.ends}
    for name in ("fifo", "sjf"):
        same = float((venus.run(name, Rules()).finished == venus.ends[name]).mean())
        found[f"share of {name}'s ends equal to the published"] = same
    rows: dict[str, tuple[str, Rules, bool]] = {
        "A, nothing stopped: first come first served, greedy": ("fifo-greedy", Rules(), False),
        "A, nothing stopped": ("lepton", Rules(), False),
        "A, nothing stopped, published predictions": ("lepton", Rules(given=given), False),
        "A, preemptive": ("lepton", Rules(), True),
        "A, preemptive, restarts cost ten times as much": ("lepton", Rules(restore_factor=10), True),
        "A, preemptive, published predictions": ("lepton", Rules(given=given), True),
        "A, preemptive: SRTF, clairvoyant": ("srtf", Rules(), True),
        "B, nothing stopped": ("lepton", Rules(is_partitioned=False), False),
        "B, preemptive": ("lepton", Rules(is_partitioned=False), True),
    }
    for label, (name, rules, may_preempt) in rows.items():
        outcome = venus.run(name, rules, may_preempt=may_preempt)
        found[label] = figures(outcome) | promises(venus, outcome)
        found[label]["told"] = judged(outcome, intervals_of(outcome)) | {
            "usual": judged(outcome, intervals_of(outcome, Usual))
        }
        print(f"{label:55} JCT {found[label]['mean_jct_s']:10,.0f} s", file=sys.stderr)
    greedy = found["A, nothing stopped: first come first served, greedy"]["mean_jct_s"]
    found["shuffled predictions, worst against greedy"] = (
        max(shuffled(venus, seed) for seed in range(SHUFFLES)) / greedy
    )
    return found


def promises(venus: Venus, outcome: Outcome) -> dict[str, float]:
    """Is no queue worse off than alone under the clairvoyant SRTF, and does nobody wait beyond all measure?"""
    trace, waits = outcome.trace, waits_of(outcome)
    worst = max(
        float((outcome.finished - trace.submit)[trace.queue == queue].mean())
        / float((venus.ends["srtf"] - trace.submit)[trace.queue == queue].mean())
        for queue in range(len(trace.queues))
    )
    over = waits / np.maximum(24 * 3600, 5 * trace.duration)
    return {"worst_queue_against_srtf_alone": worst, "longest_wait_against_promise": float(over.max())}


def shuffled(venus: Venus, seed: int) -> float:
    """Mean JCT with predictions that belong to other jobs."""
    mixed = np.random.default_rng(seed).permutation(venus.predictions)
    return float(figures(venus.run("lepton", Rules(given=mixed), may_preempt=False))["mean_jct_s"])


def halves(venus: Venus) -> dict[str, Any]:
    """Each half of the month by itself, at the default."""
    middle = float(np.median(venus.trace.submit))
    found = {}
    for label, keep in (("first half", venus.trace.submit < middle), ("second half", venus.trace.submit >= middle)):
        part = venus.trace.only(keep)
        for name, chosen in (
            ("preemptive", policy("lepton")),
            ("nothing stopped", policy("lepton", may_preempt=False)),
        ):
            found[f"{label}, {name}"] = figures(run(part, venus.cluster, chosen, Rules()))["mean_queue_s"]
        greedy = run(part, venus.cluster, POLICIES["fifo-greedy"], Rules())
        found[f"{label}, first come first served, greedy"] = figures(greedy)["mean_queue_s"]
    return found


def fractions(folder: Path) -> dict[str, Any]:
    """Devices that nobody gets when openb's machines are filled, in percent."""
    machines = read_machines(folder / "openb_node_list_gpu_node.csv.gz")
    found: dict[str, Any] = {}
    for load in PUBLISHED:
        tasks, _ = read_pods(folder / f"openb_pod_list_{load}.csv.gz")
        for how in HOW:
            began = time.process_time()
            unused = [100 * (1 - fill(machines, tasks, how, seed=seed).given) for seed in SEEDS]
            spent = (time.process_time() - began) / len(unused)
            found[f"{load}, {how}"] = {"mean": statistics.fmean(unused), "runs": unused, "cpu_s": spent}
            print(f"{load}, {how}: {statistics.fmean(unused):.2f} %", file=sys.stderr)
    return found


def live_fractions(folder: Path) -> dict[str, Any]:
    """The same for a live server's pool, which is asked about one task after the other; device models are ignored."""
    found: dict[str, Any] = {}
    machines = [replace(each, model="") for each in read_machines(folder / "openb_node_list_gpu_node.csv.gz")]
    for load in PUBLISHED:
        tasks = [replace(each, models=()) for each in read_pods(folder / f"openb_pod_list_{load}.csv.gz")[0]]
        plain = [100 * (1 - fill(machines, tasks, "lepton", seed=seed).given) for seed in SEEDS]
        began = time.process_time()
        unused = [live_unused(machines, tasks, seed) for seed in SEEDS]
        spent = (time.process_time() - began) / len(unused)
        found[f"{load}, lepton, any device"] = {"mean": statistics.fmean(plain), "runs": plain, "cpu_s": 0.0}
        found[f"{load}, live pool, any device"] = {"mean": statistics.fmean(unused), "runs": unused, "cpu_s": spent}
        print(f"{load}, live: {statistics.fmean(unused):.2f} %", file=sys.stderr)
    return found


def live_unused(machines: Sequence[fill_module.Machine], tasks: Sequence[fill_module.Task], seed: int) -> float:
    """Percent of devices that nobody got."""
    chance = np.random.default_rng(seed)
    whole = 1000 * sum(machine.gpus for machine in machines)
    pool = LivePool(replace(LIVE, preempts=False))
    pool.put_machines(
        [as_node(f"n{at:05}", machines[each]) for at, each in enumerate(chance.permutation(len(machines)))], 0.0
    )
    asked, given, now = 0, 0, 0.0
    while asked < fill_module.DEMAND * whole:
        task, now = tasks[chance.integers(len(tasks))], now + 1.0
        amount = task.gpus * task.gpu_milli
        need = Devices(cpu_milli=task.cpu_milli, gpu_milli=amount, memory_bytes=task.memory_mib << 20)
        wants = Wants(job=f"j{now:.0f}", workers=(need,), since_s=now)
        pool.put(wants, Truth(phase=Phase.QUEUED), now)
        places = pool.decide(now).starts.get(wants.job)
        truth = Truth(phase=Phase.HOLDS, places=places, began_s=now) if places else Truth(phase=Phase.GONE)
        pool.put(wants, truth, now)
        asked, given = asked + amount, given + (amount if places else 0)
    return 100 * (1 - given / whole)


def as_node(name: str, machine: fill_module.Machine) -> Machine:
    """A machine of the list as a server knows it."""
    devices = Devices(cpu_milli=machine.cpu_milli, gpu_milli=1000 * machine.gpus, memory_bytes=machine.memory_mib << 20)
    return Machine(name=name, total=devices)


def made(jobs: int, nodes: int, *, load: float = 0.95, seed: int = 0) -> tuple[Trace, Cluster]:
    """A trace of one queue: sizes as on Venus, run times log-normal, submits uniform."""
    chance = np.random.default_rng(seed)
    gpus = chance.choice([1, 2, 4, 8, 16, 32, 64], jobs, p=[0.55, 0.1, 0.1, 0.18, 0.04, 0.02, 0.01])
    duration = np.exp(chance.normal(6, 2, jobs)).clip(1, 1e6).round()
    span = (gpus * duration).sum() / (nodes * 8 * load)
    return Trace(
        name="made",
        id=[str(job) for job in range(jobs)],
        queue=np.zeros(jobs, np.int64),
        queues=["all"],
        user=chance.integers(0, 200, jobs),
        users=[str(user) for user in range(200)],
        submit=np.sort(chance.uniform(0, span, jobs)).round(),
        duration=duration,
        gpus=gpus,
        cpus=gpus,
    ), Cluster(nodes={"all": nodes})


def speed(venus: Venus) -> dict[str, Any]:
    """Processor seconds of whole replays, and how they grow."""
    found: dict[str, Any] = {"Venus": cpu_s(lambda: venus.run("lepton", Rules()))}
    large = made(1_000_000, 10_000)
    found["1,000,000 jobs on 10,000 nodes"] = cpu_s(lambda: run(*large, policy("lepton", may_preempt=False), Rules()))
    for nodes in (100, 1_000, 10_000, 100_000):
        some = made(100_000, nodes)
        spent = cpu_s(lambda some=some: run(*some, policy("lepton", may_preempt=False), Rules()))
        found[f"us a job, 100,000 jobs on {nodes:,} nodes"] = 10 * spent
    for jobs in (1_000, 10_000, 100_000):
        trace, cluster = made(jobs, 1_000, load=50.0)  # nearly all of them wait at once
        spent = cpu_s(
            lambda trace=trace, cluster=cluster: run(trace, cluster, policy("lepton", may_preempt=False), Rules())
        )
        found[f"us a job, {jobs:,} waiting on 1,000 nodes"] = 1e6 * spent / jobs
    return found


def cpu_s(call: Callable[[], object]) -> float:
    """Processor seconds of a call, median of three."""
    spent = []
    for _ in range(RUNS):
        began = time.process_time()
        call()
        spent.append(time.process_time() - began)
    return statistics.median(spent)


def page(found: dict[str, Any]) -> str:
    """The table for a reader."""
    lines = ["# The pool, beside what was published", "", "Made by `TRACES=DIR python benchmarks/pool.py`.", ""]
    lines += [
        "| Venus, September 2020 | mean JCT s | mean queue s | p99.9 queue s | longest h |",
        "| --- | --- | --- | --- | --- |",
    ]
    for label, each in found["venus"].items():
        if isinstance(each, dict):
            cells = (each["mean_jct_s"], each["mean_queue_s"], each["p999_queue_s"], each["longest_queue_h"])
            lines.append(f"| {label} | " + " | ".join(f"{value:,.0f}" for value in cells) + " |")
    lines += ["", "| | figure |", "| --- | --- |"]
    lines += [f"| {label} | {each:.3f} |" for label, each in found["venus"].items() if not isinstance(each, dict)]
    for label in ("A, preemptive", "A, nothing stopped", "B, nothing stopped"):
        told = found["venus"][label]["told"]
        sizes = ", ".join(f"{100 * share:.1f}" for share in told["inside_by_size"].values())
        lines.append(
            f"| {label}: % of starts inside what was told (1, 2-8, > 8 GPUs: {sizes}) | {100 * told['inside']:.1f} |"
        )
        lines.append(f"| {label}: Winkler score against usual | {told['winkler_s'] / told['usual']['winkler_s']:.2f} |")
    for label in ("B, nothing stopped", "B, preemptive"):
        each = found["venus"][label]
        lines.append(
            f"| {label}: worst virtual cluster's JCT, SRTF alone 1 | {each['worst_queue_against_srtf_alone']:.4f} |"
        )
        lines.append(
            f"| {label}: longest wait against max(24 h, 5 x run time) | {each['longest_wait_against_promise']:.2f} |"
        )
    lines += [f"| mean queue s, {label} | {each:,.0f} |" for label, each in found["halves"].items()]
    lines += ["", "| GPUs that nobody gets at 130 % demand, seeds 42-51 | % | CPU s a run |", "| --- | --- | --- |"]
    lines += [f"| {label} | {each['mean']:.2f} | {each['cpu_s']:.1f} |" for label, each in found["fractions"].items()]
    lines += [f"| {load}, FGD as published | {value} | |" for load, value in PUBLISHED.items()]
    lines += ["", "| speed | CPU s (us where it says so) |", "| --- | --- |"]
    lines += [f"| {label} | {each:.2f} |" for label, each in found["speed"].items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure all, write both files."""
    folder = Path(os.environ["TRACES"])
    venus = Venus(folder / "helios-venus-sept2020")
    venus.run("lepton", Rules())  # compiles
    found = {
        "venus": months(venus),
        "halves": halves(venus),
        "fractions": fractions(pods := folder / "alibaba-gpu-v2023") | live_fractions(pods),
        "speed": speed(venus),
    }
    (HERE / "pool.json").write_text(json.dumps(found, indent=1) + "\n")
    (HERE / "POOL.md").write_text(page(found))


if __name__ == "__main__":
    main()
