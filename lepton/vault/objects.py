"""Objects: bytes under their own SHA-256, kept by any driver. Equal bytes are kept once, and checked when read."""

from collections.abc import Iterable, Iterator
from hashlib import sha256

from lepton.core.artifact import check_digest
from lepton.core.errors import IntegrityError, NotFoundError, TooLargeError
from lepton.vault.driver import Driver

MAX_OBJECT_BYTES = 1 << 40


class Objects:
    """The content-addressed store over one driver."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def put_stream(self, chunks: Iterable[bytes], digest: str, *, limit: int = MAX_OBJECT_BYTES) -> bool:
        """Store the bytes under `digest`; return whether they are new. Nothing is kept unless all is well.

        Raises:
            IntegrityError: they have another digest.
            TooLargeError: there are more than `limit` bytes.
            StorageFullError: no room.
        """
        checked = _checked(chunks, check_digest(digest), limit)
        if self.has(digest):
            for _ in checked:  # a caller that sends other bytes than it names must learn it even now
                pass
            return False
        self._driver.put(_key(digest), checked)
        return True

    def put(self, body: bytes) -> str:
        """Store the bytes; return their digest."""
        digest = sha256(body).hexdigest()
        self.put_stream([body], digest)
        return digest

    def has(self, digest: str) -> bool:
        """Whether the object is here."""
        try:
            self.size(digest)
        except NotFoundError:
            return False
        return True

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

    def read(self, digest: str, *, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes at once; see `open`."""
        return b"".join(self.open(digest, start=start, stop=stop))

    def delete(self, digest: str) -> None:
        """Forget the object; nothing happens if it is not here."""
        self._driver.delete(_key(digest))

    def list(self) -> Iterator[tuple[str, int]]:
        """Digest and size of every object."""
        for head in self._driver.list("objects/"):
            yield "".join(head.key.split("/")[1:]), head.size_bytes


def _key(digest: str) -> str:
    check_digest(digest)
    return f"objects/{digest[:2]}/{digest[2:]}"


def _checked(chunks: Iterable[bytes], digest: str, limit: int) -> Iterator[bytes]:
    """Pass the bytes on; fail once they are too many, and at the end unless they have the digest."""
    seen, size = sha256(), 0
    for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise TooLargeError(f"The object is larger than {limit} bytes", fix="Split it, or raise the limit.")
        seen.update(chunk)
        yield chunk
    if seen.hexdigest() != digest:
        raise IntegrityError(
            f"The bytes have the SHA-256 {seen.hexdigest()}, not {digest}", fix="Send the bytes again, whole."
        )


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
