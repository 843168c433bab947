"""The Open Inference Protocol over REST with Triton's own client: a model version, and ONNX files of any form."""

import json
from typing import Any

import numpy as np
import pytest

from tests.server.serving.house import House, rest_client

triton = pytest.importorskip("tritonclient.http")


def tensor(name: str, array: np.ndarray[Any, Any], datatype: str, *, is_binary: bool) -> Any:
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=is_binary)
    return made


def test_the_server_and_its_model_tell_of_themselves(version: House) -> None:
    with rest_client(version) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "model_repository", "statistics"]
        assert client.is_model_ready("tiny")
        assert client.is_model_ready("tiny", "3")
        assert not client.is_model_ready("tiny", "4")
        assert not client.is_model_ready("other")
        about = client.get_model_metadata("tiny")
    assert about["inputs"] == [{"name": "x", "datatype": "UINT8", "shape": [-1, 2, 2]}]
    assert about["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 4]}]


@pytest.mark.parametrize("is_binary", [True, False])
def test_a_model_version_answers_as_predict_does(version: House, is_binary: bool) -> None:
    rows = np.array([[[0, 1], [5, 2]], [[9, 0], [0, 0]]], dtype=np.uint8)
    with rest_client(version) as client:
        wanted = [triton.InferRequestedOutput("logits", binary_data=is_binary)]
        asked = [tensor("x", rows, "UINT8", is_binary=is_binary)]
        answer = client.infer("tiny", asked, outputs=wanted, request_id="r-1")
    assert answer.get_response()["id"] == "r-1"
    plain = version.predict(rows.tolist())[1]["outputs"]
    assert np.allclose(answer.as_numpy("logits"), [row["scores"] for row in plain], atol=1e-6)


@pytest.mark.parametrize("is_binary", [True, False])
def test_several_tensors_of_several_types_pass_both_ways(sums: House, is_binary: bool) -> None:
    a = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)
    b = np.array([[1, 1, 1], [-1, 0, 1 << 20]], dtype=np.int64)
    label = np.array([b"one", "zw\u00f6lf".encode()], dtype=object)
    with rest_client(sums) as client:
        asked = [tensor("a", a, "FP32", is_binary=is_binary), tensor("b", b, "INT64", is_binary=is_binary)]
        asked.append(tensor("label", label, "BYTES", is_binary=True))
        answer = client.infer("sums", asked)
    assert np.array_equal(answer.as_numpy("sum"), a + b.astype(np.float32))
    assert answer.as_numpy("same").tolist() == label.tolist()
    body = {"inputs": {"a": a.tolist(), "b": b.tolist(), "label": ["x", "y"]}}
    status, found, _ = sums.ask("POST", "/predict", json.dumps(body).encode(), content_type="application/json")
    assert (status, found["outputs"]["sum"], found["outputs"]["same"]) == (200, (a + b).tolist(), ["x", "y"])


def test_a_model_versions_documentation_has_an_example_that_is_answered(version: House) -> None:
    assert version.ask("GET", "/docs")[0] == 200
    predict = version.ask("GET", "/openapi.json")[1]["paths"]["/predict"]["post"]
    inputs = predict["requestBody"]["content"]["application/json"]["schema"]["properties"]["inputs"]
    assert version.predict(inputs["examples"][0])[0] == 200


X = {"name": "x", "datatype": "UINT8", "shape": [1, 2, 2], "data": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("path", "body", "status", "word"),
    [
        ("/v2/models/tiny/infer", {"inputs": [{**X, "name": "y"}]}, 400, "'y'"),
        ("/v2/models/tiny/infer", {"inputs": []}, 400, "'x' is missing"),
        ("/v2/models/tiny/infer", {"inputs": [{**X, "datatype": "FP32"}]}, 400, "FP32"),
        ("/v2/models/tiny/infer", {"inputs": [{**X, "datatype": "COMPLEX"}]}, 400, "COMPLEX"),
        ("/v2/models/tiny/infer", {"inputs": [{**X, "shape": [2, 2]}]}, 400, "shape"),
        ("/v2/models/tiny/infer", {"inputs": [{**X, "shape": [1, 2, 3]}]}, 400, "do not fill"),
        ("/v2/models/tiny/infer", {"inputs": [{**X, "shape": [-1, 2, 2]}]}, 400, "no tensor"),
        ("/v2/models/tiny/infer", {"inputs": [{**X, "data": [1, 2, 3, 256]}]}, 400, "UINT8"),
        ("/v2/models/tiny/infer", {"inputs": [X], "outputs": [{"name": "z"}]}, 400, "'z'"),
        ("/v2/models/tiny/infer", {"input": [X]}, 400, "inputs"),
        ("/v2/models/tiny/infer", [1], 400, "cannot be read"),
        ("/v2/models/none/infer", {"inputs": [X]}, 404, "none"),
        ("/v2/models/tiny/versions/9/infer", {"inputs": [X]}, 404, "version"),
        ("/v2/models/tiny/train", {"inputs": [X]}, 404, "not known"),
    ],
)
def test_what_does_not_fit_is_refused_in_the_protocols_form(
    version: House, path: str, body: Any, status: int, word: str
) -> None:
    found, answer, _ = version.ask("POST", path, json.dumps(body).encode(), content_type="application/json")
    assert (found, word in answer["error"]) == (status, True), answer


@pytest.mark.parametrize("head", ["0", "9999", "-1", "x"])
def test_a_false_length_of_the_json_is_refused(version: House, head: str) -> None:
    headers = {"content_type": "application/octet-stream", "Inference_Header_Content_Length": head}
    status, answer, _ = version.ask("POST", "/v2/models/tiny/infer", json.dumps({"inputs": [X]}).encode(), **headers)
    assert status == 400
    assert answer["error"]
