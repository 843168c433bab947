"""Names that machines give: made where the thing is made, ordered by time, with a prefix that says the kind.

An id is `<prefix>_<26 characters>`: 48 bits of milliseconds, 10 bits of microseconds within it, then 70 random bits,
in Crockford's base 32 (a ULID, lower case), so that sorting ids as text sorts things by age.
"""

import os
import re
from collections.abc import Callable
from datetime import datetime

from lepton.core.clock import to_micros
from lepton.core.errors import BadNameError

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
PATTERN = re.compile(r"[a-z]{2,4}_[0-9a-hjkmnp-tv-z]{26}")
NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")

PREFIXES = {
    "workspace": "ws",
    "user": "usr",
    "token": "tok",
    "jwt": "jwt",
    "node": "nod",
    "job": "job",
    "run": "run",
    "dataset": "ds",
    "model": "mdl",
    "version": "ver",
    "endpoint": "ep",
    "alert": "alr",
    "secret": "sec",
    "queue": "que",
    "quota": "quo",
}


def make_id(kind: str, *, at: datetime, random: Callable[[int], bytes] = os.urandom) -> str:
    """Return a new id for a thing of `kind`, one of `PREFIXES`.

    Args:
        kind: what the id will name.
        at: when it is made, aware.
        random: gives that many random bytes.
    """
    return _written(kind, _moment(at) | (int.from_bytes(random(9), "big") >> 2))


def first_id(kind: str, at: datetime) -> str:
    """No id of that kind that was made at that moment, or later, is smaller."""
    return _written(kind, _moment(at))


def last_id(kind: str) -> str:
    """No id of that kind is larger."""
    return _written(kind, (1 << 130) - 1)


def _moment(at: datetime) -> int:
    millis, micros = divmod(to_micros(at), 1000)
    return (millis << 80) | (micros << 70)


def _written(kind: str, number: int) -> str:
    text = "".join(ALPHABET[(number >> shift) & 31] for shift in range(125, -5, -5))
    return f"{PREFIXES[kind]}_{text}"


def is_id(text: str) -> bool:
    """Whether `text` has the form of an id (it need not exist)."""
    return PATTERN.fullmatch(text) is not None


def check_name(name: str, what: str = "name") -> str:
    """Return `name` if people may call a thing so.

    Raises:
        BadNameError: it is empty, too long, or has characters that would not survive in a path, URL or shell.
    """
    if NAME.fullmatch(name) and ".." not in name and not is_id(name):
        return name
    raise BadNameError(
        f"{what} {name[:80]!r} cannot be used",
        fix="Use 1 to 63 of a-z 0-9 . _ - , starting and ending with a letter or digit, without '..'.",
    )
