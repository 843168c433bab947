"""Threads that all domains of a vault share: however many there are, they cost no more."""

from concurrent.futures import ThreadPoolExecutor


class Pools:
    """Threads that upload packs, and that read ahead; for any number of domains."""

    def __init__(self, uploads: int = 4, reads: int = 8) -> None:
        self.uploads = ThreadPoolExecutor(uploads, "lepton-packs")
        self.reads = ThreadPoolExecutor(reads, "lepton-boxes")

    def close(self) -> None:
        """End what they are at."""
        for pool in (self.uploads, self.reads):
            pool.shutdown()
