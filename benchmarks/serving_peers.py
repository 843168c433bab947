"""The servers of other people, as the folder SERVING_BENCH describes them, in the environments that VENVS holds."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from servers import SERVER_CORE, Served, free_port, wait_for
from tree import children, in_session_of, running
from wrk import Ask

SHOWN = {
    "raw_proto": "bare asyncio.Protocol + httptools + uvloop + orjson",
    "mosec": "mosec",
    "fastapi": "FastAPI on uvicorn",
    "litserve": "LitServe",
    "bentoml": "BentoML",
    "ray_serve_haproxy": "Ray Serve, its fast mode",
    "granian_rsgi": "granian, RSGI",
    "photon": "the vendor's Photon",
}
PACKAGES = {
    "raw_proto": "httptools",
    "mosec": "mosec",
    "fastapi": "fastapi",
    "litserve": "litserve",
    "bentoml": "bentoml",
    "ray_serve_haproxy": "ray",
    "granian_rsgi": "granian",
    "photon": "leptonai",
}
START_S = 90.0


def bench_folder() -> Path | None:
    """Where the peers' scripts are; None: nobody said."""
    told = os.environ.get("SERVING_BENCH", "")
    return Path(told) if told and (Path(told) / "peers_spec.py").is_file() else None


def spec() -> Any:
    """The module that describes the peers and the bodies they are sent."""
    folder = bench_folder()
    if folder is None:
        sys.exit("SERVING_BENCH is not the folder that holds peers_spec.py")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return importlib.import_module("peers_spec")


def ask_of(work: str) -> Ask:
    """What every server is sent for a work."""
    path, method, body, headers = spec().payload(work.partition("-")[0])
    return Ask(path, body or b"", headers, method)


def venv_of(peer: str) -> Path:
    """The peer's virtual environment, which may not be there."""
    return Path(os.environ.get("VENVS", "/nonexistent")) / str(spec().PEERS[peer]["venv"])


def absence(peer: str) -> str:
    """Why a peer cannot run here; empty: it can."""
    python = venv_of(peer) / "bin" / "python"
    if not python.exists():
        return "its virtual environment is not in VENVS"
    done = subprocess.run([python, "-c", f"import {PACKAGES[peer]}"], capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def version(peer: str) -> str:
    """The version of what a peer is made of."""
    code = f"import importlib.metadata as m; print(m.version({PACKAGES[peer]!r}))"
    done = subprocess.run([venv_of(peer) / "bin" / "python", "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


@contextmanager
def peer(name: str, work: str, folder: Path) -> Iterator[Served]:
    """A peer that serves a work, once it answers."""
    told = spec().PEERS[name]
    port, venv = free_port(), venv_of(name)
    words = {"port": str(port), "here": str(bench_folder()), "venv": str(venv), "py": str(venv / "bin" / "python")}
    command = ["taskset", "-c", SERVER_CORE, *(word.format(**words) for word in told["cmd"])]
    env = environment(told, work, folder, words)
    mark = f"peer-{name}-{os.getpid()}-{port}"
    with in_folder(bench_folder()), running(command, marker=mark, env=env, log=folder / f"{name}.log") as process:
        found = Served(name, f"http://127.0.0.1:{port}", adapted(told, work), lambda: everyone(process.pid, mark))
        wait_for(found, process, START_S, folder / f"{name}.log")
        yield found


def everyone(pid: int, mark: str) -> list[int]:
    """A process, what it has started, and what has left that tree."""
    return sorted({*children(pid), *in_session_of(f"BENCH_MARK={mark}")})


def environment(told: Mapping[str, Any], work: str, folder: Path, words: Mapping[str, str]) -> dict[str, str]:
    """The variables that the peers' scripts read."""
    here = words["here"]
    env = {
        **os.environ,
        "WORK": work.partition("-")[0],
        "PORT": words["port"],
        "HERE": here,
        "BENCH": here,
        "BENCH_TMP": str(folder),
        "RAYTMP": str(folder / "ray"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": f"{here}/peers",
        "PATH": f"{words['venv']}/bin:{os.environ['PATH']}",
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
        **told.get("env", {}),
    }
    env |= {"BATCH": "32"} if "-batch" in work else {}
    env |= {"BACKEND": "ort"} if "-ort" in work else {}
    return {name: value.replace("{py}", words["py"]) for name, value in env.items()}


def adapted(told: Mapping[str, Any], work: str) -> Ask:
    """The request in the form that this peer wants."""
    plain, kind = ask_of(work), work.partition("-")[0]
    body = told["wrap"](work, plain.body) if told.get("wrap") else plain.body
    return Ask(told.get("paths", {}).get(kind, plain.path), body, plain.headers, plain.method)


@contextmanager
def in_folder(folder: Path | None) -> Iterator[None]:
    """The peers' scripts are started from their own folder."""
    before = Path.cwd()
    os.chdir((folder or before) / "peers")
    try:
        yield
    finally:
        os.chdir(before)


def limits(work: str, sizes: tuple[int, ...], folder: Path) -> dict[int, float]:
    """CPU microseconds an item of the bare model, in a loop of its own without HTTP, by batch size."""
    code = f"""
import json, time, sys
sys.path.insert(0, {str(bench_folder())!r})
from peers_spec import IMG, TXT
import minilm
run = minilm.load("ort")
found = {{}}
for size in {sizes!r}:
    items = [TXT] * size
    run(items)
    count, cpu, until = 0, time.process_time(), time.perf_counter() + 2
    while time.perf_counter() < until:
        run(items); count += size
    found[size] = (time.process_time() - cpu) / count * 1e6
print(json.dumps(found))
"""
    env = {**os.environ, "PYTHONPATH": f"{bench_folder()}/peers", "OMP_NUM_THREADS": "1", "BENCH_TMP": str(folder)}
    command = ["taskset", "-c", SERVER_CORE, sys.executable, "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return {int(size): micros for size, micros in json.loads(done.stdout).items()}
