"""Our own receiving door: a folder of another machine as a place for backups that a thief can neither change nor empty.

`lepton vault door` runs there, needs no platform, and keeps for each *writer* a plain folder `DIR/NAME` (see
`vault.drivers.kept`). Whoever has the writer's token - so whoever has taken the platform - may put, read, list and
delete. But what is written over or deleted is only hidden: the door keeps it for `keep`, counted by its own clock from
when it was hidden, and shows its whole past to whoever asks for `as_of`. No request shortens that, and none destroys.
So no locks have to be renewed, as in a bucket: what nobody hides is kept for ever, and a pack of any age comes back for
`keep` after somebody has hidden it. What was hidden longer ago the door removes by itself, once an hour. So backups
can be let go of there as anywhere (`forget`), only that what they needed goes `keep` later.

    DIR/NAME/KEY                the newest of each key, as a plain file
    DIR/NAME/.kept/KEY/...      what was there before
    DIR/.door/NAME.token        the writer's token, mode 0600; may be taken away once it was copied
    DIR/.door/NAME.hash         its SHA-256, which stays; without it the next start makes a new token
    DIR/.door/clock             what time it was when the door last looked: a clock that jumps ahead removes nothing
    DIR/.door/lock              held while a door runs

Durable: a body is written to `.new/`, flushed, and takes its name in one step, all before the answer. A door that is
killed leaves whole objects or none; what is in `.new/` goes at its next start.

Who may write to DIR otherwise, as root of that machine, can delete there. And whoever has a token can fill the disk;
then nothing is taken any more (507), and nothing is lost.
"""

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path
from threading import Lock
from typing import IO

from lepton.core.clock import Clock, to_micros
from lepton.core.errors import ConfigError, StorageFullError, TooLargeError, UnauthenticatedError
from lepton.core.ids import check_name
from lepton.core.size import format_bytes
from lepton.security.identity import hash_token, make_token
from lepton.server.folder import flush_folder, write_private
from lepton.server.jumps import LONGEST_S, doubt_of, from_text, look, step, to_text
from lepton.server.locks import take
from lepton.vault.drivers.kept import KeptFolder

log = logging.getLogger("lepton")
OWN = ".door"
HASH, TOKEN = ".hash", ".token"
FIRST = "platform"
"""What the writer is called where none is named."""
DAY_S = 86_400
LOOK_BYTES = 16 << 20
"""After so many bytes of a body it is asked again how much room there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a door promises and demands."""

    keep_s: int
    """For how long what was written over or deleted can be read."""
    free_bytes: int = 1 << 30
    """So much of the disk stays free."""
    most_bytes: int = 256 << 30
    """Of one object."""

    def __post_init__(self) -> None:
        if self.keep_s < DAY_S:
            raise ConfigError("A door that keeps things for less than a day protects nothing", fix="--keep 30d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Somebody who has a folder of his own."""

    name: str
    hash: str
    """Of his token."""
    folder: KeptFolder


class Receiver:
    """The folder of a door, held until `close`.

    Args:
        folder: made where it is missing.
        names: writers that get a token if they have none; those from before stay.

    Raises:
        ConfigError: another door holds it; its disk cannot keep the promise; or a name is none.
        StorageFullError, ConflictError: it cannot be written.
    """

    def __init__(self, folder: Path, names: Sequence[str], rules: Rules, clock: Clock) -> None:
        self.folder, self.rules, self.clock = folder, rules, clock
        self.made: list[Path] = []
        """Files of the tokens that were made now."""
        self._lock = _hold(folder)
        self._tidying = Lock()
        try:
            known = {path.name.removesuffix(HASH) for path in (folder / OWN).glob(f"*{HASH}")}
            wanted = known.union(map(check_name, names)) or {FIRST}
            self.writers = tuple(self._writer(name) for name in sorted(wanted))
            flush_folder(folder)
            for writer in self.writers:
                writer.folder.check_disk()
        except BaseException:
            self.close()
            raise

    def writer_of(self, token: str) -> Writer:
        """Whose token that is, found in the same time whosever it is.

        Raises:
            UnauthenticatedError: nobody's.
        """
        hash, found = hash_token(token), None
        for writer in self.writers:
            if compare_digest(writer.hash, hash):
                found = writer
        if found is None:
            raise UnauthenticatedError(
                "The door does not know this token", fix="Set LEPTON_STORAGE_TOKEN to the one that the door made."
            )
        return found

    def free_bytes(self) -> int:
        """How much room there is for what comes, beside what stays free."""
        return max(0, shutil.disk_usage(self.folder).free - self.rules.free_bytes)

    def check_size(self, size_bytes: int) -> None:
        """Refuse a body before it comes.

        Raises:
            TooLargeError: it is over the limit.
            StorageFullError: there is no room.
        """
        if size_bytes > self.rules.most_bytes:
            raise TooLargeError(f"An object is at most {format_bytes(self.rules.most_bytes)} here", fix="Split it.")
        if size_bytes > self.free_bytes():
            raise StorageFullError(
                f"No room at the door: {format_bytes(self.rules.free_bytes)} of its disk stay free",
                fix="Give it a larger disk. What was hidden goes by itself once the time it is kept for has passed.",
            )

    def counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """A body, refused once it is too large or there is no room; raises as `check_size`."""
        seen, look_at = 0, 0
        for chunk in chunks:
            seen += len(chunk)
            if seen > min(look_at, self.rules.most_bytes):
                self.check_size(seen)
                look_at = seen + LOOK_BYTES
            yield chunk

    def tidy(self) -> int:
        """Remove what was hidden longer ago than it is kept; how much that was."""
        with self._tidying:
            now = self.clock.now()
            age = self.rules.keep_s * 1_000_000 + self._doubt()
            before = (to_micros(now) - age) * 1000
            count = sum(writer.folder.forget(before) for writer in self.writers)
        if count:
            log.info("removed %d versions that were hidden for longer than they are kept", count)
        return count

    def close(self) -> None:
        """Let another door have the folder."""
        self._lock.close()

    def _doubt(self) -> int:
        """How much older things may look than they are, in microseconds; noted for the next time."""
        path, now = self.folder / OWN / "clock", look(self.clock)
        try:
            now = step(from_text(path.read_text()), now, longest_s=max(LONGEST_S, self.rules.keep_s))
        except FileNotFoundError:
            pass
        except (ValueError, TypeError, KeyError):
            log.warning("%s is damaged and written anew", path)
        with suppress(StorageFullError):  # the note of before does as well, and there is something to remove
            write_private(path, to_text(now))
        return doubt_of(now)

    def _writer(self, name: str) -> Writer:
        path = self.folder / OWN / f"{name}{HASH}"
        if not path.exists():
            token = make_token()
            write_private(path.with_suffix(TOKEN), token + "\n")
            write_private(path, hash_token(token) + "\n")
            self.made.append(path.with_suffix(TOKEN))
        folder = KeptFolder(self.folder / name, now_ns=_nanoseconds(self.clock))
        folder.root.mkdir(mode=0o700, exist_ok=True)
        folder.clear_drafts()
        return Writer(name=name, hash=path.read_text().strip(), folder=folder)


def _nanoseconds(clock: Clock) -> Callable[[], int]:
    return lambda: to_micros(clock.now()) * 1000


def _hold(folder: Path) -> IO[str]:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / OWN).mkdir(mode=0o700, exist_ok=True)
        lock = (folder / OWN / "lock").open("a+")
    except OSError as fault:
        raise ConfigError(f"{folder} cannot be written: {fault.strerror}", fix="Choose another with --dir.") from fault
    try:
        take(lock, folder / OWN / "lock")
    except ConfigError:
        lock.close()
        raise
    return lock
