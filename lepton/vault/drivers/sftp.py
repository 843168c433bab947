"""SFTP (needs the extra `sftp`). The server's key must be known: from the credentials, or from `~/.ssh/known_hosts`.

OpenSSH's extensions give what the protocol lacks: a rename that replaces, a link that refuses a name that exists, and
a flush. A server without `hardlink` cannot create a key only if it is absent; one without `posix-rename` replaces a
file in two steps, or however its own rename does.
"""

import errno
import socket
import stat
from base64 import b64decode
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from hashlib import sha256
from io import StringIO
from pathlib import Path
from threading import Lock
from typing import Any

import paramiko
from paramiko.sftp import CMD_DATA, CMD_EXTENDED, CMD_READ, int64

from lepton.core.errors import (
    InvalidError,
    LeptonError,
    NameTakenError,
    NotFoundError,
    StorageFullError,
    StorageRefusedError,
    StorageUnreachableError,
)
from lepton.vault.driver import Capabilities
from lepton.vault.drivers.address import Address
from lepton.vault.drivers.credentials import Credentials
from lepton.vault.drivers.files import FileDriver, missing, taken, unreachable
from lepton.vault.drivers.patience import Patience
from lepton.vault.drivers.walking import Entry

PORT = 22
IDLE = 4
PIECE_BYTES = 32 << 10
"""What every server takes in one message."""
FULL = ("no space left", "quota exceeded", "disk full")
KEYS = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)


class SftpFiles:
    """A folder of an SFTP server, as `files.RemoteFiles`."""

    capabilities = Capabilities(
        create_if_absent=True,
        replace_if_match=False,
        unique_etags=False,
        exact_names=True,
        why_not={
            "replace_if_match": "SFTP compares nothing and has no locks",
            "unique_etags": "SFTP tells the second of a write and its size only",
        },
    )

    def __init__(self, address: Address, credentials: Credentials, patience: Patience) -> None:
        self.name = f"sftp://{address.host}:{address.port or PORT}/{address.path}"
        self.patience = patience
        self._address = address
        self._root = address.path[2:] or "." if f"{address.path}/".startswith("~/") else f"/{address.path}"
        self._credentials = credentials
        self._idle: list[Any] = []
        self._lock = Lock()

    def write(self, path: str, blocks: Iterable[bytes]) -> None:
        """Make a file, and flush it where the server can."""
        with self._told(path) as client, client.open(self._at(path), "wx") as file:
            file.set_pipelined(True)
            for block in blocks:
                file.write(block)
            file.flush()
            with suppress(OSError):
                client._request(CMD_EXTENDED, b"fsync@openssh.com", file.handle)

    def open(self, path: str, start: int, length: int) -> "_File":
        """Open a file for reading; it has a connection alone until it is closed."""
        client = self._take(path)
        try:
            with self._said(path):
                file = client.open(self._at(path), "rb")
                found = file.stat()
                if stat.S_ISDIR(found.st_mode or 0):
                    _close(file)
                    raise missing(path)
                return _File(self, path, client, file, found)
        except NotFoundError:
            self.give_back(client)
            raise
        except BaseException:
            _cut(client)
            raise

    def look(self, path: str) -> Entry:
        """What is there."""
        with self._told(path) as client:
            return _entry(path.rpartition("/")[2], client.stat(self._at(path)))

    def entries(self, folder: str) -> Iterable[Entry]:
        """What lies in a folder."""
        with self._told(folder) as client:
            return [_entry(found.filename, found) for found in client.listdir_attr(self._at(folder))]

    def make_folder(self, path: str) -> None:
        """Make the folder and those above it, above the root too."""
        parts = self._at(path).split("/")
        with self._told(path) as client:
            for depth in range(1, len(parts) + 1):
                folder = "/".join(parts[:depth]) or "/"
                try:
                    client.mkdir(folder)
                except OSError:
                    if not stat.S_ISDIR(client.stat(folder).st_mode or 0):
                        raise

    def remove(self, path: str) -> None:
        """Remove a file."""
        with self._told(path) as client:
            client.remove(self._at(path))

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder."""
        with self._told(path) as client:
            client.rmdir(self._at(path))

    def move(self, source: str, target: str, *, replace: bool, turn: object) -> None:
        """Rename; or link, which refuses a name that exists, and remove the old name."""
        with self._told(target) as client:
            if replace:
                _replace(client, self._at(source), self._at(target))
                return
            _link(client, self._at(source), self._at(target), target)
        with self._told(source) as client:
            client.remove(self._at(source))

    def turn(self, path: str) -> AbstractContextManager[object]:
        """There are none."""
        return nullcontext()

    def close(self) -> None:
        """Give back connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for client in idle:
            _cut(client)

    def give_back(self, client: Any) -> None:
        """Keep a connection for the next call, unless many wait already."""
        with self._lock:
            is_kept = len(self._idle) < IDLE
            if is_kept:
                self._idle.append(client)
        if not is_kept:
            _cut(client)

    def _take(self, path: str) -> Any:
        """A connection that nobody else uses: the library's is not for many threads at once."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        with self._said(path):
            return _connect(self._address, self._credentials, self.patience, self.name)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}".replace("//", "/").rstrip("/") or "/"

    @contextmanager
    def _told(self, path: str) -> Iterator[Any]:
        """A connection for one call."""
        client = self._take(path)
        try:
            with self._said(path):
                yield client
        except (NotFoundError, NameTakenError, StorageRefusedError, StorageFullError):
            self.give_back(client)
            raise
        except BaseException:
            _cut(client)
            raise
        self.give_back(client)

    @contextmanager
    def _said(self, path: str) -> Iterator[None]:
        """The library's errors in our words."""
        try:
            yield
        except paramiko.AuthenticationException:
            raise self._refused("the login") from None
        except (OSError, EOFError, paramiko.SSHException) as fault:
            raise self._failed(path, fault) from None

    def _failed(self, path: str, fault: Exception) -> LeptonError:
        number, text = getattr(fault, "errno", None), str(fault)[:200]
        if number == errno.ENOENT or "not a directory" in text.lower():
            return missing(path)
        if any(sign in text.lower() for sign in FULL):
            return StorageFullError(f"No room in {self.name}", fix="Free some space and try again.")
        if number == errno.EACCES:
            return self._refused("permission denied")
        if type(fault) is OSError and number is None and "closed" not in text:  # a status of the server, e.g. "Failure"
            return self._refused(text)
        return unreachable(self.name, type(fault).__name__)

    def _refused(self, what: str) -> StorageRefusedError:
        return StorageRefusedError(
            f"{self.name} refuses: {what}", fix="Check user, password or key, rights, and the room that is left."
        )


class _File:
    """A file open for reading."""

    def __init__(self, files: SftpFiles, path: str, client: Any, file: Any, found: Any) -> None:
        entry = _entry("", found)
        self.size_bytes, self.etag = entry.size_bytes, entry.etag
        self._files = files
        self._path = path
        self._client: Any = client
        self._file = file

    def read(self, start: int, length: int) -> bytes:
        """Many requests at once; one answer."""
        try:
            with self._files._said(self._path):
                return _Pieces(self._client, self._file.handle).read(start, length)
        except StorageUnreachableError:
            _cut(self._client)
            self._client = None
            raise

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            _close(self._file)
            self._files.give_back(client)


class _Pieces:
    """Requests for the pieces of one block, and what comes back. The library's own way needs a thread."""

    def __init__(self, client: Any, handle: bytes) -> None:
        self._client = client
        self._handle = handle
        self._found: dict[int, bytes] = {}

    def read(self, start: int, length: int) -> bytes:
        """All pieces up to the first that is short, which a server may send at any time."""
        wanted: dict[int, int] = {}
        for at in range(start, start + length, PIECE_BYTES):
            size = min(PIECE_BYTES, start + length - at)
            wanted[self._client._async_request(self, CMD_READ, self._handle, int64(at), size)] = size
        while len(self._found) < len(wanted):
            self._client._read_response()
        whole = []
        for number, size in wanted.items():
            whole.append(self._found[number])
            if len(whole[-1]) < size:
                break
        return b"".join(whole)

    def _async_response(self, kind: int, message: Any, number: int) -> None:
        """Called by the library with each answer; anything but data is an empty piece."""
        self._found[number] = message.get_string() if kind == CMD_DATA else b""


def open_storage(address: Address, credentials: Credentials, patience: Patience) -> FileDriver:
    """`sftp://host[:port]/folder`; `/~/folder` lies below the user's home."""
    if not credentials.user:
        raise InvalidError("SFTP needs a user", fix="Give it in the credentials.")
    return FileDriver(SftpFiles(address, credentials, patience))


def _connect(address: Address, credentials: Credentials, patience: Patience, name: str) -> Any:
    port = address.port or PORT
    transport = paramiko.Transport(socket.create_connection((address.host, port), timeout=patience.connect_s))
    try:
        transport.banner_timeout = transport.auth_timeout = patience.answer_s
        transport.start_client(timeout=patience.answer_s)
        _check_key(transport.get_remote_server_key(), address.host, port, credentials, name)
        if credentials.private_key:
            transport.auth_publickey(credentials.user, _key(credentials))
        else:
            transport.auth_password(credentials.user, credentials.secret)
        client = paramiko.SFTPClient.from_transport(transport)
        if client is None:
            raise paramiko.SSHException("no SFTP")
        client.get_channel().settimeout(patience.answer_s)
        return client
    except BaseException as fault:
        was_cut = isinstance(fault, paramiko.AuthenticationException) and not transport.is_active()
        transport.close()
        if was_cut:  # nobody has refused the login
            raise EOFError from None
        raise


def _check_key(found: Any, host: str, port: int, credentials: Credentials, name: str) -> None:
    """The server must show the key that it is known by."""
    shown = f"{found.get_name()} {found.get_base64()}"
    if credentials.host_key:
        known = " ".join(credentials.host_key.split()[:2])
        is_known = known == shown
    else:
        hosts = paramiko.HostKeys()
        with suppress(OSError):
            hosts.load(str(Path.home() / ".ssh" / "known_hosts"))
        is_known = hosts.check(host if port == PORT else f"[{host}]:{port}", found)
    if not is_known:
        print_ = sha256(b64decode(found.get_base64())).hexdigest()
        raise StorageRefusedError(
            f"{name} shows a key that is not known: {found.get_name()}, SHA-256 {print_}",
            fix="If it is the right one, give it as host_key, or add it to ~/.ssh/known_hosts.",
        )


def _key(credentials: Credentials) -> Any:
    for kind in KEYS:
        with suppress(paramiko.SSHException, ValueError):
            return kind.from_private_key(StringIO(credentials.private_key), credentials.secret or None)
    raise StorageRefusedError(
        "The private key cannot be read", fix="Give an Ed25519, ECDSA or RSA key, and its passphrase."
    )


def _replace(client: Any, source: str, target: str) -> None:
    """In one step where the server can; else as its rename does, or in two."""
    try:
        client.posix_rename(source, target)
        return
    except OSError as fault:
        if "unsupported" not in str(fault).lower():
            raise
    try:
        client.rename(source, target)
    except OSError:
        client.remove(target)
        client.rename(source, target)


def _link(client: Any, source: str, target: str, key: str) -> None:
    """A second name, refused where one exists; the server says no more than "Failure" then."""
    try:
        client._request(CMD_EXTENDED, b"hardlink@openssh.com", source.encode(), target.encode())
    except OSError as fault:
        if getattr(fault, "errno", None) is not None:
            raise
        if "unsupported" in str(fault).lower():
            client.stat(source)
            raise
        with suppress(OSError):
            client.stat(target)
            raise taken(key) from None
        raise


def _close(thing: Any) -> None:
    """Close what may be dead already."""
    with suppress(OSError, EOFError, paramiko.SSHException):
        thing.close()


def _cut(client: Any) -> None:
    """End a connection."""
    _close(client)
    _close(client.get_channel().get_transport())


def _entry(name: str, found: Any) -> Entry:
    return Entry(
        name=name,
        is_folder=stat.S_ISDIR(found.st_mode or 0),
        size_bytes=found.st_size or 0,
        etag=f"{found.st_mtime or 0:x}-{found.st_size or 0:x}",
        modified_s=float(found.st_mtime or 0),
    )
