"""The program of a model that is served without code: `/predict`, and the Open Inference Protocol."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from lepton.core.resource import Json
from lepton.serve.calls import Call
from lepton.serve.faults import answer_together, reply_for
from lepton.serve.frames import PREDICT
from lepton.serve.models.arrays import ServedModel, read_inputs, vet
from lepton.serve.models.pages import tensor_paths
from lepton.serve.models.replies import write_outputs
from lepton.serve.openapi import ERROR, pages, sheet
from lepton.serve.program import Reply, Work
from lepton.serve.protocols.inference.plain import Plain
from lepton.serve.protocols.inference.program import Inference
from lepton.serve.protocols.inference.tensors import Array, Tensor, infer_all, rows_of
from lepton.serve.routes import INFERENCE, PREDICTION

if TYPE_CHECKING:
    from lepton.serve.protocols.openai.program import OpenAI

ABOUT = "A model of named tensors; requests that arrive together are computed together."
MEDIA = ("JSON", "NPY", "OCTETS", "MSGPACK")


class TensorProgram:
    """`program.Program` of one model.

    Args:
        api: beside it; None: it offers nothing of the OpenAI API.
    """

    room = 0
    threads = 0

    def __init__(self, model: ServedModel, *, api: "OpenAI | None" = None) -> None:
        self._model = model
        plain = Plain(replace(PREDICTION, media=MEDIA), model, self._read, self._write)
        finite = partial(vet, allows_nan=model.allows_nan)
        self._inference = Inference([model], first=INFERENCE, more=[plain], vet=finite)
        self._api = api
        self.counters: Counter[str] = api.counters if api else Counter()

    async def start(self) -> None:
        """It is loaded already; other replicas may ask what it counts."""
        await self._inference.statistics.start()

    async def close(self) -> None:
        """It holds nothing else."""
        await self._inference.statistics.close()

    def is_healthy(self) -> bool:
        """A loaded model does not fall ill."""
        return True

    def tick(self) -> None:
        """Nothing to do by the clock."""

    def works(self) -> list[Work]:
        """Prediction in plain JSON, the Open Inference Protocol, and of the OpenAI API what it offers."""
        return [*self._inference.works(self.answer), *(self._api.works() if self._api else ())]

    def known_as(self, name: str) -> None:
        """Let the Open Inference Protocol call the model by a further name."""
        self._inference.models.alias = name

    def answer(self, calls: Sequence[Call]) -> list[Reply]:
        """An answer for each request, however it asks; what only asks for predictions is told them in one go."""
        is_plain = all([call.operation == PREDICT for call in calls])
        return self.predict(calls) if is_plain else self._inference.batch(calls)

    def about(self) -> Mapping[str, Json]:
        """What goes in and what comes out."""
        model = self._model
        return {
            "model": {"name": model.name, "platform": model.platform, **model.details},
            "inputs": told(model.inputs),
            "outputs": told(model.outputs),
            "predict": "/predict",
            "inference": f"/v2/models/{model.name}",
            "pages": pages(self._sheet()),
        }

    def _sheet(self) -> dict[str, Any]:
        paths, schemas = self._api.described() if self._api else ({}, {})
        return sheet(self._model.name, ABOUT, {**tensor_paths(self._model), **paths}, {"Error": ERROR, **schemas})

    def predict(self, calls: Sequence[Call]) -> list[Reply]:
        """`{"inputs": {name: nested lists}}` -> `{"outputs": {name: nested lists}}`, or in another form."""
        return answer_together(calls, self._read, self._compute)

    def _compute(self, good: Sequence[tuple[Call, Mapping[str, Array]]]) -> list[Reply]:
        tally, began = self._inference.models.tallies[self._model.name], perf_counter_ns()
        found = infer_all(self._model, [given for _, given in good], tally)
        tally.together([rows_of(self._model, given) for _, given in good], found, perf_counter_ns() - began)
        return [
            reply_for(one) if isinstance(one, Exception) else self._write(call, given, one)
            for one, (call, given) in zip(found, good, strict=True)
        ]

    def _read(self, call: Call) -> Mapping[str, Array]:
        return read_inputs(call, self._model)

    def _write(self, call: Call, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Reply:
        return write_outputs(call, outputs, rows_of(self._model, inputs))


def told(tensors: Sequence[Tensor]) -> list[Json]:
    """Tensors as a client is told of them."""
    return [{**one._asdict(), "shape": list(one.shape)} for one in tensors]
