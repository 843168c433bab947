"""One message of gRPC and its answer: an exchange of the desk, as a request over HTTP is.

No message is read here: its bytes go to a worker, and the worker's come back. Large packed ones are unpacked, and large
answers packed, in a thread: what that takes would hold up all other clients.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Protocol, TypeVar

from lepton.serve import answers
from lepton.serve.answers import Refusal
from lepton.serve.exchange import Asked, Desk, Exchange
from lepton.serve.frames import Media
from lepton.serve.protocols.grpc.coding import ACCEPTED, CODINGS, PackedError, Unpacking, coding_for, pack
from lepton.serve.protocols.grpc.status import Answer
from lepton.serve.protocols.http2.connection import Http2
from lepton.serve.protocols.http2.hpack import write_field, write_int
from lepton.serve.protocols.http2.stream import Opened
from lepton.serve.protocols.inference.operations import FIRST_RPC, RPCS
from lepton.serve.room import SMALL_BYTES
from lepton.serve.routes import Page, Route

OPERATIONS = range(FIRST_RPC, FIRST_RPC + len(RPCS))
HEAD = b"\x88" + write_int(31, 4) + write_int(16, 7) + b"application/grpc"
"""Of an answer: status 200 and the content type, by their places in the static table."""
ADMITTED = Route(page=Page.HEALTH)
"""Answered to whoever may use the endpoint: not public, as the real page is."""
PREFIX_BYTES = 5
"""Before each message: whether it is packed, and its length in four bytes."""
AT_ONCE = 64 << 10
"""Bytes of a message that are packed or unpacked in the loop itself."""
MIN_PACKED = 1024
"""Bytes of an answer that is worth being packed."""
NOT_WHOLE = Refusal(400, "invalid", "The request holds not exactly one whole message", "Send one.")
PACKED = Refusal(
    501, "unimplemented", "The message is compressed in a way that is not read here", "Use gzip, deflate, or none."
)
BROKEN = Refusal(400, "invalid", "The message cannot be unpacked", "Compress it as grpc-encoding says.")
Take = Callable[[bytes | Refusal], None]
T = TypeVar("T")


class Caller(Protocol):
    """The stream that a message came on."""

    desk: Desk
    connection: Http2
    opened: Opened

    def shape(self, reply: Answer) -> bytes:
        """The message that tells an answer."""
        ...

    def answered(self, call: "Call") -> None:
        """The answer of a call is there."""
        ...


class Call(Exchange):
    """One message and its answer."""

    def __init__(self, stream: Caller, route: Route | None) -> None:
        super().__init__(stream.desk, stream.connection, route, stream.opened.request_id)
        self.stream = stream
        self.reply: Answer | None = None
        self.data = b""
        """The answer as the body has it; both are there once `answered` of the stream is called."""
        self.media = Media.OCTETS
        self.caller = stream.connection.caller
        self.arrived = monotonic()

    def finish(self, status: int, body: bytes, media: bytes = answers.JSON_TYPE, headers: bytes = b"") -> None:
        """Give the whole answer. A second call does nothing."""
        if self.is_done:
            return
        self.is_done = self.is_complete = True
        self.let_go()
        reply = Answer(status, body, headers)
        message, opened = self.stream.shape(reply), self.stream.opened
        coding = coding_for(opened.coding, opened.codings) if opened.coding else b""
        if not coding or len(message) < MIN_PACKED:
            self._settle(reply, prefixed(message))
        elif len(message) <= AT_ONCE:
            self._settle(reply, shorter(message, pack(message, coding)))
        else:
            in_thread(partial(pack, message, coding), lambda packed: self._settle(reply, shorter(message, packed)))

    def _settle(self, reply: Answer, data: bytes) -> None:
        self.reply, self.data = reply, data
        self.stream.answered(self)

    def give_up(self) -> None:
        """Nobody waits for the answer any more."""
        if not self.is_done:
            self.is_done = True
            self.let_go()
            self.desk.give_up(self)


class Admission(Exchange):
    """The question whether a call's token may be here at all, before work is done for it.

    Args:
        then: called once it may; else the call has its answer.
    """

    def __init__(self, call: Call, then: Callable[[], None]) -> None:
        super().__init__(call.desk, call.connection, ADMITTED, call.request_id)
        self._call = call
        self._then = then

    def finish(self, status: int, body: bytes, media: bytes = answers.JSON_TYPE, headers: bytes = b"") -> None:
        """The answer of the desk. A second call does nothing."""
        if self.is_done:
            return
        self.is_done = self.is_complete = True
        if status < 300:
            self._then()
        else:
            self._call.finish(status, body, media, headers)


def find(desk: Desk, path: bytes, authorization: bytes | None) -> tuple[Route | None, Refusal | None]:
    """The route of a method, and why a request may not take it, as far as that is known at once."""
    route = desk.find(b"POST", path)
    if isinstance(route, Refusal):
        told = route if route == answers.NO_ENDPOINT else answers.NO_RPC
        return None, desk.doubt(ADMITTED, authorization) or told
    refusal = judge(route)[1]
    return route, refusal if refusal is not None else desk.doubt(ADMITTED if route.is_held else route, authorization)


def judge(route: Route) -> tuple[int, Refusal | None]:
    """What a message is to a route, and why it cannot take it: what else answers at that path is no gRPC."""
    return Media.OCTETS, None if route.is_held or route.operation in OPERATIONS else answers.NO_RPC


def submit(call: Call, path: bytes, message: bytes) -> None:
    """Give a message to the desk, if anybody still waits for its answer."""
    if call.is_done:
        return
    if len(message) > SMALL_BYTES and not call.connection.room.has(len(message)):
        call.desk.refuse(call, answers.NO_ROOM)
        return
    call.bear(message, None)
    call.arrived = monotonic()
    if call.route is not None and call.route.is_held:
        call.asked = Asked(b"POST", path, b"", judge)
    call.desk.accept(call, call.stream.opened.authorization)


def refusal_of(first: int, opened: Opened) -> Refusal | None:
    """Why a message with that first byte cannot be read."""
    return PACKED if first > 1 or (first and opened.coding not in CODINGS) else None


def unpack_for(call: Call, packed: bytes, take: Take) -> None:
    """As `unpack` up to what the endpoint takes, once the token is known to be good: else anybody could cost us it."""
    desk, opened = call.desk, call.stream.opened
    admission = Admission(call, lambda: unpack(packed, opened.coding, desk.limits.max_body_bytes, take))
    desk.accept(admission, opened.authorization)


def unpack(packed: bytes, coding: bytes, limit: int, take: Take) -> None:
    """Hand on what a packed message holds, or why it cannot be taken: now, or later if it is large.

    Args:
        limit: most bytes that it may hold.
    """
    unpacking = Unpacking(packed, coding)

    def hand_on(found: bytes | Refusal | None) -> None:
        take(answers.too_large(limit) if found is None else found)

    found = _unpacked(unpacking, min(limit, AT_ONCE))
    if found is not None or limit <= AT_ONCE:
        hand_on(found)
    else:
        in_thread(partial(_unpacked, unpacking, limit), hand_on)


def _unpacked(unpacking: Unpacking, limit: int) -> bytes | Refusal | None:
    try:
        return unpacking.go(limit)
    except PackedError:
        return BROKEN


def in_thread(work: Callable[[], T], take: Callable[[T], None]) -> None:
    """Let a thread work, and the loop take what it gives."""
    future = asyncio.get_running_loop().run_in_executor(None, work)
    future.add_done_callback(lambda done: None if done.cancelled() else take(done.result()))


def head_of(opened: Opened) -> bytes:
    """The header block before an answer's first message; who packs is told how answers are, and may be, packed."""
    if not opened.coding:
        return HEAD
    coding = coding_for(opened.coding, opened.codings)
    told = write_field(b"grpc-encoding", coding) if coding else b""
    return HEAD + write_field(b"grpc-accept-encoding", ACCEPTED) + told


def prefixed(message: bytes, *, is_packed: bool = False) -> bytes:
    """A message as a body has it."""
    return b"%c%b%b" % (is_packed, len(message).to_bytes(4, "big"), message)


def shorter(message: bytes, packed: bytes) -> bytes:
    """A message as a body has it, packed if that makes it shorter."""
    return prefixed(packed, is_packed=True) if len(packed) < len(message) else prefixed(message)
