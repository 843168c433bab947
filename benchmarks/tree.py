"""What a process and everything it started cost, read from /proc; and starting and ending such trees."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a whole process tree."""

    cpu_s: float
    rss_mb: float
    """Sum over processes: shared pages count in each."""
    pss_mb: float
    processes: int


def children(pid: int) -> list[int]:
    """Every descendant that is alive, and the process itself."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, layer = [pid], [pid]
    while layer:
        layer = [child for parent in layer for child in parents.get(parent, [])]
        found += layer
    return found


def in_session_of(marker: str) -> list[int]:
    """Every process whose environment holds `marker`: finds what has left the tree."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if marker.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def cost(pids: Sequence[int]) -> Cost:
    """What these processes have used so far (children that have ended are in their parent's share)."""
    cpu = rss = pss = alive = 0.0
    for pid in pids:
        with contextlib.suppress(OSError, ProcessLookupError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            cpu += sum(int(field) for field in fields[11:15]) / TICKS
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
            rss += sizes["Rss"] / 1024
            pss += sizes["Pss"] / 1024
            alive += 1
    return Cost(round(cpu, 3), round(rss, 1), round(pss, 1), int(alive))


@contextmanager
def running(
    command: Sequence[str], *, marker: str, env: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server; at the end it and everything that carries `BENCH_MARK=marker` is killed."""
    mark = f"BENCH_MARK={marker}"
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env={**env, "BENCH_MARK": marker},
        )
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in in_session_of(mark):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
        process.wait()


def run_cost(command: Sequence[str], env: Mapping[str, str] | None = None) -> tuple[float, float]:
    """(CPU seconds, wall seconds) of a command run to its end."""
    start = os.times()
    subprocess.run(command, check=True, capture_output=True, env=dict(env) if env else None)
    end = os.times()
    return (
        end.children_user + end.children_system - start.children_user - start.children_system,
        end.elapsed - start.elapsed,
    )
