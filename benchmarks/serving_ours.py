"""Our own server under measurement: a platform of its own, on one core, with endpoints deployed as a user would."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

from servers import SERVER_CORE, Served, answer
from serving_peers import bench_folder
from tree import children, in_session_of, running
from wrk import Ask

import lepton
from lepton.sdk.client import Client
from lepton.sdk.endpoints import Endpoint

HERE = Path(__file__).parent
ROOT = HERE.parent
SERVED = HERE / "served"
START_S = 60.0
BESIDE = {"cnn_ort.py": ("cnn.py",)}
"""Service -> the files that it imports."""
LIMITS: dict[str, int] = {"rate_per_s": 1_000_000, "burst": 1_000_000, "quota_per_day": 1_000_000_000}
"""So high that they refuse nobody; each request is counted against them all the same."""
SHARES: dict[str, int] = {"front_cpu_milli": 400, "worker_cpu_milli": 500}
"""They count only while something else wants the core."""


@dataclass(slots=True)
class Platform:
    """A `lepton up` and what is deployed on it."""

    folder: Path
    pid: int
    client: Client
    token: str
    jobs: set[str] = field(default_factory=set)
    """Of all endpoints that were deployed."""

    def deploy(self, target: str, name: str, **limits: Any) -> Endpoint:
        """Deploy a service of `served/`, or a model version by its name, and wait until it answers."""
        kind, colon, file = target.rpartition("photon:")
        place = kind + colon + self.lone(file, name) if ".py" in target else target
        endpoint = self.client.serve.deploy(place, name=name, **{**SHARES, **limits}).wait(timeout_s=START_S)
        self.jobs.add(endpoint.job)
        self.pin()
        return endpoint

    def lone(self, target: str, name: str) -> str:
        """The file of a service, with no other file beside it that would be deployed too."""
        file, colon, kind = target.partition(":")
        folder = self.folder / f"code-{name}"
        folder.mkdir(exist_ok=True)
        for part in (file, *BESIDE.get(file, ())):
            shutil.copy(SERVED / part, folder / part)
        return f"{folder / file}{colon}{kind}"

    def pin(self) -> None:
        """Keep all that the server has started, and will start from there, on one core; not itself: it would think
        that the machine has no other."""
        for pid in children(self.pid)[1:]:
            for thread in Path(f"/proc/{pid}/task").glob("*"):
                with suppress(OSError):
                    os.sched_setaffinity(int(thread.name), {int(SERVER_CORE)})

    def served(self, endpoint: Endpoint, ask: Ask, name: str = "lepton", note: str = "") -> Served:
        """The endpoint as a server to measure; requests bear the administrator's token."""
        job = endpoint.job
        headers = {**ask.headers, "Authorization": f"Bearer {self.token}"}
        told = Ask(ask.path, ask.body, headers, ask.method, ask.keys)
        found = Served(name, endpoint.url, told, lambda: self.pids(job), note, lambda: self.refusals(endpoint))
        wait_for_answer(found)
        return found

    def refusals(self, endpoint: Endpoint) -> str:
        """What the front counts of answers that were no 200, and of requests that it gave to no replica."""
        headers = {"Authorization": f"Bearer {self.token}"}
        _, text = answer(Served("", endpoint.url, Ask("/lepton/metrics", b"", headers, "GET"), list))
        lines = [line for line in text.decode().splitlines() if line.startswith(("lepton_requests", "lepton_dropped"))]
        return "; ".join(line for line in lines if "200" not in line)

    def pids(self, job: str) -> list[int]:
        """The server, its zygotes, and all that an endpoint runs; not what other endpoints run."""
        others = self.jobs - {job}
        return [pid for pid in children(self.pid) if job_of(pid) not in others]

    def workers(self, endpoint: Endpoint) -> dict[int, int]:
        """Rank -> process id of what an endpoint runs now; 0 is the front."""
        files = (self.folder / "data" / "engine").glob(f"{endpoint.job}.*/worker.json")
        found: dict[int, int] = {}
        for file in sorted(files, key=os.path.getmtime):
            pid = int(json.loads(file.read_text())["pid"])
            if not (file.parent / "exit.json").exists() and Path(f"/proc/{pid}").exists():
                found[int(file.parent.name.split(".")[2])] = pid
        return dict(sorted(found.items()))


def job_of(pid: int) -> str:
    """The job that a process belongs to; empty: none, or it has ended."""
    with suppress(OSError):
        for pair in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if pair.startswith(b"LEPTON_JOB="):
                return pair.partition(b"=")[2].decode()
    return ""


def wait_for_answer(server: Served) -> None:
    """Until it answers with 200.

    Raises:
        RuntimeError: it does not.
    """
    until, pause = monotonic() + START_S, Event()
    told: Any = ""
    while monotonic() < until:
        with suppress(OSError):
            told = answer(server)
            if told[0] in (200, 204):
                return
        pause.wait(0.05)
    raise RuntimeError(f"{server.name} at {server.url} does not answer: {str(told)[:500]}")


@contextmanager
def platform(folder: Path) -> Iterator[Platform]:
    """A platform in a folder, which should have a short name; nothing of it runs afterwards."""
    data = folder / "data"
    command = [sys.executable, "-m", "lepton.cli.main", "up", "--data", str(data), "--port", "0"]
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LEPTON_")},
        "PYTHONPATH": f"{ROOT}:{bench_folder() or ROOT}/peers",
        "XDG_STATE_HOME": str(folder / "state"),
        "LEPTON_NOTED": "0",
        "TMPDIR": str(folder),
    }
    mark = f"serving-{os.getpid()}-{folder.name}"
    with running(command, marker=mark, env=variables, log=folder / "server.log") as process:
        try:
            wait_for_file(data / "url", folder / "server.log")
            token = (data / "token").read_text().strip()
            with lepton.connect((data / "url").read_text().strip(), token=token) as client:
                yield Platform(folder, process.pid, client, token)
                take_down(client)
        finally:
            end_all(folder)


def take_down(client: Client) -> None:
    """All endpoints, as a user would."""
    for endpoint in client.serve.list():
        if endpoint.state != "deleted":
            endpoint.delete().wait("deleted")


def wait_for_file(path: Path, log: Path) -> None:
    """Until it is there and not empty.

    Raises:
        RuntimeError: it never is.
    """
    until, pause = monotonic() + START_S, Event()
    while not (path.exists() and path.read_text().strip()):
        if monotonic() > until:
            raise RuntimeError(log.read_text(errors="replace")[-2000:])
        pause.wait(0.02)


def end_all(folder: Path) -> None:
    """Kill whatever still runs in a platform's folder: its workers outlive the server, as they should."""
    for pid in in_session_of(f"{folder}/"):
        if pid != os.getpid():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def memory_mb(pids: Sequence[int]) -> dict[str, float]:
    """Resident, proportional and private megabytes of these processes together."""
    found = {"rss": 0.0, "pss": 0.0, "private": 0.0}
    for pid in pids:
        with suppress(OSError):
            rows = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]]
            sizes = {row[0]: int(row[1]) / 1024 for row in rows}
            found["rss"] += sizes["Rss:"]
            found["pss"] += sizes["Pss:"]
            found["private"] += sizes["Private_Clean:"] + sizes["Private_Dirty:"]
    return {name: round(size, 2) for name, size in found.items()}
