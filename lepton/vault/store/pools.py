"""Threads and memory that all domains of a vault share: however many there are, they cost no more."""

from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from lepton.core.errors import UnavailableError
from lepton.vault.memory import give_back
from lepton.vault.store.kept import Kept
from lepton.vault.store.packs import FULL_BYTES

MOST_BYTES = 128 << 20
"""Held in memory of packs that belong to one writer each; where many write, they are closed before they are full."""
LEAST_BYTES = 2 << 20
"""What such a pack may have however many there are."""
MUCH_BYTES = 512 << 20
"""Of content that has passed, after which it is worth while to give memory back; a quarter, where nobody writes on."""
KEPT_BYTES = 16 << 20
"""Of pages that were read lately."""


class Pools:
    """Threads that upload packs, and that read ahead, and what packs may hold in memory; for any number of domains."""

    def __init__(self, uploads: int = 4, reads: int = 8) -> None:
        self.uploads = ThreadPoolExecutor(uploads, "lepton-packs")
        self.reads = ThreadPoolExecutor(reads, "lepton-boxes")
        self.kept = Kept(KEPT_BYTES)
        self._is_over = False
        self._lock, self._own, self._passed = Lock(), 0, 0

    def own(self, change: int) -> None:
        """Note that so many more packs, or fewer, that belong to one writer each are in memory."""
        with self._lock:
            self._own += change

    def passed(self, size: int, *, was_written: bool = False) -> None:
        """Note that so many bytes of content have been read or written; give memory back after much of it."""
        with self._lock:
            self._passed += size
            is_last = was_written and not self._own
            if self._passed < (MUCH_BYTES // 4 if is_last else MUCH_BYTES):
                return
            self._passed = 0
        give_back()

    @property
    def own_bytes(self) -> int:
        """With how many bytes such a pack is closed now."""
        return min(FULL_BYTES, max(LEAST_BYTES, MOST_BYTES // max(1, self._own)))

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
