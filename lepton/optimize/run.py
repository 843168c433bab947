"""The job of station 3: export, measure, keep what is faster and no worse."""

import json
from dataclasses import asdict
from pathlib import Path
from shutil import copyfile, rmtree
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from lepton.core.clock import SystemClock
from lepton.core.context import Context
from lepton.optimize.graph import INPUT, OUTPUT, build_graph
from lepton.optimize.measure import BATCHES, Bench, Candidate, Measured, Scorer, choose, measure
from lepton.optimize.quantize import quantize
from lepton.optimize.spec import OptimizeSpec
from lepton.vault.network import FILE, WEIGHTS, load_network
from lepton.vault.profile import FILE as REFERENCE
from lepton.vault.recipe import FORMAT, Recipe
from lepton.vault.tables import Table, read_table

MODEL = "model.onnx"


def optimize(context: Context) -> None:
    """Export input `model`, measure on the test rows of input `dataset`; publish the chosen model and the report.

    Raises:
        InvalidError: no candidate is accurate enough.
    """
    spec = OptimizeSpec.from_json(context.params)
    torch.set_num_threads(1)
    source, table = context.input("model"), read_table(context.input("dataset"))
    recipe, test = Recipe.load(source), table.split("test")
    context.progress(0.0, "exporting")
    files = export(source, _empty_folder(context, "candidates"), recipe, table.split("train"))
    context.progress(0.4, "measuring")
    bench = Bench(clock=SystemClock(), labels=test["label"], repeats=spec.repeats)
    images = np.asarray(test["image"])
    size_bytes = (source / WEIGHTS).stat().st_size
    forms = [Candidate(name="torch", score=torch_scorer(source, recipe), size_bytes=size_bytes)]
    forms += [Candidate(name=path.stem, score=onnx_scorer(path), size_bytes=path.stat().st_size) for path in files]
    baseline, *candidates = measure(forms, images, bench=bench)
    chosen = choose(baseline, candidates, max_accuracy_loss=spec.max_accuracy_loss)
    facts = summary(baseline, chosen)
    publish_model(context, spec, next(path for path in files if path.stem == chosen.name), facts)
    publish_report(context, spec, [baseline, *candidates], facts)
    context.metrics(0, **{key: value for key, value in facts.items() if isinstance(value, int | float)})
    context.progress(1.0, f"{chosen.name} is {facts['speedup']} times as fast")


def export(source: Path, folder: Path, recipe: Recipe, train: Table) -> list[Path]:
    """Write every candidate into `folder`, the most trusted first."""
    layers, network = load_network(source)
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    plain, small = folder / "onnx-float32.onnx", folder / "onnx-int8.onnx"
    plain.write_bytes(build_graph(layers, weights, recipe))
    quantize(plain, small, train["image"])
    return [plain, small]


def torch_scorer(source: Path, recipe: Recipe) -> Scorer:
    """The model as it was trained, recipe and all: the baseline."""
    _, network = load_network(source)

    def score(image_NHW: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            found: npt.NDArray[np.float32] = network(torch.from_numpy(recipe.apply(image_NHW))[:, None]).numpy()
        return found

    return score


def onnx_scorer(path: Path) -> Scorer:
    """An ONNX file in one thread, as a serving worker runs it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def score(image_NHW: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = session.run([OUTPUT], {INPUT: image_NHW})[0]
        return found

    return score


def summary(baseline: Measured, chosen: Measured) -> dict[str, Any]:
    """What the catalog says of the chosen model beside its baseline."""
    return {
        "accuracy": round(chosen.accuracy, 6),
        "baseline_accuracy": round(baseline.accuracy, 6),
        "form": chosen.name,
        "model_bytes": chosen.size_bytes,
        "speedup": round(baseline.latency_ms[0] / chosen.latency_ms[0], 2),
        **{f"latency_ms_{batch}": chosen.latency_ms[place] for place, batch in enumerate(BATCHES)},
        **{f"baseline_latency_ms_{batch}": baseline.latency_ms[place] for place, batch in enumerate(BATCHES)},
    }


def publish_model(context: Context, spec: OptimizeSpec, path: Path, facts: dict[str, Any]) -> None:
    """The chosen model with its recipe and reference profile. No measured time lies in its files: equal input gives
    an equal digest."""
    source, folder = context.input("model"), _empty_folder(context, "model")
    recipe = Recipe.load(source)
    copyfile(path, folder / MODEL)
    copyfile(source / REFERENCE, folder / REFERENCE)
    recipe.save(folder)
    shape = [None, recipe.height, recipe.width]
    description = {
        "format": FORMAT,
        "runtime": "onnx",
        "file": MODEL,
        "input": {"name": INPUT, "dtype": "uint8", "shape": shape},
        "output": {"name": OUTPUT, "dtype": "float32", "shape": [None, len(recipe.classes)], "kind": "logits"},
        "task": "classify",
        "labels": list(recipe.classes),
    }
    (folder / FILE).write_text(json.dumps(description, indent=1, sort_keys=True) + "\n")
    context.publish(kind="model", name=spec.name, folder=folder, meta={**facts, "framework": "onnx"})


def publish_report(context: Context, spec: OptimizeSpec, measured: list[Measured], facts: dict[str, Any]) -> None:
    """The table of all that was measured, the baseline first."""
    folder = _empty_folder(context, "report")
    rows = [
        {**asdict(item), "latency_ms": dict(zip(map(str, BATCHES), item.latency_ms, strict=True))} for item in measured
    ]
    report = {"format": FORMAT, "chosen": facts["form"], "max_accuracy_loss": spec.max_accuracy_loss, "measured": rows}
    (folder / "optimize.json").write_text(json.dumps(report, indent=1) + "\n")
    context.publish(kind="report", name=spec.name, folder=folder, meta=facts)


def _empty_folder(context: Context, name: str) -> Path:
    """A fresh folder of this worker."""
    folder = context.folder / name
    rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
