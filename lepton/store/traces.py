"""Read what clusters have logged: job traces (CSV with a header, SWF), nodes and predictions, plain, gzipped or zipped.

CSV: as the Helios and Philly artifacts publish it, `job_id, user, vc, gpu_num, cpu_num, state, submit_time, duration`;
other columns are ignored, `NAMES` lists what else a column may be called. SWF: the Standard Workload Format of the
Parallel Workloads Archive, 18 fields a line; a processor counts as a device. Rows may stand in any order; among jobs
submitted at the same time, that of the file decides.
"""

import csv
import gzip
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path

import numpy as np

from lepton.core.errors import InvalidError, NotFoundError, clip
from lepton.pool.trace import Cluster, Floats, Ints, Trace

NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("job_id", "jobid", "id", "job"),
    "user": ("user", "user_id"),
    "queue": ("vc", "queue", "virtual_cluster"),
    "gpus": ("gpu_num", "gpus", "num_gpus"),
    "cpus": ("cpu_num", "cpus"),
    "program": ("program", "job_name", "jobname", "executable"),
    "submit": ("submit_time", "submit", "submitted"),
    "duration": ("duration", "run_time", "runtime"),
}
OPTIONAL = {"user", "queue", "cpus", "program"}
LONGEST_S = 1e10
"""No time or run is larger: 300 years."""
MOST_GPUS = 1 << 24
SWF_ID, SWF_SUBMIT, SWF_RUN, SWF_USED, SWF_ASKED, SWF_USER, SWF_PROGRAM = 0, 1, 3, 4, 7, 11, 13
SWF_FIELDS = 18
SHOWN = 1000
"""Broken lines, or jobs, that are named each on a line of its own; of more it is said how many: JSON has all."""


class TraceError(InvalidError):
    """A file that is no trace, or has broken lines.

    Args:
        faults: one for each broken line, with its number.
    """

    def __init__(self, path: Path, faults: Sequence[str], fix: str) -> None:
        super().__init__(
            "\n  ".join([f"{path}:", *named(faults)] if len(faults) > 1 else [f"{path}: {faults[0]}"]), fix=fix
        )
        self.faults = faults


def named(faults: Sequence[str]) -> list[str]:
    """A line for each, up to as many as somebody reads."""
    more = [f"and {len(faults) - SHOWN} more: --skip-broken with --json names all"] if len(faults) > SHOWN else []
    return [*faults[:SHOWN], *more]


@dataclass(frozen=True, slots=True)
class Job:
    """One line of a trace."""

    id: str
    queue: str
    user: str
    submit: float
    duration: float
    gpus: int
    cpus: int
    program: str


def read_trace(path: Path, *, skips_broken: bool = False) -> tuple[Trace, list[str]]:
    """A trace, and what was wrong with lines that were left out.

    Args:
        skips_broken: leave broken lines out; else they are an error.
    Raises:
        NotFoundError: no such file.
        TraceError: it is no trace, has broken lines, or no job.
    """
    text = read_text(path)
    read = swf_jobs if is_swf(text) else csv_jobs
    jobs: list[Job] = []
    faults: list[str] = []
    seen: set[str] = set()
    for number, made in read(path, text):
        if isinstance(made, str):
            faults.append(f"line {number}: {made}")
        elif made.id in seen:
            faults.append(f"line {number}: job {clip(made.id, 40)} stood in an earlier line")
        else:
            seen.add(made.id)
            jobs.append(made)
    if faults and not skips_broken:
        raise TraceError(path, faults, "Mend the lines, or leave them out with --skip-broken.")
    if not jobs:
        raise TraceError(path, faults or ["there is no job in it"], "Give a CSV file with a header, or an SWF file.")
    return trace_of(path.name, jobs), faults


def read_text(path: Path) -> str:
    """The text of a file that may be gzipped, or zipped alone."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        elif data[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                data = archive.read(archive.namelist()[0])
        return data.decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as fault:
        raise NotFoundError(f"No file at {path}", fix="Give the path of a trace.") from fault
    except (OSError, EOFError, zipfile.BadZipFile, UnicodeDecodeError, IndexError) as fault:
        raise TraceError(path, [f"it cannot be read: {fault}"], "Give a text file, plain or gzipped.") from fault


def is_swf(text: str) -> bool:
    """Whether the first line that is no comment is 18 numbers."""
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith(";"):
            fields = line.split()
            return len(fields) == SWF_FIELDS and all(_is_number(field) for field in fields)
    return False


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False


def swf_jobs(path: Path, text: str) -> Iterator[tuple[int, Job | str]]:
    """Line number and job, or what is wrong with it."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(";"):
            continue
        fields = line.split()
        if len(fields) != SWF_FIELDS:
            yield number, f"{len(fields)} fields instead of {SWF_FIELDS}"
            continue
        used = fields[SWF_USED] if fields[SWF_USED] != "-1" else fields[SWF_ASKED]
        program = fields[SWF_PROGRAM] if fields[SWF_PROGRAM] != "-1" else ""
        values = {"id": fields[SWF_ID], "user": fields[SWF_USER], "queue": "all", "cpus": "0", "gpus": used}
        times = {"submit": fields[SWF_SUBMIT], "duration": fields[SWF_RUN]}
        yield number, job_of(values | times | {"program": program})


def csv_jobs(path: Path, text: str) -> Iterator[tuple[int, Job | str]]:
    """The same from CSV."""
    table = csv.reader(io.StringIO(text))
    head = [name.strip().lower() for name in next(table, [])]
    at = {field: next((head.index(name) for name in names if name in head), -1) for field, names in NAMES.items()}
    missing = [NAMES[field][0] for field, index in at.items() if index < 0 and field not in OPTIONAL]
    if missing:
        raise TraceError(path, [f"no column {', '.join(missing)}"], "Give a CSV file with a header, or an SWF file.")
    while True:
        try:
            row = next(table, None)
        except csv.Error as fault:
            yield table.line_num, str(fault)
            continue
        if row is None:
            return
        if row and len(row) != len(head):
            yield table.line_num, f"{len(row)} fields instead of {len(head)}"
        elif row:
            values = {field: row[index].strip() for field, index in at.items() if index >= 0}
            yield table.line_num, job_of({"user": "", "queue": "all", "cpus": "0", "program": ""} | values)


def job_of(values: Mapping[str, str]) -> Job | str:
    """A job from the text of its fields, or what is wrong with them."""
    try:
        if not values["id"]:
            raise ValueError("the job has no id")
        return Job(
            id=values["id"],
            queue=values["queue"],
            user=values["user"],
            submit=seconds("submit time", values["submit"]),
            duration=seconds("duration", values["duration"]),
            gpus=whole("GPUs", values["gpus"]),
            cpus=whole("CPUs", values["cpus"]),
            program=values["program"],
        )
    except ValueError as fault:
        return str(fault)


def seconds(what: str, text: str) -> float:
    """Seconds from a number, or from a date and time (UTC unless it says otherwise)."""
    try:
        value = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{what} {clip(text, 40)!r} is neither a number nor a time") from None
        value = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    if not isfinite(value) or not 0 <= value <= LONGEST_S:
        raise ValueError(f"{what} {clip(text, 40)!r} is not between 0 and {LONGEST_S:g} s")
    return value


def whole(what: str, text: str) -> int:
    """A count from a number."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{what} {clip(text, 40)!r} is no number") from None
    if not isfinite(value) or value != int(value) or not 0 <= value <= MOST_GPUS:
        raise ValueError(f"{what} {clip(text, 40)!r} is no whole number between 0 and {MOST_GPUS}")
    return int(value)


def trace_of(name: str, jobs: Sequence[Job]) -> Trace:
    """Jobs as columns, in the order of the file."""
    queues, queue = numbered(job.queue for job in jobs)
    users, user = numbered(job.user for job in jobs)
    programs, program = numbered(job.program for job in jobs)
    return Trace(
        name=name,
        id=[job.id for job in jobs],
        queue=queue,
        queues=queues,
        user=user,
        users=users,
        submit=np.array([job.submit for job in jobs]),
        duration=np.array([job.duration for job in jobs]),
        gpus=np.array([job.gpus for job in jobs], np.int64),
        cpus=np.array([job.cpus for job in jobs], np.int64),
        program=program if len(programs) > 1 else None,
    )


def numbered(names: Iterable[str]) -> tuple[list[str], Ints]:
    """The different names in the order in which they come, and the number of each."""
    known: dict[str, int] = {}
    numbers = np.array([known.setdefault(name, len(known)) for name in names], np.int64)
    return list(known), numbers


def read_nodes(path: Path, *, per_node: int) -> Cluster:
    """A cluster from a CSV file of `vc,num`: how many nodes each queue has."""
    counts: dict[str, int] = {}
    faults = []
    for number, row in _pairs(path, ("vc", "num"), ("queue", "nodes")):
        try:
            count = whole("number of nodes", row[1])
            if row[0] in counts:
                raise ValueError(f"queue {clip(row[0], 40)} stood in an earlier line")
            counts[row[0]] = count
        except ValueError as fault:
            faults.append(f"line {number}: {fault}")
    if faults or not sum(counts.values()):
        raise TraceError(path, faults or ["there is no node in it"], "Give a CSV file with the columns vc,num.")
    return Cluster(nodes={name: count for name, count in counts.items() if count}, per_node=per_node)


def read_predictions(path: Path, trace: Trace) -> tuple[Floats, list[str]]:
    """(J,) predicted run times from a CSV file of `job_id,priority` (seconds), NaN where there is none; and what was
    wrong with lines that say something else. A negative one, or none at all, is no fault: nothing is known then.
    """
    found, faults = {}, []
    for number, (id, text) in _pairs(path, ("job_id", "priority"), ("job_id", "predicted_s"), ("job_id", "duration")):
        found[id] = float(text) if _is_number(text) else np.nan
        if not _is_number(text) and text.lower() not in ("", "nan"):
            faults.append(f"line {number}: prediction {clip(text, 40)!r} is no number of seconds")
    return np.array([found.get(id, np.nan) for id in trace.id]), faults


def read_published(path: Path, trace: Trace) -> dict[str, Floats]:
    """Schedule -> (J,) when it ended each job, from a CSV file of `job_id` and a column `NAME_end` for each.

    Raises:
        TraceError: it names no schedule, or not every job of the trace.
    """
    head = next(csv.reader(io.StringIO(read_text(path))), [])
    names = [name.strip().lower().removesuffix("_end") for name in head if name.strip().lower().endswith("_end")]
    if not names:
        raise TraceError(path, ["no column ..._end"], "Give a CSV file of `job_id` and `NAME_end`.")
    found = {}
    for name in names:
        ends = {id: float(text) for _, (id, text) in _pairs(path, ("job_id", f"{name}_end")) if _is_number(text)}
        missing = [id for id in trace.id if id not in ends]
        if missing:
            raise TraceError(path, [f"{name}: no end of job {missing[0]}"], "Give the ends of all jobs of the trace.")
        found[name] = np.array([ends[id] for id in trace.id])
    return found


def _pairs(path: Path, *heads: tuple[str, str]) -> Iterator[tuple[int, tuple[str, str]]]:
    """Line number and two columns of a CSV file, under the first of these pairs of names that it has."""
    table = csv.reader(io.StringIO(read_text(path)))
    names = [name.strip().lower() for name in next(table, [])]
    head = next((pair for pair in heads if set(pair) <= set(names)), None)
    if head is None:
        raise TraceError(path, [f"no columns {','.join(heads[0])}"], "Give a CSV file with a header that names them.")
    one, other = names.index(head[0]), names.index(head[1])
    for row in table:
        if row:
            if len(row) <= max(one, other):
                raise TraceError(path, [f"line {table.line_num}: {len(row)} fields"], "Give both columns in each line.")
            yield table.line_num, (row[one].strip(), row[other].strip())


def write_csv(path: Path, lines: Iterable[tuple[object, ...]], head: Sequence[str]) -> None:
    """Write a CSV file, gzipped where its name ends in .gz; whole or not at all."""
    fresh = path.with_name(path.name + ".new")
    open_file: Callable[..., io.TextIOBase] = gzip.open if path.suffix == ".gz" else open
    with open_file(fresh, "wt", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(lines)
    fresh.replace(path)
