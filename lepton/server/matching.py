"""What a file must be for a change of it to happen."""

from dataclasses import dataclass

from lepton.core.errors import StaleError
from lepton.vault.store.pages import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What a file must be for a change to happen."""

    sha256: frozenset[str] | None = None
    """One of these."""
    is_absent: bool = False
    is_present: bool = False

    def check(self, name: str, entry: Entry | None) -> None:
        """Refuse a change of what is something else.

        Raises:
            StaleError: it is.
        """
        found = entry.blob.sha256.hex() if entry else ""
        if (
            (self.is_absent and entry)
            or (self.is_present and not entry)
            or (self.sha256 is not None and found not in self.sha256)
        ):
            what = f"has the SHA-256 {found}" if entry else "is not there"
            raise StaleError(f"{name!r} {what}", fix="Read it again, then repeat the change.")


ANY = Match()
