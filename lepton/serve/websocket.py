"""WebSocket over a connection that an operation has taken over (RFC 6455; the frames are `websockets`' work).

What comes is read at once, whatever the application is at: a ping is answered, and a goodbye too unless messages are
before it, which the application may still want to answer.
"""

import asyncio
from codecs import getincrementaldecoder
from collections import deque

from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from lepton.serve.answers import Refusal
from lepton.serve.calls import Call
from lepton.serve.conversation import ClosedError
from lepton.serve.program import Line

MAX_MESSAGE_BYTES = 16 << 20
MAX_WAITING_BYTES = 2 * MAX_MESSAGE_BYTES
"""Of messages that the application has not taken: nothing more is read until it takes some."""
LONG, LONGER = 126, 127
"""In place of a frame's length: it follows in two bytes, or in eight."""
PINGS = (0x80 | Opcode.PING, 0x80 | Opcode.PONG)
GOODBYE = 0x80 | Opcode.CLOSE
NOT_LET_IN = Refusal(403, "forbidden", "The application did not accept the WebSocket", "Ask who runs the endpoint.")
NO_WEBSOCKET = Refusal(400, "invalid", "The request asks for no WebSocket that can be", "Send one as RFC 6455 says.")
DECODER = getincrementaldecoder("utf-8")


class Splitter:
    """Cuts a stream of bytes into frames, so that some can be read before others."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self.is_lost = False
        """A frame was too long to be waited for: the bytes pass as they come, for the protocol to judge."""

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are whole with these bytes."""
        self._rest += data
        found: list[bytes] = []
        while self._rest:
            size = len(self._rest) if self.is_lost else frame_bytes(self._rest)
            if size > MAX_MESSAGE_BYTES and not self.is_lost:
                self.is_lost = True
                continue
            if not size or len(self._rest) < size:
                break
            found.append(bytes(self._rest[:size]))
            del self._rest[:size]
        return found


def frame_bytes(data: bytes | bytearray) -> int:
    """Size of the frame that begins so, with its head; 0: not enough of that is there."""
    if len(data) < 2:
        return 0
    length, head = data[1] & 0x7F, 2 + (4 if data[1] & 0x80 else 0)
    if length < LONG:
        return head + length
    wide = 2 if length == LONG else 8
    return head + wide + int.from_bytes(data[2 : 2 + wide], "big") if len(data) >= 2 + wide else 0


class Socket:
    """One WebSocket, seen from the server."""

    def __init__(self, protocol: ServerProtocol, line: Line, offered: list[str], response: bytes) -> None:
        self.offered = offered
        """Subprotocols that the client would speak."""
        self.is_open = False
        self._is_refused = False
        self._protocol = protocol
        self._line = line
        self._response = response
        self._waiting: deque[bytes] = deque()
        """Frames that nobody has looked into; an empty one is the end."""
        self._waiting_bytes = 0
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._messages: deque[str | bytes] = deque()
        self._parts: list[bytes] = []
        self._texts: list[str] = []
        self._decoder = DECODER()
        self._is_text = True

    @property
    def is_closed(self) -> bool:
        """Whether one side has said goodbye, or is gone without."""
        if self._is_refused:
            return True
        is_told = self._protocol.close_rcvd is not None or self._protocol.close_sent is not None
        return is_told or self._protocol.state is State.CLOSED

    @property
    def close_code(self) -> int | None:
        """What the client closed with."""
        return self._protocol.close_rcvd.code if self._protocol.close_rcvd is not None else None

    async def open(self, subprotocol: str | None = None, headers: bytes = b"") -> None:
        """Accept it.

        Args:
            headers: further lines of the answer, each ended by CR LF.
        """
        if not self.is_open:
            self.is_open = True
            chosen = b"sec-websocket-protocol: %b\r\n" % subprotocol.encode("latin-1") if subprotocol else b""
            await self._line.begin(101, self._response + chosen + headers)
            self._reader = asyncio.ensure_future(self._read())

    async def receive(self) -> str | bytes | None:
        """The next message; None once the client has closed."""
        while not self._messages:
            if self.is_closed:  # the goodbye may have come with the last message
                await asyncio.sleep(0)  # whoever asks for ever leaves others their turn
                return None
            if self._waiting:
                await self._look_into(self._take_next())
            else:
                self._news.clear()
                await self._news.wait()
        return self._messages.popleft()

    async def send(self, message: str | bytes) -> None:
        """Send one message.

        Raises:
            ClosedError: one side has closed.
        """
        if self.is_closed:
            await asyncio.sleep(0)  # whoever sends for ever, come what may, leaves others their turn
            raise ClosedError
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        else:
            self._protocol.send_binary(message)
        await self._flush()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye; one that was never accepted is refused."""
        try:
            if not self.is_open:
                self.is_open = self._is_refused = True
                await tell(self._line, NOT_LET_IN)
            elif not self.is_closed:
                self._protocol.send_close(code, reason)
                await self._flush()
        finally:
            self.leave()

    def leave(self) -> None:
        """Read nothing more."""
        if self._reader is not None:
            self._reader.cancel()

    async def _read(self) -> None:
        """Read until the client has closed: what is asked of the connection itself is answered at once."""
        splitter = Splitter()
        while not self.is_closed:
            data = await self._line.receive()
            for frame in splitter.feed(data) if data else [b""]:
                is_end = not frame or frame[0] == GOODBYE
                is_ours = bool(frame) and not splitter.is_lost and frame[0] in PINGS and frame[1] & 0x7F < LONG
                if is_ours or (is_end and not (self._waiting or self._messages)):
                    await self._look_into(frame)
                else:
                    self._waiting.append(frame)
                    self._waiting_bytes += len(frame)
            self._news.set()
            if not data:
                return
            while self._waiting_bytes > MAX_WAITING_BYTES:
                self._room.clear()
                await self._room.wait()

    def _take_next(self) -> bytes:
        frame = self._waiting.popleft()
        self._waiting_bytes -= len(frame)
        self._room.set()
        return frame

    async def _look_into(self, frame: bytes) -> None:
        """Let the protocol read a frame; send what it has to say to that."""
        if frame:
            self._protocol.receive_data(frame)
        else:
            self._protocol.receive_eof()
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._add(event)
        await self._flush()

    def _add(self, frame: Frame) -> None:
        """A part of a message."""
        if self.is_closed:
            return
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        if not self._is_text:
            self._parts.append(bytes(frame.data))
            if frame.fin:
                self._messages.append(b"".join(self._parts))
                self._parts.clear()
            return
        try:
            self._texts.append(self._decoder.decode(bytes(frame.data), frame.fin))
        except UnicodeDecodeError:
            self._protocol.fail(CloseCode.INVALID_DATA, "no UTF-8")
            return
        if frame.fin:
            self._messages.append("".join(self._texts))
            self._texts.clear()

    async def _flush(self) -> None:
        data = b"".join(self._protocol.data_to_send())
        if data:
            await self._line.send(data)


async def tell(line: Line, refusal: Refusal) -> None:
    """Answer a request that asks for a WebSocket with an error."""
    await line.begin(refusal.status, b"content-type: application/json\r\n")
    await line.send(refusal.body())


async def accept(call: Call, line: Line) -> Socket | None:
    """The WebSocket that a request asks for, not yet accepted; None: it asks wrongly, and has been told."""
    assert call.head is not None
    head = call.head
    protocol = ServerProtocol(max_size=MAX_MESSAGE_BYTES)
    target = f"{head.path}?{head.query}" if head.query else head.path
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.headers)
    try:
        protocol.receive_data(f"{head.method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
        request = protocol.events_received()[0]
        response = protocol.accept(request)  # type: ignore[arg-type]
    except (ProtocolError, IndexError, ValueError):
        await tell(line, NO_WEBSOCKET)
        return None
    kept = {name: value for name, value in response.headers.raw_items() if name.lower() not in ("date", "server")}
    headers = "".join(f"{name}: {value}\r\n" for name, value in kept.items()).encode("latin-1")
    if response.status_code != 101:
        await line.begin(response.status_code, b"content-type: text/plain\r\n")
        await line.send(bytes(response.body or b""))
        return None
    protocol.send_response(response)
    protocol.data_to_send()  # the head goes out by the front
    offered = [part.strip() for part in head.merged().get("sec-websocket-protocol", "").split(",") if part.strip()]
    return Socket(protocol, line, offered, headers)
