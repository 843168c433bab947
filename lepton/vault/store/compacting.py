"""Move what is used out of packs that are small, or mostly unused, into fewer and larger ones.

Many small uploads leave a pack each: a file, a row and a key that every backup and every new index pays for. What is
moved is stored again in a pack that comes later, so it is read from there, on every machine and in every backup; the
packs that it came from hold nothing that is read, and prune takes them like any other. Who has found a chunk in one of
them meanwhile names it when he commits, and it stays.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence

from lepton.core.errors import IntegrityError
from lepton.vault.store.chunks import Chunks
from lepton.vault.store.index import Usage, Use

log = logging.getLogger("lepton")
FEW = 16
"""Packs of like size, before it is worth while to make one of them: so a chunk is moved once for each power of it."""
SIZES = (8 << 10, 128 << 10, 2 << 20)
"""Packs under so much are alike: each holds what 16 of those before it do, and a full one what 8 of the last."""
MOSTLY = 0.5
"""A pack of which less than this is used is moved."""
MOST_BYTES = 1 << 30
"""Moved in one run."""


def compact(chunks: Chunks, usage: Usage, *, few: int = FEW) -> int:
    """Move the live chunks of such packs; return how many packs that were. What is damaged stays where it is."""
    moved = 0
    with chunks.writing() as batch:
        for pack in chosen(usage.packs, few):
            try:
                for chunk in chunks.read(usage.live_in(pack)):
                    batch.put(chunk, again=True)
            except IntegrityError as fault:
                log.warning("pack %s is not moved: %s", pack.hex(), fault)
            else:
                moved += 1
        batch.finish()
    return moved


def chosen(packs: Mapping[bytes, Use], few: int = FEW) -> Sequence[bytes]:
    """Which packs are moved. Pure."""
    found, size = list[bytes](), 0
    for pack in _candidates({pack: use for pack, use in packs.items() if use.used_bytes}, few):
        size += packs[pack].used_bytes
        if size > MOST_BYTES:
            break
        found.append(pack)
    return found


def _candidates(packs: Mapping[bytes, Use], few: int) -> Iterator[bytes]:
    rest = sorted(packs, key=lambda pack: (packs[pack].size_bytes, pack))
    for most in SIZES:
        alike = [pack for pack in rest if packs[pack].size_bytes < most]
        rest = rest[len(alike) :]
        mostly_unused = [pack for pack in alike if _is_mostly_unused(packs[pack])]
        yield from alike if len(alike) >= few else mostly_unused if len(mostly_unused) > 1 else ()
    yield from (pack for pack in rest if _is_mostly_unused(packs[pack]))


def _is_mostly_unused(use: Use) -> bool:
    return use.used_bytes < MOSTLY * use.size_bytes
