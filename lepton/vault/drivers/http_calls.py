"""HTTP calls of the drivers that speak it: timed, and with transport errors said in our words."""

import ssl
from collections.abc import Iterable, Iterator, Mapping
from threading import Lock
from typing import Any

import httpx

from lepton.vault.drivers.files import unreachable
from lepton.vault.drivers.patience import Patience

PIECE_BYTES = 256 << 10


class Calls:
    """A client for one server.

    Args:
        name: what to call the server in an error.
        login: what each request shows; httpx's `auth`.
        authority: a private certificate authority in PEM, or empty.
    """

    def __init__(
        self,
        name: str,
        patience: Patience,
        *,
        login: Any = None,
        headers: Mapping[str, str] | None = None,
        authority: str = "",
    ) -> None:
        self._name = name
        self._options: dict[str, Any] = {
            "auth": login,
            "headers": dict(headers or {}),
            "timeout": httpx.Timeout(patience.answer_s, connect=patience.connect_s),
            "verify": verifying(authority),
            "trust_env": False,
            "limits": httpx.Limits(max_keepalive_connections=8),
        }
        self._client: httpx.Client | None = None
        self._lock = Lock()

    def ask(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
    ) -> httpx.Response:
        """The whole answer, whatever its status. Redirects are not followed.

        Raises:
            StorageUnreachableError: none came in time.
        """
        client = self._opened()
        content = body if body is None or isinstance(body, bytes) else _pieces(body)
        try:
            return client.request(method, url, params=params, headers=dict(headers or {}), content=content)
        except (httpx.TransportError, httpx.StreamError) as fault:
            raise unreachable(self._name, type(fault).__name__) from None

    def close(self) -> None:
        """Give back connections."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _opened(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                self._client = httpx.Client(**self._options)
            return self._client


def _pieces(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Small ones: what a socket does not take at once, the library copies again and again."""
    for block in blocks:
        for at in range(0, len(block), PIECE_BYTES):
            yield block[at : at + PIECE_BYTES]


def verifying(authority: str) -> Any:
    """How httpx is to check certificates."""
    return ssl.create_default_context(cadata=authority) if authority else True
