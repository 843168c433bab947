"""A way to ask models for tensors: what every form of the protocol has to say to `program.Inference`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from lepton.core.errors import NotFoundError, clip
from lepton.serve.calls import Call
from lepton.serve.program import Reply
from lepton.serve.protocols.inference.statistics import Tally
from lepton.serve.protocols.inference.tensors import Array, TensorModel
from lepton.serve.routes import Operation

SERVER = {"name": "lepton", "version": "2", "extensions": ["binary_tensor_data", "model_repository", "statistics"]}


class Asked(NamedTuple):
    """Tensors that are to be computed."""

    model: TensorModel
    inputs: Mapping[str, Array]
    write: Callable[[Mapping[str, Array]], Reply]
    """The answer from the outputs."""


class Models:
    """The models of one process by their names."""

    def __init__(self, models: Sequence[TensorModel]) -> None:
        self._models = {model.name: model for model in models}
        self.alias = ""
        """A further name for the only model."""
        self.tallies = {model.name: Tally() for model in models}
        """What this process has counted of each."""

    def find(self, name: str, version: str = "") -> TensorModel:
        """The model of that name, and of that version if one is given.

        Raises:
            NotFoundError: there is none.
        """
        model = self._models.get(name)
        if model is None and name and name == self.alias and len(self._models) == 1:
            model = next(iter(self._models.values()))
        if model is None:
            raise NotFoundError(f"There is no model {clip(name, 80)!r}", fix=f"There is {', '.join(self._models)}.")
        if version not in ("", model.version):
            raise NotFoundError(f"{model.name} has not that version", fix=f"It has {model.version}.")
        return model

    def about(self, name: str, tallies: Mapping[str, Tally], version: str = "") -> list[dict[str, Any]]:
        """The statistics of one model, or if the name is empty of all.

        Args:
            tallies: of all.

        Raises:
            NotFoundError: there is no such model.
        """
        wanted = [self.find(name, version)] if name else list(self._models.values())
        return [tallies[model.name].told(name or model.name, model.version) for model in wanted]

    def index(self) -> list[dict[str, str]]:
        """What the protocol lists of them."""
        return [{"name": one.name, "version": one.version, "state": "READY"} for one in self._models.values()]


class Dialect(Protocol):
    """One form of the protocol."""

    def operations(self) -> Sequence[Operation]:
        """Where it is spoken."""
        ...

    def read(self, call: Call, models: Models) -> Asked | Reply:
        """What is to be computed, or the answer if nothing is.

        Raises:
            LeptonError: the request is not in order.
        """
        ...

    def refuse(self, fault: Exception) -> Reply:
        """The answer that tells a fault."""
        ...
