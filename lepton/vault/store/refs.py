"""Names for versions, as people write them: a branch, a tag, the id of a version or its beginning, each at a time.

What is meant is looked for in that order: `main` is the branch even if there is a tag of that name.
"""

import re
from contextlib import suppress

from lepton.core.errors import BadNameError, IntegrityError, InvalidError, NotFoundError
from lepton.vault.store.branches import TAGS, Branches, check_branch
from lepton.vault.store.chunks import Chunks
from lepton.vault.store.versions import read_version

LEAST_DIGITS = 8
HEX = re.compile(rf"[0-9a-f]{{{LEAST_DIGITS},64}}")
MOST_MEANT = 16
"""Chunks that begin as a version's id, of which one should be a version."""


def resolve(chunks: Chunks, branches: Branches, ref: str, *, at: int | None = None) -> bytes:
    """The id of a version.

    Args:
        ref: a branch, a tag (with or without `tags/`), or at least 8 digits of a version's id.
        at: where the branch or tag stood at this time, in microseconds since 1970.

    Raises:
        NotFoundError: there is none.
        InvalidError: it cannot name a version, or several begin so.
    """
    for name in (ref, f"{TAGS}{ref}"):
        with suppress(NotFoundError, BadNameError):
            return branches.head(name) if at is None else branches.past(name, at)
    if at is None and HEX.fullmatch(ref):
        return _by_id(chunks, ref)
    check_branch(ref)
    when = "" if at is None else " at that time"
    raise NotFoundError(
        f"There is no branch, tag or version {ref!r}{when}", fix="See lepton vault branches, lepton vault log."
    )


def _by_id(chunks: Chunks, digits: str) -> bytes:
    whole = bytes.fromhex(digits[: len(digits) & ~1])
    chunks.follow()
    found = []
    for id in chunks.index.beginning(whole, limit=MOST_MEANT):
        with suppress(IntegrityError):
            if id.hex().startswith(digits):
                read_version(chunks, id)
                found.append(id)
    if not found:
        raise NotFoundError(f"There is no version {digits}", fix="See lepton vault log.")
    if len(found) > 1:
        raise InvalidError(f"Several versions begin with {digits}", fix="Write more digits.")
    return found[0]
