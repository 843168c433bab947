"""HDFS over its own protocol (needs the extra `hdfs`); where that port is closed, over WebHDFS.

The NameNode's rename is one step and refuses a name that exists, so creating is sure. It compares nothing, so
replacing is not. An etag is made of the time in milliseconds and the size, as the library tells no more.
"""

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from getpass import getuser
from threading import Lock
from typing import Any, cast

import hdfs_native

from lepton.core.errors import (
    InvalidError,
    LeptonError,
    StorageFullError,
    StorageRefusedError,
)
from lepton.vault.driver import Capabilities
from lepton.vault.drivers import webhdfs
from lepton.vault.drivers.address import Address
from lepton.vault.drivers.credentials import Credentials
from lepton.vault.drivers.files import FileDriver, missing, taken, unreachable
from lepton.vault.drivers.patience import Patience
from lepton.vault.drivers.walking import Entry

FULL = ("QuotaExceededException", "could only be written to 0", "could only be replicated to 0", "out of space")
CLOSED = ("AccessControlException", "AuthorizationException", "SecurityException", "SASL", "GSSAPI", "InvalidPath")


class HdfsFiles:
    """A folder of an HDFS, as `files.RemoteFiles`."""

    capabilities = Capabilities(
        create_if_absent=True,
        replace_if_match=False,
        unique_etags=False,
        exact_names=True,
        why_not={
            "replace_if_match": "HDFS compares nothing before it replaces",
            "unique_etags": "Two writes within a millisecond may have an equal etag",
        },
    )

    def __init__(self, address: Address, principal: str, patience: Patience) -> None:
        self.patience = patience
        self._host = f"hdfs://{address.host}" + (f":{address.port}" if address.port else "")
        self._root = "/" + address.path
        self.name = self._host + self._root
        self._principal = principal
        self._client: Any = None
        self._lock = Lock()

    def write(self, path: str, blocks: Iterable[bytes]) -> None:
        """Make and flush a file."""
        options = hdfs_native.WriteOptions(overwrite=False, create_parent=False)
        with self._told(path) as client:
            file = client.create(self._at(path), options)
            is_empty = True
            for block in blocks:
                file.write(block)
                is_empty = False
            if not is_empty:
                file.hsync()
            file.close()

    def open(self, path: str, start: int, length: int) -> "_File":
        """Open a file for reading: its blocks stay what they are, whoever replaces it."""
        with self._told(path) as client:
            found = client.get_file_info(self._at(path))
            if found.isdir:
                raise missing(path)
            file = client.read(self._at(path))
            again = client.get_file_info(self._at(path))
        if _etag(found) != _etag(again) or len(file) != found.length:
            raise unreachable(self.name, "the object was written while it was opened")
        return _File(self, path, file, found)

    def look(self, path: str) -> Entry:
        """What is there."""
        with self._told(path) as client:
            return _entry(client.get_file_info(self._at(path)))

    def entries(self, folder: str) -> Iterable[Entry]:
        """What lies in a folder."""
        with self._told(folder) as client:
            return [_entry(found) for found in client.list_status(self._at(folder))]

    def make_folder(self, path: str) -> None:
        """Make the folder and those above it."""
        with self._told(path) as client:
            client.mkdirs(self._at(path), create_parent=True)

    def remove(self, path: str) -> None:
        """Remove a file."""
        with self._told(path) as client:
            if not client.delete(self._at(path)):
                raise missing(path)

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder."""
        with self._told(path) as client:
            client.delete(self._at(path))

    def move(self, source: str, target: str, *, replace: bool, turn: object) -> None:
        """Rename in one step of the NameNode."""
        with self._told(target) as client:
            client.rename(self._at(source), self._at(target), replace)

    def turn(self, path: str) -> AbstractContextManager[object]:
        """There are none."""
        return nullcontext()

    def close(self) -> None:
        """Forget the connection; the library closes it."""
        with self._lock:
            self._client = None

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                limit = {"dfs.client.socket-timeout": str(round(self.patience.answer_s * 1000))}
                limit |= {"dfs.client.failover.max.attempts": "1", "dfs.client.failover.sleep.max.millis": "500"}
                who = {"kerberos_principal": self._principal} if self._principal else {}
                self._client = hdfs_native.Client(self._host, limit, **who)
            return self._client

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}".replace("//", "/").rstrip("/") or "/"

    @contextmanager
    def _told(self, path: str) -> Iterator[Any]:
        """The connection; the library's errors said in our words."""
        try:
            yield self._connected()
        except LeptonError:
            raise
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise missing(path) from None
        except FileExistsError:
            raise taken(path) from None
        except (OSError, RuntimeError, ValueError) as fault:
            raise self._failed(path, fault) from None

    def _failed(self, path: str, fault: Exception) -> LeptonError:
        text = str(fault)
        if "ParentNotDirectoryException" in text or "is not a directory" in text:
            return missing(path)
        if any(sign in text for sign in FULL):
            return StorageFullError(f"No room in {self.name}", fix="Free some space or raise the quota, and try again.")
        if isinstance(fault, PermissionError) or any(sign in text for sign in CLOSED):
            return StorageRefusedError(f"{self.name} refuses: {_first(text)}", fix="Check the user and its rights.")
        self.close()
        return unreachable(self.name, _first(text))


class _File:
    """A file open for reading."""

    def __init__(self, files: HdfsFiles, path: str, file: Any, found: Any) -> None:
        self.size_bytes, self.etag = found.length, _etag(found)
        self._files = files
        self._path = path
        self._file = file

    def read(self, start: int, length: int) -> bytes:
        with self._files._told(self._path):
            return cast(bytes, self._file.read_range(start, min(length, self.size_bytes - start)))

    def close(self) -> None:
        """Nothing is held that the library does not let go by itself."""


def open_storage(address: Address, credentials: Credentials, patience: Patience) -> FileDriver:
    """`hdfs://host[:port]/folder[?http=9870]`; without a port the address of a name service in `core-site.xml`."""
    if not address.path:
        raise InvalidError("The address of an HDFS storage names no folder", fix="hdfs://host:port/folder")
    if address.port is not None and not _is_open(address, patience):
        return webhdfs.open_storage(webhdfs.over_http(address), credentials, patience)
    principal = credentials.user if "@" in credentials.user else ""
    if credentials.user and not principal and credentials.user != _user():
        raise StorageRefusedError(
            "HDFS takes its user from the process (HADOOP_USER_NAME) or from Kerberos (a user with '@')",
            fix="Leave the user out, or use webhdfs://, which can name one.",
        )
    return FileDriver(HdfsFiles(address, principal, patience))


def _is_open(address: Address, patience: Patience) -> bool:
    try:
        with socket.create_connection((address.host, address.port or 0), timeout=patience.connect_s):
            return True
    except OSError:
        return False


def _user() -> str:
    return os.environ.get("HADOOP_USER_NAME") or getuser()


def _etag(found: Any) -> str:
    return f"{found.modification_time:x}-{found.length:x}"


def _entry(found: Any) -> Entry:
    return Entry(
        name=found.path.rpartition("/")[2],
        is_folder=found.isdir,
        size_bytes=found.length,
        etag=_etag(found),
        modified_s=found.modification_time / 1000,
    )


def _first(text: str) -> str:
    """The first line: what follows is a trace of Java."""
    return text.replace("\\n", "\n").partition("\n")[0][:200]
