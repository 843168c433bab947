"""A model's own path, such as `/predict`, as one more form of the protocol: computed together with the others."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from lepton.serve.calls import Call
from lepton.serve.faults import reply_for
from lepton.serve.program import Reply
from lepton.serve.protocols.inference.dialect import Asked, Models
from lepton.serve.protocols.inference.tensors import Array, TensorModel
from lepton.serve.routes import Operation

Tensors = Mapping[str, Array]


class Plain:
    """`dialect.Dialect` of one path of one model.

    Args:
        operation: where it is asked.
        read: the inputs that a request holds.
        write: the answer to it from its inputs and its outputs.
    """

    def __init__(
        self,
        operation: Operation,
        model: TensorModel,
        read: Callable[[Call], Tensors],
        write: Callable[[Call, Tensors, Tensors], Reply],
    ) -> None:
        self._operation = operation
        self._model = model
        self._read = read
        self._write = write

    def operations(self) -> Sequence[Operation]:
        """The path."""
        return [self._operation]

    def read(self, call: Call, models: Models) -> Asked | Reply:
        """What a body asks."""
        inputs = self._read(call)
        return Asked(self._model, inputs, partial(self._write, call, inputs))

    def refuse(self, fault: Exception) -> Reply:
        """An error in the platform's own form."""
        return reply_for(fault)
