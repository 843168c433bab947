"""Bodies as the named arrays of a model: read strictly, computed together, refused by name."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lepton.core.errors import InvalidError, TooLargeError
from lepton.serve import npy
from lepton.serve.calls import Call
from lepton.serve.frames import Media
from lepton.serve.models.arrays import MAX_ROWS, read_inputs, to_array
from lepton.serve.models.program import TensorProgram
from lepton.serve.protocols.inference.tensors import Array, Tensor


class Sums:
    """Adds up rows, and remembers how many it was given at a time; fails on the number 13."""

    name, version, platform = "sums", "1", "test"
    allows_nan = False
    is_batched = True
    details: Mapping[str, Any] = {}
    examples: Mapping[str, Any] = {}

    def __init__(self, inputs: Sequence[Tensor] = (Tensor("x", "FP32", [-1, 2]),)) -> None:
        self.inputs = inputs
        self.outputs = [Tensor("sum", "FP32", [-1])]
        self.sizes: list[int] = []

    def infer(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        rows = inputs["x"]
        self.sizes.append(len(rows))
        if (rows == 13).any():
            raise RuntimeError("unlucky")
        return {"sum": rows.sum(tuple(range(1, rows.ndim)))}


def call(body: Any, media: int = Media.JSON, number: int = 0) -> Call:
    return Call(number, body if isinstance(body, bytes) else json.dumps(body).encode(), media)


def test_requests_that_came_together_are_one_computation_and_a_bad_one_costs_the_others_nothing() -> None:
    model = Sums()
    bodies = [{"inputs": [1, 2]}, {"inputs": [[1, 2], [3, 4]]}, {"inputs": [[1]]}, {"inputs": {"x": [[5, 6]]}}]
    replies = TensorProgram(model).predict([call(body, number=n) for n, body in enumerate(bodies)])
    assert model.sizes == [4]
    assert [reply.status for reply in replies] == [200, 200, 422, 200]
    assert [json.loads(reply.body)["outputs"]["sum"] for reply in replies if reply.status == 200] == [[3], [3, 7], [11]]
    assert [reply.rows for reply in replies] == [1, 2, 0, 1]


def test_a_row_on_which_the_model_fails_spoils_only_its_own_request() -> None:
    model = Sums()
    replies = TensorProgram(model).predict([call({"inputs": [number, 1]}, number=number) for number in (12, 13, 14)])
    assert [reply.status for reply in replies] == [200, 500, 200]
    assert model.sizes == [3, 1, 1, 1]


@pytest.mark.parametrize(
    ("datatype", "data", "word"),
    [
        ("FP32", [["1", 2]], "holds"),
        ("FP32", [[True, False]], "bool"),
        ("FP32", [[1, None]], "object"),
        ("FP32", [[1, 2], [3]], "no array"),
        ("FP32", [[1, {"a": 2}]], "object"),
        ("FP32", np.array([[1, np.nan]]), "finite"),
        ("FP32", np.array([[1, -np.inf]]), "finite"),
        ("FP32", np.array([["a", "b"]]), "str"),
        ("FP16", [[1, 70000]], "too large"),
        ("INT8", [[1, 128]], "no INT8"),
        ("INT64", [[1, 2.5]], "no INT64"),
        ("UINT8", [[1, -1]], "no UINT8"),
        ("BOOL", [[1, 0]], "holds"),
        ("BYTES", [["a", 1]], "int"),
        ("BYTES", [["a", None]], "NoneType"),
        ("BYTES", np.array([[1, 2]]), "int64"),
    ],
)
def test_what_the_type_cannot_hold_is_refused_by_name(datatype: str, data: Any, word: str) -> None:
    with pytest.raises(InvalidError, match="'x'") as caught:
        to_array(data, Tensor("x", datatype, [-1, 2]))
    assert word in caught.value.message
    assert "[any, 2]" in caught.value.fix


def test_a_missing_value_is_for_models_that_know_it() -> None:
    tensor = Tensor("x", "FP64", [-1, 2])
    assert np.isnan(to_array([[1, None]], tensor, allows_nan=True)[0, 1])
    assert np.isnan(to_array(np.array([[1, np.nan]]), tensor, allows_nan=True)[0, 1])
    for data in ([[1, "x"]], [[1, True], [None, 2]], np.array([[1, np.inf]])):
        with pytest.raises(InvalidError, match="'x'"):
            to_array(data, tensor, allows_nan=True)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"inputs": [[1, 2, 3]]}, "[1, 3]"),
        ({"inputs": 1}, "shape"),
        ({"inputs": []}, "shape"),
        ({"inputs": {"y": [[1, 2]]}}, "'y'"),
        ({"inputs": {}}, "'x' is missing"),
        ({"inputs": [[1, 2]], "more": 1}, "'more'"),
        ({}, '"inputs"'),
        (b"[" * 100_000, "no JSON"),
        (b'{"inputs": [[1, NaN]]}', "no JSON"),
        (b"\xff", "no JSON"),
    ],
)
def test_a_body_that_does_not_fit_is_refused(body: Any, word: str) -> None:
    with pytest.raises(InvalidError) as caught:
        read_inputs(call(body), Sums())
    assert word in caught.value.message


def test_npy_is_for_one_input_and_holds_no_objects() -> None:
    rows = np.array([[1, 2], [3, 4]])
    assert read_inputs(call(npy.write(rows), Media.NPY), Sums())["x"].dtype == np.float32
    two = Sums([Tensor("x", "FP32", [-1, 2]), Tensor("y", "FP32", [-1])])
    for body, model in ((npy.write(rows), two), (npy.write(rows[:, :1]), Sums()), (npy.write(rows)[:-1], Sums())):
        with pytest.raises(InvalidError):
            read_inputs(call(body, Media.NPY), model)
    with pytest.raises(InvalidError, match="several inputs"):
        read_inputs(call({"inputs": [[1, 2]]}), two)
    with pytest.raises(InvalidError, match="no array by 4 bytes"):
        read_inputs(call(b"1234", Media.OCTETS), Sums())


@pytest.mark.parametrize("shape", [b"(True, 2)", b"(-1, 2)", b"(1.0,)", b"(" + b"1," * 100 + b")", b"2"])
def test_an_npy_file_of_a_shape_that_cannot_be_is_refused(shape: bytes) -> None:
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + b", }\n"
    with pytest.raises(InvalidError, match="no npy file"):
        npy.read(b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + bytes(8))


def test_too_many_rows_are_too_large() -> None:
    body = npy.write(np.zeros((MAX_ROWS + 1, 2)))
    with pytest.raises(TooLargeError, match="'x'"):
        read_inputs(call(body, Media.NPY), Sums())


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_no_value_at_all_passes_unless_it_is_two_finite_numbers(data: Any) -> None:
    try:
        found = read_inputs(call(json.dumps({"inputs": data}).encode()), Sums())["x"]
    except InvalidError:
        return
    assert found.shape[1:] == (2,) and len(found) and np.isfinite(found).all()
    given = np.array(data, dtype=np.float32)
    assert np.array_equal(found, given.reshape(found.shape))


@pytest.mark.parametrize("data", [[[1, True]], [[False, 2.5]], [[1.0, 2.0], [True, 1]]])
def test_truth_values_among_numbers_are_none(data: Any) -> None:
    for asked in (call({"inputs": data}), call(msgpack.packb({"inputs": data}), Media.MSGPACK)):
        with pytest.raises(InvalidError, match=r"true or false|bool"):
            read_inputs(asked, Sums())
