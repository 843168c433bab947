"""NFS 4 and 3 in user space, where no mount is possible (needs the extra `nfs`); a mounted one is a plain path.

The protocol as the library gives it to us has no exclusive create and no locks, but `link` refuses a name that exists.
Its rename replaces. The library cannot list the root of an export, so a storage lies in a folder below it.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from threading import Lock
from typing import Any, cast
from urllib.parse import quote

import nfs_rs

from lepton.core.errors import (
    InvalidError,
    LeptonError,
    StorageFullError,
    StorageRefusedError,
)
from lepton.vault.driver import Capabilities
from lepton.vault.drivers.address import Address
from lepton.vault.drivers.credentials import Credentials
from lepton.vault.drivers.files import FileDriver, missing, taken, unreachable
from lepton.vault.drivers.patience import Patience
from lepton.vault.drivers.walking import Entry

FULL = {28, 27, 69, 122}
"""NFS4ERR_NOSPC, _FBIG, _DQUOT; EDQUOT of Linux."""
CLOSED = {1, 13, 30}
"""_PERM, _ACCESS, _ROFS."""
FAULTS = (nfs_rs.NfsError, OSError, RuntimeError, ValueError)
ABSENT = (nfs_rs.NfsNotFoundError, nfs_rs.NfsIsADirectoryError, nfs_rs.NfsNotADirectoryError)


class NfsFiles:
    """A folder below an export, as `files.RemoteFiles`."""

    capabilities = Capabilities(
        create_if_absent=True,
        replace_if_match=False,
        unique_etags=True,
        exact_names=True,
        why_not={"replace_if_match": "NFS compares nothing, and the library has no locks"},
    )

    def __init__(self, export: str, folder: str, options: dict[str, Any], patience: Patience) -> None:
        self.name = f"{export.partition('?')[0]}/{folder}"
        self.patience = patience
        self._export = export
        self._folder = f"/{folder}"
        self._options = options
        self._client: Any = None
        self._lock = Lock()

    def write(self, path: str, blocks: Iterable[bytes]) -> None:
        """Make and flush a file."""
        with self._told(path) as client:
            file = client.open(self._at(path), "wb")
            try:
                for block in blocks:
                    rest = memoryview(block)
                    while rest:
                        rest = rest[file.write(rest) :]
                file.flush()
            except BaseException:
                _let_go(file)
                raise
            file.close()

    def open(self, path: str, start: int, length: int) -> "_File":
        """Open a file for reading."""
        with self._told(path) as client:
            found = client.stat(self._at(path))
            if found.type == nfs_rs.FileType.DIRECTORY:
                raise missing(path)
            file = client.open(self._at(path), "rb")
        return _File(self, path, file, found)

    def look(self, path: str) -> Entry:
        """What is there."""
        with self._told(path) as client:
            return _entry(path.rpartition("/")[2], client.stat(self._at(path)))

    def entries(self, folder: str) -> Iterable[Entry]:
        """What lies in a folder."""
        with self._told(folder) as client:
            return [
                _entry(one.name, one.info) for one in client.scandir(self._at(folder)) if one.name not in (".", "..")
            ]

    def make_folder(self, path: str) -> None:
        """Make the folder and those above it."""
        with self._told(path) as client:
            client.mkdir(self._at(path), parents=True, exist_ok=True)

    def remove(self, path: str) -> None:
        """Remove a file."""
        with self._told(path) as client:
            client.remove(self._at(path))

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder."""
        with self._told(path) as client:
            client.remove(self._at(path))

    def move(self, source: str, target: str, *, replace: bool, turn: object) -> None:
        """Rename; or link, which refuses a name that exists, and remove the old name."""
        with self._told(target) as client:
            if replace:
                client.rename(self._at(source), self._at(target))
                return
            client.link(self._at(source), self._at(target))
        with self._told(source) as client:
            client.remove(self._at(source), missing_ok=True)

    def turn(self, path: str) -> AbstractContextManager[object]:
        """There are none."""
        return nullcontext()

    def close(self) -> None:
        """Give back the connection."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            with suppress(*FAULTS):
                client.close()

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = nfs_rs.Client.connect(
                    self._export,
                    connect_timeout=self.patience.connect_s,
                    operation_timeout=self.patience.answer_s,
                    noresvport=False,
                    **self._options,
                )
            return self._client

    def _at(self, path: str) -> str:
        return f"{self._folder}/{path}".rstrip("/")

    @contextmanager
    def _told(self, path: str) -> Iterator[Any]:
        """The connection; the library's errors said in our words."""
        try:
            yield self._connected()
        except LeptonError:
            raise
        except ABSENT:
            raise missing(path) from None
        except nfs_rs.NfsAlreadyExistsError:
            raise taken(path) from None
        except FAULTS as fault:
            raise self._failed(fault) from None

    def _failed(self, fault: Exception) -> LeptonError:
        code = getattr(fault, "code", None) or getattr(fault, "errno", None)
        what = str(getattr(fault, "code_name", None) or type(fault).__name__)
        if code in FULL:
            return StorageFullError(f"No room in {self.name}", fix="Free some space and try again.")
        if code in CLOSED or isinstance(fault, nfs_rs.NfsPermissionError):
            return StorageRefusedError(f"{self.name} refuses: {what}", fix="Check the export, uid and gid.")
        self.close()
        return unreachable(self.name, what)


class _File:
    """A file open for reading."""

    def __init__(self, files: NfsFiles, path: str, file: Any, found: Any) -> None:
        entry = _entry("", found)
        self.size_bytes, self.etag = entry.size_bytes, entry.etag
        self._files = files
        self._path = path
        self._file = file

    def read(self, start: int, length: int) -> bytes:
        with self._files._told(self._path):
            return cast(bytes, self._file.read_at(start, length))

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            _let_go(file)


def open_storage(address: Address, credentials: Credentials, patience: Patience) -> FileDriver:
    """`nfs://host[:port]/export/folder`; of an export deeper than one name, `?export=srv/data` says how deep."""
    export = address.options.get("export", address.path.partition("/")[0]).strip("/")
    folder = address.path.removeprefix(export).strip("/")
    if not folder or not f"{address.path}/".startswith(f"{export}/"):
        raise InvalidError("The address of an NFS storage names no folder in an export", fix="nfs://host/export/folder")
    options: dict[str, Any] = {"versions": [address.options.get("version", "4.1")]}
    try:
        options |= {name: int(address.options[name]) for name in ("uid", "gid") if name in address.options}
    except ValueError:
        raise InvalidError("uid and gid are numbers", fix="nfs://host/export/folder?uid=1000&gid=1000") from None
    port = f":{address.port}" if address.port else ""
    return FileDriver(NfsFiles(f"nfs://{address.host}{port}/{quote(export)}", folder, options, patience))


def _let_go(file: Any) -> None:
    """Close a file, or forget it where its connection is gone."""
    try:
        file.close()
    except FAULTS:
        file._inner = None  # else the library warns of a file that nobody can close any more


def _entry(name: str, found: Any) -> Entry:
    return Entry(
        name=name,
        is_folder=found.type == nfs_rs.FileType.DIRECTORY,
        size_bytes=found.size,
        etag=f"{found.fileid:x}-{found.mtime:x}-{found.size:x}",
        modified_s=found.mtime / 1e9,
    )
