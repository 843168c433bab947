"""WebDAV, with httpx only: files are sent to a hidden name and moved (`MOVE`) into place.

The protocol lets a client say `Overwrite: F` and `If-Match`, but servers do not listen, or look first and write then:
of two writers both are told that they won, once in many times. So the driver claims neither.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree

import httpx

from lepton.core.errors import LeptonError, NotFoundError, StorageFullError, StorageRefusedError
from lepton.vault.driver import Capabilities
from lepton.vault.drivers.address import Address
from lepton.vault.drivers.credentials import Credentials
from lepton.vault.drivers.files import FileDriver, missing, unreachable
from lepton.vault.drivers.http_calls import Calls
from lepton.vault.drivers.patience import Patience
from lepton.vault.drivers.walking import Entry

WANTED = (
    b'<?xml version="1.0"?><propfind xmlns="DAV:"><prop><resourcetype/><getcontentlength/><getetag/>'
    b"<getlastmodified/></prop></propfind>"
)
DAV = "{DAV:}"
DONE = (200, 201, 204, 206, 207)


class DavFiles:
    """A folder of a WebDAV server, as `files.RemoteFiles`."""

    capabilities = Capabilities(
        create_if_absent=False,
        replace_if_match=False,
        unique_etags=True,
        exact_names=True,
        why_not={
            "create_if_absent": "WebDAV servers look whether a name is free before they take it, not while they do",
            "replace_if_match": "WebDAV servers ignore If-Match, or look before they write",
        },
    )

    def __init__(self, url: str, root: str, credentials: Credentials, patience: Patience) -> None:
        self.name = f"{url}/{root}"
        self.patience = patience
        self._url = url
        self._root = root
        self._calls = Calls(
            self.name,
            patience,
            login=(credentials.user, credentials.secret) if credentials.user else None,
            headers={"authorization": f"Bearer {credentials.token}"} if credentials.token else None,
            authority=credentials.authority,
        )

    def write(self, path: str, blocks: Iterable[bytes]) -> None:
        """Make a file; how durable it is then, the server alone knows."""
        self._checked(path, self._calls.ask("PUT", self._at(path), body=blocks))

    def open(self, path: str, start: int, length: int) -> "_File":
        """Read the first block of a file."""
        return _File(self, path, start, length)

    def read_part(self, path: str, start: int, length: int, etag: str) -> bytes:
        """A range of the version with this etag."""
        headers = {"range": f"bytes={start}-{start + length - 1}", "accept-encoding": "identity", "if-match": etag}
        answer = self._checked(path, self._calls.ask("GET", self._at(path), headers=headers))
        if answer.headers.get("etag", etag) != etag:
            raise unreachable(self.name, "the object was written while it was read")
        if answer.status_code != 206:
            raise StorageRefusedError(f"{self.name} does not honour ranges", fix="Use another server.")
        if len(answer.content) != length:
            raise unreachable(self.name, "a part ended early")
        return answer.content

    def look(self, path: str) -> Entry:
        """What is there."""
        found = [entry for _, entry in self._found(path, "0")]
        if not found:
            raise missing(path)
        return found[0]

    def entries(self, folder: str) -> Iterable[Entry]:
        """What lies in a folder."""
        own = f"/{self._below(folder)}"
        return [entry for path, entry in self._found(folder, "1") if path != own]

    def make_folder(self, path: str) -> None:
        """Make the folder and those above it, above the root too."""
        parts = self._below(path).split("/")
        for depth in range(1, len(parts) + 1):
            answer = self._calls.ask("MKCOL", f"{self._url}/{quote('/'.join(parts[:depth]))}/")
            if answer.status_code != 405:  # it is there, or cannot be made
                self._checked(path, answer)
        try:
            self.look(path)
        except NotFoundError:
            raise StorageRefusedError(f"{self.name} makes no folder", fix="Check whether it is read-only.") from None

    def remove(self, path: str) -> None:
        """Remove a file."""
        self._checked(path, self._calls.ask("DELETE", self._at(path)))

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder."""
        self._checked(path, self._calls.ask("DELETE", self._at(f"{path}/")))

    def move(self, source: str, target: str, *, replace: bool, turn: object) -> None:
        """Rename, replacing: there is no sure way not to."""
        headers = {"destination": self._at(target), "overwrite": "T"}
        answer = self._calls.ask("MOVE", self._at(source), headers=headers)
        if answer.status_code == 403:
            self.look(target.rpartition("/")[0])  # some servers say so where only the folder is missing
        self._checked(target, answer)

    def turn(self, path: str) -> AbstractContextManager[object]:
        """There are none."""
        return nullcontext()

    def close(self) -> None:
        """Give back connections."""
        self._calls.close()

    def _found(self, path: str, depth: str) -> Iterable[tuple[str, Entry]]:
        headers = {"depth": depth, "content-type": "application/xml"}
        url = self._at(path) + ("/" if depth == "1" else "")
        answer = self._checked(path, self._calls.ask("PROPFIND", url, headers=headers, body=WANTED))
        try:
            tree = ElementTree.fromstring(answer.content)
        except ElementTree.ParseError:
            raise StorageRefusedError(f"{self.name} does not speak WebDAV", fix="Check the address.") from None
        return [_entry(one) for one in tree.iter(f"{DAV}response")]

    def _at(self, path: str) -> str:
        return f"{self._url}/{quote(self._below(path))}"

    def _below(self, path: str) -> str:
        return f"{self._root}/{path}".strip("/")

    def _checked(self, path: str, answer: httpx.Response) -> httpx.Response:
        if answer.status_code in DONE:
            return answer
        raise self._failed(path, answer.status_code)

    def _failed(self, path: str, status: int) -> LeptonError:
        if status in (404, 409, 410):  # 409: the folder is missing
            return missing(path)
        if status in (412, 423, 429) or (status >= 500 and status not in (501, 507)):
            return unreachable(self.name, f"HTTP {status}")
        if status in (413, 507):
            return StorageFullError(f"No room in {self.name}", fix="Free some space and try again.")
        return StorageRefusedError(f"{self.name} refuses: HTTP {status}", fix="Check user, password and rights.")


class _File:
    """One version of a file; its first block is here already."""

    def __init__(self, files: DavFiles, path: str, start: int, length: int) -> None:
        found = files.look(path)
        if found.is_folder:
            raise missing(path)
        self.size_bytes, self.etag = found.size_bytes, found.etag
        self._files = files
        self._path = path
        self._start = start
        length = min(length, self.size_bytes - start)
        self._block = files.read_part(path, start, length, self.etag) if length > 0 else b""

    def read(self, start: int, length: int) -> bytes:
        block, self._block = self._block, b""
        if block and start == self._start:
            return block
        return self._files.read_part(self._path, start, length, self.etag)

    def close(self) -> None:
        """Nothing is held."""


def open_storage(address: Address, credentials: Credentials, patience: Patience) -> FileDriver:
    """`webdav://host[:port]/folder`, or `webdavs://` over TLS."""
    scheme = "https" if address.scheme == "webdavs" else "http"
    port = f":{address.port}" if address.port else ""
    return FileDriver(DavFiles(f"{scheme}://{address.host}{port}", address.path, credentials, patience))


def _entry(found: ElementTree.Element) -> tuple[str, Entry]:
    """The path on the server, without a slash at its end, and what is there."""
    path = unquote(urlsplit(found.findtext(f"{DAV}href") or "").path).rstrip("/")
    told: dict[str, str] = {}
    is_folder = False
    for properties in found.iter(f"{DAV}prop"):
        is_folder = is_folder or properties.find(f"{DAV}resourcetype/{DAV}collection") is not None
        told |= {one.tag.removeprefix(DAV): one.text or "" for one in properties if one.text}
    size_bytes = int(told.get("getcontentlength") or 0)
    changed = told.get("getlastmodified", "")
    return path, Entry(
        name=path.rpartition("/")[2],
        is_folder=is_folder,
        size_bytes=size_bytes,
        etag=told.get("getetag") or f'"{changed}-{size_bytes}"',
        modified_s=_seconds(told),
    )


def _seconds(told: Mapping[str, str]) -> float:
    """When it was changed; 0 if the server does not say."""
    try:
        moment = parsedate_to_datetime(told["getlastmodified"])
    except (KeyError, ValueError):
        return 0.0
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
