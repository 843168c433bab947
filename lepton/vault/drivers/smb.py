"""Shares of SMB 3 (Windows, Samba) in user space, always encrypted (needs the extra `smb`).

The library keeps sessions by user name only: a second login with a wrong password would find the first one's open
door. So each driver has connections of its own, which no other driver, tenant or credential ever shares.

A writer takes its turn by opening a lock file that nobody else may open meanwhile. The server keeps that promise as
long as the connection lives, and the rename goes over the same connection: where the turn is lost, the rename fails.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import uniform
from threading import Event
from time import monotonic
from typing import Any, TypeVar, cast

import smbclient
from smbclient import _io as smb_io
from smbprotocol.exceptions import SMBAuthenticationError, SMBException
from smbprotocol.file_info import FileAttributes, FileInformationClass, FileInternalInformation
from smbprotocol.header import NtStatus

from lepton.core.errors import (
    LeptonError,
    NotFoundError,
    StorageFullError,
    StorageRefusedError,
)
from lepton.vault.driver import Capabilities
from lepton.vault.drivers.address import Address
from lepton.vault.drivers.credentials import Credentials
from lepton.vault.drivers.files import FileDriver, missing, taken, unreachable
from lepton.vault.drivers.patience import Patience
from lepton.vault.drivers.smb_session import Lane, Lanes, Session, rename
from lepton.vault.drivers.walking import Entry

LOCKS = ".locks"
SHARED = "rwd"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ABSENT = {
    NtStatus.STATUS_OBJECT_NAME_NOT_FOUND,
    NtStatus.STATUS_OBJECT_PATH_NOT_FOUND,
    NtStatus.STATUS_NO_SUCH_FILE,
    NtStatus.STATUS_NOT_FOUND,
    NtStatus.STATUS_FILE_IS_A_DIRECTORY,
    NtStatus.STATUS_NOT_A_DIRECTORY,
    NtStatus.STATUS_DELETE_PENDING,
}
FULL = {NtStatus.STATUS_DISK_FULL, 0xC0000044}
"""The second: a quota is exceeded."""
GONE = {
    NtStatus.STATUS_NETWORK_NAME_DELETED,
    NtStatus.STATUS_USER_SESSION_DELETED,
    NtStatus.STATUS_FILE_CLOSED,
    NtStatus.STATUS_INVALID_HANDLE,
    NtStatus.STATUS_SERVER_UNAVAILABLE,
    NtStatus.STATUS_IO_TIMEOUT,
    NtStatus.STATUS_INSUFFICIENT_RESOURCES,
    NtStatus.STATUS_INSUFF_SERVER_RESOURCES,
}
LOGIN = {NtStatus.STATUS_LOGON_FAILURE, NtStatus.STATUS_WRONG_PASSWORD, NtStatus.STATUS_PASSWORD_EXPIRED}
MOST_SAID = 300
"""Characters of an error of the library, which may hold that of a library below it."""
T = TypeVar("T")
NAMES = {value: name for name, value in vars(NtStatus).items() if name.startswith("STATUS_")}


class SmbFiles:
    """A folder of a share, as `files.RemoteFiles`."""

    capabilities = Capabilities(create_if_absent=True, replace_if_match=True, unique_etags=True, exact_names=True)

    def __init__(self, session: Session, folder: str) -> None:
        self.name = f"smb://{session.host}:{session.port}/{session.share}/{folder}"
        self.patience = session.patience
        self._lanes = Lanes(session)
        self._root = "\\".join(["", "", session.host, session.share, *[part for part in folder.split("/") if part]])

    def write(self, path: str, blocks: Iterable[bytes]) -> None:
        """Make and flush a file."""
        with self._lane(path) as lane, self._opened(lane, path, "x", "r") as file:
            for block in blocks:
                _write_all(file, block)
            file.flush()

    def open(self, path: str, start: int, length: int) -> "_File":
        """Read the first block of a file."""
        return _File(self, path, start, length)

    def read_part(self, path: str, start: int, length: int) -> tuple[int, str, bytes]:
        """Size, etag and one answer of the server: a file is never kept open, as nobody could replace it then."""
        with self._lane(path) as lane, self._opened(lane, path, "r", SHARED) as file:
            with smb_io.SMBFileTransaction(file) as asked:
                smb_io.query_info(asked, FileInternalInformation)
            number, size_bytes = asked.results[0]["index_number"].get_value(), file.fd.end_of_file
            file.seek(start)
            buffer = bytearray(max(0, min(length, size_bytes - start)))
            body = bytes(memoryview(buffer)[: file.readinto(buffer)]) if buffer else b""
            return size_bytes, _etag(number, _since_1970(file.fd.last_write_time), size_bytes), body

    def look(self, path: str) -> Entry:
        """What is there."""
        with self._lane(path) as lane:
            found = smbclient.stat(self._at(path), **lane.shared)
        is_folder = bool(found.st_file_attributes & FileAttributes.FILE_ATTRIBUTE_DIRECTORY)
        return Entry(
            name=path.rpartition("/")[2],
            is_folder=is_folder,
            size_bytes=found.st_size,
            etag=_etag(found.st_ino, found.st_mtime_ns // 1000, found.st_size),
            modified_s=found.st_mtime_ns / 1e9,
        )

    def entries(self, folder: str) -> Iterable[Entry]:
        """What lies in a folder."""
        kind = FileInformationClass.FILE_ID_FULL_DIRECTORY_INFORMATION
        with (
            self._lane(folder) as lane,
            smb_io.SMBDirectoryIO(self._at(folder), share_access=SHARED, **lane.shared) as listing,
        ):
            return [_entry(found) for found in listing.query_directory("*", kind)]

    def make_folder(self, path: str) -> None:
        """Make the folder and those above it."""
        with self._lane(path) as lane:
            smbclient.makedirs(self._at(path), exist_ok=True, **lane.shared)

    def remove(self, path: str) -> None:
        """Remove a file."""
        with self._lane(path) as lane:
            smbclient.remove(self._at(path), **lane.shared)

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder."""
        with self._lane(path) as lane:
            smbclient.rmdir(self._at(path), **lane.shared)

    def move(self, source: str, target: str, *, replace: bool, turn: object) -> None:
        """Rename over the connection that holds the turn. A file that is being read is replaced a moment later."""
        lane, tree = cast(tuple[Lane, Any], turn)
        self._patiently(
            lane,
            target,
            NtStatus.STATUS_ACCESS_DENIED if replace else None,
            lambda: rename(tree, self._in_share(source), self._in_share(target), replace=replace),
        )

    @contextmanager
    def turn(self, path: str) -> Iterator[object]:
        """Hold the lock file of this path; the few others that share it wait too."""
        lane = self._lanes.take()
        try:
            file = self._locked(lane, f"{LOCKS}/{sha256(path.encode()).hexdigest()[:2]}")
            try:
                yield lane, file.fd.tree_connect
            finally:
                self.let_go(file)
        finally:
            self._lanes.give_back(lane)

    def close(self) -> None:
        """Give back connections."""
        self._lanes.close()

    def let_go(self, file: Any) -> None:
        """Close a handle, or forget it where its connection is gone."""
        try:
            file.close()
        except (SMBException, OSError, ValueError):
            file.fd._connected = False  # else the library warns of a handle that nobody can close any more

    def _locked(self, lane: Lane, lock: str) -> Any:
        """The lock file, open for nobody else; its folder is made when it turns out to be missing."""

        def opened() -> Any:
            lane.enter()
            file = self._file(lane, lock, "a", None)
            file.open()
            return file

        try:
            return self._patiently(lane, lock, NtStatus.STATUS_SHARING_VIOLATION, opened)
        except NotFoundError:
            self.make_folder(LOCKS)
            return self._patiently(lane, lock, NtStatus.STATUS_SHARING_VIOLATION, opened)

    def _patiently(self, lane: Lane, path: str, busy: int | None, call: Callable[[], T]) -> T:
        """Call again while it is refused with this status: somebody else has the file open."""
        end, pause = monotonic() + self.patience.answer_s, Event()
        while True:
            try:
                with self._told(lane, path, busy=busy if monotonic() < end else None):
                    return call()
            except _BusyError:
                pause.wait(uniform(0.001, 0.02))

    @contextmanager
    def _opened(self, lane: Lane, path: str, mode: str, share: str) -> Iterator[Any]:
        file = self._file(lane, path, mode, share)
        file.open()
        try:
            yield file
        except BaseException:
            self.let_go(file)
            raise
        file.close()

    def _file(self, lane: Lane, path: str, mode: str, share: str | None) -> Any:
        return smb_io.SMBFileIO(self._at(path), mode=mode, share_access=share, **lane.shared)

    def _at(self, path: str) -> str:
        return "\\".join([self._root, *[part for part in path.split("/") if part]])

    def _in_share(self, path: str) -> str:
        return self._at(path).split("\\", 4)[4]

    @contextmanager
    def _lane(self, path: str) -> Iterator[Lane]:
        """A connection for one call, whose errors are said in our words."""
        lane = self._lanes.take()
        try:
            with self._told(lane, path):
                lane.enter()
                yield lane
        finally:
            self._lanes.give_back(lane)

    @contextmanager
    def _told(self, lane: Lane, path: str, *, busy: int | None = None) -> Iterator[None]:
        """Say the library's errors in our words."""
        try:
            yield
        except (SMBException, OSError, ValueError) as fault:
            status = getattr(fault, "ntstatus", None) or getattr(fault, "status", None)
            if status is not None and status == busy:
                raise _BusyError from None
            if status in GONE or status in LOGIN or status is None:
                lane.drop()
            raise self._failed(path, status, fault) from None

    def _failed(self, path: str, status: int | None, fault: Exception) -> LeptonError:
        if status in ABSENT:
            return missing(path)
        if status == NtStatus.STATUS_OBJECT_NAME_COLLISION:
            return taken(path)
        if status in FULL:
            return StorageFullError(f"No room in {self.name}", fix="Free some space and try again.")
        what = _said(status, fault)
        if status == NtStatus.STATUS_SHARING_VIOLATION:
            return unreachable(self.name, "another program has the file open")
        if status in GONE or (status is None and not isinstance(fault, SMBAuthenticationError)):
            return unreachable(self.name, what)
        return StorageRefusedError(f"{self.name} refuses: {what}", fix="Check user, password, share and rights.")


class _BusyError(Exception):
    """Somebody else has the file open."""


class _File:
    """One version of a file; its first block is here already."""

    def __init__(self, files: SmbFiles, path: str, start: int, length: int) -> None:
        self._files = files
        self._path = path
        self._start = start
        self.size_bytes, self.etag, self._block = files.read_part(path, start, length)

    def read(self, start: int, length: int) -> bytes:
        block, self._block = self._block, b""
        if block and start == self._start:
            return block
        size_bytes, etag, block = self._files.read_part(self._path, start, length)
        if (size_bytes, etag) != (self.size_bytes, self.etag):
            raise unreachable(self._files.name, "the object was written while it was read")
        return block

    def close(self) -> None:
        """Nothing is held."""


def open_storage(address: Address, credentials: Credentials, patience: Patience) -> FileDriver:
    """`smb://host[:port]/share/folder`; without a user Kerberos is tried."""
    share, _, folder = address.path.partition("/")
    if not share:
        raise StorageRefusedError("The address of an SMB storage names no share", fix="smb://host/share/folder")
    session = Session(
        host=address.host,
        port=address.port or 445,
        share=share,
        user=credentials.user,
        password=credentials.secret,
        patience=patience,
    )
    return FileDriver(SmbFiles(session, folder))


def _said(status: int | None, fault: Exception) -> str:
    """What the server said; where it said nothing, what went wrong before it could."""
    if status is None:
        return (" ".join(str(fault).split()) or type(fault).__name__)[:MOST_SAID]
    return str(NAMES.get(status, f"status 0x{status:08x}"))


def _write_all(file: Any, block: bytes) -> None:
    """The library writes as much as one message holds, and says how much that was."""
    rest = memoryview(block)
    while rest:
        rest = rest[file.write(rest) :]


def _etag(number: int, modified_us: int, size_bytes: int) -> str:
    return f"{number:x}-{modified_us:x}-{size_bytes:x}"


def _since_1970(moment: datetime) -> int:
    """Microseconds: as exact as the library hands them out everywhere."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def _entry(found: Any) -> Entry:
    modified_us = _since_1970(found["last_write_time"].get_value())
    size_bytes = found["end_of_file"].get_value()
    return Entry(
        name=found["file_name"].get_value().decode("utf-16-le"),
        is_folder=found["file_attributes"].has_flag(FileAttributes.FILE_ATTRIBUTE_DIRECTORY),
        size_bytes=size_bytes,
        etag=_etag(found["file_id"].get_value(), modified_us, size_bytes),
        modified_s=modified_us / 1e6,
    )
