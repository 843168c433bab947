"""Reading an object block by block: flat memory, each block with its own time limit, taken up again after a cut."""

from collections.abc import Callable, Iterator
from typing import Protocol

from lepton.core.errors import StorageUnreachableError
from lepton.vault.drivers.patience import Patience, retried

BLOCK_BYTES = 8 << 20


class Opened(Protocol):
    """One object, open for reading."""

    size_bytes: int
    etag: str

    def read(self, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start`; fewer only if the connection likes it so, none never."""
        ...

    def close(self) -> None:
        """Give it back; may be called twice."""
        ...


Opener = Callable[[int, int], Opened]
"""Opens the object; may fetch so many bytes from a start at once, so that a small object is read in one request."""


def open_chunks(opener: Opener, start: int, stop: int | None, patience: Patience) -> Iterator[bytes]:
    """The range of what `opener` opens. Opens at once, and closes also when nobody takes a chunk.

    Raises:
        StorageUnreachableError: a block did not come, also not when asked again; or the object has been written since.
    """
    chunks = _chunks(_Reading(opener, start, stop, patience), start, stop)
    next(chunks)
    return chunks


class _Reading:
    """What is read, opened again where the connection was lost."""

    def __init__(self, opener: Opener, start: int, stop: int | None, patience: Patience) -> None:
        first = BLOCK_BYTES if stop is None else max(1, min(BLOCK_BYTES, stop - start))
        self._opener = opener
        self._patience = patience
        self._file: Opened | None = retried(lambda: opener(start, first), patience)
        self.size_bytes = self._file.size_bytes
        self._etag = self._file.etag

    def read(self, start: int, length: int) -> bytes:
        return retried(lambda: self._read(start, length), self._patience)

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _read(self, start: int, length: int) -> bytes:
        file = self._file or self._opened_again(start, length)
        try:
            piece = file.read(start, length)
        except StorageUnreachableError:
            self.close()
            raise
        if not piece:
            self.close()
            raise StorageUnreachableError("The storage ended an object early", fix="Try again.")
        return piece

    def _opened_again(self, start: int, length: int) -> Opened:
        self._file = self._opener(start, length)
        if (self._file.size_bytes, self._file.etag) != (self.size_bytes, self._etag):
            self.close()
            raise StorageUnreachableError(
                "The connection was lost, and the object has been written since", fix="Read it again from its start."
            )
        return self._file


def _chunks(file: _Reading, start: int, stop: int | None) -> Iterator[bytes]:
    try:
        yield b""
        at, end = start, file.size_bytes if stop is None else min(stop, file.size_bytes)
        while at < end:
            piece = file.read(at, min(BLOCK_BYTES, end - at))
            at += len(piece)
            yield piece
    finally:
        file.close()
