"""scikit-learn's estimators and pipelines from skops files: `skops:FILE.skops`. No pickle is read.

Only types that skops trusts are loaded: scikit-learn's, SciPy's and NumPy's, none that could run code. Others must be
named, and are then imported: `skops:FILE.skops?trust=package.module.Class,...`.
"""

import os
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import skops.io

from lepton.core.resource import Json
from lepton.serve.faults import ModelFileError
from lepton.serve.loading import find_named
from lepton.serve.models.probe import learn_outputs
from lepton.serve.models.program import TensorProgram
from lepton.serve.protocols.inference.tensors import Array, Tensor

NO_NAMES = "X does not have valid feature names"
"""scikit-learn says this of every array to an estimator that was fitted to a table; the order of columns is told."""


class EstimatorModel:
    """`arrays.ServedModel` of one estimator: numbers or texts in; `prediction`, `probabilities` or `features` out.

    Raises:
        ModelFileError: it is not fitted, or cannot be asked with an array.
    """

    version = "1"
    platform = "sklearn"
    examples: Mapping[str, Json] = {}

    def __init__(self, name: str, estimator: Any) -> None:
        self.name = name
        self._estimator = estimator
        limit_threads(estimator, int(os.environ.get("OMP_NUM_THREADS") or 1))
        self.inputs = [input_of(estimator)]
        self.allows_nan = bool(estimator.__sklearn_tags__().input_tags.allow_nan)
        self.outputs, self.is_batched = learn_outputs(self.infer, self.inputs)

    @property
    def details(self) -> Mapping[str, Json]:
        """Names of the columns, and of the classes in the order of their probabilities."""
        found = {"features": "feature_names_in_", "classes": "classes_"}
        told = {word: getattr(self._estimator, name, None) for word, name in found.items()}
        plain = {word: np.asarray(value).tolist() for word, value in told.items() if isinstance(value, np.ndarray)}
        return {"estimator": type(self._estimator).__name__, **plain}

    def infer(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """What it says of each row."""
        rows: Any = inputs[self.inputs[0].name]
        if rows.dtype == object:
            rows = [one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in rows]
        estimator = self._estimator
        if not hasattr(estimator, "predict"):
            return {"features": _dense(estimator.transform(rows))}
        found = {"prediction": _dense(estimator.predict(rows))}
        if hasattr(estimator, "predict_proba"):
            scores = estimator.predict_proba(rows)
            several = enumerate(scores) if isinstance(scores, list) else ()  # of several outputs, each its own
            found |= {f"probabilities_{number}": _dense(one) for number, one in several}
            found |= {} if isinstance(scores, list) else {"probabilities": _dense(scores)}
        return found


def _dense(found: Any) -> Array:
    array = np.asarray(found.toarray() if hasattr(found, "toarray") else found)
    return array.astype(object) if array.dtype.kind in "SU" else array


def input_of(estimator: Any) -> Tensor:
    """What an estimator takes.

    Raises:
        ModelFileError: it does not say.
    """
    count = getattr(estimator, "n_features_in_", None)
    if isinstance(count, int | np.integer):
        return Tensor("x", "FP64", [-1, int(count)])
    first = estimator
    while hasattr(first, "steps"):
        first = first.steps[0][1]
    if hasattr(first, "build_analyzer"):  # CountVectorizer, TfidfVectorizer, HashingVectorizer
        return Tensor("text", "BYTES", [-1])
    raise ModelFileError(
        f"{type(estimator).__name__} does not say how many features it takes",
        fix="Fit it to an array before it is saved.",
    )


def limit_threads(estimator: Any, count: int) -> None:
    """Let nothing in it compute with more threads, or in processes of its own."""
    wished = {name: count for name in estimator.get_params() if name == "n_jobs" or name.endswith("__n_jobs")}
    estimator.set_params(**wished)


def load(path: Path, trusted: Sequence[str]) -> Any:
    """The estimator in a file.

    Raises:
        ModelFileError: it is none, or holds a type that nobody trusts.
    """
    try:
        unknown = sorted(set(skops.io.get_untrusted_types(file=path)) - set(trusted))
        if unknown:
            raise ModelFileError(
                f"{path.name} holds types that are not trusted: {', '.join(unknown)[:1000]}",
                fix=f"If you know where it comes from: skops:{path.name}?trust={','.join(unknown)[:1000]}",
            )
        estimator = skops.io.load(path, trusted=list(trusted))
    except ModelFileError:
        raise
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, ImportError, AttributeError, OSError) as fault:
        raise ModelFileError(
            f"{path.name} cannot be loaded: {type(fault).__name__}: {fault}"[:1000], fix="Write it with skops.io.dump."
        ) from fault
    if not hasattr(estimator, "predict") and not hasattr(estimator, "transform"):
        raise ModelFileError(f"{path.name} holds a {type(estimator).__name__}, no estimator", fix="Save an estimator.")
    return estimator


def open_skops(folder: Path, what: str) -> TensorProgram:
    """The program of a skops file.

    Raises:
        ConfigError: there is no such file.
        ModelFileError: it cannot be served.
    """
    path, options = find_named(folder, what)
    warnings.filterwarnings("ignore", message=NO_NAMES)
    trusted = [name for name in options.get("trust", "").split(",") if name]
    return TensorProgram(EstimatorModel(path.stem, load(path, trusted)))
