"""Driver: a place that keeps bytes under names. Small on purpose, so that every storage protocol can be one.

A key is `/`-separated, e.g. `objects/ab/cd12`. A write is all or nothing: a reader sees the old bytes or the new
ones, and a write that fails leaves no trace. `tests/contract/test_drivers.py` says what each driver must do.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from lepton.core.artifact import check_path
from lepton.core.errors import InvalidError

CHUNK_BYTES = 1 << 20
MAX_PART_BYTES = 255
"""A part of a key is a file's name somewhere."""
UNSAFE = set('<>:"|?*')
"""Characters that some file server cannot keep in a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What is known of a key without reading it."""

    key: str
    size_bytes: int
    etag: str
    """Changes whenever the bytes change; opaque. See `Capabilities.unique_etags`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a storage can do: as its driver believes, or as `drivers.probing.probe` found out."""

    create_if_absent: bool
    """Of many writers of a new key exactly one wins."""
    replace_if_match: bool
    """A write that states an old etag is refused, however many write at once."""
    unique_etags: bool
    """Every write changes the etag. Else equal bytes may have an equal one: give what is swapped a counter."""
    exact_names: bool
    """Keys that differ only in case, or in their normal form of Unicode, are different keys."""
    range_reads: bool = True
    """A part of an object is read without the rest."""
    read_after_write: bool = True
    list_after_write: bool = True
    why_not: Mapping[str, str] = field(default_factory=dict)
    """Capability that is missing -> what was seen."""

    def to_json(self) -> Mapping[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Capabilities":
        """What `to_json` returned."""
        return cls(**found)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendOnly:
    """Whether a storage refuses to overwrite and to delete what is there, and how that is known."""

    holds: bool
    reason: str
    lock_s: int = 0
    """For how long it does, from a write on; 0: always, or never."""
    hides: bool = False
    """What is deleted can be read for a time, and goes then by itself; else, where it holds, it stays."""

    @property
    def keeps_all(self) -> bool:
        """Whether nothing that is let go of there would ever go."""
        return self.holds and not self.hides


class Version(NamedTuple):
    """A version of a key, or a mark that it was deleted."""

    key: str
    id: str
    at: datetime
    """When it was written, or changed."""
    size_bytes: int
    etag: str
    """Empty: it is a mark."""
    is_newest: bool


class Driver(Protocol):
    """A place that keeps bytes under names. Methods may be called from many threads and processes at once.

    Beside what the methods name, each may raise:
        StorageUnreachableError: the storage does not answer; the docs say after how long.
        StorageRefusedError: it refuses the credentials, or the write.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What the driver believes the storage can do; `probe` verifies it."""
        ...

    def put(self, key: str, chunks: Iterable[bytes]) -> Head:
        """Write the key, replacing what was there. As durable when it returns as the storage promises.

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
        """All keys that begin with `prefix`, in order of their text. Reads on as it is asked for more."""
        ...

    def delete(self, key: str) -> None:
        """Remove the key; nothing happens if there is none."""
        ...

    def create_if_absent(self, key: str, body: bytes) -> Head:
        """Write a key that does not exist. Of many writers at once exactly one wins.

        Raises:
            NameTakenError: it exists.
            UnsupportedError: the storage cannot say who is first.
        """
        ...

    def replace_if_match(self, key: str, body: bytes, *, etag: str) -> Head:
        """Write a key that has not changed since its `etag` was read.

        Raises:
            StaleError: it has changed, or is gone.
            UnsupportedError: the storage cannot compare and write in one step.
        """
        ...

    def drop_folder(self, folder: str) -> None:
        """Remove what is left of a folder whose keys are gone, as file servers keep folders; it never fails.

        Nobody else may write below it.
        """
        ...

    def append_only(self) -> AppendOnly:
        """Whether the storage itself keeps this writer from overwriting and deleting."""
        ...

    def close(self) -> None:
        """Give back connections. The driver can be used again, and opens new ones then."""
        ...


@lru_cache(4096)
def check_key(key: str) -> str:
    """Return `key` if every driver can keep it: a relative path whose parts are names on any file server.

    Raises:
        InvalidError: a part begins with a dot, ends with a dot or a space, has one of `<>:"|?*`, or is longer than
            255 bytes; or it is no path at all.
    """
    check_path(key)
    for part in key.split("/"):
        if part.startswith(".") or part[-1] in ". " or UNSAFE & set(part) or len(part.encode()) > MAX_PART_BYTES:
            raise InvalidError(f"{key[:80]!r} has a part that not every storage can keep", fix="Use another name.")
    return key


def check_range(start: int, stop: int | None) -> None:
    """Refuse a range that cannot be read.

    Raises:
        InvalidError: it begins before 0, or ends before it begins.
    """
    if start < 0 or (stop is not None and stop < start):
        raise InvalidError(f"The range {start} to {stop} cannot be read", fix="Give 0 <= start <= stop.")
