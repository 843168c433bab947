"""A service's handlers asked with tensors, over REST and gRPC, with Triton's clients."""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.server.serving.house import House, open_service, rest_client, wait_until

http = pytest.importorskip("tritonclient.http")
rpc = pytest.importorskip("tritonclient.grpc")
WAIT_S = 30


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with open_service("tensors.py:Tensors") as house:
        yield house


def place_of(house: House) -> str:
    host, port = house.address
    return f"{host}:{port}"


def infer(house: House, of: Any, name: str, /, **arrays: tuple[str, Any]) -> Any:
    """The answer of a handler; each array with its datatype."""
    asked = []
    for parameter, (datatype, array) in arrays.items():
        tensor = of.InferInput(parameter, list(array.shape), datatype)
        tensor.set_data_from_numpy(array)
        asked.append(tensor)
    with rest_client(house) if of is http else rpc.InferenceServerClient(place_of(house)) as client:
        return client.infer(name, asked)


def texts(*values: str) -> tuple[str, Any]:
    return "BYTES", np.array([value.encode() for value in values], dtype=object)


def numbers(values: Any, datatype: str = "FP64", dtype: Any = np.float64) -> tuple[str, Any]:
    return datatype, np.array(values, dtype=dtype)


def wording(array: Any) -> list[str]:
    return [one.decode() for one in array.tolist()]


@pytest.fixture(params=[http, rpc], ids=["rest", "grpc"])
def of(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_the_documentation_shows_them_beside_the_handlers_with_examples_that_are_answered(house: House) -> None:
    document = house.ask("GET", "/openapi.json")[1]
    models = house.ask("GET", "/")[1]["models"]
    assert models
    for place in models:
        assert "get" in document["paths"][place]
        infer = document["paths"][f"{place}/infer"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        status, answer, _ = house.ask("POST", f"{place}/infer", json.dumps(infer["examples"][0]).encode())
        assert status in (200, 422), answer
        assert "has no input" not in str(answer) and "is missing" not in str(answer)


def test_handlers_tell_of_themselves_as_models(house: House) -> None:
    with rest_client(house) as client:
        names = [one["name"] for one in client.get_model_repository_index()]
        embed, stats = client.get_model_metadata("embed"), client.get_model_metadata("stats")
        scale = client.get_model_metadata("scale")
        assert not client.is_model_ready("untyped")
    assert names == ["scale", "tiny", "shape", "greet", "stats", "turned", "mixed", "embed"]
    assert embed["inputs"][0] == {"name": "text", "datatype": "BYTES", "shape": [-1]}
    assert scale["inputs"][0] == {"name": "x", "datatype": "FP32", "shape": [-1]}
    assert stats["inputs"] == [{"name": "values", "datatype": "FP64", "shape": [-1]}]
    assert stats["outputs"] == [
        {"name": "mean", "datatype": "FP64", "shape": [1]},
        {"name": "sorted", "datatype": "FP64", "shape": [-1]},
        {"name": "label", "datatype": "BYTES", "shape": [1]},
    ]
    assert "/v2/models/embed" in house.ask()[1]["models"]


def test_arrays_texts_numbers_and_bytes_reach_a_handler(house: House, of: Any) -> None:
    grid = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(infer(house, of, "scale", x=("FP32", grid)).as_numpy("output"), grid * 2)
    tripled = infer(house, of, "scale", x=("FP32", grid), by=numbers([3.0]))
    assert tripled.as_numpy("output").tolist() == (grid * 3).tolist()
    greeted = infer(house, of, "greet", name=texts("Ada"), times=numbers([2], "INT32", np.int32))
    assert wording(greeted.as_numpy("output")) == ["Hello Ada Hello Ada"]
    loud = infer(house, of, "greet", name=texts("Zoë"), loud=numbers([True], "BOOL", np.bool_))
    assert wording(loud.as_numpy("output")) == ["HELLO ZOË"]
    raw = ("BYTES", np.array([b"\x00\xff1\x00"], dtype=object))
    assert infer(house, of, "turned", data=raw).as_numpy("output").tolist() == [b"\x001\xff\x00"]
    shaped = infer(house, of, "shape", x=numbers([[[1]], [[2]]], "INT16", np.int16))
    assert shaped.as_numpy("shape").tolist() == [2, 1, 1]
    assert wording(shaped.as_numpy("dtype")) == ["int16"]


def test_what_a_handler_returns_becomes_outputs(house: House, of: Any) -> None:
    answer = infer(house, of, "stats", values=numbers([3.0, 1.0, 2.0]))
    assert answer.as_numpy("mean").tolist() == [2.0]
    assert answer.as_numpy("sorted").tolist() == [1.0, 2.0, 3.0]
    assert wording(answer.as_numpy("label")) == ["some"]
    mixed = infer(house, of, "mixed", grid=numbers([[1, 2], [3, 4]], "INT64", np.int64)).as_numpy("output")
    assert json.loads(wording(mixed)[0]) == [{"rows": 2}, [1], None]


def test_the_rows_of_a_request_are_what_plain_requests_are(house: House, of: Any) -> None:
    words = [f"w{'o' * n}" for n in range(10)]
    answer = infer(house, of, "embed", text=texts(*words), extra=numbers(range(10)))
    assert answer.as_numpy("length").tolist() == [len(word) for word in words]
    assert answer.as_numpy("vector").tolist() == [[len(word), n] for n, word in enumerate(words)]
    assert max(answer.as_numpy("together").tolist()) == 4  # no call is given more than it takes
    single = infer(house, of, "embed", text=("BYTES", texts("one")[1].reshape(1, 1)))
    assert single.as_numpy("vector").tolist() == [[3.0, 0.0]]


@pytest.mark.parametrize(
    ("name", "given", "word"),
    [
        ("greet", {"nom": texts("a")}, "'nom'"),
        ("greet", {"times": numbers([1], "INT64", np.int64)}, "name: is missing"),
        ("greet", {"name": texts("a", "b")}, "one value"),
        ("greet", {"name": numbers([1], "INT64", np.int64)}, "not BYTES"),
        ("greet", {"name": ("BYTES", np.array([b"\xff"], dtype=object))}, "no UTF-8"),
        ("greet", {"name": texts("a"), "times": numbers([1.5])}, "not INT64"),
        ("greet", {"name": texts("a"), "loud": numbers([1], "INT64", np.int64)}, "not BOOL"),
        ("stats", {"values": numbers([[1.0]])}, "1 axes"),
        ("mixed", {"grid": numbers([1], "INT64", np.int64)}, "2 axes"),
        ("embed", {"text": texts()}, "no rows"),
        ("embed", {"text": texts("a"), "extra": numbers([1, 2])}, "different numbers"),
        ("scale", {"x": texts("a")}, "not FP32"),
        ("shape", {"x": texts("a")}, "not numbers"),
        ("scale", {"x": numbers([1e300])}, "'x' should be an array of float32: it holds a value that is too large"),
        ("tiny", {"x": numbers([300], "INT64", np.int64)}, "'x' should be an array of int8: it holds a value"),
        ("untyped", {"x": texts("a")}, "no model 'untyped'"),
    ],
)
def test_what_does_not_fit_is_refused(house: House, of: Any, name: str, given: dict[str, Any], word: str) -> None:
    with pytest.raises(of.InferenceServerException) as told:
        infer(house, of, name, **given)
    assert word in str(told.value)
    wanted = {"rest": ("400", "404"), "grpc": ("StatusCode.INVALID_ARGUMENT", "StatusCode.NOT_FOUND")}
    assert told.value.status() in wanted["rest" if of is http else "grpc"]


def test_what_a_handler_raises_is_told_and_costs_others_nothing(house: House, of: Any) -> None:
    for name, given in (("greet", {"name": texts("")}), ("embed", {"text": texts("a", "bad")})):
        with pytest.raises(of.InferenceServerException) as told:
            infer(house, of, name, **given)
        assert told.value.status() == ("500" if of is http else "StatusCode.INTERNAL")
    assert infer(house, of, "embed", text=texts("good")).as_numpy("length").tolist() == [4]


def twice(house: House, of: Any) -> list[float]:
    """With how many rows each of two was computed; over REST without Triton's client, which is for one thread."""
    if of is rpc:
        found: list[float] = infer(house, rpc, "double", x=numbers([3.0, 4.0])).as_numpy("output")[:, 1].tolist()
        return found
    asked = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [2], "data": [3.0, 4.0]}]}
    path, body = "/v2/models/double/infer", json.dumps(asked).encode()
    status, answer, _ = house.ask("POST", path, body, content_type="application/json")
    assert (status, answer["outputs"][0]["shape"]) == (200, [2, 2])
    return list(answer["outputs"][0]["data"][1::2])


def test_the_only_model_answers_to_the_endpoints_name_and_batches_with_plain_requests(of: Any) -> None:
    with open_service("tensors.py:Only", deadline_ms=60_000) as house:
        assert infer(house, of, "double", x=numbers([1.0])).as_numpy("output").tolist() == [[2.0, 1.0]]
        assert infer(house, of, "shop", x=numbers([2.0])).as_numpy("output").tolist() == [[4.0, 1.0]]

        def ask_both() -> list[float]:
            """With how many rows each was computed of a plain request and one of tensors, by a worker held up."""
            house.processes["1"].send_signal(signal.SIGSTOP)
            with ThreadPoolExecutor(2) as pool:
                body = json.dumps({"x": 1.0}).encode()
                plain = pool.submit(house.ask, "POST", "/double", body, content_type="application/json")
                tensors = pool.submit(twice, house, of)
                held = b"lepton_requests_held 2"
                wait_until(lambda: held in house.ask("GET", "/metrics")[1], "the worker has both", WAIT_S)
                house.processes["1"].send_signal(signal.SIGCONT)
                status, answer, _ = plain.result()
                assert (status, answer[0]) == (200, 2.0)
                return [answer[1], *tensors.result()]

        wait_until(lambda: ask_both() == [3.0, 3.0, 3.0], "all three rows are one batch", WAIT_S)


def test_coroutines_and_threads_answer_tensors_and_a_cancelled_call_is_cancelled() -> None:
    with open_service("tensors.py:Mixed", deadline_ms=60_000) as house:
        assert infer(house, rpc, "wait", seconds=numbers([0.01])).as_numpy("output").tolist() == [0.01]
        assert (
            "lepton-call"
            in wording(infer(house, http, "thread", x=numbers([1], "INT64", np.int64)).as_numpy("output"))[0]
        )
        with rpc.InferenceServerClient(place_of(house)) as client:
            tensor = rpc.InferInput("seconds", [1], "FP64")
            tensor.set_data_from_numpy(np.array([50.0]))
            call = client.async_infer("wait", [tensor], lambda result, error: None)
            held = b"lepton_requests_held 1"
            wait_until(lambda: held in house.ask("GET", "/metrics")[1], "the front has it", WAIT_S)
            wait_until(lambda: house.ask("GET", "/state")[1] == [2, 0], "its handler has begun", WAIT_S)
            call.cancel()
            wait_until(lambda: house.ask("GET", "/state")[1] == [2, 1], "it is cancelled in the worker", WAIT_S)


def test_a_service_without_such_handlers_does_not_speak_the_protocol() -> None:
    with open_service("tensors.py:Plain") as house:
        assert house.ask("GET", "/v2")[0] == 404
        with rpc.InferenceServerClient(place_of(house)) as client:
            assert client.is_server_ready()
            with pytest.raises(rpc.InferenceServerException) as told:
                client.get_server_metadata()
            assert told.value.status() == "StatusCode.UNIMPLEMENTED"
