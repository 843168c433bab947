"""How far the copies have come that somebody watches: in memory, each server of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from lepton.core.errors import NotFoundError
from lepton.vault.backup.progress import Progress, silent


class Copies:
    """Copies that are under way."""

    def __init__(self) -> None:
        self._come: dict[tuple[str, str], tuple[int, int]] = {}

    @contextmanager
    def watched(self, who: str, name: str) -> Iterator[Progress]:
        """While a copy goes on: what is told how many of its bytes are done, of how many.

        Args:
            name: what its principal calls it; empty: nobody watches.
        """
        if not name:
            yield silent
            return

        def tell(done: int, total: int) -> None:
            self._come[who, name] = done, total

        tell(0, 0)
        try:
            yield tell
        finally:
            del self._come[who, name]

    def come(self, who: str, name: str) -> tuple[int, int]:
        """Bytes done, and in all.

        Raises:
            NotFoundError: it has ended, or has not begun; or another server is at it.
        """
        found = self._come.get((who, name))
        if found is None:
            raise NotFoundError("No such copy is under way here", fix="Wait for the answer to its request.")
        return found
