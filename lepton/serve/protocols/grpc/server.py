"""The gRPC server within a front: methods become exchanges of the desk, with the same checks as requests over HTTP.

It reads no message: bytes go to a worker and come back. Imported only where gRPC is installed and wanted.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import grpc

from lepton.serve import answers
from lepton.serve.desk import Desk
from lepton.serve.exchange import Asked, Exchange
from lepton.serve.frames import Media
from lepton.serve.message import request_id_of
from lepton.serve.protocols.grpc.splice import Near
from lepton.serve.protocols.grpc.status import Answer, code_of, stream_part, told, trailer
from lepton.serve.protocols.inference.operations import FIRST_RPC, RPCS, SERVICE
from lepton.serve.routes import UNKNOWN, Route

OPERATIONS = range(FIRST_RPC, FIRST_RPC + len(RPCS))
HEALTH = "/grpc.health.v1.Health/Check"
YES, NO, NOT_SERVING = b"\x08\x01", b"", b"\x08\x02"
"""Messages whose field 1 is a boolean, or of the health service a state."""
MAX_AHEAD = 64
"""Messages of one stream that may be worked on at a time."""
MAX_STREAMS = 256
"""Requests open on one connection."""
MAX_HEAD_BYTES = 16 << 10


class Call(Exchange):
    """An exchange whose answer somebody awaits."""

    __slots__ = ("answer",)

    def __init__(self, id: int, near: Near, route: Route | None, request_id: bytes) -> None:
        super().__init__(id, near, route, request_id)
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def finish(self, status: int, body: bytes, media: bytes = answers.JSON_TYPE, headers: bytes = b"") -> None:
        """Give the whole answer. A second call does nothing."""
        if self.is_done:
            return
        self.is_done = self.is_complete = True
        if not self.answer.done():
            self.answer.set_result(Answer(status, body, headers))


class Methods(grpc.GenericRpcHandler):  # type: ignore[misc]
    """What the server answers.

    Args:
        peers: the server's name for a connection -> the client behind it.
    """

    def __init__(self, desk: Desk, peers: Mapping[str, Near]) -> None:
        self._desk = desk
        self._peers = peers
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        self._methods = {SERVICE + name: unary(partial(self._answer, (SERVICE + name).encode())) for name in RPCS}
        self._methods[f"{SERVICE}ServerLive"] = unary(self._live)
        self._methods[f"{SERVICE}ServerReady"] = unary(self._ready)
        self._methods[f"{SERVICE}ModelStreamInfer"] = stream(self._stream)
        self._methods[HEALTH] = unary(self._health)

    def service(self, details: Any) -> Any:
        """The function of a method; None: there is none."""
        return self._methods.get(details.method)

    async def _live(self, message: bytes, context: Any) -> bytes:
        return YES

    async def _ready(self, message: bytes, context: Any) -> bytes:
        return YES if self._desk.is_ready else NO

    async def _health(self, message: bytes, context: Any) -> bytes:
        return YES if self._desk.is_ready else NOT_SERVING

    async def _answer(self, url: bytes, message: bytes, context: Any) -> bytes:
        """One message for another."""
        near = await self._near(context)
        near.open_count += 1
        try:
            call = self._bring(url, message, near, context)
            answer = await self._answer_of(call)
        finally:
            self._done(near)
        if not answer.is_good:
            await context.abort(code_of(answer), told(answer)[0], trailer(answer, call.request_id))
        context.set_trailing_metadata(trailer(answer, call.request_id))
        return answer.body

    async def _stream(self, messages: AsyncIterator[bytes], context: Any) -> None:
        """Messages as they come, answers in the same order; what is wrong with one is told in its place."""
        near = await self._near(context)
        near.open_count += 1
        calls: asyncio.Queue[Call | None] = asyncio.Queue(MAX_AHEAD)
        reading = asyncio.ensure_future(self._read(messages, near, context, calls))
        try:
            while (call := await calls.get()) is not None:
                answer = await self._answer_of(call)
                if answer.status in (401, 403, 501):
                    await context.abort(code_of(answer), told(answer)[0], trailer(answer, call.request_id))
                await context.write(stream_part(answer))
        finally:
            self._done(near)
            reading.cancel()
            while not calls.empty():
                self._give_up(calls.get_nowait())

    async def _read(
        self, messages: AsyncIterator[bytes], near: Near, context: Any, calls: "asyncio.Queue[Call | None]"
    ) -> None:
        """Bring the messages of a stream to the desk, not too many ahead of their answers."""
        url = f"{SERVICE}ModelInfer".encode()
        try:
            async for message in messages:
                call = self._bring(url, message, near, context)
                try:
                    await calls.put(call)
                except asyncio.CancelledError:
                    self._give_up(call)
                    raise
        finally:
            await calls.put(None)

    async def _near(self, context: Any) -> Near:
        """The client that asks."""
        near = self._peers.get(context.peer())
        if near is None:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "Ask at the endpoint's address")
        assert near is not None
        return near

    def _done(self, near: Near) -> None:
        near.open_count -= 1
        near.since = monotonic()

    async def _answer_of(self, call: Call) -> Answer:
        """Its answer; a client that cancels, or whose time is up, is forgotten."""
        try:
            return await call.answer
        except asyncio.CancelledError:
            self._give_up(call)
            raise

    def _give_up(self, call: Call | None) -> None:
        if call is not None and not call.is_done:
            call.is_done = True
            self._desk.give_up(call)

    def _bring(self, url: bytes, message: bytes, near: Near, context: Any) -> Call:
        """Give a message to the desk."""
        desk = self._desk
        fields = {name.encode(): value for name, value in context.invocation_metadata() or ()}
        authorization = as_bytes(fields.get(b"authorization"))
        route = desk.find(b"POST", url)
        number = desk.next_id()
        name = request_id_of({key: as_bytes(fields.get(key)) or b"" for key in (b"x-request-id", b"traceparent")})
        call = Call(number, near, route if isinstance(route, Route) else None, name or desk.request_id(number))
        call.media = Media.OCTETS
        call.caller = near.caller
        call.bear(message, None)
        call.arrived = monotonic()
        if not isinstance(route, Route) or judge(route)[1] is not None:
            desk.refuse(call, answers.NO_RPC)
        elif (doubt := desk.doubt(route, authorization)) is not None:
            desk.refuse(call, doubt)
        else:
            call.asked = Asked(b"POST", url, b"", judge) if route is UNKNOWN else None
            desk.accept(call, authorization)
        return call


def judge(route: Route) -> tuple[int, answers.Refusal | None]:
    """What a message is to a route, and why it cannot take it: what else answers at that path is no gRPC."""
    return Media.OCTETS, None if route is UNKNOWN or route.operation in OPERATIONS else answers.NO_RPC


def as_bytes(value: str | bytes | None) -> bytes | None:
    """A value of metadata."""
    return value.encode("latin-1", "replace") if isinstance(value, str) else value


async def open_server(desk: Desk, path: Path, peers: Mapping[str, Near]) -> Any:
    """A running server at a Unix socket that only this user can reach."""
    limits = desk.limits
    options = (
        ("grpc.max_receive_message_length", limits.max_body_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", MAX_HEAD_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_HEAD_BYTES),
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        ("grpc.max_connection_idle_ms", int(limits.idle_s * 1000)),
        ("grpc.server_handshake_timeout_ms", int(limits.head_s * 1000)),
        ("grpc.compression_enabled_algorithms_bitset", 1),  # none: a small message must not become a large one
        ("grpc.so_reuseport", 0),
    )
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((Methods(desk, peers),))
    server.add_insecure_port(f"unix:{path}")
    path.chmod(0o600)
    await server.start()
    return server
