"""The Open Inference Protocol over REST with Triton's own client: a model version, and ONNX files of any form."""

import json
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.server.serving.house import House, Npy, open_house, open_service, rest_client, wait_until

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


@pytest.mark.parametrize(
    ("parameters", "own", "is_raw"),
    [
        ({"binary_data_output": True}, False, False),
        ({"binary_data_output": True}, None, True),
        ({"binary_data_output": False}, True, True),
        ({}, None, False),
    ],
)
def test_what_an_output_says_of_itself_goes_before_what_is_said_of_all(
    version: House, parameters: Any, own: bool | None, is_raw: bool
) -> None:
    wanted = {"name": "logits", "parameters": {} if own is None else {"binary_data": own}}
    body = json.dumps({"inputs": [X], "outputs": [wanted], "parameters": parameters}).encode()
    status, _, headers = version.ask("POST", "/v2/models/tiny/infer", body, content_type="application/json")
    assert (status, "inference-header-content-length" in headers) == (200, is_raw)


def test_an_output_in_json_among_raw_ones_reaches_tritons_client(sums: House) -> None:
    a, b = np.ones((1, 3), np.float32), np.ones((1, 3), np.int64)
    label = np.array([b"one"], dtype=object)
    with rest_client(sums) as client:
        asked = [tensor("a", a, "FP32", is_binary=True), tensor("b", b, "INT64", is_binary=True)]
        asked.append(tensor("label", label, "BYTES", is_binary=True))
        wanted = [
            triton.InferRequestedOutput("sum", binary_data=False),
            triton.InferRequestedOutput("same", binary_data=True),
        ]
        answer = client.infer("sums", asked, outputs=wanted)
    assert "data" in answer.get_output("sum") and "data" not in answer.get_output("same")
    assert answer.as_numpy("sum").tolist() == [[2.0, 2.0, 2.0]]


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"inputs": [X, X]}, "input 'x' is there twice"),
        ({"outputs": [{"name": "logits"}, {"name": "logits"}]}, "output 'logits' is there twice"),
        ({"parameters": {"binary_data_output": "yes"}}, "true or false"),
        ({"outputs": [{"name": "logits", "parameters": {"binary_data": 1}}]}, "true or false"),
    ],
)
def test_what_is_named_twice_or_is_no_truth_is_refused(version: House, more: Any, word: str) -> None:
    body = json.dumps({"inputs": [X], **more}).encode()
    status, answer, _ = version.ask("POST", "/v2/models/tiny/infer", body, content_type="application/json")
    assert (status, word in answer["error"]) == (400, True), answer


def test_a_model_that_is_asked_by_the_endpoints_name_tells_of_itself_by_that_name(version: House) -> None:
    with rest_client(version) as client:
        for name in ("digits", "tiny"):
            assert client.get_model_metadata(name)["name"] == name
            assert client.get_model_config(name)["name"] == name
            told = client.infer(name, [tensor("x", np.ones((1, 2, 2), np.uint8), "UINT8", is_binary=True)])
            assert told.get_response()["model_name"] == name
            assert client.get_inference_statistics(name)["model_stats"][0]["name"] == name


def test_what_the_front_refuses_has_the_protocols_form_there(version: House) -> None:
    for method, path, status in (
        ("GET", "/v2/nothing", 404),
        ("DELETE", "/v2/models/tiny", 405),
        ("POST", "/v2/models/tiny/stats", 405),
    ):
        found, answer, _ = version.ask(method, path, b"{}")
        assert (found, bool(answer["error"])) == (status, True), answer
    assert "error" not in version.ask("GET", "/nothing")[1]
    with version.wire() as wire:
        head = b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: a\r\ncontent-length: 99999999\r\n\r\n"
        status, body, _ = wire.ask(head)
    assert status == 413 and "larger" in json.loads(body)["error"]


def test_so_have_its_refusals_for_want_of_a_token_of_rest_or_of_a_worker() -> None:
    with open_house(env={"LEPTON_URL": "http://127.0.0.1:1"}) as house:
        assert house.ask("GET", "/v2/models/tiny")[1]["error"].startswith("This endpoint needs a token")
        status, answer, _ = house.ask("GET", "/v2/models/tiny", authorization="Bearer x")
        assert (status, "cannot be checked" in answer["error"]) == (503, True)
    with open_house(deadline_ms=300, quota_per_day=2) as house:
        assert house.address
        house.processes["1"].kill()
        wait_until(lambda: house.ask("GET", "/v2/health/ready")[0] == 503, "the worker is missed", 30)
        assert "No worker" in house.ask("GET", "/v2/health/ready")[1]["error"]
        for _ in range(2):
            status, answer, _ = house.ask("GET", "/v2/models/tiny")
            assert (status, "No worker" in answer["error"]) == (503, True), answer
        status, answer, _ = house.ask("GET", "/v2/models/tiny")
        assert (status, answer["code"], bool(answer["error"])) == (429, "quota", True)
        with rest_client(house) as client, pytest.raises(triton.InferenceServerException, match="today"):
            client.get_model_metadata("tiny")


# binary bodies of /predict


ROWS = np.array([[[0, 1], [5, 2]], [[9, 0], [0, 0]]], dtype=np.uint8)


def predict(house: House, body: bytes, kind: str, accept: str = "*/*") -> tuple[str, Any]:
    status, answer, headers = house.ask("POST", "/predict", body, content_type=kind, accept=accept)
    assert status == 200, answer
    return headers["content-type"], answer


def test_a_model_version_reads_and_writes_every_kind_of_body(version: House) -> None:
    plain = version.predict(ROWS.tolist())[1]
    scores = np.array([row["scores"] for row in plain["outputs"]], np.float32)
    for inside in (ROWS.tolist(), ROWS.tobytes(), Npy.dump(ROWS)):
        kind, answer = predict(version, msgpack.packb({"inputs": inside}), "application/msgpack")
        assert (kind, msgpack.unpackb(answer)) == ("application/msgpack", plain)
    for body, kind in ((Npy.dump(ROWS), "application/x-npy"), (ROWS.tobytes(), "application/octet-stream")):
        assert predict(version, body, kind) == ("application/json", plain)
        told, answer = predict(version, body, kind, "application/x-npy")
        assert told == "application/x-npy" and np.array_equal(Npy.load(answer), scores)
        assert predict(version, body, kind, "application/octet-stream")[1] == scores.tobytes()
        assert msgpack.unpackb(predict(version, body, kind, "application/msgpack")[1]) == plain
    for bad in (b"\xc1", msgpack.packb([1]), msgpack.packb({"inputs": b"abc"}), msgpack.packb({1: 2, "inputs": 3})):
        status, answer, _ = version.ask("POST", "/predict", bad, content_type="application/msgpack")
        assert (status, bool(answer["message"])) == (422, True)


def test_an_onnx_file_reads_and_writes_every_kind_of_body(sums: House, tmp_path: Path) -> None:
    a, b = np.array([[1, 2, 3]], np.float32), np.array([[1, 1, 1]], np.int64)
    for first, second in ((a.tolist(), b.tolist()), (a.tobytes(), b.tobytes()), (Npy.dump(a), b.tolist())):
        body = msgpack.packb({"inputs": {"a": first, "b": second, "label": ["x"]}})
        kind, answer = predict(sums, body, "application/msgpack")
        assert (kind, msgpack.unpackb(answer)) == (
            "application/msgpack",
            {"outputs": {"sum": [[2, 3, 4]], "same": ["x"]}},
        )
    body = msgpack.packb({"inputs": {"a": b"abc", "b": b.tolist(), "label": ["x"]}})
    status, answer, _ = sums.ask("POST", "/predict", body, content_type="application/msgpack")
    assert (status, "'a' is no array by 3 bytes" in answer["message"]) == (422, True)
    body = json.dumps({"inputs": {"a": a.tolist(), "b": b.tolist(), "label": ["x"]}}).encode()
    assert predict(sums, body, "application/json", "application/x-npy")[0] == "application/json"  # of two outputs
    write_double(tmp_path / "double.onnx")
    with open_service("onnx:double.onnx", code=tmp_path) as house:
        for kind, body in (("x-npy", Npy.dump(a)), ("octet-stream", a.tobytes()), ("json", b'{"inputs":[[1,2,3]]}')):
            kind = f"application/{kind}"
            assert predict(house, body, kind)[1] == {"outputs": {"y": [[2, 4, 6]]}}
            assert Npy.load(predict(house, body, kind, "application/x-npy")[1]).tolist() == [[2, 4, 6]]
            assert predict(house, body, kind, "application/octet-stream")[1] == (a * 2).tobytes()
        bodies = house.ask("GET", "/openapi.json")[1]["paths"]["/predict"]["post"]["requestBody"]["content"]
        assert bodies.keys() >= {f"application/{kind}" for kind in ("json", "x-npy", "octet-stream", "msgpack")}


def write_double(path: Path) -> None:
    """One input, one output: twice as much."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
