"""What a running job may ask of the platform. Only the Protocol: both forms live in `engine/`.

A job's code reads `inputs` and `params`, reports `metrics` and `progress`, keeps `checkpoints`, and leaves
versions in the catalog with `publish`. Off the platform the same calls read and write a plain folder.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from lepton.core.resource import Json


class Context(Protocol):
    """The only door from a job's code to the platform. All methods may be called from one thread."""

    job: str
    """Id of the job; `local` off the platform."""
    rank: int
    size: int
    """Workers in the gang; ranks are 0 .. size - 1."""
    params: Mapping[str, Json]
    folder: Path
    """A writable scratch folder that is this worker's own."""

    def input(self, name: str) -> Path:
        """The read-only folder that holds the files of an input version; fetched at the first call.

        Raises:
            NotFoundError: the job was given no such input.
        """
        ...

    def input_meta(self, name: str) -> Mapping[str, Json]:
        """The `meta` of an input version, with its `id`, `kind`, `name` and `number` beside."""
        ...

    def metrics(self, step: int, **values: float) -> None:
        """Report numbers of one step, e.g. `metrics(3, loss=0.2)`. Delivered soon, and in order."""
        ...

    def progress(self, fraction: float, text: str = "") -> None:
        """Say how far the job is, 0 .. 1, and what it does."""
        ...

    def publish(
        self, *, kind: str, name: str, folder: Path, meta: Mapping[str, Json], parents: Mapping[str, str] | None = None
    ) -> str:
        """Leave the files of `folder` in the catalog as a new version; return its id.

        Durable when it returns. A job that is started again and publishes the same (kind, name) gets the version
        it made before if the content is the same. Without `parents` the job's inputs are the parents.
        """
        ...

    def save_checkpoint(self, step: int, folder: Path) -> None:
        """Keep the files of `folder` as the job's state after `step`. Committed when it returns."""
        ...

    def latest_checkpoint(self) -> tuple[int, Path] | None:
        """The last committed (step, folder), from this or an earlier start of the job; None at first."""
        ...

    def should_stop(self) -> bool:
        """Whether the job was asked to stop: save a checkpoint and return."""
        ...
