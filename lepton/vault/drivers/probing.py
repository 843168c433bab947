"""Find out what a storage really does, by doing it: a gateway that ignores `If-None-Match` loses commits silently."""

from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from random import uniform
from threading import Barrier, Event
from uuid import uuid4

from lepton.core.errors import LeptonError, NameTakenError, StaleError, StorageUnreachableError, UnsupportedError
from lepton.vault.driver import Capabilities, Driver

WRITERS = 16
ROUNDS = 4
TRIES = 3
"""Of one check, while the storage does not answer: a busy moment must not count as what it cannot do."""
ADDED = 2
"""By each writer."""
FOLDER = "probe-"
SPAN = 4096
Check = Callable[["_Place"], str]


class _Place:
    """A folder of its own in the storage, and one driver for each of the writers."""

    def __init__(self, drivers: list[Driver], folder: str, tries: int = TRIES) -> None:
        self.drivers = drivers
        self.driver = drivers[0]
        self.folder = folder
        self._tries = tries

    def again(self) -> "_Place | None":
        """The same with other names, for another try; None: there have been enough."""
        return _Place(self.drivers, self.folder, self._tries - 1) if self._tries > 1 else None

    def key(self, name: str) -> str:
        """A name in the folder, of this try alone."""
        return f"{self.folder}/{self._tries}-{name}"

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Bytes of a key."""
        return b"".join(self.driver.get(key, start=start, stop=stop))

    def all_at_once(self, act: Callable[[Driver, int], bool]) -> list[bool]:
        """Let every writer act in the same moment; whether each had success."""
        barrier = Barrier(WRITERS)

        def run(writer: int) -> bool:
            barrier.wait(timeout=60)
            return act(self.drivers[writer], writer)

        with ThreadPoolExecutor(WRITERS) as pool:
            return list(pool.map(run, range(WRITERS)))


def probe(open_one: Callable[[], Driver], *, only: Collection[str] = ()) -> Capabilities:
    """What the storage can do, each capability tried; a folder `probe-...` is made, and removed again.

    Args:
        open_one: opens a driver of the storage; called for each of 16 writers, so that they do not share a connection.
        only: which capabilities are tried; the others are as the driver believes. Empty: all.

    Raises:
        StorageUnreachableError, StorageRefusedError, StorageFullError: the storage cannot be written to at all.
    """
    with _opened(open_one) as place:
        believed = place.driver.capabilities
        place.driver.put(place.key("hello"), [b"hello"])
        why_not = dict(believed.why_not)
        for name, check in CHECKS.items():
            if only and name not in only:
                continue
            if not getattr(believed, name):
                why_not.setdefault(name, "The driver knows no way")
            elif reason := check(place):
                why_not[name] = reason
        names = [one.name for one in fields(Capabilities) if one.name != "why_not"]
        return Capabilities(
            **{name: getattr(believed, name) and name not in why_not for name in names}, why_not=why_not
        )


@contextmanager
def _opened(open_one: Callable[[], Driver]) -> Iterator[_Place]:
    drivers = [open_one() for _ in range(WRITERS)]
    place = _Place(drivers, f"{FOLDER}{uuid4().hex}")
    try:
        yield place
        for head in list(place.driver.list(place.folder + "/")):
            place.driver.delete(head.key)
        place.driver.drop_folder(place.folder)
    finally:
        for driver in drivers:
            driver.close()


def _creates_once(place: _Place) -> str:
    for number in range(ROUNDS):
        key = place.key(f"create{number}")
        won = place.all_at_once(lambda driver, writer, key=key: _created(driver, key, writer))  # type: ignore[misc]
        if won.count(True) != 1:
            return f"{won.count(True)} of {WRITERS} writers were told that they had created one key"
        if place.read(key) != str(won.index(True)).encode():
            return "The bytes of a writer that was refused were kept"
    return ""


def _created(driver: Driver, key: str, writer: int) -> bool:
    try:
        driver.create_if_absent(key, str(writer).encode())
    except (NameTakenError, StaleError):
        return False
    return True


def _swaps_losing_nothing(place: _Place) -> str:
    key = place.key("counter")
    etag = place.driver.put(key, [b"0"]).etag
    place.driver.put(key, [b"00"])
    try:
        place.driver.replace_if_match(key, b"1", etag=etag)
    except StaleError:
        place.driver.put(key, [b"0"])
    else:
        return "A write that stated an old etag was accepted"
    counted = place.all_at_once(lambda driver, _: all(_added_one(driver, key) for _ in range(ADDED)))
    wanted, found = counted.count(True) * ADDED, int(place.read(key))
    return "" if found == wanted == WRITERS * ADDED else f"{wanted} additions were acknowledged, {found} kept"


def _added_one(driver: Driver, key: str) -> bool:
    """Add one, however often others come first; but not for ever. Who was late waits a moment, the longer the later."""
    for attempt in range(200):
        etag = driver.head(key).etag
        number = int(b"".join(driver.get(key)))
        try:
            driver.replace_if_match(key, str(number + 1).encode(), etag=etag)
        except StaleError:
            Event().wait(uniform(0, 0.02 * min(attempt + 1, 10)))
            continue
        return True
    return False


def _changes_etags(place: _Place) -> str:
    etags = {place.driver.put(place.key("same"), [b"same"]).etag for _ in range(8)}
    return "" if len(etags) == 8 else "Equal bytes written again have an equal etag"


def _keeps_names(place: _Place) -> str:
    names = ("case", "CASE", "u\u0308ber", "\u00fcber")
    for name in names:
        place.driver.put(place.key(f"names/{name}"), [name.encode()])
    if all(place.read(place.key(f"names/{name}")) == name.encode() for name in names):
        return ""
    return "Names that differ only in case or normal form are one"


def _reads_ranges(place: _Place) -> str:
    body = bytes(range(256)) * (SPAN // 256)
    key = place.key("range")
    place.driver.put(key, [body])
    wrong = [at for at in (0, 1, SPAN - 7) if place.read(key, at, at + 5) != body[at : at + 5]]
    return f"A range from byte {wrong[0]} gave other bytes" if wrong else ""


def _reads_own_writes(place: _Place) -> str:
    key = place.key("again")
    for number in range(ROUNDS * 2):
        place.driver.put(key, [str(number).encode()])
        if b"".join(place.drivers[number % WRITERS].get(key)) != str(number).encode():
            return "A reader got bytes older than the last write"
    return ""


def _lists_own_writes(place: _Place) -> str:
    wanted = set()
    for number in range(ROUNDS * 2):
        key = place.key(f"list/{number}")
        place.driver.put(key, [b"x"])
        wanted.add(key)
        if {head.key for head in place.drivers[number % WRITERS].list(place.key("list/"))} != wanted:
            return "A listing did not hold what had been written"
    return ""


def _careful(check: Check) -> Check:
    """A check that fails in any way of ours says no; one whose storage did not answer says nothing, and is repeated."""

    def checked(place: _Place) -> str:
        try:
            return check(place)
        except UnsupportedError as fault:
            return fault.message
        except (LeptonError, ValueError) as fault:
            if isinstance(fault, StorageUnreachableError) and (again := place.again()) is not None:
                return checked(again)
            return f"It failed: {fault}"

    return checked


CHECKS: Mapping[str, Check] = {
    "create_if_absent": _careful(_creates_once),
    "replace_if_match": _careful(_swaps_losing_nothing),
    "unique_etags": _careful(_changes_etags),
    "exact_names": _careful(_keeps_names),
    "range_reads": _careful(_reads_ranges),
    "read_after_write": _careful(_reads_own_writes),
    "list_after_write": _careful(_lists_own_writes),
}
