"""A service with every kind of handler, for tests."""

import asyncio
import ctypes
import os
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, WebSocket
from pydantic import BaseModel

from lepton.serve import Body, FileResponse, HTTPError, Request, Response, Service, Upload, handler

LEAVES = {
    "interrupt": KeyboardInterrupt("now"),
    "leave": SystemExit(4),
    "end": GeneratorExit(),
    "cancel": asyncio.CancelledError(),
}


class Item(BaseModel):
    """What is sold."""

    name: str
    price: float
    tags: list[str] = []


@dataclass
class Point:
    """A place."""

    x: int
    y: int = 0


class Plain(Service):
    """Only plain functions: one after the other, in the replica's own thread."""

    def init(self) -> None:
        self.count = 0

    @handler("/parts/{id}", method="GET")
    def part(self, id: str) -> str:
        return f"part {id}"

    @handler("/parts/{number}", method="PUT")
    def change_part(self, number: int, size: int) -> int:
        return number * size

    @handler
    def proxied(self) -> Response:
        """As one writes who hands on the answer of another server, headers and all."""
        headers = {"Content-Length": "2", "Transfer-Encoding": "chunked", "content-type": "text/csv", "x-a": "b"}
        return Response(b"hello", headers=headers)

    @handler
    def unheard_of(self) -> Response:
        return Response(b"", status=100)

    @handler
    def breaks_off(self) -> Response:
        def pieces() -> Iterator[str]:
            yield "data: one\n\n"
            raise HTTPError(507, "full")

        return Response(pieces(), media_type="text/event-stream")

    @handler
    def too_soon(self) -> Iterator[str]:
        raise HTTPError(429, "wait", headers={"Retry-After": "9"})
        yield "never"

    @handler
    def greet(self, name: str, lang: str = "en") -> str:
        """Greet one person.

        In a language of their choice.
        """
        if lang != "en":
            raise HTTPError(404, f"No language {lang}", fix="Use en.", code="no_language", headers={"x-lang": "en"})
        return f"Hello {name}"

    @handler
    def echo(self, body: dict[str, Any]) -> dict[str, Any]:
        return body

    @handler
    def anything(self, body: Body[Any]) -> Any:
        return body

    @handler
    def item(self, item: Item) -> Item:
        return item

    @handler
    def point(self, at: Point, scale: int = 1) -> Point:
        return Point(at.x * scale, at.y * scale)

    @handler(batch=8)
    def double(self, x: list[float]) -> list[float]:
        self.count += 1
        if -13 in x:
            raise SystemExit(13)
        if any(value < 0 for value in x):
            raise ValueError("a negative number")
        return [value * 2 for value in x]

    @handler(batch=8)
    def short(self, x: list[int]) -> list[int]:
        return x[:-1]

    @handler
    def total(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.asarray(values).sum(axis=0)

    @handler("/items/{id}/{rest:path}", method="GET")
    def find(self, id: int, rest: str, q: str = "", limit: list[int] = []) -> dict[str, Any]:  # noqa: B006
        return {"id": id, "rest": rest, "q": q, "limit": limit}

    @handler("/grüße an/{name}", method=["GET", "POST"])
    def greetings(self, name: str) -> str:
        return f"Grüße an {name}"

    @handler("/%7Eold/100%", method="GET")
    def old(self) -> str:
        return "old"

    @handler("/things/{id}", method=["PUT", "PATCH"])
    def put(self, id: int, name: str) -> dict[str, Any]:
        return {"id": id, "name": name}

    @handler
    def nothing(self) -> None:
        return None

    @handler
    def upload(self, file: Upload, note: str = "") -> dict[str, Any]:
        return {"size": len(file.content), "name": file.filename, "note": note}

    @handler
    def who(self, request: Request, x: int = 0) -> dict[str, Any]:
        return {"x": x, "agent": request.headers.get("user-agent", ""), "path": request.path, "query": request.query}

    @handler
    def page(self) -> Response:
        return Response("<h1>hi</h1>", media_type="text/html; charset=utf-8", headers={"x-kind": "page"}, status=201)

    @handler("/file", method="GET")
    def file(self) -> FileResponse:
        return FileResponse(Path(__file__))

    @handler
    def raw(self, data: bytes) -> bytes:
        return data[::-1]

    @handler
    def count_to(self, to: int = 3, fail_at: int = -1, exit_at: int = -1) -> Iterator[dict[str, int]]:
        for number in range(to):
            if number == exit_at:
                raise SystemExit(1)
            if number == fail_at:
                raise ValueError("cannot count further")
            yield {"number": number}

    @handler(sse=False)
    def lines(self, size: int, count: int) -> Iterator[bytes]:
        for _ in range(count):
            yield b"x" * size

    @handler
    def numbers(self, n: int, x: Any = None) -> dict[str, Any]:
        return {"n": n, "more": [Point(n + 1), {-n}], "nan": float("nan"), "x": x}

    @handler
    def things(self) -> Iterator[Any]:
        yield from (Point(2**64), Item(name="pen", price=2), {"set": {1}, "at": Point(1)}, "text", [Decimal("1.5")])

    @handler(sse=False)
    def rows(self) -> Iterator[Point]:
        yield from (Point(1), Point(2**64))

    @handler
    def answer_of_things(self, media: str) -> Response:
        return Response(iter([Point(1), "data: 2\n\n"]), media_type=media)

    @handler
    def crash(self, how: str) -> str:
        if how == "raise":
            raise RuntimeError("broken")
        if how == "exit":
            os._exit(3)
        if how == "segfault":
            ctypes.string_at(0)
        if how in LEAVES:
            raise LEAVES[how]
        if how == "json":
            return {1j}  # type: ignore[return-value]
        return "whole"

    @handler
    async def leave(self, how: str) -> str:
        raise LEAVES[how]

    @handler
    async def stream_and_leave(self, how: str) -> AsyncIterator[str]:
        yield "one"
        raise LEAVES[how]

    @handler
    async def cancels_itself(self) -> str:
        inner = asyncio.ensure_future(asyncio.Event().wait())
        await asyncio.sleep(0)
        inner.cancel()
        return str(await inner)

    @handler
    def pid(self) -> int:
        return os.getpid()


app = FastAPI()


@app.get("/hello/{name}")
async def hello(name: str, loud: bool = False) -> dict[str, str]:
    return {"hello": name.upper() if loud else name}


@app.get("/leave")
def leave() -> None:
    raise SystemExit(5)


@app.websocket("/talk")
async def talk(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(f"you said {text}")


def wsgi(environ: Mapping[str, Any], start: Any) -> list[bytes]:
    start("200 OK", [("content-type", "text/plain")])
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}".encode(), body]


class Busy(Service):
    """Async handlers, threads and mounts."""

    concurrency = 4

    async def init(self) -> None:
        self.open = 0
        self.most = 0
        self.cancelled = 0
        self.done: list[str] = []
        self.gate = threading.Event()

    def mounts(self) -> Mapping[str, Any]:
        return {"/app": app, "/wsgi": wsgi, "/files": Path(__file__).parent}

    @handler
    async def wait(self, seconds: float) -> int:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.open -= 1
        return self.most

    @handler("/state", method="GET")
    async def state(self) -> dict[str, Any]:
        return {"cancelled": self.cancelled, "open": self.open, "done": self.done}

    @handler
    def block(self, seconds: float) -> str:
        self.gate.wait(seconds)
        return threading.current_thread().name

    @handler
    async def tokens(self, count: int, pause: float = 0.0) -> AsyncIterator[str]:
        try:
            for number in range(count):
                yield f"t{number}"
                await asyncio.sleep(pause)
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise

    @handler
    async def later(self, name: str) -> str:
        async def work() -> None:
            self.done.append(name)

        self.background(work)
        return "soon"
