"""The storage that backups go to: whose it is, which backups lie there, packs copied once."""

import json
import os
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from lepton.core.clock import believed
from lepton.core.errors import ConflictError, IntegrityError, NameTakenError, NotFoundError, StorageRefusedError
from lepton.vault.backup.progress import Steps
from lepton.vault.driver import AppendOnly, Driver
from lepton.vault.store.files import pack_path
from lepton.vault.uses import BACKUPS, BACKUPS_MARK, DIGITS, DOING, SECOND_MANIFESTS, Use, check_only, taking, uses_of

MAKING, FORGETTING = "making", "forgetting"
BUSY_S = 86_400
"""Who said longer ago that he is at something is dead."""
BEAT_S = 3600
"""How often he says it again."""
FORMAT = 1
COPIES = 4
"""Packs that are under way at once; each holds a few megabytes of memory."""
Packs = Mapping[bytes, Iterable[tuple[bytes, int]]]
"""Domain -> id and bytes of each pack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a platform remembers of where its backups go."""

    id: str = ""
    """Of the place with that address; empty: no backup went there."""
    others: Collection[str] = ()
    """Ids of its other places."""
    is_new: bool = False
    """A place where no backups lie yet is meant."""

    def check_new(self, address: str) -> None:
        """Refuse an empty place, unless it is meant.

        Raises:
            ConflictError: backups went there before; or they go to other places.
        """
        if self.id and not self.is_new:
            raise ConflictError(
                f"Backups went to {address} before, and none lie there now",
                fix="Look whether it is mounted; --new begins anew there, and copies everything.",
            )
        if self.others and not self.is_new:
            raise ConflictError(
                f"No backup went to {address} yet",
                fix="Check the address (lepton vault backups lists those known); --new begins there.",
            )

    def check_same(self, address: str, id: str) -> None:
        """Refuse a place where others of the platform's backups lie, unless that is known or meant.

        Raises:
            ConflictError: it is another than it was.
        """
        if self.id and id not in (self.id, *self.others) and not self.is_new:
            raise ConflictError(
                f"Other backups lie at {address} than those that went there", fix="Look what is mounted; or say --new."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """Who is at something, and when."""

    holder: str
    """The same for all that one lock lets in one after the other."""
    now: int
    """Microseconds since 1970."""

    @property
    def until(self) -> int:
        """When it is taken for dead."""
        return self.now + BUSY_S * 1_000_000


class Target:
    """Backups of one platform on one storage."""

    def __init__(self, driver: Driver, address: str) -> None:
        self.driver, self.address = driver, address

    @property
    def is_past(self) -> bool:
        """Whether it is read as it was at a time before: what was made since is not there, and that is no loss."""
        return "as_of=" in self.address.partition("?")[2]

    def is_claimed(self) -> bool:
        """Whether backups lie there, or are about to."""
        try:
            return bool(self._about())
        except NotFoundError:
            return False

    def claim(self, platform: str, known: "Known") -> str:
        """Make the storage this platform's, if it is nobody's; return the id that stands in it.

        Raises:
            ConflictError: backups of another platform lie there; or, unless it may be new, not those that did.
        """
        if (fault := self.mark_fault()) and self._all_numbers():
            raise ConflictError(
                f"Backups lie at {self.address}, but {BACKUPS_MARK}, which says whose, is {fault}", fix=self._mends()
            )
        try:
            found, id = self._about()
        except NotFoundError:
            known.check_new(self.address)
            with taking(self.driver, self.address, Use.BACKUPS, BACKUPS_MARK):
                self._write_mark(platform, os.urandom(16).hex())
            found, id = self._about()
        if found != platform:
            raise ConflictError("Backups of another platform lie there", fix="Choose an empty folder or bucket.")
        known.check_same(self.address, id)
        return id

    def id(self) -> str:
        """That of the place, as it stands there; empty where that cannot be read."""
        try:
            return self._about()[1]
        except (NotFoundError, IntegrityError):
            return ""

    def platform(self) -> str:
        """Whose backups lie there, as it stands there; empty where that cannot be read."""
        try:
            return self._about()[0]
        except (NotFoundError, IntegrityError):
            return ""

    def mark_fault(self) -> str:
        """What is wrong with the file that says whose the backups are; empty: nothing."""
        try:
            told = json.loads(b"".join(self.driver.get(BACKUPS_MARK)))
            return "" if told["lepton_backup"] and told["platform"] else "damaged"
        except NotFoundError:
            return "missing"
        except (ValueError, KeyError, TypeError):
            return "damaged"

    def mend_mark(self, platform: str, id: str) -> str:
        """Write that file anew where anything is wrong with it; what that was.

        Args:
            id: of the place, where somebody knows it; else a new one.
        """
        fault = self.mark_fault()
        if fault:
            self._write_mark(platform, id or os.urandom(16).hex())
        return fault

    def _mends(self) -> str:
        return f"lepton vault repair --at {self.address} writes it anew."

    def check_only(self) -> None:
        """Refuse to remove packs from a place that is for something else too.

        Raises:
            ConflictError: it is.
        """
        try:
            check_only(self.driver, self.address, Use.BACKUPS)
        except ConflictError as fault:
            raise ConflictError(
                f"{fault.message}, beside backups: nothing is let go of there",
                fix="Move one of the two elsewhere (parcels: receive them, and remove parcels/ and lepton-parcels).",
            ) from fault

    def check_append_only(self) -> AppendOnly:
        """Refuse a storage that lets whoever writes lose what lies there; else say what it keeps.

        Raises:
            ConflictError: it does.
        """
        if not (found := self.driver.append_only()).holds:
            raise ConflictError(
                f"The storage is not append-only: {found.reason}",
                fix="Use a versioned S3 bucket with a default retention in compliance mode, or a door on another "
                "machine (lepton vault door); or omit --append-only.",
            )
        return found

    def _write_mark(self, platform: str, id: str) -> None:
        told = {"lepton_backup": FORMAT, "platform": platform, "id": id}
        self.driver.put(BACKUPS_MARK, [(json.dumps(told) + "\n").encode()])

    @contextmanager
    def busy(self, what: str, rival: str, busy: "Busy") -> Iterator[Callable[[int], None]]:
        """Say in the storage what is being done, for as long as it is.

        Gives what is to be called now and then with the time (microseconds since 1970), so that it is not taken for
        dead; that raises ConflictError where it was already.

        Raises:
            ConflictError: somebody else says that the rival is being done.
        """
        mine, said = f"{DOING}{what}-{os.urandom(8).hex()}", busy.now
        self._say(mine, busy)

        def beat(now: int) -> None:
            nonlocal said
            if now - said < BEAT_S * 1_000_000:
                return
            if not any(head.key == mine for head in self.driver.list(DOING)):
                raise ConflictError(f"Somebody took this {what} for dead", fix="Begin it again.")
            self._say(mine, replace(busy, now=now))
            said = now

        try:
            for head in list(self.driver.list(DOING)):
                if head.key != mine and not self._is_alive(head.key, busy):
                    self._remove(head.key)
                elif head.key.startswith(f"{DOING}{rival}-"):
                    raise ConflictError(f"Somebody else is {rival} there now", fix="Try again when that has ended.")
            yield beat
        finally:
            self._remove(mine)

    def _say(self, key: str, busy: "Busy") -> None:
        self.driver.put(key, [json.dumps({"holder": busy.holder, "until": busy.until}).encode()])

    def _is_alive(self, key: str, busy: "Busy") -> bool:
        """Whether who said so may still be at it: not one who had the lock that we have now."""
        try:
            told = json.loads(b"".join(self.driver.get(key)))
            until = int(told["until"])
            return bool(told["holder"] != busy.holder and until > busy.now and believed(until, busy.until))
        except (NotFoundError, ValueError, KeyError, TypeError):
            return False

    def _remove(self, key: str) -> None:
        with suppress(StorageRefusedError):  # it is append-only; nothing is forgotten there
            self.driver.delete(key)

    def numbers(self) -> list[int]:
        """Numbers of the backups, oldest first; the first is 1, and what lies under 0 is none.

        Raises:
            NotFoundError: no backups lie there.
        """
        if found := self._all_numbers():
            return found  # who reads needs no mark: manifests are signed
        self._about()
        return []

    def _all_numbers(self) -> list[int]:
        return sorted({*self._numbers(BACKUPS), *self._numbers(SECOND_MANIFESTS)})

    def _numbers(self, folder: str) -> Iterator[int]:
        names = (head.key.removeprefix(folder) for head in self.driver.list(folder))
        return (int(name) for name in names if len(name) == DIGITS and name.isascii() and name.isdigit() and int(name))

    def read(self, number: int) -> dict[str, bytes]:
        """Where copies of a backup's manifest lie, and what they are, sealed.

        Raises:
            NotFoundError: there is none of that number.
        """
        found = dict[str, bytes]()
        for path in manifest_paths(number):
            with suppress(NotFoundError):
                found[path] = b"".join(self.driver.get(path))
        if not found:
            raise NotFoundError(f"There is no backup {number}", fix="See lepton vault backups.")
        return found

    def single(self) -> list[int]:
        """Numbers of the backups whose manifest has one copy only."""
        return sorted({*self._numbers(BACKUPS)} ^ {*self._numbers(SECOND_MANIFESTS)})

    def complete(self, number: int, manifest: bytes) -> list[str]:
        """Write the copies of a manifest that are missing, or other than this; return where."""
        there = dict[str, bytes]()
        with suppress(NotFoundError):
            there = self.read(number)
        wrong = [path for path in manifest_paths(number) if there.get(path) != manifest]
        for path in wrong:
            self.driver.put(path, [manifest])
        return wrong

    def write(self, number: int, manifest: bytes) -> None:
        """Keep a manifest: from now on the backup counts. It is never changed.

        Raises:
            NameTakenError: there is one of that number.
        """
        path, copy = manifest_paths(number)
        try:
            self.driver.head(path)
        except NotFoundError:
            self.driver.put(path, [manifest])
            self.driver.put(copy, [manifest])
            return
        raise NameTakenError(f"There is a backup {number} already", fix="Begin it again.")

    def _about(self) -> tuple[str, str]:
        """Whose it is, and its id."""
        try:
            told = json.loads(b"".join(self.driver.get(BACKUPS_MARK)))
            if told["lepton_backup"] != FORMAT:
                raise IntegrityError("The backups are of a form that this Lepton does not know", fix="Upgrade Lepton.")
            return str(told["platform"]), str(told.get("id", ""))
        except (ValueError, KeyError, TypeError) as fault:
            raise IntegrityError(f"{BACKUPS_MARK} at {self.address} is damaged", fix=self._mends()) from fault
        except NotFoundError as fault:
            others = " and ".join(sorted(map(str, uses_of(self.driver) - {Use.BACKUPS})))
            what = f"No backups lie at {self.address}" + (f", but {others}" if others else "")
            raise NotFoundError(what, fix="Take a later as_of." if self.is_past else "Check the address.") from fault


@dataclass(slots=True)
class Copied:
    """What a copy did."""

    packs: int = 0
    size_bytes: int = 0
    lost: dict[str, str] = field(default_factory=dict)
    """Path of a pack that is missing in the source, or has another size there -> what is wrong."""


def size_of(packs: Packs) -> int:
    """Bytes of all packs."""
    return sum(size for found in packs.values() for _, size in found)


def copy_packs(source: Driver, target: Driver, packs: Packs, *, progress: Steps, looks: bool = True) -> Copied:
    """Copy packs that the target does not have whole. What is lost in the source stops nothing.

    Args:
        looks: whether some may be there already.
        progress: told of bytes as packs are done, those too that were there.
    """
    copied = Copied()
    with ThreadPoolExecutor(COPIES, "lepton-copies") as pool:
        for domain, wanted in packs.items():
            there = target.list(f"domains/{domain.hex()}/") if looks else ()
            here = {head.key: head.size_bytes for head in there}
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


def manifest_paths(number: int) -> tuple[str, str]:
    """The keys of a manifest and of its second copy."""
    return f"{BACKUPS}{number:0{DIGITS}}", f"{SECOND_MANIFESTS}{number:0{DIGITS}}"


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
