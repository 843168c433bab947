"""One connection to a server: JSON in and out, errors as exceptions, safe repeats when the line breaks.

A server that has never answered gets a few tries. One that has is waited for: it is being started again, perhaps at
another port, and its jobs go on meanwhile.
"""

import asyncio
import json
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from lepton.core import errors
from lepton.core.errors import ConfigError, InvalidError, LeptonError, UnavailableError, UnreachableError
from lepton.sdk.feed import Feed
from lepton.sdk.find import Address

T = TypeVar("T")
Json = Mapping[str, Any]
TRIES = 4
FIRST_PAUSE_S, LAST_PAUSE_S = 0.2, 2.0
PATIENCE_S = 60.0
"""How long a server that has answered before is waited for."""
OWN_PATIENCE_S = 8.0
"""How long one that never answered is waited for, if its data directory says that it runs: it may just start again."""
TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 20
CODES: dict[str, type[LeptonError]] = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LeptonError)
}


class Http:
    """Calls of one client. Use it from one event loop."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.patience_s = PATIENCE_S
        self._httpx: Any = None
        self._trusting: dict[str, Any] = {}
        """File of certificates -> a client that trusts those, for endpoints that have their own."""
        self._client: Any = None
        self._is_known = False
        """Whether the server has answered once."""
        self._feeds: dict[str, Feed] = {}

    def feed(self, workspace: str) -> Feed:
        """What wakes those who wait for something in a workspace."""
        if workspace not in self._feeds:
            self._feeds[workspace] = Feed(lambda: self.stream("/watch", workspace=workspace))
        return self._feeds[workspace]

    def _open(self) -> Any:
        if self._client is None:
            self._httpx = import_module("httpx")
            self._client = self._httpx.AsyncClient(
                base_url=self.address.url,
                headers={"authorization": f"Bearer {self.address.token}"},
                timeout=self._httpx.Timeout(TIMEOUT_S, read=None),
                limits=self._httpx.Limits(max_connections=64, max_keepalive_connections=16),
            )
        return self._client

    def _trust(self, cacert: str) -> Any:
        if cacert not in self._trusting:
            self._open()
            try:
                context = ssl.create_default_context(cafile=cacert)
            except OSError as fault:
                raise InvalidError(
                    f"{cacert} holds no certificates: {fault}", fix="Name a file in PEM, of an authority or its own."
                ) from None
            headers = {"authorization": f"Bearer {self.address.token}"}
            timeout = self._httpx.Timeout(TIMEOUT_S, read=None)
            self._trusting[cacert] = self._httpx.AsyncClient(verify=context, headers=headers, timeout=timeout)
        return self._trusting[cacert]

    async def close(self) -> None:
        """Close the connections."""
        for feed in self._feeds.values():
            await feed.close()
        for client in [*self._trusting.values(), *([self._client] if self._client is not None else [])]:
            await client.aclose()
        self._client = None
        self._trusting.clear()

    async def get(self, path: str, **query: Any) -> Any:
        """The JSON at a path; query values that are empty are left out."""
        return await self._json("GET", path, query=query)

    async def post(self, path: str, body: Mapping[str, Any], **query: Any) -> Any:
        """Make something: repeated with the same idempotency key if the line breaks, so it happens once."""
        return await self._json(
            "POST", path, body=body, query=query, headers={"idempotency-key": secrets.token_hex(16)}
        )

    async def put(self, path: str, body: Mapping[str, Any], *, revision: int = 0, **query: Any) -> Any:
        """Replace something; with `revision` only what is still at that."""
        headers = {"if-match": f'"{revision}"'} if revision else {}
        return await self._json("PUT", path, body=body, query=query, headers=headers)

    async def delete(self, path: str, **query: Any) -> Any:
        """End something."""
        return await self._json("DELETE", path, query=query)

    async def _json(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        content = None if body is None else encode(body)
        kind = {"content-type": "application/json"} if body is not None else {}
        response = await self._send(
            method, path, content=content, params=_clean(query), headers={**kind, **(headers or {})}
        )
        return None if response.status_code == 204 else response.json()

    async def _send(self, method: str, path: str, **options: Any) -> Any:
        async def once() -> Any:
            response = await self._open().request(method, f"/api/v1{path}", **options)
            return raise_for(response.status_code, response.content, response)

        return await self.patiently(once)

    async def patiently(self, once: Callable[[], Awaitable[T]]) -> T:
        """The result of `once`, called again while the server is away or busy."""
        self._open()
        loop = asyncio.get_running_loop()
        is_trusted = self._is_known or self.address.folder is not None
        patience_s = self.patience_s if self._is_known else min(self.patience_s, OWN_PATIENCE_S)
        end, tries, pause_s = loop.time() + patience_s, 0, FIRST_PAUSE_S
        while True:
            tries += 1
            try:
                result = await once()
                self._is_known = True
                return result
            except (self._httpx.TransportError, UnreachableError) as fault:
                error: LeptonError = self._unreachable(fault)
                is_over = loop.time() >= end if is_trusted else tries >= TRIES
            except UnavailableError as fault:
                error, is_over = fault, fault.status != UnavailableError.status or tries >= TRIES
            if is_over:
                raise error
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LAST_PAUSE_S)
            self._look_again()

    def _unreachable(self, fault: Exception) -> UnreachableError:
        if isinstance(fault, UnreachableError):
            return fault
        return UnreachableError(
            f"{self.address.url} does not answer: {type(fault).__name__}",
            fix="Is the address right? A server of your own: lepton up -d",
        )

    def _look_again(self) -> None:
        """Go on where the server is now."""
        self.address = self.address.renewed()
        if self._client is not None:
            self._client.base_url = self.address.url

    async def head(self, path: str, **query: Any) -> Mapping[str, str]:
        """The headers that GET would have."""

        async def once() -> Any:
            response = await self._open().head(f"/api/v1{path}", params=_clean(query))
            if response.status_code >= 400:  # without a body: let GET say why
                response = await self._open().get(
                    f"/api/v1{path}", params=_clean(query), headers={"range": "bytes=0-0"}
                )
            return raise_for(response.status_code, response.content, response)

        found: Mapping[str, str] = (await self.patiently(once)).headers
        return found

    async def send(
        self,
        path: str,
        content: "bytes | Callable[[], AsyncIterator[bytes]]",
        *,
        headers: Json | None = None,
        is_once: bool = False,
        **query: Any,
    ) -> Any:
        """PUT bytes, again where the line breaks; return the JSON of the answer.

        Args:
            content: or what gives it, in pieces, for each try.
            is_once: it can be given only once, so that there is one try.
        """
        client, url = self._open(), f"/api/v1{path}"

        async def once() -> Any:
            body = content if isinstance(content, bytes) else content()
            response = await client.put(url, content=body, params=_clean(query), headers=headers or {})
            return raise_for(response.status_code, response.content, response).json()

        if not is_once:
            return await self.patiently(once)
        try:
            return await once()
        except self._httpx.TransportError as fault:
            raise self._unreachable(fault) from fault

    def stream(self, path: str, *, headers: Json | None = None, **query: Any) -> AsyncIterator[bytes]:
        """The bytes of an answer as they come.

        Raises:
            UnreachableError: the server went away before the end.
        """
        return self._stream("GET", path, params=_clean(query), headers=headers or {})

    def fetch(self, path: str, body: Json, **query: Any) -> AsyncIterator[bytes]:
        """As `stream`, of what a body asks for."""
        kind = {"content-type": "application/json"}
        return self._stream("POST", path, params=_clean(query), content=encode(body), headers=kind)

    async def _stream(self, method: str, path: str, **options: Any) -> AsyncIterator[bytes]:
        client = self._open()
        try:
            async with client.stream(method, f"/api/v1{path}", **options) as response:
                if response.status_code >= 400:
                    raise_for(response.status_code, await response.aread(), response)
                async for chunk in response.aiter_bytes():
                    yield chunk
        except self._httpx.TransportError as fault:
            raise UnreachableError(
                f"The stream broke: {type(fault).__name__}", fix="Ask again from where it broke."
            ) from fault

    async def has_object(self, digest: str) -> bool:
        """Whether the vault holds these bytes where the token may read, and can read them: it tries."""
        client = self._open()
        try:
            response = await client.head(f"/api/v1/vault/objects/{digest}", params={"prove": True})
        except self._httpx.TransportError:
            return False
        return bool(response.status_code == 200)

    async def upload(self, path: Path, digest: str, workspace: str) -> None:
        """Bring a file into the vault for a workspace, unless it is there and whole."""
        query = {"workspace": workspace}

        async def once() -> None:
            response = await self._open().put(f"/api/v1/vault/objects/{digest}", content=_chunks(path), params=query)
            raise_for(response.status_code, response.content, response)

        if not await self.has_object(digest):
            await self.patiently(once)

    async def call(self, url: str, *, content: bytes, content_type: str, cacert: str = "") -> Any:
        """POST to an endpoint's own address; its JSON, the bytes of what is none, or None where there is nothing.

        Args:
            cacert: file of the certificates to trust there; empty: as the server's are.

        Raises:
            ConfigError: its certificate is not trusted.
        """
        client = self._trust(cacert) if cacert else self._open()
        try:
            response = await client.post(url, content=content, headers={"content-type": content_type})
        except self._httpx.TransportError as fault:
            if "CERTIFICATE_VERIFY_FAILED" in str(fault):
                raise ConfigError(
                    f"{url} shows a certificate that is not trusted: {fault}",
                    fix="Name the file of its authority: --cacert FILE, or SSL_CERT_FILE for all.",
                ) from fault
            raise UnreachableError(
                f"{url} does not answer: {type(fault).__name__}", fix="Look at the endpoint: lepton serve get NAME"
            ) from fault
        raise_for(response.status_code, response.content, response)
        if response.status_code == 204:
            return None
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return response.json() if is_json else response.content


def encode(body: Mapping[str, Any]) -> bytes:
    """A JSON body.

    Raises:
        InvalidError: it holds what JSON cannot: NaN, infinity, or an object of Python's own.
    """
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError) as fault:
        raise InvalidError(
            f"This cannot be sent: {fault}", fix="Use finite numbers, texts, lists and mappings."
        ) from fault


def part(text: str) -> str:
    """One part of a path, whatever a user typed: it cannot lead to another route."""
    return quote(text, safe="@:")


def raise_for(status: int, content: bytes, response: Any) -> Any:
    """The response if it is a success, else the error that its body names.

    Raises:
        LeptonError: the subclass with the body's code.
    """
    if status < 400:
        return response
    try:
        body = json.loads(content)
        message, fix, code = str(body["message"]), str(body.get("fix", "")), str(body["code"])
        details = dict(body.get("details") or {})
    except (ValueError, KeyError, TypeError):
        message, fix, code = f"The server answered {status}", "Check the address: is this a Lepton server?", "internal"
        details = {}
    raise CODES.get(code, LeptonError)(message, fix=fix, details=details)


def _clean(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value not in (None, "")}


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk
