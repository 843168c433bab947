"""CPU and time of one prediction over HTTP: Lepton's front and worker beside FastAPI on uvicorn, same model, same run.

    python benchmarks/serve.py [--repeats 3] [--seconds 4] [--only NAME]

The main number is CPU microseconds of the server's whole process tree per request: it hardly depends on what else
the machine does, and 1e6 divided by it is what one core could answer per second. The load comes from a process of
its own: keep-alive connections, each asking again when it is answered.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event
from time import monotonic

import numpy as np
import onnx
import uvloop
from onnx import TensorProto, helper, numpy_helper

TICKS = os.sysconf("SC_CLK_TCK")
PROCESS = Path(__file__).parents[1] / "tests" / "server" / "serving" / "process.py"
WARM_S = 1.0
CASES = {
    "echo-sized JSON, 190 B": ((40,), "json", 32),
    "echo-sized JSON, 1 connection": ((40,), "json", 1),
    "28x28 JSON, 3.5 kB": ((28, 28), "json", 32),
    "28x28 octets, 784 B": ((28, 28), "octets", 32),
}


def write_model(folder: Path, shape: tuple[int, ...]) -> None:
    """A linear classifier of ten classes over raw bytes."""
    folder.mkdir(parents=True)
    count = int(np.prod(shape))
    weights = np.random.default_rng(0).normal(size=(count, 10)).astype(np.float32) / 255
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["f", "flat"], ["v"]),
            helper.make_node("MatMul", ["v", "w"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [None, *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None, 10])],
        [
            numpy_helper.from_array(np.array([-1, count], dtype=np.int64), "flat"),
            numpy_helper.from_array(weights, "w"),
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
    )
    form = {
        "input": {"name": "x", "shape": [None, *shape], "dtype": "uint8"},
        "output": {"name": "logits", "shape": [None, 10], "kind": "logits"},
        "labels": [str(number) for number in range(10)],
        "task": "classify",
    }
    (folder / "model.json").write_text(json.dumps(form))


PEER = """
import sys
import numpy as np, onnxruntime as ort, uvicorn
from fastapi import FastAPI, Request
options = ort.SessionOptions(); options.intra_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1] + "/model.onnx", options)
shape = [s for s in session.get_inputs()[0].shape[1:]]
app = FastAPI()
def answer(rows):
    out = session.run(None, {"x": rows})[0]
    powers = np.exp(out - out.max(axis=1, keepdims=True)); scores = powers / powers.sum(axis=1, keepdims=True)
    return {"outputs": [{"label": str(int(s.argmax())), "score": float(s.max()), "scores": s.tolist()} for s in scores]}
@app.get("/readyz")
async def readyz(): return {}
@app.post("/predict")
async def predict(request: Request):
    if request.headers["content-type"] == "application/octet-stream":
        return answer(np.frombuffer(await request.body(), np.uint8).reshape(-1, *shape))
    body = await request.json()
    return answer(np.array(body["inputs"], dtype=np.uint8).reshape(-1, *shape))
uvicorn.run(app, port=int(sys.argv[2]), log_level="error", access_log=False, loop="uvloop", http="httptools")
"""


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(commands: list[list[str]], port: int, env: dict[str, str]) -> Iterator[list[int]]:
    """The process ids of a server that answers at `port`."""
    started = [subprocess.Popen(command, env={**os.environ, **env}) for command in commands]
    try:
        until = monotonic() + 30
        pause = Event()
        while not is_ready(port):
            if monotonic() > until:
                raise TimeoutError(commands)
            pause.wait(0.05)
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait(15)


def is_ready(port: int) -> bool:
    """Whether a server answers there that it is ready."""
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def lepton(folder: Path, port: int) -> Iterator[list[int]]:
    """One front and one worker."""
    spec = {"model": "ver_00000000000000000000000001", "port": port, "capture_rows": 500}
    settings = {"params": {"endpoint": "", "name": "bench", "spec": spec}, "limits": {}}
    (folder / "settings.json").write_text(json.dumps(settings))
    commands = [[sys.executable, str(PROCESS), role, str(folder)] for role in ("front", "1")]
    with running(commands, port, {"LEPTON_GANG_FOLDER": str(folder)}) as pids:
        yield pids


@contextmanager
def fastapi(folder: Path, port: int) -> Iterator[list[int]]:
    """One process of uvicorn with httptools and uvloop."""
    with running([[sys.executable, "-c", PEER, str(folder / "model"), str(port)]], port, {}) as pids:
        yield pids


SERVERS = {"lepton": lepton, "fastapi": fastapi}


def cpu_seconds(pid: int) -> float:
    """User and system time of one process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Asker(asyncio.Protocol):
    """One connection that asks again whenever it is answered."""

    def __init__(self, request: bytes, times: list[float]) -> None:
        self._request = request
        self._times = times
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected: ask."""
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._asked = monotonic()
        self._transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """A part of an answer; when it is whole, ask again."""
        data = self._buffer + data
        head, found, body = data.partition(b"\r\n\r\n")
        at = head.find(b"content-length: ")
        if not found or len(body) < int(head[at + 16 :].partition(b"\r\n")[0]):
            self._buffer = data
            return
        self._buffer = b""
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(data)
        self._times.append(monotonic() - self._asked)
        self._ask()


async def load(port: int, request: bytes, connections: int, seconds: float) -> None:
    """Ask for that long after a warm-up; print when counting begins, then the times, as JSON."""
    times: list[float] = []
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: Asker(request, times), "127.0.0.1", port)
    await asyncio.sleep(WARM_S)
    times.clear()
    sys.stdout.write("begin\n")
    sys.stdout.flush()
    begun = monotonic()
    await asyncio.sleep(seconds)
    spent = monotonic() - begun
    cuts = statistics.quantiles(times, n=100)
    sys.stdout.write(json.dumps({"count": len(times), "seconds": spent, "p50": cuts[49], "p99": cuts[98]}) + "\n")


def make_request(shape: tuple[int, ...], media: str) -> bytes:
    """The bytes every connection sends."""
    row = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    body = json.dumps({"inputs": [row.tolist()]}).encode() if media == "json" else row.tobytes()
    kind = "application/json" if media == "json" else "application/octet-stream"
    head = f"POST /predict HTTP/1.1\r\nHost: bench\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def measure(port: int, pids: list[int], case: str, seconds: float) -> dict[str, float]:
    """One run of one case against a running server."""
    command = [sys.executable, __file__, "--load", case, "--port", str(port), "--seconds", str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None
        asking.stdout.readline()
        before = [cpu_seconds(pid) for pid in pids]
        numbers = json.loads(asking.stdout.readline())
        spent = [cpu_seconds(pid) - start for pid, start in zip(pids, before, strict=True)]
    count = numbers["count"]
    return {
        "cpu_us": sum(spent) / count * 1e6,
        "front_us": spent[0] / count * 1e6,
        "rps": count / numbers["seconds"],
        "p50_ms": numbers["p50"] * 1000,
        "p99_ms": numbers["p99"] * 1000,
    }


def compare(repeats: int, seconds: float, only: str) -> None:
    """Every case on every server in turn, `repeats` times; print medians."""
    print(f"{'case':32} {'server':8} {'CPU us':>7} {'(front)':>8} {'req/s':>7} {'p50 ms':>7} {'p99 ms':>7}")
    for case, (shape, _, _) in CASES.items():
        runs: dict[str, list[dict[str, float]]] = {}
        for _ in range(repeats):
            for name, server in SERVERS.items():
                if only in ("", name):
                    with tempfile.TemporaryDirectory(prefix="lsrv") as folder:
                        write_model(Path(folder) / "model", shape)
                        port = free_port()
                        with server(Path(folder), port) as pids:
                            runs.setdefault(name, []).append(measure(port, pids, case, seconds))
        for name, found in runs.items():
            middle = {key: statistics.median(run[key] for run in found) for key in found[0]}
            print(
                f"{case:32} {name:8} {middle['cpu_us']:7.1f} {middle['front_us']:8.1f} {middle['rps']:7.0f} "
                f"{middle['p50_ms']:7.2f} {middle['p99_ms']:7.2f}",
                flush=True,
            )


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--only", default="", choices=["", *SERVERS])
    parser.add_argument("--load", default="", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.load:
        shape, media, connections = CASES[given.load]
        uvloop.run(load(given.port, make_request(shape, media), connections, given.seconds))
    else:
        compare(given.repeats, given.seconds, given.only)


if __name__ == "__main__":
    main()
