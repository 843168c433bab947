"""What of a copy did not arrive, and why: told at its end, when all else is there."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lepton.core.disk import is_hopeless, writing_to
from lepton.core.errors import ConflictError, DamagedError, LeptonError
from lepton.core.size import number_of

MOST_NAMED = 20


@dataclass(slots=True)
class Lacks:
    """One copy's."""

    written: int = 0
    """Files that arrived."""
    damaged: dict[str, str] = field(default_factory=dict)
    """Name -> why the server cannot read it."""
    refused: dict[str, str] = field(default_factory=dict)
    """Name -> why it cannot be written here."""

    @contextmanager
    def noting(self, name: str, target: Path) -> Iterator[None]:
        """Bring one file; what is wrong with it alone is noted.

        Raises:
            StorageFullError, ConflictError: nothing else can be written there either.
        """
        try:
            with writing_to(target):
                yield
        except DamagedError as fault:
            self.damaged[name] = fault.message
        except ConflictError as fault:
            if is_hopeless(fault):
                raise
            self.refused[name] = fault.message
        else:
            self.written += 1

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Bring all files; then tell what did not arrive.

        Raises:
            DamagedError, ConflictError: some did not; `details` names them.
            StorageFullError: no room; the message says how many arrived.
        """
        try:
            yield
        except LeptonError as fault:
            if not is_hopeless(fault):
                raise
            said = f"{fault.message}; {number_of(self.written, 'file')} arrived before"
            raise type(fault)(said, fix=fault.fix, details={"files": self.written}) from fault
        if self.damaged:
            also = f"; {len(self.refused)} cannot be written: {_some(self.refused.values())}" if self.refused else ""
            raise DamagedError(
                f"{number_of(self.written, 'file')} arrived; of {len(self.damaged)} the content is damaged in the "
                f"vault: {_some(sorted(self.damaged))}{also}",
                fix="Send those again, or have the vault made whole: lepton vault repair --from URL",
                details={"damaged": self.damaged, "refused": self.refused, "files": self.written},
            )
        if self.refused:
            raise ConflictError(
                f"{number_of(self.written, 'file')} arrived; {len(self.refused)} did not: "
                f"{_some(self.refused.values())}",
                fix="Move away what is in their place, or copy into an empty folder.",
                details={"refused": self.refused, "files": self.written},
            )


def _some(names: Iterable[str]) -> str:
    """Some of them, for a message."""
    found = list(names)
    return ", ".join(found[:MOST_NAMED]) + (", ..." if len(found) > MOST_NAMED else "")
