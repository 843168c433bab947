"""One client's HTTP/2 connection: frames to streams, and what streams answer back, as fast as the client takes it.

It speaks what gRPC needs of RFC 9113 and believes nothing: whatever a client may let grow has a bound, and whoever
breaks the protocol gets a GOAWAY that says how.
"""

import asyncio
from collections.abc import Callable
from math import inf
from time import monotonic

from lepton.serve.exchange import Exchange, Lobby
from lepton.serve.heads import PREFACE
from lepton.serve.parting import Ebb, Parting
from lepton.serve.protocols.http2 import wire
from lepton.serve.protocols.http2.blocks import Block, Blocks
from lepton.serve.protocols.http2.patience import Patience
from lepton.serve.protocols.http2.stream import WINDOW as STREAM_WINDOW
from lepton.serve.protocols.http2.stream import Opened, Stream
from lepton.serve.protocols.http2.wire import Code, Kind, Setting, WireError

WINDOW = 16 << 20
"""Bytes that a client may be ahead of us on all its streams."""
MAX_FRAME, MAX_SENT = 16 << 10, 256 << 10
"""The largest frame that is taken, so that little is kept of one that has not come whole, and that is sent."""
MAX_STREAMS = 256
TURN_FRAMES = 1024
"""That are read at a time before other clients have a turn: each costs as much as kilobytes of one."""
OURS = {
    Setting.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
    Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
    Setting.MAX_FRAME_SIZE: MAX_FRAME,
}

Open = Callable[["Http2", int, Opened], Stream]


class Http2(asyncio.Protocol):
    """One connection; a `Client` of the lobby.

    Args:
        caller: the client's address.
        open: makes the stream of a request.
    """

    def __init__(self, lobby: Lobby, transport: asyncio.Transport, caller: bytes, open: Open) -> None:
        self.lobby = lobby
        self.room = lobby.room
        self.caller = caller
        self.window = wire.DEFAULT_WINDOW
        """Bytes that the client takes."""
        self.stream_window = wire.DEFAULT_WINDOW
        self.max_frame = wire.DEFAULT_FRAME
        self.partial_bytes = self.ahead = 0
        self.streams: dict[int, Stream] = {}
        self._transport = transport
        self._open = open
        self._buffer = bytearray()
        """The begin of a frame."""
        self._begun = 0.0
        """When it came."""
        self._blocks = Blocks(lobby.limits.max_head_bytes)
        self._last = 0
        """Number of the newest stream."""
        self._room = WINDOW
        """Bytes that the client may still send."""
        self._since = monotonic()
        self._is_greeted = False
        """It has told its settings."""
        self.is_leaving = False
        """It begins nothing more: the front drains."""
        self._leave_at = inf
        """It has been told to ask elsewhere; what it has on its way until then is still begun."""
        self._is_over = False
        self._ebb: Ebb | None = None
        """While the client does not read fast enough."""
        self._patience = Patience()
        self._is_resting = False
        """It has had its turn: what has come is read on in the next."""
        self._out: list[bytes] = []
        self._is_flushing = False

    def begin(self, first: bytes) -> None:
        """Take over the transport, from which `first` has come; it begins with the preface."""
        self._transport.set_protocol(self)
        self.lobby.connections.add(self)
        more = WINDOW - wire.DEFAULT_WINDOW
        told = {**OURS, Setting.MAX_HEADER_LIST_SIZE: self.lobby.limits.max_head_bytes}
        self.put(wire.settings(told) + wire.window_update(0, more))
        self.data_received(first[len(PREFACE) :])

    # what the transport tells

    def data_received(self, data: bytes) -> None:
        """Some bytes of frames."""
        if self._is_over:
            return
        self._since = monotonic()
        if self._is_resting:
            self._buffer += data  # it had come before the transport paused
        else:
            self._read(data)

    def _read(self, data: bytes) -> None:
        try:
            if self._buffer:
                self._buffer += data
                at = self._take_all(self._buffer)
                del self._buffer[:at]
            else:
                at = self._take_all(data)
                self._buffer += data[at:]
        except WireError as fault:
            self.fail(fault.code, str(fault))
            return
        if at or len(self._buffer) == len(data):
            self._begun = self._since
        self._flush()

    def _take_all(self, data: bytes | bytearray) -> int:
        """Take all whole frames; how many bytes they have."""
        at, size, count = 0, len(data), 0
        while size - at >= wire.HEAD_BYTES and not self._is_over:
            if count == TURN_FRAMES:
                self._is_resting = True
                self._transport.pause_reading()
                asyncio.get_running_loop().call_soon(self._go_on)
                break
            count += 1
            high, low, kind, flags, stream = wire.HEAD.unpack_from(data, at)
            length = high << 8 | low
            if length > MAX_FRAME:
                raise WireError(Code.FRAME_SIZE_ERROR, f"A frame has {length} bytes")
            end = at + wire.HEAD_BYTES + length
            if end > size:
                break
            self._take(kind, flags, stream & wire.STREAM_BITS, bytes(data[at + wire.HEAD_BYTES : end]))
            at = end
        return at

    def _go_on(self) -> None:
        """It has its next turn."""
        self._is_resting = False
        if not self._is_over:
            self._read(b"")
            self._resume()

    def _resume(self) -> None:
        if not (self._is_over or self._is_resting or self._ebb is not None):
            self._transport.resume_reading()

    def connection_lost(self, fault: Exception | None) -> None:
        """The client is gone: nobody waits for its answers any more."""
        self._is_over = True
        self.lobby.connections.discard(self)
        for stream in list(self.streams.values()):
            stream.close()
        self.streams.clear()

    def pause_writing(self) -> None:
        """The client does not read: read nothing more from it."""
        self._ebb = Ebb(self._transport, monotonic())
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self._ebb = None
        self._resume()

    # frames

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._blocks.is_open and kind != Kind.CONTINUATION:
            raise WireError(Code.PROTOCOL_ERROR, "A header block was interrupted")
        if not self._is_greeted:
            if kind != Kind.SETTINGS or flags & wire.ACK:
                raise WireError(Code.PROTOCOL_ERROR, "The first frame is not of settings")
            self._is_greeted = True
        if kind not in (Kind.DATA, Kind.HEADERS, Kind.WINDOW_UPDATE):
            self._patience.idle()
        take = TAKES.get(kind)
        if take is not None:
            take(self, flags, stream, payload)

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        self._room -= len(payload)
        if self._room < 0 or not number:
            raise WireError(Code.FLOW_CONTROL_ERROR, "More data than the connection's window allows, or for no stream")
        if self._room < WINDOW // 2:
            self.put(wire.window_update(0, WINDOW - self._room))
            self._room = WINDOW
        stream = self.streams.get(number)
        if stream is None or stream.is_ended:
            self._late(number)
            return
        stream.room -= len(payload)
        if stream.room < 0:
            raise WireError(Code.FLOW_CONTROL_ERROR, "More data than the stream's window allows")
        data, is_last = wire.content(flags, payload), bool(flags & wire.END_STREAM)
        self._patience.data(len(data), is_last=is_last)
        stream.receive(data, is_last=is_last)

    def _late(self, number: int) -> None:
        """A frame for a stream that is over: what we have ended may still come for a while."""
        self._never_idle(number)
        self._patience.idle()

    def _never_idle(self, number: int) -> None:
        if not number or number > self._last:
            raise WireError(Code.PROTOCOL_ERROR, f"Stream {number} has not begun")

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        self._whole(self._blocks.begin(flags, number, payload))

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        self._whole(self._blocks.go_on(flags, number, payload))

    def _whole(self, block: Block | None) -> None:
        """A header block is there: a request, or a trailer."""
        if block is None:
            return
        number, opened, is_last = block
        stream = self.streams.get(number)
        if stream is not None and not stream.is_ended:
            if not is_last:
                raise WireError(Code.PROTOCOL_ERROR, "A second header block does not end its stream")
            stream.receive(b"", is_last=True)
        elif number <= self._last:
            self._late(number)
        else:
            self._last = number
            self._begin(number, opened, is_last=is_last)

    def _begin(self, number: int, opened: Opened, *, is_last: bool) -> None:
        if self.is_leaving or len(self.streams) >= MAX_STREAMS:
            self.put(wire.reset(number, Code.REFUSED_STREAM))
            return
        stream = self.streams[number] = self._open(self, number, opened)
        stream.begin()
        if is_last and number in self.streams:
            stream.receive(b"", is_last=True)

    def _reset(self, flags: int, number: int, payload: bytes) -> None:
        self._never_idle(number)
        wire.number(payload)
        stream = self.streams.pop(number, None)
        if stream is None:
            return
        stream.close()
        self._patience.reset()
        self._leave_if_done()

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        if number or len(payload) % 6 or (flags & wire.ACK and payload):
            raise WireError(Code.FRAME_SIZE_ERROR, "Settings are of no stream, and six bytes each")
        if flags & wire.ACK:
            return
        for name, value in wire.PAIR.iter_unpack(payload):
            if name == Setting.INITIAL_WINDOW_SIZE:
                self._resize(value)
            elif name == Setting.MAX_FRAME_SIZE:
                if not wire.DEFAULT_FRAME <= value < 1 << 24:
                    raise WireError(Code.PROTOCOL_ERROR, f"Frames cannot have {value} bytes at most")
                self.max_frame = min(value, MAX_SENT)
        self.put(wire.frame(Kind.SETTINGS, wire.ACK, 0))

    def _resize(self, size: int) -> None:
        """The window of every stream is another."""
        if size > wire.MAX_WINDOW:
            raise WireError(Code.FLOW_CONTROL_ERROR, f"A window cannot have {size} bytes")
        change = size - self.stream_window
        self.stream_window = size
        for stream in list(self.streams.values()):
            stream.grow(change)

    def _ping(self, flags: int, number: int, payload: bytes) -> None:
        if number or len(payload) != 8:
            raise WireError(Code.FRAME_SIZE_ERROR, "A ping is of no stream, and eight bytes")
        if not flags & wire.ACK:
            self.put(wire.frame(Kind.PING, wire.ACK, 0, payload))

    def _update(self, flags: int, number: int, payload: bytes) -> None:
        more = wire.number(payload) & wire.STREAM_BITS
        if not more:
            raise WireError(Code.PROTOCOL_ERROR, "A window grows by nothing")
        if number:
            self._never_idle(number)
            if number in self.streams:
                self.streams[number].grow(more)
            return
        self.window += more
        if self.window > wire.MAX_WINDOW:
            raise WireError(Code.FLOW_CONTROL_ERROR, "The connection's window is too large")
        for stream in list(self.streams.values()):
            stream.push()

    def _push_promise(self, flags: int, number: int, payload: bytes) -> None:
        raise WireError(Code.PROTOCOL_ERROR, "A client cannot promise anything")

    # what streams do

    def put(self, data: bytes) -> None:
        """Send bytes at the end of this turn of the loop."""
        self._out.append(data)
        if not self._is_flushing:
            self._is_flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def done(self, stream: Stream) -> None:
        """A stream has given its whole answer."""
        if self.streams.pop(stream.number, None) is None:
            return
        if not stream.is_ended:
            self.put(wire.reset(stream.number, Code.NO_ERROR))  # whatever else the client would send is not needed
        self._patience.answered()
        self._leave_if_done()

    def fail(self, code: Code, why: str) -> None:
        """End the connection now, and say why."""
        if self._is_over:
            return
        self._is_over = True
        self.put(wire.goaway(self._last, code, why))
        self._flush()
        for stream in list(self.streams.values()):
            stream.close()
        self.streams.clear()
        Parting(self._transport, self.lobby.limits, is_cut=True)

    def _flush(self) -> None:
        self._is_flushing = False
        if self._out and not self._transport.is_closing():
            self._transport.write(self._out[0] if len(self._out) == 1 else b"".join(self._out))
        self._out.clear()

    def _leave_if_done(self) -> None:
        if self.is_leaving and not self.streams and not self._is_over:
            self._is_over = True
            self._flush()
            Parting(self._transport, self.lobby.limits, is_cut=False)

    # what the lobby asks

    def write_now(self, exchange: Exchange, answer: bytes) -> bool:
        """Never: an answer here is frames."""
        return False

    def write_part(self, exchange: Exchange, part: bytes) -> bool:
        """Never."""
        return False

    def flush(self) -> None:
        """Streams write by themselves."""

    def say_goodbye(self) -> None:
        """It has no WebSockets."""

    def leave(self) -> None:
        """For a drain: let the client ask elsewhere; what is on its way is answered first (RFC 9113, 6.8)."""
        if self._leave_at == inf and not self._is_over:
            self._leave_at = monotonic() + self.lobby.limits.leave_s
            self.put(wire.goaway(wire.STREAM_BITS, Code.NO_ERROR))

    def abort(self) -> None:
        """Drop the connection now."""
        self._transport.abort()

    def check(self, now: float) -> None:
        """Let go of a client that is too slow or has long been silent, and of requests whose time is up."""
        limits = self.lobby.limits
        for stream in list(self.streams.values()):
            stream.check(now)
        if now >= self._leave_at and not (self.is_leaving or self._is_over):
            self.is_leaving = True
            self.put(wire.goaway(self._last, Code.NO_ERROR))
            self._leave_if_done()
        waited_s = now - self._since
        if self._ebb is not None:
            if self._ebb.silent_s(now) > limits.idle_s:
                self.abort()
        elif not self._is_greeted or self._blocks.is_open:
            if waited_s > limits.head_s:
                self.fail(Code.ENHANCE_YOUR_CALM, "Settings or a header block did not come in time")
        elif self._buffer and now - self._begun > limits.body_s:
            self.fail(Code.ENHANCE_YOUR_CALM, "A frame did not come in time")
        elif not self.streams and waited_s > limits.idle_s:
            self.leave()


TAKES: dict[int, Callable[[Http2, int, int, bytes], None]] = {
    Kind.DATA: Http2._data,
    Kind.HEADERS: Http2._headers,
    Kind.RST_STREAM: Http2._reset,
    Kind.SETTINGS: Http2._settings,
    Kind.PUSH_PROMISE: Http2._push_promise,
    Kind.PING: Http2._ping,
    Kind.WINDOW_UPDATE: Http2._update,
    Kind.CONTINUATION: Http2._continuation,
}
