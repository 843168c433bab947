"""Connections of one SMB driver: timed, encrypted, and shared with nobody."""

import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from uuid import uuid4

from smbclient import register_session
from smbprotocol.connection import Connection
from smbprotocol.exceptions import SMBException
from smbprotocol.file_info import FileAttributes, FileRenameInformation
from smbprotocol.open import (
    CreateDisposition,
    CreateOptions,
    FilePipePrinterAccessMask,
    ImpersonationLevel,
    Open,
    ShareAccess,
    SMB2SetInfoRequest,
)
from smbprotocol.tree import TreeConnect

from lepton.vault.drivers.patience import Patience

IDLE = 4
EVERYBODY = ShareAccess.FILE_SHARE_READ | ShareAccess.FILE_SHARE_WRITE | ShareAccess.FILE_SHARE_DELETE


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Where to log in, and as whom."""

    host: str
    port: int
    share: str
    user: str
    password: str = field(repr=False)
    patience: Patience


class _Timed(Connection):  # type: ignore[misc]  # the library is not typed
    """A connection on which nothing waits for ever."""

    def __init__(self, session: Session) -> None:
        super().__init__(uuid4(), session.host, session.port, require_signing=True)
        self._patience = session.patience

    def open(self) -> None:
        """Connect. A socket that takes no more bytes for too long fails, which the library itself never lets it."""
        self.connect(timeout=self._patience.connect_s)
        seconds = self._patience.answer_s
        span = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
        self.transport._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, span)

    def receive(
        self, request: Any, wait: bool = True, timeout: float | None = None, resolve_symlinks: bool = True
    ) -> Any:
        """As the library's, with an end."""
        return super().receive(request, wait, timeout or self._patience.answer_s, resolve_symlinks)


class Lane(dict[str, Any]):
    """The library's cache of connections, with at most one: whoever asks for it gets a live, timed one."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._lock = Lock()

    @property
    def shared(self) -> dict[str, Any]:
        """What each function of the library wants to know."""
        return {
            "username": self._session.user or None,
            "password": self._session.password or None,
            "port": self._session.port,
            "encrypt": True,
            "connection_cache": self,
        }

    def get(self, key: str, default: Any = None) -> Any:
        """The connection; a new one where there is none, or the old one is dead."""
        with self._lock:
            found = super().get(key)
            if found is None or not found.transport.connected:
                found = _Timed(self._session)
                found.open()
                self[key] = found
            return found

    def enter(self) -> None:
        """Log in, and open the share: a share that is not there must not look like a file that is not there."""
        session, patience = self._session, self._session.patience
        entered = register_session(session.host, connection_timeout=patience.connect_s, **self.shared)
        name = rf"\\{session.host}\{session.share}"
        if not any(tree.share_name == name for tree in entered.tree_connect_table.values()):
            TreeConnect(entered, name).connect()

    def drop(self) -> None:
        """Cut all connections; the next call opens a new one."""
        for connection in self._taken():
            with suppress(SMBException, OSError):
                connection.transport.close()

    def close(self) -> None:
        """Log off where the server still answers, and cut all connections."""
        for connection in self._taken():
            with suppress(SMBException, OSError):
                connection.disconnect(timeout=self._session.patience.connect_s)
            with suppress(SMBException, OSError):
                connection.transport.close()

    def _taken(self) -> list[Any]:
        with self._lock:
            found = list(self.values())
            self.clear()
            return found


class Lanes:
    """Lanes of one driver. The library's connection is not for many threads at once, so each call has one alone."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._idle: list[Lane] = []
        self._lock = Lock()

    def take(self) -> Lane:
        """One that nobody else uses."""
        with self._lock:
            return self._idle.pop() if self._idle else Lane(self._session)

    def give_back(self, lane: Lane) -> None:
        """Keep it for the next call, unless many wait already."""
        with self._lock:
            is_kept = len(self._idle) < IDLE
            if is_kept:
                self._idle.append(lane)
        if not is_kept:
            lane.close()

    def close(self) -> None:
        """Close all that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for lane in idle:
            lane.close()


def rename(tree: Any, source: str, target: str, *, replace: bool) -> None:
    """Rename inside a share, over the connection of this tree and no other."""
    file = Open(tree, source)
    file.create(
        ImpersonationLevel.Impersonation,
        FilePipePrinterAccessMask.DELETE,
        FileAttributes.FILE_ATTRIBUTE_NORMAL,
        EVERYBODY,
        CreateDisposition.FILE_OPEN,
        CreateOptions.FILE_NON_DIRECTORY_FILE,
    )
    try:
        wish = FileRenameInformation()
        wish["replace_if_exists"] = replace
        wish["file_name"] = target
        request = SMB2SetInfoRequest()
        request["info_type"] = wish.INFO_TYPE
        request["file_info_class"] = wish.INFO_CLASS
        request["file_id"] = file.file_id
        request["buffer"] = wish
        connection = tree.session.connection
        sent = connection.send(request, sid=tree.session.session_id, tid=tree.tree_connect_id)
        connection.receive(sent)
    finally:
        with suppress(SMBException):
            file.close()
