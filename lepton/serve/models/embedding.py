"""Texts as vectors: a transformer's last layer, pooled as the folder says, in named tensors and in the OpenAI API."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lepton.core.errors import InvalidError
from lepton.core.resource import Json
from lepton.serve.faults import ModelFileError
from lepton.serve.llm.runtime import ContextLengthError, Usage, Vectors
from lepton.serve.models.tasks import CHUNK, texts_of
from lepton.serve.protocols.inference.tensors import Array, Tensor

LONGEST = 1 << 20
"""Tokenizers that know no limit name one far beyond this."""
POOLINGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}
MODULES = ("Transformer", "Pooling", "Normalize")


Ids = list[int]
"""Tokens by their numbers."""


class Encoder:
    """Texts to vectors; `llm.runtime.Model` as far as `embed`.

    Args:
        path: folder of the model; what sentence-transformers left there says how to pool.
        tokenizer: of transformers.
        model: of transformers, without a head.

    Raises:
        ModelFileError: it pools in a way that is not known here.
    """

    def __init__(self, path: Path, tokenizer: Any, model: Any) -> None:
        self._tokenizer = tokenizer
        self._model = model
        self.pooling, self.is_normal, limit = read_pooling(path)
        known = [limit, tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None)]
        self.longest = min((int(one) for one in known if one and one < LONGEST), default=512)
        self._waiting: list[tuple[list[Ids], asyncio.Future[tuple[Array, int]]]] = []

    def encode(self, texts: Sequence[str]) -> Array:
        """Vectors, float32, (texts, size). Longer texts are cut."""
        return self._all(self._tokenizer(list(texts), truncation=True, max_length=self.longest)["input_ids"])

    def _all(self, rows: Sequence[Ids]) -> Array:
        """A vector of each row of tokens, however many there are."""
        return np.concatenate([self._chunk(rows[at : at + CHUNK]) for at in range(0, len(rows), CHUNK)])

    def _chunk(self, rows: Sequence[Ids]) -> Array:
        longest, pad = max(1, *map(len, rows)), self._tokenizer.pad_token_id or 0
        padded = [[*row, *[pad] * (longest - len(row))] for row in rows]
        masks = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
        given = {"input_ids": torch.tensor(padded, dtype=torch.long), "attention_mask": torch.tensor(masks)}
        with torch.inference_mode():
            hidden_NTD = self._model(**given).last_hidden_state
            vectors_ND = pool(hidden_NTD, given["attention_mask"], self.pooling)
            if self.is_normal:
                vectors_ND = torch.nn.functional.normalize(vectors_ND, dim=1)
        return vectors_ND.float().numpy(force=True)

    async def embed(self, texts: Sequence[str | Sequence[int]]) -> Vectors:
        """A vector for each text, or list of tokens, which are taken as they are. What is asked in one turn of the loop
        is computed together.

        Raises:
            InvalidError: a number is no token.
            ContextLengthError: there are more tokens than the model knows.
        """
        rows = self._read(texts)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[tuple[Array, int]] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._compute)
        self._waiting.append((rows, waiter))
        vectors, count = await waiter
        return Vectors(vectors.tolist(), Usage(count))

    def _read(self, texts: Sequence[str | Sequence[int]]) -> list[Ids]:
        words = [text for text in texts if isinstance(text, str)]
        told = iter(self._tokenizer(words)["input_ids"] if words else ())
        rows = [next(told) if isinstance(text, str) else list(text) for text in texts]
        size = self._model.get_input_embeddings().num_embeddings
        for row in rows:
            if len(row) > self.longest:
                raise ContextLengthError(
                    f"A text has {len(row)} tokens, and the model knows {self.longest}", fix="Send shorter ones."
                )
            if row and not 0 <= min(row) <= max(row) < size:
                raise InvalidError("A number of `input` is no token of the model", fix=f"Send 0 to {size - 1}.")
        return rows

    def _compute(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            vectors = self._all([row for rows, _ in waiting for row in rows])
        except Exception as fault:  # noqa: BLE001  raised again where it is awaited
            for _, waiter in waiting:
                if not waiter.done():
                    waiter.set_exception(fault)
            return
        at = 0
        for rows, waiter in waiting:
            if not waiter.done():
                waiter.set_result((vectors[at : at + len(rows)], sum(map(len, rows))))
            at += len(rows)


class EmbeddingModel:
    """`arrays.ServedModel` of an encoder."""

    version = "1"
    platform = "transformers"
    is_batched = True
    allows_nan = False
    examples: Mapping[str, Json] = {}

    def __init__(self, name: str, encoder: Encoder) -> None:
        self.name = name
        self._encoder = encoder
        self.inputs = [Tensor("text", "BYTES", [-1])]
        size = encoder.encode([""]).shape[1]
        self.outputs = [Tensor("embedding", "FP32", [-1, size])]

    @property
    def details(self) -> Mapping[str, Json]:
        """How it makes vectors."""
        encoder = self._encoder
        told = {"pooling": encoder.pooling, "is_normal": encoder.is_normal, "longest": encoder.longest}
        return {"task": "feature-extraction", **told, "openai": "/v1/embeddings"}

    def infer(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """A vector for each text."""
        return {"embedding": self._encoder.encode(texts_of(inputs["text"]))}


def pool(hidden_NTD: torch.Tensor, mask_NT: torch.Tensor, way: str) -> torch.Tensor:
    """One vector for each text, of those of its tokens; shape (N, D)."""
    if way == "cls":
        return hidden_NTD[:, 0]
    weights_NT1 = mask_NT.unsqueeze(-1).to(hidden_NTD.dtype)
    if way == "max":
        return hidden_NTD.masked_fill(weights_NT1 == 0, -torch.inf).amax(1)
    if way == "last":
        last_N = mask_NT.shape[1] - 1 - mask_NT.flip(1).argmax(1)
        return hidden_NTD[torch.arange(len(last_N)), last_N]
    return (hidden_NTD * weights_NT1).sum(1) / weights_NT1.sum(1).clamp(min=1e-9)


def read_pooling(path: Path) -> tuple[str, bool, int | None]:
    """How vectors are pooled, whether they get length 1, and most tokens of a text; mean, if nobody says.

    Raises:
        ModelFileError: in a way that is not known here.
    """
    try:
        modules = _read(path / "modules.json") or []
        kinds = {str(one["type"]).rpartition(".")[2]: str(one["path"]) for one in modules}
        wish = _read(path / kinds.get("Pooling", "1_Pooling") / "config.json") or {}
        limit = (_read(path / "sentence_bert_config.json") or {}).get("max_seq_length")
        ways = [way for name, way in POOLINGS.items() if wish.get(name)]
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise ModelFileError(f"{path.name} does not say how it pools: {fault}", fix="Save it again.") from fault
    unknown = [name for name, is_on in wish.items() if is_on is True and name.startswith("pooling_mode")]
    unknown = [*(kinds.keys() - set(MODULES)), *(set(unknown) - POOLINGS.keys())]
    if unknown or len(ways) > 1:
        raise ModelFileError(
            f"{path.name} pools by {', '.join(sorted(unknown) or ways)}, which is not known here",
            fix="Write a Service.",
        )
    return (ways or ["mean"])[0], not modules or "Normalize" in kinds, limit


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None
