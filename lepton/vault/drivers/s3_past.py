"""A bucket that keeps versions, read as it was at a time: what was hidden since, by writing over it or by deleting, is
there.

All versions below the prefix are listed once, at the first question (1,000 a request); of each key the newest that is
not younger counts, by the bucket's own clock (`s3_versions.dated`). A key whose newest was a delete marker did not
exist then. Nothing can be written.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from threading import Lock
from typing import NoReturn

from lepton.core.errors import InvalidError, StorageRefusedError
from lepton.vault.driver import Head, Version, check_key
from lepton.vault.drivers.files import missing
from lepton.vault.drivers.patience import Patience
from lepton.vault.drivers.s3 import S3Driver
from lepton.vault.drivers.s3_rules import Bucket
from lepton.vault.drivers.s3_versions import dated, versions
from lepton.vault.drivers.walking import check_prefix


class S3Past(S3Driver):
    """Reads the versions that were the newest at a time."""

    def __init__(self, bucket: Bucket, as_of: datetime, *, prefix: str, patience: Patience) -> None:
        super().__init__(bucket, prefix=prefix, patience=patience)
        self._as_of = as_of
        self._lock = Lock()
        self._listed: dict[str, Version] | None = None
        self._name += f" as of {as_of.isoformat()}"

    def list(self, prefix: str = "") -> Iterator[Head]:
        """All keys that began with `prefix`."""
        check_prefix(prefix)
        found = self._versions()
        return (_head(found[key]) for key in sorted(found) if key.startswith(prefix))

    def head_once(self, key: str) -> Head:
        """Size and etag that it had."""
        return _head(self._version(key))

    def put(self, key: str, chunks: Iterable[bytes]) -> Head:
        """Refused."""
        self._refuse()

    def delete(self, key: str) -> None:
        """Refused."""
        self._refuse()

    def create_if_absent(self, key: str, body: bytes) -> Head:
        """Refused."""
        self._refuse()

    def replace_if_match(self, key: str, body: bytes, *, etag: str) -> Head:
        """Refused."""
        self._refuse()

    def extend_lock(self, key: str, until: datetime, version: str = "") -> None:
        """Refused."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise StorageRefusedError(f"{self._name} is the past: nothing is written there", fix="Leave out as_of.")

    def _which(self, key: str) -> Mapping[str, str]:
        return {"version": self._version(key).id}

    def _version(self, key: str) -> Version:
        found = self._versions().get(key)
        if found is None:
            raise missing(key)
        return found

    def _versions(self) -> dict[str, Version]:
        with self._lock:
            if self._listed is None:
                self._listed = self._read()
            return self._listed

    def _read(self) -> dict[str, Version]:
        """Of each key the version that counts, unless that is a delete marker."""
        found = dict[str, Version]()
        for version in dated(list(versions(self._bucket, self._prefix, self.patience))):
            if version.at > self._as_of or (version.key in found and version.at <= found[version.key].at):
                continue  # of equal times the first listed is newer
            found[version.key] = version
        return {key: version for key, version in found.items() if version.etag and _is_key(key)}


def _head(version: Version) -> Head:
    return Head(key=version.key, size_bytes=version.size_bytes, etag=version.etag)


def _is_key(key: str) -> bool:
    try:
        check_key(key)
    except InvalidError:
        return False
    return True
