"""The database of a restored platform: a new file of the data directory, or an empty database on Postgres.

All of it is one transaction, in which the id of the platform's new storage is noted too: a restore that is begun again
finds nothing of it, or knows by the id that all is there.
"""

import shutil
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from lepton.core.clock import Clock, to_micros
from lepton.core.errors import ConflictError
from lepton.security.identity import make_token
from lepton.server.bound import place_of
from lepton.server.folder import write_private
from lepton.server.opening import Backup
from lepton.server.ownership import forget
from lepton.server.people import ADMIN, issue_token
from lepton.server.submit import Author
from lepton.store import storage, targets
from lepton.store.database import Tx
from lepton.store.dump import LEFT_OUT, is_empty, load, tables
from lepton.store.migrate import migrate_in
from lepton.store.open import open_empty
from lepton.store.storage import Kept

OURS = (
    "SELECT count(*) FROM information_schema.columns "
    "WHERE table_schema = current_schema() AND table_name = 'facts' AND column_name IN ('name', 'value')"
)
"""2 where a database on Postgres has the table that a storage's id is in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """A database that is to be filled."""

    url: str
    """postgresql://...; empty: SQLite in the data directory."""
    into: Path
    """The data directory."""
    clock: Clock

    def check(self, id: str) -> None:
        """Refuse a database that has anything in it, but for what this restore has put there.

        Args:
            id: of the restored platform's storage; empty: the restore has not begun.

        Raises:
            ConflictError: it has.
        """
        if self.url:
            with closing(open_empty(self.into, self.url)) as database:
                database.read(lambda tx: self._is_filled(tx, id))

    def fill(self, backup: Backup, kept: Kept) -> int:
        """Write the database; return how many rows of the backup it has.

        Raises:
            ConflictError: it is not empty.
        """
        token = self._token()
        if self.url:
            return self._fill(backup, kept, token, self.into)
        fresh = self.into / "database.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        rows = self._fill(backup, kept, token, fresh)
        (fresh / "lepton.db").rename(self.into / "lepton.db")
        shutil.rmtree(fresh)
        return rows

    def _fill(self, backup: Backup, kept: Kept, token: str, folder: Path) -> int:
        def work(tx: Tx) -> int:
            if self._is_filled(tx, kept.id):
                return sum(
                    int((tx.row(f"SELECT count(*) FROM {name}") or (0,))[0]) for name in {*tables()} - {*LEFT_OUT}
                )
            at = to_micros(self.clock.now())
            rows = load(tx, backup.lines(), at=at)
            migrate_in(tx, tx.dialect, at=at)
            targets.pause_all(tx)
            targets.disown(tx)
            storage.put(tx, kept)
            forget(tx)
            author = Author(actor="system", workspace="", at=self.clock.now())
            issue_token(tx, ADMIN, label="restored", expires_at=None, author=author, secret=token)
            return rows

        with closing(open_empty(folder, self.url)) as database:
            return database.write(work)

    def _is_filled(self, tx: Tx, id: str) -> bool:
        """Whether this restore has filled it.

        Raises:
            ConflictError: somebody else has put something into it.
        """
        if is_empty(tx):
            return False
        if id and tx.rows(OURS) == [(2,)]:
            found = storage.find(tx)
            if found and found.id == id:
                return True
        raise ConflictError(
            f"The database {place_of(self.url)} is not empty",
            fix="Nothing was changed in it. Make a new one (createdb NAME) and name that: LEPTON_DATABASE; without it "
            "the platform comes back on SQLite.",
        )

    def _token(self) -> str:
        """The new token of the first user: whoever owns the data directory is never locked out."""
        path = self.into / "token"
        with suppress(OSError):
            if kept := path.read_text().strip():
                return kept
        token = make_token()
        write_private(path, token + "\n")
        return token
