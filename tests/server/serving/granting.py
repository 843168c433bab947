"""The little of a platform that a front asks: who may come in, and what is revoked of signed tokens."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from time import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lepton.security.jwts import Signer
from lepton.security.revoked import Grant, of_user

ENDPOINT = "ep_00000000000000000000000001"
DAY = 86_400_000_000


class Platform(ThreadingHTTPServer):
    """Knows the tokens `good...`, all of ann, and signs others."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Answer)
        self.asked: list[str] = []
        """Tokens that it was asked about."""
        self.polls = 0
        """How often it was asked what is revoked."""
        self.signer = Signer(bytes(32), "urn:lepton:test")
        self.news = Condition()
        self.is_closed = False
        self._rows: list[tuple[str, int, int]] = []
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def env(self) -> dict[str, str]:
        """Variables of a job there."""
        url = f"http://127.0.0.1:{self.server_address[1]}"
        return {"LEPTON_URL": url, "LEPTON_TOKEN": "lpw_x", "LEPTON_WORKSPACE": "default"}

    def sign(self, user: str = "ann", *, audience: str = ENDPOINT, lifetime_s: float = 600, age_s: float = 0) -> str:
        """A signed token, made `age_s` ago."""
        begun = time() - age_s
        grant = Grant(user=user, id=f"jwt_{begun}", parent="tok_1", workspace="default", issued_at=begun)
        return self.signer.sign(grant, audience=audience, expires_at=begun + lifetime_s)

    def revoke(self, user: str) -> None:
        """Take back all of a user's."""
        with self.news:
            now = int(time() * 1_000_000)
            self._rows.append((of_user(user), now, now + DAY))
            self.news.notify_all()

    def told(self, after: int, wait_s: float) -> dict[str, Any]:
        """What a front hears."""
        with self.news:
            self.polls += 1
            self.news.notify_all()
            after = after if after <= len(self._rows) else -1
            self.news.wait_for(lambda: len(self._rows) > after or self.is_closed, wait_s if after >= 0 else 0)
            rows = [list(row) for row in self._rows[max(0, after) :]]
            keys = {"issuer": self.signer.issuer, "keys": self.signer.keys}
            return {**keys, "seq": len(self._rows), "revoked": rows}

    def wait_for_polls(self, count: int) -> None:
        """Return once it was asked so often."""
        with self.news:
            assert self.news.wait_for(lambda: self.polls >= count, 30)

    def close(self) -> None:
        """Answer no more."""
        if self.is_closed:
            return
        with self.news:
            self.is_closed = True
            self.news.notify_all()
        self.shutdown()
        self.server_close()
        self._thread.join()


class Answer(BaseHTTPRequestHandler):
    """One question."""

    server: Platform

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        token = self.headers["authorization"].removeprefix("Bearer ")
        status, body = 200, b""
        if url.path == "/api/v1/security/revoked" and not self.server.is_closed:
            asked = parse_qs(url.query)
            body = json.dumps(self.server.told(int(asked["after"][0]), float(asked["wait_s"][0]))).encode()
        else:
            assert self.path == f"/api/v1/security/access?endpoint={ENDPOINT}"
            self.server.asked.append(token)
            status = 200 if token.startswith("good") else 403
            body = b'{"name": "ann"}' if status == 200 else b""
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        with suppress(ConnectionError):  # who asked was killed
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def open_platform(port: int = 0) -> Iterator[Platform]:
    """One that answers."""
    platform = Platform(port)
    try:
        yield platform
    finally:
        platform.close()
