"""Buckets of S3 and of what speaks like it, as a driver (needs the extra `s3`).

A body up to 8 MiB is one request; a larger one goes up in parts and appears when the last one is there. What a
killed writer has sent in parts stays hidden in the bucket until a lifecycle rule (`AbortIncompleteMultipartUpload`)
removes it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, TypeVar, cast

import obstore
from obstore import exceptions as foreign
from obstore.store import S3Store

from lepton.core.errors import (
    InvalidError,
    LeptonError,
    NotFoundError,
    StaleError,
    StorageFullError,
    StorageRefusedError,
    TooLargeError,
)
from lepton.vault.driver import AppendOnly, Capabilities, Head, Version, check_key, check_range
from lepton.vault.drivers.files import missing, taken, unreachable
from lepton.vault.drivers.patience import Patience, retried
from lepton.vault.drivers.reading import open_chunks
from lepton.vault.drivers.s3_locks import Locks
from lepton.vault.drivers.s3_rules import Bucket, read_append_only
from lepton.vault.drivers.s3_versions import versions
from lepton.vault.drivers.versioned import OneVersion
from lepton.vault.drivers.walking import Entry, walk
from lepton.vault.drivers.writing import Source, taken_apart

T = TypeVar("T")
PART_BYTES = 16 << 20
MAX_PARTS = 10_000
PARTS_AT_ONCE = 2
STATUS = re.compile(r"non-2xx status code: (\d{3})")
CODE = re.compile(r"<Code>(\w+)</Code>")
PANICS = "pyo3_runtime"
"""Of the error that a library in Rust raises where it has a mistake; it is no `Exception`."""
FULL = {"StorageFull", "QuotaExceeded", "XMinioStorageFull", "InsufficientCapacity", "EntityTooLarge"}
BELIEF = Capabilities(
    create_if_absent=True,
    replace_if_match=True,
    unique_etags=False,
    exact_names=True,
    why_not={"unique_etags": "An etag of S3 is a hash of the bytes"},
)


class S3Driver:
    """Keeps each key as one object below a prefix of a bucket.

    Args:
        bucket: where, and with which keys.
        prefix: what each key begins with in the bucket; empty, or without a slash at its end.
    """

    capabilities = BELIEF

    def __init__(self, bucket: Bucket, *, prefix: str = "", patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self._bucket = bucket
        self._locks = Locks(bucket, self.patience)
        self._prefix = f"{prefix}/" if prefix else ""
        self._name = f"s3://{bucket.name}/{prefix} at {bucket.endpoint}"
        self._store = _open_store(bucket, self.patience, retries=0)
        self._sender = _open_store(bucket, self.patience, retries=self.patience.attempts - 1)

    def __repr__(self) -> str:
        return f"S3Driver({self._name})"

    def put(self, key: str, chunks: Iterable[bytes]) -> Head:
        """Write the key, replacing what was there."""
        path = self._prefix + check_key(key)
        source = Source(chunks)
        first, second = next(source, b""), next(source, b"")
        if not second:
            return self._stored(key, first, "overwrite")
        parts = _counted(chain((first, second), source))
        try:
            with self._told(key), taken_apart(parts) as apart:
                sent = obstore.put(
                    self._sender, path, apart, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE, use_multipart=True
                )
        except Exception:
            if source.fault is not None:
                raise source.fault from None
            raise
        return Head(key=key, size_bytes=source.size_bytes, etag=sent["e_tag"] or "")

    def get(self, key: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes `start` .. `stop` in chunks."""
        check_range(start, stop)
        check_key(key)
        return open_chunks(lambda at, length: OneVersion(self, key, at, length), start, stop, self.patience)

    def head(self, key: str) -> Head:
        """Size and etag of the key."""
        check_key(key)
        return retried(lambda: self.head_once(key), self.patience)

    def list(self, prefix: str = "") -> Iterator[Head]:
        """All keys that begin with `prefix`; one request for a folder of up to 1,000 keys."""
        return walk(self._entries, prefix)

    def delete(self, key: str) -> None:
        """Remove the key; nothing happens if there is none."""
        check_key(key)
        try:
            self._retried(key, lambda: obstore.delete(self._store, self._prefix + key))
        except NotFoundError:
            return

    def create_if_absent(self, key: str, body: bytes) -> Head:
        """Write a key that does not exist (`If-None-Match: *`)."""
        return self._stored(check_key(key), body, "create")

    def replace_if_match(self, key: str, body: bytes, *, etag: str) -> Head:
        """Write a key that has not changed since its `etag` was read (`If-Match`)."""
        return self._stored(check_key(key), body, {"e_tag": etag})

    def drop_folder(self, folder: str) -> None:
        """There are none."""

    def append_only(self) -> AppendOnly:
        """Holds where the bucket keeps versions and locks each one for a time by default."""
        return read_append_only(self._bucket, self.patience)

    def versions(self) -> Iterator[Version]:
        """All versions of all keys, and marks that they were deleted."""
        return versions(self._bucket, self._prefix, self.patience)

    def extend_lock(self, key: str, until: datetime, version: str = "") -> None:
        """Lock a version of the key until then, the newest if none is named, in compliance mode."""
        self._locks.extend(self._prefix + check_key(key), until, version)

    def close(self) -> None:
        """Give back connections; those of the library it closes itself once they are idle."""
        self._locks.close()

    def head_once(self, key: str) -> Head:
        """As `head`, asked once."""
        with self._told(key):
            found = obstore.head(self._store, self._prefix + key)
        return Head(key=key, size_bytes=found["size"], etag=found["e_tag"] or "")

    def read_part(self, key: str, etag: str, start: int, length: int) -> tuple[Head, bytes]:
        """One range of the object, of this version of it or of any if `etag` is empty.

        Raises:
            InvalidError: the object ends before `start`.
        """
        options: Any = {"range": (start, start + length), **({"if_match": etag} if etag else {}), **self._which(key)}
        with self._told(key):
            found = obstore.get(self._store, self._prefix + key, options=options)
            size, body = found.meta["size"], bytes(found.bytes())
            if found.range != (start, min(start + length, size)) or len(body) != found.range[1] - start:
                raise StorageRefusedError(f"{self._name} does not honour ranges", fix="Use another server.")
            return Head(key=key, size_bytes=size, etag=found.meta["e_tag"] or ""), body

    def _which(self, key: str) -> Mapping[str, str]:
        """Which version of an object is read: the newest."""
        return {}

    def _stored(self, key: str, body: bytes, mode: Any) -> Head:
        with self._told(key):
            sent = obstore.put(self._sender, self._prefix + key, body, mode=mode, use_multipart=False)
        return Head(key=key, size_bytes=len(body), etag=sent["e_tag"] or "")

    def _entries(self, folder: str) -> Iterable[Entry]:
        above = self._prefix + folder
        found = self._retried(folder, lambda: obstore.list_with_delimiter(self._store, above or None))
        for path in found["common_prefixes"]:
            yield Entry(name=path[len(above) :].strip("/"), is_folder=True)
        for item in found["objects"]:
            name = item["path"][len(above) :]
            if name:  # else the folder itself, as some servers keep one
                yield Entry(name=name, is_folder=False, size_bytes=item["size"], etag=item["e_tag"] or "")

    def _retried(self, key: str, call: Callable[[], T]) -> T:
        def once() -> T:
            with self._told(key):
                return call()

        return retried(once, self.patience)

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        """Say the library's errors in our words."""
        try:
            yield
        except LeptonError:
            raise
        except (FileNotFoundError, foreign.NotFoundError) as fault:
            raise self._absent(key, fault) from None
        except foreign.AlreadyExistsError:
            raise taken(key) from None
        except foreign.PreconditionError:
            raise StaleError(
                f"{key!r} has changed since it was read", fix="Read it again, repeat the change."
            ) from None
        except (foreign.PermissionDeniedError, foreign.UnauthenticatedError) as fault:
            raise self._refused(_reason(fault)) from None
        except foreign.BaseError as fault:
            raise self._failed(fault) from None
        except BaseException as fault:
            if type(fault).__module__ != PANICS:
                raise
            raise unreachable(self._name, f"the client library failed: {fault}") from None

    def _absent(self, key: str, fault: Exception) -> LeptonError:
        """No such key; or no such bucket, which is another matter."""
        return self._refused("NoSuchBucket") if "<Code>NoSuchBucket<" in str(fault) else missing(key)

    def _failed(self, fault: Exception) -> LeptonError:
        status, reason = _status(fault), _reason(fault)
        if status == 507 or reason in FULL:
            return StorageFullError(f"No room in {self._name}", fix="Free some space and try again.")
        if status == 416:
            return InvalidError("The object ends before the range", fix="Ask for an earlier one.")
        if status in (409, 412):
            return StaleError("Others write this key at the same time", fix="Read it again and repeat the change.")
        if status and status < 500:
            return self._refused(reason)
        return unreachable(self._name, reason)

    def _refused(self, reason: str) -> StorageRefusedError:
        return StorageRefusedError(
            f"{self._name} refuses: {reason}", fix="Check the access key, the secret, the bucket and their rights."
        )


def _open_store(bucket: Bucket, patience: Patience, *, retries: int) -> S3Store:
    config: dict[str, Any] = {
        "bucket": bucket.name,
        "region": bucket.region,
        "endpoint": bucket.endpoint,
        "virtual_hosted_style_request": False,
        "disable_bulk_delete": True,
    }
    if bucket.access_key:
        config |= {"access_key_id": bucket.access_key, "secret_access_key": bucket.secret}
        config |= {"session_token": bucket.token} if bucket.token else {}
    else:
        config["skip_signature"] = True
    return S3Store(
        config=cast(Any, config),
        client_options=cast(
            Any,
            {
                "allow_http": bucket.endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=patience.connect_s),
                "timeout": timedelta(seconds=patience.answer_s),
                **({"root_certificate": bucket.authority} if bucket.authority else {}),
            },
        ),
        retry_config=cast(
            Any,
            {
                "max_retries": retries,
                "retry_timeout": timedelta(seconds=patience.longest_s),
                "backoff": {"init_backoff": timedelta(seconds=max(patience.pause_s, 0.001))},
            },
        ),
    )


def _counted(parts: Iterable[bytes]) -> Iterator[bytes]:
    size = 0
    for part in parts:
        size += len(part)
        if size > MAX_PARTS * PART_BYTES:
            raise TooLargeError(f"More than {MAX_PARTS * PART_BYTES >> 30} GiB in one object", fix="Split it.")
        yield part


def _status(fault: Exception) -> int:
    found = STATUS.search(str(fault))
    return int(found[1]) if found else 0


def _reason(fault: Exception) -> str:
    """The server's code, else its status, else the first line: never the library's whole debug text."""
    code = CODE.search(str(fault))
    if code:
        return code[1]
    status = _status(fault)
    return f"HTTP {status}" if status else str(fault).partition("\n")[0].rpartition(" - ")[2][:200]
