"""A bounded log: files named by the offset of their first byte, the oldest dropped when the limit is reached.

At least 7/8 of the limit are kept of a longer stream, and never more than the limit.
"""

import os
from collections.abc import Iterator

PARTS = 8
CHUNK_BYTES = 1 << 16


class SegmentWriter:
    """Writes a stream; a full disk costs the bytes that did not fit, never the writer."""

    def __init__(self, folder: str, limit_bytes: int) -> None:
        self.size = 0
        """Bytes of the stream so far, dropped ones included."""
        self._folder = folder
        self._part_bytes = max(1, limit_bytes // PARTS)
        self._limit_bytes = max(1, limit_bytes)
        self._kept: list[int] = []
        self._fd = -1

    def write(self, data: bytes) -> None:
        """Append to the stream."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._write_some(rest) :]

    def close(self) -> None:
        """End the present segment."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write_some(self, data: memoryview) -> int:
        """Write what fits into the present segment; return the bytes dealt with, kept or lost."""
        try:
            if self._fd < 0 or self.size - self._kept[-1] >= self._part_bytes:
                self._rotate()
            count = os.write(self._fd, data[: self._part_bytes - (self.size - self._kept[-1])])
        except OSError:  # the next segment begins after the gap
            count = len(data)
            self.close()
        self.size += count
        return count

    def _rotate(self) -> None:
        self.close()
        while self._kept and self.size - self._kept[0] + self._part_bytes > self._limit_bytes:
            self._drop(self._kept.pop(0))
        self._fd = os.open(self._path(self.size), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._kept.append(self.size)

    def _drop(self, start: int) -> None:
        try:
            os.unlink(self._path(start))
        except FileNotFoundError:
            return

    def _path(self, start: int) -> str:
        return os.path.join(self._folder, f"{start:020d}")


def read_segments(folder: str, offset: int) -> Iterator[bytes]:
    """What is kept from `offset` on, as far as written now; one marker line where a part is missing."""
    for start in _starts(folder):
        for chunk in _read_segment(os.path.join(folder, f"{start:020d}"), max(offset - start, 0)):
            if start > offset:
                yield b"[lepton: %d bytes dropped]\n" % (start - offset)
                offset = start
            yield chunk
            offset += len(chunk)


def size_of(folder: str) -> int:
    """Bytes of the stream so far, dropped ones included."""
    for start in reversed(_starts(folder)):
        try:
            return start + os.stat(os.path.join(folder, f"{start:020d}")).st_size
        except FileNotFoundError:  # dropped since it was listed, so newer ones have come
            return size_of(folder)
    return 0


def _starts(folder: str) -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir(folder) if name.isdecimal())
    except FileNotFoundError:
        return []


def _read_segment(path: str, skip: int) -> Iterator[bytes]:
    """What is in the file now, from `skip` on. It is open for no longer than a read takes, so nobody has to finish."""
    try:
        end = os.stat(path).st_size
        while skip < end and (chunk := _read_part(path, skip, min(end - skip, CHUNK_BYTES))):
            skip += len(chunk)
            yield chunk
    except FileNotFoundError:  # dropped meanwhile
        return


def _read_part(path: str, start: int, size: int) -> bytes:
    with open(path, "rb", buffering=0) as stream:
        return os.pread(stream.fileno(), size, start)
