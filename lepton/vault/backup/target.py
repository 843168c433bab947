"""The storage that backups go to: whose it is, which backups lie there, packs copied once."""

import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

from lepton.core.errors import ConflictError, IntegrityError, NameTakenError, NotFoundError
from lepton.vault.backup.progress import Steps
from lepton.vault.driver import Driver
from lepton.vault.store.chunks import pack_path

ABOUT = "lepton-backup"
FOLDER = "backups/"
DIGITS = 8
FORMAT = 1
COPIES = 4
"""Packs that are under way at once; each holds a few megabytes of memory."""
Packs = Mapping[bytes, Iterable[tuple[bytes, int]]]
"""Domain -> id and bytes of each pack."""


class Target:
    """Backups of one platform on one storage."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def claim(self, platform: str) -> None:
        """Make the storage this platform's, if it is nobody's.

        Raises:
            ConflictError: backups of another platform lie there.
        """
        about = json.dumps({"lepton_backup": FORMAT, "platform": platform}) + "\n"
        try:
            found = self._about()
        except NotFoundError:
            self.driver.put(ABOUT, [about.encode()])
            found = self._about()
        if found != platform:
            raise ConflictError("Backups of another platform lie there", fix="Choose an empty folder or bucket.")

    def numbers(self) -> list[int]:
        """Numbers of the backups, oldest first.

        Raises:
            NotFoundError: no backups lie there.
        """
        self._about()
        names = (head.key.removeprefix(FOLDER) for head in self.driver.list(FOLDER))
        return sorted(int(name) for name in names if len(name) == DIGITS and name.isascii() and name.isdigit())

    def read(self, number: int) -> bytes:
        """The manifest of a backup, sealed.

        Raises:
            NotFoundError: there is none of that number.
        """
        try:
            return b"".join(self.driver.get(manifest_path(number)))
        except NotFoundError as fault:
            raise NotFoundError(f"There is no backup {number}", fix="See lepton vault backups.") from fault

    def write(self, number: int, manifest: bytes) -> None:
        """Keep a manifest: from now on the backup counts. It is never changed.

        Raises:
            NameTakenError: there is one of that number.
        """
        path = manifest_path(number)
        try:
            self.driver.head(path)
        except NotFoundError:
            self.driver.put(path, [manifest])
            return
        raise NameTakenError(f"There is a backup {number} already", fix="Begin it again.")

    def _about(self) -> str:
        try:
            told = json.loads(b"".join(self.driver.get(ABOUT)))
            if told["lepton_backup"] != FORMAT:
                raise IntegrityError("The backups are of a form that this Lepton does not know", fix="Upgrade Lepton.")
            return str(told["platform"])
        except (ValueError, KeyError, TypeError) as fault:
            raise IntegrityError(f"{ABOUT} is damaged", fix="Write it anew, or choose another place.") from fault
        except NotFoundError as fault:
            raise NotFoundError("No backups lie there", fix="Check the address.") from fault


@dataclass(slots=True)
class Copied:
    """What a copy did."""

    packs: int = 0
    size_bytes: int = 0
    lost: dict[str, str] = field(default_factory=dict)
    """Path of a pack that is missing in the source, or has another size there -> what is wrong."""


def copy_packs(source: Driver, target: Driver, packs: Packs, *, progress: Steps) -> Copied:
    """Copy packs that the target does not have whole. What is lost in the source stops nothing.

    Args:
        progress: told of bytes as packs are done, those too that were there.
    """
    copied = Copied()
    with ThreadPoolExecutor(COPIES, "lepton-copies") as pool:
        for domain, wanted in packs.items():
            here = {head.key: head.size_bytes for head in target.list(f"domains/{domain.hex()}/")}
            for some in _some(_missing(domain, wanted, here, progress)):
                waiting = {pool.submit(_copy, source, target, path, size): (path, size) for path, size in some}
                for done in as_completed(waiting):
                    path, size = waiting[done]
                    fault = done.result()
                    progress(size)
                    if fault:
                        copied.lost[path] = fault
                    else:
                        copied.packs, copied.size_bytes = copied.packs + 1, copied.size_bytes + size
    return copied


def manifest_path(number: int) -> str:
    """The key of a manifest."""
    return f"{FOLDER}{number:0{DIGITS}}"


def _missing(
    domain: bytes, packs: Iterable[tuple[bytes, int]], here: Mapping[str, int], progress: Steps
) -> Iterator[tuple[str, int]]:
    for pack, size in packs:
        path = pack_path(domain, pack)
        if here.get(path) == size:
            progress(size)
        else:
            yield path, size


def _copy(source: Driver, target: Driver, path: str, size: int) -> str:
    """Copy one; what is wrong with it, if anything."""
    try:
        found = source.head(path).size_bytes
        if found != size:
            return f"it has {found} bytes, not {size}"
        pieces = source.get(path)
    except NotFoundError:
        return "it is missing"
    try:
        written = target.put(path, pieces).size_bytes
        return "" if written == size else f"{written} bytes of {size} were copied"
    finally:
        if isinstance(pieces, Generator):  # the source is closed, also where the target did not take all
            pieces.close()


def _some(items: Iterator[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    held: list[tuple[str, int]] = []
    for item in items:
        held.append(item)
        if len(held) == 8 * COPIES:
            yield held
            held = []
    if held:
        yield held
