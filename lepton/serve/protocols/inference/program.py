"""The Open Inference Protocol over tensor models: what is asked in any of its forms is computed together."""

from collections.abc import Callable, Mapping, Sequence

from lepton.serve.calls import Call
from lepton.serve.program import Reply, Work
from lepton.serve.protocols.inference.dialect import Asked, Dialect, Models
from lepton.serve.protocols.inference.rpc import Rpc
from lepton.serve.protocols.inference.tensors import Array, TensorModel, check, infer_all
from lepton.serve.protocols.inference.web import Rest


class Inference:
    """The protocol over some models.

    Args:
        first: number of its first operation; it has nine.
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
        dialects: Sequence[Dialect] = (*more, Rest(first), Rpc(first + 3))
        self._dialects = {operation.id: (operation, one) for one in dialects for operation in one.operations()}

    def works(self) -> list[Work]:
        """All its operations."""
        return [Work(operation=operation, batch=self.batch) for operation, _ in self._dialects.values()]

    def batch(self, calls: Sequence[Call]) -> list[Reply]:
        """An answer for each request; those to the same model are computed together."""
        replies: dict[int, Reply] = {}
        asked: dict[str, list[tuple[Call, Asked]]] = {}
        for call in calls:
            dialect = self._dialects[call.operation][1]
            try:
                found = dialect.read(call, self.models)
                if isinstance(found, Reply):
                    replies[call.id] = found
                    continue
                check(found.model, found.inputs)
                self._vet(found.inputs)
                asked.setdefault(found.model.name, []).append((call, found))
            except Exception as fault:  # noqa: BLE001  whatever is wrong with this one
                replies[call.id] = dialect.refuse(fault)
        for requests in asked.values():
            replies.update(self._infer(requests))
        return [replies[call.id] for call in calls]

    def _infer(self, asked: Sequence[tuple[Call, Asked]]) -> dict[int, Reply]:
        replies = {}
        computed = infer_all(asked[0][1].model, [one.inputs for _, one in asked])
        for (call, one), outputs in zip(asked, computed, strict=True):
            try:
                if isinstance(outputs, Exception):
                    raise outputs
                replies[call.id] = one.write(outputs)
            except Exception as fault:  # noqa: BLE001  whatever a runtime raises
                replies[call.id] = self._dialects[call.operation][1].refuse(fault)
        return replies
