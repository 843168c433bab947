"""A model version that is served without code: one operation that computes rows through ONNX Runtime."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from time import perf_counter_ns

import numpy as np
import orjson

from lepton.core.clock import SystemClock
from lepton.core.context import Context
from lepton.core.errors import InvalidError, LeptonError
from lepton.core.resource import Json
from lepton.serve.bodies import answer_bodies, describe, read_rows
from lepton.serve.calls import Call
from lepton.serve.capture import Capture
from lepton.serve.faults import answer_together, refusal
from lepton.serve.frames import PREDICT, Media
from lepton.serve.model import Array, Model, load_model
from lepton.serve.models.arrays import vet
from lepton.serve.models.pages import row_paths
from lepton.serve.models.replies import write_array
from lepton.serve.openapi import ERROR, pages, sheet
from lepton.serve.program import Reply, Work
from lepton.serve.protocols.inference.plain import Plain
from lepton.serve.protocols.inference.program import Inference
from lepton.serve.protocols.inference.tensors import NAMES, Tensor
from lepton.serve.routes import INFERENCE, PREDICTION
from lepton.serve.spec import EndpointSpec

CLOSE_S = 3.0


class BatchError(LeptonError):
    """The model failed on rows that had the right form."""

    code = "model"


class VersionTensors:
    """`tensors.TensorModel` of a model version: one input, and one output of scores."""

    platform = "onnx_onnxv1"
    is_batched = True

    def __init__(self, model: Model, capture: Capture, about: Mapping[str, Json]) -> None:
        form = model.form
        told = about.get("model") or {}
        shape = model.scores(np.zeros((1, *form.row_shape), dtype=form.dtype)).shape
        self.name = str(told.get("name") or "model")
        self.version = str(told.get("number") or 1)
        self.inputs = [Tensor(form.input_name, NAMES[np.dtype(form.dtype)], [-1, *form.row_shape])]
        self.outputs = [Tensor(form.output_name, "FP32", [-1, *shape[1:]])]
        self._model = model
        self._capture = capture

    def infer(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """What the model says of each row; of a classifier probabilities."""
        rows = inputs[self.inputs[0].name]
        if not len(rows):
            raise InvalidError("The input has no rows", fix="Send at least one.")
        scores = self._model.scores(rows)
        self._capture.add(rows, scores)
        return {self.outputs[0].name: scores}


class ModelProgram:
    """`program.Program` of one model version."""

    room = 0
    threads = 0

    def __init__(self, model: Model, capture: Capture, about: Mapping[str, Json], name: bytes) -> None:
        self._model = model
        self._capture = capture
        self._about = about
        self._name = name
        self._tensors = VersionTensors(model, capture, about)
        plain = Plain(PREDICTION, self._tensors, self._read, self._write)
        finite = partial(vet, allows_nan=False)
        self._inference = Inference([self._tensors], first=INFERENCE, more=[plain], vet=finite)

    def known_as(self, name: str) -> None:
        """Let the model be called by a further name."""
        self._inference.models.alias = name

    async def start(self) -> None:
        """It is loaded already; other replicas may ask what it counts."""
        await self._inference.statistics.start()

    def works(self) -> list[Work]:
        """Prediction, and the Open Inference Protocol."""
        return self._inference.works(self.answer)

    def about(self) -> Mapping[str, Json]:
        """What a client must know to ask the model."""
        described = sheet(self._tensors.name, "A model version.", row_paths(self._tensors), {"Error": ERROR})
        return {**self._about, "pages": pages(described)}

    async def close(self) -> None:
        """Leave the last sample of what was asked."""
        self._capture.close(CLOSE_S)
        await self._inference.statistics.close()

    def is_healthy(self) -> bool:
        """A loaded model does not fall ill."""
        return True

    def tick(self) -> None:
        """Leave a sample of what was asked, now and then."""
        self._capture.tick()

    def answer(self, calls: Sequence[Call]) -> list[Reply]:
        """An answer for each request, however it asks; what only asks for predictions is told them in one go."""
        is_plain = all([call.operation == PREDICT for call in calls])
        return self.predict(calls) if is_plain else self._inference.batch(calls)

    def _read(self, call: Call) -> Mapping[str, Array]:
        return {self._model.form.input_name: read_rows(call.body, call.media, self._model.form)}

    def _write(self, call: Call, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Reply:
        form = self._model.form
        count = len(inputs[form.input_name])
        body = answer_bodies(outputs[form.output_name], [count], form, self._name)[0]
        return in_form(call, Reply(body, rows=count), outputs[form.output_name])

    def predict(self, calls: Sequence[Call]) -> list[Reply]:
        """An answer for each request, in order; one that is malformed costs the others nothing."""
        return answer_together(
            calls,
            lambda call: read_rows(call.body, call.media, self._model.form),
            self._compute,
        )

    def _compute(self, asked: Sequence[tuple[Call, Array]]) -> list[Reply]:
        rows = asked[0][1] if len(asked) == 1 else np.concatenate([own for _, own in asked])
        tally, began = self._inference.models.tallies[self._tensors.name], perf_counter_ns()
        try:
            scores = self._model.scores(rows)
        except Exception as fault:  # noqa: BLE001 - onnxruntime raises a dozen unrelated types
            if len(asked) > 1:  # one of them spoils it: each alone then
                return [reply for one in asked for reply in self._compute([one])]
            tally.failed(perf_counter_ns() - began)
            return [refusal(BatchError(f"The model failed on this input: {fault}"))]
        took_ns = perf_counter_ns() - began
        tally.computed(len(rows), took_ns)
        self._capture.add(rows, scores)
        counts = [len(own) for _, own in asked]
        tally.together(counts, counts, took_ns)
        bodies = answer_bodies(scores, counts, self._model.form, self._name)
        starts = accumulate(counts, initial=0)
        return [
            in_form(call, Reply(body, rows=count), scores[start : start + count])
            for (call, _), body, count, start in zip(asked, bodies, counts, starts, strict=False)
        ]


def in_form(call: Call, reply: Reply, scores: Array) -> Reply:
    """The answer as its client wants it: the same in msgpack, or the scores of its rows as npy or plain bytes."""
    if call.wants in (Media.NPY, Media.OCTETS):
        return Reply(write_array(scores, call.wants) or b"", media=call.wants, rows=reply.rows)
    if (call.wants or call.media) == Media.MSGPACK:
        import msgpack  # noqa: PLC0415  only where such a body is wanted

        return Reply(msgpack.packb(orjson.loads(reply.body)), media=Media.MSGPACK, rows=reply.rows)
    return reply


def load_program(ctx: Context, spec: EndpointSpec) -> ModelProgram:
    """The program of the job's input `model`.

    Raises:
        ModelFileError: it cannot be loaded.
    """
    model = load_model(ctx.input("model"), threads=max(1, spec.worker_cpu_milli // 1000))
    name = str(ctx.params.get("name", "endpoint"))
    capture = Capture(ctx, SystemClock(), name=name, capacity=spec.capture_rows)
    about, shown = describe(model.form, ctx.input_meta("model"))
    return ModelProgram(model, capture, about, shown)
