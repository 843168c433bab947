"""Models that are served without code, each kind through a real front: asked in every way, and with bad input."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton.serve.protocols.inference.tensors import DATATYPES
from tests.server.serving import files
from tests.server.serving.house import House, Npy, open_service, wait_until

if not all(map(find_spec, ("torch", "safetensors", "skops", "keras", "transformers"))):
    pytest.skip("what serves these models is not installed", allow_module_level=True)
pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries that make the files
X4 = np.array([[1, 2, 3, 4], [0.5, -1, 0, 2]])
TEXTS = ["The cat sleeps.", "a good dog"]


@dataclass(frozen=True)
class Case:
    """One kind of model, and what its library says of the same rows."""

    entry: str
    inputs: dict[str, Any]
    """Two rows of each."""
    make: Callable[[Path], Callable[[], dict[str, Any]]]
    """Writes the files; what it returns computes the outputs."""
    bad: tuple[tuple[Any, str], ...]
    """Inputs that do not fit, and a word of the refusal."""
    details: tuple[tuple[str, Any], ...] = ()
    npy: str = "<f4"


def torchscript(folder: Path) -> Callable[[], dict[str, Any]]:
    torch, net = files.import_module("torch"), files.write_torch(folder)
    return lambda: {"output": net(torch.tensor(X4, dtype=torch.float32)).detach().numpy()}


def weights(folder: Path) -> Callable[[], dict[str, Any]]:
    torch, line = files.import_module("torch"), files.write_torch(folder)[0]
    return lambda: {
        "scores": line(torch.tensor(X4 * 2, dtype=torch.float32)).detach().numpy(),
        "total": X4.sum(1),
    }


def estimator(folder: Path) -> Callable[[], dict[str, Any]]:
    flowers = files.write_sklearn(folder)
    return lambda: {"prediction": flowers.predict(X4), "probabilities": flowers.predict_proba(X4)}


def layers(folder: Path) -> Callable[[], dict[str, Any]]:
    model = files.write_keras(folder)

    def compute() -> dict[str, Any]:
        kinds, size = model.predict([X4, X4[:, :2]], verbose=0)
        return {"kinds": kinds, "size": size}

    return compute


def texts(folder: Path) -> Callable[[], dict[str, Any]]:
    names = {0: "bad", 1: "so so", 2: "good"}
    model = files.write_transformer(folder / "mood", "BertForSequenceClassification", id2label=names)
    transformers = files.import_module("transformers")

    def compute() -> dict[str, Any]:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "mood")
        scores = model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits.softmax(-1).detach().numpy()
        best = scores.argmax(1)
        return {"label": [names[place] for place in best], "score": scores.max(1), "scores": scores}

    return compute


NUMBERS = (
    ([[1, 2, 3]], "shape [1, 3]"),
    ([[1, 2, 3, 4, 5]], "shape [1, 5]"),
    ([[1, 2, 3, "4"]], "values"),
    ([[1, 2, 3, None]], "values"),
    ([[1, 2, 3, True], [1, [2], 3, 4]], "no array"),
    ([[1, 2, 3, 1e39]], "too large"),
    ([], "shape"),
    ({"wrong": [[1, 2, 3, 4]]}, "'wrong'"),
    ({}, "missing"),
)
WIDE = tuple(pair for pair in NUMBERS if pair[1] != "too large")
CASES = {
    "torchscript": Case("torchscript:net.pt", {"input": X4.tolist()}, torchscript, NUMBERS),
    "safetensors": Case("safetensors:net.safetensors?class=net.py:Net", {"x": X4.tolist()}, weights, NUMBERS),
    "skops": Case(
        "skops:flowers.skops", {"x": X4.tolist()}, estimator, WIDE, (("classes", ["rose", "tulip"]),), npy="<f8"
    ),
    "keras": Case(
        "keras:two.keras",
        {"a": X4.tolist(), "b": X4[:, :2].tolist()},
        layers,
        (
            ([[1, 2, 3, 4]], "not named"),
            ({"a": [[1, 2, 3, 4]]}, "'b' is missing"),
            ({"a": [[1, 2, 3, 4]], "b": [[1, 2], [3, 4]]}, "numbers of rows"),
            ({"a": [[1, 2, 3, 4]], "b": [[1, 2, 3]]}, "'b' has the shape"),
            ({"a": [["x", 2, 3, 4]], "b": [[1, 2]]}, "'a' holds"),
        ),
    ),
    "hf": Case(
        "hf:mood",
        {"text": TEXTS},
        texts,
        (([1], "'text' holds"), ([], "no rows"), ([["a", "b"]], "shape"), ({"txt": ["a"]}, "'txt'"), (None, "'text'")),
        (("task", "text-classification"), ("labels", ["bad", "so so", "good"])),
        npy="U",
    ),
}


@dataclass(frozen=True)
class Served:
    """An endpoint of one case."""

    case: Case
    house: House
    compute: Callable[[], dict[str, Any]]

    def predict(self, body: Any) -> tuple[int, Any]:
        data = json.dumps(body).encode()
        return self.house.ask("POST", "/predict", data, content_type="application/json")[:2]


@pytest.fixture(scope="module", params=CASES)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    case, folder = CASES[request.param], tmp_path_factory.mktemp(request.param)
    compute = case.make(folder)
    with open_service(case.entry, code=folder, is_waiting=False, deadline_ms=60_000) as house:
        wait_until(lambda: house.said("ready"), "it is loaded", 120)
        yield Served(case, house, compute)


def alike(found: Any, wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        if np.asarray(array).dtype.kind in "OU":
            assert list(found[name]) == list(array)
        else:
            np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-6)


def test_it_answers_as_its_library_does_in_json(served: Served) -> None:
    status, answer = served.predict({"inputs": served.case.inputs})
    assert status == 200, answer
    alike(answer["outputs"], served.compute())
    one = {name: rows[:1] for name, rows in served.case.inputs.items()}
    assert served.predict({"inputs": one})[1]["outputs"].keys() == answer["outputs"].keys()


def test_a_lone_input_needs_no_name_a_lone_row_no_list_and_npy_is_read(served: Served) -> None:
    if len(served.case.inputs) > 1:
        status, answer, _ = served.house.ask("POST", "/predict", Npy.dump(X4), content_type="application/x-npy")
        assert (status, "holds one" in answer["message"]) == (422, True)
        return
    rows = next(iter(served.case.inputs.values()))
    outputs = served.predict({"inputs": rows})[1]["outputs"]
    alike(outputs, served.compute())
    first = served.predict({"inputs": rows[0]})[1]["outputs"]
    alike(first, {name: values[:1] for name, values in outputs.items()})
    body = Npy.dump(np.array(rows, dtype=served.case.npy))
    status, answer, _ = served.house.ask("POST", "/predict", body, content_type="application/x-npy")
    assert status == 200, answer
    alike(answer["outputs"], outputs)


def test_what_does_not_fit_is_refused_by_name(served: Served) -> None:
    for inputs, word in served.case.bad:
        status, answer = served.predict({"inputs": inputs})
        assert status == 422, (inputs, answer)
        assert word in answer["message"], (word, answer)
        assert answer["fix"]
    for body, word in (({"input": [1]}, "inputs"), ({"inputs": served.case.inputs, "x": 1}, "'x'"), ([], "inputs")):
        status, answer = served.predict(body)
        assert (status, word in answer["message"]) == (422, True), answer
    status, answer, _ = served.house.ask("POST", "/predict", b'{"inputs": NaN}', content_type="application/json")
    assert (status, "no JSON" in answer["message"]) == (422, True)


def test_nan_in_an_array_is_refused_by_name(served: Served) -> None:
    if served.case.npy == "U" or len(served.case.inputs) > 1:
        pytest.skip("its input is no single array of numbers")
    for value in (np.nan, np.inf):
        spoilt = X4.astype(served.case.npy)
        spoilt[0, 0] = value
        status, answer, _ = served.house.ask("POST", "/predict", Npy.dump(spoilt), content_type="application/x-npy")
        assert status == 422
        assert f"{next(iter(served.case.inputs))!r} holds a value that is not a finite number" in answer["message"]


def test_nan_is_refused_in_every_form_of_the_protocol(served: Served) -> None:
    if served.case.npy == "U" or len(served.case.inputs) > 1:
        pytest.skip("its input is no single array of numbers")
    about = served.house.ask("GET", "/")[1]
    (told,) = about["inputs"]
    for value in (np.nan, np.inf):
        spoilt = X4.astype(served.case.npy)
        spoilt[0, 0] = value
        tensor = {**told, "shape": list(spoilt.shape)}
        texts = json.dumps({"inputs": [{**tensor, "data": spoilt.ravel().tolist()}]}).encode()
        head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": spoilt.nbytes}}]}).encode()
        large = texts.replace(b"NaN", b"1e999").replace(b"Infinity", b"1e999")
        binary = {"Inference_Header_Content_Length": str(len(head))}
        for body, more in ((texts, {}), (large, {}), (head + spoilt.tobytes(), binary)):
            status, answer, _ = served.house.ask("POST", f"{about['inference']}/infer", body, **more)
            assert 400 <= status < 500, answer
        assert "finite" in str(answer)


def test_the_open_inference_protocol_says_the_same(served: Served) -> None:
    about = served.house.ask("GET", "/")[1]
    told = served.house.ask("GET", about["inference"])[1]
    assert (told["inputs"], told["outputs"]) == (about["inputs"], about["outputs"])
    inputs = [
        {**tensor, "shape": np.shape(served.case.inputs[tensor["name"]]), "data": served.case.inputs[tensor["name"]]}
        for tensor in about["inputs"]
    ]
    body = json.dumps({"inputs": inputs}).encode()
    status, answer, _ = served.house.ask("POST", f"{about['inference']}/infer", body, content_type="application/json")
    assert status == 200, answer
    shaped = {one["name"]: np.reshape(one["data"], one["shape"]) for one in answer["outputs"]}
    alike(shaped, served.compute())
    assert [(one["name"], one["datatype"]) for one in answer["outputs"]] == [
        (one["name"], one["datatype"]) for one in about["outputs"]
    ]


def test_tritons_client_gets_the_same_over_grpc_by_the_name_of_the_endpoint_too(served: Served) -> None:
    triton = pytest.importorskip("tritonclient.grpc")
    about = served.house.ask("GET", "/")[1]
    inputs = []
    for tensor in about["inputs"]:
        array = np.array(served.case.inputs[tensor["name"]], dtype=DATATYPES[tensor["datatype"]])
        inputs.append(triton.InferInput(tensor["name"], array.shape, tensor["datatype"]))
        inputs[-1].set_data_from_numpy(array)
    host, port = served.house.address
    with triton.InferenceServerClient(f"{host}:{port}") as client:
        for name in (about["model"]["name"], about["endpoint"]):
            answer = client.infer(name, inputs)
            found = {one["name"]: answer.as_numpy(one["name"]) for one in about["outputs"]}
            alike({name: texts_of(array) for name, array in found.items()}, served.compute())


def texts_of(array: Any) -> Any:
    return [one.decode() for one in array] if array.dtype == object else array


def test_it_tells_of_itself_and_its_documents_example_is_answered(served: Served) -> None:
    about = served.house.ask("GET", "/")[1]
    assert [tensor["name"] for tensor in about["inputs"]] == list(served.case.inputs)
    assert [tensor["name"] for tensor in about["outputs"]] == list(served.compute())
    assert {name: about["model"][name] for name, _ in served.case.details} == dict(served.case.details)
    document = served.house.ask("GET", "/openapi.json")[1]
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    example = body["properties"]["inputs"]["examples"][0]
    status, answer = served.predict({"inputs": example})
    assert status == 200, answer
    infer = document["paths"][f"{about['inference']}/infer"]["post"]["requestBody"]["content"]["application/json"]
    body = json.dumps(infer["schema"]["examples"][0]).encode()
    status, answer, _ = served.house.ask("POST", f"{about['inference']}/infer", body, content_type="application/json")
    assert status == 200, answer
    status, page, headers = served.house.ask("GET", "/docs")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"/predict" in page


@pytest.mark.parametrize("has_zipmap", [True, False])
def test_scikit_learn_through_onnx_gives_labels_and_probabilities(tmp_path: Path, has_zipmap: bool) -> None:
    flowers = files.write_exported(tmp_path / "flowers.onnx", has_zipmap=has_zipmap)
    label, scores = ("output_label", "output_probability") if has_zipmap else ("label", "probabilities")
    with open_service("onnx:flowers.onnx", code=tmp_path) as house:
        body = json.dumps({"inputs": X4.tolist()}).encode()
        status, answer, _ = house.ask("POST", "/predict", body, content_type="application/json")
        assert status == 200
        alike(answer["outputs"], {label: flowers.predict(X4), scores: flowers.predict_proba(X4)})
        about = house.ask("GET", "/")[1]
        assert [one["name"] for one in about["outputs"]] == [label, scores]
        if has_zipmap:
            assert about["model"]["classes"] == {scores: ["rose", "tulip"]}
