"""Objects as they were kept before there were packs: files in the clear, each named by its SHA-256.

They are only read, sealed anew and removed any more (`server/sealing.py`); `put` is for tests of that.
"""

from collections.abc import Iterator
from hashlib import sha256

from lepton.core.artifact import check_digest
from lepton.core.errors import IntegrityError
from lepton.vault.driver import Driver


class PlainObjects:
    """Over one driver."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def put(self, body: bytes) -> str:
        """Store the bytes; return their digest."""
        digest = sha256(body).hexdigest()
        self._driver.put(_key(digest), [body])
        return digest

    def size(self, digest: str) -> int:
        """Bytes of the object.

        Raises:
            NotFoundError: it is not here.
        """
        return self._driver.head(_key(digest)).size_bytes

    def open(self, digest: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes in chunks. A whole object is checked, and its last chunk held back until it is; a range is not.

        Raises:
            NotFoundError: it is not here; raised by the call.
            IntegrityError: the kept bytes have been damaged; raised in place of the last chunk.
        """
        chunks = self._driver.get(_key(digest), start=start, stop=stop)
        return chunks if start or stop is not None else _verified(chunks, digest)

    def list(self) -> Iterator[str]:
        """Digests of all that is here."""
        return ("".join(head.key.split("/")[1:]) for head in self._driver.list("objects/"))

    def delete(self, digest: str) -> None:
        """Forget the object; nothing happens if it is not here."""
        self._driver.delete(_key(digest))


def _key(digest: str) -> str:
    check_digest(digest)
    return f"objects/{digest[:2]}/{digest[2:]}"


def _verified(chunks: Iterator[bytes], digest: str) -> Iterator[bytes]:
    """Pass the bytes on, one chunk late, so that no reader takes damaged bytes for whole ones."""
    seen, held = sha256(), b""
    for chunk in chunks:
        yield from (held,) if held else ()
        seen.update(chunk)
        held = chunk
    if seen.hexdigest() != digest:
        raise IntegrityError(f"The stored object {digest} is damaged", fix="Restore it from a backup.")
    yield from (held,) if held else ()
