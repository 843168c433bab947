"""The job of station 5: compare a capture with the model's reference, and report."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lepton.core.context import Context
from lepton.core.errors import IntegrityError, InvalidError
from lepton.observe.drift import Counts, Verdict, judge
from lepton.observe.spec import ObserveSpec
from lepton.vault.profile import Profile, features
from lepton.vault.recipe import Recipe


def observe(context: Context) -> None:
    """Judge input `capture` by the reference in input `model`; publish the report.

    Its meta says `drifted`, `judged`, `score`, `worst` (the feature) and how the endpoint served; if it has drifted,
    `alert` says so in words, and the platform raises an alert.

    Raises:
        IntegrityError: the capture cannot be read.
        InvalidError: it is of another model: its images or classes have another shape.
    """
    spec = ObserveSpec.from_json(context.params)
    model = context.input("model")
    recipe, reference = Recipe.load(model), Profile.load(model)
    image_NHW, class_N = read_capture(context.input("capture"), recipe)
    verdict = judge(reference, features(image_NHW), class_N, min_rows=spec.min_rows)
    service = serving(spec)
    worst = verdict.findings[0].feature if verdict.findings else ""
    meta = {
        "drifted": verdict.is_drifted,
        "judged": verdict.is_judged,
        "score": verdict.score,
        "worst": worst,
        "rows": verdict.rows,
        "endpoint": spec.endpoint,
        **service,
    }
    if verdict.is_drifted:
        meta["alert"] = f"The inputs of {spec.name} have drifted: {worst} scores {verdict.score:.2f}, the limit is 1"
    publish(context, spec.name, verdict, meta)
    context.metrics(0, drift_score=verdict.score, rows=verdict.rows, **service)
    context.progress(1.0, f"{worst} has drifted" if verdict.is_drifted else "no drift")


def read_capture(folder: Path, recipe: Recipe) -> tuple[npt.NDArray[np.uint8], Counts]:
    """Images (N, H, W) and named classes (N,) of a capture: `inputs.npy` and `outputs.npy` (scores, or classes)."""
    try:
        inputs, outputs = (np.load(folder / name, allow_pickle=False) for name in ("inputs.npy", "outputs.npy"))
    except (OSError, ValueError, EOFError) as fault:
        raise IntegrityError(f"The capture in {folder} cannot be read: {fault}", fix="Capture again.") from fault
    rows, pixels = len(inputs), recipe.height * recipe.width
    if inputs.dtype != np.uint8 or inputs.size != rows * pixels or len(outputs) != rows:
        raise InvalidError(
            f"The capture holds {inputs.dtype} {inputs.shape} and {len(outputs)} outputs",
            fix=f"The model takes 8-bit images of {recipe.width} x {recipe.height} pixels; give a capture of it.",
        )
    named = outputs.reshape(rows, -1).argmax(axis=1) if outputs.ndim > 1 else outputs
    classes = named.astype(np.int64)
    if rows and not 0 <= classes.min() <= classes.max() < len(recipe.classes):
        raise InvalidError("The capture names a class that the model has not", fix="Give a capture of this model.")
    return inputs.reshape(rows, recipe.height, recipe.width), classes


def serving(spec: ObserveSpec) -> dict[str, float]:
    """How the endpoint served in the window; empty when nothing is known."""
    if spec.window_s == 0:
        return {}
    return {
        "requests": spec.requests,
        "throughput_per_s": round(spec.requests / spec.window_s, 3),
        "error_share": round(spec.errors / max(1, spec.requests), 6),
        "p50_ms": spec.p50_ms,
        "p95_ms": spec.p95_ms,
        "p99_ms": spec.p99_ms,
    }


def publish(context: Context, name: str, verdict: Verdict, meta: dict[str, Any]) -> None:
    """Leave `drift.json`: the verdict and every feature, worst first."""
    folder = context.folder / "report"
    folder.mkdir(parents=True, exist_ok=True)
    report = {"format": 1, **meta, "findings": [asdict(finding) for finding in verdict.findings]}
    (folder / "drift.json").write_text(json.dumps(report, indent=1) + "\n")
    context.publish(kind="report", name=name, folder=folder, meta=meta)
