"""kill -9 of everything that serves on a platform - replicas, front, zygotes, server - under the load of `wrk`.

The platform puts another in the place of each; only the server, which nothing of it watches, is started by hand.
`wrk` cannot tell which of its requests had been begun, so it only makes the load; beside it a caller of ours knows the
fate of each of its own. Run by hand: pytest -m slow -s tests/walk/test_kills.py; LEPTON_KILL_CYCLES sets how many.
"""

import faulthandler
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import pytest

from lepton.sdk.endpoints import Endpoint
from tests.server.serving.fates import BROKEN, SERVICE, Caller, sum_up, tell
from tests.walk.house import House, opened_house, wait_until

REPLICAS = 4
CYCLES = int(os.environ.get("LEPTON_KILL_CYCLES", "6"))
APART_S = 31.0
"""Who dies sooner after a start than this, again and again, ends the whole gang, as it should."""
LOAD = """
wrk.method, wrk.path, wrk.body = "POST", "/again", '{{"id": -1}}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {token}"
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('FOUND {{"requests": %d, "status": %d, "connect": %d, "broken": %d, "timeout": %d}}\\n',
    summary.requests, e.status, e.connect, e.read + e.write, e.timeout))
end
"""


class Stage:
    """One endpoint of a platform, and its processes."""

    def __init__(self, up: House, endpoint: Endpoint) -> None:
        self.up = up
        self.endpoint = endpoint
        self.job = endpoint.refresh().job
        self.token = (up.data / "token").read_text().strip()
        where = urlsplit(endpoint.url)
        self.address = str(where.hostname), int(where.port or 0)
        self.born = dict.fromkeys(range(REPLICAS + 1), monotonic())
        self.kills = dict.fromkeys(("replica", "front", "zygote", "server"), 0)

    def worker(self, rank: int) -> tuple[str, int]:
        """The engine's key and process id of the present worker of a rank."""
        files = (self.up.data / "engine").glob(f"{self.job}.*/worker.json")
        mine = [file for file in files if file.parent.name.split(".")[2] == str(rank)]
        found = max(mine, key=os.path.getmtime)
        return found.parent.name, int(json.loads(found.read_text())["pid"])

    def kill_worker(self, rank: int, apart_s: float = APART_S) -> None:
        """kill -9 of a replica, or of the front, whose rank is 0; returns once the platform has put another there."""
        wait_until(lambda: monotonic() > self.born[rank] + apart_s, "it is old enough", 60)
        key, pid = self.worker(rank)
        os.kill(pid, signal.SIGKILL)
        self.kills["replica" if rank else "front"] += 1
        wait_until(lambda: self.worker(rank)[0] != key, "another takes its place")
        self.born[rank] = monotonic()
        wait_until(self.has_all, "it has joined", 60)

    def kill_zygotes(self) -> None:
        """kill -9 of every process that others are forked from."""
        for path in Path("/proc").glob("[0-9]*/comm"):
            with suppress(OSError):
                parent = int((path.parent / "stat").read_text().rpartition(")")[2].split()[1])
                is_ours = self.up.server is not None and parent == self.up.server.pid
                if is_ours and path.read_text().strip() in ("lepton-zygote", "lepton-warm"):
                    os.kill(int(path.parent.name), signal.SIGKILL)
                    self.kills["zygote"] += 1

    def kill_server(self) -> None:
        """kill -9 of the server; a little later it is started again."""
        self.up.kill()
        self.kills["server"] += 1
        self.up.up()

    def has_all(self) -> bool:
        """Whether the front has every replica."""
        with suppress(OSError):
            text = subprocess.run(self._gauge(), capture_output=True, text=True, check=False).stdout
            return f"lepton_workers_ready {REPLICAS}" in text.splitlines()
        return False

    def _gauge(self) -> list[str]:
        host, port = self.address
        head = f"Authorization: Bearer {self.token}"
        return ["curl", "-s", "-m", "5", "-H", head, f"http://{host}:{port}/lepton/metrics"]


@contextmanager
def wrk(stage: Stage, found: dict[str, int]) -> Iterator[None]:
    """Load as long as this lasts, if there is a wrk; then what it counted."""
    if shutil.which("wrk") is None:
        yield
        return
    script = stage.up.folder / "load.lua"
    script.write_text(LOAD.format(token=stage.token))
    host, port = stage.address
    command = ["wrk", "-t1", "-c8", "-d3600s", "--timeout", "30s", "-s", str(script), f"http://{host}:{port}/"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            told, _ = process.communicate(timeout=60)
    line = next(line for line in told.splitlines() if line.startswith("FOUND "))
    found.update(json.loads(line.removeprefix("FOUND ")))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    book = tmp_path / "begun"
    book.touch()
    (tmp_path / "ledger.py").write_text(SERVICE.format(book=str(book)))
    with opened_house() as up:
        up.up()
        wish = {"replicas": REPLICAS, "deadline_ms": 60_000, "front_cpu_milli": 100, "worker_cpu_milli": 100}
        endpoint = up.client.serve.deploy(f"{tmp_path}/ledger.py", name="ledger", **wish).wait()
        found = Stage(up, endpoint)
        wait_until(found.has_all, "all replicas are there", 60)
        yield found
        endpoint.delete().wait("deleted")
        up.end()


def wait_for_more(caller: Caller, count: int = 20) -> None:
    goal = caller.answered + count
    wait_until(lambda: caller.answered >= goal, "it goes on answering", 60)


def cycle(stage: Stage) -> None:
    """Everything once: the replicas between the others, so that each meets a platform that has just lost something."""
    steps = (
        lambda: stage.kill_worker(1),
        stage.kill_zygotes,
        lambda: stage.kill_worker(2),
        stage.kill_server,
        lambda: stage.kill_worker(3),
        lambda: stage.kill_worker(0),
        lambda: stage.kill_worker(4),
    )
    for step in steps:
        step()
        Event().wait(0.2)


def check(again: Caller, once: Caller, book: Path, *told: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Nobody has failed whose request had not begun, and nothing was done twice; in words.

    Args:
        told: how tries may end, too, of who comes again.
    """
    repeated, single = sum_up(again.fates, book), sum_up(once.fates, book)
    assert repeated.ends.keys() <= {"200", "refused", "broken", *told} and not repeated.begun and not repeated.unbegun
    assert single.ends.keys() <= {"200", "refused", "broken", "503"} and not single.doubled
    unbegun = [fate.id for fate in single.unbegun if fate.tries[-1] == BROKEN]
    assert once.send_again(unbegun) == [200] * len(unbegun)
    return tell(repeated), tell(single)


def callers(stage: Stage) -> tuple[Caller, Caller]:
    """One whose requests may be repeated, and one whose may not."""
    headers = {"authorization": f"Bearer {stage.token}"}
    again = Caller(stage.address, "/again", is_repeating=True, headers=headers)
    return again, Caller(stage.address, "/once", is_repeating=False, headers=headers, first=1_000_000_000)


def test_the_platform_replaces_a_replica_and_a_front_that_are_killed(stage: Stage, tmp_path: Path) -> None:
    again, once = callers(stage)
    with again, once:
        for rank in (1, 0):
            stage.kill_worker(rank, apart_s=0)
            for caller in (again, once):
                wait_for_more(caller)
    check(again, once, tmp_path / "begun", "503")  # who is busy may replace nobody before the deadline


@pytest.mark.slow
def test_whatever_is_killed_nobody_fails_whose_request_had_not_begun(stage: Stage, tmp_path: Path) -> None:
    faulthandler.cancel_dump_traceback_later()  # minutes long by intention
    again, once = callers(stage)
    loaded: dict[str, int] = {}
    with wrk(stage, loaded), again, once:
        for _ in range(CYCLES):
            cycle(stage)
            for caller in (again, once):
                wait_for_more(caller)
    repeated, single = check(again, once, tmp_path / "begun")
    sys.stdout.write(json.dumps({**stage.kills, "wrk": loaded, "again": repeated, "once": single}) + "\n")
    assert loaded.get("status", 0) == 0, loaded
