"""The bytes of a write on their way to a client library: in even blocks, and with their own errors kept apart."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

BLOCK_BYTES = 8 << 20


class Source:
    """Chunks as blocks of `block_bytes`, the last one shorter; read once.

    A client library may dress up what goes wrong while it takes a block; `fault` is that error as it was.
    """

    def __init__(self, chunks: Iterable[bytes], block_bytes: int = BLOCK_BYTES) -> None:
        self._chunks = iter(chunks)
        self._block_bytes = block_bytes
        self._blocks = self._joined()
        self.fault: BaseException | None = None
        self.size_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block = next(self._blocks)
        self.size_bytes += len(block)
        return block

    def _joined(self) -> Iterator[bytes]:
        held: list[bytes] = []
        size = 0
        while chunk := self._next_chunk():
            for piece in _pieces(chunk, self._block_bytes):
                if size + len(piece) > self._block_bytes:
                    yield b"".join(held)
                    held, size = [], 0
                held.append(piece)
                size += len(piece)
        if held:
            yield b"".join(held)

    def _next_chunk(self) -> bytes:
        """The next chunk that is not empty; empty at the end."""
        try:
            return next((chunk for chunk in self._chunks if chunk), b"")
        except BaseException as fault:
            self.fault = fault
            raise


@contextmanager
def taken_apart(blocks: Iterator[bytes]) -> Iterator[Iterator[bytes]]:
    """The same blocks, each taken in a thread of its own.

    A library that takes them from within its own event loop panics where taking one makes another request of it.
    """
    with ThreadPoolExecutor(1, "lepton-blocks") as thread:
        yield iter(lambda: thread.submit(next, blocks, b"").result(), b"")


def _pieces(chunk: bytes, most: int) -> Iterator[bytes]:
    if len(chunk) <= most:
        yield chunk
        return
    for at in range(0, len(chunk), most):
        yield chunk[at : at + most]
