"""A real endpoint for tests: a front and workers as processes, a small real model, and a bare HTTP client."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from importlib import import_module
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VERSION = "ver_00000000000000000000000001"
PROCESS = Path(__file__).with_name("process.py")


def write_model(folder: Path, *, shape: Sequence[int] = (2, 2), heavy: int = 0) -> None:
    """A classifier whose logit of class k is the k-th value of a row; `heavy`: side of matrices that only cost time."""
    folder.mkdir(parents=True)
    count = int(np.prod(shape))
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["f", "flat"], ["logits"]),
    ]
    constants = [numpy_helper.from_array(np.array([-1, count], dtype=np.int64), "flat")]
    if heavy:
        matrix = np.zeros((heavy, heavy), dtype=np.float32)
        widen = np.zeros((count, heavy), dtype=np.float32)
        constants += [numpy_helper.from_array(matrix, "w"), numpy_helper.from_array(widen, "a")]
        constants.append(numpy_helper.from_array(np.zeros((heavy, count), dtype=np.float32), "b"))
        nodes[-1] = helper.make_node("Reshape", ["f", "flat"], ["v"])
        nodes.append(helper.make_node("MatMul", ["v", "a"], ["h0"]))
        nodes += [helper.make_node("MatMul", [f"h{i}", "w"], [f"h{i + 1}"]) for i in range(4)]
        nodes.append(helper.make_node("MatMul", ["h4", "b"], ["zero"]))
        nodes.append(helper.make_node("Add", ["v", "zero"], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [None, *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None, count])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(folder / "model.onnx"))
    form = {
        "input": {"name": "x", "shape": [None, *shape], "dtype": "uint8"},
        "output": {"name": "logits", "shape": [None, count], "kind": "logits"},
        "labels": [f"class-{i}" for i in range(count)],
        "task": "classify",
    }
    (folder / "model.json").write_text(json.dumps(form))


def write_sums(path: Path) -> None:
    """Two inputs of different types, two outputs: their sum, and the labels as they came."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["b"], ["c"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["a", "c"], ["sum"]),
            helper.make_node("Identity", ["label"], ["same"]),
        ],
        "sums",
        [
            helper.make_tensor_value_info("a", TensorProto.FLOAT, ["n", 3]),
            helper.make_tensor_value_info("b", TensorProto.INT64, ["n", 3]),
            helper.make_tensor_value_info("label", TensorProto.STRING, ["n"]),
        ],
        [
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["n", 3]),
            helper.make_tensor_value_info("same", TensorProto.STRING, ["n"]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))


def wait_until(holds: Callable[[], Any], what: str, timeout_s: float = 10.0) -> Any:
    """The first true value of `holds`."""
    until = monotonic() + timeout_s
    pause = Event()
    while monotonic() < until:
        value = holds()
        if value:
            return value
        pause.wait(0.01)
    raise AssertionError(f"waited in vain until {what}")


class House:
    """The processes of one endpoint."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder = folder
        self.env = {**os.environ, "LEPTON_GANG_FOLDER": str(folder), "LEPTON_HELD": "off", **env}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, role: str) -> subprocess.Popen[bytes]:
        if role in self.processes:
            self.processes[role].wait(10)
        command = [sys.executable, str(PROCESS), role, str(self.folder)]
        env = {**self.env, "LEPTON_RANK": "0" if role == "front" else role}
        with (self.folder / f"{role}.log").open("ab") as log:
            self.processes[role] = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        return self.processes[role]

    def said(self, kind: str) -> list[dict[str, Any]]:
        file = self.folder / "said.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [item for item in map(json.loads, lines) if item["type"] == kind]

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = wait_until(lambda: self.said("ready"), "the front is ready", 60)[0]["address"].rpartition(":")
        return host, int(port)

    def ask(
        self, method: str = "GET", path: str = "/", body: bytes | None = None, **headers: str
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, body (read as JSON if it is) and headers of one answer."""
        connection = HTTPConnection(*self.address, timeout=10)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        is_json = answer.getheader("content-type") == "application/json" and data
        found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, json.loads(data) if is_json else data, found

    def predict(self, inputs: Any, **headers: str) -> tuple[int, Any, Mapping[str, str]]:
        body = json.dumps({"inputs": inputs}).encode()
        return self.ask("POST", "/predict", body, content_type="application/json", **headers)

    def wire(self) -> "Wire":
        return Wire(self.address)

    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def close(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(10)


@contextmanager
def open_house(
    *,
    workers: int = 1,
    env: Mapping[str, str] | None = None,
    limits: Mapping[str, Any] | None = None,
    heavy: int = 0,
    **spec: Any,
) -> Iterator[House]:
    """A running endpoint; its folder is short enough for a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="lsrv") as name:
        folder = Path(name)
        write_model(folder / "model", heavy=heavy)
        wish = {"model": VERSION, "replicas": max(1, workers), **spec}
        params = {"endpoint": "ep_00000000000000000000000001", "name": "digits", "spec": wish}
        (folder / "settings.json").write_text(json.dumps({"params": params, "limits": dict(limits or {})}))
        house = House(folder, env or {})
        try:
            house.start("front")
            for rank in range(1, workers + 1):
                house.start(str(rank))
            yield house
        finally:
            house.close()


@contextmanager
def open_service(
    entry: str,
    *,
    workers: int = 1,
    is_waiting: bool = True,
    code: Path | None = None,
    env: Mapping[str, str] | None = None,
    **spec: Any,
) -> Iterator[House]:
    """A running endpoint of whatever the entry names in `served/` or in the folder `code`."""
    with tempfile.TemporaryDirectory(prefix="lsrv") as name:
        folder = Path(name)
        (folder / "code").symlink_to(code or Path(__file__).with_name("served"))
        wish = {"code": VERSION, "entry": entry, "replicas": max(1, workers), **spec}
        params = {"endpoint": "ep_00000000000000000000000001", "name": "shop", "spec": wish}
        (folder / "settings.json").write_text(json.dumps({"params": params, "limits": {}}))
        house = House(folder, {"OMP_NUM_THREADS": "1", **(env or {})})
        try:
            house.start("front")
            for rank in range(1, workers + 1):
                house.start(str(rank))
            assert not is_waiting or house.address
            yield house
        finally:
            house.close()


class Npy:
    """Arrays as numpy's own files."""

    @staticmethod
    def dump(array: np.ndarray[Any, Any]) -> bytes:
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue()

    @staticmethod
    def load(data: bytes) -> np.ndarray[Any, Any]:
        return np.asarray(np.load(io.BytesIO(data)))


class Wire:
    """A connection on which every byte is the test's own."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, *, has_body: bool = True) -> tuple[int, bytes, Mapping[str, str]]:
        """One answer: status, body, headers."""
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        size = int(headers.get("content-length", 0)) if has_body else 0
        return status, self._file.read(size), headers

    def line(self) -> bytes:
        return self._file.readline()

    def take(self, size: int) -> bytes:
        return self._file.read(size)

    def ask(self, data: bytes) -> tuple[int, bytes, Mapping[str, str]]:
        self.send(data)
        return self.read()

    def is_closed(self) -> bool:
        """Whether the other end closes, after perhaps some bytes; waits up to the socket's timeout."""
        try:
            while self._file.read(1):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True


@contextmanager
def rest_client(house: House) -> Iterator[Any]:
    """Triton's client over REST; closed once, in this thread: garbage that closes itself again may be met in any."""
    host, port = house.address
    client = import_module("tritonclient.http").InferenceServerClient(f"{host.removeprefix('https://')}:{port}")
    try:
        yield client
    finally:
        client.close()
        client.close = lambda: None
