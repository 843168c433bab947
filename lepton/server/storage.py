"""Where the platform's packs lie: in its data directory, or on a storage that its owner has.

*Mark*: the file `lepton-vault` in the storage says whose packs lie there, and the storage's id. The database has the
same id, and the address. A server starts only where both agree: what is not mounted, misspelt, or another platform's is
refused, and never filled. A storage becomes the platform's when its database knows of no packs yet, or by a move.

*Move*: all packs are copied; then no new ones are taken (`store.storage.check`), and those that came meanwhile are
copied, until one transaction finds that none is left and changes the database's id. A server that still writes to the
old storage names no pack any more, and says so; whatever it had acknowledged was copied. What dies on the way is begun
again and goes on; new packs are taken again then at the latest `relocation.LAST_S` later.
"""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from lepton.core.errors import ConfigError, ConflictError, IntegrityError, LeptonError, NameTakenError, NotFoundError
from lepton.security.key import derive, seal, unseal
from lepton.server.config import ServerConfig
from lepton.store import facts, storage
from lepton.store.database import Database, Tx
from lepton.store.storage import Kept
from lepton.store.vault import packs_present
from lepton.vault.driver import Driver
from lepton.vault.drivers.credentials import Credentials, from_environment
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.drivers.opening import address_of, open_driver
from lepton.vault.drivers.probing import probe
from lepton.vault.store.files import pack_path
from lepton.vault.uses import OWNER_MARK, PACKS_MARK, Use, taking

FORMAT = 1
NEEDED = ("range_reads", "read_after_write", "list_after_write")
"""What a storage of packs must be able to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A storage, and who one is there."""

    url: str
    """Empty: `DIR/vault`."""
    credentials: Credentials
    folder: Path
    """The data directory."""

    def __str__(self) -> str:
        return self.url or str(self.folder / "vault")

    def open(self) -> Driver:
        """Its driver."""
        return open_driver(str(self), self.credentials)


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """A storage that is the platform's."""

    driver: Driver
    id: str
    address: Address


def given(config: ServerConfig) -> Address:
    """What the settings say; credentials are those of this process."""
    if not config.storage:
        return own_address(config.data)
    return Address(url=address_of(config.storage), credentials=from_environment(), folder=config.data)


def own_address(folder: Path) -> Address:
    """The data directory's own storage."""
    return Address(url="", credentials=Credentials(), folder=folder)


def kept_of(root: bytes, address: Address, id: str) -> Kept:
    """A storage as it is remembered."""
    return Kept(id=id, address=address.url, credentials=sealed_credentials(root, address.url, address.credentials))


def own_folder(folder: Path) -> LocalDriver:
    """The data directory's own storage; what older versions kept in the clear lies there wherever packs are."""
    return LocalDriver(folder / "vault")


def open_storage(database: Database, given: Address, *, root: bytes, is_new: bool = False) -> Storage:
    """The platform's storage: the one that is given, else (an empty address) the one that it remembers.

    Args:
        given: without credentials, those that are remembered for that address count.
        is_new: the storage may be empty although packs are known: they are to be repaired.

    Raises:
        ConfigError: the platform's packs lie elsewhere, or others' lie there; or it cannot do what packs need.
        StorageUnreachableError, StorageRefusedError, StorageFullError: it cannot be used.
    """
    known = database.read(storage.find)
    address = _wanted(given, known, root)
    driver = address.open()
    try:
        _check_beside(driver, address)
        id = _settled(database, driver, address, known, is_new=is_new)
        kept = kept_of(root, address, id)
        settled = database.write(lambda tx: storage.settle(tx, kept))
        if settled.id != id:  # another server on this database was faster
            raise _elsewhere(address, settled)
        if (settled.address, _opened(root, settled)) != (address.url, address.credentials):
            database.write(lambda tx: storage.put(tx, kept))
        if isinstance(driver, LocalDriver):
            driver.pin(PACKS_MARK)
    except BaseException:
        driver.close()
        raise
    return Storage(driver=driver, id=id, address=address)


def _wanted(given: Address, known: Kept | None, root: bytes) -> Address:
    if known is None or (given.url and given.url != known.address):
        return given
    remembered = replace(given, url=known.address, credentials=_opened(root, known))
    return given if given.url and given.credentials != Credentials() else remembered


def _settled(database: Database, driver: Driver, address: Address, known: Kept | None, *, is_new: bool) -> str:
    """The id of a storage that is the platform's; made so, where it is nobody's and no other was."""
    platform, found = platform_id(database), mark_of(driver)
    if found and found[0] != platform:
        raise ConfigError(
            f"The packs of another platform lie at {address}", fix="Name the platform's own storage, or an empty one."
        )
    if found and found[1] == (known.id if known else found[1]):
        return found[1]
    is_same = known is None or (known.address == address.url and (is_new or database.read(packs_present)))
    if (
        found
        or not is_same
        or not (is_new or database.read(partial(_is_there, driver=driver, is_known=known is not None)))
    ):
        raise _elsewhere(address, known)
    _write_mark(driver, address, platform, known.id if known else new_id())
    found = mark_of(driver)
    if found is None or found[0] != platform:
        raise ConfigError(f"Another platform took {address} just now", fix="Name another folder or bucket.")
    return found[1]


def _is_there(tx: Tx, driver: Driver, *, is_known: bool) -> bool:
    """Whether packs that the database knows lie there, or it knows none.

    Args:
        is_known: all of them must; else, when storages had no marks yet, one.
    """
    packs = paths(tx)
    there = packs & {head.key for head in driver.list("domains/")} if packs else packs
    return there == packs if is_known else bool(there) or not packs


def paths(tx: Tx) -> set[str]:
    """Of all packs that the database knows."""
    return {pack_path(domain, id) for domain, found in packs_present(tx).items() for id, _ in found}


def _elsewhere(address: Address, known: Kept | None) -> LeptonError:
    fix = "Look whether it is mounted; if all of it is lost: lepton vault repair --new --from URL."
    if known and known.address == address.url != "":
        return ConfigError(f"The platform's packs do not lie at {address}, where they were", fix=fix)
    if known and not address.url:
        return ConfigError(
            f"The platform's packs do not lie at {address}, but with another server on this database, or nowhere",
            fix="A second server: on the first, lepton vault storage --move-to URL, and start both with --storage URL,"
            f" a place that both reach. The only one: {fix[0].lower()}{fix[1:]}",
        )
    return ConfigError(
        f"The platform's packs lie at {known.address or 'DIR/vault' if known else 'DIR/vault'}, and not at {address}",
        fix="Start without --storage, then: lepton vault storage --move-to URL.",
    )


def _check_beside(driver: Driver, address: Address) -> None:
    """Refuse a folder with the data directory in it: whoever moves or mounts the one would take the other."""
    folder = address.folder.resolve()
    if isinstance(driver, LocalDriver) and driver.root.resolve() in (folder, *folder.parents):
        raise ConfigError(f"The storage {address} contains the data directory", fix="Name a folder beside it.")


def mark_of(driver: Driver) -> tuple[str, str] | None:
    """Id of the platform whose packs lie there, and of the storage."""
    try:
        told = json.loads(b"".join(driver.get(PACKS_MARK)))
        if told["lepton_vault"] != FORMAT:
            raise ConfigError("The packs are of a form that this Lepton does not know", fix="Upgrade Lepton.")
        return str(told["platform"]), str(told["id"])
    except NotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as fault:
        raise IntegrityError(f"{PACKS_MARK} is damaged", fix="Remove it: the next start makes it again.") from fault


def claim(driver: Driver, address: Address, *, platform: str, id: str) -> bool:
    """Make a storage the platform's under an id that it remembers; False: it is so already.

    Raises:
        ConflictError: backups, or packs of another platform or of other times, lie there.
        ConfigError: it cannot do what packs need, or the data directory lies in it.
    """
    _check_beside(driver, address)
    found = mark_of(driver)
    is_new = found is None
    if is_new:
        _write_mark(driver, address, platform, id, is_fresh=True)
        found = mark_of(driver)
    if found != (platform, id):
        raise ConflictError(f"Packs of a platform lie at {address} already", fix="Name an empty folder or bucket.")
    return is_new


def _write_mark(driver: Driver, address: Address, platform: str, id: str, *, is_fresh: bool = False) -> None:
    folder = address.folder.resolve()
    own = folder / "vault"  # which a move may lead back to
    root = driver.root.resolve() if address.url and isinstance(driver, LocalDriver) else own.resolve()
    if root.is_relative_to(folder) and root != own.resolve():
        raise ConfigError(
            f"The storage {address} lies in the data directory",
            fix=f"Leave --storage out: content is in {own} then; or name a folder beside it.",
        )
    body = json.dumps({"lepton_vault": FORMAT, "platform": platform, "id": id}).encode()
    with taking(driver, str(address), Use.PACKS, PACKS_MARK), suppress(NameTakenError):  # who asks looks what it says
        if address.url:
            _check_able(address)
        if is_fresh:
            driver.delete(OWNER_MARK)  # of other times
        if driver.capabilities.create_if_absent:
            driver.create_if_absent(PACKS_MARK, body)
        else:
            driver.put(PACKS_MARK, [body])


def _check_able(address: Address) -> None:
    found = probe(address.open, only=NEEDED)
    lacking = [name for name in NEEDED if not getattr(found, name)]
    if lacking:
        raise ConfigError(
            f"{address} cannot keep packs: {'; '.join(f'{name}: {found.why_not[name]}' for name in lacking)}",
            fix="Name another storage.",
        )


def new_id() -> str:
    """Of a storage, at random."""
    return os.urandom(16).hex()


def platform_id(database: Database) -> str:
    """The platform's id; made at first."""
    return database.write(lambda tx: facts.settle(tx, "platform", new_id()))


def sealed_credentials(root: bytes, address: str, credentials: Credentials) -> bytes:
    """As they are kept with a storage's address; empty where there are none."""
    told = {name: value for name, value in asdict(credentials).items() if value}
    return seal(_key(root), json.dumps(told).encode(), place=address) if told else b""


def opened_credentials(root: bytes, address: str, sealed: bytes) -> Credentials:
    """What was sealed; none of empty.

    Raises:
        IntegrityError: they were sealed under another root key.
    """
    return Credentials(**json.loads(unseal(_key(root), sealed, place=address))) if sealed else Credentials()


def _opened(root: bytes, kept: Kept) -> Credentials:
    return opened_credentials(root, kept.address, kept.credentials)


def _key(root: bytes) -> bytes:
    return derive(root, "storage credentials")


def check_apart(target: str, others: Iterable[str]) -> None:
    """Refuse a place in another, or around it: whoever clears the one away would take the other.

    Raises:
        ConflictError: it is.
    """
    mine = _path_of(target)
    for other in others:
        its = _path_of(other)
        if mine != its and (mine.startswith(its) or its.startswith(mine)):
            raise ConflictError(f"{target} and {other} lie in each other", fix="Name a folder that is apart from it.")


def _path_of(url: str) -> str:
    place, mark, options = url.partition("?")
    return f"{options}{mark}{place.rstrip('/')}/"
