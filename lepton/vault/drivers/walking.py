"""Listing a tree of folders in order of the keys, reading no folder that cannot hold the prefix."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from lepton.core.errors import InvalidError
from lepton.vault.driver import Head, check_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a folder says of one thing in it."""

    name: str
    is_folder: bool
    size_bytes: int = 0
    etag: str = ""
    modified_s: float = 0.0
    """Seconds since 1970 by the storage's clock."""


def walk(entries: Callable[[str], Iterable[Entry]], prefix: str, folder: str = "") -> Iterator[Head]:
    """Every file below `folder` whose key begins with `prefix`, by the text of their keys.

    A folder sorts as its name and a slash, so that one pass from above downwards is in order.

    Args:
        entries: what lies in a folder ("" is the root), nothing if there is none; called when its turn comes.
    """
    if not folder:
        check_prefix(prefix)
    found = [(entry.name + "/" * entry.is_folder, entry) for entry in entries(folder) if not entry.name.startswith(".")]
    for name, entry in sorted(found, key=lambda pair: pair[0]):
        key = folder + name
        if entry.is_folder and (key.startswith(prefix) or prefix.startswith(key)):
            yield from walk(entries, prefix, key)
        elif not entry.is_folder and key.startswith(prefix):
            yield Head(key=key, size_bytes=entry.size_bytes, etag=entry.etag)


def check_prefix(prefix: str) -> None:
    """Refuse a prefix that begins no key; it need not end where a part ends.

    Raises:
        InvalidError: it does not.
    """
    above = prefix.rpartition("/")[0]
    if above:
        check_key(above)
    if "\0" in prefix or prefix.startswith(("/", ".")):
        raise InvalidError(f"{prefix[:80]!r} begins no key", fix="Use another prefix.")
