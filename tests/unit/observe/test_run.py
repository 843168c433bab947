"""A capture is judged and reported, with how the endpoint served; one of another model is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton.core.errors import IntegrityError, InvalidError
from lepton.engine.folder import FolderContext
from lepton.observe.plan import plan_observe
from lepton.observe.run import observe
from lepton.observe.spec import ObserveSpec
from lepton.vault.profile import profile
from lepton.vault.recipe import Recipe

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 200, (600, 16, 16)).astype(np.uint8)
CLASSES = RNG.integers(0, 2, 600)
SPEC = ObserveSpec(model="m", capture="c", name="door", requests=400, errors=4, window_s=8, p50_ms=1.5, p99_ms=9)


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    folders = {name: tmp_path / name for name in ("model", "capture")}
    for folder in folders.values():
        folder.mkdir()
    facts: dict[str, Any] = {"rows_in": 1, "rows_out": 1, "source_digest": "0"}
    Recipe(height=16, width=16, classes=("a", "b"), mean=0.4, std=0.2, **facts).save(folders["model"])
    profile(IMAGES[:300], CLASSES[:300], 2).save(folders["model"])
    return folders


def run(root: Path, inputs: dict[str, Path], images: np.ndarray, outputs: np.ndarray) -> dict[str, Any]:
    np.save(inputs["capture"] / "inputs.npy", images)
    np.save(inputs["capture"] / "outputs.npy", outputs)
    observe(FolderContext(root, inputs=inputs, params=SPEC.to_json()))
    version = max((root / "report" / "door").glob("*.json"))
    report = json.loads((version.with_suffix("") / "drift.json").read_text())
    meta: dict[str, Any] = json.loads(version.read_text())["meta"]
    assert {key: report[key] for key in meta} == meta
    return meta


def test_a_capture_like_the_training_rows_is_calm(tmp_path: Path, inputs: dict[str, Path]) -> None:
    meta = run(tmp_path, inputs, IMAGES[300:].reshape(300, -1), np.eye(2, dtype=np.float32)[CLASSES[300:]])
    assert (meta["drifted"], meta["judged"], meta["rows"]) == (False, True, 300)
    assert (meta["throughput_per_s"], meta["error_share"], meta["p50_ms"]) == (50, 0.01, 1.5)


def test_a_drifted_capture_is_told_with_its_worst_feature(tmp_path: Path, inputs: dict[str, Path]) -> None:
    meta = run(tmp_path, inputs, IMAGES[300:] // 2, CLASSES[300:])
    assert meta["drifted"]
    assert meta["score"] > 1
    assert meta["worst"] in {"intensity", "contrast", "ink", "edges"}


@pytest.mark.parametrize(
    ("images", "outputs"),
    [
        (IMAGES[:9].astype(np.float32), CLASSES[:9]),
        (IMAGES[:9, :5], CLASSES[:9]),
        (IMAGES[:9], CLASSES[:8]),
        (IMAGES[:9], CLASSES[:9] + 1),
    ],
)
def test_a_capture_of_another_model_is_refused(
    tmp_path: Path, inputs: dict[str, Path], images: np.ndarray, outputs: np.ndarray
) -> None:
    with pytest.raises(InvalidError):
        run(tmp_path, inputs, images, np.concatenate([outputs[:-1], [outputs.max()]]))


def test_a_capture_that_cannot_be_read_is_told(tmp_path: Path, inputs: dict[str, Path]) -> None:
    (inputs["capture"] / "inputs.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(IntegrityError):
        observe(FolderContext(tmp_path, inputs=inputs, params=SPEC.to_json()))


def test_wishes_are_checked_and_planned() -> None:
    with pytest.raises(InvalidError):
        ObserveSpec(model="m", capture="c", name="door", requests=1, errors=2)
    job = plan_observe(SPEC)
    assert ObserveSpec.from_json(job.params) == SPEC
    assert dict(job.inputs) == {"model": "m", "capture": "c"}
