"""Our own receiving door on another machine (`lepton vault door`), as a driver; with httpx only.

What is written over or deleted is hidden there and kept for a time, whatever this side asks for. With `as_of` it is the
past: what there was at that time, by the door's clock, is read, and nothing is written.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx

from lepton.core.errors import (
    InvalidError,
    LeptonError,
    NotFoundError,
    StaleError,
    StorageFullError,
    StorageRefusedError,
)
from lepton.vault.driver import AppendOnly, Capabilities, Head, check_key, check_range
from lepton.vault.drivers.address import Address, read_as_of
from lepton.vault.drivers.credentials import Credentials
from lepton.vault.drivers.files import missing, taken, unreachable
from lepton.vault.drivers.http_calls import Calls
from lepton.vault.drivers.patience import Patience, retried
from lepton.vault.drivers.reading import open_chunks
from lepton.vault.drivers.versioned import OneVersion
from lepton.vault.drivers.walking import check_prefix
from lepton.vault.drivers.writing import Source

DOOR_PORT = 8471
DAY_S = 86_400
NO_BODY = {401: ("it does not know this token", "Set LEPTON_STORAGE_TOKEN to the one that the door made.")}
"""Status -> why and what to do, where an answer has no body."""


class DoorDriver:
    """Keeps each key below a prefix of a writer's folder at a door.

    Args:
        url: of the door, without a path.
        prefix: what each key begins with there; empty, or without a slash at its end.
        as_of: a time, in ISO 8601, as which it is read; empty: now.
    """

    capabilities = Capabilities(create_if_absent=True, replace_if_match=True, unique_etags=True, exact_names=True)

    def __init__(self, url: str, prefix: str, credentials: Credentials, patience: Patience, *, as_of: str = "") -> None:
        self.patience = patience
        self._url = f"{url}/v1"
        self._prefix = f"{prefix}/" if prefix else ""
        self._as_of = {"as_of": as_of} if as_of else {}
        self._name = f"the door {url}/{prefix}" + (f" as of {as_of}" if as_of else "")
        self._calls = Calls(
            self._name,
            patience,
            headers={"authorization": f"Bearer {credentials.token}"} if credentials.token else None,
            authority=credentials.authority,
        )

    def __repr__(self) -> str:
        return f"DoorDriver({self._name})"

    def put(self, key: str, chunks: Iterable[bytes]) -> Head:
        """Write the key; what was there is hidden. It is on the door's disk when this returns."""
        self._check_present(check_key(key))
        source = Source(chunks)
        try:
            return self._written(key, source, {})
        except Exception:
            if source.fault is not None:
                raise source.fault from None
            raise

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
        """All keys that begin with `prefix`; 1,000 in one request."""
        check_prefix(prefix)
        return self._listed(prefix)

    def delete(self, key: str) -> None:
        """Hide the key; nothing happens if there is none."""
        self._check_present(check_key(key))
        retried(lambda: self._asked("DELETE", key), self.patience)

    def create_if_absent(self, key: str, body: bytes) -> Head:
        """Write a key that does not exist (`If-None-Match: *`)."""
        self._check_present(check_key(key))
        return self._written(key, body, {"if-none-match": "*"})

    def replace_if_match(self, key: str, body: bytes, *, etag: str) -> Head:
        """Write a key that has not changed since its `etag` was read (`If-Match`)."""
        self._check_present(check_key(key))
        return self._written(key, body, {"if-match": f'"{etag}"'})

    def drop_folder(self, folder: str) -> None:
        """A door has none that matter."""

    def append_only(self) -> AppendOnly:
        """Holds: a door has no way to lose what was there. No lock ends, as the time counts from when it is hidden."""
        try:
            told = self._told("about", {})
            days, is_door = int(told["keep_s"]) // DAY_S, told["door"] == 1
        except StorageRefusedError as fault:
            return AppendOnly(holds=False, reason=fault.message)
        except (KeyError, TypeError, ValueError):
            return AppendOnly(holds=False, reason=f"{self._name} does not say for how long it keeps what is hidden")
        if not is_door or days < 1:
            return AppendOnly(holds=False, reason=f"{self._name} keeps what is hidden for less than a day")
        reason = f"The door keeps what is written over or deleted for {days} days, and all else for ever"
        return AppendOnly(holds=True, reason=reason, hides=True)

    def close(self) -> None:
        """Give back connections."""
        self._calls.close()

    def head_once(self, key: str) -> Head:
        """As `head`, asked once."""
        answer = self._asked("HEAD", key)
        try:
            return Head(key=key, size_bytes=int(answer.headers["content-length"]), etag=_etag(answer))
        except (KeyError, ValueError):
            raise self._no_door() from None

    def read_part(self, key: str, etag: str, start: int, length: int) -> tuple[Head, bytes]:
        """One range of the object, of this version of it or of any if `etag` is empty.

        Raises:
            InvalidError: the object ends before `start`.
        """
        headers = {"range": f"bytes={start}-{start + length - 1}", "accept-encoding": "identity"}
        answer = self._asked("GET", key, headers | ({"if-match": f'"{etag}"'} if etag else {}))
        size = answer.headers.get("content-range", "").rpartition("/")[2]
        if answer.status_code != 206 or not size.isdigit():
            raise self._no_door()
        if len(answer.content) != min(length, int(size) - start):
            raise unreachable(self._name, "a part ended early")
        return Head(key=key, size_bytes=int(size), etag=_etag(answer)), answer.content

    def _written(self, key: str, body: bytes | Iterable[bytes], headers: Mapping[str, str]) -> Head:
        answer = self._asked("PUT", key, headers, body)
        try:
            told = answer.json()
            return Head(key=key, size_bytes=int(told["size_bytes"]), etag=str(told["etag"]))
        except (ValueError, KeyError, TypeError):
            raise self._no_door() from None

    def _listed(self, prefix: str) -> Iterator[Head]:
        after, has_more = "", True
        while has_more:
            told = self._told("list", {"prefix": self._prefix + prefix, "after": after})
            try:
                items = [(str(one["key"]), int(one["size_bytes"]), str(one["etag"])) for one in told["items"]]
                has_more = bool(told["has_more"]) and bool(items)
            except (ValueError, KeyError, TypeError):
                raise self._no_door() from None
            for after, size, etag in items:
                yield Head(key=after.removeprefix(self._prefix), size_bytes=size, etag=etag)

    def _told(self, what: str, params: Mapping[str, str]) -> Any:
        """What the door answers in JSON."""

        def once() -> httpx.Response:
            url = f"{self._url}/{what}"
            return self._checked("", self._calls.ask("GET", url, params={**params, **self._as_of}))

        try:
            return retried(once, self.patience).json()
        except (ValueError, NotFoundError):
            raise self._no_door() from None

    def _asked(
        self,
        method: str,
        key: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
    ) -> httpx.Response:
        url = f"{self._url}/files/{quote(self._prefix + key)}"
        answer = self._calls.ask(method, url, params=self._as_of or None, headers=headers, body=body)
        return self._checked(key, answer)

    def _checked(self, key: str, answer: httpx.Response) -> httpx.Response:
        if answer.status_code in (200, 201, 204, 206):
            return answer
        raise self._failed(key, answer)

    def _failed(self, key: str, answer: httpx.Response) -> LeptonError:
        status = answer.status_code
        try:
            told = answer.json()
            code, why, fix = str(told["code"]), str(told["message"]), str(told["fix"])
        except (ValueError, KeyError, TypeError):
            code, (why, fix) = "", NO_BODY.get(status, (f"HTTP {status}", "Look whether that is a door."))
        if status == 404:
            return missing(key)
        if code == "name_taken":
            return taken(key)
        if status == 412:
            return StaleError(f"{key!r} has changed since it was read", fix="Read it again and repeat the change.")
        if status == 416:
            return InvalidError("The object ends before the range", fix="Ask for an earlier one.")
        if status == 507:
            return StorageFullError(why, fix=fix)
        if status == 408 or status >= 500:
            return unreachable(self._name, why)
        return StorageRefusedError(f"{self._name} refuses: {why}", fix=fix)

    def _check_present(self, key: str) -> None:
        if self._as_of:
            raise StorageRefusedError(f"{self._name} is the past: nothing is written there", fix="Leave out as_of.")

    def _no_door(self) -> StorageRefusedError:
        return StorageRefusedError(f"{self._name} does not answer as a door does", fix="Check the address.")


def open_storage(address: Address, credentials: Credentials, patience: Patience) -> DoorDriver:
    """`door://host[:port]/prefix`, or `doors://` over TLS; with `as_of` it is the past."""
    scheme = "https" if address.scheme == "doors" else "http"
    host = f"[{address.host}]" if ":" in address.host else address.host
    url = f"{scheme}://{host}:{address.port or DOOR_PORT}"
    as_of = ""
    if "as_of" in address.options:
        as_of = read_as_of(address.options["as_of"]).isoformat()
    return DoorDriver(url, address.path, credentials, patience, as_of=as_of)


def _etag(answer: httpx.Response) -> str:
    return str(answer.headers.get("etag", "")).strip('"')
