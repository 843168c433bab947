"""The Open Inference Protocol over tensor models: what is asked in any of its forms is computed together."""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter_ns
from typing import NamedTuple

from lepton.serve.calls import Call
from lepton.serve.program import Reply, Work
from lepton.serve.protocols.inference import operations
from lepton.serve.protocols.inference.counted import Statistics
from lepton.serve.protocols.inference.dialect import Asked, Dialect, Models
from lepton.serve.protocols.inference.rpc import Rpc
from lepton.serve.protocols.inference.tensors import Array, TensorModel, check, infer_all, rows_of
from lepton.serve.protocols.inference.web import Rest

Batch = Callable[[Sequence[Call]], Sequence[Reply]]


class Read(NamedTuple):
    """A request whose tensors were read."""

    call: Call
    asked: Asked
    took_ns: int


class Inference:
    """The protocol over some models.

    Args:
        first: number of its first operation.
        more: further forms, asked elsewhere.
        vet: raises what else is wrong with inputs of the right types and shapes.
    """

    def __init__(
        self,
        models: Sequence[TensorModel],
        *,
        first: int,
        more: Sequence[Dialect] = (),
        vet: Callable[[Mapping[str, Array]], None] = lambda inputs: None,
    ) -> None:
        self._vet = vet
        self.models = Models(models)
        self.statistics = Statistics(lambda: self.models)
        rest, rpc = Rest(first), Rpc(operations.FIRST_RPC)
        self._forms = [(operation, one) for one in (*more, rest, rpc) for operation in one.operations()]
        self._forms += [(operation, rest) for operation in operations.statistics(operations.FIRST_STATISTICS)]
        self._dialects = {operation.id: one for operation, one in self._forms}

    def works(self, batch: Batch | None = None) -> list[Work]:
        """All its operations.

        Args:
            batch: answers in the place of its own, which it may call.
        """
        return [
            self.statistics.work(self.models, dialect, operation)
            if operation.id in operations.COUNTED
            else Work(operation=operation, batch=batch or self.batch)
            for operation, dialect in self._forms
        ]

    def batch(self, calls: Sequence[Call]) -> list[Reply]:
        """An answer for each request; those to the same model are computed together."""
        replies: dict[int, Reply] = {}
        asked: dict[str, list[Read]] = {}
        for call in calls:
            dialect, began = self._dialects[call.operation], perf_counter_ns()
            try:
                found = dialect.read(call, self.models)
                if isinstance(found, Reply):
                    replies[call.id] = found
                    continue
                check(found.model, found.inputs)
                self._vet(found.inputs)
                asked.setdefault(found.model.name, []).append(Read(call, found, perf_counter_ns() - began))
            except Exception as fault:  # noqa: BLE001  whatever is wrong with this one
                replies[call.id] = dialect.refuse(fault)
        for requests in asked.values():
            replies.update(self._infer(requests))
        return [replies[call.id] for call in calls]

    def _infer(self, asked: Sequence[Read]) -> dict[int, Reply]:
        replies = {}
        model, began = asked[0].asked.model, perf_counter_ns()
        tally = self.models.tallies[model.name]
        computed = infer_all(model, [one.asked.inputs for one in asked], tally)
        took_ns = perf_counter_ns() - began
        for (call, one, input_ns), outputs in zip(asked, computed, strict=True):
            began = perf_counter_ns()
            try:
                if isinstance(outputs, Exception):
                    raise outputs
                replies[call.id] = one.write(outputs)
                tally.answered(rows_of(model, one.inputs), input_ns, took_ns, perf_counter_ns() - began)
            except Exception as fault:  # noqa: BLE001  whatever a runtime raises
                replies[call.id] = self._dialects[call.operation].refuse(fault)
                tally.failed(input_ns + took_ns)
        return replies
