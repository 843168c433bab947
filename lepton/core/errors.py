"""Every fault a user can meet: what happened, then what to do.

    LeptonError
    ├── InvalidError            the request or file is malformed
    │   └── BadNameError        a name that cannot be a name
    ├── UnauthenticatedError    no token, or one that is unknown or expired
    ├── ForbiddenError          the token is known, its role does not reach
    ├── NotFoundError           nothing by that name, or nothing you may see
    │   └── LetGoError          a version that a retention rule let go of
    ├── ConflictError           what exists contradicts the request
    │   ├── NameTakenError      somebody made it first
    │   ├── IllegalMoveError    a life cycle has no such step
    │   ├── StaleError          it changed since you read it
    │   ├── MergeConflictError  two branches changed the same names differently
    │   ├── IdempotencyError    the key was used for another request
    │   └── CapacityError       it can never fit, however long it waits
    ├── TooLargeError           over a stated limit
    ├── IntegrityError          bytes do not match their hash
    │   └── DamagedError        what the vault keeps is damaged where it lies
    ├── UnavailableError        a part does not answer now; trying again is right
    │   ├── UnreachableError    no server at that address
    │   ├── StorageFullError    the disk is full
    │   └── StorageUnreachableError   a storage of the vault does not answer
    ├── StorageRefusedError     a storage of the vault refuses: credentials, rights, read-only
    ├── UnsupportedError        a storage cannot do that at all
    ├── ConfigError             a setting that cannot work
    ├── DatabaseError           the database file cannot be used
    ├── EngineError             the engine refused a launch
    └── JobFailedError          a job that was waited for did not end well

`code` is stable: clients may branch on it. `status` is its HTTP answer.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

MOST_ECHOED = 200
"""Characters of what a caller sent that an error repeats."""


def clip(text: str, most: int = MOST_ECHOED) -> str:
    """`text`, cut where it is longer than an error may repeat."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


class LeptonError(Exception):
    """Something inside Lepton broke; the base of every error below.

    Args:
        message: what happened, naming the thing it happened to.
        fix: what the reader can do about it; may be empty.
        details: more of what happened, as data for programs.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, fix: str = "", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.details = details or {}

    def to_json(self) -> Mapping[str, Any]:
        """Return the body of the HTTP answer."""
        told = {"code": self.code, "message": self.message, "fix": self.fix}
        return {**told, "details": self.details} if self.details else told


class InvalidError(LeptonError):
    """The request, spec or file is malformed; nothing was done."""

    code, status = "invalid", 422


class BadNameError(InvalidError):
    """A name that cannot be a name."""

    code = "bad_name"


class UnauthenticatedError(LeptonError):
    """No token, or one that is unknown, revoked or expired."""

    code, status = "unauthenticated", 401


class ForbiddenError(LeptonError):
    """The token is known, but its role does not reach this far."""

    code, status = "forbidden", 403


class NotFoundError(LeptonError):
    """Nothing by that name, or nothing that this token may see."""

    code, status = "not_found", 404


class LetGoError(NotFoundError):
    """A version whose files a retention rule has let go of."""

    code, status = "let_go", 410


class ConflictError(LeptonError):
    """What exists contradicts the request."""

    code, status = "conflict", 409


class NameTakenError(ConflictError):
    """Somebody made a thing of that kind and name first."""

    code = "name_taken"


class IllegalMoveError(ConflictError):
    """The life cycle has no such step."""

    code = "illegal_move"


class StaleError(ConflictError):
    """The thing has changed since it was read."""

    code, status = "stale", 412


class MergeConflictError(ConflictError):
    """Two branches changed the same names differently; nothing was merged. `details` says which, and how."""

    code = "merge_conflict"


class IdempotencyError(ConflictError):
    """The idempotency key was already used for another request."""

    code = "idempotency"


class CapacityError(ConflictError):
    """It can never fit, however long it waits."""

    code = "capacity"


class TooLargeError(LeptonError):
    """The body or field is over a stated limit."""

    code, status = "too_large", 413


class IntegrityError(LeptonError):
    """Bytes do not match the hash that names them."""

    code, status = "integrity", 422


class DamagedError(IntegrityError):
    """What the vault keeps is damaged where it lies; the message names it."""

    code, status = "damaged", 500


class UnavailableError(LeptonError):
    """A part does not answer now; trying again later is right."""

    code, status = "unavailable", 503


class UnreachableError(UnavailableError):
    """No Lepton server answers at that address."""

    code = "unreachable"


class StorageFullError(UnavailableError):
    """The disk is full; what was being written has been taken back."""

    code, status = "storage_full", 507


class StorageUnreachableError(UnavailableError):
    """A storage of the vault does not answer in time; whether an unfinished write was done is not known."""

    code = "storage_unreachable"


class StorageRefusedError(LeptonError):
    """A storage of the vault answers, and refuses: wrong credentials, no rights, read-only."""

    code, status = "storage_refused", 502


class UnsupportedError(LeptonError):
    """A storage of the vault has no such operation."""

    code, status = "unsupported", 501


class ConfigError(LeptonError):
    """A setting that cannot work."""

    code = "config"


class DatabaseError(LeptonError):
    """The database cannot be used as it is: torn, or of a newer version."""

    code = "database"


class EngineError(LeptonError):
    """The engine could not carry out a launch."""

    code = "engine"


class JobFailedError(LeptonError):
    """A job that was waited for did not end well."""

    code = "job_failed"
