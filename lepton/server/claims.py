"""Whose a place with backups is: of one database, and of the newest state of that.

A data directory that was restored or copied has the platform's keys and knows its places; it would put its backups
among the other's, and let go of those. So a place has a file `lepton-backup-owner` with a *token*, and the database
knows the last ones that it gave the place (by the place's id). Each backup gives a new one: to the database first, then
to the place. A restore forgets them all, so that the platform that it came from goes on, and the restored one is asked.
"""

import json
import os

from lepton.core.errors import IntegrityError, NotFoundError
from lepton.server.ownership import StorageSharedError
from lepton.store import targets
from lepton.store.database import Database, Tx
from lepton.vault.backup.target import Target
from lepton.vault.uses import BACKUPS_OWNER

KEPT = 64
"""A place may itself be brought back from a copy, so many backups old."""
FORMAT = 1


class Claim:
    """What one database knows of whose a place is."""

    def __init__(self, database: Database, target: Target, id: str) -> None:
        self._database, self._target, self._id = database, target, id

    def check(self) -> None:
        """Refuse a place that is another copy's.

        Raises:
            StorageSharedError: it is, or may be: this database was restored.
            IntegrityError: nothing there says whose it is.
        """
        found, known = self._found(), self._database.read(lambda tx: targets.tokens(tx, self._id))
        if found and found not in (known or ()):
            raise self._fault("another copy of this platform has made backups there since")
        if not found and known == []:
            raise self._fault("this platform was restored, and the one that it came from may make backups there")

    def take(self, *, claims: bool) -> None:
        """Give the place a new token.

        Args:
            claims: whoever has it, and whatever the file is; else raises as `check`.
        """
        if not claims:
            self.check()
        token = os.urandom(16).hex()
        self._database.write(lambda tx: self._note(tx, token))
        body = json.dumps({"lepton_backup_owner": FORMAT, "token": token}) + "\n"
        self._target.driver.put(BACKUPS_OWNER, [body.encode()])

    def _note(self, tx: Tx, token: str) -> None:
        targets.put_tokens(tx, self._id, [token, *(targets.tokens(tx, self._id) or ())][:KEPT])

    def _found(self) -> str:
        """The place's token; empty: it has none yet."""
        try:
            return str(json.loads(b"".join(self._target.driver.get(BACKUPS_OWNER)))["token"])
        except NotFoundError:
            return ""
        except (ValueError, KeyError, TypeError) as fault:
            raise IntegrityError(
                f"{BACKUPS_OWNER} at {self._target.address} is damaged: whose the place is cannot be told",
                fix=f"Look that no other copy does; then {self._claims()} writes it anew.",
            ) from fault

    def _fault(self, why: str) -> StorageSharedError:
        return StorageSharedError(
            f"Backups at {self._target.address} are not this platform's to make: {why}",
            fix="Give each its own place (--new begins there). Where the other is gone, or is never to make backups "
            f"there again: {self._claims()}.",
        )

    def _claims(self) -> str:
        return f"lepton vault backup --to {self._target.address} --claim"
