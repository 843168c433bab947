"""How a WebSocket ends, seen from its handler."""

import asyncio
from collections.abc import Sequence

from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.uri import parse_uri

from lepton.serve.calls import Call, Head
from lepton.serve.websocket import Socket, accept


class Client:
    """A `program.Line` whose other end sends these pieces; an empty one says that it is gone."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = list(pieces)
        self.sent = b""

    async def receive(self) -> bytes:
        assert self.pieces, "nothing more is waited for"
        return self.pieces.pop(0)

    async def send(self, data: bytes) -> None:
        self.sent += data

    async def begin(self, status: int, headers: bytes) -> None:
        assert status == 101


def masked(code: Opcode, data: bytes) -> bytes:
    return Frame(code, data).serialize(mask=True)


HELLO = masked(Opcode.TEXT, b"hello")
GOODBYE = masked(Opcode.CLOSE, Close(1000, "").serialize())


async def opened(line: Client) -> Socket:
    request = ClientProtocol(parse_uri("ws://a/ws")).connect()
    call = Call(1, b"", 0, Head("GET", "/ws", "", [(k.lower(), v) for k, v in request.headers.raw_items()], ("a", 1)))
    socket = await accept(call, line)
    assert socket is not None
    await socket.open()
    return socket


async def echo(*pieces: bytes) -> tuple[list[str | bytes], Client]:
    """Answer all that comes, then close; what came."""
    line = Client(pieces)
    socket = await opened(line)
    heard: list[str | bytes] = []
    while (message := await socket.receive()) is not None:
        heard.append(message)
        await socket.send(message)
    await socket.close()
    return heard, line


def test_a_goodbye_that_comes_with_the_last_message_is_not_waited_for_again() -> None:
    heard, line = asyncio.run(echo(HELLO + HELLO + GOODBYE))
    assert heard == ["hello", "hello"]
    assert line.sent.count(b"\x88\x02\x03\xe8") == 1, "one goodbye in answer"


def test_a_goodbye_of_its_own_is_answered() -> None:
    heard, line = asyncio.run(echo(HELLO, GOODBYE))
    assert heard == ["hello"] and line.sent == b"\x81\x05hello\x88\x02\x03\xe8"


def test_a_client_that_is_gone_without_a_word_raises_nothing() -> None:
    heard, line = asyncio.run(echo(HELLO, b""))
    assert heard == ["hello"] and line.sent.startswith(b"\x81\x05hello")
    assert asyncio.run(echo(b""))[0] == []


def test_a_client_that_breaks_the_protocol_is_told_and_let_go() -> None:
    heard, line = asyncio.run(echo(HELLO, b"\x83\x80abcd"))
    assert heard == ["hello"] and line.sent.startswith(b"\x81\x05hello\x88") and b"\x03\xea" in line.sent
