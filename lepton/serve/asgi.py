"""ASGI and WSGI applications, Gradio apps and folders of files, mounted under a path of an endpoint."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lepton.core.errors import ConfigError
from lepton.serve.calls import Call
from lepton.serve.conversation import ClosedError
from lepton.serve.faults import HandlerError, is_line, note
from lepton.serve.frames import Media
from lepton.serve.program import Line, Reply, Work
from lepton.serve.routes import Operation
from lepton.serve.websocket import Socket, accept

Headers = list[tuple[bytes, bytes]]
App = Callable[..., Awaitable[None]]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
HOP = frozenset((b"connection", b"transfer-encoding", b"content-length", b"keep-alive", b"upgrade", b"x-request-id"))
"""Headers that are the front's to set."""
HANDSHAKE = b"sec-websocket-"
"""Begins the names of headers that are the WebSocket's own."""
SCHEMES = {"http": "ws", "https": "wss"}
AHEAD = 16
"""Pieces that an application may be ahead of what was sent."""


def mount_of(path: str, app: Any) -> "Mount":
    """What shall answer under `path`.

    Raises:
        ConfigError: it is nothing that can be mounted.
    """
    place = f"/{path.strip('/')}" if path.strip("/") else ""
    if isinstance(app, str | Path):
        from starlette.middleware.exceptions import ExceptionMiddleware  # noqa: PLC0415  only for services ...
        from starlette.staticfiles import StaticFiles  # noqa: PLC0415  ... that mount a folder

        if not Path(app).is_dir():
            raise ConfigError(f"There is no folder {app} to mount at {path}", fix="Make it, or name another.")
        return Mount(place, ExceptionMiddleware(StaticFiles(directory=app, html=True)))
    if type(app).__module__.partition(".")[0] == "gradio":
        import gradio  # noqa: PLC0415  the service has imported it
        from fastapi import FastAPI  # noqa: PLC0415  Gradio stands on it

        return Mount(place, gradio.mount_gradio_app(FastAPI(), app, path="/"))
    if not callable(app):
        raise ConfigError(f"A {type(app).__name__} cannot be mounted at {path}", fix="Mount an ASGI or WSGI app.")
    return Mount(place, app if is_asgi(app) else wsgi(app))


def is_asgi(app: Any) -> bool:
    """Whether it is ASGI 3 rather than WSGI: its call is a coroutine function, or takes three arguments."""
    call = app if inspect.isroutine(app) else type(app).__call__
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(call):
        return True
    wanted = [p for p in inspect.signature(app).parameters.values() if p.default is inspect.Parameter.empty]
    return len(wanted) >= 3


def wsgi(app: Any) -> App:
    """A WSGI application as an ASGI one; it runs in threads."""
    from lepton.serve.wsgi import Wsgi  # noqa: PLC0415  only for services that mount one

    return Wsgi(app)


def measured(headers: Headers, size: int) -> Headers:
    """The headers of a body that has come whole: one that was sent in chunks has a length now, without which WSGI
    applications read nothing."""
    if not any(name.lower() == b"transfer-encoding" for name, _ in headers):
        return headers
    kept = [(name, value) for name, value in headers if name.lower() != b"transfer-encoding"]
    return [*kept, (b"content-length", b"%d" % size)]


class Mount:
    """One application under a path; `path` is empty at the root.

    Args:
        finishes: it works on to its end for a client that has gone.
    """

    def __init__(self, path: str, app: App, *, finishes: bool = False) -> None:
        self.path = path
        self._app = app
        self._finishes = finishes
        self._lifespan: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._done: asyncio.Queue[str] = asyncio.Queue()
        self._state: dict[str, Any] = {}
        """What the application has put there when it started: each request gets a copy."""

    def work(self, number: int) -> Work:
        """How a replica answers for it."""
        operation = Operation(
            id=number, path=self.path or "/", methods=METHODS, is_prefix=True, is_headed=True, has_body=False
        )
        return Work(operation=operation, answer=self.answer, tunnel=self.tunnel)

    async def start(self) -> None:
        """Let the application get ready, if it wants to."""
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}
        self._lifespan = asyncio.ensure_future(self._live(scope))
        await self._events.put({"type": "lifespan.startup"})
        said = await self._done.get()
        if said.startswith("!"):
            raise HandlerError(f"What is mounted at {self.path or '/'} did not start: {said[1:]}")

    async def _live(self, scope: dict[str, Any]) -> None:
        async def send(event: dict[str, Any]) -> None:
            failed = event["type"].endswith(".failed")
            await self._done.put(f"!{event.get('message', '')}" if failed else event["type"])

        with suppress(Exception):  # an application that knows no lifespan may raise whatever it likes
            await self._app(scope, self._events.get, send)
        await self._done.put("ended")

    async def close(self) -> None:
        """Let the application let go."""
        if self._lifespan is not None and not self._lifespan.done():
            await self._events.put({"type": "lifespan.shutdown"})
            with suppress(TimeoutError):
                await asyncio.wait_for(self._lifespan, 5)

    def scope(self, call: Call, kind: str) -> dict[str, Any]:
        """What the application is told of a request."""
        assert call.head is not None
        head = call.head
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.headers]
        found: dict[str, Any] = {
            "type": kind,
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": head.version,
            "scheme": SCHEMES[head.scheme] if kind == "websocket" else head.scheme,
            "path": unquote(head.prefix + head.path),
            "raw_path": (head.prefix + head.path).encode("latin-1"),
            "query_string": head.query.encode("latin-1"),
            "root_path": head.prefix + self.path,
            "headers": headers,
            "client": head.client,
            "server": head.server,
            "state": dict(self._state),
        }
        if kind == "http":
            found |= {"method": head.method, "headers": measured(headers, len(call.body))}
        return found

    async def answer(self, call: Call) -> Reply:
        """One request."""
        course = Course(call.body, call.id, finishes=self._finishes)
        course.begin(self._app(self.scope(call, "http"), course.receive, course.send))
        try:
            start = await course.next()
            if start is None or start["type"] != "http.response.start":
                raise HandlerError(f"What is mounted at {self.path or '/'} gave no answer") from course.fault
            first = await course.next()
        except asyncio.CancelledError:  # the client has gone before there was an answer
            await course.end()
            raise
        headers = start.get("headers", ())
        reply = Reply(status=start["status"], media=Media.OTHER, headers=head_lines(headers))
        if first is None or not first.get("more_body"):
            reply.body = bytes(first.get("body", b"")) if first else b""
            await course.end(is_whole=True)
            if call.head is not None and call.head.method == "HEAD" and (length := length_line(headers)):
                reply.headers += length  # of a body that there would be
                reply.stream = nothing()
        else:
            reply.stream = course.pieces(first)
        return reply

    async def tunnel(self, call: Call, line: Line) -> None:
        """One WebSocket."""
        socket = await accept(call, line)
        if socket is not None:
            await self._talk(call, socket)

    async def _talk(self, call: Call, socket: Socket) -> None:
        is_first = True

        async def receive() -> dict[str, Any]:
            nonlocal is_first
            if is_first:
                is_first = False
                return {"type": "websocket.connect"}
            message = await socket.receive()
            if message is None:
                return {"type": "websocket.disconnect", "code": socket.close_code or 1005}
            kind = "text" if isinstance(message, str) else "bytes"
            return {"type": "websocket.receive", kind: message}

        async def send(event: dict[str, Any]) -> None:
            if event["type"] == "websocket.accept":
                given = [
                    pair for pair in event.get("headers") or () if not bytes(pair[0]).lower().startswith(HANDSHAKE)
                ]
                await socket.open(event.get("subprotocol"), head_lines(given))
            elif event["type"] == "websocket.send":
                text = event.get("text")
                await socket.send(text if text is not None else event["bytes"])
            elif event["type"] == "websocket.close":
                await socket.close(event.get("code", 1000), event.get("reason") or "")

        scope = {**self.scope(call, "websocket"), "subprotocols": socket.offered}
        try:
            await self._app(scope, receive, send)
        except Exception as fault:
            if not (
                isinstance(fault, ClosedError) or isinstance(fault.__context__, ClosedError)
            ):  # or what was made of it
                raise
        finally:
            await socket.close(1011 if not socket.is_closed else 1000)


class Course:
    """One request's way through an application."""

    def __init__(self, body: bytes, id: int = 0, *, finishes: bool = False) -> None:
        self._body: bytes | None = body
        self._finishes = finishes
        self._id = id
        self._is_whole = False
        """It has given its whole answer: a fault after that nobody else learns of."""
        self._gone = asyncio.Event()
        self._listens = 0
        """How many of the application's coroutines wait to hear that the client is gone."""
        self._events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(AHEAD)
        self._task: asyncio.Task[None] | None = None
        self.fault: BaseException | None = None

    def begin(self, running: Awaitable[None]) -> None:
        """Let it run."""
        self._task = asyncio.ensure_future(self._run(running))

    async def _run(self, running: Awaitable[None]) -> None:
        try:
            await running
        except asyncio.CancelledError:
            raise
        except BaseException as fault:  # noqa: BLE001  whatever an application raises, also that it wants to exit
            if self._is_whole:
                note(fault, self._id)
            self.fault = fault
        await self._events.put(None)

    async def receive(self) -> dict[str, Any]:
        """For the application: the body, then that the client is gone."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        self._listens += 1
        try:
            await self._gone.wait()
        finally:
            self._listens -= 1
        return {"type": "http.disconnect"}  # at once: Starlette asks in a scope that is cancelled at the first wait

    async def send(self, event: dict[str, Any]) -> None:
        """For the application: a part of the answer.

        Raises:
            OSError: nobody listens any more.
        """
        if self._gone.is_set():
            await asyncio.sleep(0)  # whoever sends for ever leaves others their turn
            raise OSError("The client has gone")
        await self._events.put(event)

    async def next(self) -> dict[str, Any] | None:
        """The next part; None at the end.

        Raises:
            HandlerError: the application raised.
        """
        event = await self._events.get()
        if event is None and self.fault is not None:
            raise self.fault
        return event

    async def pieces(self, first: dict[str, Any]) -> AsyncIterator[bytes]:
        """The rest of the answer."""
        event: dict[str, Any] | None = first
        is_whole = False
        try:
            while event is not None:
                if event.get("body"):
                    yield bytes(event["body"])
                event = await self.next() if event.get("more_body") else None
            is_whole = True
        finally:
            await self.end(is_whole=is_whole)

    async def end(self, *, is_whole: bool = False) -> None:
        """Tell the application that nobody listens any more; what it still does after its answer, it may finish. One
        that does not wait to hear it before is cancelled: it would keep from others what it has or waits for.

        Args:
            is_whole: it has given its answer; else the client has gone, or has been told of a fault.
        """
        self._is_whole = is_whole
        if is_whole and self.fault is not None:
            note(self.fault, self._id)
        self._gone.set()
        while not self._events.empty():  # lets go of an application that waits to send more
            self._events.get_nowait()
        if not (is_whole or self._finishes or self._listens) and self._task is not None:
            self._task.cancel()


async def nothing() -> AsyncIterator[bytes]:
    """The body of an answer to HEAD: the front takes no length from what streams."""
    yield b""


def length_line(headers: Any) -> bytes:
    """The length that an application gives its answer, as a header; empty: it gives none."""
    told = [bytes(value) for name, value in headers if bytes(name).lower() == b"content-length"]
    return b"content-length: %d\r\n" % int(told[0]) if len(told) == 1 and told[0].isdigit() else b""


def head_lines(headers: Any) -> bytes:
    """The application's headers as the front sends them."""
    kept = [(bytes(name), bytes(value)) for name, value in headers if bytes(name).lower() not in HOP]
    lines = [b"%b: %b\r\n" % (name, value) for name, value in kept if is_line((name + value).decode("latin-1"))]
    return b"".join(lines)
