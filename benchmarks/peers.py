"""The peers in the same run, each where its work is the same: dstack's server (acknowledging a submission) and Ray Jobs
(an `echo` from submission to its end). Each lives in an environment of its own, given by DSTACK and RAY (paths of the
commands), and runs with a temporary HOME.

    DSTACK=.../dstack RAY=.../ray python benchmarks/peers.py
"""

import asyncio
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from tree import cost, in_session_of, running
from wire import Wire

Figures = dict[str, float]


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(folder: Path, command: str) -> dict[str, str]:
    """A HOME of its own, and its own programs first."""
    plain = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**plain, "HOME": str(folder), "PATH": f"{Path(command).parent}:{plain['PATH']}"}


async def until_answered(url: str, path: str, seconds: float) -> None:
    """Return at the first HTTP answer."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        wire = Wire(url)
        try:
            await wire.send("GET", path)
            return
        except (OSError, IndexError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.02)
        finally:
            wire.close()
    raise TimeoutError(f"{url} did not answer in {seconds} s")


def dstack(command: str, count: int = 15) -> Figures:
    """Start of the server, its cost, and the time until a submitted run is acknowledged."""
    mark = f"dstack-{os.getpid()}"
    with TemporaryDirectory() as folder:
        port, env, log = free_port(), environment(Path(folder), command), Path(folder) / "log"
        env["DSTACK_SERVER_ADMIN_TOKEN"] = token = "bench-token"
        env["DSTACK_DO_NOT_UPDATE_DEFAULT_PROJECT"] = "1"
        start = time.perf_counter()
        with running(
            [command, "server", "--port", str(port), "--host", "127.0.0.1", "-y"], marker=mark, env=env, log=log
        ):
            url = f"http://127.0.0.1:{port}"
            asyncio.run(until_answered(url, "/healthcheck", 120))
            started = time.perf_counter() - start
            spent = cost(in_session_of(f"BENCH_MARK={mark}"))
            key = ssh_key(Path(folder))
            took = asyncio.run(submit_runs(url, token, key, count))
    return {
        "dstack: start to first answer, s": started,
        "dstack: CPU to start, s": spent.cpu_s,
        "dstack: resident, MB": spent.rss_mb,
        "dstack: submit to acknowledgement, ms": statistics.median(took) * 1000,
    }


def ssh_key(folder: Path) -> str:
    """A fresh public key; dstack asks for one with each run."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], check=True)
    return (folder / "key.pub").read_text().strip()


async def submit_runs(url: str, token: str, key: str, count: int) -> list[float]:
    """Submit small tasks one after the other; the seconds until each was acknowledged."""
    wire, took = Wire(url, token), []
    for number in range(count):
        name = f"bench-{number}-{uuid4().hex[:6]}"
        spec: dict[str, Any] = {
            "run_name": name,
            "repo_id": "bench",
            "repo_data": {"repo_type": "virtual"},
            "configuration_path": ".dstack.yml",
            "configuration": {"type": "task", "name": name, "commands": ["echo hello"]},
            "profile": {"name": "default"},
            "ssh_key_pub": key,
        }
        if not number:
            await wire.json(
                "POST", "/api/project/main/repos/init", {"repo_id": "bench", "repo_info": {"repo_type": "virtual"}}
            )
        start = time.perf_counter()
        await wire.json("POST", "/api/project/main/runs/apply", {"plan": {"run_spec": spec}, "force": False})
        took.append(time.perf_counter() - start)
    return took


def ray(command: str, count: int = 10) -> Figures:
    """Start of a head node with its job server, its cost, and an `echo` from submission to its end."""
    mark = f"ray-{os.getpid()}"
    with TemporaryDirectory() as folder:
        port, env, log = free_port(), environment(Path(folder), command), Path(folder) / "log"
        env |= {"RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0"}
        head = [
            "start",
            "--head",
            "--block",
            f"--port={free_port()}",
            f"--dashboard-port={port}",
            f"--temp-dir={folder}/r",
        ]
        start = time.perf_counter()
        with running([command, *head, "--include-dashboard=true"], marker=mark, env=env, log=log):
            url = f"http://127.0.0.1:{port}"
            asyncio.run(until_answered(url, "/api/version", 120))
            started = time.perf_counter() - start
            spent = cost(in_session_of(f"BENCH_MARK={mark}"))
            took = asyncio.run(ray_jobs(url, count))
    return {
        "Ray: start to first answer, s": started,
        "Ray: CPU to start, s": spent.cpu_s,
        "Ray: resident, MB": spent.rss_mb,
        "Ray: submit to done seen, ms": statistics.median(took) * 1000,
    }


async def ray_jobs(url: str, count: int) -> list[float]:
    """Submit `echo` one after the other; the seconds until each was seen to have succeeded."""
    wire, took = Wire(url), []
    for _ in range(count):
        start = time.perf_counter()
        job = (await wire.json("POST", "/api/jobs/", {"entrypoint": "echo hello"}))["submission_id"]
        while (state := (await wire.json("GET", f"/api/jobs/{job}"))["status"]) != "SUCCEEDED":
            if state in ("FAILED", "STOPPED"):
                raise RuntimeError(f"Ray job {job} {state}")
            await asyncio.sleep(0.01)
        took.append(time.perf_counter() - start)
    return took


def version(command: str) -> str:
    """What the peer calls itself."""
    said = subprocess.run([command, "--version"], check=True, capture_output=True, text=True).stdout
    return re.findall(r"\d+\.\d+\.\d+", said)[0]


if __name__ == "__main__":
    for peer, name in ((dstack, "DSTACK"), (ray, "RAY")):
        if name in os.environ and (len(sys.argv) < 2 or peer.__name__ in sys.argv[1:]):
            print(peer.__name__, version(os.environ[name]), json.dumps(peer(os.environ[name]), indent=1), flush=True)
