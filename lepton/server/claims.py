"""Whose a place with backups is: of one database, and of the newest state of that.

A data directory that was restored or copied has the platform's keys and knows its places; it would put its backups
among the other's, and let go of those. So a place has a file `lepton-backup-owner` with a *token*, and the database
knows the last ones that it gave the place (by the place's id). Each backup gives a new one: to the database first, then
to the place. A restore forgets them all, so that the platform that it came from goes on, and the restored one is asked.
"""

import json
import os
from collections.abc import Iterable
from contextlib import suppress

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

    def proves(self) -> bool:
        """Whether the place is surely this database's, whatever the file is: it made the newest backup there itself."""
        place = self._database.read(lambda tx: targets.find(tx, self._target.address))
        is_newest = place is not None and place.last_number == max(self._target.numbers(), default=0) > 0
        return is_newest and bool(self._database.read(lambda tx: targets.tokens(tx, self._id)))

    def _note(self, tx: Tx, token: str) -> None:
        targets.put_tokens(tx, self._id, [token, *(targets.tokens(tx, self._id) or ())][:KEPT])

    def _found(self) -> str:
        """The place's token; empty: it has none yet."""
        try:
            return token_at(self._target)[0]
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


def token_at(target: Target) -> tuple[str, bytes]:
    """A place's token, and the file that it is in.

    Raises:
        NotFoundError: it has none yet.
        ValueError, KeyError, TypeError: it is damaged.
    """
    body = b"".join(target.driver.get(BACKUPS_OWNER))
    token = json.loads(body)["token"]
    if not token or not isinstance(token, str):
        raise ValueError("no token")
    return token, body


def is_spoiled(target: Target) -> bool:
    """Whether a place's token cannot be read, so that no backup is made there."""
    try:
        token_at(target)
    except NotFoundError:
        return False
    except (ValueError, KeyError, TypeError):
        return True
    return False


def mend_owner(target: Target, copies: Iterable[Target], claim: Claim | None) -> str:
    """Write a token that cannot be read anew: of the database that proves itself, or as a copy of the place has it.

    Returns:
        What is wrong still; empty: nothing.
    """
    if claim is not None and claim.proves():
        claim.take(claims=True)
        return ""
    for copy in copies:
        with suppress(NotFoundError, ValueError, KeyError, TypeError):
            target.driver.put(BACKUPS_OWNER, [token_at(copy)[1]])
            return ""
    return f"it is damaged; lepton vault backup --to {target.address} --claim writes it anew, where no other copy does"
