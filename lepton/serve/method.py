"""One handler of a service in one replica: reads a request, calls the user's function, writes what it returned."""

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import accumulate
from typing import Any

import orjson

from lepton.core.errors import ConfigError, LeptonError
from lepton.serve import websocket
from lepton.serve.calls import Call
from lepton.serve.conversation import ClosedError, WebSocket
from lepton.serve.faults import HandlerError, answer_together, is_line, reply_for
from lepton.serve.file_reply import file_reply, is_free
from lepton.serve.frames import Media
from lepton.serve.program import Line, Reply, Work, Written
from lepton.serve.routes import Operation, normal
from lepton.serve.service import MARK, FileResponse, HTTPError, Response, Service, Wish
from lepton.serve.signature import Signature
from lepton.serve.writing import DUMP, chunk, dumps, event, plain, sse

JSON = int(Media.JSON)
USUAL = frozenset((dict, list, str, int, float, bool))
"""Types of answers that are JSON at once."""
EVENTS = "text/event-stream"
NO_LISTS = (str, bytes, bytearray, memoryview, Mapping, Set)
"""What a batch handler cannot mean by its answers, though it may have as many parts as it has requests."""
LINES = b"content-type: application/x-ndjson\r\n"
BODY_MEDIA = ("JSON", "OCTETS", "NPY", "MSGPACK", "TEXT", "FORM")


class Method:
    """One handler of a service in one replica: reads, calls, writes."""

    def __init__(self, name: str, function: Callable[..., Any], wish: Wish) -> None:
        self.name = name
        self.function = function
        self.signature = signature = Signature(name, function, wish)
        self.wish = replace(wish, methods=("GET",), is_repeatable=False) if signature.socket_name else wish
        self.is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        self.doc = inspect.getdoc(function) or ""

    def operation(self, number: int) -> Operation:
        """As the front is told."""
        wish, is_headed = self.wish, self.signature.is_headed
        return Operation(
            id=number,
            path=wish.path,
            methods=wish.methods,
            is_headed=is_headed,
            is_public=wish.is_public,
            is_repeatable=wish.is_repeatable,
            has_body=self.signature.needs_body,
            media=None if is_headed else (*BODY_MEDIA, *(("OTHER",) if self.signature.is_raw else ())),
            timeout_s=wish.timeout_s,
        )

    def work(self, number: int) -> Work:
        """How a replica answers it."""
        operation = self.operation(number)
        if self.wish.batch and self.is_async:
            raise ConfigError(f"Handler {self.name}: a batch handler cannot be async", fix="Make it a plain function.")
        if self.signature.socket_name and not inspect.iscoroutinefunction(self.function):
            raise ConfigError(f"Handler {self.name} talks over a WebSocket", fix="Make it `async def`, without yield.")
        if self.wish.batch:
            return Work(operation=operation, batch=self.batch, max_batch=self.wish.batch)
        if self.signature.socket_name:
            return Work(operation=operation, answer=self.refuse, tunnel=self.talk)
        if self.is_async and not inspect.isasyncgenfunction(self.function):
            return Work(operation=operation, answer=self.answer)
        return Work(operation=operation, call=self.call)

    def call(self, call: Call) -> Reply:
        """Answer one request."""
        return self.reply(self.function(**self.signature.arguments(call)), call)

    async def answer(self, call: Call) -> Reply:
        """Answer one request, in the loop."""
        return self.reply(await self.function(**self.signature.arguments(call)), call)

    async def talk(self, call: Call, line: Line) -> None:
        """Talk with a client over a WebSocket until the handler returns."""
        arguments = self.signature.arguments(call)
        peer = await websocket.accept(call, line)
        if peer is None:
            return
        try:
            await self.function(**{**arguments, self.signature.socket_name: WebSocket(peer)})
        except ClosedError:
            pass  # its client has left
        except LeptonError:
            if not peer.is_open:
                raise
            await peer.close(1011)
        except Exception:
            if peer.is_open:
                await peer.close(1011)
            raise
        finally:
            peer.leave()
        await peer.open()
        await peer.close()

    async def refuse(self, call: Call) -> Reply:
        """A request that does not ask for a WebSocket.

        Raises:
            HTTPError: it must.
        """
        raise HTTPError(
            426,
            f"{self.wish.path} speaks WebSocket",
            fix="Connect by ws://.",
            code="upgrade",
            headers={"upgrade": "websocket"},
        )

    def batch(self, calls: Sequence[Call]) -> Sequence[Reply]:
        """Answer several requests by one call; one that is malformed costs the others nothing."""
        return answer_together(calls, self._rows, self._together)

    def _rows(self, call: Call) -> Sequence[dict[str, Any]]:
        """The arguments of each row of a request; it has one, unless it came as tensors."""
        return call.rows.arguments if call.rows is not None else [self.signature.arguments(call)]

    def _together(self, good: Sequence[tuple[Call, Sequence[dict[str, Any]]]]) -> list[Reply]:
        rows = [row for _, own in good for row in own]
        values: list[Any] = []
        for at in range(0, len(rows), self.wish.batch):
            values += self._compute(rows[at : at + self.wish.batch])
        ends = accumulate(len(own) for _, own in good)
        return [self._written(call, values[end - len(own) : end]) for (call, own), end in zip(good, ends, strict=True)]

    def _compute(self, rows: Sequence[dict[str, Any]]) -> Sequence[Any]:
        """What the handler returns for each of as many rows as it takes; for one that it fails on, the exception."""
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        try:
            values = self.function(**columns)
            if isinstance(values, NO_LISTS):
                raise HandlerError(
                    f"{self.name} was given {len(rows)} requests and returned a {type(values).__name__}",
                    fix="Return a list of answers, one for each request, in order.",
                )
            if not isinstance(values, Sequence) and not hasattr(values, "__array__"):
                values = list(values)
            if len(values) != len(rows):
                raise HandlerError(
                    f"{self.name} was given {len(rows)} requests and returned {len(values)} answers",
                    fix="Return one answer for each request, in order.",
                )
        except BaseException as fault:  # noqa: BLE001  whatever a user's code raises, also that it wants to exit
            if len(rows) == 1 or isinstance(fault, HandlerError):
                is_usual = isinstance(fault, Exception)
                return [fault if is_usual else RuntimeError(f"{type(fault).__name__}: {fault}")] * len(rows)
            return [value for row in rows for value in self._compute([row])]  # one of them spoils it: each alone
        return list(values)

    def _written(self, call: Call, values: Sequence[Any]) -> Reply:
        if call.rows is not None:
            return call.rows.answer(values)  # type: ignore[no-any-return]
        if isinstance(values[0], Exception):
            return reply_for(values[0], call.id)
        try:
            return self.reply(values[0], call)
        except Exception as fault:  # noqa: BLE001  what a handler returned may be anything
            return reply_for(fault, call.id)

    def reply(self, value: Any, call: Call) -> Reply:
        """An answer from what the handler returned."""
        if type(value) in USUAL and call.media == JSON and call.wants <= JSON:
            try:
                return Reply(orjson.dumps(value, plain, DUMP))
            except TypeError:
                return dump(value, call)  # which says what is wrong with it
        if isinstance(value, FileResponse):
            return file_reply(value, call)
        if isinstance(value, Response):
            return self._response(value, call)
        if value is None:
            return Reply(status=204)
        if isinstance(value, Iterator | AsyncIterator):
            return self._stream(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return Reply(bytes(value), media=Media.OCTETS)
        return dump(value, call)

    def _stream(self, value: Iterator[Any] | AsyncIterator[Any]) -> Reply:
        if self.wish.sse:
            return Reply(stream=pieces(value, sse), media=Media.SSE)
        if self.signature.yields in (Any, bytes, str):
            return Reply(stream=pieces(value, chunk), media=Media.OCTETS)
        return Reply(stream=pieces(value, chunk), media=Media.OTHER, headers=LINES)

    def _response(self, value: Response, call: Call) -> Reply:
        content, kind = value.content, value.media_type
        if isinstance(content, Iterator | AsyncIterator):
            write = event if kind.partition(";")[0].strip().lower() == EVENTS else chunk
            reply = Reply(stream=pieces(content, write), media=Media.OCTETS)
        elif isinstance(content, str):
            reply = Reply(content.encode(), media=Media.TEXT)
        elif isinstance(content, bytes | bytearray | memoryview):
            reply = Reply(bytes(content), media=Media.OCTETS)
        else:
            reply = dump(content, call)
        if not 200 <= value.status < 600:
            raise ValueError(f"a handler answered with status {value.status}: 200 to 599 can end a request")
        pairs = [(name, text) for name, text in value.headers.items() if is_free(name) and is_line(text)]
        if kind and is_line(kind):
            pairs = [(name, text) for name, text in pairs if name.lower() != "content-type"]
            pairs.append(("content-type", kind))
        if any(name.lower() == "content-type" for name, _ in pairs):
            reply.media = Media.OTHER
        reply.headers = "".join(f"{name}: {text}\r\n" for name, text in pairs).encode("latin-1", "replace")
        reply.status = value.status
        return reply


def dump(value: Any, call: Call) -> Reply:
    """A value in the form that the client wants, or that its request had: msgpack, an array as npy, else JSON."""
    wanted = call.wants or call.media
    if (wanted == Media.NPY or call.wants == Media.OCTETS) and hasattr(value, "__array__"):
        from lepton.serve.numbers import write  # noqa: PLC0415  numpy, only where such a body comes

        if (body := write(value, is_file=wanted == Media.NPY)) is not None:
            return Reply(body, media=wanted)
    try:
        if wanted == Media.MSGPACK:
            import msgpack  # noqa: PLC0415  only where such a body comes

            return Reply(msgpack.packb(value, default=plain), media=Media.MSGPACK)
        return Reply(dumps(value))
    except (TypeError, ValueError, OverflowError) as fault:
        name = "msgpack" if wanted == Media.MSGPACK else "JSON"
        raise HandlerError(
            f"The answer cannot be {name}: {fault}", fix="Return JSON, bytes, an array, a Response or a stream."
        ) from fault


def pieces(values: Any, write: Callable[[Any], bytes]) -> Iterator[bytes] | Written:
    """The bytes of what a generator yields; closing it closes the generator."""
    return Written(values, write) if isinstance(values, AsyncIterator) else _pieces(values, write)


def _pieces(values: Iterator[Any], write: Callable[[Any], bytes]) -> Iterator[bytes]:
    try:
        for value in values:
            yield write(value)
    finally:
        close = getattr(values, "close", None)
        if close is not None:
            close()


def handlers_of(service: Service) -> Iterator[Method]:
    """Its handlers in the order of their definition, those of its bases first.

    Raises:
        ConfigError: two share a path and method, or one has the name of something that each service has.
    """
    taken: dict[tuple[str, bytes], str] = {}
    names = [name for kind in reversed(type(service).__mro__) for name in vars(kind)]
    for name in dict.fromkeys(names):
        function = getattr(service, name, None)
        wish = getattr(function, MARK, None)
        if not isinstance(wish, Wish) or function is None:
            continue
        if callable(getattr(Service, name, None)):
            raise ConfigError(
                f"Handler {name} takes the place of Service.{name}, which the platform calls",
                fix=f'Name the method otherwise; @handler("/{name}") keeps its path.',
            )
        made = Method(name, function, wish)
        for method in made.wish.methods:
            other = taken.setdefault((method, normal(wish.path.encode())), name)
            if other != name:
                raise ConfigError(
                    f"Handlers {other} and {name} both answer {method} {wish.path}", fix="Give one another path."
                )
        yield made
