"""HDFS over HTTP (WebHDFS), for where its own port is closed, or a user must be named. Needs no extra package.

The user is only named, not proved, unless a proxy in front of HDFS asks for a password or a token.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from lepton.core.errors import InvalidError, LeptonError, StorageFullError, StorageRefusedError
from lepton.vault.driver import Capabilities
from lepton.vault.drivers.address import Address
from lepton.vault.drivers.credentials import Credentials
from lepton.vault.drivers.files import FileDriver, missing, taken, unreachable
from lepton.vault.drivers.http_calls import Calls
from lepton.vault.drivers.patience import Patience
from lepton.vault.drivers.walking import Entry

PORT = 9870
LATER = {"StandbyException", "RetriableException", "SafeModeException", "IOException", "ConnectException"}
FULL = ("could only be written to 0", "could only be replicated to 0", "out of space")


class WebFiles:
    """A folder of an HDFS, as `files.RemoteFiles`."""

    capabilities = Capabilities(
        create_if_absent=True,
        replace_if_match=False,
        unique_etags=True,
        exact_names=True,
        why_not={"replace_if_match": "HDFS compares nothing before it replaces"},
    )

    def __init__(self, url: str, root: str, credentials: Credentials, patience: Patience) -> None:
        self.name = f"{url}/{root}"
        self.patience = patience
        self._url = f"{url}/webhdfs/v1/"
        self._root = root
        is_proved = credentials.user and credentials.secret
        self._who = {"user.name": credentials.user} if credentials.user and not is_proved else {}
        self._calls = Calls(
            self.name,
            patience,
            login=(credentials.user, credentials.secret) if is_proved else None,
            headers={"authorization": f"Bearer {credentials.token}"} if credentials.token else None,
            authority=credentials.authority,
        )

    def write(self, path: str, blocks: Iterable[bytes]) -> None:
        """Make a file: ask the NameNode where, then send the bytes to that DataNode."""
        answer = self._asked("PUT", path, "CREATE", overwrite="false", createparent="false")
        self._checked(path, self._calls.ask("PUT", self._there(path, answer), body=blocks))

    def open(self, path: str, start: int, length: int) -> "_File":
        """Read the first block of a file."""
        return _File(self, path, start, length)

    def read_part(self, path: str, start: int, length: int) -> tuple[Entry, bytes]:
        """A range of one version: the file must be the same before and after it was read."""
        found = self.look(path)
        if found.is_folder:
            raise missing(path)
        length = min(length, found.size_bytes - start)
        if length <= 0:
            return found, b""
        answer = self._asked("GET", path, "OPEN", offset=str(start), length=str(length))
        if answer.status_code == 307:
            answer = self._checked(path, self._calls.ask("GET", self._there(path, answer)))
        if self.look(path) != found or len(answer.content) != length:
            raise unreachable(self.name, "the object was written while it was read")
        return found, answer.content

    def look(self, path: str) -> Entry:
        """What is there."""
        found = self._asked("GET", path, "GETFILESTATUS").json()["FileStatus"]
        return _entry(found, path.rpartition("/")[2])

    def entries(self, folder: str) -> Iterable[Entry]:
        """What lies in a folder."""
        found = self._asked("GET", folder, "LISTSTATUS").json()["FileStatuses"]["FileStatus"]
        return [_entry(one, one["pathSuffix"]) for one in found if one["pathSuffix"]]

    def make_folder(self, path: str) -> None:
        """Make the folder and those above it."""
        self._asked("PUT", path, "MKDIRS")

    def remove(self, path: str) -> None:
        """Remove a file."""
        if not self._asked("DELETE", path, "DELETE").json()["boolean"]:
            raise missing(path)

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder."""
        self._asked("DELETE", path, "DELETE")

    def move(self, source: str, target: str, *, replace: bool, turn: object) -> None:
        """Rename in one step of the NameNode."""
        option = "OVERWRITE" if replace else "NONE"
        self._asked("PUT", source, "RENAME", destination=f"/{self._below(target)}", renameoptions=option, told=target)

    def turn(self, path: str) -> AbstractContextManager[object]:
        """There are none."""
        return nullcontext()

    def close(self) -> None:
        """Give back connections."""
        self._calls.close()

    def _asked(self, method: str, path: str, act: str, *, told: str = "", **options: str) -> httpx.Response:
        url = self._url + quote(self._below(path))
        answer = self._calls.ask(method, url, params={"op": act, **self._who, **options})
        return self._checked(told or path, answer)

    def _there(self, path: str, answer: httpx.Response) -> str:
        """The address at a DataNode. Its path is ours: the NameNode's spoils letters beyond ASCII."""
        told = urlsplit(answer.headers.get("location", ""))
        if not told.netloc:
            raise unreachable(self.name, f"HTTP {answer.status_code} without a DataNode's address")
        return f"{told.scheme}://{told.netloc}/webhdfs/v1/{quote(self._below(path))}?{told.query}"

    def _below(self, path: str) -> str:
        return f"{self._root}/{path}".strip("/")

    def _checked(self, path: str, answer: httpx.Response) -> httpx.Response:
        if answer.status_code < 400:
            return answer
        raise self._failed(path, answer.status_code, _remote(answer))

    def _failed(self, path: str, status: int, fault: Mapping[str, Any]) -> LeptonError:
        kind, text = str(fault.get("exception", "")), str(fault.get("message", "")).partition("\n")[0][:200]
        if kind in ("FileNotFoundException", "ParentNotDirectoryException", "PathIsNotDirectoryException"):
            return missing(path)
        if kind == "FileAlreadyExistsException" and "is not a directory" not in text:
            return taken(path)
        if "QuotaExceeded" in kind or any(sign in text for sign in FULL) or status == 507:
            return StorageFullError(f"No room in {self.name}", fix="Free some space or raise the quota, and try again.")
        if kind in LATER or (status >= 500 and not kind):
            return unreachable(self.name, text or f"HTTP {status}")
        if kind == "AccessControlException" and "is not a directory" in text:
            return missing(path)
        return StorageRefusedError(
            f"{self.name} refuses: {text or f'HTTP {status}'}", fix="Check the user and its rights."
        )


class _File:
    """One version of a file; its first block is here already."""

    def __init__(self, files: WebFiles, path: str, start: int, length: int) -> None:
        self._files = files
        self._path = path
        self._start = start
        self._found, self._block = files.read_part(path, start, length)
        self.size_bytes, self.etag = self._found.size_bytes, self._found.etag

    def read(self, start: int, length: int) -> bytes:
        block, self._block = self._block, b""
        if block and start == self._start:
            return block
        found, block = self._files.read_part(self._path, start, length)
        if found != self._found:
            raise unreachable(self._files.name, "the object was written while it was read")
        return block

    def close(self) -> None:
        """Nothing is held."""


def open_storage(address: Address, credentials: Credentials, patience: Patience) -> FileDriver:
    """`webhdfs://host[:port]/folder`, or `webhdfss://` over TLS."""
    if not address.path:
        raise InvalidError("The address of an HDFS storage names no folder", fix="webhdfs://host:port/folder")
    scheme = "https" if address.scheme == "webhdfss" else "http"
    url = f"{scheme}://{address.host}:{address.port or PORT}"
    return FileDriver(WebFiles(url, address.path, credentials, patience))


def over_http(address: Address) -> Address:
    """The same storage of an `hdfs://` address over HTTP, at the port that its option `http` names."""
    text = address.options.get("http", str(PORT))
    if not text.isdigit():
        raise InvalidError("The option http of an HDFS storage is a port", fix=f"hdfs://host:port/folder?http={PORT}")
    return replace(address, scheme="webhdfs", port=int(text), options={})


def _remote(answer: httpx.Response) -> Mapping[str, Any]:
    """What went wrong, as the server says; empty if a proxy says it."""
    try:
        found = answer.json()["RemoteException"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _entry(found: Mapping[str, Any], name: str) -> Entry:
    number, modified_ms, size_bytes = found["fileId"], found["modificationTime"], found["length"]
    return Entry(
        name=name,
        is_folder=found["type"] == "DIRECTORY",
        size_bytes=size_bytes,
        etag=f"{number:x}-{modified_ms:x}-{size_bytes:x}",
        modified_s=modified_ms / 1000,
    )
