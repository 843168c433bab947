"""A load client that costs little: keep-alive HTTP/1.1 over asyncio streams, nothing more."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(slots=True)
class Wire:
    """One connection."""

    url: str
    token: str = ""
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = None

    async def send(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """One request; (status, body) of its answer."""
        if self._writer is None:
            where = urlsplit(self.url)
            self._reader, self._writer = await asyncio.open_connection(where.hostname, where.port)
        assert self._reader is not None
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n"
        head += f"authorization: Bearer {self.token}\r\n" if self.token else ""
        head += "content-type: application/json\r\n" if content else ""
        self._writer.write(head.encode() + b"\r\n" + content)
        status = int((await self._reader.readline()).split()[1])
        length, is_chunked = 0, False
        while (line := await self._reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
            is_chunked = is_chunked or (name.lower() == b"transfer-encoding" and b"chunked" in value)
        return status, await (self._chunks() if is_chunked else self._reader.readexactly(length))

    async def _chunks(self) -> bytes:
        assert self._reader is not None
        found = b""
        while size := int(await self._reader.readline(), 16):
            found += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readline()
        return found

    async def json(self, method: str, path: str, body: Any = None) -> Any:
        """One request that must succeed; its JSON."""
        status, content = await self.send(method, path, body)
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {content[:300]!r}")
        return json.loads(content)

    def close(self) -> None:
        """Close it."""
        if self._writer is not None:
            self._writer.close()


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def closed_loop(
    url: str, token: str, *, connections: int, seconds: float, request: tuple[str, str, Any]
) -> list[float]:
    """Every connection asks again as soon as it is answered; the seconds each request took."""
    end = time.perf_counter() + seconds
    took: list[float] = []

    async def client() -> None:
        wire = Wire(url, token)
        while (start := time.perf_counter()) < end:
            await wire.json(*request)
            took.append(time.perf_counter() - start)
        wire.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return took


async def open_loop(
    url: str, token: str, *, rate: float, seconds: float, requests: Sequence[tuple[str, str, Any]]
) -> list[float]:
    """Requests begin on schedule whatever the answers do; the seconds from when each was due to its answer."""
    idle: list[Wire] = []
    took: list[float] = []
    start = time.perf_counter()

    async def one(number: int) -> None:
        due = start + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        wire = idle.pop() if idle else Wire(url, token)
        await wire.json(*requests[number % len(requests)])
        took.append(time.perf_counter() - due)
        idle.append(wire)

    await asyncio.gather(*(one(number) for number in range(int(rate * seconds))))
    for wire in idle:
        wire.close()
    return took
