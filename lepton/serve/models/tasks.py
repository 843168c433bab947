"""What Hugging Face's pipelines do, as named tensors: a further task is a further line in `TASKS`."""

import base64
import binascii
import io
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from lepton.core.errors import InvalidError
from lepton.core.resource import Json
from lepton.serve.protocols.inference.tensors import Array, Tensor

CHUNK = 32
"""Rows computed in one go."""
MOST_PIXELS = 50_000_000
"""Of one image."""
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEElEQVR4nGP8zwABTAwUMQBJQQEPeWDz+AAAAABJRU5ErkJggg=="
"""A PNG of 8 x 8 pixels, in base64."""
FILLS = 5
"""Likely tokens in the place of a mask."""
NEW_TOKENS = 64
"""Of a text that is generated, unless the folder's generation_config.json says so."""
Columns = Mapping[str, Sequence[Any]]


class Task(NamedTuple):
    """One task: what goes in, and how it is computed. Everything has one row for each row."""

    input: str
    outputs: Mapping[str, tuple[str, Sequence[int]]]
    """Name -> datatype and shape of a row."""
    compute: Callable[[Any, Sequence[Any]], Columns]
    """With the pipeline and the rows."""
    is_image: bool = False


class PipelineModel:
    """`arrays.ServedModel` of a pipeline."""

    version = "1"
    platform = "transformers"
    is_batched = True
    allows_nan = False

    def __init__(self, name: str, task: str, pipeline: Any) -> None:
        self.name = name
        self._task = TASKS[task]
        self._pipeline = pipeline
        self._word = task
        self.inputs = [Tensor(self._task.input, "BYTES", [-1])]
        self.outputs = [Tensor(word, kind, [-1, *shape]) for word, (kind, shape) in self._task.outputs.items()]
        _settle(pipeline)

    @property
    def examples(self) -> Mapping[str, Json]:
        """A text with a mask in it, or the smallest of images."""
        if self._task.is_image:
            return {"image": DOT}
        mask = getattr(self._pipeline.tokenizer, "mask_token", None) if self._word == "fill-mask" else None
        return {"text": f"The {mask} sleeps." if mask else "The cat sleeps."}

    @property
    def details(self) -> Mapping[str, Json]:
        """Its task, and its labels in the order of their scores."""
        labels = getattr(self._pipeline.model.config, "id2label", None) or {}
        is_told = "scores" in self._task.outputs or self._word == "token-classification"
        told = {"labels": [labels[number] for number in sorted(labels)]} if is_told else {}
        return {"task": self._word, **told}

    def infer(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """What the pipeline says of each row."""
        array = inputs[self._task.input]
        rows = [image_of(one) for one in array] if self._task.is_image else texts_of(array)
        columns = self._task.compute(self._pipeline, rows)
        return {
            word: np.array(columns[word], dtype=object if kind == "BYTES" else np.float32)
            for word, (kind, _) in self._task.outputs.items()
        }


def _settle(pipeline: Any) -> None:
    """Texts of several lengths are computed together, so something must fill the shorter ones."""
    tokenizer = getattr(pipeline, "tokenizer", None)
    if tokenizer is not None and tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        pipeline.model.config.pad_token_id = tokenizer.pad_token_id


def texts_of(array: Array) -> list[str]:
    """Texts, which may have come as bytes.

    Raises:
        InvalidError: one is no UTF-8.
    """
    try:
        return [one.decode() if isinstance(one, bytes) else str(one) for one in array]
    except UnicodeDecodeError as fault:
        raise InvalidError(f"The input 'text' is no UTF-8: {fault}", fix="Send UTF-8.") from None


def image_of(value: bytes | str) -> Image.Image:
    """An image from the bytes of its file, or from them in base64.

    Raises:
        InvalidError: it is none, or too large.
    """
    try:
        data = value if isinstance(value, bytes) else base64.b64decode(value.partition(";base64,")[2] or value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data))
        if image.width * image.height > MOST_PIXELS:
            raise InvalidError(f"The input 'image' has over {MOST_PIXELS} pixels", fix="Send a smaller one.")
        return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, binascii.Error, Image.DecompressionBombError) as fault:
        raise InvalidError(
            f"The input 'image' cannot be read: {str(fault)[:200]}", fix="Send a PNG or JPEG file, in JSON as base64."
        ) from None


# what each task computes


def classify(pipeline: Any, rows: Sequence[Any]) -> Columns:
    """Label, its score, and the scores of all labels."""
    options: dict[str, Any] = {} if isinstance(rows[0], Image.Image) else {"truncation": True}
    found = pipeline(list(rows), top_k=None, batch_size=CHUNK, **options)
    labels = pipeline.model.config.id2label
    order = [labels[number] for number in sorted(labels)]
    scores = [{one["label"]: one["score"] for one in row} for row in found]
    best = [max(row, key=lambda one: one["score"]) for row in found]
    return {
        "label": [one["label"] for one in best],
        "score": [one["score"] for one in best],
        "scores": [[row[label] for label in order] for row in scores],
    }


def fill(pipeline: Any, rows: Sequence[str]) -> Columns:
    """The likely tokens in the place of the mask."""
    mask = pipeline.tokenizer.mask_token
    if any(row.count(mask) != 1 for row in rows):
        raise InvalidError(f"The input 'text' has not exactly one {mask}", fix=f"Write {mask} where a word is missing.")
    found = pipeline(list(rows), top_k=FILLS, batch_size=CHUNK)
    found = [found] if len(rows) == 1 and isinstance(found[0], dict) else found
    return {
        "token": [[one["token_str"] for one in row] for row in found],
        "score": [[one["score"] for one in row] for row in found],
        "text": [[one["sequence"] for one in row] for row in found],
    }


def tag(pipeline: Any, rows: Sequence[str]) -> Columns:
    """The named things in each text, as a JSON list."""
    found = pipeline(list(rows), aggregation_strategy="simple", batch_size=CHUNK)
    return {"entities": [json.dumps(row, default=float) for row in found]}


def generate(pipeline: Any, rows: Sequence[str]) -> Columns:
    """How each text goes on: its likeliest tokens, as many as there is room for after it."""
    config = pipeline.model.config
    room = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    count = pipeline.model.generation_config.max_new_tokens or NEW_TOKENS
    lengths = [len(ids) for ids in pipeline.tokenizer(list(rows))["input_ids"]]
    if not min(lengths):
        raise InvalidError("The input 'text' is empty", fix="Send a text that can go on.")
    if room and max(lengths) >= room:
        raise InvalidError(
            f"The input 'text' has {max(lengths)} tokens, and the model knows {room}", fix="Send a shorter text."
        )
    found: dict[int, str] = {}
    counts = [min(count, room - length) if room else count for length in lengths]
    for most in sorted(set(counts)):  # what one text gets depends on no other
        places = [at for at, own in enumerate(counts) if own == most]
        texts = [rows[at] for at in places]
        told = pipeline(texts, max_new_tokens=most, do_sample=False, return_full_text=False, batch_size=CHUNK)
        found.update((at, row[0]["generated_text"]) for at, row in zip(places, told, strict=True))
    return {"generated_text": [found[at] for at in range(len(rows))]}


SCORED = {"label": ("BYTES", ()), "score": ("FP32", ()), "scores": ("FP32", (-1,))}
TASKS: Mapping[str, Task] = {
    "text-classification": Task("text", SCORED, classify),
    "image-classification": Task("image", SCORED, classify, is_image=True),
    "token-classification": Task("text", {"entities": ("BYTES", ())}, tag),
    "fill-mask": Task(
        "text", {"token": ("BYTES", (FILLS,)), "score": ("FP32", (FILLS,)), "text": ("BYTES", (FILLS,))}, fill
    ),
    "text-generation": Task("text", {"generated_text": ("BYTES", ())}, generate),
}
