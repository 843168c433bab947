"""Requests share a computation of an ONNX model only where no row of it knows of another's."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lepton.serve.models.onnx import OnnxModel
from lepton.serve.protocols.inference.statistics import Tally
from lepton.serve.protocols.inference.tensors import check, infer_all

Shape = list[str | int | None]


def model_of(folder: Path, nodes: list[Any], inputs: dict[str, Shape], outputs: dict[str, Shape]) -> OnnxModel:
    told = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in some.items()]
        for some in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "g", *told)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(folder / "m.onnx")
    )
    return OnnxModel(folder / "m.onnx", threads=1)


SCORES = [helper.make_node("Transpose", ["d"], ["t"], perm=[1, 0]), helper.make_node("MatMul", ["q", "t"], ["y"])]
PRODUCT = [helper.make_node("Mul", ["q", "d"], ["y"])]
LARGEST = [helper.make_node("ReduceMax", ["q"], ["m"], axes=[0]), helper.make_node("Sub", ["q", "m"], ["y"])]


@pytest.mark.parametrize("names", [("nq", "nd"), ("n", "n"), (None, None)])
def test_scores_of_all_against_all_are_each_callers_own(tmp_path: Path, names: tuple[str | None, str | None]) -> None:
    model = model_of(tmp_path, SCORES, {"q": [names[0], 4], "d": [names[1], 4]}, {"y": list(names)})
    assert not model.is_batched
    random = np.random.default_rng(1)
    asked = [
        {"q": random.random((rows, 4), np.float32), "d": random.random((rows + 1, 4), np.float32)}
        for rows in (1, 2, 3, 1)
    ]
    for one in asked:
        check(model, one)  # they need not have as many rows
    for one, found in zip(asked, infer_all(model, asked, Tally()), strict=True):
        assert not isinstance(found, Exception)
        np.testing.assert_allclose(found["y"], one["q"] @ one["d"].T, rtol=1e-5)


def test_rows_that_are_compared_with_all_others_are_each_callers_own(tmp_path: Path) -> None:
    assert not model_of(tmp_path, LARGEST, {"q": ["n", 4]}, {"y": ["n", 4]}).is_batched


@pytest.mark.parametrize("name", ["n", None])
def test_rows_that_are_not_are_computed_together(tmp_path: Path, name: str | None) -> None:
    assert model_of(tmp_path, PRODUCT, {"q": [name, 4], "d": [name, 4]}, {"y": [name, 4]}).is_batched
