"""What a model gives is learnt from zeros when it is loaded."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from lepton.serve.faults import ModelFileError
from lepton.serve.models.probe import learn_outputs
from lepton.serve.protocols.inference.tensors import Array, Tensor

X = Tensor("x", "FP32", [-1, 3])


def test_an_output_that_follows_the_rows_is_batched() -> None:
    outputs, is_batched = learn_outputs(lambda given: {"sum": given["x"].sum(1), "same": given["x"] > 0}, [X])
    assert outputs == [Tensor("sum", "FP32", [-1]), Tensor("same", "BOOL", [-1, 3])]
    assert is_batched


@pytest.mark.parametrize("output", [np.zeros(1), np.zeros((1, 2)), np.float64(1.0)])
def test_an_output_that_does_not_is_computed_request_by_request(output: Array) -> None:
    outputs, is_batched = learn_outputs(lambda given: {"y": np.asarray(output)}, [X])
    assert outputs == [Tensor("y", "FP64", list(np.shape(output)))]
    assert not is_batched


def test_a_model_without_an_axis_over_rows_is_asked_once() -> None:
    seen = []

    def infer(given: Mapping[str, Array]) -> Mapping[str, Array]:
        seen.append(given["x"].shape)
        return {"y": given["x"]}

    assert learn_outputs(infer, [Tensor("x", "INT64", [2, 3])]) == ([Tensor("y", "INT64", [2, 3])], False)
    assert seen == [(2, 3)]


def test_an_axis_of_any_size_is_tried_with_several() -> None:
    def infer(given: Mapping[str, Array]) -> Mapping[str, Array]:
        if given["x"].shape[1] < 32:
            raise ValueError("too small")
        return {"y": given["x"]}

    outputs, _ = learn_outputs(infer, [Tensor("x", "FP32", [-1, -1])])
    assert outputs[0].name == "y"
    with pytest.raises(ModelFileError, match="too small"):
        learn_outputs(infer, [Tensor("x", "FP32", [-1, 31])])


def test_outputs_that_change_their_axes_with_the_rows_are_refused() -> None:
    with pytest.raises(ModelFileError, match="axes"):
        learn_outputs(lambda given: {"y": given["x"].squeeze()}, [X])


Q, D = Tensor("q", "FP32", [-1, 4]), Tensor("d", "FP32", [-1, 4])


@pytest.mark.parametrize(
    ("infer", "inputs"),
    [
        (lambda given: {"y": given["q"] @ given["d"].T}, [Q, D]),
        (lambda given: {"y": (given["q"] @ given["d"].T) @ given["d"]}, [Q, D]),
        (lambda given: {"y": np.broadcast_to(given["x"].max(0), given["x"].shape)}, [X]),
        (lambda given: {"y": given["x"] - given["x"].mean(0)}, [X]),
        (lambda given: {"y": given["x"].cumsum(0)}, [X]),
        (lambda given: {"y": given["x"][::-1].cumsum(0)[::-1]}, [X]),
        (lambda given: {"y": given["x"], "first": np.repeat(given["x"][:1], len(given["x"]), 0)}, [X]),
        (lambda given: {"y": np.sort(given["t"], axis=0)}, [Tensor("t", "INT64", [-1])]),
        (lambda given: {"y": given["s"][::-1].copy()}, [Tensor("s", "BYTES", [-1])]),
    ],
)
def test_rows_that_know_of_one_another_are_computed_request_by_request(infer: Any, inputs: list[Tensor]) -> None:
    _, is_batched = learn_outputs(infer, inputs)
    assert not is_batched


@pytest.mark.parametrize(
    ("infer", "inputs"),
    [
        (lambda given: {"y": (given["q"] * given["d"]).sum(1)}, [Q, D]),
        (lambda given: {"y": np.log(given["x"]), "z": given["x"] / 0.0}, [X]),
        (lambda given: {"y": given["x"].astype(np.float16) * (1 + 0.005 * len(given["x"]))}, [X]),
        (lambda given: {"y": given["t"] % 2 == 0, "z": given["t"] * 2}, [Tensor("t", "INT64", [-1, -1])]),
        (lambda given: {"y": np.array([len(one) for one in given["s"]])}, [Tensor("s", "BYTES", [-1])]),
    ],
)
def test_rows_that_do_not_are_computed_together(infer: Any, inputs: list[Tensor]) -> None:
    with np.errstate(all="ignore"):
        assert learn_outputs(infer, inputs)[1]
