"""Read pods and machines of clusters that share devices, as Alibaba publishes them (openb), plain or gzipped.

Pods: CSV with `name, cpu_milli, memory_mib, num_gpu, gpu_milli` and, where known, `gpu_spec` (kinds, `|` between them).
Machines: CSV with `sn, cpu_milli, memory_mib, gpu, model`.
"""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from lepton.pool.fill import Machine, Task
from lepton.store.traces import TraceError, read_text, whole

POD = ("cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
MACHINE = ("cpu_milli", "memory_mib", "gpu", "model")
MOST_DEVICES = 64
T = TypeVar("T")


def is_pods(path: Path) -> bool:
    """Whether a file's header is that of pods."""
    head = read_text(path).partition("\n")[0].lower().split(",")
    return set(POD) <= {name.strip() for name in head}


def read_pods(path: Path, *, skips_broken: bool = False) -> tuple[list[Task], list[str]]:
    """What pods ask for, and what was wrong with lines that were left out.

    Raises:
        TraceError: a column is missing, a line is broken, or no pod wants a device.
    """
    tasks, faults = _read(path, POD, task_of)
    if faults and not skips_broken:
        raise TraceError(path, faults, "Mend the lines, or leave them out with --skip-broken.")
    if not any(task.gpus for task in tasks):
        raise TraceError(path, faults or ["no pod wants a GPU"], "Give a list of pods with num_gpu above 0.")
    return tasks, faults


def read_machines(path: Path) -> list[Machine]:
    """Machines; the same errors."""
    machines, faults = _read(path, MACHINE, machine_of)
    if faults or not any(machine.gpus for machine in machines):
        raise TraceError(path, faults or ["no machine has a GPU"], "Give machines: sn,cpu_milli,memory_mib,gpu,model.")
    return machines


def _read(path: Path, columns: tuple[str, ...], make: Callable[[Mapping[str, str]], T]) -> tuple[list[T], list[str]]:
    table = csv.DictReader(io.StringIO(read_text(path)))
    table.fieldnames = [name.strip().lower() for name in table.fieldnames or ()]
    missing = [name for name in columns if name not in table.fieldnames]
    if missing:
        raise TraceError(path, [f"no column {', '.join(missing)}"], "Give a CSV file with a header that names them.")
    found: list[T] = []
    faults = []
    for row in table:
        try:
            if None in row.values():
                raise ValueError(f"fewer than {len(table.fieldnames)} fields")
            found.append(make(row))
        except ValueError as fault:
            faults.append(f"line {table.line_num}: {fault}")
    return found, faults


def task_of(row: Mapping[str, str]) -> Task:
    """What one pod asks for."""
    task = Task(
        cpu_milli=whole("cpu_milli", row["cpu_milli"]),
        memory_mib=whole("memory_mib", row["memory_mib"]),
        gpus=whole("num_gpu", row["num_gpu"]),
        gpu_milli=whole("gpu_milli", row["gpu_milli"]),
        models=tuple(sorted(filter(None, row.get("gpu_spec", "").split("|")))),
    )
    if task.gpus > MOST_DEVICES or (task.gpus and not 1 <= task.gpu_milli <= 1000):
        raise ValueError(f"{task.gpus} GPUs of {task.gpu_milli} thousandths: give 0 to {MOST_DEVICES}, of 1 to 1000")
    if task.gpus > 1 and task.gpu_milli < 1000:
        raise ValueError(f"{task.gpus} GPUs of {task.gpu_milli} thousandths: only one GPU may be shared")
    return task


def machine_of(row: Mapping[str, str]) -> Machine:
    """One machine."""
    machine = Machine(
        cpu_milli=whole("cpu_milli", row["cpu_milli"]),
        memory_mib=whole("memory_mib", row["memory_mib"]),
        gpus=whole("gpu", row["gpu"]),
        model=row["model"].strip(),
    )
    if machine.gpus > MOST_DEVICES:
        raise ValueError(f"{machine.gpus} GPUs: a machine has at most {MOST_DEVICES}")
    return machine
