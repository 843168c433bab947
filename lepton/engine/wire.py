"""HTTP from a worker to the server, standard library only: one kept connection, patient while nobody answers.

A request that cannot be delivered is sent again with growing pauses, for as long as no server answers; every request
of docs/wire.md may be sent twice. The address is read again from LEPTON_URL_FILE, for it may change over a restart.
"""

import errno
import http.client
import io
import json
import os
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Event
from typing import IO
from urllib.parse import urlsplit

from lepton.core.errors import ConfigError, LeptonError, StorageFullError, UnavailableError
from lepton.core.resource import Json

TIMEOUT_S = 60.0
FIRST_PAUSE_S, NOTICE_PAUSE_S, LONGEST_PAUSE_S = 0.05, 3.2, 5.0
PATIENCE_TRIES = 40
"""How often a server that answers, but with 5xx or 429, is asked again: some three minutes."""
CHUNK_BYTES = 1 << 20
JSON_TYPE = {"Content-Type": "application/json"}

Body = bytes | Path


class Wire:
    """Requests with a worker's token. Not for use by two threads at once: give each its own."""

    def __init__(
        self, url: str, token: str, *, url_file: Path | None = None, pause: Callable[[float], object] | None = None
    ) -> None:
        self._url, self._url_file = url, url_file
        self._headers = {"Authorization": f"Bearer {token}"}
        self._pause = pause or Event().wait
        self._connection: http.client.HTTPConnection | None = None
        self._process = 0

    def get(self, path: str) -> Json:
        """The JSON answer of a GET."""
        return json.loads(self._send("GET", path))

    def post(self, path: str, body: Json) -> Json:
        """The JSON answer of a POST."""
        return json.loads(self._send("POST", path, json.dumps(body).encode(), JSON_TYPE))

    def put(self, path: str, file: Path) -> None:
        """PUT the bytes of a file, streamed."""
        self._send("PUT", path, file)

    def download(self, path: str, target: Path) -> None:
        """GET into a file; a transfer that breaks is taken up where it broke."""
        with target.open("wb") as stream:
            for pause_s in _pauses():
                try:
                    self._download_some(path, stream)
                    return
                except (OSError, http.client.HTTPException) as fault:
                    self._unreachable(fault, pause_s)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(self, method: str, path: str, body: Body = b"", headers: Mapping[str, str] | None = None) -> bytes:
        busy = 0
        for pause_s in _pauses():
            try:
                answer = self._once(method, path, body, headers or {})
                data = answer.read()
            except (OSError, http.client.HTTPException) as fault:
                self._unreachable(fault, pause_s)
                continue
            if answer.status < 300:
                return data
            busy += 1
            if not _is_passing(answer.status) or busy >= PATIENCE_TRIES:
                raise to_error(answer.status, data)
            self._pause(pause_s)
        raise UnavailableError("The server does not answer")  # _pauses never ends

    def _once(self, method: str, path: str, body: Body, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        connection = self._connect()
        stream = body.open("rb") if isinstance(body, Path) else io.BytesIO(body)
        size = body.stat().st_size if isinstance(body, Path) else len(body)
        length = {"Content-Length": str(size)} if method != "GET" else {}
        try:
            connection.request(method, path, stream if size else None, {**self._headers, **length, **headers})
        except (BrokenPipeError, ConnectionResetError):
            return _early_answer(connection)
        finally:
            stream.close()
        return connection.getresponse()

    def _download_some(self, path: str, stream: IO[bytes]) -> None:
        start = stream.tell()
        answer = self._once("GET", path, b"", {"Range": f"bytes={start}-"} if start else {})
        if answer.status >= 300:
            data = answer.read()
            if _is_passing(answer.status):
                raise ConnectionError(f"The server answered {answer.status}")
            raise to_error(answer.status, data)
        if answer.status != 206:
            stream.seek(0)
            stream.truncate()
        while chunk := answer.read(CHUNK_BYTES):
            stream.write(chunk)
        if answer.length:
            raise ConnectionError("The transfer broke off")

    def _connect(self) -> http.client.HTTPConnection:
        if self._process != os.getpid():  # after a fork the connection is the parent's
            self._connection, self._process = None, os.getpid()
        if self._connection is None:
            parts = urlsplit(self._url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ConfigError(
                    f"{self._url!r} is not a server's address", fix="Set LEPTON_URL to http(s)://host:port."
                )
            kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
            self._connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S, blocksize=CHUNK_BYTES)
        return self._connection

    def _unreachable(self, fault: Exception, pause_s: float) -> None:
        """Wait, and look where the server is now. A fault that waiting cannot mend is raised."""
        self.close()
        if isinstance(fault, ssl.SSLCertVerificationError):
            raise ConfigError(f"{self._url} shows a certificate that is not trusted: {fault}", fix="Set SSL_CERT_FILE.")
        if isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFullError(f"No room for what {self._url} sends", fix="Free disk space.") from fault
        if isinstance(fault, OSError) and fault.filename is not None:
            raise fault
        if pause_s == NOTICE_PAUSE_S:
            sys.stderr.write(f"lepton: {self._url} does not answer ({fault}); trying on\n")
        self._pause(pause_s)
        if self._url_file is not None and self._url_file.exists():
            self._url = self._url_file.read_text().strip() or self._url


def to_error(status: int, data: bytes) -> LeptonError:
    """The error that an answer means, by its `code`, with its message and fix."""
    try:
        body = json.loads(data)
        code, message, fix = str(body["code"]), str(body["message"]), str(body.get("fix", ""))
    except (ValueError, KeyError, TypeError):
        code, message, fix = "", f"The server answered {status}: {data[:200].decode(errors='replace')}", ""
    kind = next((kind for kind in _kinds(LeptonError) if kind.code == code), LeptonError)
    error = kind.__new__(kind)  # some subclasses take other arguments
    LeptonError.__init__(error, message, fix=fix)
    return error


def _kinds(base: type[LeptonError]) -> Iterator[type[LeptonError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)


def _is_passing(status: int) -> bool:
    return status == 429 or (status >= 500 and status != 507)


def _pauses() -> Iterator[float]:
    pause_s = FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


def _early_answer(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    """A server may refuse a body before it has read it all: its answer is there to be read."""
    if connection.sock is None:
        raise ConnectionError("The connection broke")
    response = http.client.HTTPResponse(connection.sock, method="PUT")
    response.begin()
    connection.close()
    return response
