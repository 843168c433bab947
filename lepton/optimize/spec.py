"""The wish of station 3: which model to make faster, and how much accuracy that may cost."""

from dataclasses import dataclass

from lepton.core.ids import check_name
from lepton.jobs.wish import Wished, check_between


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizeSpec(Wished):
    """Export a model to ONNX in several forms, measure each on held-out data, and keep the fastest that is no worse."""

    model: str
    """Id of a model version that train made."""
    dataset: str
    """Id of the dataset version whose test split the candidates are measured on."""
    name: str
    """Of the optimised model."""
    max_accuracy_loss: float = 0.002
    """How much lower than the baseline's the accuracy may be, e.g. 0.002 = one in 500."""
    repeats: int = 200
    """How often each latency is measured; the median counts."""
    cpu_milli: int = 1000

    def __post_init__(self) -> None:
        check_name(self.name, "Model name")
        check_between("max_accuracy_loss", self.max_accuracy_loss, 0, 1)
        check_between("repeats", self.repeats, 5, 100_000)
        check_between("cpu_milli", self.cpu_milli, 1, 1 << 20)
