"""The Lepton server, as a front asks it: small questions, each on a connection of its own."""

import asyncio
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from lepton.core.errors import UnavailableError

TIMEOUT_S = 3.0
MAX_ANSWER_BYTES = 8 << 20


class Server:
    """Asks a Lepton server.

    Args:
        url: its address.
        url_file: a file that holds its present address, read whenever it does not answer; None: it never changes.
    """

    def __init__(self, url: str, url_file: Path | None = None) -> None:
        self._url = url
        self._url_file = url_file

    async def get(self, path: str, token: bytes, wait_s: float = 0.0) -> tuple[int, bytes]:
        """Status and body of its answer.

        Args:
            path: below `/api/v1`.
            token: whose.
            wait_s: how long it may think beyond what it takes to answer.
        Raises:
            UnavailableError: it does not answer.
        """
        try:
            return await asyncio.wait_for(self._get(path, token), TIMEOUT_S + wait_s)
        except (OSError, TimeoutError, ValueError, EOFError) as fault:
            if self._url_file is not None and self._url_file.exists():
                self._url = self._url_file.read_text().strip() or self._url
            raise UnavailableError(f"The server at {self._url} does not answer: {fault}") from fault

    async def _get(self, path: str, token: bytes) -> tuple[int, bytes]:
        url = urlsplit(self._url)
        is_tls = url.scheme == "https"
        host, port = url.hostname or "127.0.0.1", url.port or (443 if is_tls else 80)
        tls = ssl.create_default_context() if is_tls else None
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
        try:
            head = f"GET {url.path.rstrip('/')}/api/v1{path} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n"
            writer.write(b"%bAuthorization: Bearer %b\r\n\r\n" % (head.encode(), token))
            version, status = (await reader.readline()).split()[:2]
            if not version.startswith(b"HTTP/1."):
                raise ValueError("the answer is not HTTP")
            while (await reader.readline()).strip():
                pass
            body = b""
            while len(body) < MAX_ANSWER_BYTES and (piece := await reader.read(MAX_ANSWER_BYTES)):
                body += piece
            return int(status), body
        finally:
            writer.close()
