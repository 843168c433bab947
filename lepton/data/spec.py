"""The wishes of station 1: which raw file becomes a dataset, and what a clean dataset is."""

from dataclasses import dataclass

from lepton.core.errors import InvalidError
from lepton.core.ids import check_name
from lepton.jobs.wish import Wished, check_between

DIGITS = tuple("0123456789")


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSpec(Wished):
    """Turn an archive of images (zip or tar) into a dataset version; nothing in it is trusted."""

    raw: str
    """Id of a raw version with one file."""
    name: str
    """Of the dataset."""
    max_files: int = 1_000_000
    max_unpacked_bytes: int = 4 << 30
    """Of the whole archive: a small file that unpacks to more is refused."""
    max_pixels: int = 1 << 20
    """Of one image; a larger one becomes a faulty row."""
    cpu_milli: int = 1000

    def __post_init__(self) -> None:
        check_name(self.name, "Dataset name")
        check_between("max_files", self.max_files, 1, 1 << 30)
        check_between("max_unpacked_bytes", self.max_unpacked_bytes, 1, 1 << 42)
        check_between("max_pixels", self.max_pixels, 1, 1 << 26)
        check_between("cpu_milli", self.cpu_milli, 1, 1 << 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanSpec(Wished):
    """Check every row of a dataset, set the faulty ones apart, and split the rest into train and test."""

    dataset: str
    """Id of a dataset version that ingest made."""
    name: str
    """Of the clean dataset; the faulty rows go to `<name>-quarantine`."""
    classes: tuple[str, ...] = DIGITS
    """The labels that may occur; a label's place in this list is what a model learns."""
    test_share: float = 0.2
    """Share of the clean rows held out for testing. Which ones depends on their content and the seed alone."""
    seed: int = 0
    blank_range: int = 8
    """An image whose brightest and darkest pixel differ by no more (of 255) is blank."""
    cpu_milli: int = 1000

    def __post_init__(self) -> None:
        check_name(self.name, "Dataset name")
        check_name(self.quarantine, "Quarantine name")
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2 or "" in self.classes:
            raise InvalidError("classes must be two or more different texts", fix='Give e.g. ["cat", "dog"].')
        check_between("test_share", self.test_share, 0.01, 0.9)
        check_between("seed", self.seed, 0, 2**63 - 1)
        check_between("blank_range", self.blank_range, 0, 255)
        check_between("cpu_milli", self.cpu_milli, 1, 1 << 20)

    @property
    def quarantine(self) -> str:
        """Name of the dataset of faulty rows."""
        return f"{self.name}-quarantine"
