"""Small real models of every kind that is served without code, as their own libraries save them."""

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

CLASS = """
import torch

class Scale(torch.nn.Module):
    def forward(self, x):
        return x * 2

class Net(torch.nn.Module):
    inputs = {"x": "FP32[-1,4]"}

    def __init__(self, width=3):
        super().__init__()
        self.scale = Scale()
        self.line = torch.nn.Linear(4, width)

    def forward(self, x):
        return {"scores": self.line(self.scale(x)), "total": x.sum(1)}
"""
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "dog", "sleeps", "runs", "is", "a", "good", "."]


def write_torch(folder: Path) -> Any:
    """`net.pt` knows its inputs, `bare.pt` does not; the class of `net.safetensors` is in `net.py`."""
    torch, save_file = import_module("torch"), import_module("safetensors.torch").save_file

    (folder / "net.py").write_text(CLASS)
    torch.manual_seed(1)
    line = torch.nn.Linear(4, 3)
    net = torch.nn.Sequential(line, torch.nn.Softmax(-1)).eval()
    script = torch.jit.trace(net, torch.zeros(1, 4))
    torch.jit.save(script, str(folder / "net.pt"), _extra_files={"inputs.json": '{"input": "FP32[-1,4]"}'})
    torch.jit.save(script, str(folder / "bare.pt"))
    torch.save(net.state_dict(), folder / "pickle.pt")
    weights = {f"line.{name}": value.clone() for name, value in line.state_dict().items()}
    save_file(weights, folder / "net.safetensors", {"arguments": json.dumps({"width": 3})})
    return net


def write_sklearn(folder: Path) -> Any:
    """`flowers.skops` is a classifier with named classes, `forest.skops` holds trees, which skops does not trust."""
    dump, make_pipeline = import_module("skops.io").dump, import_module("sklearn.pipeline").make_pipeline
    forest = import_module("sklearn.ensemble").RandomForestClassifier(3, n_jobs=-1)
    line, scale = import_module("sklearn.linear_model"), import_module("sklearn.preprocessing")
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 4))
    labels = np.where(rows[:, 0] > 0, "rose", "tulip")
    flowers = make_pipeline(scale.StandardScaler(), line.LogisticRegression()).fit(rows, labels)
    dump(flowers, folder / "flowers.skops")
    dump(forest.fit(rows, labels), folder / "forest.skops")
    return flowers


def write_keras(folder: Path) -> Any:
    """`two.keras` has two inputs and two outputs; `lambda.keras` holds Python code."""
    os.environ["KERAS_BACKEND"] = "torch"
    keras = import_module("keras")
    keras.utils.set_random_seed(1)
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    kinds = keras.layers.Dense(3, activation="softmax", name="kinds")(keras.layers.Concatenate()([a, b]))
    model = keras.Model([a, b], [kinds, keras.layers.Dense(1, name="size")(a)])
    model.save(folder / "two.keras")
    keras.Sequential([a, keras.layers.Lambda(lambda x: x * 2)]).save(folder / "lambda.keras")
    return model


def write_tokenizer(folder: Path, *, has_ends: bool) -> None:
    parts, wrap = import_module("tokenizers"), import_module("transformers").PreTrainedTokenizerFast
    places = {word: place for place, word in enumerate(WORDS)}
    found = parts.Tokenizer(parts.models.WordPiece(places, unk_token="[UNK]"))
    found.normalizer = parts.normalizers.BertNormalizer(lowercase=True)
    found.pre_tokenizer = parts.pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    template = "[CLS] $A [SEP]" if has_ends else "$A"
    found.post_processor = parts.processors.TemplateProcessing(single=template, special_tokens=ends)
    names = {f"{word.strip('[]').lower()}_token": word for word in WORDS[:5]}
    wrap(tokenizer_object=found, model_max_length=32, **names).save_pretrained(folder)


def write_transformer(folder: Path, kind: str, **fields: Any) -> Any:
    """A tiny transformer of one of transformers' classes, with random weights, and a tokenizer of a dozen words."""
    torch, transformers = import_module("torch"), import_module("transformers")
    torch.manual_seed(1)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    if kind.startswith("ViT"):
        config = transformers.ViTConfig(**size, image_size=16, patch_size=8, **fields)
        transformers.ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    elif kind.startswith("GPT2"):
        ends = {"bos_token_id": 2, "eos_token_id": 3}
        sizes = {"vocab_size": len(WORDS), "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 80}
        config = transformers.GPT2Config(**sizes, **ends, **fields)
    else:
        config = transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **size, **fields)
    model = getattr(transformers, kind)(config).eval()
    model.save_pretrained(folder)
    if not kind.startswith("ViT"):
        write_tokenizer(folder, has_ends=not kind.startswith("GPT2"))
    return model


def write_exported(path: Path, *, has_zipmap: bool) -> Any:
    """The classifier of `write_sklearn` as ONNX; with ZipMap its probabilities are a map a row."""
    folder = path.parent / "skops"
    folder.mkdir()
    flowers = write_sklearn(folder)
    options = {id(flowers): {"zipmap": has_zipmap}}
    made = import_module("skl2onnx").to_onnx(flowers, np.zeros((1, 4), np.float32), options=options)
    path.write_bytes(made.SerializeToString())
    return flowers
