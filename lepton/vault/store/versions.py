"""Versions: what a tree was at a moment, who made it of what, and why; immutable, and named by one id.

A version is a chunk of canonical JSON. Those that it was made from are its parents: none for a first one, two for a
merge.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from heapq import heappop, heappush

from lepton.core.clock import from_micros
from lepton.core.errors import IntegrityError, LetGoError
from lepton.core.resource import Json
from lepton.vault.store.batch import Batch
from lepton.vault.store.chunks import Chunks

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What is kept of one."""

    root: bytes
    """Of its tree."""
    parents: Sequence[bytes] = ()
    at: int = 0
    """When it was made, microseconds since 1970."""
    by: str = ""
    message: str = ""
    entries: int = 0
    size_bytes: int = 0
    """Of the content of all its entries."""
    facts: Mapping[str, Json] = field(default_factory=dict)
    """Small facts of the layers above, e.g. the job that made it."""


def write_version(batch: Batch, version: Version) -> bytes:
    """Keep a version; return its id."""
    told = asdict(version) | {
        "format": FORMAT,
        "root": version.root.hex(),
        "parents": [parent.hex() for parent in version.parents],
    }
    return batch.put(json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


def read_version(chunks: Chunks, id: bytes) -> Version:
    """A version by its id.

    Raises:
        IntegrityError: it is in no pack, damaged, or of a form that this Lepton does not know.
    """
    try:
        told = json.loads(chunks.page(id, bytes))
        form = told.pop("format")
        told |= {"root": bytes.fromhex(told["root"]), "parents": [bytes.fromhex(text) for text in told["parents"]]}
        version = Version(**told)
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise IntegrityError(f"{id.hex()} is not a version", fix="Restore it from a backup.") from fault
    if form != FORMAT:
        raise IntegrityError(f"The version {id.hex()} has form {form}, not {FORMAT}", fix="Upgrade Lepton.")
    return version


def let_go_error(id: bytes, at: int) -> LetGoError:
    """What is said of a version whose files retention let go of, at a time in microseconds since 1970."""
    return LetGoError(
        f"The files of version {id.hex()[:16]} were let go by the workspace's retention on {from_micros(at):%Y-%m-%d}",
        fix="lepton vault log shows what is kept; a backup from before may hold it: lepton vault restore --only",
    )


def history(chunks: Chunks, id: bytes) -> Iterator[tuple[bytes, Version]]:
    """A version and all that it was made from, newest first, each once."""
    seen = {id}
    first = read_version(chunks, id)
    heap = [(-first.at, id, first)]
    while heap:
        _, found, version = heappop(heap)
        yield found, version
        for parent in version.parents:
            if parent not in seen:
                seen.add(parent)
                older = read_version(chunks, parent)
                heappush(heap, (-older.at, parent, older))


def merge_base(chunks: Chunks, ours: bytes, theirs: bytes) -> bytes:
    """The newest version that both were made from; empty if there is none.

    Both histories are walked together, newest first, until a version is met that both reach.
    """
    reach = {ours: 1} | {theirs: 3 if ours == theirs else 2}
    heap = list[tuple[int, bytes, Version]]()
    for id in reach:
        version = read_version(chunks, id)
        heappush(heap, (-version.at, id, version))
    while heap:
        _, id, version = heappop(heap)
        if reach[id] == 3:
            return id
        for parent in version.parents:
            if parent not in reach:
                older = read_version(chunks, parent)
                heappush(heap, (-older.at, parent, older))
            reach[parent] = reach.get(parent, 0) | reach[id]
    return b""
