"""A model is exported, measured and published with all it needs; equal input gives an equal model."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lepton.core.errors import InvalidError
from lepton.engine.folder import FolderContext
from lepton.optimize.plan import plan_optimize
from lepton.optimize.run import onnx_scorer, optimize
from lepton.optimize.spec import OptimizeSpec
from lepton.vault.folder import describe
from lepton.vault.network import build_network, save_network
from lepton.vault.profile import profile
from lepton.vault.recipe import Recipe
from lepton.vault.tables import Table, write_table

LAYERS = (
    {"kind": "conv", "inputs": 1, "outputs": 4, "kernel": 3, "stride": 2, "padding": 0},
    {"kind": "relu"},
    {"kind": "maxpool", "size": 2},
    {"kind": "flatten"},
    {"kind": "linear", "inputs": 4 * 3 * 3, "outputs": 3},
)
SPEC = OptimizeSpec(model="m", dataset="d", name="small", repeats=5, max_accuracy_loss=0.05)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A network with fresh weights, and images labelled by what it says of them: it is always right."""
    root = tmp_path_factory.mktemp("inputs")
    model, dataset = root / "model", root / "dataset"
    model.mkdir()
    torch.manual_seed(0)
    network = build_network(LAYERS)
    image = np.random.default_rng(0).integers(0, 256, (400, 16, 16)).astype(np.uint8)
    recipe = Recipe(
        height=16, width=16, classes=("a", "b", "c"), mean=0.5, std=0.29, rows_in=400, rows_out=400, source_digest="0"
    )
    with torch.inference_mode():
        label = network(torch.from_numpy(recipe.apply(image))[:, None]).argmax(dim=1).numpy().astype(np.int32)
    save_network(model, LAYERS, network)
    recipe.save(model)
    profile(image, label, 3).save(model)
    write_table(
        dataset, Table(columns={"image": image, "label": label}, splits={"train": (0, 300), "test": (300, 400)})
    )
    return {"model": model, "dataset": dataset}


@pytest.fixture(scope="module")
def root(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    optimize(FolderContext(root, inputs=inputs, params=SPEC.to_json()))
    return root


def test_the_model_carries_all_that_serving_needs(root: Path, inputs: dict[str, Path]) -> None:
    folder = root / "model" / "small" / "1"
    assert [file.path for file in describe(folder)] == ["model.json", "model.onnx", "recipe.json", "reference.json"]
    description = json.loads((folder / "model.json").read_text())
    assert description["input"] == {"name": "pixels", "dtype": "uint8", "shape": [None, 16, 16]}
    assert description["labels"] == ["a", "b", "c"]
    image = np.load(inputs["dataset"] / "columns" / "image.npy")[300:]
    label = np.load(inputs["dataset"] / "columns" / "label.npy")[300:]
    assert (onnx_scorer(folder / "model.onnx")(image).argmax(axis=1) == label).mean() >= 0.95


def test_the_report_has_every_candidate_and_the_choice(root: Path) -> None:
    report = json.loads((root / "report" / "small" / "1" / "optimize.json").read_text())
    rows = {row["name"]: row for row in report["measured"]}
    assert list(rows) == ["torch", "onnx-float32", "onnx-int8"]
    assert rows["torch"]["accuracy"] == rows["onnx-float32"]["accuracy"] == 1.0
    assert report["chosen"] in rows
    assert all(set(row["latency_ms"]) == {"1", "32"} and row["size_bytes"] > 0 for row in rows.values())
    meta = json.loads((root / "model" / "small" / "1.json").read_text())["meta"]
    assert meta["form"] == report["chosen"]


def test_every_candidate_has_equal_bytes_in_every_run(root: Path, inputs: dict[str, Path], tmp_path: Path) -> None:
    optimize(FolderContext(tmp_path, inputs=inputs, params=SPEC.to_json()))
    assert describe(tmp_path / "scratch/0/candidates") == describe(root / "scratch/0/candidates")


def test_wishes_are_checked_and_planned() -> None:
    with pytest.raises(InvalidError):
        OptimizeSpec(model="m", dataset="d", name="small", max_accuracy_loss=-1)
    job = plan_optimize(SPEC)
    assert OptimizeSpec.from_json(job.params) == SPEC
    assert dict(job.inputs) == {"model": "m", "dataset": "d"}
