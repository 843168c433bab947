"""Second copies of the packs that dumps lie in: a dump has the keys of all else, so its loss would be everything's."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from lepton.vault.driver import AppendOnly, Capabilities, Driver, Head
from lepton.vault.uses import DUMPS


class Second:
    """The part of a place with backups that second copies lie in, as a driver."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    @property
    def capabilities(self) -> Capabilities:
        """As the place's."""
        return self._driver.capabilities

    def put(self, key: str, chunks: Iterable[bytes]) -> Head:
        """Write the key."""
        return replace(self._driver.put(DUMPS + key, chunks), key=key)

    def get(self, key: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Bytes of the key."""
        return self._driver.get(DUMPS + key, start=start, stop=stop)

    def head(self, key: str) -> Head:
        """Size and etag of the key."""
        return replace(self._driver.head(DUMPS + key), key=key)

    def list(self, prefix: str = "") -> Iterator[Head]:
        """All keys that begin with `prefix`."""
        return (replace(head, key=head.key.removeprefix(DUMPS)) for head in self._driver.list(DUMPS + prefix))

    def delete(self, key: str) -> None:
        """Remove the key."""
        self._driver.delete(DUMPS + key)

    def create_if_absent(self, key: str, body: bytes) -> Head:
        """Write a key that does not exist."""
        return replace(self._driver.create_if_absent(DUMPS + key, body), key=key)

    def replace_if_match(self, key: str, body: bytes, *, etag: str) -> Head:
        """Write a key that has not changed."""
        return replace(self._driver.replace_if_match(DUMPS + key, body, etag=etag), key=key)

    def drop_folder(self, folder: str) -> None:
        """Remove what is left of a folder."""
        self._driver.drop_folder(DUMPS + folder)

    def append_only(self) -> AppendOnly:
        """As the place's."""
        return self._driver.append_only()

    def close(self) -> None:
        """The place is closed by whoever opened it."""
