"""Files of models that cannot be served say why, none of them runs code of its own, and each task computes."""

import asyncio
import base64
import io
import json
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton.core.errors import ConfigError, InvalidError, LeptonError
from lepton.serve.calls import Call
from lepton.serve.faults import ModelFileError
from lepton.serve.frames import PREDICT, Media
from lepton.serve.llm.runtime import ContextLengthError
from lepton.serve.loading import open_entry
from tests.server.serving import files

if not all(map(find_spec, ("torch", "safetensors", "skops", "keras", "transformers", "PIL"))):
    pytest.skip("what serves these models is not installed", allow_module_level=True)
pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries that make and read the files


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What opening an entry sets is unset again."""
    for name, value in (("KERAS_BACKEND", "torch"), ("HF_HUB_OFFLINE", "1"), ("TOKENIZERS_PARALLELISM", "false")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    files.write_torch(folder)
    files.write_sklearn(folder)
    files.write_keras(folder)
    files.write_transformer(folder / "plain", "BertModel")
    for name in ("pickled", "bold", "empty"):
        (folder / name).mkdir()
    for file in (folder / "plain").iterdir():
        for name in ("pickled", "bold"):
            (folder / name / file.name).write_bytes(file.read_bytes())
    (folder / "pickled" / "model.safetensors").rename(folder / "pickled" / "pytorch_model.bin")
    config = json.loads((folder / "bold" / "config.json").read_text())
    bold = {**config, "model_type": "bold", "auto_map": {"AutoConfig": "bold.C", "AutoModel": "bold.M"}}
    (folder / "bold" / "config.json").write_text(json.dumps(bold))
    (folder / "bold" / "bold.py").write_text("open(__file__ + '.ran', 'w')\n")
    spoil_transformers(folder)
    (folder / "other.py").write_text(
        "import torch\nclass Other(torch.nn.Linear):\n    inputs = {'input': 'FP32[-1,4]'}\n"
    )
    (folder / "torn.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}garbage")
    (folder / "torn.skops").write_bytes(b"PK\x03\x04 not a zip")
    (folder / "torn.keras").write_bytes(b"PK\x03\x04 not a zip")
    (folder / "torn.onnx").write_bytes(b"\x08\x09garbage")
    (folder / "torn.gguf").write_bytes(b"GGUF\x03\0\0\0")
    return folder


def spoil_transformers(folder: Path) -> None:
    """`wordless` lacks what its tokenizer knows, `holed` the weights of a layer."""
    safetensors = files.import_module("safetensors.torch")
    shutil.copytree(folder / "plain", folder / "wordless", ignore=shutil.ignore_patterns("tokenizer*", "vocab*"))
    shutil.copytree(folder / "plain", folder / "holed")
    path = folder / "holed" / "model.safetensors"
    weights = {key: value for key, value in safetensors.load_file(path).items() if "layer.1.attention" not in key}
    safetensors.save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("torchscript:pickle.pt", ["no TorchScript archive", "pickle"]),
        ("torchscript:bare.pt", ["told of none", "?input=FP32"]),
        ("torchscript:bare.pt?x=FP32[-1,4]", ["takes input", "told of x"]),
        ("torchscript:bare.pt?input=FP32[-1,5]", ["fails on a row of zeros", "[-1, 5]"]),
        ("torchscript:bare.pt?input=TEXT[-1]", ["cannot be 'TEXT[-1]'"]),
        ("torchscript:bare.pt?input=FP32[0,4]", ["cannot be"]),
        ("safetensors:net.safetensors", ["nobody says of what", "?class=net.py:Net"]),
        ("safetensors:net.safetensors?class=net.py", ["2 subclasses", "Scale, Net"]),
        ("safetensors:net.safetensors?class=net.py:Nope", ["no subclass Nope"]),
        ("safetensors:net.safetensors?class=none.py:Net", ["no file 'none.py'"]),
        ("safetensors:net.safetensors?class=../net.py:Net", ["no file '../net.py'"]),
        ("safetensors:net.safetensors?class=net.py:Scale", ["width"]),
        ("safetensors:torn.safetensors?class=net.py:Net", ["torn.safetensors cannot be read"]),
        ("skops:forest.skops", ["not trusted: sklearn.tree._tree.Tree", "?trust=sklearn.tree._tree.Tree"]),
        ("skops:torn.skops", ["cannot be loaded", "skops.io.dump"]),
        ("skops:flowers.skops?trusted=x", ["no option 'trusted'", "trust"]),
        ("keras:lambda.keras", ["has a Lambda layer", "is not run", "layer of Keras"]),
        ("keras:torn.keras", ["cannot be loaded"]),
        ("keras:net.py", ["no .keras file"]),
        ("hf:empty", ["no folder of a model", "save_pretrained"]),
        ("hf:plain?task=fly", ["'fly' is not known", "fill-mask"]),
        ("hf:pickled", ["no weights in safetensors", "pickle", "save_pretrained"]),
        ("hf:bold", ["cannot be loaded", "write a Service"]),
        ("hf:nothing", ["no file 'nothing'"]),
        ("hf:", ["names no file", "hf:FILE"]),
        ("hf:wordless", ["has no tokenizer", "tokenizer.json", "save_pretrained"]),
        ("hf:plain?task=text-classification", ["not all weights of a BertForSequence", "classifier.weight", "task"]),
        ("hf:holed", ["not all weights of a BertModel", "encoder.layer.1.attention"]),
        ("hf:/etc", ["no file '/etc'"]),
        ("onnx:torn.onnx", ["cannot be loaded"]),
        ("gguf:torn.gguf", ["cannot be read"]),
        ("onnx:torn.onnx?x=1", ["no option 'x'"]),
        ("onnx:torn.onnx?", ["no options"]),
    ],
)
def test_what_cannot_be_served_says_why(folder: Path, entry: str, words: list[str]) -> None:
    try:
        open_entry(folder, entry)
    except TypeError as fault:  # the user's own class cannot be made so
        said = str(fault)
    except (ModelFileError, ConfigError, InvalidError) as fault:
        said = f"{fault.message} {fault.fix}"
    else:
        raise AssertionError(f"{entry} was loaded")
    assert all(word in said for word in words), said
    assert not (folder / "bold" / "bold.py.ran").exists()


def test_trees_are_loaded_once_their_type_is_trusted_and_start_no_processes(folder: Path) -> None:
    program: Any = open_entry(folder, "skops:forest.skops?trust=sklearn.tree._tree.Tree")
    assert program._model._estimator.n_jobs == 1
    status, answer = ask(program, {"inputs": [[1, 2, 3, 4]]})
    assert status == 200
    assert sum(answer["outputs"]["probabilities"][0]) == pytest.approx(1)


def test_what_keras_raises_is_told_without_the_colours_of_a_terminal(tmp_path: Path) -> None:
    keras = files.import_module("keras")
    keras.Sequential([keras.Input((1,)), keras.layers.Embedding(4, 2)]).save(tmp_path / "words.keras")
    program = open_entry(tmp_path, "keras:words.keras")
    status, answer = ask(program, {"inputs": [[99]]})
    assert status == 500 and "\x1b" not in answer["message"], answer


def test_missing_values_are_for_estimators_that_know_them(tmp_path: Path) -> None:
    forest = files.import_module("sklearn.ensemble").HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=1)
    forest.fit(np.array([[1.0, 2], [np.nan, 3], [4, np.nan], [5, 6]]), [0, 1, 0, 1])
    files.import_module("skops.io").dump(forest, tmp_path / "hist.skops")
    trust = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
    program = open_entry(tmp_path, f"skops:hist.skops?trust={trust}")
    assert ask(program, {"inputs": [[1, None], [None, 2.5]]})[0] == 200
    status, answer = ask(program, {"inputs": [[1, "x"]]})
    assert (status, "'x' holds" in answer["message"]) == (422, True)


def ask(program: Any, *bodies: Any, media: int = Media.JSON) -> Any:
    """Status and answer of each body, all asked together; of one alone not in a list."""
    calls = [
        Call(number, body if isinstance(body, bytes) else json.dumps(body).encode(), media, operation=PREDICT)
        for number, body in enumerate(bodies)
    ]
    answer = program.works()[0].batch
    assert answer is not None
    found = [(reply.status, json.loads(reply.body)) for reply in answer(calls)]
    return found[0] if len(found) == 1 else found


def png() -> bytes:
    file = io.BytesIO()
    files.import_module("PIL.Image").new("RGB", (20, 10), "red").save(file, "PNG")
    return file.getvalue()


TASKS: dict[str, tuple[str, Any, Callable[[Any], bool]]] = {
    "fill-mask": (
        "BertForMaskedLM",
        "the [MASK] sleeps",
        lambda out: len(out["token"][0]) == 5 and out["score"][0] == sorted(out["score"][0], reverse=True),
    ),
    "token-classification": (
        "BertForTokenClassification",
        "the cat sleeps",
        lambda out: json.loads(out["entities"][0])[0]["word"].count("the cat sleeps") == 1,
    ),
    "text-generation": ("GPT2LMHeadModel", "the cat", lambda out: type(out["generated_text"][0]) is str),
    "image-classification": (
        "ViTForImageClassification",
        base64.b64encode(png()).decode(),
        lambda out: sum(out["scores"][0]) == pytest.approx(1) and out["label"][0] in ("LABEL_0", "LABEL_1"),
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_each_task_is_known_by_its_folder_and_rows_of_several_lengths_share_a_batch(tmp_path: Path, task: str) -> None:
    kind, good, holds = TASKS[task]
    one_label = {0: "WORD"} if task == "token-classification" else {0: "LABEL_0", 1: "LABEL_1"}
    files.write_transformer(tmp_path / "net", kind, id2label=one_label)
    program: Any = open_entry(tmp_path, "hf:net")
    assert program.about()["model"]["task"] == task
    longer = good if task == "image-classification" else f"a good {good} ."
    alone = [ask(program, {"inputs": text}) for text in (good, longer)]
    together = ask(program, {"inputs": good}, {"inputs": [3]}, {"inputs": [longer, good]})
    assert [status for status, _ in (*alone, *together)] == [200, 200, 200, 422, 200]
    assert all(holds(answer["outputs"]) for _, answer in alone)
    body = json.loads(program.about()["pages"]["/openapi.json"]["text"])["paths"]["/predict"]["post"]["requestBody"]
    example = body["content"]["application/json"]["schema"]["properties"]["inputs"]["examples"][0]
    assert ask(program, {"inputs": example})[0] == 200
    names = [one["name"] for one in program.about()["outputs"]]
    for name in names:
        found = [answer["outputs"][name] for _, answer in (alone[1], alone[0])]
        merged = [*found[0], *found[1]]
        if name in ("score", "scores"):
            np.testing.assert_allclose(together[2][1]["outputs"][name], merged, rtol=1e-3)
        elif name != "entities":
            assert together[2][1]["outputs"][name] == merged


@pytest.mark.parametrize(
    ("task", "text", "word"),
    [
        ("fill-mask", "the cat", "exactly one [MASK]"),
        ("text-generation", "the " * 80, "the model knows 80"),
        ("text-generation", "", "empty"),
        ("image-classification", "AAAA", "'image' cannot be read"),
        ("image-classification", "?", "'image' cannot be read"),
    ],
)
def test_a_text_or_image_that_does_not_fit_is_refused_by_name(tmp_path: Path, task: str, text: str, word: str) -> None:
    files.write_transformer(tmp_path / "net", TASKS[task][0])
    status, answer = ask(open_entry(tmp_path, "hf:net"), {"inputs": text})
    assert (status, word in answer["message"]) == (422, True), answer


def test_a_long_text_goes_on_as_far_as_there_is_room(tmp_path: Path) -> None:
    files.write_transformer(tmp_path / "net", "GPT2LMHeadModel")
    program = open_entry(tmp_path, "hf:net")
    texts = ["the " * 79, "the cat", "the " * 70]
    alone = [ask(program, {"inputs": text})[1]["outputs"]["generated_text"] for text in texts]
    assert ask(program, {"inputs": texts})[1]["outputs"]["generated_text"] == [one for [one] in alone]
    assert [len(one.split()) for [one] in alone] == [1, 64, 10]


def test_an_image_may_be_the_body(tmp_path: Path) -> None:
    files.write_transformer(tmp_path / "net", "ViTForImageClassification")
    assert ask(open_entry(tmp_path, "hf:net"), png(), media=Media.OCTETS)[0] == 200


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token", "max_tokens", "lasttoken"])
def test_vectors_are_pooled_as_sentence_transformers_left_it_written(tmp_path: Path, pooling: str) -> None:
    model = files.write_transformer(tmp_path / "net", "BertModel")
    (tmp_path / "net" / "1_Pooling").mkdir()
    (tmp_path / "net" / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{pooling}": True}))
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds]
    (tmp_path / "net" / "modules.json").write_text(json.dumps(modules))
    found = ask(open_entry(tmp_path, "hf:net"), {"inputs": ["the cat", "a good dog runs ."]})[1]["outputs"]["embedding"]
    torch = files.import_module("torch")
    tokenizer = files.import_module("transformers").AutoTokenizer.from_pretrained(tmp_path / "net")
    for text, vector in zip(["the cat", "a good dog runs ."], found, strict=True):
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        ways = {"mean_tokens": hidden.mean(0), "cls_token": hidden[0], "max_tokens": hidden.amax(0)}
        np.testing.assert_allclose(vector, ways.get(pooling, hidden[-1]).numpy(), rtol=1e-3, atol=1e-5)
    (tmp_path / "net" / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_weightedmean_tokens": True}))
    with pytest.raises(ModelFileError, match="weightedmean"):
        open_entry(tmp_path, "hf:net")


def test_tokens_are_embedded_as_they_are_and_what_is_none_or_too_long_is_refused(tmp_path: Path) -> None:
    huggingface = files.import_module("lepton.serve.models.huggingface")
    Encoder = files.import_module("lepton.serve.models.embedding").Encoder
    files.write_transformer(tmp_path / "net", "BertModel")
    tokenizer, model = huggingface.load_encoder(tmp_path / "net")
    encoder = Encoder(tmp_path / "net", tokenizer, model)
    texts = ["the cat sleeps", "a good dog runs .", "the"]
    given = [texts[0], tokenizer(texts[1])["input_ids"], texts[2]]
    found = asyncio.run(encoder.embed(given))
    np.testing.assert_allclose(found.vectors, encoder.encode(texts), rtol=1e-4, atol=1e-6)
    assert found.usage.prompt == sum(map(len, tokenizer(texts)["input_ids"]))
    for wrong, kind in (([len(files.WORDS)], InvalidError), ([-1], InvalidError), ("cat " * 40, ContextLengthError)):
        with pytest.raises(kind):
            asyncio.run(encoder.embed(["the cat", wrong]))


def test_what_a_kind_needs_and_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skops", None)
    monkeypatch.delitem(sys.modules, "lepton.serve.models.skops", raising=False)
    with pytest.raises(LeptonError, match="package skops") as caught:
        open_entry(tmp_path, "skops:x.skops")
    assert "lepton-platform[sklearn]" in caught.value.fix
