"""Make damaged packs whole from other copies of them: box by box, as each box proves that it is right."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lepton.core.errors import IntegrityError, LeptonError, NotFoundError, StorageRefusedError
from lepton.vault.backup.check import Body, Opens
from lepton.vault.backup.progress import Steps
from lepton.vault.driver import Driver
from lepton.vault.store.files import pack_path
from lepton.vault.store.packs import HEADER, Entry, PackReader
from lepton.vault.store.rescue import Rescued, rescued


@dataclass(slots=True)
class Mended:
    """What was done."""

    packs: int = 0
    """That were looked at."""
    whole_again: list[str] = field(default_factory=list)
    """Paths of packs that were damaged."""
    damaged: dict[str, str] = field(default_factory=dict)
    """Path -> what is wrong still."""
    spare: dict[str, str] = field(default_factory=dict)
    """The same of packs of which all that is needed can be read from others."""
    moved: int = 0
    """Chunks that were stored again, out of packs that no copy makes whole."""
    names: list[str] = field(default_factory=list)
    """What cannot be read whole still."""


def mend_packs(
    driver: Driver,
    sources: Sequence[Driver],
    ring: Opens,
    packs: Mapping[bytes, Iterable[tuple[bytes, int]]],
    *,
    progress: Steps,
    mended: Mended,
) -> None:
    """Read all packs of a storage, and write those anew that are damaged and whole elsewhere, or less damaged.

    Args:
        sources: where copies of the packs lie.
        mended: what was done is added to it.
    """
    for domain, wanted in packs.items():
        for pack, size in wanted:
            path = pack_path(domain, pack)
            try:
                copies = _Copies(size, domain, pack, ring.pack(pack), ring.domain(domain).chunk_id)
            except (IntegrityError, NotFoundError) as fault:
                mended.damaged[path] = fault.message
            else:
                _mend(driver, sources, path, copies, mended)
            mended.packs += 1
            progress(size)


def _mend(driver: Driver, sources: Sequence[Driver], path: str, copies: "_Copies", mended: Mended) -> None:
    ours = _body(driver, path)
    found = copies.joined([ours])
    is_long = len(ours) != copies.size
    if found is not None and not found.lost and not is_long:
        return
    better = copies.joined([ours, *(_body(source, path) for source in sources)], is_last=True)
    if better is None:
        mended.damaged[path] = "no copy of it can be read" if found is None else "no copy of it is better"
        return
    if (found is None or better.lost < found.lost or is_long) and (fault := _written(driver, path, better.body)):
        mended.damaged[path] = fault
        return
    if better.lost:
        mended.damaged[path] = f"{better.lost} of its {better.boxes} boxes are damaged in every copy"
    else:
        mended.whole_again.append(path)


def _written(driver: Driver, path: str, body: bytes) -> str:
    """Write a pack; why that cannot be, if so: it stands in the way of no other."""
    try:
        driver.put(path, [body])
    except StorageRefusedError:
        driver.drop_folder(path)  # if it is an empty one that is in the way
        try:
            driver.put(path, [body])
        except StorageRefusedError as fault:
            return f"it cannot be written: {fault.message}"
    return ""


@dataclass(frozen=True, slots=True)
class _Joined:
    """The best of some copies."""

    body: bytes
    boxes: int
    lost: int
    """Boxes that no copy has."""


class _Copies:
    """Puts copies of one pack together."""

    def __init__(self, size: int, domain: bytes, pack: bytes, key: bytes, id_key: bytes) -> None:
        self.size, self._domain, self._pack, self._key, self._id_key = size, domain, pack, key, id_key

    def joined(self, copies: Sequence[bytes], *, is_last: bool = False) -> _Joined | None:
        """All of the pack that any copy has; None: no copy has its directory.

        Args:
            is_last: make a directory that no copy has again from the boxes.
        """
        frames = ((body, self._entries(body)) for body in copies)
        frame, entries = next(((body, found) for body, found in frames if found is not None), (b"", None))
        if entries is None and is_last:
            again = [found for body in copies if (found := self._rescued(body)) and found.body]
            frame = min(again, key=lambda each: each.lost).body if again else b""
            entries = self._entries(frame)
        if entries is None:
            return None
        parts, lost, end = [frame[: HEADER.size]], 0, HEADER.size
        readers = [self._reader(body) for body in copies]
        for entry in entries:
            start, end = entry.start, entry.start + entry.box
            whole = (body[start:end] for body, reader in zip(copies, readers, strict=True) if _opens(reader, entry))
            box = next(whole, None)
            lost += box is None
            parts.append(frame[start:end] if box is None else box)
        return _Joined(b"".join([*parts, frame[end : self.size]]), len(entries), lost)

    def _entries(self, body: bytes) -> Sequence[Entry] | None:
        try:
            return self._reader(body).directory(self.size)
        except LeptonError:
            return None

    def _rescued(self, body: bytes) -> Rescued | None:
        return rescued(self._reader(body), body[: self.size]) if len(body) >= self.size else None

    def _reader(self, body: bytes) -> PackReader:
        return PackReader(Body(body), domain=self._domain, pack=self._pack, key=self._key, id_key=self._id_key)


def _opens(reader: PackReader, entry: Entry) -> bool:
    try:
        reader.read(entry)
    except IntegrityError:
        return False
    return True


def _body(driver: Driver, path: str) -> bytes:
    """What is there; nothing where there is none, or it cannot be read to its end."""
    try:
        return b"".join(driver.get(path))
    except (NotFoundError, IntegrityError):
        return b""
