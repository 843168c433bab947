"""The echo on a front that so many endpoints share: asked of all of them, and of one among them. Records as usual."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from time import monotonic

import serving_peers as peers
from servers import SERVER_CORE, Served, free_port, measure
from serving_growth import CROWD_SIZES, Record, wait_for_port
from serving_ours import ROOT, memory_mb, wait_for_answer
from serving_replicas import cpu_ns
from wrk import LOAD_CORE

CROWD = str(Path(__file__).with_name("crowd.py"))
REPEATS = 3
SECONDS = 2.0


@contextmanager
def crowd(count: int) -> Iterator[tuple[Path, Served]]:
    """A front with so many endpoints, once the last of them answers."""
    with tempfile.TemporaryDirectory(prefix="lc-", dir="/tmp") as name, ExitStack() as stack:
        folder, port, server = Path(name) / "gang", free_port(), free_port()
        folder.mkdir()
        (folder / "port").write_text(str(port))
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "LEPTON_GANG_FOLDER": str(folder),
            "LEPTON_MEETING_FOLDER": str(folder),
            "LEPTON_URL": f"http://127.0.0.1:{server}",
            "OMP_NUM_THREADS": "1",
        }

        def begin(core: str, *words: str) -> int:
            command = ["taskset", "-c", core, sys.executable, CROWD, *words]
            process = stack.enter_context(subprocess.Popen(command, env=env))
            stack.callback(process.kill)
            return process.pid

        begin(LOAD_CORE, "server", str(server))
        wait_for_port(server)
        pids = [begin(SERVER_CORE, "front", str(folder))]
        wait_for_port(port)
        pids.append(begin(SERVER_CORE, "replicas", str(folder), str(count)))
        ask = peers.ask_of("echo")
        headers = {**ask.headers, "Authorization": "Bearer user-0"}
        found = Served("", f"http://127.0.0.1:{port}", replace(ask, headers=headers), lambda: pids)
        wait_for_answer(found.asked(replace(found.ask, path=f"/e{count - 1}/predict")))
        yield folder, found


def endpoints() -> Iterator[Record]:
    """Runs for each size of the crowd, and what its front costs when nobody asks."""
    for count in CROWD_SIZES:
        with crowd(count) as (folder, found):
            pids = found.pids()
            before, begun = cpu_ns([pids[0]]), monotonic()
            Event().wait(3)
            idle = (cpu_ns([pids[0]]) - before) / 1e9 / (monotonic() - begun)
            one = found.asked(replace(found.ask, path=f"/e{count // 2}/predict"), "one asked")
            every = found.asked(replace(found.ask, path="/e%d/predict", names=count), "all asked")
            for server in (one, every):
                measure(server, folder, connections=32, seconds=2)
            for turn in range(REPEATS):
                for server in (one, every):
                    record = measure(server, folder, connections=32, seconds=SECONDS)
                    sizes = {"front_rss_mb": memory_mb(pids[:1])["rss"], "idle_cores": round(idle, 5)}
                    yield {
                        "row": "growth endpoints",
                        "at": count,
                        "server": server.name,
                        "turn": turn,
                        **record,
                        **sizes,
                    }
