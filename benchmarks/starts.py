"""How long a worker of a stage takes from `Engine.start` to the first line of its `run`, cold and warm, in one run.

python benchmarks/starts.py
"""

import json
import os
import select
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from lepton.core.launch import Launch
from lepton.engine.local import LocalEngine
from lepton.engine.shim.processes import proportional_bytes, resident_bytes
from lepton.jobs.preload import LIGHT, TORCH

STAGES = {
    "train": ("lepton.train.run", TORCH),
    "serve": ("lepton.serve.run", LIGHT),
    "data": ("lepton.data.run", LIGHT),
}
ROUNDS = 7
JOB = """
import json, time
import {module}

def enter(context):
    now = time.clock_gettime(time.CLOCK_MONOTONIC)
    with open("/proc/self/smaps_rollup") as stream:
        rows = [line.split() for line in stream]
    private = sum(int(row[1]) for row in rows if row[0].startswith("Private_"))
    print(json.dumps([now, private / 1024]))
"""
ENV = {"LEPTON_URL": "http://127.0.0.1:1", "LEPTON_TOKEN": "none"}
Figures = dict[str, float]


def starts() -> Figures:
    """Medians of `ROUNDS` starts for each stage, and what the warm ones cost in memory."""
    figures: Figures = {}
    with modules(), TemporaryDirectory() as folder:
        for name in STAGES:
            cold, _ = measure(name, Path(folder, f"cold-{name}"), warm_s=0)
            warm, more = measure(name, Path(folder, f"warm-{name}"), warm_s=600)
            figures[f"{name}: cold start to run() entered, ms"] = cold
            figures[f"{name}: warm start to run() entered, ms"] = warm
            figures |= {f"{name}: {what}": value for what, value in more.items()}
    return figures


def measure(name: str, folder: Path, *, warm_s: float) -> tuple[float, Figures]:
    """Milliseconds to the first line of `run`, and megabytes of the zygote and of a worker's own."""
    engine = LocalEngine(folder=folder, warm_s=warm_s)
    _, preload = STAGES[name]
    memory: Figures = {}
    if warm_s:
        engine.warm(preload)
        assert engine.warm_zygotes.wait(preload, 60)
        pids = list(engine.warm_zygotes.ready().values())
        memory = {"zygote, MB resident": resident_bytes(pids) / 1e6, "zygote, MB PSS": proportional_bytes(pids) / 1e6}
    enter(engine, name, "first")  # reads files from disk that the others find in memory
    found = [enter(engine, name, f"k{number}") for number in range(ROUNDS)]
    engine.close()
    if warm_s:
        memory["warm worker at run(), MB of its own"] = statistics.median(private for _, private in found)
    return statistics.median(took for took, _ in found), memory


def enter(engine: LocalEngine, name: str, key: str) -> tuple[float, float]:
    """One start: milliseconds, and megabytes that the worker shares with nobody."""
    _, preload = STAGES[name]
    begun = time.clock_gettime(time.CLOCK_MONOTONIC)
    engine.start(Launch(key=key, job="bench", entry=f"enter_{name}:enter", preload=preload, env=ENV))
    while engine.look(key).exit is None:
        select.select([], [], [], 0.01)
    log = b"".join(engine.logs(key))
    engine.forget(key)
    entered, private = json.loads(log)
    return (entered - begun) * 1000, private


@contextmanager
def modules() -> Iterator[None]:
    """A module for each stage that imports what its `run` does, where workers find it."""
    before = os.environ.get("PYTHONPATH", "")
    with TemporaryDirectory() as folder:
        for name, (module, _) in STAGES.items():
            Path(folder, f"enter_{name}.py").write_text(JOB.format(module=module))
        os.environ["PYTHONPATH"] = f"{folder}:{before}"
        try:
            yield
        finally:
            os.environ["PYTHONPATH"] = before


ALL = (starts,)

if __name__ == "__main__":
    for what, value in starts().items():
        sys.stdout.write(f"{what:50} {value:10.1f}\n")
