"""Threads that all domains of a vault share: however many there are, they cost no more."""

from concurrent.futures import ThreadPoolExecutor

from lepton.core.errors import UnavailableError


class Pools:
    """Threads that upload packs, and that read ahead; for any number of domains."""

    def __init__(self, uploads: int = 4, reads: int = 8) -> None:
        self.uploads = ThreadPoolExecutor(uploads, "lepton-packs")
        self.reads = ThreadPoolExecutor(reads, "lepton-boxes")
        self._is_over = False

    def end(self) -> None:
        """Whoever reads or writes is to stop: at the next chunk."""
        self._is_over = True

    def check(self) -> None:
        """Refuse to begin with another chunk, once it is the end.

        Raises:
            UnavailableError: it is.
        """
        if self._is_over:
            raise UnavailableError("The server is ending", fix="Try again.")

    def close(self) -> None:
        """End what they are at."""
        for pool in (self.uploads, self.reads):
            pool.shutdown()
