"""The wish of station 2: which dataset a gang of workers learns, and how."""

from dataclasses import dataclass

from lepton.core.ids import check_name
from lepton.jobs.wish import Wished, check_between


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSpec(Wished):
    """Train an image classifier, data-parallel. Equal wishes on equal data give equal weights, bit for bit."""

    dataset: str
    """Id of a dataset version that clean made."""
    name: str
    """Of the model."""
    workers: int = 1
    """Each takes its share of every batch."""
    epochs: int = 14
    batch_size: int = 128
    """Images a step, over all workers."""
    learning_rate: float = 0.08
    """At its highest: it rises over the first steps and falls to 0 at the end."""
    seed: int = 0
    cpu_milli: int = 1000
    """Of each worker."""
    retries: int = 2
    """How often the gang is started again, from its last checkpoint, after a worker failed."""

    def __post_init__(self) -> None:
        check_name(self.name, "Model name")
        check_between("workers", self.workers, 1, 64)
        check_between("epochs", self.epochs, 1, 10_000)
        check_between("batch_size", self.batch_size, self.workers, 1 << 16)
        check_between("learning_rate", self.learning_rate, 1e-6, 10)
        check_between("seed", self.seed, 0, 2**63 - 1)
        check_between("cpu_milli", self.cpu_milli, 1, 1 << 20)
        check_between("retries", self.retries, 0, 100)
