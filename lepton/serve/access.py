"""Who may use an endpoint: asks the server once for each token, and remembers the answer for a while.

Only SHA-256 digests of tokens are kept.
"""

import asyncio
import ssl
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from lepton.core.errors import UnavailableError
from lepton.serve.answers import BAD_TOKEN, FORBIDDEN, HIDDEN, NO_ACCESS_CHECK, Refusal

FRESH_S = 30.0
STALE_S = 600.0
"""While the server does not answer, a verdict this old still counts."""
PAUSE_S = 5.0
"""After the server did not answer, it is asked again about the same token only then."""
TIMEOUT_S = 3.0
MAX_KNOWN = 10_000
MAX_ASKING = 256
MAX_ANSWER_BYTES = 1 << 20
VERDICTS: dict[int, Refusal | None] = {200: None, 401: BAD_TOKEN, 403: FORBIDDEN, 404: HIDDEN}

Verdict = Refusal | None
"""None: come in."""


def bearer(authorization: bytes | None) -> bytes | None:
    """The token of an Authorization header; None if it has none."""
    scheme, _, token = (authorization or b"").partition(b" ")
    token = token.strip()
    return token if scheme.lower() == b"bearer" and token else None


def token_digest(authorization: bytes | None) -> bytes:
    """SHA-256 of the token of an Authorization header; empty if it has none."""
    token = bearer(authorization)
    return sha256(token).digest() if token is not None else b""


class Known(NamedTuple):
    """What the server said of one token."""

    verdict: Verdict
    checked_at: float
    fresh_until: float


class Server:
    """Asks a Lepton server.

    Args:
        url: its address.
        url_file: a file that holds its present address, read whenever it does not answer; None: it never changes.
    """

    def __init__(self, url: str, url_file: Path | None = None) -> None:
        self._url = url
        self._url_file = url_file

    async def get(self, path: str, token: bytes) -> tuple[int, bytes]:
        """Status and body of its answer.

        Args:
            path: below `/api/v1`.
            token: whose.
        Raises:
            UnavailableError: it does not answer.
        """
        try:
            return await asyncio.wait_for(self._get(path, token), TIMEOUT_S)
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


class Gate:
    """Verdicts about the tokens of an endpoint's callers, cached; equal questions at one time are asked once."""

    def __init__(self, server: Server, endpoint: str, clock: Callable[[], float]) -> None:
        self._server = server
        self._path = f"/security/access?endpoint={endpoint}"
        self._clock = clock
        self._allowed: dict[bytes, Known] = {}
        self._refused: dict[bytes, Known] = {}
        """Apart, so that a flood of wrong tokens pushes no good one out."""
        self._asking: dict[bytes, asyncio.Task[Verdict]] = {}

    def look(self, token: bytes) -> tuple[bool, Verdict]:
        """Whether a fresh verdict is known, and it."""
        return self.recall(sha256(token).digest())

    def recall(self, digest: bytes) -> tuple[bool, Verdict]:
        """The same, by the SHA-256 of the token."""
        known = self._allowed.get(digest) or self._refused.get(digest)
        if known is not None and known.fresh_until > self._clock():
            return True, known.verdict
        return False, None

    def ask(self, token: bytes, then: Callable[[Verdict], None]) -> None:
        """Get a verdict from the server and call `then` with it, soon."""
        digest = sha256(token).digest()
        asked = self._asking.get(digest)
        if asked is None:
            if len(self._asking) >= MAX_ASKING:
                then(NO_ACCESS_CHECK)
                return
            asked = asyncio.ensure_future(self._judge(token, digest))
            self._asking[digest] = asked
        asked.add_done_callback(lambda done: then(NO_ACCESS_CHECK if done.cancelled() else done.result()))

    async def _judge(self, token: bytes, digest: bytes) -> Verdict:
        try:
            status, _ = await self._server.get(self._path, token)
        except UnavailableError:
            status = 0
        finally:
            self._asking.pop(digest, None)
        now = self._clock()
        if status in VERDICTS:
            return self._remember(digest, Known(VERDICTS[status], now, now + FRESH_S))
        known = self._allowed.get(digest) or self._refused.get(digest)
        if known is not None and known.checked_at + STALE_S > now:
            return self._remember(digest, known._replace(fresh_until=now + PAUSE_S))
        return NO_ACCESS_CHECK

    def _remember(self, digest: bytes, known: Known) -> Verdict:
        self._allowed.pop(digest, None)
        self._refused.pop(digest, None)
        table = self._allowed if known.verdict is None else self._refused
        if len(table) >= MAX_KNOWN:
            table.pop(next(iter(table)))
        table[digest] = known
        return known.verdict
