"""WebSocket over a connection that an operation has taken over (RFC 6455; the frames are `websockets`' work)."""

from collections import deque

from websockets.exceptions import ProtocolError
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from lepton.serve.calls import Call
from lepton.serve.program import Line

MAX_MESSAGE_BYTES = 16 << 20


class Socket:
    """One WebSocket, seen from the server."""

    def __init__(self, protocol: ServerProtocol, line: Line, offered: list[str]) -> None:
        self.offered = offered
        """Subprotocols that the client would speak."""
        self.is_open = False
        self._protocol = protocol
        self._line = line
        self._messages: deque[str | bytes] = deque()
        self._parts: list[bytes] = []
        self._is_text = True
        self._response = b""

    @property
    def is_closed(self) -> bool:
        """Whether one side has said goodbye, or is gone without."""
        is_told = self._protocol.close_rcvd is not None or self._protocol.close_sent is not None
        return is_told or self._protocol.state is State.CLOSED

    @property
    def close_code(self) -> int | None:
        """What the client closed with."""
        return self._protocol.close_rcvd.code if self._protocol.close_rcvd is not None else None

    async def open(self, subprotocol: str | None = None) -> None:
        """Accept it."""
        if not self.is_open:
            self.is_open = True
            chosen = b"sec-websocket-protocol: %b\r\n" % subprotocol.encode("latin-1") if subprotocol else b""
            await self._line.begin(101, self._response + chosen)

    async def receive(self) -> str | bytes | None:
        """The next message; None once the client has closed."""
        while not self._messages:
            if self.is_closed:  # the goodbye may have come with the last message
                return None
            data = await self._line.receive()
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
            self._take()
            await self._flush()
        return self._messages.popleft()

    async def send(self, message: str | bytes) -> None:
        """Send one message."""
        if self.is_closed:
            return
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        else:
            self._protocol.send_binary(message)
        await self._flush()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye; one that was never accepted is refused."""
        if not self.is_open:
            self.is_open = True
            await self._line.begin(403, b"content-type: application/json\r\n")
        elif not self.is_closed:
            self._protocol.send_close(code, reason)
            await self._flush()

    def _take(self) -> None:
        for frame in self._protocol.events_received():
            if not isinstance(frame, Frame) or frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                continue
            if frame.opcode is not Opcode.CONT:
                self._is_text = frame.opcode is Opcode.TEXT
            self._parts.append(bytes(frame.data))
            if frame.fin:
                whole = b"".join(self._parts)
                self._parts.clear()
                self._messages.append(whole.decode("utf-8", "replace") if self._is_text else whole)

    async def _flush(self) -> None:
        data = b"".join(self._protocol.data_to_send())
        if data:
            await self._line.send(data)


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
        await line.begin(400, b"content-type: application/json\r\n")
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
    socket = Socket(protocol, line, offered)
    socket._response = headers
    return socket
