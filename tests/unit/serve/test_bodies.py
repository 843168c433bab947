"""A body becomes rows exactly, or an error that says what to send."""

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lepton.core.errors import InvalidError, TooLargeError
from lepton.serve.bodies import MAX_ROWS, answer_bodies, read_rows
from lepton.serve.calls import read_exactly
from lepton.serve.frames import Media
from lepton.serve.model import ModelFileError, ModelForm, softmax


def make_form(dtype: str = "uint8", shape: tuple[int, ...] = (2, 3)) -> ModelForm:
    return ModelForm(
        input_name="x",
        row_shape=shape,
        dtype=dtype,
        output_name="y",
        is_logits=True,
        labels=("a", "b"),
        task="classify",
    )


def body(inputs: Any) -> bytes:
    return json.dumps({"inputs": inputs}).encode()


@given(rows=arrays(np.uint8, st.tuples(st.integers(1, 4), st.just(2), st.just(3))))
def test_bytes_arrive_exactly_however_they_are_sent(rows: np.ndarray) -> None:
    form = make_form()
    file = io.BytesIO()
    np.save(file, np.asfortranarray(rows))
    for data, media in (
        (body(rows.tolist()), Media.JSON),
        (body((rows * 1.0).tolist()), Media.JSON),
        (rows.tobytes(), Media.OCTETS),
        (file.getvalue(), Media.NPY),
    ):
        got = read_rows(data, media, form)
        assert got.dtype == np.uint8
        assert (got == rows).all()
        assert got.shape == rows.shape


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int16"])
def test_other_dtypes_and_a_single_row(dtype: str) -> None:
    row = [[1, 2, 3], [4, 5, 6]]
    got = read_rows(body(row), Media.JSON, make_form(dtype))
    assert got.dtype == np.dtype(dtype)
    assert got.tolist() == [row]


BAD = {
    "not json": b"{",
    "nan": b'{"inputs": [[NaN, 1, 1], [1, 1, 1]]}',
    "no inputs": b'{"input": [[1, 1, 1], [1, 1, 1]]}',
    "no object": b"[[1, 1, 1], [1, 1, 1]]",
    "null": body(None),
    "number": body(5),
    "text": body("abcdef"),
    "texts": body([["a", "b", "c"], ["d", "e", "f"]]),
    "object": body({"0": [1, 2, 3], "1": [1, 2, 3]}),
    "empty": body([]),
    "empty rows": body([[], []]),
    "short": body([[1, 2, 3]]),
    "long": body([[1, 2, 3], [1, 2, 3, 4]]),
    "ragged": body([[1, 2, 3], [1, 2]]),
    "too deep": body([[[[1, 2, 3], [1, 2, 3]]]]),
    "nested beyond reason": b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested to the limit": b'{"inputs": ' + b"[" * 900 + b"]" * 900 + b"}",
    "negative": body([[-1, 2, 3], [1, 2, 3]]),
    "over": body([[256, 2, 3], [1, 2, 3]]),
    "huge": body([[10**30, 2, 3], [1, 2, 3]]),
    "fraction": body([[0.5, 2, 3], [1, 2, 3]]),
    "truth": body([[True, False, True], [True, False, True]]),
    "a truth among numbers": body([[1, 2, 3], [1, 2, True]]),
    "one null": body([[None, 2, 3], [1, 2, 3]]),
    "an unknown field": b'{"inputs": [[1, 1, 1], [1, 1, 1]], "parameters": {}}',
    "inputs twice": b'{"inputs": [[1, 1, 1], [1, 1, 1]], "inputs": [[1, 1, 1], [1, 1, 1]]}',
    "not utf-8": b'{"inputs": "\xff"}',
    "nothing": b"",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_json_that_is_no_input_is_refused_with_a_way_out(data: bytes, dtype: str) -> None:
    if dtype == "float32" and data in (BAD["negative"], BAD["over"], BAD["fraction"], BAD["huge"]):
        assert read_rows(data, Media.JSON, make_form(dtype)).shape == (1, 2, 3)
        return
    with pytest.raises(InvalidError) as caught:
        read_rows(data, Media.JSON, make_form(dtype))
    assert caught.value.fix


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


GOOD_NPY = npy(np.zeros((1, 2, 3), np.uint8))


@pytest.mark.parametrize(
    ("data", "media"),
    [
        (b"", Media.OCTETS),
        (b"1234567", Media.OCTETS),
        (b"abc", Media.NPY),
        (GOOD_NPY[:-1], Media.NPY),
        (GOOD_NPY + b"x", Media.NPY),
        (GOOD_NPY.replace(b"(1, 2, 3)", b"(9**9,3,)"), Media.NPY),
        (GOOD_NPY.replace(b"(1, 2, 3)", b"(-1,2, 3)"), Media.NPY),
        (npy(np.zeros((1, 2, 3), np.float32)), Media.NPY),
        (npy(np.zeros((1, 3, 2), np.uint8)), Media.NPY),
        (npy(np.zeros((0, 2, 3), np.uint8)), Media.NPY),
        (npy(np.array([[[{}]]]), allow_pickle=True), Media.NPY),
        (b"123456", 77),
    ],
)
def test_binary_that_is_no_input_is_refused_with_a_way_out(data: bytes, media: int) -> None:
    with pytest.raises(InvalidError) as caught:
        read_rows(data, media, make_form())
    assert caught.value.fix


def test_a_head_of_numpy_that_was_read_before_means_the_same_again() -> None:
    for rows in (np.arange(6, dtype=np.uint8), np.arange(6, 12, dtype=np.uint8)):
        given = rows.reshape(1, 2, 3)
        for file in (npy(given), npy(np.asfortranarray(given)), npy(given)):
            assert np.array_equal(read_rows(file, Media.NPY, make_form()), given)
    long = b"\x93NUMPY\x01\0\xf6\x01" + GOOD_NPY[10:-7].ljust(501) + b"\n" + bytes(6)
    assert np.array_equal(read_rows(long, Media.NPY, make_form()), np.zeros((1, 2, 3)))


@given(data=st.binary(max_size=80), media=st.sampled_from(list(Media)))
def test_no_body_raises_anything_else(data: bytes, media: int) -> None:
    for tail in (data, GOOD_NPY[: len(data)] + data):
        try:
            read_rows(tail, media, make_form())
        except InvalidError as fault:
            assert fault.message


def test_infinite_floats_and_too_many_rows_are_refused() -> None:
    with pytest.raises(InvalidError, match="finite"):
        read_rows(np.array([np.inf] * 6, np.float32).tobytes(), Media.OCTETS, make_form("float32"))
    with pytest.raises(InvalidError, match="finite"):
        read_rows(body([[1e39, 1, 1], [1, 1, 1]]), Media.JSON, make_form("float32"))
    with pytest.raises(TooLargeError):
        read_rows(bytes(6 * (MAX_ROWS + 1)), Media.OCTETS, make_form())


def test_an_answer_names_the_best_label_and_the_model() -> None:
    scores = softmax(np.array([[0.0, 1.0], [3.0, 1.0]], np.float32))
    both, second = map(json.loads, answer_bodies(scores[[0, 1, 1]], [2, 1], make_form(), b'{"id":"v"}'))
    answer = both
    assert second["outputs"] == both["outputs"][1:]
    assert [row["label"] for row in answer["outputs"]] == ["b", "a"]
    assert abs(answer["outputs"][0]["score"] - 0.731059) < 1e-5
    assert abs(sum(answer["outputs"][1]["scores"]) - 1) < 1e-5
    assert answer["model"] == {"id": "v"}


GOOD_FORM: dict[str, Any] = {
    "input": {"name": "x", "shape": [None, 28, 28], "dtype": "uint8"},
    "output": {"name": "y", "shape": [None, 2], "kind": "probabilities"},
    "labels": ["a", "b"],
    "task": "classify",
}


@pytest.mark.parametrize(
    "change",
    [
        {"input": None},
        {"output": {}},
        {"output": {"name": "y", "kind": "magic"}},
        {"input": {"name": "x", "shape": [], "dtype": "uint8"}},
        {"input": {"name": "x", "shape": [1, 28], "dtype": "uint8"}},
        {"input": {"name": "x", "shape": [None, "n"], "dtype": "uint8"}},
        {"input": {"name": "x", "shape": [None, 28], "dtype": "object"}},
    ],
)
def test_a_model_file_that_cannot_be_served_is_refused(change: dict[str, Any]) -> None:
    assert not ModelForm.from_json(GOOD_FORM).is_logits
    with pytest.raises(ModelFileError):
        ModelForm.from_json({**GOOD_FORM, **change})


def test_what_is_too_deep_for_exact_numbers_is_read_all_the_same() -> None:
    deep = read_exactly(b"[" * 1020 + b"1" * 30 + b"]" * 1020)
    for _ in range(1020):
        (deep,) = deep
    assert deep in (int("1" * 30), float("1" * 30))
    assert read_exactly(b'["' + b"1" * 30 + b'", 0.' + b"3" * 30 + b"]") == ["1" * 30, 1 / 3]
