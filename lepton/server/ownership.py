"""Whose a storage is that lies apart from the data directory: of one database, and of the newest state of that.

A copy of a data directory, or a database that was set back, has the platform's keys and the storage's id; it would let
go of packs that only the other knows. So the storage has a file `lepton-owner` with a *token*, and the database knows
the last ones that it gave it. Each start gives a new one, and so does each minute in which the database has changed: to
the database first, then to the storage, so that a death between the two leaves a token that the database knows. Who
finds a token that is not his own does not start; who runs already stops to delete, and says so in an alert. Where a
token cannot be written (a full disk, a storage that is read-only) a server starts all the same, and deletes nothing
until it can be.
"""

import json
import logging
import os
from contextlib import closing
from datetime import datetime
from pathlib import Path

from lepton.core.clock import Clock
from lepton.core.errors import (
    IntegrityError,
    LeptonError,
    NotFoundError,
    StorageFullError,
    StorageRefusedError,
    StorageUnreachableError,
    UnavailableError,
)
from lepton.server.alerts import About, end_others, tell
from lepton.server.storage import Address, Storage, mark_of, opened_credentials
from lepton.server.submit import Author
from lepton.store import events, storage
from lepton.store.database import Database, Tx
from lepton.vault.uses import OWNER_MARK, PACKS_MARK

log = logging.getLogger("lepton")
KEPT = 8
"""A write that came late may bring an older token back: it is known still."""
FORMAT = 1
ACTOR = "loop:ownership"


class StorageSharedError(LeptonError):
    """Another copy of this database has used its storage since."""

    code, status = "storage_shared", 409


class Ownership:
    """What one database knows of whose its storage is. Any thread may use it."""

    def __init__(self, database: Database, place: Storage) -> None:
        self._database, self._driver, self._id, self.address = database, place.driver, place.id, place.address
        self._seen = -1
        """The last event that the storage's token stands for."""
        self._lacks: LeptonError | None = None
        """Why the storage could not be taken for this start, although it is no other's."""

    @property
    def is_shared(self) -> bool:
        """Whether others could use the storage: the data directory's own goes with every copy of that."""
        return bool(self.address.url)

    def begin(self) -> None:
        """Take the storage for this start; where it cannot be written, `keep` tries again.

        Raises:
            StorageSharedError: another copy of the database has used it since.
            IntegrityError: nothing says whose it is.
        """
        if not self.is_shared:
            return
        found = self._found()
        if found and found not in self._known():
            raise self._fault()
        try:
            self._renew()
        except (StorageFullError, StorageRefusedError) as fault:
            log.warning("%s cannot be written: %s", self.address, fault.message)
            self._lacks = fault
            return
        self._lacks = None
        self.check()  # of two who begin at once the later has it

    def check(self) -> None:
        """Refuse to delete anything in a storage that is another's by now, or may be.

        Raises:
            StorageSharedError: it is.
            IntegrityError: nothing there says whose it is.
            UnavailableError: packs lie elsewhere by now; or it could not be written since this server started.
        """
        if self._is_left():
            raise UnavailableError("The vault was moved to another storage", fix="Start the server again.")
        if self.is_shared and self._lacks:
            raise UnavailableError(
                f"{OWNER_MARK} of {self.address} cannot be written: {self._lacks.message}",
                fix=f"{self._lacks.fix} It is tried again each minute; until then nothing is deleted there.",
            )
        self._check_ours()

    def _check_ours(self) -> None:
        if self.is_shared:
            found, known = self._found(), self._known()
            if not found and known:
                raise self._lost("is gone")
            if found and found not in known:
                raise self._fault()

    def _is_left(self) -> bool:
        """Whether packs were moved elsewhere since this was opened."""
        kept = self._database.read(storage.find)
        return self.is_shared and bool(self._id) and kept is not None and kept.id != self._id

    def standing(self) -> str:
        """How the storage stands, in words."""
        try:
            found = self._found() if self.is_shared else ""
        except IntegrityError as fault:
            return fault.message
        if not found and self.is_shared:
            return f"{OWNER_MARK} of {self.address} was not there"
        is_taken = bool(found) and found not in self._known()
        return f"{'another' if is_taken else 'no other'} copy of this database had it"

    def claim(self) -> bool:
        """Take the storage, whoever has used it, and whatever its file is; whether another had."""
        found = self._told() if self.is_shared else ""
        is_taken = bool(found) and found not in self._known()
        if self.is_shared:
            self._renew()
        return is_taken

    def leave(self) -> None:
        """Once packs lie elsewhere: what is left there is nobody's.

        Raises:
            StorageSharedError: it is another copy's, which goes on.
        """
        self._check_ours()
        for mark in (PACKS_MARK, OWNER_MARK):
            self._driver.delete(mark)

    def keep(self) -> None:
        """Look whether it is still ours, and give it a new token if the database has changed since the last."""
        if self._lacks:
            self.begin()
        self.check()
        now = self._database.read(events.newest)
        if self.is_shared and now != self._seen:
            self._renew()
            self._seen = now

    def _renew(self) -> None:
        found, token = self._told(), os.urandom(16).hex()

        def work(tx: Tx) -> None:
            known = sorted(storage.tokens(tx), key=lambda each: each != found)  # what lies there is never forgotten
            storage.put_tokens(tx, [token, *known][:KEPT])

        self._database.write(work)
        self._driver.put(OWNER_MARK, [json.dumps({"lepton_owner": FORMAT, "token": token}).encode()])

    def _known(self) -> list[str]:
        return self._database.read(lambda tx: [*storage.tokens(tx), *storage.left_tokens(tx)])

    def _found(self) -> str:
        """The storage's token; empty: it has none yet, or none any more."""
        try:
            return str(json.loads(b"".join(self._driver.get(OWNER_MARK)))["token"])
        except NotFoundError:
            return ""
        except (ValueError, KeyError, TypeError) as fault:
            raise self._lost("is damaged") from fault

    def _told(self) -> str:
        """The storage's token; empty: none can be read."""
        try:
            return self._found()
        except IntegrityError:
            return ""

    def _lost(self, how: str) -> IntegrityError:
        return IntegrityError(
            f"{OWNER_MARK} of {self.address} {how}: nothing there says which copy of this database uses it",
            fix="Look that no other copy does; then lepton vault storage --claim writes it anew.",
        )

    def _fault(self) -> StorageSharedError:
        return StorageSharedError(
            f"The storage {self.address} has been used by another copy of this database since",
            fix="Start that one. To use both, give this one a storage of its own: lepton vault storage --move-to URL. "
            "To go on with this one only: lepton vault storage --claim.",
        )


class Watch:
    """The loop."""

    def __init__(self, database: Database, ownership: Ownership, root: bytes, clock: Clock) -> None:
        self._database, self._root, self._clock = database, root, clock
        self._ownership, self._folder = ownership, ownership.address.folder
        self._about = About(name="storage", of=str(ownership.address))
        self._fault: str | None = None

    def turn(self) -> None:
        """Look whose the storage is; raise and resolve the alert, also of places before. Leave the one moved from."""
        if why := leave_old(self._database, self._root, self._folder):
            log.warning("the storage that packs were moved from keeps its mark: %s", why)
        fault = ""
        try:
            self._ownership.keep()
        except StorageSharedError as found:
            fault = f"{found.message}: nothing is deleted in it, and this server will not start again"
        except StorageUnreachableError:
            raise
        except IntegrityError as found:
            fault = f"{found.message}. {found.fix} Until then nothing is deleted there."
        except (UnavailableError, StorageRefusedError) as found:
            fault = f"{found.message}. {found.fix}"
        if fault != self._fault:
            if fault or self._fault:
                log.log(logging.ERROR if fault else logging.INFO, "%s", fault or "the storage is this database's")
            self._database.write(lambda tx: self._tell(tx, fault, self._clock.now()))
        self._fault = fault

    def _tell(self, tx: Tx, fault: str, at: datetime) -> None:
        author = Author(actor=ACTOR, workspace="", at=at)
        tell(tx, self._about, author, fault=fault, over="the storage is this database's")
        if not fault:
            end_others(tx, self._about, author, over=f"packs lie at {self._about.of}")


def moved(database: Database, root: bytes, new: Address) -> str:
    """After a move: the new place is ours, the old one nobody's; why it could not be left, if so."""
    with closing(new.open()) as driver:
        Ownership(database, Storage(driver=driver, id="", address=new)).claim()
    return leave_old(database, root, new.folder)


def leave_old(database: Database, root: bytes, folder: Path) -> str:
    """Remove the marks of the place that packs were moved from; why that cannot be done yet, if so."""
    kept = database.read(storage.left)
    if kept is None:
        return ""
    fault = ""
    try:
        credentials = opened_credentials(root, kept.address, kept.credentials)
        address = Address(url=kept.address, credentials=credentials, folder=folder)
        with closing(address.open()) as driver:
            found = mark_of(driver)
            if found and found[1] == kept.id:  # else it is somebody's by now
                Ownership(database, Storage(driver=driver, id=kept.id, address=address)).leave()
    except StorageSharedError as found_other:
        fault = found_other.message
    except LeptonError as other:
        return other.message
    database.write(storage.forget_left)
    return fault


def forget(tx: Tx) -> None:
    """A database that was restored has a new storage."""
    storage.put_tokens(tx, [])
    storage.forget_left(tx)
