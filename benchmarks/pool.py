"""The pool's table: `TRACES=DIR python benchmarks/pool.py` writes POOL.md and, with every figure, pool.json beside it;
raw/pool-table.txt has the same table as the command prints it.

DIR holds helios-venus-sept2020/ (jobs, nodes, the published schedules and predictions) and alibaba-gpu-v2023/. All but
the last table is what one call of `lepton pool replay --table` prints. Processor time is of one core, after a first run
that compiles; medians of three.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lepton.cli.whole import SEEDS, tables
from lepton.core.launch import Devices
from lepton.pool import fill as fill_module
from lepton.pool.fill import fill
from lepton.pool.live.pool import LivePool
from lepton.pool.live.views import Phase, Truth, Wants
from lepton.pool.policy import LIVE
from lepton.pool.shape import Machine
from lepton.store.pods import read_machines, read_pods

HERE = Path(__file__).parent
LOADS = ("default", "gpushare100")
MACHINES = "openb_node_list_gpu_node.csv.gz"
FGD = {"default": 4.61, "gpushare100": 13.10}
"""Published, in percent."""


def command(folder: Path) -> list[str]:
    """The one call that makes the table."""
    venus, pods = folder / "helios-venus-sept2020", folder / "alibaba-gpu-v2023"
    lists = [part for load in LOADS for part in ("--pods", str(pods / f"openb_pod_list_{load}.csv.gz"))]
    return [
        *("lepton", "pool", "replay", str(venus / "jobs.csv.gz"), "--nodes", str(venus / "vc_nodes.csv")),
        *("--predictions", str(venus / "pred_ebm_weekly.csv.gz")),
        *("--published", str(venus / "artifact_reference_schedule.csv.gz")),
        *("--table", "--speed", *lists, "--machines", str(pods / MACHINES)),
    ]


def live_fractions(folder: Path) -> dict[str, Any]:
    """The same for a live server's pool, which is asked about one task after the other; device models are ignored."""
    found: dict[str, Any] = {}
    machines = [replace(each, model="") for each in read_machines(folder / MACHINES)]
    for load in LOADS:
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


def page(found: Mapping[str, Any], called: Sequence[str], folder: Path) -> str:
    """The tables for a reader."""
    said = " ".join(called).replace(f"{folder}/", "")
    lines = ["# The pool, beside what was published", "", "Made by `TRACES=DIR python benchmarks/pool.py`, in DIR:", ""]
    lines += ["```sh", said, "```"]
    live = [
        {"GPUs that nobody gets, %": label, "mean": f"{each['mean']:.2f}", "CPU s a run": f"{each['cpu_s']:.1f}"}
        for label, each in found["live"].items()
    ]
    live += [
        {"GPUs that nobody gets, %": f"{load}, FGD as published", "mean": f"{value:.2f}"} for load, value in FGD.items()
    ]
    for rows in [*tables(found), live]:
        head = list(rows[0])
        lines += ["", f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
        lines += [f"| {' | '.join(row.get(name, '') for name in head)} |" for row in rows]
    return "\n".join(lines) + "\n"


def printed(found: Mapping[str, Any]) -> str:
    """The tables as the command prints them where nobody watches."""
    texts = [[list(rows[0]), *([row.get(name, "") for name in rows[0]] for row in rows)] for rows in tables(found)]
    return "".join("".join("\t".join(row) + "\n" for row in rows) + "\n" for rows in texts)


def main() -> None:
    """Measure all, write the files."""
    folder = Path(os.environ["TRACES"])
    called = command(folder)
    subprocess.run(called[:6], check=True, stdout=subprocess.DEVNULL)  # compiles
    said = subprocess.run([*called, "--json"], check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(said.stdout) | {"live": live_fractions(folder / "alibaba-gpu-v2023")}
    (HERE / "pool.json").write_text(json.dumps(found, indent=1) + "\n")
    (HERE / "raw" / "pool-table.txt").write_text(printed(found))
    (HERE / "POOL.md").write_text(page(found, called, folder))


if __name__ == "__main__":
    main()
