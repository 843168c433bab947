"""Driver: a place that keeps bytes under names. Small on purpose, so that every storage protocol can be one.

A key is `/`-separated, e.g. `objects/ab/cd12`. A write is all or nothing: a reader sees the old bytes or the new
ones, and a write that fails leaves no trace. `tests/contract/test_drivers.py` says what each driver must do.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from lepton.core.artifact import check_path
from lepton.core.errors import InvalidError

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What is known of a key without reading it."""

    key: str
    size_bytes: int
    etag: str
    """Changes with every write of the key; opaque."""


class Driver(Protocol):
    """A place that keeps bytes under names. Methods may be called from many threads and processes at once."""

    def put(self, key: str, chunks: Iterable[bytes]) -> Head:
        """Write the key, replacing what was there. Durable when it returns.

        An exception out of `chunks` ends the write, leaves the key as it was, and is passed on.

        Raises:
            StorageFullError: no room; what had been written is taken back.
        """
        ...

    def get(self, key: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes `start` .. `stop` (exclusive; None: the end) in chunks; ends early where the bytes end.

        Raises:
            NotFoundError: no such key; raised by the call, not by the first chunk.
            InvalidError: `start` is negative or beyond `stop`.
        """
        ...

    def head(self, key: str) -> Head:
        """Size and etag of the key.

        Raises:
            NotFoundError: no such key.
        """
        ...

    def list(self, prefix: str = "") -> Iterator[Head]:
        """All keys that begin with `prefix`, in order of their text."""
        ...

    def delete(self, key: str) -> None:
        """Remove the key; nothing happens if there is none."""
        ...

    def create_if_absent(self, key: str, body: bytes) -> Head:
        """Write a key that does not exist. Of many writers at once exactly one wins.

        Raises:
            NameTakenError: it exists.
        """
        ...

    def replace_if_match(self, key: str, body: bytes, *, etag: str) -> Head:
        """Write a key that has not changed since its `etag` was read.

        Raises:
            StaleError: it has changed, or is gone.
        """
        ...


def check_key(key: str) -> str:
    """Return `key` if every driver can keep it: a relative path whose parts do not begin with a dot.

    Raises:
        InvalidError: it is anything else.
    """
    check_path(key)
    if any(part.startswith(".") for part in key.split("/")):
        raise InvalidError(f"{key[:80]!r} has a part that begins with a dot", fix="Use another name.")
    return key


def check_range(start: int, stop: int | None) -> None:
    """Refuse a range that cannot be read.

    Raises:
        InvalidError: it begins before 0, or ends before it begins.
    """
    if start < 0 or (stop is not None and stop < start):
        raise InvalidError(f"The range {start} to {stop} cannot be read", fix="Give 0 <= start <= stop.")
