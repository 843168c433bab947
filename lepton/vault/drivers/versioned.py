"""Reading one version of an object where an etag names it, in as many requests as it has blocks."""

from typing import Protocol

from lepton.core.errors import InvalidError, NotFoundError, StaleError
from lepton.vault.driver import Head
from lepton.vault.drivers.files import unreachable


class Versioned(Protocol):
    """A driver that reads parts of a version of a key."""

    def head_once(self, key: str) -> Head:
        """Size and etag, asked for once."""
        ...

    def read_part(self, key: str, etag: str, start: int, length: int) -> tuple[Head, bytes]:
        """A part of the version of that etag; of the newest, if it is empty.

        Raises:
            InvalidError: the object ends before `start`.
            StaleError, NotFoundError: that version is not there any more.
        """
        ...


class OneVersion:
    """`reading.Opened` of one version of an object; its first block is here already."""

    def __init__(self, driver: Versioned, key: str, start: int, length: int) -> None:
        self._driver = driver
        self._key = key
        self._start = start
        try:
            head, self._block = driver.read_part(key, "", start, length)
        except InvalidError:
            head, self._block = driver.head_once(key), b""
        self.size_bytes, self.etag = head.size_bytes, head.etag

    def read(self, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start`."""
        block, self._block = self._block, b""
        if block and start == self._start:
            return block[:length]
        try:
            return self._driver.read_part(self._key, self.etag, start, length)[1]
        except (StaleError, NotFoundError):
            raise unreachable(repr(self._driver), "the object was written while it was read") from None

    def close(self) -> None:
        """Nothing is held."""
